//! How connections come in: sockets, whom there is room for, TLS, HTTP/1.1 and HTTP/2, the threads
//! that serve, and who is cut off for wasting their time. What is answered is the [`Service`]'s
//! business.

mod crew;
mod flood;
pub(crate) mod listen;
mod places;
mod protocol;
mod rounds;
mod socket;
mod stream;
mod streams;
mod tls;
mod turns;

pub(crate) use crew::Crew;
pub use listen::Listeners;
pub(crate) use listen::Service;
pub use places::ConnectionLimits;
pub(crate) use places::{Places, Refused};
pub use socket::{Socket, bind};
pub use tls::{ClientAuth, Tls, TlsError, TlsMaterial};
