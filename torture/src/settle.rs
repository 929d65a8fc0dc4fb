//! After a fault: does a token come, is it good, and is the newest refresh token in our hands?

use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use rustix::process::Signal;

use crate::broker::{Broker, View};
use crate::evidence::{Evidence, Harm};
use crate::stage::{Stage, gave};
use crate::tally::Tally;

/// Every secret of a stage begins like this.
const SECRET_MARK: &str = "simulated-secret-";
/// A broker reaches the family's true state within this.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// A broker that is asked to renew and has nothing in its way does so within this.
const RENEWED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How a point is brought to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By `bellwether token`.
    Token,
    /// By `bellwether serve`, which tells its state.
    Serve,
}

/// Everything that is known of a point when it has been disturbed.
pub(crate) struct Disturbed<'a> {
    pub(crate) stage: &'a Stage<'a>,
    /// When the part of the story began that is judged.
    pub(crate) since: Timestamp,
    pub(crate) harms: Vec<Harm>,
    /// What was wrong already.
    pub(crate) complaints: Vec<String>,
    /// Whether what a broker says is withheld from the harness: a planted defect.
    pub(crate) deaf: bool,
}

/// What became of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// A token came, and a renewal afterwards worked.
    Kept,
    /// The authorization server will not give another token; and whether a broker was seen in
    /// doubt before it said so.
    Lost { seen_in_doubt: bool, told: bool },
    /// It was kept; but a broker called it fresh while a request was in doubt.
    Unsaid,
    /// Something else went wrong.
    Stuck(String),
}

