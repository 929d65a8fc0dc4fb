//! A sample with its data: what a poll is for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_broker::lifecycle::UnixTime;
use bellwether_broker::store::Clock;
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde_json::value::RawValue;

use crate::caller::{Caller, Got, Miss, Why};
use crate::connector::Connector;
use crate::json::{self, Split};
use crate::observed::Observed;
use crate::question::{Question, Questions};
use crate::sampler::Sampler;
use crate::strategy::TokenStrategy;

/// What an answer brought.
#[derive(Clone, Debug)]
pub struct Brought {
    /// When it was there.
    pub at: UnixTime,
    /// Its status.
    pub status: u16,
    /// Its data.
    pub data: Data,
}

/// The data of an answer.
#[derive(Clone, Debug)]
pub enum Data {
    /// 304: nothing has changed since the last one.
    Unchanged,
    /// One agent's.
    Whole(Box<RawValue>),
    /// Several agents', each with its name.
    Items(Vec<(String, Box<RawValue>)>),
}

/// The tag of each question's latest answer (RFC 9110 §8.8.3). Clones share them.
#[derive(Clone, Debug)]
pub struct Tags(Arc<Mutex<Vec<Option<HeaderValue>>>>);

impl Tags {
    /// None yet, for so many questions.
    pub fn new(questions: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![None; questions])))
    }

    /// The next answer is to come whole.
    pub fn forget(&self, question: u32) {
        self.keep(usize::try_from(question).unwrap_or(usize::MAX), None);
    }

    fn all(&self) -> MutexGuard<'_, Vec<Option<HeaderValue>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, question: usize) -> Option<HeaderValue> {
        self.all().get(question).cloned().flatten()
    }

    fn keep(&self, question: usize, tag: Option<HeaderValue>) {
        if let Some(kept) = self.all().get_mut(question) {
            *kept = tag;
        }
    }
}

/// Asks an API's [`Questions`] and brings what it answers.
#[derive(Debug)]
pub struct DataSampler<S> {
    asker: Asker<S>,
    questions: Questions,
    split: Option<Split>,
    tags: Option<Tags>,
}

impl<S: TokenStrategy> DataSampler<S> {
    /// One worker. With `split` an answer tells of several agents; with `tags` what did not change
    /// is not sent again.
    pub fn new(
        asker: Asker<S>,
        questions: Questions,
        split: Option<Split>,
        tags: Option<Tags>,
    ) -> Self {
        Self { asker, questions, split, tags }
    }
}

impl<S: TokenStrategy> Sampler for DataSampler<S> {
    type Data = Brought;

    async fn sample(&mut self, number: u32, patience: Duration) -> Result<Brought, Miss> {
        let Question { target, .. } = self.questions.get(number);
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let mut further = HeaderMap::new();
        if let Some(tag) = self.tags.as_ref().and_then(|tags| tags.get(index)) {
            further.insert(IF_NONE_MATCH, tag);
        }
        let got = self.asker.get(target.clone(), &further, patience).await;
        // Whoever is asked to wait for longer comes back for the agent's next slot.
        let got = got.map_err(|miss| Miss {
            retry_after: miss.retry_after.map(|after| after.min(patience)),
            ..miss
        })?;
        let brought = self.asker.brought(&got, self.split.as_ref())?;
        if let (Some(tags), false) = (&self.tags, got.status == StatusCode::NOT_MODIFIED) {
            tags.keep(index, got.headers.get(ETAG).cloned());
        }
        Ok(brought)
    }
}

/// Asks single questions.
#[derive(Debug)]
pub struct Asker<S>(Caller<S>);

impl<S: TokenStrategy> Asker<S> {
    /// With a connection of its own.
    pub fn new(
        strategy: S,
        connector: &Connector,
        clock: Arc<dyn Clock>,
        observed: Arc<Observed>,
    ) -> Self {
        Self(Caller::new(strategy, connector, clock, observed))
    }

    /// Asks once; with `split` for several agents.
    ///
    /// # Errors
    /// Why there is no data.
    pub async fn ask(
        &mut self,
        target: &Uri,
        split: Option<&Split>,
        patience: Duration,
    ) -> Result<Brought, Miss> {
        let got = self.get(target.clone(), &HeaderMap::new(), patience).await?;
        self.brought(&got, split)
    }

    async fn get(
        &mut self,
        target: Uri,
        further: &HeaderMap,
        patience: Duration,
    ) -> Result<Got, Miss> {
        self.0.get(target, further, patience).await
    }

    fn brought(&self, got: &Got, split: Option<&Split>) -> Result<Brought, Miss> {
        let data = match (got.status, split) {
            (StatusCode::NOT_MODIFIED, _) => Data::Unchanged,
            (_, None) => Data::Whole(json::whole(&got.body)),
            (_, Some(split)) => {
                let items = json::items(&got.body, split);
                Data::Items(items.ok_or(Miss::new(Why::Unusable))?)
            }
        };
        Ok(Brought { at: self.0.clock().wall(), status: got.status.as_u16(), data })
    }
}
