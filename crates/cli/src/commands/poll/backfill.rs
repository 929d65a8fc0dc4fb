//! Fills gaps later, where the API tells of the past: the oldest first, one at a time, and only
//! while the API answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bellwether_delivery::{Entry, Gaps, What, Writer};
use bellwether_poller::{Brought, Data, Questions, Shape, Why};
use http::Uri;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::timetable::Timetable;
use super::{Api, Failure};
use crate::configuration as file;

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What is to be filled. Clones share it; without a path nothing is.
#[derive(Clone)]
pub(super) struct Backfill(Option<Arc<Filling>>);

struct Filling {
    gaps: Gaps,
    more: Notify,
    writer: Arc<Writer>,
    template: String,
    base: url::Url,
    asker: tokio::sync::Mutex<bellwether_poller::Asker<bellwether_poller::ThroughBroker>>,
    questions: Questions,
    timetable: Timetable,
}

impl Backfill {
    pub(super) fn new(
        poll: &file::Poll,
        api: &Api,
        questions: &Questions,
        timetable: &Timetable,
        gaps: Gaps,
        writer: Arc<Writer>,
    ) -> Result<Self, Failure> {
        let Some(template) = &poll.backfill else { return Ok(Self(None)) };
        if poll.shape != Shape::Each {
            return Err(Failure::Usage(format!(
                "poll {}: gaps are filled agent by agent; leave backfill out, or ask for each agent",
                poll.name
            )));
        }
        let filling = Filling {
            gaps,
            more: Notify::new(),
            writer,
            template: template.clone(),
            base: api.base.clone(),
            asker: tokio::sync::Mutex::new(api.asker()),
            questions: questions.clone(),
            timetable: timetable.clone(),
        };
        // A template that gives no address is told now and not at the first gap.
        filling.target(0).ok_or_else(|| {
            Failure::Usage(format!("poll {}: backfill {template:?} gives no address", poll.name))
        })?;
        Ok(Self(Some(Arc::new(filling))))
    }

    /// A slot ended as a gap.
    pub(super) fn note(&self, slot: u64) {
        if let Some(filling) = &self.0 {
            filling.gaps.add(slot);
            filling.more.notify_one();
        }
    }

    /// Fills gaps for as long as it is polled.
    pub(super) async fn fill(self) {
        let Some(filling) = self.0 else { return std::future::pending().await };
        let (shortest, longest) = PAUSE;
        let mut pause = shortest;
        let (mut last, mut has_failed) = (None, false);
        loop {
            let Some(slot) = filling.gaps.next(last) else {
                // Once around: what could not be had is tried again, after a while.
                match std::mem::take(&mut has_failed) {
                    true => sleep(longest).await,
                    false => filling.more.notified().await,
                }
                last = None;
                continue;
            };
            match filling.fetch(slot).await {
                Ok(entries) => {
                    filling.writer.deliver(slot, entries).await;
                    (last, pause) = (Some(slot), shortest);
                }
                // The API has no such thing: it stays a gap.
                Err(Why::Status(400 | 403..=407 | 410..=428)) => filling.gaps.remove(slot),
                // The API may be down, or not know of this one: the others are not to wait for it.
                Err(_) => {
                    sleep(pause).await;
                    (last, has_failed) = (Some(slot), true);
                    pause = (pause * 2).min(longest);
                }
            }
        }
    }
}

impl Filling {
    fn target(&self, slot: u64) -> Option<Uri> {
        let agent = u32::try_from(slot % self.questions.count() as u64).ok()?;
        let name = self.questions.get(agent).agents().first()?;
        let from = self.timetable.due_at(slot);
        let until = from + self.timetable.cursor.plan.period;
        let stand_ins = [("{from}", from), ("{until}", until)];
        let path = bellwether_poller::with_agent(&self.template, name);
        let path = stand_ins
            .iter()
            .fold(path, |path, (place, at)| path.replace(place, &percent(&in_utc(*at))));
        bellwether_poller::address(&self.base, &path).ok()
    }

    async fn fetch(&self, slot: u64) -> Result<Vec<Entry>, Why> {
        let target = self.target(slot).ok_or(Why::Status(400))?;
        let brought = self.asker.lock().await.ask(&target, None, PATIENCE).await;
        let Brought { at, status, data } = brought.map_err(|miss| miss.why)?;
        let data = match data {
            Data::Whole(data) => data,
            Data::Unchanged | Data::Items(_) => return Err(Why::Unusable),
        };
        let agent = u32::try_from(slot % self.questions.count() as u64).unwrap_or(u32::MAX);
        Ok(vec![Entry {
            slot,
            slots: 1,
            part: (1, 1),
            agent: self.questions.get(agent).agents().first().cloned(),
            due_at: self.timetable.due_at(slot),
            what: What::Backfill { at: at.as_millis(), status, data },
        }])
    }
}

impl fmt::Debug for Backfill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gaps = self.0.as_ref().map(|filling| filling.gaps.count());
        f.debug_struct("Backfill").field("gaps", &gaps).finish()
    }
}

/// RFC 3339 in UTC, with milliseconds.
fn in_utc(milliseconds: u64) -> String {
    let (days, rest) = (milliseconds / 86_400_000, milliseconds % 86_400_000);
    // Years that begin in March, so that the leap day comes last.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (seconds, milliseconds) = (rest / 1_000, rest % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// A time as it stands in a query.
fn percent(time: &str) -> String {
    time.replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc() {
        #[rustfmt::skip]
        let cases = [
            (0,                 "1970-01-01T00:00:00.000Z"),
            (951_782_399_999,   "2000-02-28T23:59:59.999Z"),
            (951_782_400_000,   "2000-02-29T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (milliseconds, expected) in cases {
            assert_eq!(in_utc(milliseconds), expected);
        }
    }
}
