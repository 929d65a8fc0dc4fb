//! The public contract of both listeners, checked from outside over real sockets.

mod support;

#[path = "contract/token_endpoint.rs"]
mod token_endpoint;

#[path = "contract/malformed.rs"]
mod malformed;

#[path = "contract/errors.rs"]
mod errors;

#[path = "contract/crowds.rs"]
mod crowds;

#[path = "contract/refresh.rs"]
mod refresh;

#[path = "contract/forwarded.rs"]
mod forwarded;

#[path = "contract/dead_early.rs"]
mod dead_early;

#[path = "contract/callers.rs"]
mod callers;

#[path = "contract/rights.rs"]
mod rights;

#[path = "contract/rebinding.rs"]
mod rebinding;

#[path = "contract/resource.rs"]
mod resource;

#[path = "contract/injection.rs"]
mod injection;

#[path = "contract/protocols.rs"]
mod protocols;

#[path = "contract/encrypted.rs"]
mod encrypted;

#[path = "contract/streaming.rs"]
mod streaming;

#[path = "contract/local_tokens.rs"]
mod local_tokens;

#[path = "contract/admin.rs"]
mod admin;

#[path = "contract/hosts.rs"]
mod hosts;

#[path = "contract/draining.rs"]
mod draining;

#[path = "contract/isolation.rs"]
mod isolation;

#[path = "contract/prefixes.rs"]
mod prefixes;

#[path = "contract/peers.rs"]
mod peers;

#[path = "contract/beside.rs"]
mod beside;

#[path = "contract/ext_authz.rs"]
mod ext_authz;

#[path = "contract/hostile.rs"]
mod hostile;

#[path = "contract/api_limits.rs"]
mod api_limits;

#[path = "contract/coalescing.rs"]
mod coalescing;

#[path = "contract/http2.rs"]
mod http2;

#[path = "contract/floods.rs"]
mod floods;

#[path = "contract/tls.rs"]
mod tls;

#[path = "contract/sockets.rs"]
mod sockets;

#[path = "contract/limits.rs"]
mod limits;
