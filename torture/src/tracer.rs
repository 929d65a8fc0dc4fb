//! Holds a process at each of its system calls.
//!
//! Every thread stops at every call, and the calls of all threads count as one sequence. At the
//! chosen one the whole process is killed, before the call does anything; or the call fails without
//! being made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bellwether_lifecycle::Timestamp;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::Serialize;

use crate::process::LONGEST;
use crate::time::Time;

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    /// The process is killed before it.
    Kill,
    /// It fails with an input/output error.
    Eio,
    /// It fails because no room is left.
    Enospc,
}

/// A system call that matters outside the process, or reads what is outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    /// The file or socket, as far as it can be told.
    pub(crate) on: String,
}

impl Call {
    /// Whether it is about a connection.
    pub(crate) fn is_on_socket(&self) -> bool {
        self.on.starts_with("socket:")
    }
}

impl fmt::Display for Call {
    /// With the last part of the path alone: directories differ.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.on.rsplit('/').next().unwrap_or_default();
        let what = last.split(':').next().unwrap_or_default();
        write!(f, "{} {what}", self.name)
    }
}

/// What is known once a traced process has ended.
#[derive(Debug)]
pub(crate) struct Traced {
    /// The calls that count, in their order.
    pub(crate) calls: Vec<Call>,
    /// The call that the fault fell on, if it was reached, and when.
    pub(crate) struck: Option<(usize, Timestamp)>,
    /// The exit status; none if it was killed.
    pub(crate) exit: Option<i32>,
    /// When it had ended.
    pub(crate) ended: Timestamp,
}

/// The numbers of x86-64. Left out is what stays inside the process: memory, threads, futexes,
/// clocks, random numbers, waiting.
const CALLS: [(u64, &str, Kind); 49] = [
    (0, "read", Kind::Descriptor),
    (1, "write", Kind::Grows),
    (2, "open", Kind::Path(0)),
    (3, "close", Kind::Other),
    (4, "stat", Kind::Path(0)),
    (5, "fstat", Kind::Descriptor),
    (6, "lstat", Kind::Path(0)),
    (8, "lseek", Kind::Descriptor),
    (9, "mmap", Kind::Mapping),
    (17, "pread64", Kind::Descriptor),
    (18, "pwrite64", Kind::Grows),
    (19, "readv", Kind::Descriptor),
    (20, "writev", Kind::Grows),
    (41, "socket", Kind::Other),
    (42, "connect", Kind::Descriptor),
    (44, "sendto", Kind::Descriptor),
    (45, "recvfrom", Kind::Descriptor),
    (46, "sendmsg", Kind::Descriptor),
    (47, "recvmsg", Kind::Descriptor),
    (48, "shutdown", Kind::Descriptor),
    (72, "fcntl", Kind::Descriptor),
    (73, "flock", Kind::Descriptor),
    (74, "fsync", Kind::Descriptor),
    (75, "fdatasync", Kind::Descriptor),
    (76, "truncate", Kind::GrowsPath(0)),
    (77, "ftruncate", Kind::Grows),
    (82, "rename", Kind::GrowsPath(1)),
    (83, "mkdir", Kind::GrowsPath(0)),
    (84, "rmdir", Kind::Path(0)),
    (86, "link", Kind::GrowsPath(1)),
    (87, "unlink", Kind::Path(0)),
    (90, "chmod", Kind::Path(0)),
    (91, "fchmod", Kind::Descriptor),
    (93, "fchown", Kind::Descriptor),
    (137, "statfs", Kind::Path(0)),
    (217, "getdents64", Kind::Descriptor),
    (231, "exit_group", Kind::Other),
    (257, "openat", Kind::GrowsPath(1)),
    (258, "mkdirat", Kind::GrowsPath(1)),
    (262, "newfstatat", Kind::Path(1)),
    (263, "unlinkat", Kind::Path(1)),
    (264, "renameat", Kind::GrowsPath(3)),
    (277, "sync_file_range", Kind::Descriptor),
    (285, "fallocate", Kind::Grows),
    (295, "preadv", Kind::Descriptor),
    (296, "pwritev", Kind::Grows),
    (306, "syncfs", Kind::Descriptor),
    (316, "renameat2", Kind::GrowsPath(3)),
    (332, "statx", Kind::Path(1)),
];

/// Where a call says what it is about, and whether a full disk can stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Descriptor,
    Grows,
    Path(usize),
    GrowsPath(usize),
    Mapping,
    Other,
}

impl Kind {
    fn grows(self) -> bool {
        matches!(self, Self::Grows | Self::GrowsPath(_))
    }
}

/// Which calls count.
#[derive(Clone, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) fault: Fault,
    /// Calls on files count if the files lie here.
    pub(crate) directory: &'a Path,
    /// Calls count from when this is true.
    pub(crate) armed: &'a AtomicBool,
}

impl Scope<'_> {
    /// A kill can fall anywhere; an error is for files of ours and, if it is one of input and
    /// output, for sockets.
    fn counts(&self, kind: Kind, on: &str) -> bool {
        let ours = on.starts_with(&*self.directory.to_string_lossy());
        match self.fault {
            Fault::Kill => ours || !on.starts_with('/') || on.starts_with("/dev/"),
            Fault::Eio => kind != Kind::Other && (ours || on.starts_with("socket:")),
            Fault::Enospc => kind.grows() && ours,
        }
    }
}

/// To be called by the process that is to be traced, before it becomes what is traced.
pub(crate) fn offer() -> Result<(), String> {
    ptrace::traceme().map_err(|error| format!("tracing is not allowed here: {error}"))
}

