//! Wrong keys, and where they come from: whoever tries many is slowed, and nobody else.
//!
//! Asked only after a key was found wrong, so a right one is never held up, wherever it comes from.
//! What counts is how many *different* keys were tried: a caller that goes on with one outdated key
//! guesses nothing, and fifty of its threads do not either.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use http::StatusCode;

use super::peer::Peer;
use crate::refusal::Refusal;

/// So many wrong keys are looked at within [`WINDOW`].
const MOST_WRONG: usize = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Places remembered at once; beyond this the one that began first is forgotten.
const MOST_PLACES: usize = 4096;

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// Of IPv6 the network (RFC 4291 §2.5.4): its owner has all of it.
    Address(IpAddr),
    User(u32),
    Unknown,
}

impl Place {
    fn of(peer: &Peer) -> Self {
        match (peer.user, peer.address.map(|address| address.to_canonical())) {
            (Some(user), _) => Self::User(user),
            (None, Some(IpAddr::V6(address))) => {
                Self::Address(IpAddr::V6((address.to_bits() >> 64 << 64).into()))
            }
            (None, Some(address)) => Self::Address(address),
            (None, None) => Self::Unknown,
        }
    }
}

/// The wrong keys of one place.
#[derive(Debug)]
struct Tried {
    since: Timestamp,
    /// The beginnings of their keyed hashes.
    keys: HashSet<[u8; 8]>,
}

/// The wrong keys of late.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<HashMap<Place, Tried>>);

impl Guesses {
    /// Takes note of a wrong key by its keyed hash. An error is how long to wait before another one is
    /// looked at.
    pub(crate) fn wrong(
        &self,
        peer: &Peer,
        digest: &[u8; 32],
        now: Timestamp,
    ) -> Result<(), Duration> {
        let place = Place::of(peer);
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !places.contains_key(&place) && places.len() >= MOST_PLACES {
            make_room(&mut places, now);
        }
        let new = || Tried { since: now, keys: HashSet::new() };
        let tried = places.entry(place).or_insert_with(new);
        if now.since(tried.since) >= WINDOW {
            *tried = new();
        }
        let (key, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        if tried.keys.contains(key) {
            return Ok(());
        }
        if tried.keys.len() >= MOST_WRONG {
            return Err(WINDOW.saturating_sub(now.since(tried.since)));
        }
        tried.keys.insert(*key);
        Ok(())
    }
}

/// What is told to whoever tries too many, and may go on in so long.
pub(crate) fn too_many_wrong_keys(wait: Duration) -> Refusal {
    let description = "too many wrong keys came from there; the right one is taken at once";
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut refusal = Refusal::new(status, "too_many_wrong_keys", description);
    refusal.retry_after = Some(wait);
    refusal
}

fn make_room(places: &mut HashMap<Place, Tried>, now: Timestamp) {
    places.retain(|_, tried| now.since(tried.since) < WINDOW);
    if places.len() >= MOST_PLACES {
        let first = places.iter().min_by_key(|(_, tried)| tried.since).map(|(place, _)| *place);
        first.and_then(|place| places.remove(&place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Peer {
        Peer { address: Some(address.parse().unwrap()), ..Peer::default() }
    }

    fn key(number: usize) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&(number as u64).to_be_bytes());
        digest
    }

    fn second(second: u64) -> Timestamp {
        Timestamp::from_nanos(second * 1_000_000_000)
    }

    #[test]
    fn the_twenty_first_wrong_key_of_a_minute_waits_for_its_end() {
        let guesses = Guesses::default();
        for number in 0..MOST_WRONG {
            assert_eq!(guesses.wrong(&at("192.0.2.1"), &key(number), second(10)), Ok(()));
        }
        let later = second(30);
        let wait = Err(Duration::from_secs(40));
        assert_eq!(guesses.wrong(&at("192.0.2.1"), &key(20), later), wait);
        assert_eq!(guesses.wrong(&at("192.0.2.1"), &key(3), later), Ok(()), "the same again");
        assert_eq!(guesses.wrong(&at("::ffff:192.0.2.1"), &key(21), later), wait, "mapped");
        assert_eq!(guesses.wrong(&at("192.0.2.2"), &key(20), later), Ok(()), "elsewhere");
        assert_eq!(guesses.wrong(&at("192.0.2.1"), &key(20), second(70)), Ok(()), "a minute later");
    }

    #[test]
    fn a_place_is_an_address_a_network_or_a_user() {
        let user = |user| Peer { user: Some(user), ..Peer::default() };
        #[rustfmt::skip]
        let cases = [
            (at("2001:db8::1"),  at("2001:db8::ffff:1"), true),
            (at("2001:db8::1"),  at("2001:db8:0:1::1"),  false),
            (at("192.0.2.1"),    at("192.0.2.2"),        false),
            (user(1000),         user(1000),             true),
            (user(1000),         user(1001),             false),
            (user(1000),         Peer::default(),        false),
        ];
        for (one, other, same) in cases {
            assert_eq!(Place::of(&one) == Place::of(&other), same, "{one:?} {other:?}");
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let guesses = Guesses::default();
        for number in 0..MOST_PLACES + 100 {
            let user = Peer { user: Some(u32::try_from(number).unwrap()), ..Peer::default() };
            let now = second(1) + Duration::from_millis(number as u64);
            assert_eq!(guesses.wrong(&user, &key(0), now), Ok(()));
        }
        assert_eq!(guesses.0.lock().unwrap().len(), MOST_PLACES);
    }
}
