//! Floods over HTTP/2: frames that cost much and ask for little, and heads that HTTP/1.1 has no words
//! for. A good caller works beside each, and the process under test is weighed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bed::{Bed, PATIENCE, Pressure};
use crate::frames::{
    END_HEADERS, END_STREAM, block, bomb, frame, frames, get_fields, kind, opening,
};
use crate::good::{Latencies, measure};
use crate::report::{Line, Report};

/// The most that a flood may add to the process.
pub(crate) const MOST_MEMORY: u64 = 64 << 20;
const BREATH: Duration = Duration::from_millis(2);
/// Connections that flood at the same time.
const LANES: usize = 4;
/// Of so many frames none is too few to notice.
const ENOUGH: u64 = 20_000;
/// How long an end is waited for after the last frame.
const LAST_WORD: Duration = Duration::from_millis(500);
/// So many frames are written at a time.
const BATCH: u32 = 200;

/// One flood and what it came to.
#[derive(Clone, Debug)]
pub struct Flood {
    /// What was sent.
    pub name: &'static str,
    /// Frames or streams that were written before the gateway had enough.
    pub sent: u64,
    /// Connections that the gateway ended.
    pub ended: u64,
    /// Bytes of the process over idle, at its largest.
    pub over_idle: u64,
    /// Of a good caller beside it.
    pub p99: Duration,
    /// … and before it.
    pub quiet_p99: Duration,
    /// What is to be empty.
    pub complaints: Vec<String>,
}

/// Its name, the settings it begins with, what it writes, and whether that must end the connection.
type Kind = (&'static str, &'static [(u16, u32)], Batch, bool);
/// What is written over and over.
type Batch = fn(u32, &str) -> Vec<u8>;

#[rustfmt::skip]
const FLOODS: [Kind; 11] = [
    // name,                          settings,      batch,           must end
    ("rapid reset",                   &[],           rapid_reset,     true),
    ("CONTINUATION without end",      &[],           continuation,    true),
    ("HPACK bomb",                    &[],           hpack_bomb,      false),
    ("SETTINGS",                      &[],           settings,        true),
    ("PING",                          &[],           pings,           true),
    ("empty DATA",                    &[],           empty_data,      true),
    ("PRIORITY",                      &[],           priority,        true),
    ("WINDOW_UPDATE",                 &[],           window_updates,  true),
    ("answers nobody has room for",   &[(4, 0)],     whole_requests,  false),
    ("half-open streams",             &[],           half_open,       false),
    ("heads that are refused",        &[],           bad_heads,       false),
];

/// Whether the gateway answers HTTP/2 in the clear.
pub async fn speaks_http2(bed: &Bed) -> bool {
    let Ok(mut stream) = TcpStream::connect(bed.gateway).await else { return false };
    if stream.write_all(&opening(&[])).await.is_err() {
        return false;
    }
    let mut head = [0; 9];
    let read = timeout(PATIENCE, stream.read_exact(&mut head)).await;
    matches!(read, Ok(Ok(_))) && head[3] == kind::SETTINGS
}

/// Floods with up to so many streams or frames each, for so long at most; then plays the heads that HTTP/1.1 cannot say.
pub async fn floods(
    bed: &Bed,
    pressure: &Pressure,
    (streams, longest): (u64, Duration),
    told: impl Fn(&Flood),
) -> (Vec<Flood>, Report) {
    let quiet = measure(bed, &pressure.now, (400, BREATH), || false).await;
    let mut played = Vec::new();
    for (name, settings, batch, must_end) in FLOODS {
        let idle = (pressure.resident)();
        let is_over = AtomicBool::new(false);
        let lanes = async {
            let mut sent = (0, 0);
            let most = streams / LANES as u64;
            let lane = || flood_lane(bed.gateway, bed.key.clone(), settings, batch, most, longest);
            let lanes: Vec<_> = (0..LANES).map(|_| pressure.crowd.spawn(lane())).collect();
            for lane in lanes {
                let (frames, ended) = lane.await.expect("it does not panic");
                sent = (sent.0 + frames, sent.1 + ended);
            }
            is_over.store(true, Ordering::Relaxed);
            sent
        };
        let goes_on = || !is_over.load(Ordering::Relaxed);
        let beside = measure(bed, &pressure.now, (200, BREATH), goes_on);
        let mut most = idle;
        let mut weigh = tokio::time::interval(Duration::from_millis(20));
        let both = async { tokio::join!(lanes, beside) };
        tokio::pin!(both);
        let ((sent, ended), beside) = loop {
            tokio::select! {
                done = &mut both => break done,
                _ = weigh.tick() => most = most.max((pressure.resident)()),
            }
        };
        let arrived = bed.origin.take();
        let mut complaints = bed.audit(&arrived, false);
        complaints.dedup();
        complaints.truncate(5);
        if must_end && ended == 0 && sent >= ENOUGH {
            complaints.push("no connection was ended".to_owned());
        }
        let mut flood = Flood {
            name,
            sent,
            ended,
            over_idle: most.saturating_sub(idle),
            p99: beside.percentile(99),
            quiet_p99: quiet.percentile(99),
            complaints,
        };
        flood.judge(&beside, pressure);
        told(&flood);
        played.push(flood);
    }
    (played, heads(bed).await)
}

