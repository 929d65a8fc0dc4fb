//! A request for the API that can be sent once, or again.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST, TRAILER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use hyper::upgrade::OnUpgrade;

use super::replay::Kept;
use crate::callers::CREDENTIAL;
use crate::message::hop;
use crate::upstream::{RequestBody, ResourceServer};

/// A cookie would speak for somebody else than the token does; the connection to the API frames the
/// body by itself.
fn goes_no_further(name: &HeaderName) -> bool {
    matches!(name.as_str(), "content-length" | "cookie" | "expect") || *name == CREDENTIAL
}

/// A request without what concerned the caller's connection, and without a token.
pub(crate) struct Prepared {
    pub(crate) server: Arc<ResourceServer>,
    pub(crate) method: Method,
    pub(crate) body: Kept,
    /// The caller's connection, where it wants to go on with another protocol.
    pub(crate) upgrade: Option<OnUpgrade>,
    target: Uri,
    headers: HeaderMap,
}

impl Prepared {
    /// Strips what goes no further.
    pub(crate) fn new(mut parts: Parts, body: Kept, server: Arc<ResourceServer>) -> Self {
        let mut headers = parts.headers;
        let mut asked = hop::strip(&mut headers);
        hop::remove(&mut headers, goes_no_further);
        headers.insert(HOST, server.host().clone());
        // In the place of what the caller showed; each attempt puts a token there.
        headers.insert(AUTHORIZATION, const { HeaderValue::from_static("") });
        if body.is_at_hand() {
            // Its trailers, if it had any, are gone.
            headers.remove(TRAILER);
        }
        // To HTTP/2 nobody is upgraded any more (RFC 9113 §3.1), and nobody in the middle of a body.
        let is_fit = |protocol: &HeaderValue| protocol != "h2c" && body.is_empty();
        asked.upgrade = asked.upgrade.filter(is_fit);
        let upgrade = asked.upgrade.as_ref().and_then(|_| parts.extensions.remove::<OnUpgrade>());
        if upgrade.is_none() {
            asked.upgrade = None;
        }
        asked.ask_again(&mut headers);
        Self { server, method: parts.method, body, upgrade, target: parts.uri, headers }
    }

    /// The request to send now.
    pub(crate) fn request(&mut self, authorization: &HeaderValue) -> Request<RequestBody> {
        let mut request = Request::new(self.body.take());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        request
    }
}
