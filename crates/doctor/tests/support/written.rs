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

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\n', "&#xa;")
}

/// JMeter's XML, with all that can be saved.
pub(crate) fn jtl_xml(events: &[Event]) -> Vec<u8> {
    let mut log =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testResults version=\"1.2\">\n".to_owned();
    for event in events {
        let (method, host) = if event.is_login { ("POST", "login") } else { ("GET", "api") };
        let _ = writeln!(
            log,
            "<httpSample t=\"{}\" it=\"0\" lt=\"9\" ct=\"1\" ts=\"{}\" s=\"{}\" lb=\"{}\" rc=\"{}\" rm=\"{}\" tn=\"Pollers 1-{}\" dt=\"text\" by=\"512\">",
            event.took,
            event.sent,
            event.status < 400,
            label(event),
            event.status,
            reason(event.status),
            event.thread + 1,
        );
        let _ = writeln!(
            log,
            "  <responseData class=\"java.lang.String\">{}</responseData>",
            escaped(&event.body)
        );
        let headers = if event.is_login {
            "Authorization: Basic Y2FuYXJ5OnMzY3JldA==".to_owned()
        } else {
            format!("Authorization: Bearer {}", event.token)
        };
        let _ = writeln!(
            log,
            "  <requestHeader class=\"java.lang.String\">Connection: keep-alive\n{headers}\n</requestHeader>"
        );
        if event.is_login {
            let _ = writeln!(
                log,
                "  <queryString class=\"java.lang.String\">{}</queryString>",
                escaped(&form(event))
            );
        }
        let _ = writeln!(log, "  <method class=\"java.lang.String\">{method}</method>");
        let _ = writeln!(
            log,
            "  <java.net.URL>https://{host}.mypurecloud.example{}</java.net.URL>\n</httpSample>",
            path(event)
        );
    }
    log.push_str("</testResults>\n");
    log.into_bytes()
}

pub(crate) fn form(event: &Event) -> String {
    if event.grant == "refresh_token" {
        format!("grant_type=refresh_token&refresh_token={}", event.refresh_token)
    } else {
        format!("grant_type={}", event.grant)
    }
}

pub(crate) fn iso(milliseconds: i64) -> String {
    bellwether_doctor::moment::Moment(milliseconds).to_string()
}

/// A browser's or proxy's archive. `server_ahead` is what its clock is off, in milliseconds.
pub(crate) fn har(events: &[Event], server_ahead: i64) -> Vec<u8> {
    let entries: Vec<serde_json::Value> = events
        .iter()
        .map(|event| {
            let (method, host) = if event.is_login { ("POST", "login") } else { ("GET", "api") };
            let authorization = if event.is_login {
                "Basic Y2FuYXJ5OnMzY3JldA==".to_owned()
            } else {
                format!("Bearer {}", event.token)
            };
            let mut request = serde_json::json!({
                "method": method,
                "url": format!("https://{host}.mypurecloud.example{}", path(event)),
                "headers": [{"name": "Authorization", "value": authorization}],
            });
            if event.is_login {
                request["postData"] = serde_json::json!({
                    "mimeType": "application/x-www-form-urlencoded", "text": form(event),
                });
            }
            serde_json::json!({
                "startedDateTime": iso(event.sent),
                "time": event.took,
                "request": request,
                "response": {
                    "status": event.status,
                    "headers": [{"name": "Date", "value": rfc_date(event.done() + server_ahead)}],
                    "content": {"size": event.body.len(), "text": event.body},
                },
            })
        })
        .collect();
    serde_json::json!({"log": {"version": "1.2", "creator": {"name": "x"}, "entries": entries}})
        .to_string()
        .into_bytes()
}

/// `14 Nov 2023 22:13:20 GMT` and the like; the weekday is not looked at.
fn rfc_date(milliseconds: i64) -> String {
    let iso = iso(milliseconds);
    let (year, month, day, time) = (&iso[..4], &iso[5..7], &iso[8..10], &iso[11..19]);
    format!("Tue, {day} {} {year} {time} GMT", month_name(month))
}

fn month_name(month: &str) -> &'static str {
    const NAMES: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    NAMES[month.parse::<usize>().expect("a month") - 1]
}

fn common(milliseconds: i64) -> String {
    let iso = iso(milliseconds);
    format!("{}/{}/{}:{}", &iso[8..10], month_name(&iso[5..7]), &iso[..4], &iso[11..19])
}

fn method(event: &Event) -> &'static str {
    if event.is_login { "POST" } else { "GET" }
}

/// A JSON object for each request, as nginx is often told to write.
pub(crate) fn nginx_json(events: &[Event]) -> Vec<u8> {
    let line = |event: &Event| {
        serde_json::json!({
            "time_iso8601": iso(event.done()),
            "remote_addr": "192.0.2.7",
            "request_method": method(event),
            "uri": path(event),
            "status": event.status,
            "request_time": event.took as f64 / 1000.0,
            "body": if event.status >= 400 { &event.body } else { "" },
        })
        .to_string()
    };
    lines(events, line)
}

/// A JSON object for each request with the thread and a hash of the token.
pub(crate) fn thread_json(events: &[Event]) -> Vec<u8> {
    let line = |event: &Event| {
        serde_json::json!({
            "timestamp": event.done(),
            "thread": format!("worker-{}", event.thread),
            "method": method(event),
            "path": path(event),
            "status": event.status,
            "duration_ms": event.took,
            "request_body": if event.is_login { form(event) } else { String::new() },
            "response_body": event.body,
        })
        .to_string()
    };
    lines(events, line)
}

pub(crate) fn nginx(events: &[Event]) -> Vec<u8> {
    let line = |event: &Event| {
        let time = common(event.done());
        let (method, path) = (method(event), path(event));
        format!(
            r#"192.0.2.7 - - [{time} +0000] "{method} {path} HTTP/1.1" {} 512 "-" "Apache-HttpClient/4.5""#,
            event.status
        )
    };
    lines(events, line)
}

pub(crate) fn envoy(events: &[Event]) -> Vec<u8> {
    let line = |event: &Event| {
        let (method, path) = (method(event), path(event));
        format!(
            r#"[{}] "{method} {path} HTTP/1.1" {} - 0 512 {} {} "192.0.2.7" "Apache-HttpClient/4.5" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "api.example" "198.51.100.1:443""#,
            iso(event.sent),
            event.status,
            event.took,
            event.took - 1,
        )
    };
    lines(events, line)
}

pub(crate) fn haproxy(events: &[Event]) -> Vec<u8> {
    let line = |event: &Event| {
        let millis = event.sent.rem_euclid(1000);
        let (method, path) = (method(event), path(event));
        format!(
            r#"Nov 14 22:13:20 lb haproxy[14389]: 192.0.2.7:33317 [{}.{millis:03}] front api/s1 0/0/1/{}/{} {} 512 - - ---- 1/1/1/1/0 0/0 "{method} {path} HTTP/1.1""#,
            common(event.sent),
            event.took,
            event.took,
            event.status,
        )
    };
    lines(events, line)
}

fn lines(events: &[Event], line: impl Fn(&Event) -> String) -> Vec<u8> {
    let mut log = String::new();
    for event in events {
        log.push_str(&line(event));
        log.push('\n');
    }
    log.into_bytes()
}
