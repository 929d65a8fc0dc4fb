//! The stories every backend must pass.
//!
//! A backend's test gives [`run`] a [`Fixture`] for each story: data of its own, and a way to let
//! the store's clock run. A story that fails panics; its name is the last one printed.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;

use crate::key::{Key, Kind};
use crate::lease::{Acquired, Fence, HolderId, Lease};
use crate::seal::Sealed;
use crate::store::{Row, Saved, Store, StoreError};

/// One set of data, empty at first.
pub trait Fixture {
    /// A further handle on the data, as another process would have one. When the last is dropped
    /// the store is closed; a durable store is there again when the next is opened.
    fn open(&self) -> impl Future<Output = Arc<dyn Store>>;

    /// Returns when `by` has passed on the store's clock.
    fn advance(&self, by: Duration) -> impl Future<Output = ()>;
}

/// Runs all stories, each on a fixture from `make`.
///
/// # Panics
/// If the backend fails one.
pub async fn run<F: Fixture>(make: impl AsyncFn() -> F) {
    macro_rules! tell {
        ($($story:ident),* $(,)?) => {
            $(
                println!("story: {}", stringify!($story));
                $story(&make().await).await;
            )*
        };
    }
    tell![
        what_was_never_written_is_not_there,
        a_row_comes_back_byte_for_byte,
        a_row_beyond_the_limits_is_refused,
        every_handle_sees_what_one_wrote,
        a_durable_store_keeps_its_rows_when_closed,
        a_lease_keeps_others_out_of_its_key_alone,
        a_lease_runs_out_by_the_clock_of_the_store,
        a_released_lease_is_free_at_once,
        only_the_holder_releases,
        the_holder_may_ask_again_and_its_old_fence_is_worth_nothing,
        fences_rise_over_keys_removals_and_closing,
        a_late_write_is_kept_while_nobody_took_over,
        a_holder_that_lost_its_lease_changes_nothing,
        nobody_writes_without_a_lease,
        a_generation_never_goes_back,
        a_removed_row_is_gone_and_may_begin_anew,
        rows_are_listed_by_kind_in_order,
        of_many_who_ask_at_once_one_gets_the_lease,
        no_count_is_lost_between_many_holders,
        a_store_stays_itself,
    ];
}

/// Short, since some stores have no clock but the real one.
const TTL: Duration = Duration::from_secs(1);

fn key(name: &str) -> Key {
    Key::credential(name, 0).expect("names in stories keep the grammar")
}

fn holder(number: u128) -> HolderId {
    HolderId::from_u128(number)
}

fn row(generation: u64, content: &[u8]) -> Row {
    Row { generation, sealed: Sealed::from_bytes(content) }
}

async fn acquire(store: &dyn Store, key: &Key, number: u128) -> Acquired {
    store.acquire(key, holder(number), TTL).await.expect("asks for a lease")
}

async fn lease(store: &dyn Store, key: &Key, number: u128) -> Lease {
    acquire(store, key, number).await.lease().expect("the lease is free")
}

async fn save(store: &dyn Store, key: &Key, fence: Fence, row: Row) -> Saved {
    store.save(key, fence, row).await.expect("saves")
}

async fn remove(store: &dyn Store, key: &Key, fence: Fence) -> Saved {
    store.remove(key, fence).await.expect("removes")
}

async fn release(store: &dyn Store, key: &Key, fence: Fence) {
    store.release(key, fence).await.expect("releases");
}

async fn load(store: &dyn Store, key: &Key) -> Option<Row> {
    store.load(key).await.expect("loads")
}

async fn write(store: &dyn Store, key: &Key, row: Row) {
    let Lease { fence, .. } = lease(store, key, u128::MAX).await;
    assert_eq!(save(store, key, fence, row).await, Saved::Done);
    release(store, key, fence).await;
}

async fn what_was_never_written_is_not_there(fixture: &impl Fixture) {
    let store = fixture.open().await;
    assert_eq!(load(&*store, &key("a")).await, None);
    assert_eq!(store.list(&Kind::CREDENTIAL).await, Ok(vec![]));
    lease(&*store, &key("a"), 1).await;
    assert_eq!(load(&*store, &key("a")).await, None, "a lease is no row");
    assert_eq!(store.list(&Kind::CREDENTIAL).await, Ok(vec![]), "a lease is no row");
}