/// Follows `pid`, which has offered itself to this thread, to its end. The fault falls on the
/// `chosen` call, or nowhere.
///
/// # Errors
/// When tracing is not possible.
pub(crate) fn follow(
    pid: u32,
    scope: &Scope<'_>,
    chosen: Option<usize>,
    time: Time,
) -> Result<Traced, String> {
    let pid = Pid::from_raw(i32::try_from(pid).map_err(|error| error.to_string())?);
    let mut tracer = Tracer {
        pid,
        scope,
        chosen,
        time,
        traced: Traced { calls: Vec::new(), struck: None, exit: None, ended: time.now() },
        inside: BTreeMap::new(),
        known: BTreeSet::new(),
    };
    let followed = tracer.run();
    if followed.is_err() {
        // It may be gone already.
        let _ = kill(pid, Signal::SIGKILL);
    }
    tracer.traced.ended = time.now();
    followed.map_err(|error| format!("tracing failed: {error}")).map(|()| tracer.traced)
}

struct Tracer<'a> {
    pid: Pid,
    scope: &'a Scope<'a>,
    chosen: Option<usize>,
    time: Time,
    traced: Traced,
    /// Threads that are inside a call, and what it is to answer.
    inside: BTreeMap<Pid, Option<Errno>>,
    known: BTreeSet<Pid>,
}

impl Tracer<'_> {
    fn run(&mut self) -> Result<(), Errno> {
        // Stopped by its own exec, as whoever offers itself is.
        waitpid(self.pid, Some(WaitPidFlag::__WALL))?;
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(self.pid, options)?;
        self.known.insert(self.pid);
        ptrace::syscall(self.pid, None)?;
        let until = self.time.now() + LONGEST;
        loop {
            // This thread's children alone: other lanes have theirs.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            match waitpid(None, Some(flags))? {
                WaitStatus::Exited(pid, status) if pid == self.pid => {
                    self.traced.exit = Some(status);
                    return Ok(());
                }
                WaitStatus::Signaled(pid, ..) if pid == self.pid => return Ok(()),
                WaitStatus::PtraceSyscall(pid) => self.at_call(pid)?,
                WaitStatus::Stopped(pid, signal) => {
                    let is_first = self.known.insert(pid) && signal == Signal::SIGSTOP;
                    let signal = (!is_first && signal != Signal::SIGTRAP).then_some(signal);
                    go_on(pid, signal)?;
                }
                WaitStatus::PtraceEvent(pid, ..) => go_on(pid, None)?,
                WaitStatus::Exited(..)
                | WaitStatus::Signaled(..)
                | WaitStatus::Continued(_)
                | WaitStatus::StillAlive => {}
            }
            if self.time.now() >= until {
                return Err(Errno::ETIMEDOUT);
            }
        }
    }

    fn at_call(&mut self, pid: Pid) -> Result<(), Errno> {
        if let Some(answer) = self.inside.remove(&pid) {
            if let Some(errno) = answer {
                let mut registers = ptrace::getregs(pid)?;
                registers.rax = (-i64::from(errno as i32)).cast_unsigned();
                ptrace::setregs(pid, registers)?;
            }
            return go_on(pid, None);
        }
        let Ok(mut registers) = ptrace::getregs(pid) else { return go_on(pid, None) };
        let mut answer = None;
        let known = CALLS.iter().find(|(number, ..)| *number == registers.orig_rax);
        if let Some(&(_, name, kind)) = known {
            let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
            let on = self.what_about(kind, arguments, registers.r8);
            if self.scope.armed.load(Ordering::SeqCst) && self.scope.counts(kind, &on) {
                let number = self.traced.calls.len();
                self.traced.calls.push(Call { name, on });
                if self.chosen == Some(number) {
                    self.traced.struck = Some((number, self.time.now()));
                    match self.scope.fault {
                        Fault::Kill => return kill(self.pid, Signal::SIGKILL),
                        Fault::Eio => answer = Some(Errno::EIO),
                        Fault::Enospc => answer = Some(Errno::ENOSPC),
                    }
                    // There is no such call, so nothing is done.
                    registers.orig_rax = u64::MAX;
                    ptrace::setregs(pid, registers)?;
                }
            }
        }
        self.inside.insert(pid, answer);
        go_on(pid, None)
    }

    fn what_about(&self, kind: Kind, arguments: [u64; 4], fifth: u64) -> String {
        let link = |descriptor: u64| {
            let link = format!("/proc/{}/fd/{}", self.pid, descriptor.cast_signed() as i32);
            let target = fs::read_link(link).unwrap_or_else(|_| PathBuf::from("nothing"));
            target.to_string_lossy().into_owned()
        };
        match kind {
            Kind::Descriptor | Kind::Grows => link(arguments[0]),
            Kind::Path(index) | Kind::GrowsPath(index) => {
                let path = self.text_at(arguments[index]);
                // An empty path stands for the descriptor before it.
                let path =
                    if path.is_empty() && index > 0 { link(arguments[index - 1]) } else { path };
                if path.starts_with('/') {
                    path
                } else {
                    self.scope.directory.join(path).to_string_lossy().into_owned()
                }
            }
            Kind::Mapping if fifth.cast_signed() as i32 >= 0 => link(fifth),
            // Memory is nobody else's business.
            Kind::Mapping => "/memory".to_owned(),
            Kind::Other => String::new(),
        }
    }

    fn text_at(&self, address: u64) -> String {
        let mut bytes = [0_u8; 512];
        let memory = fs::File::open(format!("/proc/{}/mem", self.pid));
        let read = memory.and_then(|memory| memory.read_at(&mut bytes, address)).unwrap_or(0);
        let text = bytes[..read].split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}

/// A thread that was killed meanwhile is gone.
fn go_on(pid: Pid, signal: Option<Signal>) -> Result<(), Errno> {
    match ptrace::syscall(pid, signal) {
        Err(Errno::ESRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}
