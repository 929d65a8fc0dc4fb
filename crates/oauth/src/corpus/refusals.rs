//! Errors, by status, code and words; throttles in their disguises; waits asked for.

use std::time::Duration;

use super::{Case, Expected};
use crate::Remedy;

const PAGE: &str = "<html><head><title>Error</title></head><body><h1>@W</h1></body></html>";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = codes();
    cases.extend(statuses());
    cases.extend(vendors());
    cases.extend(throttles());
    cases.extend(waits());
    cases.extend(odd_errors());
    cases.extend(with_tokens());
    cases
}

/// Each code means the same under each status that servers send it with.
fn codes() -> Vec<Case> {
    let codes = [
        ("invalid_client", "invalid_client"),
        ("invalid_grant", "invalid_grant"),
        ("unauthorized_client", "unauthorized_client"),
        ("invalid_scope", "invalid_scope"),
        ("unsupported_grant_type", "unsupported_grant_type"),
        ("invalid_request", "invalid_request"),
        ("access_denied", "access_denied"),
        ("interaction_required", "interaction_required"),
        ("consent_required", "interaction_required"),
        ("login_required", "interaction_required"),
        ("server_error", "unavailable"),
        ("temporarily_unavailable", "unavailable"),
        ("slow_down", "throttled"),
        ("too_many_requests", "throttled"),
        ("rate_limit_exceeded", "throttled"),
        ("INVALID_GRANT", "invalid_grant"),
    ];
    let mut cases = Vec::new();
    for (code, kind) in codes {
        for status in [200, 400, 401, 403] {
            let body = format!(r#"{{"error":"{code}","error_description":"No."}}"#);
            cases.push(Case::error(format!("{status} {code}"), status, &body, kind));
        }
        // A server that is down says nothing about the credential, whatever it says.
        let body = format!(r#"{{"error":"{code}"}}"#);
        cases.push(Case::error(format!("500 {code}"), 500, &body, "unavailable"));
        cases.push(Case::error(format!("429 {code}"), 429, &body, "throttled"));
    }
    for (status, kind) in [(200, "other"), (400, "other"), (401, "invalid_client"), (403, "other")]
    {
        let body = r#"{"error":"something_new","error_description":"No."}"#;
        cases.push(Case::error(format!("{status} with an unknown code"), status, body, kind));
    }
    cases
}

/// Each status with nothing, words, a page, and JSON that says nothing.
fn statuses() -> Vec<Case> {
    let statuses = [
        (400, "other"),
        (401, "invalid_client"),
        (402, "other"),
        (403, "unavailable"),
        (404, "other"),
        (405, "other"),
        (406, "other"),
        (407, "other"),
        (408, "unavailable"),
        (409, "unavailable"),
        (410, "other"),
        (411, "other"),
        (413, "other"),
        (415, "other"),
        (418, "other"),
        (421, "unavailable"),
        (422, "other"),
        (423, "unavailable"),
        (425, "unavailable"),
        (429, "throttled"),
        (431, "other"),
        (451, "other"),
        (499, "unavailable"),
        (500, "unavailable"),
        (501, "unavailable"),
        (502, "unavailable"),
        (503, "unavailable"),
        (504, "unavailable"),
        (507, "unavailable"),
        (520, "unavailable"),
        (524, "unavailable"),
        (530, "unavailable"),
        (599, "unavailable"),
    ];
    let mut cases = Vec::new();
    for (status, kind) in statuses {
        let page = PAGE.replace("@W", "Something went wrong");
        cases.push(
            Case::error(format!("{status} without a body"), status, "", kind).content_type(""),
        );
        cases.push(Case::error(format!("{status} with words"), status, "Sorry.", kind).plain());
        cases.push(Case::error(format!("{status} with a page"), status, &page, kind).html());
        cases.push(Case::error(format!("{status} with an empty object"), status, "{}", kind));
        cases.push(Case::error(format!("{status} with broken JSON"), status, "{\"er", kind));
    }
    cases
}

/// As vendors write them.
fn vendors() -> Vec<Case> {
    #[rustfmt::skip]
    let rows = [
        // name, status, kind, body
        ("the report", 401, "invalid_grant",
         r#"{"code":"bad_request","message":"The refresh token is invalid or expired","status":401}"#),
        ("the report under 200", 200, "invalid_grant",
         r#"{"code":"bad_request","message":"The refresh token is invalid or expired","status":401}"#),
        ("Genesys, unknown client", 400, "invalid_client",
         r#"{"error":"invalid_client","description":"client not found","error_description":"client not found"}"#),
        ("Genesys, wrong secret", 400, "invalid_client",
         r#"{"error":"invalid_client","description":"authentication failed","error_description":"authentication failed"}"#),
        ("Genesys, throttle", 400, "throttled",
         r#"{"error":"invalid_request","description":"rate limit exceeded; wait","error_description":"rate limit exceeded; wait"}"#),
        ("Auth0, refresh token", 403, "invalid_grant",
         r#"{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}"#),
        ("Auth0, throttle", 403, "throttled",
         r#"{"error":"access_denied","error_description":"Global limit has been reached"}"#),
        ("Auth0, forbidden", 403, "access_denied",
         r#"{"error":"access_denied","error_description":"Client is not authorized to access this audience"}"#),
        ("Salesforce, refresh token", 400, "invalid_grant",
         r#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#),
        ("Salesforce, login rate", 400, "throttled",
         r#"{"error":"invalid_grant","error_description":"Login Rate Exceeded"}"#),
        ("Salesforce, client", 400, "invalid_client",
         r#"{"error":"invalid_client_id","error_description":"client identifier invalid"}"#),
        ("HubSpot, refresh token", 400, "invalid_grant",
         r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token","correlationId":"x"}"#),
        ("HubSpot, both shapes", 400, "invalid_grant",
         r#"{"error":"invalid_grant","error_description":"refresh token is invalid, expired or revoked","status":"BAD_REFRESH_TOKEN","message":"x"}"#),
        ("Okta, throttle", 429, "throttled",
         r#"{"errorCode":"E0000047","errorSummary":"API call exceeded rate limit due to too many requests."}"#),
        ("Okta, throttle as 403", 403, "throttled",
         r#"{"errorCode":"E0000047","errorSummary":"Try later."}"#),
        ("Okta, client", 401, "invalid_client",
         r#"{"errorCode":"invalid_client","errorSummary":"Invalid value for 'client_id' parameter."}"#),
        ("Entra, wrong secret", 401, "invalid_client",
         r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: x","error_codes":[7000215],"timestamp":"2026-01-01 00:00:00Z"}"#),
        ("Entra, loop", 400, "throttled",
         r#"{"error":"invalid_grant","error_description":"AADSTS50196: The server terminated an operation because it encountered a client request loop."}"#),
        ("Entra, sign in again", 400, "interaction_required",
         r#"{"error":"interaction_required","error_description":"AADSTS50076: use multi-factor authentication","suberror":"basic_action"}"#),
        ("Xero", 400, "invalid_grant", r#"{"error":"invalid_grant"}"#),
        ("Zoho, refresh token under 200", 200, "invalid_grant", r#"{"error":"invalid_code"}"#),
        ("Zoho, throttle", 400, "throttled",
         r#"{"error":"Access Denied","error_description":"You have made too many requests continuously. Please try again after some time.","status":"failure"}"#),
        ("GitHub under 200", 200, "other",
         r#"{"error":"bad_verification_code","error_description":"The code passed is incorrect or expired.","error_uri":"https://x"}"#),
        ("Slack under 200", 200, "other", r#"{"ok":false,"error":"invalid_auth"}"#),
        ("Google, an error object", 401, "invalid_client",
         r#"{"error":{"code":401,"message":"Request had invalid authentication credentials.","status":"UNAUTHENTICATED"}}"#),
        ("Google, an error object for a grant", 400, "invalid_grant",
         r#"{"error":{"code":"invalid_grant","message":"Bad Request"}}"#),
        ("Google, an error object for a quota", 403, "throttled",
         r#"{"error":{"code":403,"message":"Rate Limit Exceeded","errors":[{"reason":"rateLimitExceeded"}]}}"#),
        ("AWS gateway, throttle", 400, "throttled",
         r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#),
        ("AWS gateway, firewall", 403, "unavailable", r#"{"message":"Forbidden"}"#),
        ("Problem details", 400, "other",
         r#"{"type":"about:blank","title":"Bad Request","detail":"grant_type is required","status":400}"#),
        ("Problem details for a throttle", 403, "throttled",
         r#"{"type":"about:blank","title":"Forbidden","detail":"Too many requests"}"#),
        ("Hydra, reuse", 401, "invalid_grant",
         r#"{"error":"token_inactive","error_description":"Token is inactive because it is malformed, expired or otherwise invalid. The refresh token was already used."}"#),
        ("Keycloak", 400, "invalid_grant",
         r#"{"error":"invalid_grant","error_description":"Maximum allowed refresh token reuse exceeded"}"#),
    ];
    rows.map(|(name, status, kind, body)| {
        Case::error(format!("vendor: {name}"), status, body, kind)
    })
    .into()
}

/// Too many requests, said in every way but the right one.
fn throttles() -> Vec<Case> {
    let words = [
        "rate limit exceeded",
        "Rate Limit Exceeded",
        "Rate-limit reached",
        "too many requests",
        "Too Many Requests.",
        "TOO_MANY_REQUESTS",
        "Global limit has been reached",
        "Login Rate Exceeded",
        "Request was throttled. Expected available in 30 seconds.",
        "Rate exceeded",
        "REQUEST_LIMIT_EXCEEDED",
        "Please slow down",
    ];
    let mut cases = Vec::new();
    for words in words {
        for status in [400, 401, 403] {
            let json = format!(r#"{{"error":"invalid_request","error_description":"{words}"}}"#);
            let page = PAGE.replace("@W", words);
            let name = |shape: &str| format!("throttle as {status} in {shape}: {words}");
            cases.push(Case::error(name("JSON"), status, &json, "throttled"));
            cases.push(Case::error(name("words"), status, words, "throttled").plain());
            cases.push(Case::error(name("a page"), status, &page, "throttled").html());
        }
        let json = format!(r#"{{"error":"{words}"}}"#);
        cases.push(Case::error(format!("throttle as error: {words}"), 403, &json, "throttled"));
        let json = format!(r#"{{"message":"{words}"}}"#);
        cases.push(Case::error(format!("throttle as message: {words}"), 400, &json, "throttled"));
        let json = format!(r#"{{"error":"denied","error_description":"{words}"}}"#);
        cases.push(Case::error(format!("throttle under 200: {words}"), 200, &json, "throttled"));
    }
    cases
}

fn waits() -> Vec<Case> {
    const DATE: &str = "Sun, 06 Nov 1994 12:00:20 GMT";
    #[rustfmt::skip]
    let waits = [
        // Retry-After, Date, seconds
        ("60", None, Some(60)),
        ("0", None, Some(0)),
        (" 5 ", None, Some(5)),
        ("1000000000", None, Some(3600)),
        ("18446744073709551616", None, Some(3600)),
        ("-1", None, None),
        ("", None, None),
        ("soon", None, None),
        ("1;drop", None, None),
        ("Sun, 06 Nov 1994 12:00:30 GMT", None, Some(30)),
        ("Sun, 06 Nov 1994 12:00:30 GMT", Some(DATE), Some(10)),
        ("Sun, 06 Nov 1994 11:00:00 GMT", None, Some(0)),
        ("Sat, 06 Nov 2094 12:00:00 GMT", None, Some(3600)),
        ("Sun, 99 Nov 1994 12:00:00 GMT", None, None),
    ];
    let mut cases = Vec::new();
    for (retry_after, date, seconds) in waits {
        let throttle = r#"{"error":"invalid_request","error_description":"rate limit exceeded"}"#;
        let answers = [
            (429, "Too Many Requests", "throttled"),
            (503, "", "unavailable"),
            (400, throttle, "throttled"),
        ];
        for (status, body, kind) in answers {
            let name = format!("{status} with Retry-After {retry_after:?} and Date {date:?}");
            let mut case = Case::error(name, status, body, kind);
            case.retry_after = Some(retry_after);
            case.date = date;
            let after = seconds.map(Duration::from_secs);
            case.expected = Expected::Error { kind, remedy: Remedy::Retry { after } };
            cases.push(case);
        }
    }
    cases
}

/// Errors in shapes that no RFC knows.
fn odd_errors() -> Vec<Case> {
    let long = "x".repeat(65);
    #[rustfmt::skip]
    let rows = [
        ("an error of words", 400, "other", r#"{"error":"Something went wrong, sorry"}"#),
        ("an error of words about the refresh token", 400, "invalid_grant", r#"{"error":"Invalid refresh token"}"#),
        ("an error that is true", 200, "other", r#"{"error":true,"message":"No."}"#),
        ("an error that is a number", 400, "other", r#"{"error":7}"#),
        ("an error that is a list", 400, "other", r#"{"error":["invalid_grant"]}"#),
        ("an error twice", 400, "invalid_grant", r#"{"error":"x","error":"invalid_grant"}"#),
        ("an error with white space", 400, "invalid_grant", r#"{"error":" invalid_grant\n"}"#),
        ("an error before rubbish", 400, "invalid_grant", r#"{"error":"invalid_grant"}}}}"#),
        ("words about the grant type", 400, "other", r#"{"message":"invalid grant type: refresh_token"}"#),
        ("a code alone under 200", 200, "other", r#"{"code":"nope"}"#),
        ("a code of control characters", 400, "other", r#"{"error":"a\u0000b\u001b[2J"}"#),
        ("a code of markup", 400, "other", r#"{"error":"<script>alert(1)</script>"}"#),
        ("a description that is no text", 400, "invalid_grant", r#"{"error":"invalid_grant","error_description":{"x":[1]}}"#),
        ("a description of a megabyte", 400, "invalid_grant", r#"{"error":"invalid_grant","error_description":"@LONG"}"#),
    ];
    let mut cases: Vec<Case> = rows
        .map(|(name, status, kind, body)| {
            let body = body.replace("@LONG", &"long ".repeat(12_000));
            Case::error(format!("odd error: {name}"), status, &body, kind)
        })
        .into();
    let firewall = PAGE.replace("@W", "Request invalid: grant_type=x&amp;refresh_token=@S, rule 7");
    cases.push(
        Case::error("a firewall that repeats the request", 403, &firewall, "unavailable").html(),
    );
    let not_found = PAGE.replace("@W", "<script>throttle(() => {})</script>Not found");
    cases.push(Case::error("a page with a script that throttles", 404, &not_found, "other").html());
    for status in [400, 401, 404] {
        let case = Case::error(
            format!("{status} cut short before its code"),
            status,
            "{\"er",
            "unavailable",
        );
        cases.push(case.cut_short());
        let body = r#"{"error":"invalid_client","error_descr"#;
        let case = Case::error(
            format!("{status} cut short behind its code"),
            status,
            body,
            "invalid_client",
        );
        cases.push(case.cut_short());
    }
    let body = format!(r#"{{"error":"{long}"}}"#);
    cases.push(Case::error("odd error: a code too long", 400, &body, "other"));
    #[rustfmt::skip]
    let challenges = [
        ("a code in the challenge", 401, r#"Bearer realm="x", error="invalid_grant", error_description="gone""#, "invalid_grant"),
        ("a code first in the challenge", 400, r#"Bearer error="invalid_scope""#, "invalid_scope"),
        ("a throttle in the challenge", 401, r#"Bearer error="invalid_request", error_description="too many requests""#, "throttled"),
        ("a challenge without a code", 401, r#"Basic realm="token endpoint""#, "invalid_client"),
        ("a challenge that breaks off", 401, r#"Bearer error=""#, "invalid_client"),
        ("a challenge with another parameter", 401, r#"Bearer xerror="invalid_grant""#, "invalid_client"),
    ];
    for (name, status, challenge, kind) in challenges {
        let case = Case::error(format!("odd error: {name}"), status, "", kind);
        cases.push(case.challenge(challenge));
    }
    cases
}

/// Errors with tokens beside them: the access token is not believed, a new refresh token is kept,
/// the one that was sent is not new.
fn with_tokens() -> Vec<Case> {
    #[rustfmt::skip]
    let rows = [
        ("a new refresh token under 500", 500, "unavailable", r#"{"refresh_token":"@R"}"#),
        ("both tokens under 500", 500, "unavailable", r#"{"access_token":"@A","refresh_token":"@R"}"#),
        ("both tokens under 504, cut", 504, "unavailable", r#"{"access_token":"@A","refresh_token":"@R","x"#),
        ("both tokens under 400", 400, "other", r#"{"access_token":"@A","refresh_token":"@R"}"#),
        ("both tokens and an error under 200", 200, "invalid_grant", r#"{"error":"invalid_grant","access_token":"@A","refresh_token":"@R"}"#),
        ("both tokens and an error behind under 200", 200, "other", r#"{"access_token":"@A","refresh_token":"@R","error":"partial"}"#),
        ("the sent refresh token under 400", 400, "invalid_grant", r#"{"error":"invalid_grant","refresh_token":"@S"}"#),
        ("the sent refresh token under 500", 500, "unavailable", r#"{"refresh_token":"@S"}"#),
        ("the sent refresh token in the request, broken", 500, "unavailable", r#"{"request":{"refresh_token":"@S"},"#),
    ];
    rows.map(|(name, status, kind, body)| Case::error(name, status, body, kind)).into()
}
