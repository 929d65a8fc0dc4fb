//! How many connections a listener has, and whom it turns away.
//!
//! Over a limit a connection is accepted and closed at once: who waits in the kernel's queue knows
//! nothing, who is closed on tries elsewhere or later. A place is taken for as long as the socket is
//! open, whatever is spoken on it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Limits of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at once.
    pub most: usize,
    /// The same from one IP address; none by default, since a proxy or a load test is one.
    pub most_per_peer: Option<u32>,
    /// How long a connection without a request is kept.
    pub keep_alive: Duration,
}

impl ConnectionLimits {
    /// Connections that stay within 64 MiB, whatever they are slow at: 5 KiB each while they wait,
    /// up to 60 KiB with an answer that nobody reads.
    pub const MOST: usize = 1024;
    /// As long as other servers keep one, so that a caller is seldom the second to know.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { most: Self::MOST, most_per_peer: None, keep_alive: Self::KEEP_ALIVE }
    }
}

/// TLS handshakes under way at once: each costs memory and a signature.
const MOST_HANDSHAKES: usize = 1024;

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The listener has as many as it may.
    Full,
    /// This IP address has as many as it may.
    FullForPeer,
    /// Too many were at the same time proving who they are.
    Handshakes,
    /// It did not come to terms over TLS.
    Tls,
    /// Nothing that begins a request came in time.
    Silent,
    /// It sent little but frames that cost work and ask for nothing.
    Flood,
}

impl Refused {
    pub(crate) const ALL: [Self; 6] =
        [Self::Full, Self::FullForPeer, Self::Handshakes, Self::Tls, Self::Silent, Self::Flood];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "max_connections",
            Self::FullForPeer => "max_connections_per_peer",
            Self::Handshakes => "handshakes",
            Self::Tls => "tls",
            Self::Silent => "silent",
            Self::Flood => "flood",
        }
    }
}

/// The connections of one listener, counted.
#[derive(Debug)]
pub(crate) struct Places {
    limits: ConnectionLimits,
    open: AtomicUsize,
    handshakes: AtomicUsize,
    by_peer: Mutex<HashMap<IpAddr, u32>>,
    refused: [AtomicU64; Refused::ALL.len()],
}

/// One connection's place; it is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    /// Where it counts for its peer.
    peer: Option<IpAddr>,
}

/// A handshake under way.
#[derive(Debug)]
pub(crate) struct Handshake(Arc<Places>);

impl Places {
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            open: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            by_peer: Mutex::default(),
            refused: Default::default(),
        })
    }

    pub(crate) fn limits(&self) -> ConnectionLimits {
        self.limits
    }

    /// A place, unless there is none; a refusal is counted.
    pub(crate) fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Place> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limits.most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.refuse(Refused::Full);
            return None;
        }
        // From here on dropping it gives the place back.
        let mut place = Place { places: Arc::clone(self), peer: None };
        if let (Some(most), Some(peer)) = (self.limits.most_per_peer, peer) {
            let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
            let theirs = by_peer.entry(peer).or_default();
            if *theirs >= most {
                drop(by_peer);
                self.refuse(Refused::FullForPeer);
                return None;
            }
            *theirs += 1;
            place.peer = Some(peer);
        }
        Some(place)
    }

    /// Leave to begin a handshake; a refusal is counted.
    pub(crate) fn begin_handshake(self: &Arc<Self>) -> Option<Handshake> {
        if self.handshakes.fetch_add(1, Ordering::Relaxed) >= MOST_HANDSHAKES {
            self.handshakes.fetch_sub(1, Ordering::Relaxed);
            self.refuse(Refused::Handshakes);
            return None;
        }
        Some(Handshake(Arc::clone(self)))
    }

    pub(crate) fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections turned away since the start.
    pub(crate) fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize].load(Ordering::Relaxed)
    }
}

impl Place {
    /// Counts why the connection that has it is closed.
    pub(crate) fn refuse(&self, why: Refused) {
        self.places.refuse(why);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.fetch_sub(1, Ordering::Relaxed);
        let Some(peer) = self.peer else { return };
        let mut by_peer = self.places.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(theirs) = by_peer.get_mut(&peer) {
            *theirs -= 1;
            if *theirs == 0 {
                by_peer.remove(&peer);
            }
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_limit_nobody_is_let_in_and_who_leaves_makes_room() {
        let limits =
            ConnectionLimits { most: 3, most_per_peer: Some(2), ..ConnectionLimits::default() };
        let places = Places::new(limits);
        let (one, other) = (Some([192, 0, 2, 1].into()), Some([192, 0, 2, 2].into()));
        let first = places.take(one).unwrap();
        let _second = places.take(one).unwrap();
        assert!(places.take(one).is_none(), "a third from one address");
        let _third = places.take(other).unwrap();
        assert!(places.take(None).is_none(), "a fourth");
        assert_eq!(places.open(), 3);
        drop(first);
        assert!(places.take(one).is_some());
        assert_eq!(places.refused(Refused::Full), 1);
        assert_eq!(places.refused(Refused::FullForPeer), 1);
        assert_eq!(places.by_peer.lock().unwrap().len(), 2, "who left is forgotten");
    }
}
