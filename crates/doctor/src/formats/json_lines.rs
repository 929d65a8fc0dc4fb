//! Access logs with a JSON object on each line, by the names that servers and people use.

use super::Step;
use super::lines::{LineFormat, request_line};
use crate::classify::TOKENS;
use crate::fingerprint::Fingerprint;
use crate::json::{Scalar, each_value};
use crate::moment::Moment;
use crate::observation::{Identity, Observation, excerpt};

#[derive(Debug)]
pub(crate) struct JsonLines;

/// What a member of the object is.
enum Member {
    /// When it was answered, or if so, sent.
    Time {
        is_start: bool,
    },
    Status,
    Method,
    Target,
    RequestLine,
    Thread,
    Address,
    /// In milliseconds, in seconds, or in whichever looks right.
    Elapsed(Unit),
    Answer,
    Request,
    Authorization,
    /// A hash or an id of the token.
    Token,
    Label,
    RetryAfter,
    ServerDate,
    User,
}

enum Unit {
    Milliseconds,
    Seconds,
    Guess,
}

fn member(path: &str) -> Option<Member> {
    let name = path.trim_start_matches(['@', ':', '$']);
    Some(match name {
        "time" | "timestamp" | "time_local" | "time_iso8601" | "msec" | "ts" | "date_time"
        | "datetime" | "t" => Member::Time { is_start: false },
        "start_time" | "startTime" | "startedDateTime" | "accept_date" | "request_date"
        | "sent_at" => Member::Time { is_start: true },
        "status"
        | "response_code"
        | "status_code"
        | "statusCode"
        | "http_status"
        | "sc_status"
        | "response.status"
        | "response.status_code"
        | "res.statusCode"
        | "http.response.status_code"
        | "http.status_code" => Member::Status,
        "method"
        | "request_method"
        | "http_method"
        | "verb"
        | "request.method"
        | "req.method"
        | "http.request.method" => Member::Method,
        "uri" | "request_uri" | "path" | "url" | "target" | "url.path" | "url.original"
        | "request.url" | "request.uri" | "request.path" | "req.url" | "http.url" => Member::Target,
        "request" | "http_request" | "request_line" => Member::RequestLine,
        "thread" | "thread_name" | "threadName" | "caller" | "worker" | "tn" => Member::Thread,
        "remote_addr"
        | "client"
        | "client_ip"
        | "clientip"
        | "remote_ip"
        | "src"
        | "source.ip"
        | "downstream_remote_address"
        | "x_forwarded_for"
        | "client.ip"
        | "ci" => Member::Address,
        "duration_ms" | "elapsed" | "elapsed_ms" | "time_taken" | "took" | "response_time_ms"
        | "total_time" | "latency_ms" | "Ta" | "Tt" => Member::Elapsed(Unit::Milliseconds),
        "request_time" | "duration_s" | "elapsed_s" => Member::Elapsed(Unit::Seconds),
        "duration" | "response_time" | "latency" | "responseTime" => Member::Elapsed(Unit::Guess),
        "body" | "response_body" | "resp_body" | "error" | "error_description" | "message"
        | "msg" | "response.body" => Member::Answer,
        "request_body" | "request.body" | "grant_type" => Member::Request,
        "authorization" | "http_authorization" | "request.headers.authorization" => {
            Member::Authorization
        }
        "token_hash" | "token_sha256" | "token_id" | "token" | "jti" => Member::Token,
        "label" | "name" | "operation" => Member::Label,
        "retry_after" | "sent_http_retry_after" | "response.headers.retry-after" => {
            Member::RetryAfter
        }
        "server_date" | "upstream_date" | "sent_http_date" => Member::ServerDate,
        "remote_user" | "user" => Member::User,
        _ => return None,
    })
}

