//! What every escrow does.

use std::path::Path;

use bellwether_store::{Escrow, FileEscrow, Key, MemoryEscrow, Row, Sealed, StoreError};
use futures_util::future::join_all;

fn key(name: &str) -> Key {
    Key::credential(name, 0).unwrap()
}

fn record(generation: u64, sealed: impl AsRef<[u8]>) -> Row {
    Row { generation, sealed: Sealed::from_bytes(sealed.as_ref()) }
}

async fn keep(escrow: &dyn Escrow, key: &Key, record: Row) {
    escrow.reserve(key, Vec::new()).await.unwrap();
    escrow.append(key, record).await.unwrap();
}

async fn generations(escrow: &dyn Escrow, key: &Key) -> Vec<u64> {
    let records = escrow.records(key).await.unwrap();
    records.iter().map(|record| record.generation).collect()
}

/// Tells all stories, each to an escrow with nothing in it.
async fn tell<E: Escrow>(make: impl Fn(&Path) -> E) {
    macro_rules! tell {
        ($($story:ident),* $(,)?) => {
            $(
                println!("story: {}", stringify!($story));
                let directory = tempfile::tempdir().unwrap();
                $story(&make(&directory.path().join("store.db-escrow"))).await;
            )*
        };
    }
    tell![
        a_reservation_is_no_record,
        records_come_back_byte_for_byte_and_in_order,
        what_is_beyond_the_limits_is_refused,
        an_append_needs_no_reservation,
        old_records_go_and_the_highest_generation_stays,
        a_removed_key_may_begin_anew,
        a_caller_that_goes_away_takes_nothing_back,
        of_many_at_once_none_is_lost,
    ];
}

async fn a_reservation_is_no_record(escrow: &dyn Escrow) {
    assert_eq!(escrow.records(&key("a")).await, Ok(vec![]));
    escrow.reserve(&key("a"), Vec::new()).await.unwrap();
    escrow.reserve(&key("a"), Vec::new()).await.unwrap();
    assert_eq!(escrow.records(&key("a")).await, Ok(vec![]));
}

async fn records_come_back_byte_for_byte_and_in_order(escrow: &dyn Escrow) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = every_byte.repeat(Row::SIZE_LIMIT / 256);
    let records = [
        record(3, b"three"),
        record(0, b""),
        record(2, &every_byte),
        record(2, b"two again"),
        record(Row::LAST_GENERATION, large),
    ];
    for record in &records {
        keep(escrow, &key("a"), record.clone()).await;
    }
    keep(escrow, &key("a").with_member(1), record(9, b"another member's")).await;
    assert!(escrow.records(&key("a")).await.unwrap() == records);
    assert_eq!(generations(escrow, &key("a").with_member(1)).await, [9]);
    assert_eq!(escrow.records(&key("b")).await, Ok(vec![]));
}

async fn what_is_beyond_the_limits_is_refused(escrow: &dyn Escrow) {
    let too_large = record(1, vec![0; Row::SIZE_LIMIT + 1]);
    for record in [too_large, record(Row::LAST_GENERATION + 1, b"x")] {
        let appended = escrow.append(&key("a"), record).await;
        assert!(matches!(appended, Err(StoreError::Refused { .. })), "{appended:?}");
    }
    assert_eq!(escrow.records(&key("a")).await, Ok(vec![]));
}

async fn an_append_needs_no_reservation(escrow: &dyn Escrow) {
    escrow.append(&key("a"), record(1, b"one")).await.unwrap();
    escrow.append(&key("a"), record(2, b"two")).await.unwrap();
    assert_eq!(generations(escrow, &key("a")).await, [1, 2]);
}

async fn old_records_go_and_the_highest_generation_stays(escrow: &dyn Escrow) {
    for generation in 1..=100 {
        keep(escrow, &key("a"), record(generation, b"x")).await;
        let kept = generations(escrow, &key("a")).await;
        assert!(kept.len() <= 20 && kept.last() == Some(&generation), "{kept:?}");
    }
    // A holder that was paused comes with what is old by now, again and again.
    for round in 0..100 {
        keep(escrow, &key("a"), record(7, b"late")).await;
        let kept = generations(escrow, &key("a")).await;
        assert!(kept.len() <= 20 && kept.contains(&100), "round {round}: {kept:?}");
    }
}

async fn a_removed_key_may_begin_anew(escrow: &dyn Escrow) {
    escrow.remove(&key("a")).await.unwrap();
    keep(escrow, &key("a"), record(5, b"five")).await;
    keep(escrow, &key("b"), record(6, b"six")).await;
    escrow.reserve(&key("a"), Vec::new()).await.unwrap();
    escrow.remove(&key("a")).await.unwrap();
    assert_eq!(escrow.records(&key("a")).await, Ok(vec![]));
    assert_eq!(generations(escrow, &key("b")).await, [6]);
    escrow.append(&key("a"), record(1, b"one")).await.unwrap();
    assert_eq!(generations(escrow, &key("a")).await, [1]);
}

async fn a_caller_that_goes_away_takes_nothing_back(escrow: &dyn Escrow) {
    drop(escrow.append(&key("a"), record(1, b"one")));
    escrow.append(&key("a"), record(2, b"two")).await.unwrap();
    // Both were under way at the same time.
    let mut kept = generations(escrow, &key("a")).await;
    kept.sort_unstable();
    assert_eq!(kept, [1, 2]);
}

async fn of_many_at_once_none_is_lost(escrow: &dyn Escrow) {
    let keys: Vec<Key> = (0..20).map(|number| key(&format!("credential-{number}"))).collect();
    let appends = keys.iter().flat_map(|key| {
        (0..10).map(move |number| async move {
            escrow.reserve(key, Vec::new()).await.unwrap();
            escrow.append(key, record(1, [number])).await.unwrap();
        })
    });
    join_all(appends).await;
    for key in &keys {
        let mut kept: Vec<u8> = (escrow.records(key).await.unwrap().iter())
            .map(|record| record.sealed.as_bytes()[0])
            .collect();
        kept.sort_unstable();
        assert_eq!(kept, (0..10).collect::<Vec<_>>(), "{key}");
    }
}

#[tokio::test]
async fn in_memory() {
    tell(|_| MemoryEscrow::new()).await;
}

#[tokio::test]
async fn in_files() {
    tell(|path| FileEscrow::open(path).unwrap()).await;
}
