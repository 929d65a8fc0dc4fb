//! Who holds which token: what a single line does not say and the lines before it do.
//!
//! A JMeter result file has no tokens, but it has threads, and a thread's last successful token
//! request made the token it uses. Where the log has tokens (as a hash), they are followed
//! themselves. Of an address, behind which any number of threads may be, neither can be said.

use crate::fingerprint::{Fingerprint, Fingerprinted};
use crate::moment::Moment;
use crate::observation::{Identity, Observation};

/// More callers than this share the entries that are there.
const MOST_CALLERS: usize = 1 << 16;
/// Tokens that are followed at once; the oldest make room.
const MOST_TOKENS: usize = 1 << 16;
/// Issues that wait for their token to be seen.
const MOST_UNSEEN: usize = 1 << 10;
/// Logins at the start follow one another at least this closely.
const START_GAP: i64 = 5_000;

/// A token as far as the log tells of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) issued_at: Moment,
    /// Milliseconds from its issue to the request.
    pub(crate) age: i64,
    /// Tokens that were issued after it until now.
    pub(crate) newer: u64,
    /// The API has refused it already.
    pub(crate) refused: bool,
}

/// What was known when a request was answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Situation {
    /// The caller's place among all callers.
    pub(crate) caller: usize,
    /// The token it used, or in a token request the one it had.
    pub(crate) token: Option<Token>,
    /// A token request that replaces a token, as opposed to the first of a caller.
    pub(crate) is_renewal: bool,
    /// When somebody else last got a token after this caller's own.
    pub(crate) renewed_by_other: Option<Moment>,
    /// How long tokens live, in milliseconds, if an answer said so.
    pub(crate) lifetime: Option<i64>,
    /// Callers that got a token so far.
    pub(crate) holders: usize,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    issued_at: Moment,
    number: u64,
    refused: bool,
    /// The log has shown the token itself.
    is_shown: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Caller {
    held: Option<Held>,
    token_requests: u32,
    last_token_request: Option<Moment>,
    /// Its first logins, one close after the other, have ended.
    started: bool,
    refused: bool,
}

/// Follows callers and tokens through a log.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    places: Fingerprinted<u32>,
    callers: Vec<Caller>,
    tokens: Fingerprinted<Held>,
    oldest_tokens: std::collections::VecDeque<Fingerprint>,
    /// Issues whose token the log has not shown yet, oldest first.
    unseen: std::collections::VecDeque<Held>,
    issued: u64,
    last_issue: Option<(Moment, usize)>,
    /// Of somebody else than the last.
    issue_before: Option<(Moment, usize)>,
    lifetime: Option<i64>,
    holders: usize,
}

impl Callers {
    /// Callers seen.
    pub(crate) fn count(&self) -> usize {
        self.callers.len()
    }

    pub(crate) fn holders(&self) -> usize {
        self.holders
    }

    pub(crate) fn lifetime(&self) -> Option<i64> {
        self.lifetime
    }

    /// Another run of the test: nobody has a token any more.
    pub(crate) fn begin_run(&mut self) {
        for caller in &mut self.callers {
            *caller = Caller::default();
        }
        self.tokens.clear();
        self.oldest_tokens.clear();
        self.unseen.clear();
        self.last_issue = None;
        self.issue_before = None;
        self.holders = 0;
    }

    /// What was known when this was answered; then it is known too.
    pub(crate) fn place(&mut self, seen: &Observation) -> Situation {
        let place = self.place_of(seen);
        let held = match seen.token {
            Some(token) => self.tokens.get(&token).copied(),
            None => self.callers[place].held,
        };
        let token = held.map(|held| Token {
            issued_at: held.issued_at,
            age: seen.done_at.since(held.issued_at),
            newer: self.issued.saturating_sub(held.number),
            refused: held.refused,
        });
        let since = token.map(|token| token.issued_at);
        let by_other = [self.last_issue, self.issue_before]
            .into_iter()
            .flatten()
            .find(|(_, other)| *other != place)
            .map(|(at, _)| at)
            .filter(|at| since.is_none_or(|since| *at >= since));
        let situation = Situation {
            caller: place,
            token,
            is_renewal: seen.is_token_request() && self.is_renewal(place, seen),
            renewed_by_other: by_other,
            lifetime: self.lifetime,
            holders: self.holders,
        };
        if seen.is_token_request() {
            self.note_token_request(place, seen);
        } else {
            self.note_api_request(place, seen);
        }
        situation
    }

