//! One renewal told as scripts: what is reported on the left, what is done next on the right. Then
//! what holds whatever is reported, in whatever order.

use std::time::Duration;

use bellwether_lifecycle::renewal::{
    Answer, Change, Escrowed, Grant, Meeting, Met, Order, Outcome, Recorded, Report, Source, Step,
};
use bellwether_lifecycle::{Cause, Failure, Held, Renewal, Replay, Timestamp};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(10_000);
const LOOK_AGAIN: Duration = Duration::from_millis(40);

const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Generation 4 is to be replaced; its token is good for ten more minutes, and a refresh token that
/// is shown twice ends everything.
fn order() -> Order {
    Order {
        generation: 4,
        attempt: 10,
        spends: true,
        replay: Replay::LastResort,
        usable_until: at(10_600),
        is_probe: false,
        request_limit: secs(10),
    }
}

/// `client_credentials`: nothing is spent.
fn repeatable() -> Order {
    Order { spends: false, replay: Replay::Free, ..order() }
}

/// The row as everybody left it.
fn row() -> Recorded {
    Recorded {
        generation: 4,
        attempt: 10,
        held: Some(held(4, 7_000)),
        grant: Grant::Usable,
        ..Recorded::default()
    }
}

fn held(generation: u64, sent: u64) -> Held {
    Held { generation, sent_at: at(sent), lifetime: Some(secs(3600)) }
}

const fn leased() -> Report {
    Report::Leased { until: at(10_020) }
}

fn loaded(recorded: Recorded) -> Report {
    Report::Loaded { recorded, escrowed: None }
}

fn beside(recorded: Recorded, generation: u64, attempt: u64, answer: Answer) -> Report {
    let escrowed = Some(Escrowed { generation, attempt, is_ours: true, answer });
    Report::Loaded { recorded, escrowed }
}

fn granted() -> Answer {
    Answer::Granted { sent_at: NOW, lifetime: Some(secs(3600)) }
}

/// A token whose life is over.
fn ended() -> Answer {
    Answer::Granted { sent_at: NOW, lifetime: Some(Duration::ZERO) }
}

fn refused() -> Answer {
    Answer::Failed { failure: failure(Cause::Reauthorize), refused: true, rotated: false }
}

fn failure(cause: Cause) -> Failure {
    Failure::new(cause)
}

fn broken() -> Report {
    Report::Broken(failure(Cause::Passing))
}

fn intent(doubt_since: Option<Timestamp>) -> Step {
    Step::Save(Change::Intent { attempt: 11, doubt_since })
}

fn send() -> Step {
    Step::Send { not_after: at(10_010) }
}

fn accept(generation: u64, source: Source) -> Step {
    Step::Save(Change::Accept { generation, source, doubt_since: None })
}

/// From the escrow, into a row that is older than the answer.
fn accept_in_doubt(generation: u64) -> Step {
    let doubt_since = Some(NOW);
    Step::Save(Change::Accept { generation, source: Source::Escrow, doubt_since })
}

fn gives(held: Held, source: Source) -> Step {
    Step::Publish(Outcome::Granted { held, source })
}

fn fails(cause: Cause, doubt_since: Option<Timestamp>, met: Meeting) -> Step {
    Step::Publish(Outcome::Failed { failure: failure(cause), doubt_since, met })
}

fn elsewhere() -> Step {
    Step::Publish(Outcome::Elsewhere { retry_after: LOOK_AGAIN })
}

fn fail(source: Source, refused: bool, doubt_since: Option<Timestamp>) -> Step {
    Step::Save(Change::Fail { generation: 4, source, refused, doubt_since })
}

type Script = Vec<(Report, Step)>;

/// A request that leaves as it should.
fn until_sent() -> Script {
    vec![
        (leased(), Step::Load),
        (loaded(row()), Step::Reserve),
        (Report::Done, intent(None)),
        (Report::Done, send()),
    ]
}

/// One that is answered with a token, which is kept.
fn until_read() -> Script {
    with(until_sent(), [(Report::Answered, Step::Escrow), (Report::Done, Step::Read)])
}

/// Told, given back, over.
fn then_ends(script: Script) -> Script {
    with(script, [(Report::Done, Step::Release), (Report::Done, Step::End)])
}

fn with(mut script: Script, more: impl IntoIterator<Item = (Report, Step)>) -> Script {
    script.extend(more);
    script
}

fn play(title: &str, order: Order, script: Script) -> Renewal {
    let (mut renewal, first) = Renewal::begin(order);
    assert_eq!(first, Step::Acquire, "{title}");
    for (number, (report, step)) in script.into_iter().enumerate() {
        assert_eq!(renewal.next(NOW, report), step, "{title}, line {number}: {report:?}");
    }
    renewal
}

fn tell<const N: usize>(stories: [(&str, Order, Script); N]) {
    for (title, order, script) in stories {
        play(title, order, script);
    }
}

#[test]
fn where_nothing_goes_wrong() {
    let fresh = held(5, 10_000);
    let renewal = play(
        "a refresh token is spent",
        order(),
        then_ends(with(
            until_read(),
            [
                (Report::Read(granted()), accept(5, Source::Server)),
                (Report::Done, gives(fresh, Source::Server)),
            ],
        )),
    );
    assert_eq!((renewal.attempt(), renewal.has_sent(), renewal.is_saved()), (11, true, true));
    play(
        "nothing is spent: no intent, no escrow, no hurry",
        repeatable(),
        then_ends(vec![
            (leased(), Step::Load),
            (loaded(row()), Step::Send { not_after: Timestamp::NEVER }),
            (Report::Answered, Step::Read),
            (Report::Read(granted()), accept(5, Source::Server)),
            (Report::Done, gives(fresh, Source::Server)),
        ]),
    );
}

