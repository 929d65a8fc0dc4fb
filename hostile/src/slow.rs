//! Slow callers, many of them: half a head, a byte now and then, a body that does not end, an answer
//! that is not read. A good caller works beside them, and the process under test is weighed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bed::{Bed, Pressure};
use crate::floods::MOST_MEMORY;
use crate::good::{Latencies, measure};

const BREATH: Duration = Duration::from_millis(5);
/// Good connections that are there before the slow ones come.
const GOOD: usize = 2;

/// One way to be slow, and what it came to.
#[derive(Clone, Debug)]
pub struct Slow {
    /// How they were slow.
    pub name: &'static str,
    /// Connections that were opened.
    pub opened: u64,
    /// … of which the gateway kept.
    pub held: u64,
    /// … and which it closed at once.
    pub refused: u64,
    /// Bytes of the process over idle, at its largest.
    pub over_idle: u64,
    /// Of good callers beside them.
    pub p99: Duration,
    /// … and before them.
    pub quiet_p99: Duration,
    /// What is to be empty.
    pub complaints: Vec<String>,
}

impl Slow {
    /// Bytes of the process for each connection that was kept.
    pub fn each(&self) -> u64 {
        self.over_idle / self.held.max(1)
    }
}

/// Connections that the gateway takes unless it is told otherwise.
pub const DEFAULT_CAP: usize = 1024;
/// Where it is told to take more, at most so many bytes for each.
const MOST_EACH: u64 = 20 * 1024;

/// What a slow caller sends first, then a byte of at a time, and what each may cost above the default
/// cap.
#[rustfmt::skip]
const WAYS: [(&str, &str, &str, u64); 5] = [
    ("nothing",             "",                                                   "",  MOST_EACH),
    ("half a head",         "GET /slow HTTP/1.1\r\nHost: localhost\r\nX-Half: ",  "",  MOST_EACH),
    ("a head byte by byte", "GET /slow HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",  "y", MOST_EACH),
    ("a body byte by byte", "POST /slow HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 5000\r\n\r\n", "y", MOST_EACH),
    // A piece of the answer, and the buffers of both engines.
    ("an answer not read",  "GET /large HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n", "", 48 * 1024),
];

/// Opens so many connections in each way, of which `cap` may stay, holds them for so long, and lets
/// them go. The bed's origin answers `/large` with more than sockets hold.
pub async fn slow(
    bed: &Bed,
    pressure: &Pressure,
    (count, cap): (usize, usize),
    hold: Duration,
) -> Vec<Slow> {
    let mut played = Vec::new();
    // What an allocator keeps for the next crowd counts as well.
    good(bed, pressure, 50, || false).await;
    let idle = (pressure.resident)();
    for (name, first, then, most_each) in WAYS {
        let quiet = good(bed, pressure, 400, || false).await;
        // They hold their places before the slow ones come: the cap is for those who come later.
        let is_over = AtomicBool::new(false);
        let beside = good(bed, pressure, 200, || !is_over.load(Ordering::Relaxed));
        let slow_ones = async {
            let first = first.replace("{KEY}", &bed.key);
            let crowd = pressure.crowd.spawn(crowd(bed.gateway, count, first, then, hold));
            let counts = crowd.await.expect("it does not panic");
            is_over.store(true, Ordering::Relaxed);
            counts
        };
        let both = async { tokio::join!(beside, slow_ones) };
        tokio::pin!(both);
        let mut most = idle;
        let mut weigh = tokio::time::interval(Duration::from_millis(50));
        let (beside, (opened, refused)) = loop {
            tokio::select! {
                done = &mut both => break done,
                _ = weigh.tick() => most = most.max((pressure.resident)()),
            }
        };
        bed.origin.take();
        let mut one = Slow {
            name,
            opened,
            held: opened - refused,
            refused,
            over_idle: most.saturating_sub(idle),
            p99: beside.percentile(99),
            quiet_p99: quiet.percentile(99),
            complaints: Vec::new(),
        };
        one.judge(&beside, pressure, most_each, cap as u64);
        played.push(one);
    }
    played
}

impl Slow {
    fn judge(&mut self, beside: &Latencies, pressure: &Pressure, most_each: u64, cap: u64) {
        if self.held > cap {
            self.complaints.push(format!("{} are held, and {cap} may be", self.held));
        }
        let is_much = if self.held > DEFAULT_CAP as u64 {
            self.each() > most_each
        } else {
            self.over_idle > MOST_MEMORY
        };
        if is_much {
            self.complaints.push(format!(
                "{} MiB over idle, {} bytes a connection",
                self.over_idle >> 20,
                self.each()
            ));
        }
        self.complaints.extend(pressure.complaints(beside, self.quiet_p99));
    }
}

async fn good(
    bed: &Bed,
    pressure: &Pressure,
    times: usize,
    goes_on: impl Fn() -> bool,
) -> Latencies {
    let one = || measure(bed, &pressure.now, (times / GOOD, BREATH), &goes_on);
    let (mut latencies, other) = tokio::join!(one(), one());
    latencies.add(other);
    latencies
}

/// Opens the connections, holds them, and says how many there were and how many were refused.
async fn crowd(
    gateway: SocketAddr,
    count: usize,
    first: String,
    then: &str,
    hold: Duration,
) -> (u64, u64) {
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let Ok(Ok(mut stream)) = timeout(hold, TcpStream::connect(gateway)).await else {
            break;
        };
        // Who is refused cannot write.
        let _ = stream.write_all(first.as_bytes()).await;
        open.push(stream);
    }
    let opened = open.len() as u64;
    let (beats, mut refused) = (4, 0);
    for beat in 0..beats {
        tokio::time::sleep(hold / beats).await;
        if beat == 0 {
            // Later there are also those who took too long.
            for stream in &mut open {
                refused += u64::from(has_ended(stream).await);
            }
        }
        for stream in &mut open {
            if !then.is_empty() {
                let _ = stream.try_write(then.as_bytes());
            }
        }
    }
    (opened, refused)
}

/// Who was kept has nothing to read, or an answer; who was not has an end.
async fn has_ended(stream: &mut TcpStream) -> bool {
    let mut one = [0; 1];
    match timeout(Duration::ZERO, stream.read(&mut one)).await {
        Ok(Ok(0) | Err(_)) => true,
        Ok(Ok(_)) | Err(_) => false,
    }
}
