//! Counts over time, in constant memory: when there are too many buckets, they become twice as wide.

use std::collections::VecDeque;

use crate::moment::Moment;
use crate::observation::Observation;

/// A picture shows no more than this.
const MOST: usize = 240;
const FIRST_WIDTH: i64 = 1_000;

/// What happened in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// API requests that were neither refused nor throttled.
    pub good: u64,
    /// Token requests that gave a token.
    pub token_requests: u64,
    /// Token requests that gave none.
    pub token_failures: u64,
    /// 401s of the API.
    pub refused: u64,
    /// 429s of the API.
    pub throttled: u64,
}

impl Bucket {
    fn add(&mut self, other: Self) {
        self.good += other.good;
        self.token_requests += other.token_requests;
        self.token_failures += other.token_failures;
        self.refused += other.refused;
        self.throttled += other.throttled;
    }
}

/// Buckets of equal width, and what fell on which second of the minute.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Number of the first bucket, counted in widths since the epoch.
    first: i64,
    width: i64,
    buckets: VecDeque<Bucket>,
    token_seconds: [u64; 60],
    failure_seconds: [u64; 60],
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            first: 0,
            width: FIRST_WIDTH,
            buckets: VecDeque::new(),
            token_seconds: [0; 60],
            failure_seconds: [0; 60],
        }
    }
}

impl Timeline {
    /// Counts one.
    pub fn observe(&mut self, seen: &Observation) {
        let bucket = self.bucket(seen.done_at);
        let token_request = seen.is_token_request();
        let failed = match (token_request, seen.status) {
            (true, _) if seen.succeeded() => {
                bucket.token_requests += 1;
                false
            }
            (true, _) => {
                bucket.token_failures += 1;
                true
            }
            (false, Some(401)) => {
                bucket.refused += 1;
                true
            }
            (false, Some(429)) => {
                bucket.throttled += 1;
                false
            }
            (false, _) => {
                bucket.good += 1;
                false
            }
        };
        let second = seen.sent_at().second_of_minute();
        self.token_seconds[second] += u64::from(token_request);
        self.failure_seconds[second] += u64::from(failed);
    }

    fn bucket(&mut self, at: Moment) -> &mut Bucket {
        loop {
            let number = at.0.div_euclid(self.width);
            if self.buckets.is_empty() {
                self.first = number;
                self.buckets.push_back(Bucket::default());
            }
            let last = self.first + self.buckets.len() as i64 - 1;
            let needed = (last.max(number) - self.first.min(number)).saturating_add(1);
            if needed > MOST as i64 {
                self.widen();
                continue;
            }
            for _ in number..self.first {
                self.buckets.push_front(Bucket::default());
            }
            self.first = self.first.min(number);
            for _ in last..number {
                self.buckets.push_back(Bucket::default());
            }
            return &mut self.buckets[(number - self.first) as usize];
        }
    }

    fn widen(&mut self) {
        let mut wider: VecDeque<Bucket> = VecDeque::with_capacity(MOST);
        let first = self.first.div_euclid(2);
        for (number, bucket) in (self.first..).zip(&self.buckets) {
            let place = (number.div_euclid(2) - first) as usize;
            if place == wider.len() {
                wider.push_back(Bucket::default());
            }
            wider[place].add(*bucket);
        }
        self.first = first;
        self.width *= 2;
        self.buckets = wider;
    }

    /// When the first bucket begins.
    pub fn start(&self) -> Moment {
        Moment(self.first * self.width)
    }

    /// Milliseconds of each bucket.
    pub fn width(&self) -> i64 {
        self.width
    }

    /// In order.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = &Bucket> {
        self.buckets.iter()
    }

    /// Token requests by the second of the minute they were sent at.
    pub fn token_seconds(&self) -> &[u64; 60] {
        &self.token_seconds
    }

    /// 401s and failed token requests likewise.
    pub fn failure_seconds(&self) -> &[u64; 60] {
        &self.failure_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Timeline};
    use crate::moment::Moment;
    use crate::observation::Observation;

    #[test]
    fn a_day_fits_and_nothing_is_lost_whatever_the_order() {
        let mut timeline = Timeline::default();
        for minute in (0..1440_i64).rev().chain(0..1440) {
            let done_at = Moment(1_700_000_000_000 + minute * 60_000);
            timeline.observe(&Observation { done_at, status: Some(200), ..Observation::default() });
        }
        assert!(timeline.buckets().len() <= MOST);
        assert_eq!(timeline.buckets().map(|bucket| bucket.good).sum::<u64>(), 2880);
    }
}
