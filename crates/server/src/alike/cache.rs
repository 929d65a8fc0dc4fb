//! Answers that are kept for a short while (RFC 9111), within a bound of time and one of size.
//!
//! What may be kept, and for how long, says [`question`](super::question). Nothing stale is ever given out,
//! so nothing is revalidated: whoever asks too late asks the API. Pure: `now` is a parameter.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::question::{Key, Question, Written, varies_alike};

/// One answer takes at most this share of the cache.
const LARGEST_SHARE: usize = 8;
/// Answers to one question that differ by what they vary by.
const MOST_VARIANTS: usize = 4;
/// What an answer takes beside its body and its fields.
const OVERHEAD: usize = 256;

/// An answer that was read whole, with the fields of the request it was given to.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) asked: HeaderMap,
}

impl Whole {
    /// Whether it answers a request with these fields, too.
    pub(crate) fn fits(&self, asked: &HeaderMap) -> bool {
        varies_alike(&self.fields, &self.asked, asked)
    }

    fn size(&self) -> usize {
        let of = |fields: &HeaderMap| -> usize {
            fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
        };
        self.body.len() + of(&self.fields) + of(&self.asked) + OVERHEAD
    }
}

#[derive(Debug)]
struct Kept {
    whole: Arc<Whole>,
    number: u64,
    size: usize,
    came_at: Timestamp,
    age: Duration,
    fresh_until: Timestamp,
    until: Timestamp,
}

/// A kept answer, and how old it is.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) whole: Arc<Whole>,
    pub(crate) age: Duration,
    pub(crate) lives: Duration,
}

#[derive(Debug)]
pub(crate) struct Cache {
    longest: Duration,
    most: usize,
    size: usize,
    next: u64,
    answers: HashMap<Key, Vec<Kept>>,
    /// In the order in which they came; some have gone since.
    order: VecDeque<(u64, Key)>,
}

impl Cache {
    /// Keeps nothing longer than `longest`, and at most about so many bytes.
    pub(crate) fn new(longest: Duration, most: usize) -> Self {
        let (answers, order) = (HashMap::new(), VecDeque::new());
        Self { longest, most, size: 0, next: 0, answers, order }
    }

    /// A kept answer that this question may have.
    pub(crate) fn find(&self, question: &Question, now: Timestamp) -> Option<Hit> {
        if !question.is_plain {
            return None;
        }
        let fits = |kept: &&Kept| now < kept.until && kept.whole.fits(&question.fields);
        let kept = self.answers.get(&question.key)?.iter().find(fits)?;
        let age = kept.age + now.since(kept.came_at);
        let hit = Hit { whole: Arc::clone(&kept.whole), age, lives: now.until(kept.until) };
        question.takes(age, now.until(kept.fresh_until)).then_some(hit)
    }

    /// Keeps an answer that was so old when it came, and is fresh for so long from then on.
    pub(crate) fn keep(
        &mut self,
        key: &Key,
        whole: Arc<Whole>,
        (age, fresh_for): (Duration, Duration),
        now: Timestamp,
    ) {
        let size = whole.size();
        if size > self.most / LARGEST_SHARE {
            return;
        }
        let (number, fresh_until) = (self.next, now + fresh_for);
        self.next += 1;
        let until = now + fresh_for.min(self.longest);
        let kept = Kept { whole, number, size, came_at: now, age, fresh_until, until };
        let variants = self.answers.entry(key.clone()).or_default();
        let same = |known: &Kept| known.whole.fits(&kept.whole.asked) || known.until <= now;
        self.size -=
            variants.iter().filter(|known| same(known)).map(|known| known.size).sum::<usize>();
        variants.retain(|known| !same(known));
        if variants.len() >= MOST_VARIANTS {
            self.size -= variants.remove(0).size;
        }
        variants.push(kept);
        self.size += size;
        self.order.push_back((number, key.clone()));
        self.shrink(now);
    }

    /// A write that was not refused makes what was kept of its target invalid.
    pub(crate) fn written(&mut self, written: &Written) {
        let size = &mut self.size;
        self.answers.retain(|key, kept| {
            let stays = !key.is_changed_by(written);
            if !stays {
                *size -= kept.iter().map(|kept| kept.size).sum::<usize>();
            }
            stays
        });
    }

    /// Drops what is over, and the oldest while there is too much.
    fn shrink(&mut self, now: Timestamp) {
        while let Some((number, key)) = self.order.front() {
            let variants = self.answers.get_mut(key);
            let index = variants
                .as_ref()
                .and_then(|kept| kept.iter().position(|kept| kept.number == *number));
            if let (Some(variants), Some(index)) = (variants, index) {
                if now < variants[index].until && self.size <= self.most {
                    return;
                }
                self.size -= variants.remove(index).size;
                if variants.is_empty() {
                    self.answers.remove(key);
                }
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Request};

    use super::*;
    use crate::alike::Asked;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1000 + seconds)
    }

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |&(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(field).collect()
    }

