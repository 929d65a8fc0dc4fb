//! Events as each kind of log would have them.

use std::fmt::Write;

use super::world::Event;

/// What JMeter was told to save.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jtl {
    pub(crate) header: bool,
    pub(crate) url: bool,
    pub(crate) delimiter: char,
    /// Response data of token requests are saved in `failureMessage` in practice only on failure.
    pub(crate) bodies: bool,
}

impl Default for Jtl {
    fn default() -> Self {
        Self { header: true, url: true, delimiter: ',', bodies: true }
    }
}

fn quoted(text: &str, delimiter: char) -> String {
    if text.contains([delimiter, '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}

pub(crate) fn label(event: &Event) -> &'static str {
    match (event.is_login, event.grant) {
        (true, "refresh_token") => "refresh",
        (true, _) => "log in",
        (false, _) => "poll",
    }
}

pub(crate) fn path(event: &Event) -> String {
    if event.is_login {
        "/oauth/token".to_owned()
    } else {
        format!("/api/v2/users/agent-{}/routingstatus", event.thread)
    }
}

/// JMeter's CSV.
pub(crate) fn jtl_csv(events: &[Event], jtl: Jtl) -> Vec<u8> {
    let mut names = vec![
        "timeStamp",
        "elapsed",
        "label",
        "responseCode",
        "responseMessage",
        "threadName",
        "dataType",
        "success",
        "failureMessage",
        "bytes",
        "sentBytes",
        "grpThreads",
        "allThreads",
    ];
    names.extend(jtl.url.then_some("URL"));
    names.extend(["Latency", "IdleTime", "Connect"]);
    let join = |fields: &[String]| fields.join(&jtl.delimiter.to_string());
    let mut log = String::new();
    if jtl.header {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        log.push_str(&join(&names));
        log.push('\n');
    }
    for event in events {
        let failed = event.status >= 400;
        let host = if event.is_login { "login" } else { "api" };
        let failure = if failed && jtl.bodies {
            format!("Test failed: code expected to match, {}", event.body)
        } else {
            String::new()
        };
        let mut fields = vec![
            event.sent.to_string(),
            event.took.to_string(),
            label(event).to_owned(),
            event.status.to_string(),
            reason(event.status).to_owned(),
            format!("Pollers 1-{}", event.thread + 1),
            "text".to_owned(),
            (!failed).to_string(),
            failure,
            "512".to_owned(),
            "256".to_owned(),
            "50".to_owned(),
            "50".to_owned(),
        ];
        if jtl.url {
            fields.push(format!("https://{host}.mypurecloud.example{}", path(event)));
        }
        fields.extend(["20", "0", "3"].map(str::to_owned));
        let fields: Vec<String> = fields.iter().map(|field| quoted(field, jtl.delimiter)).collect();
        let _ = writeln!(log, "{}", join(&fields));
    }
    log.into_bytes()
}