async fn a_row_comes_back_byte_for_byte(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = every_byte.iter().copied().cycle().take(Row::SIZE_LIMIT).collect();
    let long_name = "n".repeat(128);
    let rows = [
        (key("empty"), row(0, b"")),
        (key("every_byte"), row(1, &every_byte)),
        (key("A.Z_a-z.0_9-"), row(7, b"\0' OR 1=1 --\r\n")),
        (key(&long_name).with_member(u16::MAX), row(Row::LAST_GENERATION, b"x")),
        (key("large"), row(2, &large)),
    ];
    for (key, row) in &rows {
        write(&*store, key, row.clone()).await;
    }
    for (key, row) in rows {
        assert!(load(&*store, &key).await == Some(row), "{key}");
    }
}

async fn a_row_beyond_the_limits_is_refused(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let Lease { fence, .. } = lease(&*store, &key("a"), 1).await;
    let too_large = row(1, &vec![0; Row::SIZE_LIMIT + 1]);
    for row in [too_large, row(Row::LAST_GENERATION + 1, b"x"), row(u64::MAX, b"x")] {
        let saved = store.save(&key("a"), fence, row).await;
        assert!(matches!(saved, Err(StoreError::Refused { .. })), "{saved:?}");
    }
    assert_eq!(load(&*store, &key("a")).await, None);
}

async fn every_handle_sees_what_one_wrote(fixture: &impl Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    for generation in 1..=5 {
        write(&*one, &key("a"), row(generation, b"x")).await;
        assert_eq!(load(&*other, &key("a")).await, Some(row(generation, b"x")));
    }
}

async fn a_durable_store_keeps_its_rows_when_closed(fixture: &impl Fixture) {
    let store = fixture.open().await;
    if !store.durable() {
        return;
    }
    write(&*store, &key("a"), row(3, b"kept")).await;
    drop(store);
    assert_eq!(load(&*fixture.open().await, &key("a")).await, Some(row(3, b"kept")));
}

async fn a_store_stays_itself(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let origin = store.origin().await.expect("tells its origin");
    assert_eq!(origin.epoch, 0, "a new store is no copy");
    assert_eq!(fixture.open().await.origin().await, Ok(origin), "another handle");
    write(&*store, &key("a"), row(1, b"x")).await;
    assert_eq!(store.origin().await, Ok(origin), "after a write");
    if store.durable() {
        drop(store);
        assert_eq!(fixture.open().await.origin().await, Ok(origin), "closed and opened again");
    }
}

async fn a_lease_keeps_others_out_of_its_key_alone(fixture: &impl Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    let granted = lease(&*one, &key("a"), 1).await;
    assert!(granted.valid_for <= TTL && granted.valid_for > TTL / 2, "{granted:?}");
    for store in [&one, &other] {
        match acquire(&**store, &key("a"), 2).await {
            Acquired::Busy { retry_after } => assert!(retry_after <= TTL, "{retry_after:?}"),
            Acquired::Lease(lease) => panic!("granted twice: {granted:?}, {lease:?}"),
        }
    }
    lease(&*other, &key("b"), 2).await;
    lease(&*other, &key("a").with_member(1), 2).await;
}

async fn a_lease_runs_out_by_the_clock_of_the_store(fixture: &impl Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    let first = lease(&*one, &key("a"), 1).await;
    fixture.advance(TTL + Duration::from_millis(1)).await;
    let second = lease(&*other, &key("a"), 2).await;
    assert!(second.fence > first.fence, "{first:?}, {second:?}");
}

async fn a_released_lease_is_free_at_once(fixture: &impl Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    let first = lease(&*one, &key("a"), 1).await;
    release(&*one, &key("a"), first.fence).await;
    release(&*one, &key("a"), first.fence).await;
    let second = lease(&*other, &key("a"), 2).await;
    assert!(second.fence > first.fence, "{first:?}, {second:?}");
}

async fn only_the_holder_releases(fixture: &impl Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    let early = lease(&*one, &key("a"), 1).await;
    let elsewhere = lease(&*one, &key("b"), 1).await;
    release(&*one, &key("a"), early.fence).await;
    let held = lease(&*one, &key("a"), 2).await;
    for fence in [Fence::NONE, early.fence, elsewhere.fence, Fence::LAST] {
        release(&*other, &key("a"), fence).await;
        assert_eq!(acquire(&*other, &key("a"), 3).await.lease(), None, "released by {fence}");
    }
    assert_eq!(save(&*one, &key("a"), held.fence, row(1, b"x")).await, Saved::Done);
}

