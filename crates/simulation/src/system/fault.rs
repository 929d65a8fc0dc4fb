//! The faults, by name, and how often each comes while faults come at all.

use std::fmt;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident $rate:literal,)*) => {
        /// What can go wrong. The rate is a share of the places where it can happen, or, for those
        /// that come by themselves, of the storms.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];

            pub(super) const fn usual_rate(self) -> f64 {
                match self { $(Self::$name => $rate,)* }
            }
        }
    };
}

faults! {
    // The store, for each operation.
    /// An operation of the store fails and did nothing.
    StoreFails 0.02,
    /// An operation of the store is reported as failed, and was carried out.
    StoreOutcomeUnknown 0.02,
    /// An operation of the store takes long.
    StoreSlow 0.02,
    // The store, for each storm.
    /// The store is away for a while.
    StoreAway 0.5,
    /// The store is restored from a backup; its origin tells.
    StoreRestored 0.15,
    /// A failover loses the last commits, and nothing tells.
    StoreFailover 0.1,
    /// The store loses a row.
    StoreRowLost 0.03,

    // The escrow, for each operation.
    /// A record is not appended.
    EscrowFails 0.02,
    /// Appending takes long.
    EscrowSlow 0.02,
    // The escrow, for each storm.
    /// A machine's disk is full for a while.
    EscrowFull 0.2,

    // The network, for each request.
    /// The connection is refused: proven unsent.
    ConnectionRefused 0.03,
    /// The request is lost on its way.
    RequestLost 0.03,
    /// The answer is lost on its way.
    AnswerLost 0.05,
    /// The connection is reset after the request was sent.
    ConnectionReset 0.03,
    /// The request or its answer takes long, sometimes longer than anybody waits.
    NetworkSlow 0.05,
    // The network, for each storm.
    /// Nothing gets through for a while.
    NetworkAway 0.3,

    // The authorization server, for each request.
    /// 5xx, and nothing was done.
    ServerErrorBefore 0.03,
    /// 5xx after the work was done.
    ServerErrorAfter 0.03,
    /// The token in an answer cannot be used, its refresh token can be read.
    AnswerBroken 0.02,
    /// 429, sometimes with `Retry-After`.
    Throttled 0.03,
    /// `invalid_client`, although the secret is right.
    InvalidClient 0.01,
    // The authorization server, for each storm.
    /// 5xx for a while.
    ServerAway 0.3,
    /// The client secret is changed; processes hear of it one after the other.
    SecretChanged 0.1,
    /// A person takes the grant back.
    GrantRevoked 0.05,
    /// The API refuses an access token that is good.
    TokenRefused 0.3,

    // Processes, for each step.
    /// A process dies at a step.
    KilledAtStep 0.01,
    /// A process dies soon after a step began.
    KilledWithinStep 0.02,
    /// A process is stopped for a while, less long than a request may take.
    PausedBriefly 0.01,
    /// A process is stopped for longer than its leases last.
    PausedLong 0.005,
    /// A renewal's task panics.
    Panicked 0.005,
    // Processes and machines, for each storm.
    /// A process dies at any time.
    Killed 0.5,
    /// All processes die.
    AllKilled 0.1,
    /// A machine reboots.
    Rebooted 0.2,
    /// A wall clock is set, by seconds or by years.
    WallClockSet 0.3,
    /// A person wants everything renewed.
    RenewalForced 0.5,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