#[test]
fn somebody_else_is_at_it_or_was_faster() {
    let busy = |milliseconds| Report::Busy { retry_after: millis(milliseconds) };
    let theirs = Recorded { generation: 5, attempt: 11, held: Some(held(5, 9_999)), ..row() };
    let met = |cause, seconds_ago: u64, is_ours| {
        let met = Met { failure: failure(cause), at: at(10_000 - seconds_ago), is_ours };
        loaded(Recorded { attempt: 11, failure: Some(met), ..row() })
    };
    let shared = |cause| fails(cause, None, Meeting::Row);
    let without_lease =
        |loaded, told| vec![(busy(5_000), Step::Load), (loaded, told), (Report::Done, Step::End)];
    let with_lease = |loaded, next| vec![(leased(), Step::Load), (loaded, next)];
    let in_their_hands = Recorded { attempt: 11, intent: Some(at(9_999)), ..row() };
    tell([
        ("busy, and nothing new", order(), without_lease(loaded(row()), elsewhere())),
        (
            "busy for a moment only",
            order(),
            vec![
                (busy(3), Step::Load),
                (loaded(row()), Step::Publish(Outcome::Elsewhere { retry_after: millis(3) })),
                (Report::Done, Step::End),
            ],
        ),
        (
            "busy: their intent is not doubt while they are at it",
            order(),
            without_lease(loaded(in_their_hands), elsewhere()),
        ),
        ("busy, and the row cannot be read", order(), without_lease(broken(), elsewhere())),
        (
            "busy, and they have it already",
            order(),
            without_lease(loaded(theirs), gives(held(5, 9_999), Source::Row)),
        ),
        (
            "they have it, and are gone",
            order(),
            then_ends(with_lease(loaded(theirs), gives(held(5, 9_999), Source::Row))),
        ),
        (
            "what they have is as good as over",
            order(),
            with_lease(loaded(Recorded { held: Some(held(5, 6_450)), ..theirs }), Step::Reserve),
        ),
        (
            "they failed just now",
            order(),
            then_ends(with_lease(met(Cause::Passing, 4, true), shared(Cause::Passing))),
        ),
        (
            "they failed a while ago",
            order(),
            with_lease(met(Cause::Passing, 6, true), Step::Reserve),
        ),
        (
            "they failed with another client secret",
            order(),
            with_lease(met(Cause::Misconfigured, 1, false), Step::Reserve),
        ),
        (
            "one probes for all",
            Order { is_probe: true, ..order() },
            then_ends(with_lease(
                met(Cause::Misconfigured, 500, true),
                shared(Cause::Misconfigured),
            )),
        ),
        (
            "a doubt does not grow old",
            order(),
            then_ends(with_lease(met(Cause::InDoubt, 5_000, false), shared(Cause::InDoubt))),
        ),
        (
            "known already: no news",
            Order { attempt: 11, ..order() },
            with_lease(met(Cause::Passing, 1, true), Step::Reserve),
        ),
    ]);
}

#[test]
fn an_intent_that_nobody_heard_of_again() {
    let left = Recorded { attempt: 11, intent: Some(at(9_990)), ..row() };
    let knows = Order { attempt: 11, ..order() };
    let found =
        |order: Order, next: Step| (order, vec![(leased(), Step::Load), (loaded(left), next)]);
    let doubt = |met| fails(Cause::InDoubt, Some(at(9_990)), met);
    let cases = [
        ("heard of for the first time", found(order(), doubt(Meeting::Unheard))),
        ("strict, and a good token beside it", found(knows, doubt(Meeting::Unheard))),
        ("strict, and nothing to lose", found(Order { usable_until: NOW, ..knows }, Step::Reserve)),
        (
            "the server takes it again",
            found(Order { replay: Replay::Free, ..knows }, Step::Reserve),
        ),
        (
            "within the server's window",
            found(Order { replay: Replay::Within(secs(30)), ..knows }, Step::Reserve),
        ),
        (
            "three quarters of the window are over",
            found(Order { replay: Replay::Within(secs(13)), ..knows }, doubt(Meeting::Unheard)),
        ),
    ];
    for (title, (order, script)) in cases {
        play(title, order, script);
    }
    let again = Step::Save(Change::Intent { attempt: 12, doubt_since: Some(at(9_990)) });
    let not_after = at(9_990) + Duration::from_millis(22_500);
    tell([
        (
            "sent again no later than the window allows, and the doubt stays until it is answered",
            Order { replay: Replay::Within(secs(30)), ..knows },
            vec![
                (Report::Leased { until: at(10_040) }, Step::Load),
                (loaded(left), Step::Reserve),
                (Report::Done, again),
                (Report::Done, Step::Send { not_after }),
                (
                    Report::Unanswered(failure(Cause::Passing)),
                    fail(Source::Server, false, Some(at(9_990))),
                ),
                (Report::Done, fails(Cause::Passing, Some(at(9_990)), Meeting::Here)),
            ],
        ),
        (
            "where nothing is spent an intent means nothing",
            Order { attempt: 11, ..repeatable() },
            vec![
                (leased(), Step::Load),
                (loaded(left), Step::Send { not_after: Timestamp::NEVER }),
            ],
        ),
    ]);
}