    fn asked(method: &str, target: &str, lines: &[(&'static str, &'static str)]) -> Asked {
        let request = Request::builder().method(method).uri(target).body(()).expect("a request");
        let (mut parts, ()) = request.into_parts();
        parts.headers = fields(lines);
        Asked::of("polling", &parts)
    }

    fn question(target: &str, lines: &[(&'static str, &'static str)]) -> Question {
        match asked("GET", target, lines) {
            Asked::Question(question) => *question,
            Asked::Write(_) | Asked::Other => panic!("a question"),
        }
    }

    fn whole(question: &Question, vary: &'static str, body: &'static [u8]) -> Arc<Whole> {
        Arc::new(Whole {
            status: StatusCode::OK,
            fields: fields(&[("vary", vary)]),
            body: Bytes::from_static(body),
            asked: question.fields.clone(),
        })
    }

    #[test]
    fn nothing_is_given_out_after_its_time() {
        #[rustfmt::skip]
        let cases = [
            // fresh for s, asked after s, age it is given with
            (60, 0,  Some(7)),
            (60, 4,  Some(11)),
            (60, 5,  None),
            (3,  2,  Some(9)),
            (3,  3,  None),
        ];
        for (fresh_for, after, age) in cases {
            let mut cache = Cache::new(Duration::from_secs(5), 1 << 20);
            let question = question("/a", &[]);
            let times = (Duration::from_secs(7), Duration::from_secs(fresh_for));
            cache.keep(&question.key, whole(&question, "", b"x"), times, at(0));
            let found = cache.find(&question, at(after)).map(|hit| hit.age.as_secs());
            assert_eq!(found, age, "fresh for {fresh_for} s, after {after} s");
        }
    }

    #[test]
    fn variants_stand_beside_each_other() {
        let mut cache = Cache::new(MINUTE, 1 << 20);
        let ways = ["a", "b", "c", "d", "e"].map(|way| question("/a", &[("x-way", way)]));
        for way in &ways {
            let times = (Duration::ZERO, MINUTE);
            cache.keep(&way.key, whole(way, "x-way", b"x"), times, at(0));
            cache.keep(&way.key, whole(way, "x-way", b"newer"), times, at(0));
        }
        let found =
            ways.each_ref().map(|way| cache.find(way, at(1)).map(|hit| hit.whole.body.len()));
        assert_eq!(found, [None, Some(5), Some(5), Some(5), Some(5)]);
        assert!(cache.find(&question("/a", &[]), at(1)).is_none());
    }

    #[test]
    fn its_size_is_bounded_and_the_oldest_go_first() {
        static BODY: [u8; 1000] = [0; 1000];
        let mut cache = Cache::new(MINUTE, 20_000);
        let questions: Vec<Question> =
            (0..100).map(|number| question(&format!("/{number}"), &[])).collect();
        for question in &questions {
            let times = (Duration::ZERO, MINUTE);
            cache.keep(&question.key, whole(question, "", &BODY), times, at(0));
            assert!(cache.size <= 20_000);
        }
        let found: Vec<bool> = questions.iter().map(|q| cache.find(q, at(1)).is_some()).collect();
        let first = found.iter().position(|found| *found).expect("some are kept");
        assert!((80..90).contains(&first) && found[first..].iter().all(|found| *found), "{first}");
        // When all is over, all is given back.
        let last = question("/last", &[]);
        cache.keep(&last.key, whole(&last, "", b""), (Duration::ZERO, MINUTE), at(100));
        assert_eq!((cache.answers.len(), cache.order.len()), (1, 1));
        let large = question("/large", &[]);
        static LARGE: [u8; 3000] = [0; 3000];
        cache.keep(&large.key, whole(&large, "", &LARGE), (Duration::ZERO, MINUTE), at(100));
        assert!(cache.find(&large, at(100)).is_none(), "more than an eighth");
    }

    #[test]
    fn a_write_makes_its_target_invalid() {
        let mut cache = Cache::new(MINUTE, 1 << 20);
        let questions = ["/a", "/a?x=1", "/b"].map(|target| question(target, &[]));
        for question in &questions {
            cache.keep(&question.key, whole(question, "", b"x"), (Duration::ZERO, MINUTE), at(0));
        }
        let Asked::Write(written) = asked("PUT", "/a", &[]) else { panic!("a write") };
        cache.written(&written);
        let found = questions.each_ref().map(|question| cache.find(question, at(1)).is_some());
        assert_eq!(found, [false, false, true]);
    }
}
