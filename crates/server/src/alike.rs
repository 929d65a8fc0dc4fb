//! Requests that ask the same: what of their answers may be shared or kept (RFC 9111), and the one
//! request in flight for all of them.

mod cache;
mod coalesce;
mod question;

pub(crate) use coalesce::Alike;
pub(crate) use question::Asked;