impl Disturbed<'_> {
    fn evidence(&self) -> Evidence {
        Evidence {
            class: self.stage.rules.class,
            latency: self.stage.rules.latency,
            requests: self.stage.requests_since(self.since),
            harms: self.harms.clone(),
        }
    }

    /// Settles the point, judges it, and answers with what is wrong.
    pub(crate) fn settle(mut self, way: Way, tally: &mut Tally) -> Vec<String> {
        let before = self.evidence();
        let mut seen_in_doubt = false;
        let fate = match way {
            Way::Token => self.by_token(),
            Way::Serve => self.by_serve(&mut seen_in_doubt),
        };
        let fate = fate.unwrap_or_else(Fate::Stuck);
        let evidence = self.evidence();
        tally.in_doubt += u64::from(seen_in_doubt);
        match fate {
            Fate::Kept => {}
            Fate::Lost { seen_in_doubt, told } => {
                if before.excuses_loss() {
                    tally.lost += 1;
                } else {
                    tally.lost_wrongly += 1;
                    self.complaints.push("the family is lost".to_owned());
                }
                // Who came before may have found out by himself.
                let was_doubted = seen_in_doubt || before.was_refused() || way == Way::Token;
                if !told || !was_doubted {
                    tally.dishonest += 1;
                    self.complaints.push(format!(
                        "the loss was not told: in doubt seen: {seen_in_doubt}, end told: {told}"
                    ));
                }
            }
            Fate::Unsaid => {
                tally.dishonest += 1;
                let why =
                    "a broker said fresh while a request was in doubt, and sent it again later";
                self.complaints.push(why.to_owned());
            }
            Fate::Stuck(why) => {
                tally.stuck += 1;
                self.complaints.push(why);
            }
        }
        if self.stage.said().contains(SECRET_MARK) {
            tally.stuck += 1;
            self.complaints.push("a secret was logged".to_owned());
        }
        let wrong = evidence.count(tally);
        let harms = if wrong.is_empty() { None } else { Some(evidence.harms_told()) };
        self.complaints.extend(wrong.into_iter().chain(harms));
        self.complaints
    }

    fn by_token(&self) -> Result<Fate, String> {
        let begun = self.stage.workshop.time.now();
        let first = self.stage.token()?;
        let Some(token) = first.result() else { return self.explained() };
        let mut renewed = self.stage.requests_since(begun).iter().any(gave);
        // While nobody can tell, an older token is served to its end.
        let older = !renewed && self.evidence().excuses_loss();
        if !older && !self.stage.is_taken(token) {
            return Ok(Fate::Stuck("the token that was printed is dead".to_owned()));
        }
        loop {
            let known = self.stage.requests_since(Timestamp::ZERO);
            // So long until it is due.
            self.stage.workshop.time.sleep(Duration::from_secs(self.stage.rules.expires_in));
            let again = self.stage.token()?;
            if again.result().is_none() {
                let why = "a token came, and no other after it".to_owned();
                return if older { self.explained() } else { Ok(Fate::Stuck(why)) };
            }
            // The first renewal after a doubt may be a replay; the next one proves that it went well.
            if renewed || !self.was_replay(known.len()) {
                return Ok(self.newest_was_used(known.len()));
            }
            renewed = true;
        }
    }

    /// Whether the first of the requests behind those known showed a refresh token again.
    fn was_replay(&self, known: usize) -> bool {
        let requests = self.stage.requests_since(Timestamp::ZERO);
        let (earlier, later) = requests.split_at(known.min(requests.len()));
        let first = later.first().and_then(|request| request.shown);
        self.stage.rules.class.rotates() && earlier.iter().any(|request| request.shown == first)
    }

    /// What `token` could not get, a broker is to explain.
    fn explained(&self) -> Result<Fate, String> {
        let told = self.stage.said().contains("error:");
        let mut broker = self.stage.serve()?;
        let state = self.wait_for_truth(&mut broker, &mut false)?.state;
        broker.kill()?;
        Ok(match state.as_str() {
            "needs_reauth" => Fate::Lost { seen_in_doubt: false, told },
            _ => Fate::Stuck(format!("no token, although the state is {state}")),
        })
    }

    fn by_serve(&self, seen_in_doubt: &mut bool) -> Result<Fate, String> {
        let mut broker = self.stage.serve()?;
        let truth = self.wait_for_truth(&mut broker, seen_in_doubt)?;
        if truth.state == "needs_reauth" {
            broker.kill()?;
            let told = !truth.why.is_empty();
            return Ok(Fate::Lost { seen_in_doubt: *seen_in_doubt, told });
        }
        let known = self.stage.requests_since(Timestamp::ZERO).len();
        let mut known_generation = truth.generation;
        broker.renew()?;
        let time = self.stage.workshop.time;
        let asked_at = time.now();
        let until = asked_at + SETTLED_WITHIN;
        // Renewing takes the time that keeps two requests apart.
        loop {
            let view = broker.view()?;
            if view.generation > known_generation {
                if self.stage.requests_since(Timestamp::ZERO).len() > known {
                    break;
                }
                // What was kept already came to light; the renewal that proves it follows.
                known_generation = view.generation;
                broker.renew()?;
            }
            if view.state == "needs_reauth" {
                broker.kill()?;
                return Ok(Fate::Lost { seen_in_doubt: *seen_in_doubt, told: true });
            }
            if view.state == "in_doubt" && !self.deaf {
                // Said late, but before the end.
                *seen_in_doubt = true;
            }
            let settled = view.state != "in_doubt" && time.now() >= asked_at + RENEWED_WITHIN;
            if settled || time.now() >= until {
                broker.kill()?;
                return Ok(Fate::Stuck(format!(
                    "asked to renew, it stays {} in generation {}",
                    view.state, view.generation
                )));
            }
            time.sleep(LOOK_AGAIN);
        }
        let printed = self.stage.token()?;
        broker.kill()?;
        let Some(token) = printed.result() else {
            return Ok(Fate::Stuck("the running broker gave no token".to_owned()));
        };
        if !self.stage.is_taken(token) {
            return Ok(Fate::Stuck("the token that was printed is dead".to_owned()));
        }
        if self.was_replay(known) {
            return Ok(if *seen_in_doubt { Fate::Kept } else { Fate::Unsaid });
        }
        Ok(self.newest_was_used(known))
    }

    /// Watches a broker until it holds a token or says that a person must act.
    fn wait_for_truth(
        &self,
        broker: &mut Broker,
        seen_in_doubt: &mut bool,
    ) -> Result<View, String> {
        let time = self.stage.workshop.time;
        let until = time.now() + SETTLED_WITHIN;
        loop {
            let view = broker.view()?;
            match view.state.as_str() {
                "in_doubt" if !view.why.is_empty() && !self.deaf => *seen_in_doubt = true,
                "needs_reauth" => return Ok(view),
                "fresh" if view.held > 0 => return Ok(view),
                _ => {}
            }
            if time.now() >= until {
                broker.process.signal(Signal::KILL);
                return Err(format!("the broker stays {} ({})", view.state, view.why));
            }
            time.sleep(LOOK_AGAIN);
        }
    }

    /// Whether the renewal that proves it all used the newest refresh token of the ledger.
    fn newest_was_used(&self, known: usize) -> Fate {
        let requests = self.stage.requests_since(Timestamp::ZERO);
        let (before, proof) = requests.split_at(known.min(requests.len()));
        let newest = before.iter().rev().find(|request| gave(request)).and_then(|one| one.refresh);
        let Some(first) = proof.first() else {
            return Fate::Stuck(
                "a token that had run out was given once more, and nothing was sent".to_owned(),
            );
        };
        if self.stage.rules.class.rotates() && first.shown != newest {
            return Fate::Stuck(format!(
                "a renewal used refresh token {:?}, the newest is {newest:?}",
                first.shown
            ));
        }
        if gave(first) {
            Fate::Kept
        } else {
            Fate::Stuck(format!("a renewal was refused: {:?}", first.verdict))
        }
    }
}
