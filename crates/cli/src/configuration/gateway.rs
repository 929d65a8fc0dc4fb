//! `[gateway]`: the listener for callers.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Duration;

use bellwether_server::{ConnectionLimits, GatewaySettings, TrustedProxy};

use super::listen_at::{self, ListenAt};
use super::section::{Context, Field, Section, nearest};
use super::tls::{self, Tls};
use super::{address, duration, size};

/// The listener for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Where it listens; at least one. 127.0.0.1:8484 unless said otherwise.
    pub listen: Vec<ListenAt>,
    /// Permissions of its unix sockets.
    pub socket_mode: u32,
    /// What it proves itself with over TCP; in the clear without.
    pub tls: Option<Tls>,
    /// How many connections there may be, and for how long without a request.
    pub connections: ConnectionLimits,
    /// Names that `Host` may hold beside this machine's own; in lower case.
    pub hosts: Vec<String>,
    /// Peers that may ask for others, as reverse proxies do.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Which tokens callers get.
    pub hand_out: HandOut,
    /// What the paths of the token endpoint begin with; empty or like `/login`.
    pub login_path: String,
    /// What the paths of the resource server begin with; empty or like `/api`.
    pub api_path: String,
    /// For how long a spent refresh token is answered with the pair that was issued for it.
    pub refresh_replay: Duration,
    /// Bytes of a request body that are kept so that it can be sent again; larger requests are
    /// sent once.
    pub max_body: u64,
    /// Whether identical GETs in flight are asked once.
    pub coalesce: bool,
    /// How long an answer is kept that allows it, at most.
    pub cache: Option<Duration>,
    /// Bytes of kept answers, at most.
    pub cache_size: u64,
    /// How long callers may take, and the API.
    pub timeouts: Timeouts,
    /// Threads that serve callers; one for each processor unless said otherwise.
    pub workers: Option<NonZeroUsize>,
}

/// How long the gateway waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a caller's form, or a body that is kept.
    pub body: Duration,
    /// For the head of the API's answer, from the end of the request.
    pub answer: Duration,
    /// For the next piece of an answer, or of what passes over an upgraded connection.
    pub silence: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let GatewaySettings { body_timeout, answer_timeout, silence, .. } =
            GatewaySettings::default();
        Self { body: body_timeout, answer: answer_timeout, silence }
    }
}

/// Which tokens callers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOut {
    /// The authorization server's own.
    Real,
    /// Tokens that are good only at this gateway.
    Local,
}

const MAX_REPLAY: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_BODY: u64 = 64 * 1024 * 1024;
const MAX_CACHE: Duration = Duration::from_secs(60 * 60);
const MAX_CACHE_SIZE: u64 = 1024 * 1024 * 1024;
const MOST_CONNECTIONS: i64 = 1_000_000;
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
const MOST_WORKERS: i64 = 1024;
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(60 * 60);

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: vec![ListenAt::Tcp(SocketAddr::from(([127, 0, 0, 1], 8484)))],
            socket_mode: 0o600,
            tls: None,
            connections: ConnectionLimits::default(),
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            hand_out: HandOut::Real,
            login_path: String::new(),
            api_path: String::new(),
            refresh_replay: Duration::from_secs(10 * 60),
            max_body: 1024 * 1024,
            coalesce: false,
            cache: None,
            cache_size: 16 * 1024 * 1024,
            timeouts: Timeouts::default(),
            workers: None,
        }
    }
}

impl HandOut {
    /// The name it has in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Local => "local",
        }
    }

    /// Reads the name it has in a configuration.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "real" => Ok(Self::Real),
            "local" => Ok(Self::Local),
            _ => Err(one_of(name, &["real", "local"])),
        }
    }
}

