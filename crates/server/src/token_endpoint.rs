//! `POST /oauth/token`: a drop-in token endpoint (RFC 6749 §3.2).
//!
//! With it: the grants that cannot be shared (`forward`), and the way to say that a token is to go
//! (`revocation`, RFC 7009).

mod forward;
mod revocation;

use std::sync::Arc;

use bellwether_broker::oauth::{Client, ClientAuthentication, Scope, Secret};
use bellwether_broker::{ExchangeError, Presented, Token};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::answer::{Answer, json, json_bytes, rendered};
use crate::callers::remembered::{Asked, Memory, Remembered, Verdict};
use crate::callers::{CallersRequest, LeadsTo, Mark, Offered, Peer};
use crate::gateway::Gateway;
use crate::no_token::{no_pair, no_token};
use crate::refusal::Refusal;
use crate::settings::{HandOut, Vendor};

#[derive(Serialize)]
struct TokenBody<'a> {
    access_token: &'a str,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
}

impl<'a> TokenBody<'a> {
    /// For a shared credential: without its refresh token.
    fn of(token: &'a Token, access_token: &'a Secret, expires_in: Option<u64>) -> Self {
        Self {
            access_token: access_token.expose(),
            token_type: "Bearer",
            expires_in,
            refresh_token: None,
            scope: token.scope().map(Scope::as_str),
        }
    }
}

impl Gateway {
    /// Answers a token request.
    pub(crate) async fn token(&self, asked: Asked<'_>, memory: &Memory, peer: &Peer) -> Answer {
        let again = memory.take().filter(|known| known.is_again(&asked, &self.callers));
        let answer = match again {
            Some(known) => self.hand_out_again(known, memory).await,
            None => self.grant(asked, memory, peer).await,
        };
        answer.unwrap_or_else(Answer::from)
    }

    async fn grant(
        &self,
        asked: Asked<'_>,
        memory: &Memory,
        peer: &Peer,
    ) -> Result<Answer, Refusal> {
        let Asked { uri, headers, body } = asked;
        let request =
            CallersRequest::read(uri, headers, body).map_err(|refusal| self.as_vendor(refusal))?;
        self.refuse_null_credentials(&request)?;
        self.refuse_own_grant(&request)?;
        let renew = no_cache(headers);
        if let Some(clients) = &self.clients {
            let vendor = clients.vendor();
            return match request.grant_type.as_str() {
                "client_credentials" if !request.has_assertion() => {
                    let (brought, offered) = clients.credential(&request, &self.passes).await;
                    let answer = self.hand_out(&offered, None, renew).await?;
                    clients.verified(&brought, &self.passes);
                    self.remember(&asked, offered, Verdict::Verified(brought), memory);
                    Ok(answer)
                }
                "refresh_token" if !request.has_assertion() => {
                    let client = clients.client(&request);
                    self.refresh(&request, None, vendor, client).await
                }
                _ => forward::once(vendor, &clients.client(&request), &request, None, self).await,
            };
        }
        let caller = self.callers.client(&request.client_id, request.secret.as_ref(), peer);
        let (identity, offered) = caller.map_err(|refusal| self.as_vendor(refusal))?;
        let mark = Some(identity.mark);
        let settings = offered.handle.settings();
        match request.grant_type.as_str() {
            "client_credentials" => {
                let same_scope = request.scope.is_empty() || request.scope == settings.scope;
                if !same_scope {
                    return Err(Refusal::new(
                        StatusCode::BAD_REQUEST,
                        "invalid_scope",
                        "this credential is configured with another scope; leave scope out",
                    ));
                }
                let parameters = request.further();
                if parameters.iter().any(|parameter| !settings.parameters.contains(parameter)) {
                    return Err(Refusal::invalid_request(
                        "this credential is configured with other parameters; leave them out",
                    ));
                }
                let answer = self.hand_out(&offered, mark, renew).await?;
                self.remember(&asked, offered, Verdict::Configured(identity, settings), memory);
                Ok(answer)
            }
            "refresh_token" => {
                self.refresh(&request, mark, &offered.vendor, settings.client().clone()).await
            }
            _ => forward::once(&offered.vendor, settings.client(), &request, mark, self).await,
        }
    }

    /// A token of a shared credential, with what is left of its life.
    async fn hand_out(
        &self,
        offered: &Offered,
        caller: Option<Mark>,
        renew: bool,
    ) -> Result<Answer, Refusal> {
        let handle = &offered.handle;
        let token = if renew { handle.no_cache().await } else { handle.hand_out().await };
        let token = token.map_err(|none| no_token(&none, &offered.vendor))?;
        let local;
        let access_token = match self.settings.hand_out {
            HandOut::Real => {
                self.passes.issue_held(&token, caller, offered);
                token.access_token()
            }
            HandOut::Local => {
                local = self.passes.local_text(offered, caller, &token);
                self.passes.issue(&local, caller, || LeadsTo::Credential(offered.clone()));
                &local
            }
        };
        let left = token.expires_in(self.broker.clock().now()).map(|left| left.as_secs());
        Ok(json(StatusCode::OK, &TokenBody::of(&token, access_token, left)))
    }

