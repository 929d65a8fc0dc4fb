//! An API's limits, told in virtual time: what answers tell of them, tokens that rest, and who goes
//! next when there is room again.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_lifecycle::{
    Budget, CallerId, Capacity, Entry, Next, Place, Quota, Take, Timestamp, Told, Turnstile,
};

const MINUTE: Duration = Duration::from_secs(60);

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::from_nanos((1_000_000 + milliseconds) * 1_000_000)
}

fn told(remaining: u32, limit: Option<u32>, seconds: u64) -> Option<Told> {
    Some(Told { remaining, limit, resets_in: Duration::from_secs(seconds) })
}

fn untold(members: u16) -> Budget {
    let mut budget = Budget::new(None, members);
    (0..members).for_each(|member| budget.publish(member, Some(1)));
    budget
}

/// How many requests go at once.
fn burst(budget: &mut Budget, now: Timestamp) -> usize {
    let spends = |_: &usize| matches!(budget.take(now), Take::Spend { .. });
    (0..5_000).take_while(spends).count()
}

#[test]
fn spans_are_longer_by_a_share_of_theirs() {
    #[rustfmt::skip]
    let cases = [
        // per, judged longer by, in ms
        (1_000, 100),
        (10_000, 100),
        (60_000, 600),
        (3_600_000, 1_000),
    ];
    for (per, slack) in cases {
        let quota = Quota { requests: 1, per: Duration::from_millis(per) };
        let mut budget = Budget::new(quota, 1);
        budget.publish(0, Some(1));
        assert_eq!(budget.take(at(0)), Take::Spend { member: 0 });
        assert_eq!(budget.take(at(1)), Take::Wait(at(per + slack)), "{per} ms");
    }
}

#[test]
fn what_was_told_nothing_limits_nothing() {
    let mut budget = untold(1);
    assert_eq!(burst(&mut budget, at(0)), 5_000);
    assert_eq!((budget.left(at(0)), budget.was_told()), (None, false));
}

#[test]
fn no_more_is_spent_than_an_answer_left() {
    #[rustfmt::skip]
    let cases = [
        // remaining, limit, resets in s, spent at once, then opens after s, spent then
        (3,  None,       10,        3, 10,   5_000),
        (3,  Some(8),    10,        3, 10,   8),
        (0,  Some(8),    0,         0, 1,    8),
        (0,  None,       u64::MAX,  0, 3600, 5_000),
        (0,  Some(0),    5,         0, 5,    1),
    ];
    for (remaining, limit, resets, at_once, opens, then) in cases {
        let mut budget = untold(1);
        budget.told(0, 1, told(remaining, limit, resets), at(0), at(0));
        assert_eq!(burst(&mut budget, at(0)), at_once, "{remaining} of {limit:?}");
        assert_eq!(budget.take(at(0)), Take::Wait(at(opens * 1000)), "{remaining} of {limit:?}");
        assert_eq!(burst(&mut budget, at(opens * 1000)), then, "{remaining} of {limit:?}");
    }
}

/// 20 requests are always under way: what answers tell does not count those that left later.
#[test]
fn what_is_under_way_is_counted_too() {
    let (mut left_there, mut resets_at) = (100_u32, 60_000);
    let mut budget = untold(1);
    budget.told(0, 1, told(100, Some(100), 60), at(0), at(0));
    let mut under_way: Vec<u64> = Vec::new();
    let (mut answered, mut refused) = (0, 0);
    for now in 0..200_000 {
        if now == resets_at {
            (left_there, resets_at) = (100, resets_at + 60_000);
        }
        if let Take::Spend { .. } = budget.take(at(now)) {
            under_way.push(now);
        }
        if let Some(&sent) = under_way.first().filter(|&&sent| now >= sent + 20) {
            under_way.remove(0);
            refused += u32::from(left_there == 0);
            answered += 1;
            left_there = left_there.saturating_sub(1);
            // Whole seconds, rounded up as servers do.
            let resets_in = (resets_at - now).div_ceil(1000);
            budget.told(0, 1, told(left_there, Some(100), resets_in), at(sent), at(now));
        }
    }
    assert_eq!(refused, 0);
    assert!((300..=400).contains(&answered), "four windows of 100: {answered}");
}