#[test]
fn a_token_beside_a_doubt_settles_nothing() {
    let theirs = Recorded { generation: 5, attempt: 12, held: Some(held(5, 9_000)), ..row() };
    let intended = Recorded { intent: Some(at(9_990)), ..theirs };
    let in_doubt = Recorded { doubt_since: Some(at(9_990)), ..theirs };
    let busy = Report::Busy { retry_after: secs(1) };
    // what the row says, whether another holder is at it, whether another renewal is needed
    let cases = [
        ("all is well", theirs, leased(), false),
        ("its request was not heard of again", intended, leased(), true),
        ("its request has not been answered yet", intended, busy, false),
        ("its request left a doubt", in_doubt, leased(), true),
        ("somebody else is at the doubt, and may die of it", in_doubt, busy, true),
    ];
    for (title, recorded, lease, is_unsettled) in cases {
        let gives = gives(held(5, 9_000), Source::Row);
        let renewal = play(title, order(), vec![(lease, Step::Load), (loaded(recorded), gives)]);
        assert_eq!(renewal.is_unsettled(), is_unsettled, "{title}");
    }
}

#[test]
fn the_escrow_knows_more_than_the_row() {
    let left = Recorded { attempt: 11, intent: Some(at(9_990)), ..row() };
    let doubtful =
        Answer::Failed { failure: failure(Cause::InDoubt), refused: false, rotated: false };
    let rotated =
        Answer::Failed { failure: failure(Cause::InDoubt), refused: false, rotated: true };
    tell([
        (
            "a token that was never saved",
            order(),
            then_ends(vec![
                (leased(), Step::Load),
                (beside(left, 5, 11, granted()), accept(5, Source::Escrow)),
                (Report::Done, gives(held(5, 10_000), Source::Escrow)),
            ]),
        ),
        (
            "a token that the row has already",
            order(),
            vec![(leased(), Step::Load), (beside(row(), 4, 10, granted()), Step::Reserve)],
        ),
        (
            "a token that this process has, and the row has not: saved, and replaced as ordered",
            Order { generation: 5, attempt: 11, ..order() },
            vec![
                (leased(), Step::Load),
                (beside(left, 5, 11, granted()), accept(5, Source::Escrow)),
                (Report::Done, Step::Load),
                (loaded(Recorded { generation: 5, attempt: 11, ..row() }), Step::Reserve),
            ],
        ),
        (
            "a token that has ended since: saved, and replaced at once",
            order(),
            vec![
                (leased(), Step::Load),
                (beside(left, 5, 11, ended()), accept(5, Source::Escrow)),
                (Report::Done, Step::Load),
                (loaded(Recorded { generation: 5, attempt: 11, ..row() }), Step::Reserve),
            ],
        ),
        (
            "a token that has ended since, and the store is down: nobody gets it",
            order(),
            vec![
                (leased(), Step::Load),
                (beside(left, 5, 11, ended()), accept(5, Source::Escrow)),
                (broken(), fails(Cause::Passing, None, Meeting::Here)),
                (Report::Done, Step::Release),
            ],
        ),
        (
            "a refusal settles its intent",
            order(),
            then_ends(vec![
                (leased(), Step::Load),
                (beside(left, 5, 11, refused()), fail(Source::Escrow, true, None)),
                (Report::Done, fails(Cause::Reauthorize, None, Meeting::Escrow)),
            ]),
        ),
        (
            "an answer that leaves doubt: since the request",
            order(),
            vec![
                (leased(), Step::Load),
                (beside(left, 5, 11, doubtful), fail(Source::Escrow, false, Some(at(9_990)))),
                (Report::Done, fails(Cause::InDoubt, Some(at(9_990)), Meeting::Escrow)),
            ],
        ),
        (
            "a broken answer with a refresh token in it",
            order(),
            vec![
                (leased(), Step::Load),
                (
                    beside(left, 5, 11, rotated),
                    // What happened to the old one matters no more.
                    Step::Save(Change::Fail {
                        generation: 5,
                        source: Source::Escrow,
                        refused: false,
                        doubt_since: None,
                    }),
                ),
            ],
        ),
        (
            "the same, and the row is older than it",
            order(),
            vec![
                (leased(), Step::Load),
                (
                    beside(row(), 5, 11, rotated),
                    Step::Save(Change::Fail {
                        generation: 5,
                        source: Source::Escrow,
                        refused: false,
                        doubt_since: Some(Timestamp::ZERO),
                    }),
                ),
            ],
        ),
        (
            "the answer to an earlier request settles nothing",
            order(),
            vec![
                (leased(), Step::Load),
                (
                    beside(left, 5, 10, refused()),
                    fails(Cause::InDoubt, Some(at(9_990)), Meeting::Unheard),
                ),
            ],
        ),
    ]);
}

#[test]
fn an_answer_to_another_refresh_token_settles_nothing() {
    // A person has authorised again, and requests are counted from an older row.
    let left = Recorded { attempt: 11, intent: Some(at(9_990)), ..row() };
    let of_another = |generation, answer| Report::Loaded {
        recorded: left,
        escrowed: Some(Escrowed { generation, attempt: 11, is_ours: false, answer }),
    };
    tell([
        (
            "a refusal with the number of the request that the row knows no answer of",
            order(),
            vec![
                (leased(), Step::Load),
                (
                    of_another(3, refused()),
                    fails(Cause::InDoubt, Some(at(9_990)), Meeting::Unheard),
                ),
            ],
        ),
        (
            "a token: it comes back, and may be spent",
            order(),
            vec![(leased(), Step::Load), (of_another(5, granted()), accept_in_doubt(5))],
        ),
    ]);
}

