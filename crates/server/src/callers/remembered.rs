//! A connection's latest token request, so that the same one again need not be read again.
//!
//! A caller that keeps its connection sends the same bytes each time. What they say and whose they
//! are was found out the first time; from then on they are compared, whole and in constant time,
//! with what was accepted then. So the client is authenticated by each request, and only who sends
//! exactly what was verified meets its token. What changed meanwhile (a secret that was displaced,
//! a key that ended, callers or settings that were replaced) makes the request a new one.

use std::sync::{Arc, Mutex, PoisonError};

use bellwether_broker::{Credential, Token};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, Uri};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::clients::Brought;
use super::configured::{Callers, Identity, Mark};
use super::offered::Offered;

/// Longer requests are read each time.
const MOST_BYTES: usize = 2048;

/// What one connection remembers, and for no longer than it lives.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Option<Box<Remembered>>>);

impl Memory {
    /// Takes it out: a connection has one request at a time.
    pub(crate) fn take(&self) -> Option<Box<Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn keep(&self, remembered: Box<Remembered>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(remembered);
    }
}

/// A request that was answered with a token of `offered`.
#[derive(Debug)]
pub(crate) struct Remembered {
    request: Zeroizing<Vec<u8>>,
    pub(crate) offered: Offered,
    verdict: Verdict,
    pub(crate) answer: LatestAnswer,
}

/// Why the request was good.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The authorization server verified the client.
    Verified(Arc<Brought>),
    /// The caller showed its key, and asked for what these settings give.
    Configured(Arc<Identity>, Arc<Credential>),
}

impl Remembered {
    /// `None` for a request that no other is likely to equal.
    pub(crate) fn new(
        request: &Asked<'_>,
        offered: Offered,
        verdict: Verdict,
    ) -> Option<Box<Self>> {
        let request = request.bytes()?;
        Some(Box::new(Self { request, offered, verdict, answer: LatestAnswer::default() }))
    }

    /// Whether this request is the same, and still as good.
    pub(crate) fn is_again(&self, asked: &Asked<'_>, callers: &Callers) -> bool {
        let stands = match &self.verdict {
            Verdict::Verified(brought) => brought.stands(),
            Verdict::Configured(identity, settings) => {
                callers.stands(identity) && self.offered.handle.is_configured_with(settings)
            }
        };
        stands && asked.is(&self.request)
    }

    /// The caller that its token is given to; `None` for a client that was brought.
    pub(crate) fn caller(&self) -> Option<Mark> {
        match &self.verdict {
            Verdict::Verified(_) => None,
            Verdict::Configured(identity, _) => Some(identity.mark),
        }
    }
}

/// What decides over a token request's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
}

impl Asked<'_> {
    /// Its parts; `None` where a part is missing, comes twice, or asks for a new token.
    fn parts(&self) -> Option<[&[u8]; 4]> {
        let (mut authorization, mut content_type) = (None, None);
        for (name, value) in self.headers {
            let part = match name {
                _ if name == AUTHORIZATION => &mut authorization,
                _ if name == CONTENT_TYPE => &mut content_type,
                _ if name == CACHE_CONTROL => return None,
                _ => continue,
            };
            if part.replace(value.as_bytes()).is_some() {
                return None;
            }
        }
        let target = self.uri.path_and_query()?.as_str().as_bytes();
        // A client may authenticate in the body alone.
        Some([target, content_type?, authorization.unwrap_or_default(), self.body])
    }

    /// Each part behind its length.
    fn bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        let parts = self.parts()?;
        let length = parts.iter().map(|part| part.len() + 2).sum();
        if length > MOST_BYTES {
            return None;
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        for part in parts {
            bytes.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Some(bytes)
    }

    /// Whether its bytes are these.
    fn is(&self, mut bytes: &[u8]) -> bool {
        let Some(parts) = self.parts() else { return false };
        for part in parts {
            let Some((length, rest)) = bytes.split_first_chunk() else { return false };
            let Some((known, rest)) =
                rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
            else {
                return false;
            };
            if !are_same(known, part) {
                return false;
            }
            bytes = rest;
        }
        bytes.is_empty()
    }
}

