//! Lines written by a thread of their own: whoever logs never waits for whoever reads.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written; more are lost, and counted.
const MOST_WAITING: usize = 4096;
/// The longest that the end waits for whoever reads.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes lines.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    sender: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Tells when all before it are written.
    End(SyncSender<()>),
}

/// While it lives, lines are written.
#[derive(Debug)]
pub(crate) struct Guard(SyncSender<Entry>);

/// Starts the thread.
pub(crate) fn start(out: impl Write + Send + 'static) -> (Lines, Guard) {
    let (sender, entries) = sync_channel(MOST_WAITING);
    let lost = Arc::<AtomicU64>::default();
    let guard = Guard(sender.clone());
    let counted = Arc::clone(&lost);
    let thread = thread::Builder::new().name("log".to_owned());
    // Without the thread there is no log, and nobody to tell.
    let _ = thread.spawn(move || write(&entries, out, &counted));
    (Lines { sender, lost }, guard)
}

fn write(entries: &Receiver<Entry>, mut out: impl Write, lost: &AtomicU64) {
    for entry in entries {
        // A line that cannot be written is dropped.
        match entry {
            Entry::Line(line) => drop(out.write_all(&line)),
            Entry::End(written) => {
                let _ = out.flush();
                let _ = written.send(());
            }
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{lost} lines of the log were lost: nobody read it fast enough");
        }
    }
}

/// One line, as it comes into being.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    bytes: Vec<u8>,
    lines: &'a Lines,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = Entry::Line(std::mem::take(&mut self.bytes));
        if let Err(TrySendError::Full(_)) = self.lines.sender.try_send(line) {
            self.lines.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { bytes: Vec::new(), lines: self }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (written, is_written) = sync_channel(1);
        let sender = self.0.clone();
        // Whoever does not read is not waited for, neither for room nor for what is written.
        let waiting = thread::Builder::new().spawn(move || sender.send(Entry::End(written)));
        if waiting.is_ok() {
            let _ = is_written.recv_timeout(PATIENCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes one line, and the next ones only once it is told to.
    struct Stuck {
        told: Receiver<()>,
        taken: Arc<Mutex<String>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The end of the test tells, too.
            let _ = self.told.recv();
            self.taken.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_is_lost_is_told() {
        let (go_on, told) = sync_channel::<()>(0);
        let taken = Arc::<Mutex<String>>::default();
        let (lines, guard) = start(Stuck { told, taken: Arc::clone(&taken) });
        for number in 0..MOST_WAITING + 100 {
            writeln!(lines.make_writer(), "line {number}").unwrap();
        }
        drop(go_on);
        drop((lines, guard));
        let said = taken.lock().unwrap().clone();
        assert!(
            said.starts_with("line 0\n") && said.contains("lines of the log were lost"),
            "{said}"
        );
        let written = said.lines().filter(|line| line.starts_with("line ")).count();
        assert!((MOST_WAITING..MOST_WAITING + 100).contains(&written), "{written}");
    }
}