    fn place_of(&mut self, seen: &Observation) -> usize {
        let seed = match seen.identity {
            Identity::Thread => 16 + seen.file as u64,
            Identity::Address => 0,
        };
        let fingerprint = Fingerprint::of(seed, &seen.caller);
        if let Some(place) = self.places.get(&fingerprint) {
            return *place as usize;
        }
        if self.callers.len() == MOST_CALLERS {
            let sum: usize = seen.caller.iter().map(|byte| usize::from(*byte)).sum();
            return sum % MOST_CALLERS;
        }
        let place = self.callers.len();
        self.places.insert(fingerprint, place as u32);
        self.callers.push(Caller::default());
        place
    }

    fn is_renewal(&self, place: usize, seen: &Observation) -> bool {
        let caller = &self.callers[place];
        match seen.identity {
            Identity::Thread => caller.token_requests > 0,
            Identity::Address => {
                let follows = |last| seen.done_at.since(last) > START_GAP;
                caller.started || caller.refused || caller.last_token_request.is_some_and(follows)
            }
        }
    }

    fn note_token_request(&mut self, place: usize, seen: &Observation) {
        let is_renewal = self.is_renewal(place, seen);
        let caller = &mut self.callers[place];
        caller.token_requests += 1;
        caller.last_token_request = Some(seen.done_at);
        caller.started |= is_renewal;
        if !seen.succeeded() {
            return;
        }
        if let Some(seconds) = seen.expires_in {
            let lifetime = i64::from(seconds) * 1000;
            self.lifetime = Some(self.lifetime.map_or(lifetime, |known| known.max(lifetime)));
        }
        self.issued += 1;
        let is_shown = seen.issued.is_some();
        let mut held =
            Held { issued_at: seen.done_at, number: self.issued, refused: false, is_shown };
        if let Some(token) = seen.issued {
            // A token that is handed out again is as old as it is.
            if let Some(known) = self.tokens.get(&token) {
                self.issued -= 1;
                held = *known;
            } else {
                self.follow(token, held);
            }
        } else if seen.identity == Identity::Address {
            if self.unseen.len() == MOST_UNSEEN {
                self.unseen.pop_front();
            }
            self.unseen.push_back(held);
        }
        if seen.identity == Identity::Thread {
            let caller = &mut self.callers[place];
            self.holders += usize::from(caller.held.is_none());
            caller.held = Some(held);
        }
        if self.last_issue.is_some_and(|(_, last)| last != place) {
            self.issue_before = self.last_issue;
        }
        self.last_issue = Some((seen.done_at, place));
    }

    fn note_api_request(&mut self, place: usize, seen: &Observation) {
        let refused = seen.is_refused_token();
        let accepted = seen.status.is_some_and(|status| status < 500 && status != 401);
        self.callers[place].refused |= refused;
        if let Some(token) = seen.token {
            if let Some(held) = self.tokens.get_mut(&token) {
                held.refused |= refused;
            } else if accepted {
                let held = self.issue_of(place, seen);
                self.follow(token, held);
            }
        } else if let Some(held) = &mut self.callers[place].held {
            held.refused |= refused;
        }
    }

    /// What a token that is seen for the first time was issued as.
    fn issue_of(&mut self, place: usize, seen: &Observation) -> Held {
        let own = match seen.identity {
            Identity::Thread => self.callers[place].held.as_mut().filter(|held| !held.is_shown),
            Identity::Address => None,
        };
        if let Some(own) = own {
            own.is_shown = true;
            return *own;
        }
        if let Some(unseen) = self.unseen.pop_front() {
            return Held { is_shown: true, ..unseen };
        }
        // Its issue is not in the log; it is at least this old.
        self.issued += 1;
        Held { issued_at: seen.sent_at(), number: self.issued, refused: false, is_shown: true }
    }

    fn follow(&mut self, token: Fingerprint, held: Held) {
        if self.oldest_tokens.len() == MOST_TOKENS
            && let Some(oldest) = self.oldest_tokens.pop_front()
        {
            self.tokens.remove(&oldest);
        }
        self.tokens.insert(token, held);
        self.oldest_tokens.push_back(token);
    }
}
