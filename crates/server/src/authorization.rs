//! What a proxy may send to the API for a caller: one decision, however it asks.
//!
//! nginx (`auth_request`), Caddy and Traefik (forward-auth) and Envoy (`ext_authz`, over HTTP or
//! gRPC) ask in different words. Each shows a caller's key and perhaps a credential's name, and gets
//! the header to send, or a refusal.

use bellwether_broker::Token;
use bellwether_broker::oauth::Secret;
use http::HeaderValue;

use crate::answer::Refusal;
use crate::callers::Offered;
use crate::gateway::Gateway;
use crate::passes::LeadsTo;
use crate::settings::HandOut;
use crate::token_endpoint::no_token;

impl Gateway {
    /// The credential that whoever shows this key may use: the one named, or the only one.
    pub(crate) fn offered_to(
        &self,
        key: Option<&Secret>,
        credential: Option<&str>,
    ) -> Result<&Offered, Refusal> {
        let key = key.ok_or_else(Refusal::unauthorized)?;
        let caller = self.callers.with_key(key.expose(), self.broker.keyring());
        caller.ok_or_else(Refusal::unauthorized)?.credential(credential)
    }

    /// The header to send to the API now.
    pub(crate) async fn authorization(&self, offered: &Offered) -> Result<HeaderValue, Refusal> {
        let token = offered.handle.token().await;
        let token = token.map_err(|none| no_token(&none, &offered.vendor))?;
        Ok(self.header_with(offered, &token))
    }

    /// The header with this token. Where tokens are local, it is good at this gateway alone.
    pub(crate) fn header_with(&self, offered: &Offered, token: &Token) -> HeaderValue {
        match self.settings.hand_out {
            HandOut::Real => {
                self.passes.issue_held(token, offered);
                token.authorization().clone()
            }
            HandOut::Local => {
                let local = self.passes.local_text(offered, token);
                self.passes.issue(&local, || LeadsTo::Credential(offered.clone()));
                let value = HeaderValue::from_str(&format!("Bearer {}", local.expose()));
                let mut value = value.unwrap_or(HeaderValue::from_static(""));
                value.set_sensitive(true);
                value
            }
        }
    }
}
