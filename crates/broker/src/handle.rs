//! A credential as its callers see it: as cheap as a pointer, and never stale.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::Guard;
use bellwether_lifecycle::{Budget, CallerId, Cause, Failure, Held, Need, Status, Timestamp, Told};
use bellwether_oauth::RateLimit;
use http::{HeaderMap, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::command::{Answer, Ask, Command, Tell};
use crate::error::{NoToken, RenewalError};
use crate::gate::{Pass, Waited};
use crate::limits::rate_limit;
use crate::settings::{Credential, CredentialSettings};
use crate::shared::{Counters, Shared};
use crate::token::Token;

/// The longest a caller is held: some SDKs give up after 16 s.
pub const PATIENCE: Duration = Duration::from_secs(14);

/// The longest that a token rests for a 429 where no quota was configured.
const UNKNOWN_LIMIT_RESTS: Duration = Duration::from_secs(60);

/// How long a refused request that was overtaken waits for the next one's news.
const SECOND_OPINION_WITHIN: Duration = Duration::from_millis(100);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What later requests say about a token.
enum Opinion {
    /// The API took it in one.
    Lives,
    /// It is not held any more.
    Replaced,
    /// There were none.
    Unknown,
}

/// One credential of a [`Broker`](crate::Broker). Clones share everything.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
    /// Here and not in `Shared`, which the scheduler has too: without handles it is to end.
    pub(crate) commands: mpsc::UnboundedSender<Command>,
}

/// A held token, borrowed: no counter is touched, so reading scales with cores.
pub struct Current(Guard<Option<Arc<Token>>>);

impl Deref for Current {
    type Target = Token;

    fn deref(&self) -> &Token {
        match &*self.0 {
            Some(token) => token,
            None => unreachable!("a `Current` is made around a token alone"),
        }
    }
}

/// What became of a refused token.
#[derive(Debug)]
pub enum Refusal {
    /// Send the request again, with this one.
    Cure(Arc<Token>),
    /// No newer token would help: the refusal is the answer.
    Stands,
    /// A newer one is needed and cannot be had.
    NoToken(NoToken),
}

impl Handle {
    /// The credential's name.
    pub fn name(&self) -> String {
        self.settings().name.to_string()
    }

    /// What it was configured with.
    pub fn settings(&self) -> Arc<Credential> {
        self.shared.settings.load_full()
    }

    /// Whether it is configured with exactly these settings: they have not been replaced.
    pub fn is_configured_with(&self, settings: &Arc<Credential>) -> bool {
        Arc::ptr_eq(&self.shared.settings.load(), settings)
    }

    /// A held token that has not ended, if there is one: an atomic load and a clock read.
    ///
    /// Of a pool this is the first; requests that count against a limit take theirs from
    /// [`Handle::spend`].
    pub fn current(&self) -> Option<Current> {
        let now = self.shared.now();
        self.shared.note_used();
        self.shared.slots().iter().find_map(|slot| {
            let guard = slot.load();
            let alive = guard.as_ref().is_some_and(|token| token.held().is_alive(now));
            alive.then_some(Current(guard))
        })
    }

    /// A token to send now, after waiting for one at most [`PATIENCE`].
    ///
    /// # Errors
    /// Why there is none, and when to ask again.
    pub async fn token(&self) -> Result<Arc<Token>, NoToken> {
        self.token_for(Need::Use).await
    }

    /// A token for `need`, after waiting for one at most [`PATIENCE`].
    ///
    /// # Errors
    /// Why there is none, and when to ask again.
    pub async fn token_for(&self, need: Need) -> Result<Arc<Token>, NoToken> {
        let now = self.shared.now();
        self.token_until(need, now, now + PATIENCE).await
    }