    /// The next request that is the same need not be read. Local tokens are made each time.
    fn remember(&self, asked: &Asked<'_>, offered: Offered, verdict: Verdict, memory: &Memory) {
        if self.settings.hand_out == HandOut::Real
            && let Some(remembered) = Remembered::new(asked, offered, verdict)
        {
            memory.keep(remembered);
        }
    }

    /// As `hand_out`, for a request that is remembered.
    async fn hand_out_again(
        &self,
        mut known: Box<Remembered>,
        memory: &Memory,
    ) -> Result<Answer, Refusal> {
        let Offered { handle, vendor } = &known.offered;
        let token = handle.hand_out().await.map_err(|none| no_token(&none, vendor))?;
        self.passes.issue_held(&token, known.caller(), &known.offered);
        let left = token.expires_in(self.broker.clock().now()).map(|left| left.as_secs());
        let body = known
            .answer
            .body(&token, left, || rendered(&TokenBody::of(&token, token.access_token(), left)));
        memory.keep(known);
        Ok(json_bytes(StatusCode::OK, body))
    }

    /// A refresh token that a caller brought: one request upstream for all who present it.
    async fn refresh(
        &self,
        request: &CallersRequest,
        caller: Option<Mark>,
        vendor: &Arc<Vendor>,
        client: Client,
    ) -> Result<Answer, Refusal> {
        let refresh_token = request.refresh_token.clone().filter(|token| !token.is_empty());
        let refresh_token = refresh_token.ok_or_else(|| {
            self.as_vendor(Refusal::invalid_request("refresh_token is missing (RFC 6749 §6)"))
        })?;
        let public = matches!(client.authentication, ClientAuthentication::None);
        let presented = Presented {
            authorization_server: Arc::clone(&vendor.authorization_server),
            client,
            refresh_token,
            scope: request.scope.clone(),
            parameters: request.further(),
            replay: if public {
                self.settings.refresh_replay_public
            } else {
                self.settings.refresh_replay
            },
        };
        let pair = self
            .exchange
            .refresh(presented)
            .await
            .map_err(|error| exchange_failed(&error, vendor))?;
        self.passes.issue(&pair.access_token, caller, || LeadsTo::Itself(Arc::clone(vendor)));
        let now = self.broker.clock().now();
        Ok(json(
            StatusCode::OK,
            &TokenBody {
                access_token: pair.access_token.expose(),
                token_type: "Bearer",
                expires_in: pair.expires_in(now).map(|left| left.as_secs()),
                refresh_token: Some(pair.refresh_token.expose()),
                scope: pair.scope.as_ref().map(Scope::as_str),
            },
        ))
    }

    /// The Genesys Java SDK refreshes on behalf of an application that has nothing to refresh with.
    fn refuse_null_credentials(&self, request: &CallersRequest) -> Result<(), Refusal> {
        let null = |secret: &Option<Secret>| {
            secret.as_ref().is_some_and(|secret| secret.expose() == "null")
        };
        let empty = request.refresh_token.as_ref().is_none_or(Secret::is_empty);
        if request.client_id == "null" && null(&request.secret) && empty {
            return Err(Refusal {
                code: "java-sdk-null-credentials",
                ..Refusal::invalid_request(
                    "the SDK tried to refresh a token it was given without client credentials: build \
                     its client with withAccessToken() or log in with authorizeClientCredentials()",
                )
            });
        }
        Ok(())
    }

    /// What a caller's own grant gives is the caller's, and real; where tokens are local, none leaves.
    fn refuse_own_grant(&self, request: &CallersRequest) -> Result<(), Refusal> {
        let shared = request.grant_type == "client_credentials" && !request.has_assertion();
        match self.settings.hand_out {
            HandOut::Local if !shared => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "tokens are local here (hand_out): log in with client_credentials",
            )),
            HandOut::Local | HandOut::Real => Ok(()),
        }
    }

    /// A refusal as the vendor's SDKs can bear it.
    fn as_vendor(&self, mut refusal: Refusal) -> Refusal {
        if self.refusals_are_400 && refusal.status == StatusCode::UNAUTHORIZED {
            refusal.status = StatusCode::BAD_REQUEST;
            refusal.challenge = None;
        }
        refusal
    }
}

fn no_cache(headers: &HeaderMap) -> bool {
    headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"))
    })
}

fn exchange_failed(error: &ExchangeError, vendor: &Vendor) -> Refusal {
    match error.token_error() {
        Some(error) => no_pair(&error, vendor),
        None => Refusal::unavailable(StatusCode::SERVICE_UNAVAILABLE, &error.to_string(), None),
    }
}