async fn the_holder_may_ask_again_and_its_old_fence_is_worth_nothing(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let first = lease(&*store, &key("a"), 1).await;
    let second = lease(&*store, &key("a"), 1).await;
    assert!(second.fence > first.fence, "{first:?}, {second:?}");
    assert_eq!(save(&*store, &key("a"), first.fence, row(2, b"x")).await, Saved::Fenced);
    assert_eq!(save(&*store, &key("a"), second.fence, row(1, b"x")).await, Saved::Done);
}

async fn fences_rise_over_keys_removals_and_closing(fixture: &impl Fixture) {
    let mut last = Fence::NONE;
    // A store that keeps nothing when closed may begin anew, so one handle stays open there.
    let kept = Some(fixture.open().await).filter(|store| !store.durable());
    for round in 0..4 {
        let store = fixture.open().await;
        for name in ["a", "b", "a"] {
            let Lease { fence, .. } = lease(&*store, &key(name), 1).await;
            assert!(fence > last, "round {round}: {fence} after {last}");
            last = fence;
            save(&*store, &key(name), fence, row(1, b"x")).await;
            remove(&*store, &key(name), fence).await;
            release(&*store, &key(name), fence).await;
        }
    }
    drop(kept);
}

async fn a_late_write_is_kept_while_nobody_took_over(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let Lease { fence, .. } = lease(&*store, &key("a"), 1).await;
    fixture.advance(TTL + Duration::from_millis(1)).await;
    assert_eq!(save(&*store, &key("a"), fence, row(1, b"late")).await, Saved::Done);
    assert_eq!(load(&*store, &key("a")).await, Some(row(1, b"late")));
}

async fn a_holder_that_lost_its_lease_changes_nothing(fixture: &impl Fixture) {
    let (paused, other) = (fixture.open().await, fixture.open().await);
    let old = lease(&*paused, &key("a"), 1).await;
    fixture.advance(TTL + Duration::from_millis(1)).await;
    let new = lease(&*other, &key("a"), 2).await;

    let late = row(9, b"from the paused");
    assert_eq!(save(&*paused, &key("a"), old.fence, late.clone()).await, Saved::Fenced);
    assert_eq!(load(&*other, &key("a")).await, None, "before the new holder wrote");

    assert_eq!(save(&*other, &key("a"), new.fence, row(2, b"new")).await, Saved::Done);
    assert_eq!(save(&*paused, &key("a"), old.fence, late.clone()).await, Saved::Fenced);
    assert_eq!(remove(&*paused, &key("a"), old.fence).await, Saved::Fenced);

    release(&*other, &key("a"), new.fence).await;
    assert_eq!(save(&*paused, &key("a"), old.fence, late).await, Saved::Fenced);
    assert_eq!(remove(&*paused, &key("a"), old.fence).await, Saved::Fenced);
    assert_eq!(load(&*other, &key("a")).await, Some(row(2, b"new")));
}

async fn nobody_writes_without_a_lease(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let released = lease(&*store, &key("a"), 1).await.fence;
    release(&*store, &key("a"), released).await;
    let elsewhere = lease(&*store, &key("b"), 1).await.fence;
    for fence in [Fence::NONE, released, elsewhere, Fence::LAST] {
        assert_eq!(save(&*store, &key("a"), fence, row(1, b"x")).await, Saved::Fenced, "{fence}");
        assert_eq!(remove(&*store, &key("a"), fence).await, Saved::Fenced, "{fence}");
    }
    assert_eq!(load(&*store, &key("a")).await, None);
}

async fn a_generation_never_goes_back(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let first = lease(&*store, &key("a"), 1).await.fence;
    assert_eq!(save(&*store, &key("a"), first, row(5, b"five")).await, Saved::Done);
    assert_eq!(save(&*store, &key("a"), first, row(4, b"four")).await, Saved::Behind);
    assert_eq!(load(&*store, &key("a")).await, Some(row(5, b"five")));
    assert_eq!(save(&*store, &key("a"), first, row(5, b"five, noted")).await, Saved::Done);

    let second = lease(&*store, &key("a"), 1).await.fence;
    assert_eq!(save(&*store, &key("a"), second, row(4, b"four")).await, Saved::Behind);
    assert_eq!(load(&*store, &key("a")).await, Some(row(5, b"five, noted")));
    assert_eq!(save(&*store, &key("a"), second, row(5, b"again")).await, Saved::Done);
    assert_eq!(save(&*store, &key("a"), second, row(8, b"eight")).await, Saved::Done);
    assert_eq!(load(&*store, &key("a")).await, Some(row(8, b"eight")));
}

