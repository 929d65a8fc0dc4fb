//! `envoy.service.auth.v3.Authorization/Check`: what Envoy and Istio ask before they pass a request
//! on.
//!
//! Whoever shows the key names the credential. A key in the call's own metadata is the proxy's:
//! then the end caller's headers decide nothing. Without one, the end caller shows its key and may
//! name a credential in its headers. What the route says (`context_extensions`) comes before either.
//!
//! A refusal is an answer with a status and headers, as it is over HTTP; what Envoy shows its
//! caller is the same either way.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::authorization::{About, Asker};
use super::grpc;
use crate::answer::Answer;
use crate::callers::{CREDENTIAL, Peer, is_trusted};
use crate::gateway::Gateway;
use crate::message::refuse_other_sites;
use crate::refusal::Refusal;

/// Where the call comes in.
pub(crate) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Envoy takes 60 KiB of headers from its callers unless told otherwise, and tells of its own
/// certificates beside them.
const MAX_MESSAGE: usize = 256 * 1024;

impl Gateway {
    /// Answers a check.
    pub(crate) async fn check(&self, request: Request<Incoming>, peer: &Peer) -> Answer {
        let ours = grpc::is_call(&request);
        if let Err(refusal) = ours.and_then(|()| refuse_other_sites(request.headers())) {
            return refusal.into();
        }
        if !is_trusted(&self.settings.trusted_proxies, peer) {
            return grpc::message(&denied(Refusal::forwarded()).await);
        }
        let (parts, body) = request.into_parts();
        let patience = self.settings.body_timeout;
        match grpc::read::<CheckRequest, _>(body, MAX_MESSAGE, patience).await {
            Ok(asked) => {
                let response = match self.try_check(&parts.headers, peer, &asked).await {
                    Ok(response) => response,
                    Err(refusal) => denied(refusal).await,
                };
                grpc::message(&response)
            }
            Err(malformed) => grpc::refused(malformed),
        }
    }

    async fn try_check(
        &self,
        metadata: &HeaderMap,
        peer: &Peer,
        asked: &CheckRequest,
    ) -> Result<CheckResponse, Refusal> {
        let asker = self.asker_in(metadata, peer, asked)?;
        let authorization = self.authorization(&asker).await?;
        // Nothing that cannot be a header's value was ever made one.
        let value = authorization.to_str().unwrap_or_default();
        Ok(allowed(value))
    }

    fn asker_in(
        &self,
        metadata: &HeaderMap,
        peer: &Peer,
        asked: &CheckRequest,
    ) -> Result<Asker, Refusal> {
        let attributes = asked.attributes.as_ref();
        let http = attributes.and_then(|attributes| attributes.request.as_ref()?.http.as_ref());
        let about = http.map(|http| About { method: &http.method, path: &http.path });
        let of_route = attributes
            .and_then(|attributes| attributes.context_extensions.get(CREDENTIAL.as_str()))
            .map(String::as_str);
        let header = |name: &str| Some(http?.headers.get(name)?.as_str());
        match header(AUTHORIZATION.as_str()) {
            Some(shown) if !metadata.contains_key(AUTHORIZATION) => {
                let shown = HeaderValue::try_from(shown).map_err(|_| Refusal::unauthorized())?;
                let shown = HeaderMap::from_iter([(AUTHORIZATION, shown)]);
                self.asker(&shown, peer, of_route.or(header(CREDENTIAL.as_str())), about)
            }
            // The proxy's key, or a proxy that is known by its connection.
            Some(_) | None => {
                let named =
                    metadata.get(CREDENTIAL).map(|value| value.to_str().unwrap_or_default());
                self.asker(metadata, peer, of_route.or(named), about)
            }
        }
    }
}

fn allowed(authorization: &str) -> CheckResponse {
    CheckResponse {
        status: Some(Status { code: 0 }),
        outcome: Some(Outcome::Ok(OkHttpResponse {
            headers: vec![HeaderValueOption::overwrite("authorization", authorization)],
            headers_to_remove: vec![CREDENTIAL.as_str().to_owned()],
        })),
    }
}

/// A refusal as it is over HTTP: status, headers and body.
async fn denied(refusal: Refusal) -> CheckResponse {
    let code = match refusal.status.as_u16() {
        401 => UNAUTHENTICATED,
        _ => PERMISSION_DENIED,
    };
    let (parts, body) = Answer::from(refusal).into_parts();
    // It is at hand: made a moment ago.
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let headers = parts.headers.iter().filter_map(|(name, value)| {
        Some(HeaderValueOption::overwrite(name.as_str(), value.to_str().ok()?))
    });
    CheckResponse {
        status: Some(Status { code }),
        outcome: Some(Outcome::Denied(DeniedHttpResponse {
            status: Some(HttpStatus { code: i32::from(parts.status.as_u16()) }),
            headers: headers.collect(),
            body: String::from_utf8(body).unwrap_or_default(),
        })),
    }
}