impl Flood {
    fn judge(&mut self, beside: &Latencies, pressure: &Pressure) {
        if self.over_idle > MOST_MEMORY {
            self.complaints.push(format!("{} MiB over idle", self.over_idle >> 20));
        }
        self.complaints.extend(pressure.complaints(beside, self.quiet_p99));
    }
}

/// Writes on connections that are opened anew as often as they end; frames, and how many ended.
async fn flood_lane(
    gateway: SocketAddr,
    key: String,
    settings: &[(u16, u32)],
    batch: Batch,
    most: u64,
    longest: Duration,
) -> (u64, u64) {
    let (mut sent, mut ended) = (0, 0);
    let flood = async {
        while sent < most {
            let Ok(stream) = TcpStream::connect(gateway).await else { break };
            ended += u64::from(flood_one(stream, settings, batch, &key, most, &mut sent).await);
        }
    };
    // Who takes no more, and lets nobody go, costs what it costs.
    let _ = timeout(longest, flood).await;
    (sent, ended)
}

/// Writes on one connection until it ends or enough was sent; whether the gateway ended it.
async fn flood_one(
    stream: TcpStream,
    settings: &[(u16, u32)],
    batch: Batch,
    key: &str,
    most: u64,
    sent: &mut u64,
) -> bool {
    let bearer = format!("Bearer {key}");
    let (mut reader, mut writer) = stream.into_split();
    let write = async {
        writer.write_all(&opening(settings)).await?;
        let mut first = 1;
        while *sent < most && first < 0x7fff_0000 {
            writer.write_all(&batch(first, &bearer)).await?;
            *sent += u64::from(BATCH);
            first += 2 * BATCH;
        }
        std::io::Result::Ok(())
    };
    // What comes back is read, so that it is the gateway that has to bear it.
    let read = async {
        let mut piece = vec![0; 64 * 1024];
        while reader.read(&mut piece).await.is_ok_and(|read| read > 0) {}
    };
    tokio::pin!(read);
    tokio::select! {
        written = write => {
            // What was written last may still be on its way.
            written.is_err() || timeout(LAST_WORD, &mut read).await.is_ok()
        }
        () = &mut read => true,
    }
}

fn each(first: u32, mut frames: impl FnMut(u32) -> Vec<u8>) -> Vec<u8> {
    let mut batch = Vec::new();
    for index in 0..BATCH {
        batch.extend_from_slice(&frames(first + 2 * index));
    }
    batch
}

/// Packed once for each batch: what it takes to flood is not to slow the good caller beside it.
fn packed(bearer: &str) -> Vec<u8> {
    block(&get_fields(b"/flood", bearer.as_bytes()))
}

fn head(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | flags, stream, block)
}

fn rapid_reset(first: u32, bearer: &str) -> Vec<u8> {
    let block = packed(bearer);
    each(first, |stream| {
        let cancel = frame(kind::RST_STREAM, 0, stream, &8u32.to_be_bytes());
        [head(stream, END_STREAM, &block), cancel].concat()
    })
}

fn continuation(first: u32, bearer: &str) -> Vec<u8> {
    let more = frame(kind::CONTINUATION, 0, 1, &block(&[(b"x-more", &[b'y'; 100])]));
    let begins =
        frame(kind::HEADERS, END_STREAM, 1, &block(&get_fields(b"/flood", bearer.as_bytes())));
    let begins = if first == 1 { begins } else { Vec::new() };
    [begins, more.repeat(BATCH as usize)].concat()
}

fn hpack_bomb(first: u32, bearer: &str) -> Vec<u8> {
    let block = bomb(&get_fields(b"/flood", bearer.as_bytes()), &[b'y'; 3900], 4000);
    each(first, |stream| head(stream, END_STREAM, &block))
}

