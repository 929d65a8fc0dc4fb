//! Who goes next when there is room for one more request.
//!
//! Each caller has a queue of its own, first come, first served; callers take turns. So one that
//! asks for much waits for itself, and one that asks for little goes soon, however many requests
//! of another stand there. The queues are bounded, for each caller and together. When they are full
//! together, a newcomer takes the place of the last request of whoever has most.

use std::collections::{BTreeMap, VecDeque};

/// Who asks; chosen by whoever knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

/// A request's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

/// How many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Of one caller.
    pub each: usize,
    /// Of all.
    pub all: usize,
}

impl Capacity {
    /// More than has room within a caller's patience at any limit that vendors are known to have.
    pub const DEFAULT: Self = Self { each: 1024, all: 4096 };
}

/// Requests that wait for room, by caller.
#[derive(Clone, Debug)]
pub struct FairQueue {
    capacity: Capacity,
    waiting: BTreeMap<CallerId, VecDeque<Place>>,
    /// Callers with requests that wait, in the order of their turns.
    turns: VecDeque<CallerId>,
    count: usize,
    next: u64,
}

/// What came of a request that wanted to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It has a place.
    At(Place),
    /// It has that of another caller's last request, which goes without.
    InPlaceOf(Place, Place),
    /// There is no place for it.
    Full,
}

impl FairQueue {
    /// Nobody waits.
    pub fn new(capacity: Capacity) -> Self {
        let (waiting, turns) = (BTreeMap::new(), VecDeque::new());
        Self { capacity, waiting, turns, count: 0, next: 0 }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// How many go before the next request of this caller would.
    pub fn ahead_of(&self, caller: CallerId) -> usize {
        let own = self.waiting.get(&caller).map_or(0, VecDeque::len);
        let others = self.waiting.iter().filter(|(other, _)| **other != caller);
        own + others.map(|(_, places)| places.len().min(own + 1)).sum::<usize>()
    }

    /// Joins the end of its caller's queue.
    pub fn join(&mut self, caller: CallerId) -> Joined {
        let own = self.waiting.get(&caller).map_or(0, VecDeque::len);
        if own >= self.capacity.each {
            return Joined::Full;
        }
        let mut displaced = None;
        if self.count >= self.capacity.all {
            let longest = self.waiting.iter().max_by_key(|(_, places)| places.len());
            let longest = longest.filter(|(_, places)| places.len() > own + 1);
            let Some((&longest, _)) = longest else { return Joined::Full };
            let last = self.waiting.get_mut(&longest).and_then(VecDeque::pop_back);
            self.count -= usize::from(last.is_some());
            displaced = last;
        }
        let place = Place(self.next);
        self.next += 1;
        self.count += 1;
        let places = self.waiting.entry(caller).or_default();
        if places.is_empty() {
            self.turns.push_back(caller);
        }
        places.push_back(place);
        displaced.map_or(Joined::At(place), |other| Joined::InPlaceOf(place, other))
    }

    /// Who goes next; it waits no more.
    pub fn pop(&mut self) -> Option<Place> {
        let caller = self.turns.pop_front()?;
        let places = self.waiting.get_mut(&caller)?;
        let place = places.pop_front();
        if places.is_empty() {
            self.waiting.remove(&caller);
        } else {
            self.turns.push_back(caller);
        }
        self.count -= usize::from(place.is_some());
        place
    }

    /// A request waits no more: its caller went away, or its time is over.
    pub fn leave(&mut self, caller: CallerId, place: Place) {
        let Some(places) = self.waiting.get_mut(&caller) else { return };
        let Ok(index) = places.binary_search(&place) else { return };
        places.remove(index);
        self.count -= 1;
        if places.is_empty() {
            self.waiting.remove(&caller);
            self.turns.retain(|other| *other != caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISY: CallerId = CallerId(1);
    const QUIET: CallerId = CallerId(2);
    const THIRD: CallerId = CallerId(3);

    fn queue(each: usize, all: usize) -> FairQueue {
        FairQueue::new(Capacity { each, all })
    }

    fn join(queue: &mut FairQueue, caller: CallerId) -> Place {
        match queue.join(caller) {
            Joined::At(place) | Joined::InPlaceOf(place, _) => place,
            Joined::Full => panic!("there is a place"),
        }
    }

    #[test]
    fn callers_take_turns_and_each_keeps_its_order() {
        let mut queue = queue(100, 100);
        let noisy: Vec<Place> = (0..5).map(|_| join(&mut queue, NOISY)).collect();
        let quiet: Vec<Place> = (0..2).map(|_| join(&mut queue, QUIET)).collect();
        let third = join(&mut queue, THIRD);
        let order: Vec<Place> = std::iter::from_fn(|| queue.pop()).collect();
        let expected =
            [noisy[0], quiet[0], third, noisy[1], quiet[1], noisy[2], noisy[3], noisy[4]];
        assert_eq!(order, expected);
        assert!(queue.is_empty() && queue.waiting.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn who_is_ahead_depends_on_who_asks() {
        let mut queue = queue(100, 100);
        for _ in 0..50 {
            join(&mut queue, NOISY);
        }
        for _ in 0..2 {
            join(&mut queue, QUIET);
        }
        #[rustfmt::skip]
        let cases = [
            // caller, requests that go before its next
            (NOISY, 50 + 2),
            (QUIET, 2 + 3),
            (THIRD, 1 + 1),
        ];
        for (caller, ahead) in cases {
            assert_eq!(queue.ahead_of(caller), ahead, "{caller:?}");
            // It is never more than was said.
            let (mut queue, mut before) = (queue.clone(), 0);
            let place = join(&mut queue, caller);
            while queue.pop() != Some(place) {
                before += 1;
            }
            assert!(before <= ahead, "{caller:?}: {before} of {ahead}");
        }
    }

    #[test]
    fn who_goes_away_leaves_no_trace() {
        let mut queue = queue(10, 10);
        let places: Vec<Place> = (0..3).map(|_| join(&mut queue, NOISY)).collect();
        let quiet = join(&mut queue, QUIET);
        queue.leave(NOISY, places[1]);
        queue.leave(NOISY, places[1]);
        queue.leave(QUIET, quiet);
        queue.leave(THIRD, quiet);
        assert_eq!(queue.len(), 2);
        assert_eq!(
            [queue.pop(), queue.pop(), queue.pop()],
            [Some(places[0]), Some(places[2]), None]
        );
    }

    #[test]
    fn a_full_queue_makes_room_at_the_cost_of_who_has_most() {
        let mut queue = queue(3, 4);
        let noisy: Vec<Place> = (0..3).map(|_| join(&mut queue, NOISY)).collect();
        assert_eq!(queue.join(NOISY), Joined::Full, "three of one caller");
        join(&mut queue, QUIET);
        let Joined::InPlaceOf(_, displaced) = queue.join(QUIET) else { panic!("it is full") };
        assert_eq!(displaced, noisy[2]);
        assert_eq!(queue.join(NOISY), Joined::Full, "both have two");
        assert_eq!(queue.join(QUIET), Joined::Full);
        assert!(matches!(queue.join(THIRD), Joined::InPlaceOf(..)));
        assert_eq!(queue.len(), 4);
    }
}
