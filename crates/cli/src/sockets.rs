//! Opens the sockets that the listeners listen at, or takes those that systemd opened.

use std::io;
use std::net::SocketAddr;

use bellwether_server::Socket;
use listenfd::ListenFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::configuration::{Environment, ListenAt};

/// Of a unix socket of the admin listener: this user alone.
const OPERATORS_MODE: u32 = 0o600;
/// Descriptors for everything but callers' connections, and as many again for the API's.
const RESERVED: u64 = 512;

/// The sockets of both listeners.
pub(crate) struct Sockets {
    pub(crate) gateway: Vec<Socket>,
    pub(crate) admin: Vec<Socket>,
}

impl Sockets {
    /// Opens all of them; the first that cannot be opened is the error.
    pub(crate) async fn open(
        gateway: &[ListenAt],
        gateway_mode: u32,
        admin: &ListenAt,
        environment: Environment<'_>,
    ) -> Result<Self, String> {
        let of_systemd = |place: &ListenAt| *place == ListenAt::Systemd;
        let mut given = if gateway.iter().any(of_systemd) || of_systemd(admin) {
            Given::take(environment)?
        } else {
            Given::default()
        };
        let mut sockets = Self { gateway: Vec::new(), admin: Vec::new() };
        for place in gateway {
            match open(place, gateway_mode).await.map_err(|error| error.to_string())? {
                Some(socket) => sockets.gateway.push(socket),
                None => sockets.gateway.append(&mut given.gateway),
            }
        }
        match open(admin, OPERATORS_MODE).await.map_err(|error| error.to_string())? {
            Some(socket) => sockets.admin.push(socket),
            None => sockets.admin.append(&mut given.admin),
        }
        let none = |name: &str| {
            format!(
                "systemd passed no socket named {name}; write FileDescriptorName={name} into its \
                 socket unit"
            )
        };
        if sockets.gateway.is_empty() {
            return Err(none("gateway"));
        }
        if sockets.admin.is_empty() {
            return Err(none("admin"));
        }
        for unused in given.gateway.iter().chain(&given.admin) {
            tracing::warn!("systemd passed a socket that no listener takes: {unused}");
        }
        Ok(sockets)
    }
}

/// A socket of our own; `None` for one that systemd opened.
async fn open(place: &ListenAt, mode: u32) -> io::Result<Option<Socket>> {
    match place {
        ListenAt::Tcp(address) => Socket::tcp(*address).await.map(Some),
        ListenAt::Unix(path) => Socket::unix(path, mode).await.map(Some),
        ListenAt::Systemd => Ok(None),
    }
}

/// What systemd passed (sd_listen_fds(3)).
#[derive(Default)]
struct Given {
    gateway: Vec<Socket>,
    admin: Vec<Socket>,
}

impl Given {
    /// Sockets go by their names; where none is named `gateway`, the first of no name of ours is it.
    fn take(environment: Environment<'_>) -> Result<Self, String> {
        let names = environment("LISTEN_FDNAMES").and_then(|names| names.into_string().ok());
        let names: Vec<String> =
            names.iter().flat_map(|names| names.split(':')).map(str::to_owned).collect();
        let mut passed = ListenFd::from_env();
        if passed.len() == 0 {
            return Err(
                "listen = \"systemd\" needs sockets, and systemd passed none; start it by \
                        a socket unit, or write an address"
                    .to_owned(),
            );
        }
        let mut given = Self::default();
        let mut unnamed = Vec::new();
        for index in 0..passed.len() {
            let socket = take(&mut passed, index)
                .map_err(|error| format!("socket {index} that systemd passed: {error}"))?;
            match names.get(index).map(String::as_str) {
                Some("gateway") => given.gateway.push(socket),
                Some("admin") => given.admin.push(socket),
                Some(_) | None => unnamed.push(socket),
            }
        }
        let mut unnamed = unnamed.into_iter();
        if given.gateway.is_empty() {
            given.gateway.extend(unnamed.next());
        }
        if given.admin.is_empty() {
            given.admin.extend(unnamed.next());
        }
        for socket in unnamed {
            tracing::warn!("systemd passed a socket that is neither gateway nor admin: {socket}");
        }
        Ok(given)
    }
}

/// TCP or unix, and nothing else.
fn take(passed: &mut ListenFd, index: usize) -> io::Result<Socket> {
    match passed.take_tcp_listener(index) {
        Ok(Some(listener)) => Socket::from_tcp(listener),
        Ok(None) | Err(_) => match passed.take_unix_listener(index)? {
            Some(listener) => Socket::from_unix(listener),
            None => Err(io::Error::other("is no stream socket that listens")),
        },
    }
}

/// The TCP addresses of sockets.
pub(crate) fn addresses(sockets: &[Socket]) -> Vec<SocketAddr> {
    sockets.iter().filter_map(|socket| socket.address().ok().flatten()).collect()
}

/// The addresses as a caller writes them, with commas between several.
pub(crate) fn shown(sockets: &[Socket], scheme: &str) -> String {
    let shown = |socket: &Socket| match socket.address() {
        Ok(Some(address)) => format!("{scheme}://{address}"),
        Ok(None) | Err(_) => socket.to_string(),
    };
    sockets.iter().map(shown).collect::<Vec<_>>().join(",")
}

/// Allows as many open files as the system lets us, and says how many of `most` connections fit.
pub(crate) fn room_for(most: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    // None is no limit.
    let Some(allowed) = allowed else { return most };
    let for_callers = allowed.saturating_sub(RESERVED.min(allowed / 2)) / 2;
    let room = usize::try_from(for_callers).unwrap_or(usize::MAX).max(1);
    if room < most {
        tracing::warn!(
            "at most {room} connections instead of {most}: the system allows {allowed} open files \
             (LimitNOFILE=, ulimit -n)"
        );
    }
    most.min(room)
}