/// Limits of some resources each, as many vendors have them: none holds every request back.
#[test]
fn limits_that_differ_hold_nothing_back() {
    for other in [None, told(0, Some(30), 60)] {
        let mut budget = untold(1);
        budget.told(0, 1, told(2, Some(5_000), 60), at(0), at(0));
        budget.told(0, 1, other, at(1), at(1));
        assert_eq!(burst(&mut budget, at(2)), 5_000, "{other:?}");
        // Until the token is another.
        budget.publish(0, Some(2));
        budget.told(0, 2, told(2, Some(5_000), 60), at(3), at(3));
        assert_eq!(burst(&mut budget, at(4)), 2);
    }
}

#[test]
fn what_is_known_beforehand_is_not_overruled() {
    let mut budget = Budget::new(Quota { requests: 7, per: MINUTE }, 1);
    budget.publish(0, Some(1));
    budget.told(0, 1, told(1, Some(1), 60), at(0), at(0));
    assert_eq!(burst(&mut budget, at(0)), 7);
}

#[test]
fn a_refused_token_rests_until_more_is_known() {
    let spend = |member| Take::Spend { member };
    let mut budget = untold(2);
    budget.refused(0, 1, at(0));
    assert_eq!([budget.take(at(1)), budget.take(at(2))], [spend(1), spend(1)]);
    budget.refused(1, 1, at(100));
    assert_eq!(budget.take(at(101)), Take::Wait(at(2_000)), "both rest");
    // Then one request finds out, and no second before it has.
    assert_eq!([budget.take(at(2_000)), budget.take(at(2_001))], [spend(0), Take::Wait(at(2_100))]);
    assert_eq!(budget.take(at(2_100)), spend(1));
    assert_eq!(budget.take(at(2_101)), Take::Wait(at(4_000)));
    // Whoever hears nothing rests no more: never for ever.
    assert_eq!(burst(&mut budget, at(4_100)), 5_000);
}

#[test]
fn rest_ends_with_what_becomes_known() {
    type End = fn(&mut Budget);
    let ends: [(&str, End); 4] = [
        ("a newer token", |budget| budget.publish(0, Some(2))),
        ("the API takes it", |budget| budget.accepted(0, 1)),
        ("the refusal stands", Budget::relieve),
        ("its word was for an older one", |budget| {
            budget.publish(0, Some(2));
            budget.refused(0, 1, at(5));
        }),
    ];
    for (why, end) in ends {
        let mut budget = untold(1);
        budget.refused(0, 1, at(0));
        assert_eq!(budget.take(at(1)), Take::Wait(at(2_000)));
        end(&mut budget);
        assert_eq!(burst(&mut budget, at(6)), 5_000, "{why}");
    }
}

const NOISY: CallerId = CallerId(1);
const QUIET: CallerId = CallerId(2);

/// One noisy caller and a quiet one before a limit of 10 a second.
struct Rush {
    turnstile: Turnstile,
    waiting: BTreeMap<Place, (CallerId, u64)>,
    /// By caller: how long each waited, and when those refused were told to come again.
    waited: BTreeMap<CallerId, Vec<u64>>,
    refused: BTreeMap<CallerId, Vec<u64>>,
}

const PATIENCE_MS: u64 = 14_000;

impl Rush {
    fn new() -> Self {
        let quota = Quota { requests: 10, per: Duration::from_secs(1) };
        let mut budget = Budget::new(quota, 1);
        budget.publish(0, Some(1));
        let turnstile = Turnstile::new(budget, Capacity { each: 100, all: 150 });
        let (waiting, waited, refused) = Default::default();
        Self { turnstile, waiting, waited, refused }
    }

