//! What the broker tells whoever listens: dashboards, logs, tests.

use bellwether_lifecycle::Status;

/// Something changed. Holds no token and no secret.
#[derive(Clone, Debug)]
pub enum News {
    /// A credential's state, or what it waits for.
    Status {
        /// The credential.
        name: String,
        /// Its state now.
        status: Status,
    },
    /// A caller's own credential that nobody asked for any more was forgotten.
    Forgotten {
        /// The credential.
        name: String,
    },
}
