//! Plays a case and judges it: at the caller, at the resource server, and by good requests behind it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bed::{Bed, PATIENCE, belongs};
use crate::case::{Case, End, Expected, KEY, Seen};
use crate::good::Kept;
use crate::message::{Message, Reading};
use crate::reply::{self, Reply};
use crate::report::{Line, Report};

/// What the caller saw.
#[derive(Debug, Default)]
struct Heard {
    replies: Vec<Reply>,
    broken: Option<String>,
    end: Ended,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ended {
    /// The probe was answered, and the connection is as good as before.
    #[default]
    Open,
    Closed,
    /// Closed, and what was on its way may be lost.
    Reset,
    Hangs,
}

/// Plays each case on a connection of its own, with a probe behind it and one beside it.
pub async fn framing(bed: &Bed, cases: &[Case]) -> Report {
    let mut report = Report::default();
    let mut beside = None;
    for case in cases {
        let mut complaints = Vec::new();
        let line = play(bed, case, &mut complaints, &mut report.arrived).await;
        if let Err(why) = probe_beside(bed, &mut beside).await {
            complaints.push(format!("beside it: {why}"));
        }
        // What the good request left there is judged as well.
        let arrived = bed.origin.take();
        report.arrived += arrived.messages.len() as u64;
        complaints.extend(bed.audit(&arrived, false));
        if arrived.messages.len() != 1 {
            let late: Vec<_> = arrived.messages.iter().map(|message| &message.target).collect();
            complaints.push(format!("not one request alone arrived afterwards: {late:?}"));
        }
        report.enter(case.family, &case.name, line, complaints);
    }
    report
}

/// A good request on a connection that is kept from case to case.
async fn probe_beside(bed: &Bed, beside: &mut Option<Kept>) -> Result<(), String> {
    let mut kept = match beside.take() {
        Some(kept) => kept,
        None => Kept::to(bed.gateway).await?,
    };
    let target = bed.next_probe();
    let reply = kept.ask(&target, &bed.key).await?;
    if !belongs(&reply.text(), "GET", &target) {
        return Err(format!("another's answer: {} {:?}", reply.status, reply.text()));
    }
    *beside = Some(kept);
    Ok(())
}

async fn play(bed: &Bed, case: &Case, complaints: &mut Vec<String>, count: &mut u64) -> Line {
    let probe = bed.next_probe();
    let mut bytes = case.with_key(&bed.key);
    if case.end == End::Probe {
        let request = format!(
            "GET {probe} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
            bed.key
        );
        bytes.extend_from_slice(request.as_bytes());
    }
    let heard = match converse(bed, case, &bytes, &probe).await {
        Ok(heard) => heard,
        Err(why) => {
            complaints.push(why);
            return Line::default();
        }
    };
    let arrived = bed.origin.take();
    *count += arrived.messages.len() as u64;
    complaints.extend(bed.audit(&arrived, case.family == "Upgrade"));
    let (probes, messages): (Vec<Message>, Vec<Message>) =
        arrived.messages.into_iter().partition(|message| message.target.starts_with("/probe/"));
    let (answers, replies): (Vec<&Reply>, Vec<&Reply>) =
        heard.replies.iter().partition(|reply| belongs(&reply.text(), "GET", &probe));
    if let Some(broken) = &heard.broken {
        complaints.push(format!("the caller read {broken}"));
    }
    if heard.end == Ended::Hangs {
        complaints.push("no answer, and no end".to_owned());
    }
    let is_known = probes.iter().all(|message| message.target == probe);
    let lost = heard.end == Ended::Reset;
    if !is_known || answers.len() > 1 || (probes.len() != answers.len() && !lost) {
        complaints.push(format!(
            "the probe behind it arrived {} times and was answered {} times",
            probes.len(),
            answers.len()
        ));
    }
    if heard.replies.last() != answers.last().copied() && !answers.is_empty() {
        complaints.push("the probe was answered before what came before it".to_owned());
    }
    let stays = case.end == End::Probe;
    let seen = Judged { bed, heard: &heard, replies: &replies, messages: &messages, stays };
    seen.judge(&case.expected, case.is_head(), complaints);
    let forwarded = u64::from(!messages.is_empty());
    let kept = u64::from(!answers.is_empty());
    Line { refused: 1 - forwarded, forwarded, kept, ..Line::default() }
}

struct Judged<'a> {
    bed: &'a Bed,
    heard: &'a Heard,
    replies: &'a [&'a Reply],
    messages: &'a [Message],
    /// Whether the caller waited for its answers.
    stays: bool,
}

