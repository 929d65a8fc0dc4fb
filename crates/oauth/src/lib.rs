//! OAuth 2.0 token requests as values, token responses read tolerantly. Pure.

mod secret;

pub use secret::Secret;
