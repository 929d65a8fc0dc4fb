//! Points side by side, and a line that says how far they are.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::time::Time;

/// A terminal is told this often, a log rarely.
const LIVE: Duration = Duration::from_millis(200);
const PLAIN: Duration = Duration::from_secs(10);

/// Plays the numbers below `count` on so many lanes; `take` gets each result on this thread. It
/// ends early when `take` says so.
pub(crate) fn run<T: Send>(
    count: u64,
    lanes: usize,
    time: Time,
    play: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(u64, T) -> bool,
) {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let (sender, results) = mpsc::channel();
    let live = stderr().is_terminal();
    let every = if live { LIVE } else { PLAIN };
    std::thread::scope(|scope| {
        for _ in 0..lanes.max(1) {
            let (sender, next, stop, play) = (sender.clone(), &next, &stop, &play);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || sender.send((number, play(number))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let started = time.now();
        let (mut done, mut told) = (0, started);
        for (number, result) in results {
            done += 1;
            if !take(number, result) {
                stop.store(true, Ordering::Relaxed);
            }
            let now = time.now();
            if now.since(told) >= every || (live && done == count) {
                told = now;
                let rate = done as f64 / now.since(started).as_secs_f64().max(0.001);
                let end = if live { "\r" } else { "\n" };
                eprint!("{done} of {count}, {rate:.1} a second{end}");
                // Progress that cannot be shown is no failure.
                let _ = stderr().flush();
            }
        }
        if live {
            eprintln!();
        }
    });
}
