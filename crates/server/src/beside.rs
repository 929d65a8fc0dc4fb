//! Whoever sends requests to the API itself and asks here for the token alone: callers that know us,
//! and proxies that Bellwether stands beside.

mod authorization;
pub(crate) mod ext_authz;
mod grpc;
pub(crate) mod rest;