fn settings(first: u32, _: &str) -> Vec<u8> {
    each(first, |_| frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]))
}

fn pings(first: u32, _: &str) -> Vec<u8> {
    each(first, |stream| frame(kind::PING, 0, 0, &u64::from(stream).to_be_bytes()))
}

fn empty_data(first: u32, bearer: &str) -> Vec<u8> {
    let begins = if first == 1 { head(1, 0, &packed(bearer)) } else { Vec::new() };
    [begins, each(first, |_| frame(kind::DATA, 0, 1, b""))].concat()
}

fn priority(first: u32, _: &str) -> Vec<u8> {
    each(first, |stream| frame(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 16]))
}

fn window_updates(first: u32, _: &str) -> Vec<u8> {
    each(first, |_| frame(kind::WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()))
}

fn whole_requests(first: u32, bearer: &str) -> Vec<u8> {
    let block = packed(bearer);
    each(first, |stream| head(stream, END_STREAM, &block))
}

fn half_open(first: u32, bearer: &str) -> Vec<u8> {
    let block = packed(bearer);
    each(first, |stream| head(stream, 0, &block))
}

fn bad_heads(first: u32, bearer: &str) -> Vec<u8> {
    let mut fields = get_fields(b"/flood", bearer.as_bytes());
    fields.push((b"connection", b"close"));
    let block = block(&fields);
    each(first, |stream| frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block))
}

