//! Asks the resource server whether a held token still lives, before it is handed out again.
//!
//! A caller that only ever asks the token endpoint cannot say that its token was refused: it just
//! comes again, and would get the same dead token until its expiry. So a token without a sign of
//! life for a while is checked, by one request that all who wait share.

use std::sync::Arc;
use std::time::Duration;

use bellwether_lifecycle::{Need, Timestamp};
use bellwether_oauth::Secret;
use tokio::time::timeout;

use crate::error::NoToken;
use crate::handle::{Handle, PATIENCE};
use crate::token::Token;
use crate::transport::Outgoing;

/// A sign of life counts this long, and so does a check that told nothing.
const SIGN_COUNTS_FOR: Duration = Duration::from_secs(30);
/// A token that was just issued is not doubted.
const TRUSTED_FOR: Duration = Duration::from_secs(30);
/// A check that takes longer tells nothing: callers wait for it.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

impl Handle {
    /// A token to hand out, checked first where the authorization server names a way to check it.
    ///
    /// # Errors
    /// Why there is none, and when to ask again.
    pub async fn hand_out(&self) -> Result<Arc<Token>, NoToken> {
        let now = self.shared.now();
        let until = now + PATIENCE;
        let token = self.token_until(Need::HandOut, now, until).await?;
        let settings = self.settings();
        let Some(verify) = &settings.authorization_server.verify else { return Ok(token) };
        if self.is_trusted(&token) {
            return Ok(token);
        }
        // Whoever waits here past its time is told below what stands in the way.
        let patience = self.shared.now().until(until);
        let _one_at_a_time = timeout(patience, self.shared.checking().lock()).await;
        let token = self.token_until(Need::HandOut, self.shared.now(), until).await?;
        if self.is_trusted(&token) {
            return Ok(token);
        }
        let sent_at = self.shared.now();
        let outgoing = Outgoing {
            url: verify.clone(),
            authorization: Some(Secret::from(format!("Bearer {}", token.access_token().expose()))),
            form: None,
        };
        let transport = &settings.authorization_server.transport;
        let token = match timeout(CHECK_TIMEOUT, transport.send(outgoing)).await {
            Ok(Ok(answer)) if answer.status == 401 => {
                tracing::info!(credential = %settings.name, "a held token was found dead");
                self.found_dead(&token, until).await?
            }
            // Whatever else it answers, it took the token; and no answer says nothing about it.
            Ok(Ok(_)) => {
                self.accepted(&token, sent_at);
                token
            }
            Ok(Err(error)) => {
                tracing::debug!(credential = %settings.name, %error, "the check gave no answer");
                token
            }
            Err(_) => {
                tracing::debug!(credential = %settings.name, "the check took more than 3 s");
                token
            }
        };
        token.note_checked(self.shared.now());
        Ok(token)
    }

    fn is_trusted(&self, token: &Token) -> bool {
        let now = self.shared.now();
        let recent = |at: Option<Timestamp>| at.is_some_and(|at| now < at + SIGN_COUNTS_FOR);
        now < token.held().sent_at + TRUSTED_FOR
            || recent(token.accepted_sent_at())
            || recent(token.checked_at())
    }
}