#[test]
fn which_answer_of_the_escrow_counts() {
    let left = Recorded { attempt: 13, intent: Some(at(9_990)), ..row() };
    let kept = |generation, attempt, answer| Escrowed {
        generation,
        attempt,
        is_ours: attempt > 10,
        answer,
    };
    let lost = Answer::Failed { failure: failure(Cause::InDoubt), refused: false, rotated: false };
    let rotated =
        Answer::Failed { failure: failure(Cause::InDoubt), refused: false, rotated: true };
    let cases: [(&str, Recorded, Vec<Escrowed>, Option<usize>); 8] = [
        ("none", left, vec![], None),
        ("what the row has already", left, vec![kept(4, 10, granted())], None),
        ("the failure that settles the intent", left, vec![kept(5, 13, lost)], Some(0)),
        ("one that settles nothing", left, vec![kept(5, 12, lost), kept(9, 10, lost)], None),
        (
            "a token, however many failures came after it",
            Recorded { generation: 3, attempt: 9, intent: None, ..left },
            vec![kept(3, 8, granted()), kept(4, 10, granted()), kept(5, 12, lost)],
            Some(1),
        ),
        (
            "the answer to the latest request, however late another was kept",
            left,
            vec![kept(5, 13, granted()), kept(5, 11, granted())],
            Some(0),
        ),
        (
            "a refresh token that came with a failure is as good",
            left,
            vec![kept(5, 11, granted()), kept(5, 12, rotated), kept(5, 13, lost)],
            Some(1),
        ),
        (
            "the same answer, appended twice",
            left,
            vec![kept(5, 13, granted()), kept(5, 13, granted())],
            Some(1),
        ),
    ];
    for (title, recorded, kept, best) in cases {
        assert_eq!(recorded.best_of(kept), best, "{title}");
    }
}

#[test]
fn a_holder_whose_disk_is_slow_keeps_its_lease_where_a_second_use_would_do_harm() {
    let (long, short) = (secs(60), secs(20));
    // the order, when the disk still has not kept the answer, whether the lease is asked for again
    let cases = [
        ("strict", order(), 10_019, true),
        ("strict, and a disk that may never do it", order(), 10_120, false),
        ("the server takes it again", Order { replay: Replay::Free, ..order() }, 10_005, false),
        ("until after the lease", Order { replay: Replay::Within(long), ..order() }, 10_005, false),
        ("not as long", Order { replay: Replay::Within(short), ..order() }, 10_005, true),
    ];
    for (title, order, seconds, holds_on) in cases {
        let sent = play(title, order, until_sent());
        assert!(!sent.holds_on(at(seconds)), "{title}: there is no answer yet");
        let mut keeping = sent;
        assert_eq!(keeping.next(NOW, Report::Answered), Step::Escrow, "{title}");
        assert_eq!(keeping.holds_on(at(seconds)), holds_on, "{title}");
        assert_eq!(keeping.next(NOW, Report::Done), Step::Read, "{title}");
        assert!(!keeping.holds_on(at(seconds)), "{title}: it is kept");
    }
}

#[test]
fn where_the_last_pair_wins_a_later_request_may_have_ended_an_answer() {
    let last_pair = Order { replay: Replay::LastPair(secs(60)), attempt: 12, ..order() };
    // Request 11 was answered late; 12 was sent meanwhile, and not heard of.
    let row =
        Recorded { attempt: 12, intent: Some(at(9_995)), doubt_since: Some(at(9_980)), ..row() };
    let again = Step::Save(Change::Intent { attempt: 13, doubt_since: Some(at(9_980)) });
    let late = |doubt_since, next| {
        let row = Recorded { doubt_since: Some(doubt_since), ..row };
        vec![(leased(), Step::Load), (beside(row, 5, 11, granted()), next)]
    };
    tell([
        (
            "asked for again, and the pair that wins is accepted",
            last_pair,
            vec![
                (Report::Leased { until: at(10_040) }, Step::Load),
                (beside(row, 5, 11, granted()), Step::Reserve),
                (Report::Done, again),
                (Report::Done, Step::Send { not_after: at(10_025) }),
                (Report::Answered, Step::Escrow),
                (Report::Done, Step::Read),
                (Report::Read(granted()), accept(5, Source::Server)),
            ],
        ),
        (
            "the window is over: the answer is what is left",
            last_pair,
            late(at(9_950), accept_in_doubt(5)),
        ),
        (
            "the answer to the last request is the last pair",
            last_pair,
            vec![
                (leased(), Step::Load),
                (beside(row, 5, 12, granted()), accept(5, Source::Escrow)),
            ],
        ),
        (
            "where all pairs are good it is taken",
            Order { replay: Replay::Within(secs(60)), ..last_pair },
            late(at(9_980), accept_in_doubt(5)),
        ),
        (
            "the server takes the old one no more: the answer is what is left",
            last_pair,
            vec![
                (Report::Leased { until: at(10_040) }, Step::Load),
                (beside(row, 5, 11, granted()), Step::Reserve),
                (Report::Done, again),
                (Report::Done, Step::Send { not_after: at(10_025) }),
                (Report::Answered, Step::Escrow),
                (Report::Done, Step::Read),
                (Report::Read(refused()), Step::Load),
                (beside(Recorded { attempt: 13, ..row }, 5, 11, granted()), accept_in_doubt(5)),
            ],
        ),
    ]);
}

