//! A resource server that answers what no client should believe, and the next caller's answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::bed::{Bed, belongs};
use crate::corpus::answers::all;
use crate::good::Kept;
use crate::origin::{Answers, Script, Then, echo};
use crate::reply::Reply;
use crate::report::{Line, Report};

/// Stands for the `Authorization` that arrived, in the bytes of an answer.
pub(crate) const AUTHORIZATION: &str = "{AUTHORIZATION}";
/// In bytes that belong to nobody's answer.
pub(crate) const POISON: &str = "poison";
/// Each case is played this often, so that it meets connections in every state.
const TIMES: u64 = 3;
/// An answer that takes longer has made the gateway wait for ever.
const LONGEST: Duration = Duration::from_secs(15);

/// What a caller may get of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This status and body.
    Passed(u16, Vec<u8>),
    /// 502, or nothing.
    Refused,
    /// A head, and a body that breaks off; or 502.
    Torn,
    /// Either of them, in sync with what follows.
    Either(u16, Vec<u8>),
}

/// One answer.
#[derive(Clone, Debug)]
pub struct AnswerCase {
    /// What it is about.
    pub family: &'static str,
    /// Unique within its family.
    pub name: String,
    /// Of the request that is answered so.
    pub method: &'static str,
    /// What is written.
    pub bytes: Vec<u8>,
    /// What follows.
    pub then: Then,
    /// What the caller may get.
    pub expected: Outcome,
}

/// How many there are at least.
pub const ANSWER_CASES: usize = 120;

/// Every case.
pub fn answer_cases() -> Vec<AnswerCase> {
    all()
}

/// What an origin answers: a case to `/answer/N`, and to all else the good answer.
pub fn scripted(cases: &[AnswerCase]) -> Answers {
    let scripts: Vec<(Vec<u8>, Then)> =
        cases.iter().map(|case| (case.bytes.clone(), case.then.clone())).collect();
    Arc::new(move |message, number| {
        let chosen = message.target.strip_prefix("/answer/").and_then(|index| index.parse().ok());
        let Some((bytes, then)) = chosen.and_then(|index: usize| scripts.get(index)) else {
            return echo(message, number);
        };
        let holds = bytes.windows(AUTHORIZATION.len()).any(|part| part == AUTHORIZATION.as_bytes());
        let bytes = if holds {
            let shown = message.all("authorization").concat();
            let text = String::from_utf8_lossy(bytes);
            text.replace(AUTHORIZATION, &String::from_utf8_lossy(&shown)).into_bytes()
        } else {
            bytes.clone()
        };
        Script { bytes, then: then.clone() }
    })
}

/// Plays each case between good requests; the bed's origin answers as [`scripted`].
pub async fn answers(bed: &Bed, cases: &[AnswerCase]) -> Report {
    let mut report = Report::default();
    for (index, case) in cases.iter().enumerate() {
        let mut complaints = Vec::new();
        let mut line = Line::default();
        for _ in 0..TIMES {
            let passed = play(bed, index, case, &mut complaints).await;
            line.kept += u64::from(passed.is_some_and(|open| open));
            line.forwarded |= u64::from(passed.is_some());
        }
        line.refused = 1 - line.forwarded;
        line.kept = u64::from(line.kept == TIMES);
        let arrived = bed.origin.take();
        report.arrived += arrived.messages.len() as u64;
        complaints.extend(bed.audit(&arrived, false));
        let target = format!("/answer/{index}");
        let count = arrived.messages.iter().filter(|message| message.target == target).count();
        // A connection that was closed without an answer may have been closed before the request.
        let may_repeat = case.then == Then::Close && case.expected == Outcome::Refused;
        let most = if may_repeat { 2 * TIMES } else { TIMES };
        if !(TIMES..=most).contains(&(count as u64)) {
            complaints.push(format!("{TIMES} requests arrived {count} times"));
        }
        report.enter(case.family, &case.name, line, complaints);
    }
    report
}

/// Whether the answer was passed on, and if so whether the caller's connection goes on.
async fn play(
    bed: &Bed,
    index: usize,
    case: &AnswerCase,
    complaints: &mut Vec<String>,
) -> Option<bool> {
    let mut kept = match Kept::to(bed.gateway).await {
        Ok(kept) => kept,
        Err(why) => {
            complaints.push(why);
            return None;
        }
    };
    let request = format!(
        "{} /answer/{index} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        case.method, bed.key
    );
    if let Err(why) = kept.write(request.as_bytes()).await {
        complaints.push(why);
        return None;
    }
    let heard = timeout(LONGEST, kept.reply(case.method == "HEAD")).await;
    let heard = heard.unwrap_or_else(|_| Err(format!("no end within {LONGEST:?}")));
    if let Err(why) = &heard
        && why.starts_with("no ")
    {
        complaints.push(why.clone());
    }
    complaints.extend(judge(case, heard.as_ref()));
    // Whoever comes next, on this connection and on two others at once, gets an own answer.
    let target = bed.next_probe();
    let mut is_open = false;
    if heard.is_ok() {
        match kept.ask(&target, &bed.key).await {
            Ok(reply) if belongs(&reply.text(), "GET", &target) => is_open = true,
            Ok(reply) => complaints.push(format!("then: {} {:?}", reply.status, reply.text())),
            // The connection may be over; what it carries may not be another's.
            Err(why) if why.starts_with("an answer with") => {
                complaints.push(format!("then: {why}"));
            }
            Err(_) => {}
        }
    }
    let (one, other) = tokio::join!(bed.probe(), bed.probe());
    complaints.extend([one, other].into_iter().filter_map(Result::err));
    match heard {
        Ok(reply) if !reply.is_ours() => Some(is_open),
        Ok(_) | Err(_) => None,
    }
}

fn judge(case: &AnswerCase, heard: Result<&Reply, &String>) -> Option<String> {
    let is_same = |status: u16, body: &[u8]| {
        let expected = if case.method == "HEAD" { &[][..] } else { body };
        matches!(heard, Ok(reply) if reply.status == status && (reply.body == expected || holds(body, AUTHORIZATION)))
    };
    let is_refused = matches!(heard, Ok(reply) if reply.status == 502 && reply.is_ours())
        || matches!(heard, Err(why) if why.starts_with("closed") || why.starts_with("broken off"));
    let is_good = match &case.expected {
        Outcome::Passed(status, body) => is_same(*status, body),
        Outcome::Refused | Outcome::Torn => is_refused,
        Outcome::Either(status, body) => is_refused || is_same(*status, body),
    };
    let poisoned = matches!(heard, Ok(reply) if holds(&reply.body, POISON))
        && !matches!(&case.expected, Outcome::Passed(_, body) if holds(body, POISON));
    if poisoned {
        return Some("bytes that belong to nobody were passed on".to_owned());
    }
    (!is_good).then(|| match heard {
        Ok(reply) => {
            format!("{} {:?}", reply.status, reply.text().chars().take(100).collect::<String>())
        }
        Err(why) => why.clone(),
    })
}

fn holds(bytes: &[u8], what: &str) -> bool {
    bytes.windows(what.len()).any(|part| part == what.as_bytes())
}