impl LineFormat for JsonLines {
    fn read(&mut self, line: &[u8], seen: &mut Observation) -> Step {
        if line.first() != Some(&b'{') {
            return Step::Unreadable;
        }
        let (mut at, mut is_start, mut has_status) = (None, false, false);
        let whole = each_value(line, &mut |path, value| {
            let Some(member) = member(path) else { return };
            if let Member::Time { is_start: start } = member {
                let read = moment(value);
                if read.is_some() && (at.is_none() || start) {
                    (at, is_start) = (read, start);
                }
            } else {
                has_status |= fill(seen, &member, value);
            }
        });
        let Some(at) = at.filter(|_| whole) else { return Step::Unreadable };
        seen.done_at = if is_start { at.plus(seen.elapsed) } else { at };
        // Lines of a program's own log that tell of no request.
        if has_status && !(seen.target.is_empty() && seen.label.is_empty()) {
            Step::Request
        } else {
            Step::Other
        }
    }
}

/// Returns whether it was the status.
fn fill(seen: &mut Observation, member: &Member, value: Scalar<'_>) -> bool {
    let text = value.text();
    let bytes = text.as_bytes();
    match member {
        Member::Time { .. } => {}
        Member::Status => {
            let status = value.number().unwrap_or_default();
            seen.status = (100.0..600.0).contains(&status).then_some(status as u16);
            return true;
        }
        Member::Method => seen.method = bytes.to_ascii_uppercase(),
        Member::Target => seen.target = bytes.to_vec(),
        Member::RequestLine => {
            request_line(bytes, seen);
        }
        Member::Thread => {
            seen.identity = Identity::Thread;
            seen.caller = bytes.to_vec();
        }
        Member::Address if seen.identity == Identity::Address && !matches!(bytes, b"" | b"-") => {
            seen.caller = without_port(bytes).to_vec();
        }
        Member::Address => {}
        Member::Elapsed(unit) => {
            let number = value.number().unwrap_or_default();
            let milliseconds = match unit {
                Unit::Milliseconds => number,
                Unit::Seconds => number * 1000.0,
                Unit::Guess if number.fract() != 0.0 && number < 60.0 => number * 1000.0,
                Unit::Guess => number,
            };
            seen.elapsed = milliseconds.clamp(0.0, 1e9) as i64;
        }
        Member::Answer => {
            if !seen.message.is_empty() {
                seen.message.push(b' ');
            }
            excerpt(&mut seen.message, bytes);
        }
        Member::Request if !bytes.contains(&b'=') => {
            // The grant type by itself.
            excerpt(&mut seen.request, b" grant_type=");
            excerpt(&mut seen.request, bytes);
        }
        Member::Request => {
            seen.request.push(b' ');
            excerpt(&mut seen.request, bytes);
        }
        Member::Authorization => {
            excerpt(&mut seen.request, b" Authorization: ");
            excerpt(&mut seen.request, bytes);
        }
        Member::Token if !matches!(bytes, b"" | b"-") => {
            seen.token = Some(Fingerprint::of(TOKENS, bytes));
        }
        Member::Token => {}
        Member::Label => seen.label = bytes.to_vec(),
        Member::RetryAfter => seen.retry_after = value.number().map(|seconds| seconds as u32),
        Member::ServerDate => seen.server_date = Moment::parse(bytes),
        Member::User if bytes == b"null" => excerpt(&mut seen.request, b" null:null"),
        Member::User => {}
    }
    false
}

fn moment(value: Scalar<'_>) -> Option<Moment> {
    match value {
        Scalar::Text(text) => Moment::parse(text.as_bytes()),
        Scalar::Number(number) if number > 1e11 => Moment::parse(format!("{number:.0}").as_bytes()),
        Scalar::Number(number) => Moment::parse(format!("{number:.3}").as_bytes()),
        Scalar::Other => None,
    }
}

/// An address without its port; an IPv6 address has more than one colon.
fn without_port(address: &[u8]) -> &[u8] {
    let first = address.split(|byte| *byte == b',').next().unwrap_or(address);
    match memchr::memchr_iter(b':', first).collect::<Vec<_>>().as_slice() {
        [port] => &first[..*port],
        _ => first,
    }
}