/// `google.rpc.Code`: anything but 0 is a no.
const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;

use messages::*;

/// Of Envoy's messages, the fields that are read or written here; others are skipped. No `Debug`:
/// they hold keys and tokens.
mod messages {
    use std::collections::BTreeMap;

    use prost::{Message, Oneof};

    /// `envoy.service.auth.v3.CheckRequest`.
    #[derive(Clone, PartialEq, Message)]
    #[prost(skip_debug)]
    pub(crate) struct CheckRequest {
        #[prost(message, optional, tag = "1")]
        pub(crate) attributes: Option<AttributeContext>,
    }

    /// `envoy.service.auth.v3.AttributeContext`.
    #[derive(Clone, PartialEq, Message)]
    #[prost(skip_debug)]
    pub(crate) struct AttributeContext {
        #[prost(message, optional, tag = "4")]
        pub(crate) request: Option<AskedAbout>,
        /// What the operator wrote at the route.
        #[prost(btree_map = "string, string", tag = "10")]
        pub(crate) context_extensions: BTreeMap<String, String>,
    }

    /// `AttributeContext.Request`.
    #[derive(Clone, PartialEq, Message)]
    #[prost(skip_debug)]
    pub(crate) struct AskedAbout {
        #[prost(message, optional, tag = "2")]
        pub(crate) http: Option<HttpRequest>,
    }

    /// `AttributeContext.HttpRequest`.
    #[derive(Clone, PartialEq, Message)]
    #[prost(skip_debug)]
    pub(crate) struct HttpRequest {
        #[prost(string, tag = "2")]
        pub(crate) method: String,
        /// Names in lower case; values of the same name joined by commas.
        #[prost(btree_map = "string, string", tag = "3")]
        pub(crate) headers: BTreeMap<String, String>,
        /// With its query.
        #[prost(string, tag = "4")]
        pub(crate) path: String,
    }

    /// `envoy.service.auth.v3.CheckResponse`.
    #[derive(Clone, PartialEq, Message)]
    #[prost(skip_debug)]
    pub(crate) struct CheckResponse {
        #[prost(message, optional, tag = "1")]
        pub(crate) status: Option<Status>,
        #[prost(oneof = "Outcome", tags = "2, 3")]
        pub(crate) outcome: Option<Outcome>,
    }

    /// `google.rpc.Status`.
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Status {
        #[prost(int32, tag = "1")]
        pub(crate) code: i32,
    }

    /// `CheckResponse.http_response`.
    #[derive(Clone, PartialEq, Oneof)]
    #[prost(skip_debug)]
    pub(crate) enum Outcome {
        #[prost(message, tag = "2")]
        Denied(DeniedHttpResponse),
        #[prost(message, tag = "3")]
        Ok(OkHttpResponse),
    }

    /// `envoy.service.auth.v3.DeniedHttpResponse`.
    #[derive(Clone, PartialEq, Message)]
    #[prost(skip_debug)]
    pub(crate) struct DeniedHttpResponse {
        #[prost(message, optional, tag = "1")]
        pub(crate) status: Option<HttpStatus>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) headers: Vec<HeaderValueOption>,
        #[prost(string, tag = "3")]
        pub(crate) body: String,
    }

    /// `envoy.type.v3.HttpStatus`.
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct HttpStatus {
        #[prost(int32, tag = "1")]
        pub(crate) code: i32,
    }

    /// `envoy.service.auth.v3.OkHttpResponse`.
    #[derive(Clone, PartialEq, Message)]
    #[prost(skip_debug)]
    pub(crate) struct OkHttpResponse {
        #[prost(message, repeated, tag = "2")]
        pub(crate) headers: Vec<HeaderValueOption>,
        #[prost(string, repeated, tag = "5")]
        pub(crate) headers_to_remove: Vec<String>,
    }

    /// `envoy.config.core.v3.HeaderValueOption`.
    #[derive(Clone, PartialEq, Message)]
    #[prost(skip_debug)]
    pub(crate) struct HeaderValueOption {
        #[prost(message, optional, tag = "1")]
        pub(crate) header: Option<Header>,
        /// `HeaderAppendAction`.
        #[prost(int32, tag = "3")]
        pub(crate) append_action: i32,
    }

    /// `envoy.config.core.v3.HeaderValue`.
    #[derive(Clone, PartialEq, Message)]
    #[prost(skip_debug)]
    pub(crate) struct Header {
        #[prost(string, tag = "1")]
        pub(crate) key: String,
        #[prost(string, tag = "2")]
        pub(crate) value: String,
    }

    impl HeaderValueOption {
        /// In the place of whatever the end caller sent under that name.
        pub(crate) fn overwrite(key: &str, value: &str) -> Self {
            const OVERWRITE_IF_EXISTS_OR_ADD: i32 = 2;
            let header = Header { key: key.to_owned(), value: value.to_owned() };
            Self { header: Some(header), append_action: OVERWRITE_IF_EXISTS_OR_ADD }
        }
    }
}