#[test]
fn where_the_last_pair_wins_a_holder_that_comes_back_asks_again() {
    let last_pair = Order { replay: Replay::LastPair(secs(60)), ..order() };
    let saving = || {
        with(
            until_read(),
            [
                (Report::Read(granted()), accept(5, Source::Server)),
                (Report::Superseded, Step::Acquire),
                (leased(), Step::Load),
            ],
        )
    };
    let sent_since = Recorded { attempt: 12, doubt_since: Some(NOW), ..row() };
    tell([
        (
            "somebody has sent since, and heard nothing",
            last_pair,
            with(
                saving(),
                [(
                    beside(sent_since, 5, 11, granted()),
                    fails(Cause::InDoubt, Some(NOW), Meeting::Unheard),
                )],
            ),
        ),
        (
            "the same, and the window is over: it is what is left, and may have ended",
            last_pair,
            with(
                saving(),
                [(
                    beside(
                        Recorded { doubt_since: Some(at(9_950)), ..sent_since },
                        5,
                        11,
                        granted(),
                    ),
                    Step::Save(Change::Accept {
                        generation: 5,
                        source: Source::Server,
                        doubt_since: Some(NOW),
                    }),
                )],
            ),
        ),
        (
            "nobody has",
            last_pair,
            with(
                saving(),
                [(loaded(Recorded { attempt: 11, ..sent_since }), accept(5, Source::Server))],
            ),
        ),
        (
            "where all pairs are good it is saved",
            Order { replay: Replay::Within(secs(60)), ..last_pair },
            with(saving(), [(loaded(sent_since), accept(5, Source::Server))]),
        ),
    ]);
}

#[test]
fn a_store_that_is_older_than_it_was() {
    let restored = Recorded { is_restored: true, ..row() };
    let brought_back =
        Recorded { generation: 9, attempt: 30, held: None, doubt_since: Some(NOW), ..row() };
    // It may have been spent as soon as it was there.
    let since = row().held.map_or(NOW, |held| held.sent_at);
    let doubts = Step::Save(Change::Doubt { generation: 4, attempt: 11, since });
    let told = fails(Cause::InDoubt, Some(since), Meeting::Restored);
    tell([
        (
            "this process has seen a newer generation",
            Order { generation: 6, ..order() },
            then_ends(vec![(leased(), Step::Load), (loaded(row()), doubts), (Report::Done, told)]),
        ),
        (
            "restored from a backup, and nobody knows what came after it",
            order(),
            then_ends(vec![
                (leased(), Step::Load),
                (loaded(restored), doubts),
                (Report::Done, told),
            ]),
        ),
        (
            "restored, and the escrow has nothing newer",
            order(),
            // A request without an answer leaves nothing in it.
            vec![(leased(), Step::Load), (beside(restored, 4, 10, granted()), doubts)],
        ),
        (
            "restored, and the escrow has what was lost",
            order(),
            vec![(leased(), Step::Load), (beside(restored, 9, 30, granted()), accept_in_doubt(9))],
        ),
        (
            "it has ended, and is replaced: nobody else has had what the server gives now",
            Order { attempt: 30, usable_until: Timestamp::ZERO, ..order() },
            vec![
                (leased(), Step::Load),
                (beside(restored, 9, 30, ended()), accept_in_doubt(9)),
                (Report::Done, Step::Load),
                (loaded(brought_back), Step::Reserve),
                (Report::Done, Step::Save(Change::Intent { attempt: 31, doubt_since: Some(NOW) })),
                (Report::Done, send()),
                (Report::Answered, Step::Escrow),
                (Report::Done, Step::Read),
                (Report::Read(granted()), accept(10, Source::Server)),
            ],
        ),
        (
            "where nothing is spent it does not matter",
            Order { generation: 6, ..repeatable() },
            vec![
                (leased(), Step::Load),
                (loaded(restored), Step::Send { not_after: Timestamp::NEVER }),
            ],
        ),
    ]);
}

#[test]
fn a_refusal_stops_only_what_was_refused() {
    let until_refused = || with(until_read(), [(Report::Read(refused()), Step::Load)]);
    let pending = Recorded { attempt: 11, intent: Some(NOW), ..row() };
    let newer = Recorded { generation: 5, attempt: 12, held: Some(held(5, 9_999)), ..row() };
    let other =
        Answer::Failed { failure: failure(Cause::Misconfigured), refused: false, rotated: false };
    tell([
        (
            "nobody else was there",
            order(),
            then_ends(with(
                until_refused(),
                [
                    (loaded(pending), fail(Source::Server, true, None)),
                    (Report::Done, fails(Cause::Reauthorize, None, Meeting::Here)),
                ],
            )),
        ),
        (
            "somebody else has spent it: theirs is the token",
            order(),
            then_ends(with(until_refused(), [(loaded(newer), gives(held(5, 9_999), Source::Row))])),
        ),
        (
            "somebody else's answer is in the escrow",
            order(),
            with(until_refused(), [(beside(pending, 5, 12, granted()), accept_in_doubt(5))]),
        ),
        (
            "somebody took the lease and is at it",
            order(),
            then_ends(with(
                until_refused(),
                [(loaded(Recorded { attempt: 12, ..pending }), elsewhere())],
            )),
        ),
        (
            "nobody can say",
            order(),
            with(until_refused(), [(broken(), fail(Source::Server, true, None))]),
        ),
        (
            "a client that is refused spends nothing",
            order(),
            with(
                until_read(),
                [
                    (Report::Read(other), fail(Source::Server, false, None)),
                    (Report::Done, fails(Cause::Misconfigured, None, Meeting::Here)),
                ],
            ),
        ),
    ]);
}