impl Judged<'_> {
    fn judge(&self, expected: &Expected, is_head: bool, complaints: &mut Vec<String>) {
        match expected {
            Expected::Refused => self.refused(complaints),
            Expected::Forwarded(seen) => self.forwarded(seen, is_head, complaints),
            Expected::Either(_) if self.messages.is_empty() => self.refused(complaints),
            Expected::Either(seen) => {
                self.forwarded(std::slice::from_ref(seen), is_head, complaints);
            }
            Expected::Incomplete => {
                if !self.messages.is_empty() {
                    complaints.push(format!("it arrived as {:?}", self.messages));
                }
                if self.replies.iter().any(|reply| reply.status < 400) {
                    complaints.push(format!("it was answered: {:?}", self.replies));
                }
            }
        }
    }

    fn refused(&self, complaints: &mut Vec<String>) {
        if let Some(message) = self.messages.first() {
            complaints.push(format!("it arrived as {message:?}"));
        }
        match self.replies {
            [reply] if reply.status >= 400 => {}
            [] if matches!(self.heard.end, Ended::Closed | Ended::Reset) => {}
            others => {
                let statuses: Vec<u16> = others.iter().map(|reply| reply.status).collect();
                complaints.push(format!("not refused once: {statuses:?}"));
            }
        }
    }

    fn forwarded(&self, expected: &[Seen], is_head: bool, complaints: &mut Vec<String>) {
        let mut left: Vec<&Message> = self.messages.iter().collect();
        for seen in expected {
            match left.iter().position(|message| self.is(message, seen)) {
                Some(at) => drop(left.remove(at)),
                None => complaints.push(format!("{seen:?} did not arrive as such; {left:?}")),
            }
        }
        if self.messages.len() > expected.len() {
            complaints.push(format!("more arrived: {left:?}"));
        }
        for (index, seen) in expected.iter().enumerate() {
            let Some(reply) = self.replies.get(index) else {
                if self.stays && self.heard.end != Ended::Reset {
                    complaints.push(format!("answer {index} did not come"));
                }
                continue;
            };
            let is_its_own = if is_head && index == 0 {
                reply.status == 200
            } else {
                belongs(&reply.text(), &seen.method, &seen.target)
            };
            if !is_its_own {
                let text = reply.text();
                complaints.push(format!("answer {index} is another's: {} {text:?}", reply.status));
            }
        }
        // What follows a good request may be broken, and is then told so once, at the end.
        match self.replies.get(expected.len()..).unwrap_or_default() {
            [] => {}
            [reply] if reply.status >= 400 && self.heard.end != Ended::Open => {}
            more => complaints.push(format!("answers to nothing: {more:?}")),
        }
    }

    fn is(&self, message: &Message, seen: &Seen) -> bool {
        let with_key = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).replace(KEY, &self.bed.key);
            text.into_bytes()
        };
        message.method == seen.method
            && message.target == seen.target
            && message.body == with_key(&seen.body)
            && seen.has.iter().all(|(name, value)| message.all(name) == [value.as_bytes()])
            && seen.lacks.iter().all(|name| lacks(message, name))
    }
}

/// A coding may frame the body anew; nothing else that is to be gone may be there.
fn lacks(message: &Message, name: &str) -> bool {
    let values = message.all(name);
    values.is_empty() || (name == "transfer-encoding" && values == [b"chunked"])
}

async fn converse(bed: &Bed, case: &Case, bytes: &[u8], probe: &str) -> Result<Heard, String> {
    let connecting = timeout(PATIENCE, TcpStream::connect(bed.gateway)).await;
    let stream = connecting.map_err(|_| "no connection in time".to_owned())?;
    let mut stream = stream.map_err(|error| format!("no connection: {error}"))?;
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.split();
    let write = async {
        // Who refuses may close before all is sent.
        match case.piece {
            0 => drop(writer.write_all(bytes).await),
            piece => {
                for piece in bytes.chunks(piece) {
                    if writer.write_all(piece).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
        if case.end == End::HalfClose {
            let _ = writer.shutdown().await;
        }
    };
    let read = async {
        let mut heard = Heard::default();
        let (mut unread, mut piece) = (Vec::new(), vec![0; 16 * 1024]);
        let mut is_closed = false;
        loop {
            let to_head = case.is_head() && heard.replies.is_empty();
            match reply::read(&unread, to_head, is_closed) {
                _ if unread.is_empty() => {}
                Reading::Whole(reply, used) => {
                    unread.drain(..used);
                    let is_probes = belongs(&reply.text(), "GET", probe);
                    if reply.status >= 200 || reply.status == 101 {
                        heard.replies.push(reply);
                    }
                    if is_probes {
                        return heard;
                    }
                    continue;
                }
                Reading::Broken(why) => {
                    heard.broken = Some(format!("{why}: {:?}", String::from_utf8_lossy(&unread)));
                }
                Reading::Unfinished => {
                    if is_closed && heard.end == Ended::Closed {
                        heard.broken = Some("half an answer".to_owned());
                    }
                }
            }
            if is_closed || heard.broken.is_some() {
                return heard;
            }
            match timeout(PATIENCE, reader.read(&mut piece)).await {
                Ok(Ok(0)) => (is_closed, heard.end) = (true, Ended::Closed),
                Ok(Ok(read)) => unread.extend_from_slice(&piece[..read]),
                Ok(Err(_)) => (is_closed, heard.end) = (true, Ended::Reset),
                Err(_) => {
                    heard.end = Ended::Hangs;
                    return heard;
                }
            }
        }
    };
    tokio::pin!(write, read);
    // Once the caller has its answers, what is still to be written no longer matters.
    let heard = tokio::select! {
        heard = &mut read => heard,
        () = &mut write => read.await,
    };
    Ok(heard)
}
