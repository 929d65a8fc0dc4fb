//! Where credentials are kept between processes: leases, fences, generations, sealed rows.
//!
//! Whoever wants to renew a credential first takes the [`Lease`] on its [`Key`]. The lease ends by
//! itself, by the store's own clock, so a dead holder stops nobody for long. With each lease comes
//! a [`Fence`], higher than all granted before it; a write carries the fence of its lease, and the
//! store refuses it once a later lease on that key was granted. A holder that was paused, or thinks
//! it still holds what it lost, therefore changes nothing.
//!
//! What is kept is a [`Row`]: a generation, which never goes backwards, and bytes that the
//! [`Keyring`] sealed for exactly this key and generation. A backend sees no plaintext, and a row
//! that was moved, swapped or rolled back under another generation does not open.
//!
//! The fence guards the row alone. The authorization server never sees it: a token request must
//! end before its lease does.
//!
//! What an authorization server answered is first put into an [`Escrow`] on this machine, and only
//! then into the store: no failure of the store loses it.
//!
//! Time comes from a [`Clock`], the one place that reads the machine's.
//!
//! A backend is done when the suite in `conformance` (a feature of that name) passes on it.

mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod escrow;
mod key;
mod key_file;
mod lease;
mod memory;
mod origin;
mod seal;
mod stamp;
mod store;

pub use clock::{BootId, Clock, ManualClock, Moment, SystemClock};
pub use escrow::{Escrow, FileEscrow, MemoryEscrow};
pub use key::{Key, KeyError, Kind};
pub use key_file::KeyFileError;
pub use lease::{Acquired, Fence, HolderId, Lease};
pub use memory::MemoryStore;
pub use origin::{InstanceId, Origin};
pub use seal::{Digest, Keyring, OpenError, Sealed};
pub use stamp::Stamp;
pub use store::{Row, Saved, Store, StoreError, StoreFuture};
