//! What every HTTP message is held to, whoever sends it (RFC 9110 §6): how it is framed, which host
//! it names, what of it concerns one connection alone. Nothing here knows callers or tokens.

mod awaited;
mod bearer;
mod broken;
mod copied;
pub(crate) mod hop;
mod host;
mod own_endpoint;
pub(crate) mod strict;
mod whole;

pub(crate) use awaited::awaited;
pub(crate) use bearer::bearer;
pub(crate) use broken::BodyError;
#[cfg(test)]
pub(crate) use copied::tests::buffer;
pub(crate) use copied::{copied, copied_value, copy_head};
pub(crate) use host::Hosts;
pub(crate) use own_endpoint::{is_json, refuse_other_sites, refuse_secrets_in_query};
pub(crate) use whole::{NotWhole, whole};