/// The section, and where its listen address was written, if it was.
pub(super) fn read(
    context: &mut Context<'_>,
    mut section: Section<'_>,
) -> (Gateway, Option<Range<usize>>) {
    let mut gateway = Gateway::default();
    let listen = section.optional("listen");
    let span = listen.as_ref().map(Field::span);
    set(&mut gateway.listen, listen, |field| listen_at::read_some(context, &field));
    set(&mut gateway.hosts, section.optional("hosts"), |field| read_hosts(context, &field));
    set(&mut gateway.trusted_proxies, section.optional("trusted_proxies"), |field| {
        let items = field.items(context)?;
        items.iter().map(|item| item.parse(context, str::parse)).collect()
    });
    set(&mut gateway.hand_out, section.optional("hand_out"), |field| {
        field.parse(context, HandOut::parse)
    });
    set(&mut gateway.login_path, section.optional("login_path"), |field| {
        field.parse(context, address::parse_prefix)
    });
    set(&mut gateway.api_path, section.optional("api_path"), |field| {
        field.parse(context, address::parse_prefix)
    });
    set(&mut gateway.refresh_replay, section.optional("refresh_replay"), |field| {
        read_duration(context, &field, MAX_REPLAY)
    });
    set(&mut gateway.max_body, section.optional("max_body"), |field| {
        let bytes = field.parse(context, size::parse)?;
        if bytes > MAX_BODY {
            return field.refuse(context, "keeps too much in memory; write at most \"64MiB\"");
        }
        Some(bytes)
    });
    set(&mut gateway.coalesce, section.optional("coalesce"), |field| field.boolean(context));
    if let Some(field) = section.optional("cache") {
        gateway.cache = read_duration(context, &field, MAX_CACHE);
    }
    set(&mut gateway.cache_size, section.optional("cache_size"), |field| {
        let bytes = field.parse(context, size::parse)?;
        if bytes > MAX_CACHE_SIZE {
            return field.refuse(context, "keeps too much in memory; write at most \"1024MiB\"");
        }
        Some(bytes)
    });
    read_connections(context, &mut section, &mut gateway);
    let Timeouts { body, answer, silence } = &mut gateway.timeouts;
    for (name, timeout) in
        [("body_timeout", body), ("answer_timeout", answer), ("silence", silence)]
    {
        set(timeout, section.optional(name), |field| read_duration(context, &field, LONGEST_WAIT));
    }
    set(&mut gateway.workers, section.optional("workers"), |field| match field.as_integer() {
        Some(count @ 1..=MOST_WORKERS) => usize::try_from(count).ok().map(NonZeroUsize::new),
        Some(_) | None => {
            field.refuse(context, format!("must be a whole number from 1 to {MOST_WORKERS}"))
        }
    });
    section.finish(context);
    (gateway, span)
}

/// What concerns connections, before anything is said on them.
fn read_connections(context: &mut Context<'_>, section: &mut Section<'_>, gateway: &mut Gateway) {
    set(&mut gateway.socket_mode, section.optional("socket_mode"), |field| {
        field.parse(context, listen_at::parse_mode)
    });
    let limits = &mut gateway.connections;
    set(&mut limits.most, section.optional("max_connections"), |field| {
        usize::try_from(read_count(context, &field)?).ok()
    });
    set(&mut limits.most_per_peer, section.optional("max_connections_per_peer"), |field| {
        read_count(context, &field).map(Some)
    });
    set(&mut limits.keep_alive, section.optional("keep_alive"), |field| {
        read_duration(context, &field, LONGEST_KEEP_ALIVE)
    });
    set(&mut gateway.tls, section.optional("tls"), |field| {
        let section = field.section(context)?;
        tls::read(context, section).map(Some)
    });
}

fn read_count(context: &mut Context<'_>, field: &Field<'_>) -> Option<u32> {
    match field.as_integer() {
        Some(count @ 1..=MOST_CONNECTIONS) => u32::try_from(count).ok(),
        Some(_) | None => {
            field.refuse(context, format!("must be a whole number from 1 to {MOST_CONNECTIONS}"))
        }
    }
}

/// Puts what is written in the place of a default.
pub(super) fn set<'d, T>(
    place: &mut T,
    field: Option<Field<'d>>,
    read: impl FnOnce(Field<'d>) -> Option<T>,
) {
    if let Some(value) = field.and_then(read) {
        *place = value;
    }
}

/// Names for `Host`.
pub(super) fn read_hosts(context: &mut Context<'_>, field: &Field<'_>) -> Option<Vec<String>> {
    let items = field.items(context)?;
    items.iter().map(|item| item.parse(context, address::parse_host)).collect()
}

/// A duration above zero and not above `most`.
pub(super) fn read_duration(
    context: &mut Context<'_>,
    field: &Field<'_>,
    most: Duration,
) -> Option<Duration> {
    if field.as_integer().is_some() {
        return field.refuse(context, "needs a unit; write it as in \"30s\"");
    }
    let value = field.parse(context, duration::parse)?;
    if value.is_zero() || value > most {
        let most = duration::write(most);
        return field.refuse(context, format!("must be more than 0s and at most {most}"));
    }
    Some(value)
}

/// The message for a word that is none of the known ones.
pub(super) fn one_of(name: &str, known: &[&str]) -> String {
    let list = known.iter().map(|known| format!("{known:?}")).collect::<Vec<_>>().join(" or ");
    match nearest(name, known) {
        Some(known) => format!("{name:?} is not known; did you mean {known:?}? Write {list}"),
        None => format!("{name:?} is not known; write {list}"),
    }
}
