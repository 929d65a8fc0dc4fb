//! One renewal carried out: the machine in [`bellwether_lifecycle::renewal`] says which step comes
//! next, and this takes it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bellwether_lifecycle::renewal::{
    Change, Escrowed, Grant, Meeting, Order, Outcome as Ending, Report, Source, Step,
};
use bellwether_lifecycle::{Cause, Failure, Held, Renewal, Replay, Timestamp};
use bellwether_oauth::{Secret, read};
use bellwether_store::{Acquired, Fence, HolderId, Key, Row, Saved, StoreError};
use tokio::time::{sleep, timeout};

use crate::error::RenewalError;
use crate::grant_row::{GrantRow, Kept, Read, escrowed};
use crate::kept_answer::{About, KeptAnswer};
use crate::record::wall_expiry;
use crate::settings::Credential;
use crate::surroundings::Surroundings;
use crate::token::Token;
use crate::transport::{Outgoing, Received, TransportError};

/// One renewal of one pool member.
#[derive(Debug)]
pub(crate) struct Flight {
    surroundings: Arc<Surroundings>,
    settings: Arc<Credential>,
    member: u16,
    key: Key,
    /// Its own name: two tasks of one process must not take each other for the same holder.
    holder: Option<HolderId>,
    lease: Option<Lease>,
    renewal: Renewal,
    order: Order,
    row: Option<GrantRow>,
    /// What came, before it is read.
    received: Option<(Received, Timestamp)>,
    /// The generation that the answer begins, if it is a token.
    begins: u64,
    presented: Option<String>,
    from_server: Option<Read>,
    from_escrow: Option<Read>,
    /// What the escrow is to keep, whatever comes.
    needed: Vec<Row>,
    error: Option<RenewalError>,
}

/// How a renewal ended.
#[derive(Debug)]
pub(crate) struct Landed {
    pub(crate) outcome: Outcome,
    /// Whether a token request was sent.
    pub(crate) sent: bool,
    /// The latest token request this process now knows of.
    pub(crate) attempt: u64,
    /// The row is in doubt beside the token: to be settled at once.
    pub(crate) is_unsettled: bool,
}

impl Landed {
    /// The task that would have told is gone; what it sent, the row knows.
    pub(crate) fn panicked() -> Self {
        let error = RenewalError::Defect;
        let failure = error.failure(false);
        let outcome = Outcome::Failed { failure, doubt_since: None, error: Arc::new(error) };
        Self { outcome, sent: false, attempt: 0, is_unsettled: false }
    }
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Granted { token: Token },
    Elsewhere { retry_after: Duration },
    Failed { failure: Failure, doubt_since: Option<Timestamp>, error: Arc<RenewalError> },
}

/// What is left to do when everybody has been told.
#[derive(Debug)]
pub(crate) struct Aftermath(Flight);

/// Gives the lease back even if the renewal panics.
#[derive(Debug)]
struct Lease {
    surroundings: Arc<Surroundings>,
    key: Key,
    fence: Fence,
    until: Timestamp,
    is_returned: bool,
}

impl Lease {
    async fn give_back(mut self) {
        self.is_returned = true;
        if let Err(error) = self.surroundings.store.release(&self.key, self.fence).await {
            tracing::debug!(%error, "the lease stays until it runs out");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_returned {
            return;
        }
        let (surroundings, key, fence) =
            (Arc::clone(&self.surroundings), self.key.clone(), self.fence);
        // Outside a runtime nothing more can be done: it runs out.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { surroundings.store.release(&key, fence).await });
        }
    }
}

impl Flight {
    pub(crate) fn new(
        surroundings: Arc<Surroundings>,
        settings: Arc<Credential>,
        member: u16,
        order: Order,
    ) -> Self {
        let (renewal, _) = Renewal::begin(order);
        let key = settings.key.clone().with_member(member);
        Self {
            surroundings,
            settings,
            member,
            key,
            holder: None,
            lease: None,
            renewal,
            order,
            row: None,
            received: None,
            begins: 0,
            presented: None,
            from_server: None,
            from_escrow: None,
            needed: Vec::new(),
            error: None,
        }
    }

    /// Carries it out until there is something to tell. Nothing it does depends on any caller still
    /// waiting.
    pub(crate) async fn fly(mut self) -> (Landed, Aftermath) {
        let mut step = Step::Acquire;
        loop {
            if let Step::Publish(ending) = step {
                return (self.landed(ending), Aftermath(self));
            }
            let report = self.take(step).await;
            step = self.renewal.next(self.surroundings.clock.now(), report);
        }
    }

