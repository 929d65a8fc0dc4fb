//! Asks the resource server whether a held token still lives, before it is handed out again.
//!
//! A caller that only ever asks the token endpoint cannot say that its token was refused: it just
//! comes again, and would get the same dead token until its expiry. So a token without a sign of
//! life for a while is checked, by one request that all who wait share.

use std::sync::Arc;
use std::time::Duration;

use bellwether_lifecycle::Need;
use bellwether_oauth::Secret;

use crate::error::NoToken;
use crate::handle::Handle;
use crate::token::Token;
use crate::transport::Outgoing;

/// A sign of life counts this long.
const SIGN_COUNTS_FOR: Duration = Duration::from_secs(30);
/// A token that was just issued is not doubted.
const TRUSTED_FOR: Duration = Duration::from_secs(30);

impl Handle {
    /// A token to hand out, checked first where the authorization server names a way to check it.
    ///
    /// # Errors
    /// Why there is none, and when to ask again.
    pub async fn hand_out(&self) -> Result<Arc<Token>, NoToken> {
        let token = self.token_for(Need::HandOut).await?;
        let settings = self.settings();
        let Some(verify) = &settings.authorization_server.verify else { return Ok(token) };
        if self.has_sign_of_life(&token) {
            return Ok(token);
        }
        let _one_at_a_time = self.shared.checking.lock().await;
        let token = self.token_for(Need::HandOut).await?;
        if self.has_sign_of_life(&token) {
            return Ok(token);
        }
        let sent_at = self.shared.clock.now();
        let outgoing = Outgoing {
            url: verify.clone(),
            authorization: Some(Secret::from(format!("Bearer {}", token.access_token().expose()))),
            form: None,
        };
        match settings.authorization_server.transport.send(outgoing).await {
            Ok(answer) if answer.status == 401 => {
                tracing::info!(credential = %settings.name, "a held token was found dead");
                self.found_dead(&token);
                self.token_for(Need::HandOut).await
            }
            // Whatever else it answers, it took the token; and no answer says nothing about it.
            Ok(_) => {
                self.accepted(&token, sent_at);
                Ok(token)
            }
            Err(error) => {
                tracing::debug!(credential = %settings.name, %error, "the check gave no answer");
                Ok(token)
            }
        }
    }

    fn has_sign_of_life(&self, token: &Token) -> bool {
        let now = self.shared.clock.now();
        now < token.held().sent_at + TRUSTED_FOR
            || token.accepted_sent_at().is_some_and(|sign| now < sign + SIGN_COUNTS_FOR)
    }
}
