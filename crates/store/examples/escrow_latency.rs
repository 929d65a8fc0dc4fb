//! How long an escrow's append takes beside what the disk itself takes.
//!
//! ```sh
//! cargo run --release -p bellwether-store --example escrow_latency -- [DIRECTORY]
//! ```
//!
//! Each round appends the same bytes twice, with a bare `write` and `fdatasync` and through the
//! escrow, in turns first; a reservation goes before. After that many append at once.
//!
//! The directory (the system's for temporary files, unless one is given) decides which disk is
//! measured. The goal: the escrow's 99th percentile is at most 1 ms above the disk's own.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bellwether_store::{Clock, Escrow, FileEscrow, Key, Row, Sealed, SystemClock};
use futures_util::future::join_all;

const ROUNDS: u64 = 2000;
/// Before anything is counted.
const WARM_UP: u64 = 100;
/// As many credentials take turns.
const KEYS: u64 = 50;
/// A token response with its headers, sealed.
const SIZE: usize = 3 << 10;
/// A frame is longer than what is sealed in it.
const FRAMED: usize = SIZE + 40;
/// How many append at once in the second part.
const CROWD: usize = 32;
const GOAL: Duration = Duration::from_millis(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let place = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(place)?;
    let escrow = FileEscrow::open(&directory.path().join("escrow"))?;
    let mut bare = OpenOptions::new();
    let mut bare = bare.append(true).create_new(true).open(directory.path().join("bare"))?;
    let keys = (0..KEYS).map(|number| Key::credential(&format!("credential-{number}"), 0));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let clock = SystemClock::new();

    let (mut disk, mut ours, mut reserved) = (Vec::new(), Vec::new(), Vec::new());
    for (round, key) in (0..WARM_UP + ROUNDS).zip(keys.iter().cycle()) {
        let sealed = Sealed::from_bytes(vec![round.to_le_bytes()[0]; SIZE]);
        let record = Row { generation: round, sealed };
        let before = clock.now();
        escrow.reserve(key, Vec::new()).await?;
        reserved.push(before.until(clock.now()));
        let bare_first = round % 2 == 0;
        if bare_first {
            disk.push(append(&mut bare, &clock)?);
        }
        let before = clock.now();
        escrow.append(key, record).await?;
        ours.push(before.until(clock.now()));
        if !bare_first {
            disk.push(append(&mut bare, &clock)?);
        }
    }
    let disk = Latencies::of(disk.split_off(WARM_UP as usize));
    let ours = Latencies::of(ours.split_off(WARM_UP as usize));

    let reserved = Latencies::of(reserved.split_off(WARM_UP as usize));

    let mut crowd = Vec::new();
    let mut busy = Duration::ZERO;
    for round in 0..ROUNDS / CROWD as u64 {
        let generation = WARM_UP + ROUNDS + round;
        for key in &keys[..CROWD] {
            escrow.reserve(key, Vec::new()).await?;
        }
        let before = clock.now();
        let appended = join_all(keys[..CROWD].iter().map(|key| {
            let sealed = Sealed::from_bytes(vec![7; SIZE]);
            let appended = escrow.append(key, Row { generation, sealed });
            let clock = &clock;
            async move { appended.await.map(|()| before.until(clock.now())) }
        }));
        crowd.extend(appended.await.into_iter().collect::<Result<Vec<_>, _>>()?);
        busy += before.until(clock.now());
    }
    let rate = crowd.len() as f64 / busy.as_secs_f64();
    let crowd = Latencies::of(crowd);

    println!("{ROUNDS} rounds of {SIZE} bytes, {KEYS} keys; milliseconds\n");
    println!("{:<20} {:>8} {:>8} {:>8}", "", "p50", "p99", "p99.9");
    disk.print("write + fdatasync");
    ours.print("escrow");
    println!(
        "{:<20} {:>+8.3} {:>+8.3} {:>+8.3}",
        "difference",
        millis(ours.p50) - millis(disk.p50),
        millis(ours.p99) - millis(disk.p99),
        millis(ours.p999) - millis(disk.p999),
    );
    reserved.print("reservation");
    crowd.print(&format!("escrow, {CROWD} at once"));
    println!("\n{CROWD} at once: {rate:.0} appends a second");
    let met = if ours.p99 <= disk.p99 + GOAL { "met" } else { "missed" };
    println!("goal: p99 at most {} ms above the disk's: {met}", millis(GOAL));
    Ok(())
}

fn append(file: &mut File, clock: &SystemClock) -> std::io::Result<Duration> {
    let before = clock.now();
    file.write_all(&[7; FRAMED])?;
    file.sync_data()?;
    Ok(before.until(clock.now()))
}

struct Latencies {
    p50: Duration,
    p99: Duration,
    p999: Duration,
}

impl Latencies {
    fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |thousandth: usize| samples[(samples.len() - 1) * thousandth / 1000];
        Self { p50: at(500), p99: at(990), p999: at(999) }
    }

    fn print(&self, name: &str) {
        let Self { p50, p99, p999 } = self;
        println!("{name:<20} {:>8.3} {:>8.3} {:>8.3}", millis(*p50), millis(*p99), millis(*p999));
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
