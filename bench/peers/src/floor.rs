//! What any cache has to do at least: find the token and look whether it has ended.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::{LIFETIME, access_token};

/// A token and its end.
#[derive(Debug)]
pub struct Token {
    /// Its text.
    pub text: String,
    /// When it ends.
    pub expires_at: Instant,
}

impl Token {
    /// The `n`th token.
    pub fn new(n: usize) -> Arc<Self> {
        let expires_at = Instant::now() + Duration::from_secs(LIFETIME);
        Arc::new(Self { text: access_token(n), expires_at })
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        Instant::now() < self.expires_at
    }
}

/// Behind an `ArcSwap`.
pub fn swap() -> ArcSwap<Token> {
    ArcSwap::new(Token::new(0))
}

/// Behind a lock.
pub fn locked() -> RwLock<Arc<Token>> {
    RwLock::new(Token::new(0))
}
