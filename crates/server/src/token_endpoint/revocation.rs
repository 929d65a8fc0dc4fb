//! `POST /oauth/revoke` (RFC 7009): a caller's way to say that a token is to go, or was refused.
//!
//! A shared token is not revoked upstream: others live on it. It counts as refused, and so is
//! renewed once, however many say so.

use std::sync::Arc;

use bellwether_broker::Token;
use bellwether_broker::oauth::Secret;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};

use crate::answer::{Answer, empty};
use crate::callers::{CallersRequest, LeadsTo, Offered, Peer};
use crate::gateway::Gateway;
use crate::refusal::Refusal;
use crate::settings::HandOut;

impl Gateway {
    /// Answers a revocation request: 200 whether the token was known or not (RFC 7009 §2.2).
    pub(crate) async fn revoke(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
        peer: &Peer,
    ) -> Answer {
        match self.try_revoke(uri, headers, body, peer).await {
            Ok(()) => empty(StatusCode::OK),
            Err(refusal) => refusal.into(),
        }
    }

    async fn try_revoke(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
        peer: &Peer,
    ) -> Result<(), Refusal> {
        // A revocation request has no grant_type; the rest is read alike.
        let mut form = body.to_vec();
        form.extend_from_slice(b"&grant_type=revocation");
        let request = CallersRequest::read(uri, headers, &form)?;
        let token = request.parameters.iter().find(|(name, _)| name == "token");
        let Some((_, token)) = token else {
            return Err(Refusal::invalid_request("token is missing (RFC 7009 §2.1)"));
        };
        let allowed = match &self.clients {
            Some(_) => None,
            None => {
                let secret = request.secret.as_ref();
                Some(self.callers.client(&request.client_id, secret, peer)?)
            }
        };
        let Some(pass) = self.passes.find(token) else { return Ok(()) };
        match &pass.leads_to {
            LeadsTo::Credential(offered) => {
                let settings = offered.handle.settings();
                let own = match &allowed {
                    Some((_, own)) => own.handle.name() == settings.name(),
                    None => {
                        settings.client().id == request.client_id
                            && settings.client().authentication.secret() == request.secret.as_ref()
                    }
                };
                if own {
                    self.say_refused(offered, token).await;
                }
            }
            LeadsTo::Itself(_) => {
                // Only whoever it was issued to ends it (RFC 7009 §2.1).
                let own =
                    allowed.is_none_or(|(identity, _)| pass.holders().include(&identity.mark));
                if own {
                    self.passes.revoke(token);
                }
            }
        }
        Ok(())
    }

    /// Has the held token behind this text renewed, if it is still held.
    async fn say_refused(&self, offered: &Offered, text: &Secret) {
        if let Some(held) = self.held_behind(offered, text) {
            let now = self.broker.clock().now();
            // Whether it could be renewed shows when the next one is asked for.
            let _ = offered.handle.refused(&held, now).await;
        }
    }

    /// The token that a caller was given as `text`, if it is still held.
    pub(crate) fn held_behind(&self, offered: &Offered, text: &Secret) -> Option<Arc<Token>> {
        match self.settings.hand_out {
            HandOut::Real => offered.handle.held_token(text),
            HandOut::Local => {
                let mut held = offered.handle.held_tokens();
                held.find(|token| self.passes.is_local_text(text, offered, token))
            }
        }
    }
}
