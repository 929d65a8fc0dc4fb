//! What was odd about an answer that could be read nevertheless.

use std::fmt;

/// One oddity, for the one log line about an answer. Fixed texts: nothing of the answer is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remark {
    /// The body begins with a byte order mark.
    ByteOrderMark,
    /// The body is in UTF-16.
    Utf16,
    /// The body is not UTF-8 throughout.
    NotUtf8,
    /// The body is a form, not JSON.
    FormEncoded,
    /// JSON or a form under another media type.
    ContentType,
    /// The JSON object is cut short or malformed.
    BrokenJson,
    /// Something follows the JSON object.
    TrailingBytes,
    /// The JSON nests deeper than 16.
    DeepJson,
    /// The body is longer than [`MAX_BODY`](crate::MAX_BODY).
    TooLong,
    /// The connection ended before the body did.
    CutShort,
    /// A parameter of the response is there more than once; the last readable one counts.
    DuplicateParameter,
    /// A success status with an error in the body.
    ErrorUnderSuccess,
    /// A redirect without a `Location`.
    RedirectToNowhere,
    /// An error with tokens beside it; the access token is not used.
    TokenUnderError,
    /// The error code is not one that could be repeated.
    CodeUnreadable,
    /// `token_type` is missing or unreadable and taken for `Bearer`.
    TokenTypeMissing,
    /// `token_type` is an odd name for `Bearer`.
    TokenTypeOdd,
    /// `expires_in` is a string or has a fraction.
    ExpiresInOdd,
    /// `expires_in` cannot be read; the lifetime is unknown.
    ExpiresInUnreadable,
    /// `expires_in` is negative and taken for 0, or beyond ten years and taken for that.
    ExpiresInClamped,
    /// `refresh_token` is there and cannot be read; the old one stays.
    RefreshTokenUnreadable,
    /// A refresh token was saved from an answer that is otherwise useless.
    RefreshTokenSaved,
    /// `scope` is there and cannot be read.
    ScopeUnreadable,
}

impl Remark {
    /// The remark in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::ByteOrderMark => "the body begins with a byte order mark",
            Self::Utf16 => "the body is in UTF-16",
            Self::NotUtf8 => "the body is not UTF-8 throughout",
            Self::FormEncoded => "the body is a form instead of JSON",
            Self::ContentType => "the Content-Type does not fit the body",
            Self::BrokenJson => "the JSON is cut short or malformed",
            Self::TrailingBytes => "something follows the JSON object",
            Self::DeepJson => "the JSON nests too deeply",
            Self::TooLong => "the body is too long",
            Self::CutShort => "the connection ended before the body did",
            Self::DuplicateParameter => "a parameter is there more than once",
            Self::ErrorUnderSuccess => "an error came with a success status",
            Self::RedirectToNowhere => "the redirect names no address",
            Self::TokenUnderError => "an error came with tokens beside it",
            Self::CodeUnreadable => "the error code cannot be repeated",
            Self::TokenTypeMissing => "token_type is missing and taken for Bearer",
            Self::TokenTypeOdd => "token_type is an odd name for Bearer",
            Self::ExpiresInOdd => "expires_in is not a whole number",
            Self::ExpiresInUnreadable => "expires_in cannot be read",
            Self::ExpiresInClamped => "expires_in is out of all bounds",
            Self::RefreshTokenUnreadable => "refresh_token cannot be read",
            Self::RefreshTokenSaved => "a refresh token was saved from a useless answer",
            Self::ScopeUnreadable => "scope cannot be read",
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Remarks in the order they arose, each once.
#[derive(Debug, Default)]
pub(crate) struct Remarks(Vec<Remark>);

impl Remarks {
    pub(crate) fn add(&mut self, remark: Remark) {
        if !self.0.contains(&remark) {
            self.0.push(remark);
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Remark> {
        self.0
    }
}