/// In time that depends on the length alone; eight bytes at once, since it is on everybody's way.
pub(crate) fn are_same(known: &[u8], part: &[u8]) -> bool {
    let (known_words, known_rest) = known.as_chunks::<8>();
    let (words, rest) = part.as_chunks::<8>();
    let pairs = known_words.iter().zip(words);
    let same = pairs.fold(known_rest.ct_eq(rest), |same, (one, other)| {
        same & u64::from_ne_bytes(*one).ct_eq(&u64::from_ne_bytes(*other))
    });
    known.len() == part.len() && same.into()
}

/// The body that was sent last: until the second is over, the next one is the same.
#[derive(Debug, Default)]
pub(crate) struct LatestAnswer(Option<(Arc<Token>, Option<u64>, Bytes)>);

impl LatestAnswer {
    /// The body with this token and what is left of its life.
    pub(crate) fn body(
        &mut self,
        token: &Arc<Token>,
        expires_in: Option<u64>,
        render: impl FnOnce() -> Bytes,
    ) -> Bytes {
        match &self.0 {
            Some((known, left, body)) if Arc::ptr_eq(known, token) && *left == expires_in => {
                body.clone()
            }
            Some(_) | None => {
                let body = render();
                self.0 = Some((Arc::clone(token), expires_in, body.clone()));
                body
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(authorization: &[&str], more: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        for value in authorization {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        for (name, value) in more {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_the_same_request_is_the_same() {
        let plain = &headers(&["Basic aWQ6c2VjcmV0"], &[]);
        let body = "grant_type=client_credentials";
        let known = Asked {
            uri: &Uri::from_static("/oauth/token"),
            headers: plain,
            body: &Bytes::from_static(body.as_bytes()),
        };
        let known = known.bytes().unwrap();
        let twice = &headers(&["Basic aWQ6c2VjcmV0", "Basic aWQ6c2VjcmV0"], &[]);
        let renewing = &headers(&["Basic aWQ6c2VjcmV0"], &[("cache-control", "no-cache")]);
        let traced = &headers(&["Basic aWQ6c2VjcmV0"], &[("traceparent", "00-1")]);
        let in_json = &headers(&["Basic aWQ6c2VjcmV0"], &[("content-type", "application/json")]);
        #[rustfmt::skip]
        let cases = [
            ("/oauth/token",    plain,                              body, true),
            ("/oauth/token",    traced,                             body, true),
            ("/oauth/token",    &headers(&["Basic aWQ6c2VjcmV1"], &[]), body, false),
            ("/oauth/token",    &headers(&["Basic aWQ6c2VjcmV"], &[]),  body, false),
            ("/oauth/token",    &headers(&[], &[]),                 body, false),
            ("/oauth/token",    twice,                              body, false),
            ("/oauth/token",    renewing,                           body, false),
            ("/oauth/token",    in_json,                            body, false),
            ("/oauth/token?a",  plain,                              body, false),
            ("/oauth/tokens",   plain,                              body, false),
            ("/oauth/token",    plain, "grant_type=client_credentials&scope=a", false),
            ("/oauth/token",    plain, "grant_type=client_credential",          false),
            ("/oauth/token",    plain, "",                                      false),
        ];
        for (target, headers, body, expected) in cases {
            let (uri, body) = (target.parse().unwrap(), Bytes::copy_from_slice(body.as_bytes()));
            let asked = Asked { uri: &uri, headers, body: &body };
            assert_eq!(asked.is(&known), expected, "{target} {headers:?} {body:?}");
        }
    }

    #[test]
    fn one_bit_anywhere_makes_a_difference() {
        for length in 0..40 {
            let known: Vec<u8> = (0..length).collect();
            assert!(are_same(&known, &known.clone()), "{length}");
            assert!(!are_same(&known, &[&known[..], &[0]].concat()), "{length}");
            for at in 0..known.len() {
                let mut other = known.clone();
                other[at] ^= 0x10;
                assert!(!are_same(&known, &other), "{length} {at}");
            }
        }
    }

    #[test]
    fn a_long_request_is_not_kept() {
        let body = Bytes::from(vec![b'a'; MOST_BYTES]);
        let (uri, headers) = (Uri::from_static("/"), headers(&[], &[]));
        assert!(Asked { uri: &uri, headers: &headers, body: &body }.bytes().is_none());
    }
}
