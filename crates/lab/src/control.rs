//! `/lab/…`: directing the play from outside.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use bellwether_simulation::{Effect, Endpoint, Fault, Organisation, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};

/// Whether the path belongs to the director instead of the organisation.
pub(crate) fn is_control(path: &str) -> bool {
    path.starts_with("/lab/")
}

/// Carries out one direction.
pub(crate) fn direct(
    organisation: &mut Organisation,
    now: Timestamp,
    request: &Request,
) -> Response {
    let done = match (request.method.as_str(), request.path_only()) {
        ("GET", "/lab/ledger") => Ok(ledger(organisation, now, &request.path)),
        ("POST", "/lab/revoke") => read(request).map(|ask| revoke(organisation, now, &ask)),
        ("POST", "/lab/faults") => read(request).and_then(|ask| add_fault(organisation, now, ask)),
        ("DELETE", "/lab/faults") => {
            organisation.clear_faults();
            Ok(json!({}))
        }
        ("POST", "/lab/secret") => read(request).map(|ask: ChangeSecret| {
            organisation.set_client_secret(&ask.client, &ask.secret);
            json!({})
        }),
        ("POST", "/lab/refresh-token") => {
            read(request).and_then(|ask| issue(organisation, now, &ask))
        }
        _ => return answer(404, &json!({ "error": "there is no such direction" })),
    };
    match done {
        Ok(value) => answer(200, &value),
        Err(why) => answer(400, &json!({ "error": why })),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    client: Option<String>,
    token: Option<String>,
    #[serde(default)]
    refresh_tokens: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddFault {
    endpoint: Endpoint,
    effect: EffectName,
    /// Without it the fault lasts.
    for_ms: Option<u64>,
    #[serde(default)]
    in_ms: u64,
    times: Option<u32>,
}

/// An effect as JSON: a name, or an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum EffectName {
    Plain(PlainEffect),
    Latency(LatencyEffect),
    BreakOff(BreakOffEffect),
    Answer(AnswerEffect),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PlainEffect {
    LostAnswer,
    Close,
    Stall,
    StallAfterProcessing,
    Unauthorized,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LatencyEffect {
    latency_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakOffEffect {
    break_off_after_bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerEffect {
    status: u16,
    retry_after: Option<String>,
    content_type: Option<String>,
    body: Option<String>,
    #[serde(default)]
    processed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeSecret {
    client: String,
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueRefreshToken {
    client: String,
}

/// Says where a body is wrong, never what it holds.
fn read<'a, T: Deserialize<'a>>(request: &'a Request) -> Result<T, String> {
    let body = if request.body.is_empty() { b"{}" } else { request.body.as_slice() };
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("the body is not what this path takes: see line {line}, column {column}")
    })
}

fn ledger(organisation: &Organisation, now: Timestamp, path: &str) -> Value {
    let mut value = json!(organisation.totals(now));
    if path.split('?').nth(1).is_some_and(|query| query.split('&').any(|part| part == "entries=1"))
    {
        value["entries"] = json!(organisation.ledger().entries().collect::<Vec<_>>());
    }
    value
}

fn revoke(organisation: &mut Organisation, now: Timestamp, ask: &Revoke) -> Value {
    if let Some(token) = &ask.token {
        return json!({ "revoked": u64::from(organisation.revoke_token(now, token)) });
    }
    let mut revoked = organisation.revoke_tokens(now, ask.client.as_deref());
    if ask.refresh_tokens {
        revoked += organisation.revoke_refresh_tokens(ask.client.as_deref());
    }
    json!({ "revoked": revoked })
}

fn add_fault(
    organisation: &mut Organisation,
    now: Timestamp,
    ask: AddFault,
) -> Result<Value, String> {
    let from = now + Duration::from_millis(ask.in_ms);
    let until = ask.for_ms.map_or(Timestamp::NEVER, |ms| from + Duration::from_millis(ms));
    let effect = effect(ask.effect)?;
    organisation.add_fault(Fault { from, until, endpoint: ask.endpoint, effect, times: ask.times });
    Ok(json!({}))
}

fn effect(name: EffectName) -> Result<Effect, String> {
    Ok(match name {
        EffectName::Plain(PlainEffect::LostAnswer) => Effect::LostAnswer,
        EffectName::Plain(PlainEffect::Close) => Effect::Close,
        EffectName::Plain(PlainEffect::Stall) => Effect::Stall { processed: false },
        EffectName::Plain(PlainEffect::StallAfterProcessing) => Effect::Stall { processed: true },
        EffectName::Plain(PlainEffect::Unauthorized) => Effect::AlwaysUnauthorized,
        EffectName::Latency(effect) => Effect::Latency(Duration::from_millis(effect.latency_ms)),
        EffectName::BreakOff(effect) => {
            Effect::BreakOff { after_bytes: effect.break_off_after_bytes }
        }
        EffectName::Answer(effect) => {
            if !(200..=599).contains(&effect.status) {
                return Err("status is to be from 200 to 599".to_owned());
            }
            let body = effect.body.unwrap_or_else(|| format!(r#"{{"status":{}}}"#, effect.status));
            Effect::Answer {
                status: effect.status,
                retry_after: effect.retry_after,
                content_type: effect.content_type.unwrap_or_else(|| "application/json".to_owned()),
                body: body.into_bytes(),
                processed: effect.processed,
            }
        }
    })
}

fn issue(
    organisation: &mut Organisation,
    now: Timestamp,
    ask: &IssueRefreshToken,
) -> Result<Value, String> {
    let token = organisation.issue_refresh_token(now, &ask.client);
    let token = token.ok_or("there is no such client")?;
    Ok(json!({ "refresh_token": token }))
}

fn answer(status: u16, value: &Value) -> Response {
    Response::json(status, value.to_string().into_bytes()).header("cache-control", "no-store")
}