    fn ask(&mut self, caller: CallerId, now: u64) {
        match self.turnstile.enter(at(now), caller, at(now + PATIENCE_MS)) {
            Entry::Spend { .. } => self.waited.entry(caller).or_default().push(0),
            Entry::Queued { place, displaced } => {
                self.waiting.insert(place, (caller, now));
                if let Some((caller, _)) = displaced.and_then(|other| self.waiting.remove(&other)) {
                    self.refuse(caller, now);
                }
            }
            Entry::Refused(_) => self.refuse(caller, now),
            Entry::Empty => unreachable!("a token is held"),
        }
    }

    fn refuse(&mut self, caller: CallerId, now: u64) {
        let again = at(now).until(self.turnstile.turn_of(caller, at(now)));
        self.refused.entry(caller).or_default().push(again.as_secs());
    }

    fn serve(&mut self, now: u64) {
        while let Next::Go(place, _) = self.turnstile.next(at(now)) {
            let (caller, since) = self.waiting.remove(&place).expect("it waits");
            self.waited.entry(caller).or_default().push(now - since);
        }
    }
}

#[test]
fn one_noisy_caller_does_not_starve_another() {
    let mut rush = Rush::new();
    for now in 0..62_000 {
        rush.serve(now);
        // 200 a second, and one.
        if now % 5 == 0 {
            rush.ask(NOISY, now);
        }
        if now % 1000 == 500 && now < 60_000 {
            rush.ask(QUIET, now);
        }
    }
    let quiet = &rush.waited[&QUIET];
    assert_eq!((quiet.len(), rush.refused.get(&QUIET)), (60, None));
    assert!(quiet.iter().all(|waited| *waited <= 1_300), "{quiet:?}");
    let noisy = &rush.waited[&NOISY];
    assert!((480..=550).contains(&noisy.len()), "what is left of 10 a second: {}", noisy.len());
    assert!(noisy.iter().all(|waited| *waited <= PATIENCE_MS), "{noisy:?}");
    // 100 stand before it: that is what it is told.
    let refused = &rush.refused[&NOISY];
    assert!(refused[50..].iter().all(|again| (9..=13).contains(again)), "{refused:?}");
}

/// Whoever comes again when it was told to has room then, if nobody else came.
#[test]
fn retry_after_is_honest() {
    for waiting in [0, 1, 9, 10, 35, 99] {
        let mut rush = Rush::new();
        (0..10 + waiting).for_each(|_| rush.ask(NOISY, 0));
        assert_eq!(rush.waiting.len(), waiting);
        let told = at(0).until(rush.turnstile.turn_of(NOISY, at(0)));
        let told = u64::try_from(told.as_millis()).expect("within the hour");
        // Ten every 1.1 s.
        let expected = 1_100 * (1 + waiting as u64 / 10);
        assert!((expected..=expected + 50).contains(&told), "{waiting}: {told} ms");
        (0..=told).for_each(|now| rush.serve(now));
        rush.ask(NOISY, told);
        assert_eq!(rush.waited[&NOISY].last(), Some(&0), "{waiting} waiting, told {told} ms");
    }
}

#[test]
fn nobody_waits_in_vain() {
    let mut rush = Rush::new();
    (0..10).for_each(|_| rush.ask(NOISY, 0));
    // Room in a second: too late for one without patience.
    let entry = rush.turnstile.enter(at(0), QUIET, at(500));
    assert_eq!(entry, Entry::Refused(at(1_100)));
    assert_eq!(rush.turnstile.waiting(), 0);
    // No token any more: nobody waits for room.
    rush.ask(NOISY, 1);
    rush.turnstile.budget.publish(0, None);
    assert_eq!(rush.turnstile.next(at(2)), Next::Empty);
}