#[test]
fn a_request_without_an_answer() {
    let unanswered = |cause| Report::Unanswered(failure(cause));
    tell([
        (
            "surely not sent: the intent goes",
            order(),
            with(
                until_sent(),
                [
                    (unanswered(Cause::Passing), fail(Source::Server, false, None)),
                    (Report::Done, fails(Cause::Passing, None, Meeting::Here)),
                ],
            ),
        ),
        (
            "perhaps sent: in doubt since then, whatever the store says",
            order(),
            then_ends(with(
                until_sent(),
                [
                    (unanswered(Cause::InDoubt), fail(Source::Server, false, Some(NOW))),
                    (broken(), fails(Cause::InDoubt, Some(NOW), Meeting::Here)),
                ],
            )),
        ),
    ]);
    let late = play(
        "too late to send: the next holder may be at it",
        order(),
        then_ends(with(
            until_sent(),
            [(Report::TooLate, Step::Save(Change::Unsent)), (Report::Superseded, elsewhere())],
        )),
    );
    assert!(!late.has_sent());
}

#[test]
fn the_lease_is_lost_on_the_way() {
    let fresh = held(5, 10_000);
    let at_save = || with(until_read(), [(Report::Read(granted()), accept(5, Source::Server))]);
    let pending = Recorded { attempt: 12, intent: Some(NOW), ..row() };
    let theirs = Recorded { generation: 5, attempt: 12, held: Some(held(5, 10_001)), ..row() };
    tell([
        (
            "before the intent: nothing was sent",
            order(),
            then_ends(vec![
                (leased(), Step::Load),
                (loaded(row()), Step::Reserve),
                (Report::Done, intent(None)),
                (Report::Superseded, elsewhere()),
            ]),
        ),
        (
            "before the answer was saved: it is the only good one, and is saved all the same",
            order(),
            then_ends(with(
                at_save(),
                [
                    (Report::Superseded, Step::Acquire),
                    (Report::Busy { retry_after: millis(900) }, Step::Wait(millis(900))),
                    (Report::Done, Step::Acquire),
                    (leased(), Step::Load),
                    (loaded(pending), accept(5, Source::Server)),
                    (Report::Done, gives(fresh, Source::Server)),
                ],
            )),
        ),
        (
            "before the answer was saved, and the next holder's came after it",
            order(),
            then_ends(with(
                at_save(),
                [
                    (Report::Superseded, Step::Acquire),
                    (leased(), Step::Load),
                    (loaded(theirs), gives(held(5, 10_001), Source::Row)),
                ],
            )),
        ),
        (
            "where nothing is spent the token serves, saved or not",
            repeatable(),
            then_ends(vec![
                (leased(), Step::Load),
                (loaded(row()), Step::Send { not_after: Timestamp::NEVER }),
                (Report::Answered, Step::Read),
                (Report::Read(granted()), accept(5, Source::Server)),
                (Report::Superseded, gives(fresh, Source::Server)),
            ]),
        ),
    ]);
}

#[test]
fn a_store_that_is_down() {
    let fresh = held(5, 10_000);
    let broken_at =
        |script: Script| with(script, [(broken(), fails(Cause::Passing, None, Meeting::Here))]);
    let at_save = || with(until_read(), [(Report::Read(granted()), accept(5, Source::Server))]);
    let unkept = || {
        let sent = with(until_sent(), [(Report::Answered, Step::Escrow), (broken(), Step::Read)]);
        with(sent, [(Report::Read(granted()), accept(5, Source::Server))])
    };
    let pending = Recorded { attempt: 11, intent: Some(NOW), ..row() };
    tell([
        ("at the lease", order(), with(broken_at(vec![]), [(Report::Done, Step::End)])),
        ("at the row", order(), then_ends(broken_at(vec![(leased(), Step::Load)]))),
        (
            "no room for an answer: nothing is sent",
            order(),
            then_ends(broken_at(vec![(leased(), Step::Load), (loaded(row()), Step::Reserve)])),
        ),
        (
            "no intent, no request",
            order(),
            then_ends(broken_at(vec![
                (leased(), Step::Load),
                (loaded(row()), Step::Reserve),
                (Report::Done, intent(None)),
            ])),
        ),
        (
            "where nothing is spent it is done without, and without a second wait for the store",
            repeatable(),
            vec![
                (broken(), Step::Send { not_after: Timestamp::NEVER }),
                (Report::Answered, Step::Read),
                (Report::Read(granted()), gives(fresh, Source::Server)),
                (Report::Done, Step::End),
            ],
        ),
        (
            "at the save: the escrow has it, so it serves; it is saved when the store is back",
            order(),
            then_ends(with(
                at_save(),
                [
                    (broken(), gives(fresh, Source::Server)),
                    (Report::Done, Step::Wait(millis(100))),
                    (Report::Done, Step::Acquire),
                    (broken(), Step::Wait(millis(200))),
                    (Report::Done, Step::Acquire),
                    (leased(), Step::Load),
                    (broken(), Step::Wait(millis(400))),
                    (Report::Done, Step::Acquire),
                    (leased(), Step::Load),
                    (loaded(pending), accept(5, Source::Server)),
                ],
            )),
        ),
        (
            "at the save, and the escrow is full: nobody is given it before it is safe",
            order(),
            then_ends(with(
                unkept(),
                [
                    (broken(), Step::Wait(millis(100))),
                    (Report::Done, Step::Escrow),
                    (broken(), Step::Acquire),
                    (broken(), Step::Wait(millis(200))),
                    (Report::Done, Step::Escrow),
                    (broken(), Step::Acquire),
                    (leased(), Step::Load),
                    (loaded(pending), accept(5, Source::Server)),
                    (Report::Done, gives(fresh, Source::Server)),
                ],
            )),
        ),
        (
            "and the escrow has room first",
            order(),
            with(
                unkept(),
                [
                    (broken(), Step::Wait(millis(100))),
                    (Report::Done, Step::Escrow),
                    (Report::Done, gives(fresh, Source::Server)),
                    (Report::Done, Step::Wait(millis(200))),
                ],
            ),
        ),
    ]);
}