    /// Takes one step.
    async fn take(&mut self, step: Step) -> Report {
        let taken = match step {
            Step::Acquire => self.acquire().await,
            Step::Load => self.load().await,
            Step::Reserve => {
                let needed = std::mem::take(&mut self.needed);
                let reserved = self.surroundings.escrow.reserve(&self.key, needed).await;
                reserved.map(|()| Report::Done)
            }
            Step::Save(change) => self.save(change).await,
            Step::Send { not_after } => Ok(self.send(not_after).await),
            Step::Escrow => self.keep().await,
            Step::Read => Ok(self.read()),
            Step::Wait(pause) => Ok(self.pause(pause).await),
            Step::Release => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back().await;
                }
                Ok(Report::Done)
            }
            Step::Publish(_) | Step::End => Ok(Report::Done),
        };
        taken.unwrap_or_else(|error| {
            let name = self.settings.name();
            tracing::warn!(credential = %name, ?step, %error, "a step of a renewal failed");
            let error = RenewalError::from(error);
            let failure = error.failure(self.order.spends);
            // What became of the request outweighs what the store says after it.
            self.error.get_or_insert(error);
            Report::Broken(failure)
        })
    }

    async fn acquire(&mut self) -> Result<Report, StoreError> {
        let (surroundings, asked_at) = (&self.surroundings, self.surroundings.clock.now());
        let holder = match self.holder {
            Some(holder) => holder,
            None => *self.holder.insert(HolderId::random()?),
        };
        let ttl = self.order.lease();
        Ok(match surroundings.store.acquire(&self.key, holder, ttl).await? {
            Acquired::Lease(granted) => {
                // An earlier lease of this renewal is worth nothing any more.
                if let Some(mut before) = self.lease.take() {
                    before.is_returned = true;
                }
                let until = asked_at + granted.valid_for;
                self.lease = Some(Lease {
                    surroundings: Arc::clone(surroundings),
                    key: self.key.clone(),
                    fence: granted.fence,
                    until,
                    is_returned: false,
                });
                Report::Leased { until }
            }
            Acquired::Busy { retry_after } => Report::Busy { retry_after },
        })
    }

    async fn load(&mut self) -> Result<Report, StoreError> {
        let (surroundings, settings) = (&self.surroundings, &self.settings);
        let row = GrantRow::load(surroundings, settings, &self.key).await?;
        let recorded = row.recorded(surroundings, settings, self.member);
        // Whoever only looks whether another one has finished leaves the escrow to that one.
        let known = match self.lease {
            Some(_) => escrowed(surroundings, settings, &self.key, &row, &recorded).await?,
            None => Kept::default(),
        };
        self.row = Some(row);
        let (escrowed, read): (Option<Escrowed>, Option<Read>) = known.best.unzip();
        (self.from_escrow, self.needed) = (read, known.needed);
        Ok(Report::Loaded { recorded, escrowed })
    }

    /// The row as it was read; where the store fails, one that says nothing.
    fn row(&mut self) -> &mut GrantRow {
        let (surroundings, settings) = (&self.surroundings, &self.settings);
        self.row.get_or_insert_with(|| GrantRow::unknown(surroundings, settings))
    }

    async fn save(&mut self, change: Change) -> Result<Report, StoreError> {
        let (surroundings, settings) = (Arc::clone(&self.surroundings), Arc::clone(&self.settings));
        let read = match change.source() {
            Source::Server => self.from_server.clone(),
            Source::Escrow => self.from_escrow.clone(),
            Source::Row => None,
        };
        let met = match (&read, change.source()) {
            (Some(read), Source::Escrow) => read.error(),
            _ => self.error.clone(),
        };
        let key = self.key.clone();
        let row = self.row();
        row.change(&surroundings, &settings, change, read.as_ref(), met.as_ref());
        let sealed = row.record.seal(&surroundings.keyring, &key, row.generation);
        let Some(fence) = self.lease.as_ref().map(|lease| lease.fence) else {
            return Ok(Report::Superseded);
        };
        let name = settings.name();
        Ok(match surroundings.store.save(&key, fence, sealed).await? {
            Saved::Done => Report::Done,
            Saved::Fenced => {
                tracing::warn!(credential = %name, "a later holder has the lease");
                Report::Superseded
            }
            Saved::Behind => {
                tracing::warn!(credential = %name, "the store is ahead");
                Report::Superseded
            }
        })
    }

    async fn send(&mut self, not_after: Timestamp) -> Report {
        let (surroundings, settings) = (Arc::clone(&self.surroundings), Arc::clone(&self.settings));
        let replaced = self.order.generation;
        let row = self.row();
        let begins = row.generation.max(replaced) + 1;
        let refresh_token = row.refresh_token.clone();
        let presented = row.presented(&surroundings);
        let has_intent =
            row.record.intent.as_ref().map(|intent| &intent.presented) == presented.as_ref();
        (self.begins, self.presented) = (begins, presented);
        // Nothing leaves, and it is tried again later and later.
        let unsent = || Report::Unanswered(Failure::new(Cause::Passing));
        if self.order.spends && !has_intent {
            surroundings.tally.violated(settings.name(), "no intent before a refresh token leaves");
            self.error = Some(RenewalError::Defect);
            return unsent();
        }
        let Some(request) = settings.request(refresh_token.as_ref()) else {
            self.error = Some(RenewalError::NoRefreshToken);
            return unsent();
        };
        let encoded = request.encode(&settings.client);
        let outgoing = Outgoing {
            url: settings.authorization_server.token_endpoint.clone(),
            authorization: encoded.authorization,
            form: Some(encoded.body),
        };
        let sent_at = surroundings.clock.now();
        if sent_at > not_after {
            return Report::TooLate;
        }
        let transport = &settings.authorization_server.transport;
        // Where nobody can ask again, the answer is waited for until somebody else might.
        let (answer, limit) = match &self.lease {
            Some(lease) if self.order.replay == Replay::LastResort => {
                let patience = sent_at.until(lease.until);
                (transport.send_patiently(outgoing, patience), patience)
            }
            Some(_) | None => (transport.send(outgoing), self.order.request_limit),
        };
        // Whatever the transport does, a renewal ends.
        let lost = || Err(TransportError::MaybeSent("no answer in time".to_owned()));
        let error = match timeout(limit, answer).await.unwrap_or_else(|_| lost()) {
            Ok(received) => {
                self.received = Some((received, sent_at));
                return Report::Answered;
            }
            Err(TransportError::NotSent(why)) => RenewalError::Unreachable(why),
            Err(TransportError::MaybeSent(why)) => RenewalError::AnswerLost(why),
        };
        let failure = error.failure(self.order.spends);
        self.error = Some(error);
        Report::Unanswered(failure)
    }

    /// Puts the answer into the escrow as it came.
    async fn keep(&mut self) -> Result<Report, StoreError> {
        let Some((received, sent_at)) = self.received.take() else { return Ok(Report::Done) };
        let (surroundings, attempt) = (Arc::clone(&self.surroundings), self.renewal.attempt());
        let presented = self.presented.clone().unwrap_or_default();
        let generation = self.begins;
        let row = self.row();
        let about = About {
            issued_to: row.record.issued_to.clone(),
            identity: row.record.identity.clone(),
            presented,
            attempt,
            sent_at,
        };
        let answer = KeptAnswer::new(about, &received, &*surroundings.clock);
        let sealed = answer.seal(&surroundings.keyring, &self.key, generation);
        // It begins with the call.
        let kept = surroundings.escrow.append(&self.key, sealed);
        let kept = tokio::select! {
            biased;
            kept = kept => kept,
            never = self.hold_on() => match never {},
        };
        self.received = Some((received, sent_at));
        kept.map(|()| Report::Done)
    }

    /// Keeps the lease while the disk takes long.
    async fn hold_on(&mut self) -> Infallible {
        loop {
            sleep(self.order.request_limit / 2).await;
            if self.renewal.holds_on(self.surroundings.clock.now())
                && let Err(error) = self.prolong().await
            {
                tracing::debug!(%error, "the lease is not prolonged");
            }
        }
    }

    async fn prolong(&mut self) -> Result<(), StoreError> {
        let Self { surroundings, lease: Some(lease), holder: Some(holder), .. } = self else {
            return Ok(());
        };
        let asked_at = surroundings.clock.now();
        if asked_at >= lease.until {
            return Ok(());
        }
        let ttl = self.order.lease();
        if let Acquired::Lease(granted) = surroundings.store.acquire(&self.key, *holder, ttl).await?
            // Later than that, another one may have been here in between: what is saved under the
            // old fence is refused then.
            && surroundings.clock.now() < lease.until
        {
            (lease.fence, lease.until) = (granted.fence, asked_at + granted.valid_for);
        }
        Ok(())
    }

    fn read(&mut self) -> Report {
        let Some((received, sent_at)) = &self.received else { return Report::Done };
        let (surroundings, settings) = (&self.surroundings, &self.settings);
        let refresh_token = self.row.as_ref().and_then(|row| row.refresh_token.as_ref());
        let secret = settings.client.authentication.secret();
        let secrets: Vec<&Secret> = secret.into_iter().chain(refresh_token).collect();
        let reading = read(&received.message(surroundings.clock.wall(), &secrets));
        for remark in &reading.remarks {
            tracing::info!(credential = %settings.name(), %remark, "odd token response");
        }
        let (attempt, presented) = (self.renewal.attempt(), self.presented.clone());
        let read = Read { reading, sent_at: *sent_at, attempt, presented };
        let answer = read.answer(self.order.spends);
        self.error = read.error();
        self.from_server = Some(read);
        Report::Read(answer)
    }

    async fn pause(&self, pause: Duration) -> Report {
        let mut stopping = self.surroundings.stopping.subscribe();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => Report::Stopping,
            () = sleep(pause) => Report::Done,
        }
    }

    /// What the scheduler is told.
    fn landed(&self, ending: Ending) -> Landed {
        let outcome = match ending {
            Ending::Elsewhere { retry_after } => Outcome::Elsewhere { retry_after },
            Ending::Granted { held, source } => match self.token(held, source) {
                Some(token) => Outcome::Granted { token },
                None => {
                    let name = self.settings.name();
                    self.surroundings.tally.violated(name, "a renewal brought a token without one");
                    return self.failed(RenewalError::Defect, None);
                }
            },
            Ending::Failed { failure, doubt_since, met } => {
                let error = self.met(met).unwrap_or(RenewalError::Defect);
                Outcome::Failed { failure, doubt_since, error: Arc::new(error) }
            }
        };
        self.ended(outcome)
    }

    fn ended(&self, outcome: Outcome) -> Landed {
        Landed {
            outcome,
            sent: self.renewal.has_sent(),
            attempt: self.renewal.attempt(),
            is_unsettled: self.renewal.is_unsettled(),
        }
    }

    fn failed(&self, error: RenewalError, doubt_since: Option<Timestamp>) -> Landed {
        let failure = error.failure(self.order.spends);
        let outcome = Outcome::Failed { failure, doubt_since, error: Arc::new(error) };
        self.ended(outcome)
    }

    fn token(&self, held: Held, source: Source) -> Option<Token> {
        let clock = &*self.surroundings.clock;
        let read = match source {
            Source::Server => &self.from_server,
            Source::Escrow => &self.from_escrow,
            Source::Row => {
                let row = self.row.as_ref()?;
                return row.record.token(self.member, row.generation, clock);
            }
        };
        let response = read.as_ref()?.reading.outcome.as_ref().ok()?;
        let (access_token, scope) = (response.access_token.clone(), response.scope.clone());
        Token::new(access_token, scope, self.member, held, wall_expiry(&held, clock)).ok()
    }

    fn met(&self, meeting: Meeting) -> Option<RenewalError> {
        match meeting {
            Meeting::Here => self.error.clone(),
            Meeting::Row => Some(self.row.as_ref()?.record.failure.as_ref()?.error()),
            Meeting::Escrow => self.from_escrow.as_ref()?.error(),
            Meeting::Unheard => Some(RenewalError::AnswerLost(
                "a request was written down, and the process that sent it ended before its \
                     answer was kept"
                    .to_owned(),
            )),
            Meeting::Restored => Some(RenewalError::StoreIsOlder),
            Meeting::Nothing(Grant::Refused) => Some(RenewalError::KnownRefused),
            Meeting::Nothing(Grant::Missing | Grant::Usable) => Some(RenewalError::NoRefreshToken),
        }
    }
}

impl Aftermath {
    /// The refresh token to present next, if the server told one.
    pub(crate) fn refresh_token(&self) -> Option<&Secret> {
        self.0.row.as_ref()?.record.refresh_token.as_ref()
    }

    /// Brings the answer into the store if it is not there yet, and gives the lease back. True if
    /// the store has all there is.
    pub(crate) async fn finish(self) -> bool {
        let Self(mut flight) = self;
        let mut report = Report::Done;
        loop {
            let step = flight.renewal.next(flight.surroundings.clock.now(), report);
            if step == Step::End {
                return flight.renewal.is_saved();
            }
            report = flight.take(step).await;
        }
    }
}
