//! What a proxy may send to the API for a caller: one decision, however it asks.
//!
//! nginx (`auth_request`), Caddy and Traefik (forward-auth) and Envoy (`ext_authz`, over HTTP or
//! gRPC) ask in different words. Each shows who the caller is and perhaps a credential's name, says
//! more or less of the request that is to be sent, and gets the header for it, or a refusal.

use bellwether_broker::Token;
use http::{HeaderMap, HeaderValue, Method};

use crate::callers::{LeadsTo, Mark, Offered, Peer};
use crate::gateway::Gateway;
use crate::no_token::no_token;
use crate::refusal::Refusal;
use crate::settings::HandOut;
use crate::upstream::is_ambiguous;

/// The caller that asks, or that is asked for, and the credential it means.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) offered: Offered,
    pub(crate) mark: Mark,
}

/// The request that is to be sent to the API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) method: &'a str,
    /// Perhaps with a query.
    pub(crate) path: &'a str,
}

impl Gateway {
    /// Who asks, by these headers or this peer, and what for: the credential named, or the only one.
    ///
    /// # Errors
    /// 401 or 429 for who is not known; 404 for a credential, path or method that is not its own; 400
    /// if it must name a credential.
    pub(crate) fn asker(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        credential: Option<&str>,
        about: Option<About<'_>>,
    ) -> Result<Asker, Refusal> {
        let identity = self.callers.identify(headers, peer)?;
        let caller = &identity.caller;
        let offered = caller.credential(credential)?.clone();
        let may_send = |about: About<'_>| {
            let path = about.path.split('?').next().unwrap_or_default();
            Method::try_from(about.method)
                .is_ok_and(|method| !is_ambiguous(path) && caller.may_send(&method, path))
        };
        if caller.is_limited() && !about.is_none_or(may_send) {
            return Err(Refusal::not_found());
        }
        Ok(Asker { offered, mark: identity.mark })
    }

    /// The header to send to the API now.
    pub(crate) async fn authorization(&self, asker: &Asker) -> Result<HeaderValue, Refusal> {
        let offered = &asker.offered;
        let token = offered.handle.token().await;
        let token = token.map_err(|none| no_token(&none, &offered.vendor))?;
        Ok(self.header_with(asker, &token))
    }

    /// The header with this token. Where tokens are local, it is good at this gateway alone.
    pub(crate) fn header_with(&self, asker: &Asker, token: &Token) -> HeaderValue {
        let Asker { offered, mark } = asker;
        match self.settings.hand_out {
            HandOut::Real => {
                self.passes.issue_held(token, Some(*mark), offered);
                token.authorization().clone()
            }
            HandOut::Local => {
                let local = self.passes.local_text(offered, Some(*mark), token);
                self.passes.issue(&local, Some(*mark), || LeadsTo::Credential(offered.clone()));
                let value = HeaderValue::from_str(&format!("Bearer {}", local.expose()));
                let mut value = value.unwrap_or(HeaderValue::from_static(""));
                value.set_sensitive(true);
                value
            }
        }
    }
}