#[test]
fn a_process_that_is_about_to_end() {
    let at_save = || with(until_read(), [(Report::Read(granted()), accept(5, Source::Server))]);
    let renewal = play(
        "what the escrow has can stay there",
        order(),
        with(
            at_save(),
            [
                (broken(), gives(held(5, 10_000), Source::Server)),
                (Report::Done, Step::Wait(millis(100))),
                (Report::Stopping, Step::Release),
                (Report::Done, Step::End),
            ],
        ),
    );
    assert!(!renewal.is_saved());
    play(
        "the next holder has the lease: the token is in the escrow, and serves",
        order(),
        with(
            at_save(),
            [
                (Report::Superseded, Step::Acquire),
                (Report::Busy { retry_after: millis(900) }, Step::Wait(millis(900))),
                (Report::Stopping, gives(held(5, 10_000), Source::Server)),
                (Report::Done, Step::Wait(millis(100))),
                (Report::Stopping, Step::End),
            ],
        ),
    );
    let unkept = with(until_sent(), [(Report::Answered, Step::Escrow), (broken(), Step::Read)]);
    play(
        "an answer that neither escrow nor store took goes to nobody: that is doubt",
        order(),
        with(
            unkept,
            [
                (Report::Read(granted()), accept(5, Source::Server)),
                (broken(), Step::Wait(millis(100))),
                (Report::Stopping, fails(Cause::InDoubt, Some(NOW), Meeting::Here)),
                (Report::Done, Step::Wait(millis(200))),
                (Report::Stopping, Step::Release),
                (Report::Done, Step::End),
            ],
        ),
    );
}

#[test]
fn nothing_to_ask_with() {
    for (grant, generation) in [(Grant::Refused, 4), (Grant::Missing, 4), (Grant::Missing, 0)] {
        let recorded = Recorded { grant, generation, held: None, ..row() };
        let order = Order { generation, ..order() };
        let none = fails(Cause::Reauthorize, None, Meeting::Nothing(grant));
        let script = vec![(leased(), Step::Load), (loaded(recorded), none)];
        play("nothing is sent", order, then_ends(script));
    }
}

/// Every report at every place of a renewal that goes well: whatever it is, everybody is told once
/// and the lease is given back.
#[test]
fn a_report_out_of_place_ends_it_well() {
    let good = then_ends(with(
        until_read(),
        [
            (Report::Read(granted()), accept(5, Source::Server)),
            (Report::Done, gives(held(5, 10_000), Source::Server)),
        ],
    ));
    for place in 0..good.len() {
        for report in every_report() {
            let (mut renewal, _) = Renewal::begin(order());
            let mut watch = Watch::default();
            let mut step = Step::Acquire;
            for (report, _) in &good[..place] {
                step = watch.next(&mut renewal, step, *report);
            }
            step = watch.next(&mut renewal, step, report);
            watch.finish(&mut renewal, step);
        }
    }
}

fn every_report() -> Vec<Report> {
    vec![
        leased(),
        Report::Busy { retry_after: millis(1) },
        loaded(row()),
        Report::Done,
        Report::Superseded,
        broken(),
        Report::Answered,
        Report::Unanswered(failure(Cause::InDoubt)),
        Report::TooLate,
        Report::Read(granted()),
        Report::Read(refused()),
        Report::Stopping,
    ]
}

/// Watches one renewal for what must never happen.
#[derive(Debug, Default)]
struct Watch {
    published: u32,
    sent: u32,
    has_intent: bool,
    /// A lease that the store has not taken back.
    leased: bool,
    spends: bool,
}

impl Watch {
    fn over(order: Order) -> Self {
        Self { spends: order.spends, ..Self::default() }
    }

    /// Reports what `step` came to, and looks at what comes next.
    fn next(&mut self, renewal: &mut Renewal, step: Step, report: Report) -> Step {
        match (step, report) {
            (Step::Acquire, Report::Leased { .. }) => self.leased = true,
            (Step::Save(Change::Intent { .. }), Report::Done) => self.has_intent = true,
            (Step::Save(_), Report::Superseded) | (Step::Release, _) => self.leased = false,
            _ => {}
        }
        let next = renewal.next(NOW, report);
        match next {
            Step::Publish(_) => self.published += 1,
            Step::Send { .. } => {
                self.sent += 1;
                assert!(!self.spends || self.has_intent, "sent without an intent");
            }
            Step::End => {
                assert_eq!(self.published, 1, "everybody is told before it ends");
                assert!(!self.leased, "the lease is given back");
            }
            Step::Acquire
            | Step::Load
            | Step::Reserve
            | Step::Save(_)
            | Step::Escrow
            | Step::Read
            | Step::Wait(_)
            | Step::Release => {}
        }
        assert!(self.published <= 1, "everybody is told once");
        assert!(self.sent <= 1, "one renewal is one request");
        next
    }

