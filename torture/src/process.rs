//! A real process: started, watched, killed.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::time::Time;

/// Whoever takes longer hangs.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// A process that was started and has not been waited for.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pidfd: OwnedFd,
    output: Option<ChildStdout>,
    time: Time,
    reaped: bool,
    /// When it was started.
    pub(crate) started: Timestamp,
}

/// How a process ended, and what it had printed by then.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) printed: String,
    /// From its start to its end.
    pub(crate) took: Duration,
}

impl Ended {
    /// What a successful command printed.
    pub(crate) fn result(&self) -> Option<&str> {
        let printed = self.printed.trim();
        (self.status.success() && !printed.is_empty()).then_some(printed)
    }
}

impl Process {
    /// Starts it; its errors go where `errors` leads.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(
        mut command: Command,
        errors: impl Into<Stdio>,
        time: Time,
    ) -> Result<Self, String> {
        let started = time.now();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child =
            command.spawn().map_err(|error| format!("a process does not start: {error}"))?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .map_err(|error| format!("a process cannot be watched: {error}"))?;
        let output = child.stdout.take();
        Ok(Self { child, pidfd, output, time, reaped: false, started })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, at most until then. Whether it has ended.
    pub(crate) fn wait_until(&self, at: Timestamp) -> bool {
        loop {
            let left = self.time.now().until(at);
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
            if matches!(poll(&mut watched, Some(&timeout)), Ok(1..)) {
                return true;
            }
            if self.time.now() >= at {
                return false;
            }
        }
    }

    /// Sends a signal; whoever has ended gets none.
    pub(crate) fn signal(&self, signal: Signal) {
        // Not waited for yet, so the number is still its own.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Kills it now.
    pub(crate) fn kill(self) -> Result<Ended, String> {
        self.signal(Signal::KILL);
        self.end()
    }

    /// Waits for its end. One that hangs is killed and reported.
    pub(crate) fn end(mut self) -> Result<Ended, String> {
        let hangs = !self.wait_until(self.time.now() + LONGEST);
        if hangs {
            self.signal(Signal::KILL);
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        self.reaped = true;
        let took = self.time.now().since(self.started);
        if hangs {
            return Err(format!("a process hung for {LONGEST:?}"));
        }
        Ok(Ended { status, printed: self.printed(), took })
    }

    /// What it printed. Somebody else has waited for it already.
    pub(crate) fn printed(mut self) -> String {
        self.reaped = true;
        let mut printed = Vec::new();
        if let Some(mut output) = self.output.take() {
            // What cannot be read was not printed.
            let _ = output.read_to_end(&mut printed);
        }
        String::from_utf8_lossy(&printed).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            // Nothing more can be done about one that stays.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
