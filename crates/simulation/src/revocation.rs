//! Revocation (RFC 7009) and introspection (RFC 7662).

use bellwether_lifecycle::Timestamp;

use crate::access_token::Standing;
use crate::ledger::Verdict;
use crate::message::{Request, Response};
use crate::organisation::{Organisation, Processed, form_fields, malformed};
use crate::token_text::Kind;

impl Organisation {
    /// 200 for every token of one's own and every unknown one (RFC 7009 §2.2).
    pub(crate) fn revocation(&mut self, now: Timestamp, request: &Request) -> Processed {
        let Some(fields) = form_fields(&request.body) else {
            return malformed("a parameter is repeated").into();
        };
        let client = match self.authenticate(request, &fields) {
            Ok(client) => client,
            Err(refused) => return refused.into(),
        };
        let Some(token) = fields.get("token") else {
            return Processed::from(malformed("token is missing")).by(client);
        };
        let serial = self.text.read(Kind::Access, token);
        let owner = match (serial, self.read_refresh_token(token)) {
            (Some(serial), _) => self.access_tokens.get(serial).map(|token| token.client),
            (None, Some(serial)) => self.refresh_tokens.client(serial),
            (None, None) => None,
        };
        if owner == Some(client) {
            self.revoke_token(now, token);
        }
        let response = Response { status: 200, headers: Vec::new(), body: Vec::new() };
        Processed { shown: serial, ..Processed::new(Verdict::Revoking, response) }.by(client)
    }

    pub(crate) fn introspection(&mut self, now: Timestamp, request: &Request) -> Processed {
        let Some(fields) = form_fields(&request.body) else {
            return malformed("a parameter is repeated").into();
        };
        let client = match self.authenticate(request, &fields) {
            Ok(client) => client,
            Err(refused) => return refused.into(),
        };
        let Some(token) = fields.get("token") else {
            return Processed::from(malformed("token is missing")).by(client);
        };
        let active = match self.text.read(Kind::Access, token) {
            Some(serial) => self.access_tokens.standing(now, serial) == Standing::Live,
            None => {
                let serial = self.read_refresh_token(token);
                serial.is_some_and(|serial| self.refresh_tokens.is_good(now, serial, client))
            }
        };
        let body = serde_json::json!({ "active": active }).to_string().into_bytes();
        Processed::new(Verdict::Introspected, Response::json(200, body)).by(client)
    }
}
