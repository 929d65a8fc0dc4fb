//! `[admin]`: the listener for operators.

use std::net::SocketAddr;
use std::ops::Range;

use super::gateway::{read_hosts, set};
use super::listen_at::{self, ListenAt};
use super::secret_source::{self, SourcedSecret};
use super::section::{Context, Field, Section};

/// The listener for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; port 0 picks one. 127.0.0.1:8485 unless said otherwise.
    pub listen: ListenAt,
    /// Names that `Host` may hold beside this machine's own; in lower case.
    pub hosts: Vec<String>,
    /// The operator's key. Without one nothing can be changed through the listener.
    pub key: Option<SourcedSecret>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: ListenAt::Tcp(SocketAddr::from(([127, 0, 0, 1], 8485))),
            hosts: Vec::new(),
            key: None,
        }
    }
}

/// Where in the text what other sections depend on was written, if it was.
#[derive(Default)]
pub(super) struct Places {
    pub(super) listen: Option<Range<usize>>,
    pub(super) key: Option<Range<usize>>,
}

/// The section and its places.
pub(super) fn read(context: &mut Context<'_>, mut section: Section<'_>) -> (Admin, Places) {
    let mut admin = Admin::default();
    let listen = section.optional("listen");
    let key = section.optional("key");
    let places =
        Places { listen: listen.as_ref().map(Field::span), key: key.as_ref().map(Field::span) };
    set(&mut admin.listen, listen, |field| listen_at::read(context, &field));
    set(&mut admin.hosts, section.optional("hosts"), |field| read_hosts(context, &field));
    admin.key = key.and_then(|field| secret_source::read_key(context, &field));
    section.finish(context);
    (admin, places)
}