async fn a_removed_row_is_gone_and_may_begin_anew(fixture: &impl Fixture) {
    let store = fixture.open().await;
    write(&*store, &key("a"), row(5, b"five")).await;
    let Lease { fence, .. } = lease(&*store, &key("a"), 1).await;
    assert_eq!(remove(&*store, &key("a"), fence).await, Saved::Done);
    assert_eq!(load(&*store, &key("a")).await, None);
    assert_eq!(store.list(&Kind::CREDENTIAL).await, Ok(vec![]));
    assert_eq!(remove(&*store, &key("a"), fence).await, Saved::Done, "nothing left to remove");
    assert_eq!(acquire(&*store, &key("a"), 2).await.lease(), None, "the lease stays");
    assert_eq!(save(&*store, &key("a"), fence, row(1, b"one")).await, Saved::Done);
    assert_eq!(load(&*store, &key("a")).await, Some(row(1, b"one")));
}

async fn rows_are_listed_by_kind_in_order(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let other = |kind: &str, name: &str| {
        let kind = Kind::new(kind).expect("kinds in stories keep the grammar");
        Key::other(kind, name).expect("names in stories keep the grammar")
    };
    let kind = Kind::new("a_b").expect("kinds in stories keep the grammar");
    // No pattern language may take `_` and `.` for more than themselves.
    let listed = [other("a_b", "1"), other("a_b", "1").with_member(3), other("a_b", "x")];
    let unlisted =
        [other("a_bc", "1"), other("a", "b"), other("aXb", "1"), other("A_B", "1"), key("a_b")];
    for key in unlisted.iter().chain(listed.iter().rev()) {
        write(&*store, key, row(1, key.to_string().as_bytes())).await;
    }
    let rows = store.list(&kind).await.expect("lists");
    let expected = listed.map(|key| (key.clone(), row(1, key.to_string().as_bytes())));
    assert_eq!(rows, expected);
}

async fn of_many_who_ask_at_once_one_gets_the_lease(fixture: &impl Fixture) {
    let stores = join_all((0..16).map(|_| fixture.open())).await;
    for round in 0..5 {
        let key = key(&format!("round-{round}"));
        let ask = |(number, store): (usize, &Arc<dyn Store>)| {
            let (store, key) = (store.clone(), key.clone());
            async move {
                let asked = store.acquire(&key, holder(number as u128), 60 * TTL).await;
                asked.expect("asks for a lease").lease()
            }
        };
        let granted = join_all(stores.iter().enumerate().map(ask)).await;
        assert_eq!(granted.iter().flatten().count(), 1, "round {round}: {granted:?}");
    }
}

/// Each holder reads a number and writes the next. The lease is so short that holders lose it
/// between reading and writing; a count they were told is done must still be there at the end.
async fn no_count_is_lost_between_many_holders(fixture: &impl Fixture) {
    const EACH: u64 = 10;
    let stores = join_all((0..8).map(|_| fixture.open())).await;
    let key = &key("count");
    let late = &Cell::new(0);
    let count = |(number, store): (usize, &Arc<dyn Store>)| {
        let store = store.clone();
        async move {
            let mut done = 0;
            let mut attempts = number;
            while done < EACH {
                attempts += 1;
                assert!(attempts < 100_000, "no progress");
                let asked = store.acquire(key, holder(number as u128), TTL / 20).await;
                let fence = match asked.expect("asks for a lease") {
                    Acquired::Lease(lease) => lease.fence,
                    // Now and then one waits the lease out, and its holder is late.
                    Acquired::Busy { retry_after } if attempts % 16 == 0 => {
                        fixture.advance(retry_after).await;
                        continue;
                    }
                    Acquired::Busy { .. } => {
                        others_go_on().await;
                        continue;
                    }
                };
                others_go_on().await;
                let generation = load(&*store, key).await.map_or(0, |row| row.generation) + 1;
                others_go_on().await;
                match save(&*store, key, fence, row(generation, b"x")).await {
                    Saved::Done => done += 1,
                    Saved::Fenced => late.set(late.get() + 1),
                    Saved::Behind => panic!("{generation} is behind under the latest fence"),
                }
                release(&*store, key, fence).await;
            }
        }
    };
    join_all(stores.iter().enumerate().map(count)).await;
    let last = load(&*stores[0], key).await.map(|row| row.generation);
    assert_eq!(last, Some(EACH * stores.len() as u64), "{} came late", late.get());
}

async fn others_go_on() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
