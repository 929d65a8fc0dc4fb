//! A head that holds no more than it says.
//!
//! The engines' heads are slices of the buffer that they were read into. Who keeps one for long keeps
//! 8 KiB for a few words, and the engine takes another buffer to read on.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri};

/// Copies of the same fields.
pub(crate) fn copied(fields: &HeaderMap) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.clone(), copied_value(value))).collect()
}

/// A copy of the same value.
pub(crate) fn copied_value(value: &HeaderValue) -> HeaderValue {
    // The engines read no value that cannot be written.
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// Puts copies in the place of a head's slices.
pub(crate) fn copy_head(head: &mut Parts) {
    for value in head.headers.values_mut() {
        *value = copied_value(value);
    }
    if let Ok(target) = Uri::try_from(head.uri.to_string()) {
        head.uri = target;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::Request;

    use super::*;

    /// Bytes of a large buffer, and the buffer: it is gone once nothing but the second is left.
    pub(crate) fn buffer(text: &'static str) -> (Bytes, Arc<[u8]>) {
        struct Slice(Arc<[u8]>);
        impl AsRef<[u8]> for Slice {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let buffer: Arc<[u8]> = Arc::from(text.as_bytes());
        (Bytes::from_owner(Slice(Arc::clone(&buffer))), buffer)
    }

    #[test]
    fn a_copied_head_says_the_same_and_holds_no_buffer() {
        let (bytes, buffer) = buffer("/users?page=1 application/json a b secret");
        let value = |from: usize, to: usize| {
            HeaderValue::from_maybe_shared(bytes.slice(from..to)).expect("a value")
        };
        let mut secret = value(35, 41);
        secret.set_sensitive(true);
        let uri = Uri::from_maybe_shared(bytes.slice(..13)).expect("a target");
        let request = Request::get(uri)
            .header("accept", value(14, 30))
            .header("x-own", value(31, 32))
            .header("x-own", value(33, 34))
            .header("authorization", secret);
        let (mut head, ()) = request.body(()).expect("a request").into_parts();
        drop(bytes);
        let (fields, uri) = (head.headers.clone(), head.uri.clone());
        copy_head(&mut head);
        assert_eq!((&head.headers, &head.uri), (&fields, &uri));
        assert!(head.headers["authorization"].is_sensitive());
        assert!(Arc::strong_count(&buffer) > 1);
        drop((fields, uri));
        assert_eq!(Arc::strong_count(&buffer), 1, "nothing but the test holds it");
    }
}