    /// From now on everything goes well, and it is over soon.
    fn finish(&mut self, renewal: &mut Renewal, mut step: Step) {
        for _ in 0..16 {
            if step == Step::End {
                return;
            }
            step = self.next(renewal, step, good(step));
        }
        panic!("it does not end; now at {step:?}");
    }
}

/// What a step comes to on a good day.
fn good(step: Step) -> Report {
    match step {
        Step::Acquire => leased(),
        Step::Load => loaded(row()),
        Step::Send { .. } => Report::Answered,
        Step::Read => Report::Read(granted()),
        Step::Reserve
        | Step::Save(_)
        | Step::Escrow
        | Step::Publish(_)
        | Step::Wait(_)
        | Step::Release
        | Step::End => Report::Done,
    }
}

fn instant() -> impl Strategy<Value = Timestamp> {
    (9_000..10_100_u64).prop_map(at)
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let cause = prop_oneof![
        Just(Cause::Passing),
        Just(Cause::Throttled),
        Just(Cause::InDoubt),
        Just(Cause::Reauthorize),
        Just(Cause::Misconfigured),
    ];
    (cause, proptest::option::of((0..100_u64).prop_map(secs)))
        .prop_map(|(cause, retry_after)| Failure { cause, retry_after })
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let lifetime = proptest::option::of((0..4000_u64).prop_map(secs));
    prop_oneof![
        (instant(), lifetime).prop_map(|(sent_at, lifetime)| Answer::Granted { sent_at, lifetime }),
        (any_failure(), any::<bool>(), any::<bool>())
            .prop_map(|(failure, refused, rotated)| Answer::Failed { failure, refused, rotated }),
    ]
}

fn any_row() -> impl Strategy<Value = Recorded> {
    let grant =
        prop_oneof![3 => Just(Grant::Usable), 1 => Just(Grant::Refused), 1 => Just(Grant::Missing)];
    let token = proptest::option::of((0..9_u64, 5_000..10_000_u64));
    let met = proptest::option::of((any_failure(), instant(), any::<bool>()));
    let doubts = (proptest::option::of(instant()), proptest::option::of(instant()));
    (0..9_u64, 8..14_u64, token, grant, met, doubts, any::<bool>()).prop_map(
        |(generation, attempt, token, grant, met, (intent, doubt_since), is_restored)| Recorded {
            generation,
            attempt,
            held: token.map(|(generation, sent)| held(generation, sent)),
            grant,
            failure: met.map(|(failure, at, is_ours)| Met { failure, at, is_ours }),
            intent,
            doubt_since,
            is_restored,
        },
    )
}

fn any_report() -> impl Strategy<Value = Report> {
    let escrowed = proptest::option::of((0..9_u64, 8..14_u64, any::<bool>(), any_answer()));
    let escrowed = escrowed.prop_map(|known| {
        known.map(|(generation, attempt, is_ours, answer)| Escrowed {
            generation,
            attempt,
            is_ours,
            answer,
        })
    });
    prop_oneof![
        1 => (9_990..10_040_u64).prop_map(|until| Report::Leased { until: at(until) }),
        1 => (0..9_000_u64).prop_map(|pause| Report::Busy { retry_after: millis(pause) }),
        1 => (any_row(), escrowed)
            .prop_map(|(recorded, escrowed)| Report::Loaded { recorded, escrowed }),
        1 => Just(Report::Done),
        2 => Just(Report::Superseded),
        5 => any_failure().prop_map(Report::Broken),
        1 => Just(Report::Answered),
        1 => any_failure().prop_map(Report::Unanswered),
        1 => Just(Report::TooLate),
        1 => any_answer().prop_map(Report::Read),
        4 => Just(Report::Stopping),
    ]
}

fn any_order() -> impl Strategy<Value = Order> {
    let replay = prop_oneof![
        Just(Replay::Free),
        (0..120_u64).prop_map(|window| Replay::Within(secs(window))),
        (0..120_u64).prop_map(|window| Replay::LastPair(secs(window))),
        Just(Replay::LastResort),
    ];
    let generation = prop_oneof![3 => Just(4), 1 => 0..7_u64];
    (generation, 8..13_u64, any::<bool>(), replay, 9_000..11_000_u64, any::<bool>()).prop_map(
        |(generation, attempt, spends, replay, usable_until, is_probe)| Order {
            generation,
            attempt,
            spends,
            replay,
            usable_until: at(usable_until),
            is_probe,
            request_limit: secs(10),
        },
    )
}

/// Mostly what the step can come to, sometimes anything at all.
fn likely(step: Step, any: Report) -> Report {
    match (step, any) {
        (_, Report::Broken(_) | Report::Superseded)
        | (Step::Acquire, Report::Leased { .. } | Report::Busy { .. })
        | (Step::Load, Report::Loaded { .. })
        | (Step::Send { .. }, Report::Answered | Report::Unanswered(_) | Report::TooLate)
        | (Step::Read, Report::Read(_)) => any,
        (Step::Wait(_), Report::Answered | Report::Loaded { .. } | Report::Stopping) => {
            Report::Stopping
        }
        _ => good(step),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn whatever_is_reported(
        order in any_order(),
        reports in proptest::collection::vec((any_report(), 0..20_u8), 0..40),
    ) {
        let (mut renewal, mut step) = Renewal::begin(order);
        let mut watch = Watch::over(order);
        for (report, luck) in reports {
            if step == Step::End {
                break;
            }
            let report = match luck {
                0 => report,
                1..10 => likely(step, report),
                10.. => good(step),
            };
            step = watch.next(&mut renewal, step, report);
        }
        watch.finish(&mut renewal, step);
    }
}
