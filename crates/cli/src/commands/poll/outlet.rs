//! From the poller to the writer: what became of a slot, told agent by agent.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bellwether_delivery::{Cursor, Entry, Output, OutputError, What, Writer};
use bellwether_poller::{Brought, Data, Outlet, Questions, Settled, Slot, Tags, Why};
use bellwether_store::Clock;

use super::backfill::Backfill;
use super::due_at;
use super::timetable::Timetable;

/// An absence of more slots is told in one entry for each stretch.
const TOLD_ONE_BY_ONE: u64 = 10_000;

/// Tells what nobody was told of a series that another one follows.
pub(super) fn tell_end(
    output: &mut dyn Output,
    ended: Option<(Cursor, Vec<Range<u64>>)>,
) -> Result<(), OutputError> {
    let Some((cursor, untold)) = ended else { return Ok(()) };
    let told: Vec<Entry> = untold.into_iter().map(|slots| absence(slots, &cursor)).collect();
    if told.is_empty() { Ok(()) } else { output.write(&cursor, &told) }
}

/// One entry for a stretch of slots in which nobody polled.
fn absence(slots: Range<u64>, cursor: &Cursor) -> Entry {
    Entry {
        slot: slots.start,
        slots: slots.end - slots.start,
        part: (1, 1),
        agent: None,
        due_at: due_at(cursor, slots.start),
        what: What::Gap { why: Why::NotRunning.to_string(), tries: 0 },
    }
}

/// Delivers what the poller brings.
#[derive(Debug)]
pub(super) struct Delivering {
    pub(super) writer: Arc<Writer>,
    pub(super) backfill: Backfill,
    pub(super) questions: Questions,
    pub(super) timetable: Timetable,
    pub(super) members: Members,
    pub(super) tags: Option<Tags>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Whom each page told of last, so that a gap can name them.
#[derive(Debug)]
pub(super) struct Members(Mutex<Vec<Vec<String>>>);

impl Members {
    pub(super) fn new(questions: usize) -> Self {
        Self(Mutex::new(vec![Vec::new(); questions]))
    }

    fn of(&self, question: usize) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(question).cloned().unwrap_or_default()
    }

    fn note(&self, question: usize, names: Vec<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get_mut(question) {
            *known = names;
        }
    }
}

impl Outlet<Brought> for Delivering {
    async fn settled(&self, slot: Slot, settled: Settled<Brought>) {
        let entries = match settled {
            Settled::Sampled { data, late } => self.sampled(slot, data, late),
            Settled::Gap { why, tries } => {
                // What came too late was delivered to nobody: it is news again.
                if let Some(tags) = &self.tags {
                    tags.forget(slot.agent);
                }
                self.backfill.note(slot.number);
                self.gap(slot.number, slot.agent, why, tries)
            }
        };
        self.writer.deliver(slot.number, entries).await;
    }
}

impl Delivering {
    /// Tells of the slots that closed while nobody polled.
    pub(super) async fn tell_absence(&self) {
        let missed = self.timetable.missed();
        let count = self.timetable.absent();
        for slots in missed {
            if count <= TOLD_ONE_BY_ONE {
                for slot in slots {
                    self.backfill.note(slot);
                    let agent = u32::try_from(slot % self.questions.count() as u64);
                    let gap = self.gap(slot, agent.unwrap_or(u32::MAX), Why::NotRunning, 0);
                    self.writer.deliver(slot, gap).await;
                }
                continue;
            }
            self.writer.deliver_absence(absence(slots, &self.timetable.cursor)).await;
        }
    }

    fn sampled(&self, slot: Slot, brought: Brought, late: bool) -> Vec<Entry> {
        let due_at = self.timetable.due_at(slot.number);
        let at = brought.at.as_millis();
        let status = brought.status;
        let latency = slot.due.until(self.clock.now()).as_micros();
        let latency = u64::try_from(latency).unwrap_or(u64::MAX);
        let sample = |data| What::Sample { at, latency, late, status, data };
        let question = self.questions.get(slot.agent);
        let index = usize::try_from(slot.agent).unwrap_or(usize::MAX);
        let told: Vec<(Option<String>, What)> = match brought.data {
            Data::Whole(data) => {
                vec![(question.agents().first().cloned(), sample(Some(data)))]
            }
            Data::Unchanged => {
                let names = self.names(index, question.agents());
                names.into_iter().map(|name| (name, sample(None))).collect()
            }
            Data::Items(items) => {
                let absent: Vec<String> = question
                    .agents()
                    .iter()
                    .filter(|agent| items.iter().all(|(name, _)| name != *agent))
                    .cloned()
                    .collect();
                self.members.note(index, items.iter().map(|(name, _)| name.clone()).collect());
                let nothing =
                    || What::Gap { why: "the answer had nothing for it".into(), tries: 1 };
                let present =
                    items.into_iter().map(|(name, data)| (Some(name), sample(Some(data))));
                let absent = absent.into_iter().map(|name| (Some(name), nothing()));
                let mut told: Vec<_> = present.chain(absent).collect();
                if told.is_empty() {
                    // An empty page is an answer too.
                    told.push((None, sample(None)));
                }
                told
            }
        };
        parts(slot.number, due_at, told)
    }

    fn gap(&self, slot: u64, question: u32, why: Why, tries: u32) -> Vec<Entry> {
        let index = usize::try_from(question).unwrap_or(usize::MAX);
        let names = self.names(index, self.questions.get(question).agents());
        let gap = || What::Gap { why: why.to_string(), tries };
        let told = names.into_iter().map(|name| (name, gap())).collect();
        parts(slot, self.timetable.due_at(slot), told)
    }

    /// Whom a question is about: those it names, else those it told of last.
    fn names(&self, question: usize, named: &[String]) -> Vec<Option<String>> {
        let names = if named.is_empty() { self.members.of(question) } else { named.to_vec() };
        match names.is_empty() {
            true => vec![None],
            false => names.into_iter().map(Some).collect(),
        }
    }
}

/// Entries of one slot, numbered.
fn parts(slot: u64, due_at: u64, told: Vec<(Option<String>, What)>) -> Vec<Entry> {
    let of = u32::try_from(told.len()).unwrap_or(u32::MAX);
    let entry =
        |(number, (agent, what))| Entry { slot, slots: 1, part: (number, of), agent, due_at, what };
    (1..).zip(told).map(entry).collect()
}