/// Its name, its further fields, and whether it may arrive.
type OddHead = (&'static str, Vec<(&'static [u8], &'static [u8])>, bool);

/// What a head says, and whether it may arrive as one good `GET /in`.
fn odd_heads() -> Vec<OddHead> {
    let with = |name: &'static [u8], value: &'static [u8]| vec![(name, value)];
    vec![
        ("a plain one", vec![], true),
        ("a name in capitals", with(b"X-Own", b"1"), false),
        ("a line end in a value", with(b"x-own", b"1\r\nauthorization: y"), false),
        ("LF in a value", with(b"x-own", b"1\nhost: evil.test"), false),
        ("CR in a value", with(b"x-own", b"1\rhost: evil.test"), false),
        ("NUL in a value", with(b"x-own", b"1\0"), false),
        ("a line end in a name", with(b"x-own: 1\r\nx", b"1"), false),
        ("a colon in a name", with(b"x:y", b"1"), false),
        ("a space in a name", with(b"x y", b"1"), false),
        ("an empty name", with(b"", b"1"), false),
        ("connection", with(b"connection", b"authorization"), false),
        ("keep-alive", with(b"keep-alive", b"1"), false),
        ("proxy-connection", with(b"proxy-connection", b"x"), false),
        ("transfer-encoding", with(b"transfer-encoding", b"chunked"), false),
        ("upgrade", with(b"upgrade", b"h2c"), false),
        ("te that is not trailers", with(b"te", b"gzip"), false),
        ("te that is", with(b"te", b"trailers"), true),
        ("two paths", with(b":path", b"/smuggled"), false),
        ("two methods", with(b":method", b"POST"), false),
        ("two authorities", with(b":authority", b"evil.test"), false),
        ("an unknown pseudo header", with(b":x", b"1"), false),
        (":status", with(b":status", b"200"), false),
        ("a foreign host beside it", with(b"host", b"evil.test"), false),
        ("the same host beside it", with(b"host", b"localhost"), true),
        ("two authorizations", with(b"authorization", b"Bearer x"), false),
        ("a length that is none", with(b"content-length", b"+5"), false),
        ("a length without a body", with(b"content-length", b"5"), false),
        ("a length of 0", with(b"content-length", b"0"), true),
        ("two lengths", vec![(b"content-length", b"0"), (b"content-length", b"5")], false),
        ("a cookie in crumbs", vec![(b"cookie", b"a=b"), (b"cookie", b"c=d")], true),
        ("a name that looks like another", with(b"content_length", b"5"), false),
    ]
}

/// Targets, and the pseudo headers they stand in.
const PATHS: [(&str, &[u8], bool); 12] = [
    ("a path with a line end", b"/in HTTP/1.1\r\nX: y\r\n\r\nGET /smuggled", false),
    ("a path with a space", b"/in HTTP/1.1", false),
    ("a path with LF", b"/in\nX: y", false),
    ("a path with NUL", b"/in\0", false),
    ("an empty path", b"", false),
    ("an asterisk", b"*", false),
    ("a path without a slash", b"in", false),
    ("an absolute path", b"http://evil.test/in", false),
    ("a path that goes up", b"/a/../in", false),
    ("a path with a fragment", b"/in#x", true),
    ("a path with a backslash", b"/\\evil.test", false),
    ("a path of the gateway's that is not there", b"/bellwether/x", false),
];

/// Heads that HTTP/1.1 cannot say or must not be made to say, each on a connection of its own.
async fn heads(bed: &Bed) -> Report {
    let mut report = Report::default();
    let bearer = format!("Bearer {}", bed.key);
    for (name, more, may_arrive) in odd_heads() {
        let mut fields = get_fields(b"/in", bearer.as_bytes());
        fields.extend(more);
        one_head(bed, name, &fields, may_arrive, &mut report).await;
    }
    for (name, path, may_arrive) in PATHS {
        one_head(bed, name, &get_fields(path, bearer.as_bytes()), may_arrive, &mut report).await;
    }
    let good = get_fields(b"/in", bearer.as_bytes());
    for (name, left_out) in
        [("no path", 3), ("no method", 0), ("no scheme", 1), ("no authority", 2)]
    {
        let mut fields = good.clone();
        fields.remove(left_out);
        // Without a scheme some servers go on; without an authority or Host nobody knows whose it is.
        one_head(bed, name, &fields, left_out == 1, &mut report).await;
    }
    let mut behind = good.clone();
    behind.rotate_left(4);
    one_head(bed, "pseudo headers behind others", &behind, false, &mut report).await;
    report
}

async fn one_head(
    bed: &Bed,
    name: &str,
    fields: &[(&[u8], &[u8])],
    may_arrive: bool,
    report: &mut Report,
) {
    let mut complaints = Vec::new();
    let ping = frame(kind::PING, 0, 0, b"the end!");
    let head = frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
    let kept = match exchange(bed, &[opening(&[]), head].concat(), &ping).await {
        Ok(kept) => kept,
        Err(why) => {
            complaints.push(why);
            false
        }
    };
    if let Err(why) = bed.probe().await {
        complaints.push(format!("beside it: {why}"));
    }
    let arrived = bed.origin.take();
    report.arrived += arrived.messages.len() as u64;
    complaints.extend(bed.audit(&arrived, false));
    let own = arrived.messages.iter().filter(|message| !message.target.starts_with("/probe/"));
    let own: Vec<_> = own.collect();
    let is_one = matches!(own[..], [one] if one.method == "GET" && one.target == "/in");
    let is_well = own.is_empty() || (may_arrive && is_one);
    if !is_well {
        complaints.push(format!("it arrived as {own:?}"));
    }
    let forwarded = u64::from(!own.is_empty());
    let line = Line { refused: 1 - forwarded, forwarded, kept: u64::from(kept), ..Line::default() };
    report.enter("heads of HTTP/2", name, line, complaints);
}

/// Sends a request, and a ping once it was answered; whether the connection goes on.
async fn exchange(bed: &Bed, request: &[u8], ping: &[u8]) -> Result<bool, String> {
    let mut stream = TcpStream::connect(bed.gateway).await.map_err(|error| error.to_string())?;
    stream.write_all(request).await.map_err(|error| error.to_string())?;
    let (mut read, mut piece) = (Vec::new(), vec![0; 16 * 1024]);
    let mut is_pinged = false;
    loop {
        let known = frames(&read);
        let is_over = known.iter().any(|(kind, flags, stream, _)| match *kind {
            kind::RST_STREAM => *stream == 1,
            kind::HEADERS | kind::DATA => *stream == 1 && flags & END_STREAM != 0,
            _ => false,
        });
        if known.iter().any(|(kind, ..)| *kind == kind::GOAWAY) {
            return Ok(false);
        }
        if known.iter().any(|(kind, flags, ..)| *kind == kind::PING && flags & 1 != 0) {
            return Ok(true);
        }
        if is_over && !is_pinged {
            is_pinged = true;
            if stream.write_all(ping).await.is_err() {
                return Ok(false);
            }
        }
        match timeout(PATIENCE, stream.read(&mut piece)).await {
            Ok(Ok(0) | Err(_)) => return Ok(false),
            Ok(Ok(length)) => read.extend_from_slice(&piece[..length]),
            Err(_) => return Err("no answer, and no end".to_owned()),
        }
    }
}