    /// The same, after waiting at most until then.
    pub(crate) async fn token_until(
        &self,
        need: Need,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Arc<Token>, NoToken> {
        self.shared.note_used();
        let good = |token: &Token| match need {
            Need::Use => token.held().is_alive(now),
            Need::HandOut => now < token.held().hand_out_until(),
        };
        match self.held_now(good) {
            Some(token) => Ok(token),
            None => self.wait_for(Ask::Token(need), until).await,
        }
    }

    /// The next held token that is good; those of a pool take turns.
    fn held_now(&self, is_good: impl Fn(&Token) -> bool) -> Option<Arc<Token>> {
        let (before, from) = self.shared.slots().split_at(self.shared.next_turn());
        let mut slots = from.iter().chain(before);
        slots.find_map(|slot| slot.load().as_ref().filter(|token| is_good(token)).map(Arc::clone))
    }

    /// When a caller that comes now must be answered.
    pub(crate) fn patience(&self) -> Timestamp {
        self.shared.now() + PATIENCE
    }

    /// A token to send one API request with, counted against the vendor's limit for it: the one
    /// with most of its budget left. Waits until there is room, at most `patience`. All who ask like
    /// this are one caller; see [`Handle::spend_for`].
    ///
    /// # Errors
    /// [`Cause::Throttled`] with the time until there is room, if that is too long; or why there
    /// is no token.
    pub async fn spend(&self, patience: Duration) -> Result<Arc<Token>, NoToken> {
        self.spend_for(CallerId::default(), patience).await
    }

    /// A token to send one API request with at `now`, where none is counted and one is held: there is
    /// nothing to wait for then.
    pub fn spend_at_once(&self, now: Timestamp) -> Option<Arc<Token>> {
        if self.shared.gate().is_some() {
            return None;
        }
        self.shared.note_used();
        self.held_now(|token| token.held().is_alive(now))
    }

    /// The same for one of several callers. Where requests must wait, callers take turns, and the
    /// requests of each go in their order; as many as have room in time may wait, and so many of one
    /// caller. Where no limit is known this takes no lock, and where there is room, one.
    ///
    /// # Errors
    /// [`Cause::Throttled`] with the time until this caller's next request would have room, if
    /// that is too long or too many wait; or why there is no token.
    pub async fn spend_for(
        &self,
        caller: CallerId,
        patience: Duration,
    ) -> Result<Arc<Token>, NoToken> {
        let deadline = self.shared.now() + patience;
        loop {
            let now = self.shared.now();
            let member = match self.shared.enter(caller, now, deadline) {
                None => return self.token().await,
                Some(Pass::Spend(member)) => member,
                Some(Pass::Empty) => {
                    let token = self.wait_for(Ask::Token(Need::Use), deadline).await?;
                    if self.shared.slot(token.member()).is_some() {
                        continue;
                    }
                    return Ok(token);
                }
                Some(Pass::Refused(at)) => return Err(self.throttled_until(at)),
                Some(Pass::Wait(waiting)) => match waiting.turn(now.until(deadline)).await {
                    Waited::Spend(member) => member,
                    Waited::Again => continue,
                    Waited::Refused(at) => return Err(self.throttled_until(at)),
                },
            };
            let now = self.shared.now();
            match self.shared.slot(member) {
                Some(token) if token.held().is_alive(now) => {
                    self.shared.note_used();
                    return Ok(token);
                }
                _ => self.shared.stop_spending(member, now),
            }
        }
    }

    fn throttled_until(&self, at: Timestamp) -> NoToken {
        let retry_after = Some(self.shared.now().until(at));
        NoToken::new(Failure { cause: Cause::Throttled, retry_after }, None)
    }

    /// The API answered 429 to a request with this token: it rests for `retry_after`, and where no
    /// quota was configured for a minute at most, since it may be the limit of one resource alone.
    pub fn throttled(&self, token: &Token, retry_after: Duration) {
        let is_known = self.settings().quota.is_some();
        let retry_after = if is_known { retry_after } else { retry_after.min(UNKNOWN_LIMIT_RESTS) };
        let until = self.shared.now() + retry_after;
        let (member, generation) = (token.member(), token.held().generation);
        self.shared.make_gate().change(|budget| budget.throttled(member, generation, until));
    }

    /// Takes in what the API's answer to a request sent at `sent_at` tells of its limit for this
    /// token, and gives that back. It is kept to where no quota was configured.
    pub fn heard(
        &self,
        token: &Token,
        sent_at: Timestamp,
        status: StatusCode,
        fields: &HeaderMap,
    ) -> Option<RateLimit> {
        let limit = rate_limit(fields, || self.shared.wall().as_secs());
        // An error may come from somebody who knows of no limit.
        let is_news = limit.is_some() || self.shared.is_told() && status.is_success();
        if is_news && self.settings().quota.is_none() {
            let told = limit.map(|limit| Told {
                remaining: limit.remaining,
                limit: limit.limit,
                resets_in: limit.resets_in,
            });
            let (member, generation) = (token.member(), token.held().generation);
            let now = self.shared.now();
            let is_told = self.shared.make_gate().change(|budget| {
                budget.told(member, generation, told, sent_at, now);
                budget.was_told()
            });
            self.shared.set_told(is_told);
        }
        limit
    }

    /// The API took this token in a request sent at `sent_at`.
    pub fn accepted(&self, token: &Token, sent_at: Timestamp) {
        let (is_first, is_back) = (token.note_accepted(sent_at), token.is_back(sent_at));
        if is_first || is_back {
            let (member, generation) = (token.member(), token.held().generation);
            if is_back {
                self.shared.with_budget(|budget| budget.accepted(member, generation));
            }
            self.tell(Tell::Accepted { member, generation });
        }
    }

    /// The API refused this token (RFC 6750 §3.1) in a request sent at `sent_at`. However many
    /// report it, it is renewed once, and only while it is still held.
    pub async fn refused(&self, token: &Token, sent_at: Timestamp) -> Refusal {
        self.shared.note_used();
        // So young that the API may not know it yet: nothing is renewed for that.
        if token.accepted_sent_at().is_none()
            && let Some(before) = self.shared.before(token)
        {
            return Refusal::Cure(before);
        }
        let accepted_since = token.accepted_sent_at().is_some_and(|accepted| accepted > sent_at);
        if !accepted_since {
            return self.cure(token, sent_at).await;
        }
        match self.second_opinion(token, self.shared.now()).await {
            Opinion::Lives => {
                let (member, generation) = (token.member(), token.held().generation);
                let ask = Ask::Cure { member, generation, accepted_since };
                self.cured(self.ask(ask, self.patience()).await)
            }
            Opinion::Replaced => self.cure(token, sent_at).await,
            Opinion::Unknown => Refusal::Stands,
        }
    }

    /// The API refused `stand_in` too, which was to cure a refusal of `token`: both are dead.
    pub async fn stand_in_refused(
        &self,
        stand_in: &Token,
        token: &Token,
        sent_at: Timestamp,
    ) -> Refusal {
        self.shared.forget_replaced(stand_in);
        self.refused(token, sent_at).await
    }

    async fn cure(&self, token: &Token, sent_at: Timestamp) -> Refusal {
        let (member, generation) = (token.member(), token.held().generation);
        token.note_refused(sent_at);
        // Of one token there is no other to be spent meanwhile.
        if self.shared.slots().len() > 1 {
            let now = self.shared.now();
            self.shared.with_budget(|budget| budget.refused(member, generation, now));
        }
        let ask = Ask::Cure { member, generation, accepted_since: false };
        let refusal = self.cured(self.ask(ask, self.patience()).await);
        if matches!(refusal, Refusal::Stands) {
            self.shared.with_budget(Budget::relieve);
        }
        refusal
    }

    fn cured(&self, answer: Answer) -> Refusal {
        match answer {
            Ok(Some(newer)) => Refusal::Cure(newer),
            Ok(None) => Refusal::Stands,
            Err(none) => Refusal::NoToken(none),
        }
    }

    /// A request that was refused was overtaken by one that the API took. Whether the token died
    /// between the two, or the refusal is about something else, the next request tells that is sent
    /// after `since`.
    async fn second_opinion(&self, token: &Token, since: Timestamp) -> Opinion {
        let (member, generation) = (token.member(), token.held().generation);
        let until = since + SECOND_OPINION_WITHIN;
        loop {
            let held = self.shared.slot(member);
            if held.is_none_or(|held| held.held().generation != generation) {
                return Opinion::Replaced;
            }
            if token.accepted_sent_at().is_some_and(|accepted| accepted > since) {
                return Opinion::Lives;
            }
            if self.shared.now() >= until {
                return Opinion::Unknown;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The API refused the replay of a refused request with this token, its cure: no renewal is
    /// forced for 30 s, doubling to 10 min, until a refused request is cured.
    pub fn replay_refused(&self, token: &Token) {
        self.shared.forget_replaced(token);
        self.shared.with_budget(Budget::relieve);
        let (member, generation) = (token.member(), token.held().generation);
        self.tell(Tell::ReplayRefused { member, generation });
    }

    /// A newer token for a caller that can say no more than `Cache-Control: no-cache`: renewed at
    /// most once in 10 s, and not if it is younger than that.
    ///
    /// # Errors
    /// Why there is none, and when to ask again.
    pub async fn no_cache(&self) -> Result<Arc<Token>, NoToken> {
        self.wait_for(Ask::NoCache, self.patience()).await
    }

    /// The held token with exactly this text, if it is still held.
    pub fn held_token(&self, access_token: &bellwether_oauth::Secret) -> Option<Arc<Token>> {
        let slots = self.shared.slots().iter();
        slots
            .filter_map(arc_swap::ArcSwapOption::load_full)
            .find(|held| held.access_token() == access_token)
    }

    /// Every held token, in the order of the pool.
    pub fn held_tokens(&self) -> impl Iterator<Item = Arc<Token>> + '_ {
        self.shared.slots().iter().filter_map(arc_swap::ArcSwapAny::load_full)
    }

    /// A held token was checked and found dead: it is renewed, and goes to nobody meanwhile.
    /// Answers with the one to use instead, which is the same if renewing cures nothing.
    pub(crate) async fn found_dead(
        &self,
        token: &Token,
        until: Timestamp,
    ) -> Result<Arc<Token>, NoToken> {
        let (member, generation) = (token.member(), token.held().generation);
        self.tell(Tell::FoundDead { member, generation });
        // Asked behind that, instead of looking at what has yet to be withdrawn.
        self.wait_for(Ask::Token(Need::HandOut), until).await
    }

    /// Renews every token now.
    pub fn renew(&self) {
        self.tell(Tell::Renew);
    }

    /// Secret or refresh token changed: what stopped may start again.
    pub fn reconfigured(&self) {
        self.tell(Tell::Reconfigured);
    }

    /// Changes what it is configured with. When this returns, the next token request uses it, and a
    /// token that was asked for otherwise is given to nobody.
    pub async fn replace(&self, settings: CredentialSettings) {
        let before = self.settings();
        let same = |terms| {
            if *before.terms == terms { Arc::clone(&before.terms) } else { Arc::new(terms) }
        };
        let (id, settings) = (self.shared.id, Arc::new(Credential::new(settings, same)));
        let (done, replaced) = oneshot::channel();
        // A broker that has stopped needs no news, and answers none.
        if self.commands.send(Command::Replace { id, settings, done }).is_ok() {
            let _ = replaced.await;
        }
    }

    /// Its state, and why.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// What the latest failed renewal met; `None` once one succeeds.
    pub fn last_error(&self) -> Option<Arc<RenewalError>> {
        self.shared.last_error()
    }

    /// What is known of each member's token.
    pub fn held(&self) -> Vec<Option<Held>> {
        self.shared.held().collect()
    }

    /// Goes up by one with each accepted token response.
    pub fn generation(&self) -> u64 {
        self.shared.generation()
    }

    /// API requests that could be sent now; `None` where no limit is known.
    pub fn budget_left(&self) -> Option<u64> {
        let now = self.shared.now();
        self.shared.with_budget(|budget| budget.left(now)).flatten()
    }

    /// Whether there is room for another API request now, where a limit is known or was met.
    pub fn has_room(&self) -> bool {
        let now = self.shared.now();
        let left = self.shared.with_budget(|budget| budget.left(now));
        left.is_some_and(|left| left.is_none_or(|left| left > 0))
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Waits until a token is published, at most `patience`.
    pub async fn published(&self, patience: Duration) {
        tokio::select! {
            () = self.shared.published() => {}
            () = sleep(patience) => {}
        }
    }

    pub(crate) fn tell(&self, tell: Tell) {
        // A broker that has stopped needs no news.
        let _ = self.commands.send(Command::Tell { id: self.shared.id, tell });
    }

    async fn wait_for(&self, ask: Ask, until: Timestamp) -> Result<Arc<Token>, NoToken> {
        match self.ask(ask, until).await {
            Ok(Some(token)) => Ok(token),
            Ok(None) => Err(NoToken::stopped()),
            Err(none) => Err(none),
        }
    }

    async fn ask(&self, ask: Ask, until: Timestamp) -> Answer {
        self.shared.counters.waited.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let command = Command::Ask { id: self.shared.id, ask, until, reply };
        self.commands.send(command).map_err(|_| NoToken::stopped())?;
        answer.await.unwrap_or_else(|_| Err(NoToken::stopped()))
    }
}
