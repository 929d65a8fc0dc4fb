//! Whether the file is the one that was here before, or a copy of it or a backup.
//!
//! Two things tell. The file notes when it was born and its inode: another file that says so was
//! copied. And beside the file lies the high water, the highest fence that was ever granted here: a
//! file that grants lower ones was set back in place. The high water is written after the commit
//! and not flushed, so that it is never above the file and a lost one is only noticed less well.
//!
//! A whole machine or file system that is set back or cloned, with all it noted, cannot be told
//! from within.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use bellwether_store::{Fence, InstanceId, Origin, StoreError};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::fault::{RESTORE, fault};
use crate::place::unusable;

/// The file of the high water, in the directory of locks.
const HIGH_WATER: &str = "high-water";

/// `origin` holds the instance, the epoch, and what the file was when it was last opened.
pub(crate) const TABLE: &str = "
CREATE TABLE origin (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    instance TEXT NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    inode INTEGER NOT NULL,
    born INTEGER
) STRICT;
";

/// What tells a file from its copies, also over a reboot; a device's number changes with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Birth {
    inode: u64,
    /// Nanoseconds since 1970, where the file system knows.
    at: Option<i64>,
}

impl Birth {
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        let data = fs::symlink_metadata(path).map_err(|error| unusable(path, &error))?;
        let since = data.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let at = since.and_then(|since| i64::try_from(since.as_nanos()).ok());
        // What does not know may say "at the beginning of time".
        Ok(Self { inode: data.ino(), at: at.filter(|at| *at > 0) })
    }

    /// Whether a file born like this can be the one that was noted. Inodes are used again and some
    /// file systems number them anew each time, so the time is the better witness.
    fn is_that_of(self, noted: Self) -> bool {
        match (self.at, noted.at) {
            (Some(at), Some(noted)) => at == noted,
            (None, _) | (_, None) => self.inode == noted.inode,
        }
    }
}

/// Notes a new instance in the table, which is empty.
pub(crate) fn begin(connection: &Connection, birth: Birth) -> Result<(), rusqlite::Error> {
    let instance = InstanceId::random()
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    connection.execute(
        "INSERT INTO origin (only, instance, epoch, inode, born) VALUES (1, ?1, 0, ?2, ?3)",
        params![instance.to_string(), birth.inode.cast_signed(), birth.at],
    )?;
    Ok(())
}

/// What was found out about the origin when the store was opened.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) origin: Origin,
    /// What to tell a person, if the file was copied or restored.
    pub(crate) warning: Option<String>,
}

/// Compares the file with what it says of itself. A copy begins its next epoch, durably, and its
/// fences go on above the high water. The caller makes sure that nobody else opens the store.
pub(crate) fn examine(
    connection: &mut Connection,
    path: &Path,
    locks: &Path,
) -> Result<Found, StoreError> {
    let failed = |error: rusqlite::Error| fault(path, &error);
    let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let transaction = begun.map_err(failed)?;
    let (before, noted) = noted(&transaction, path)?;
    let last = last_fence(&transaction, path)?;
    let birth = Birth::of(path)?;
    let high = HighWater::read(locks, before.instance).filter(|high| *high > last);
    let copied = !birth.is_that_of(noted);
    let parted = copied || high.is_some();
    let origin = Origin { epoch: before.epoch + u64::from(parted), ..before };
    if birth != noted || parted {
        let row = params![origin.epoch.cast_signed(), birth.inode.cast_signed(), birth.at];
        let sql = "UPDATE origin SET epoch = ?1, inode = ?2, born = ?3";
        transaction.execute(sql, row).map_err(failed)?;
    }
    if let Some(high) = high {
        let high = high.as_u64().cast_signed();
        transaction.execute("UPDATE counter SET last_fence = ?1", [high]).map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    let what = match (copied, high) {
        (_, Some(_)) => Some("was set back to an older state"),
        (true, None) => Some("is a copy or a restored backup"),
        (false, None) => None,
    };
    let warning = what.map(|what| {
        format!(
            "{} {what}: refresh tokens in it may have been used since it was made; if the \
             original is still in use, stop one of the two",
            path.display()
        )
    });
    Ok(Found { origin, warning })
}

/// The highest fence the file has granted.
pub(crate) fn last_fence(connection: &Connection, path: &Path) -> Result<Fence, StoreError> {
    let corrupt = |what: &str| {
        let why = format!("{}: its lease counter {what}; {RESTORE}", path.display());
        StoreError::Corrupt { why }
    };
    let sql = "SELECT last_fence FROM counter";
    let read = connection.query_row(sql, [], |row| row.get::<_, i64>(0)).optional();
    let last = read.map_err(|error| fault(path, &error))?.ok_or_else(|| corrupt("is missing"))?;
    u64::try_from(last).map(Fence::from_u64).map_err(|_| corrupt("is below zero"))
}

fn noted(connection: &Connection, path: &Path) -> Result<(Origin, Birth), StoreError> {
    let sql = "SELECT instance, epoch, inode, born FROM origin";
    let read = connection.query_row(sql, [], |row| {
        let (instance, epoch, inode): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let birth = Birth { inode: inode.cast_unsigned(), at: row.get(3)? };
        Ok((InstanceId::parse(&instance), epoch.cast_unsigned(), birth))
    });
    let (instance, epoch, birth) = read.map_err(|error| fault(path, &error))?;
    let instance = instance.ok_or_else(|| StoreError::Corrupt {
        why: format!("{} does not know which store it is; {RESTORE}", path.display()),
    })?;
    Ok((Origin { instance, epoch }, birth))
}

/// The highest fence that was granted, beside the file.
#[derive(Debug)]
pub(crate) struct HighWater {
    file: File,
    instance: InstanceId,
}

impl HighWater {
    pub(crate) fn open(locks: &Path, instance: InstanceId) -> Result<Self, StoreError> {
        let path = locks.join(HIGH_WATER);
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| unusable(&path, &error))?;
        Ok(Self { file, instance })
    }

    /// Notes that `fence` was granted and is in the file.
    pub(crate) fn note(&self, fence: Fence) -> io::Result<()> {
        // One write of one length: readers and other writers see it whole.
        let text = format!("{} {:016x}\n", self.instance, fence.as_u64());
        self.file.write_all_at(text.as_bytes(), 0)
    }

    /// What was noted for `instance`, if anything was.
    fn read(locks: &Path, instance: InstanceId) -> Option<Fence> {
        let text = fs::read_to_string(locks.join(HIGH_WATER)).ok()?;
        let (noted, fence) = text.trim_end().split_once(' ')?;
        let fence = u64::from_str_radix(fence, 16).ok().map(Fence::from_u64)?;
        (InstanceId::parse(noted) == Some(instance) && fence <= Fence::LAST).then_some(fence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_birth_is_the_better_witness() {
        let birth = |inode, at| Birth { inode, at };
        #[rustfmt::skip]
        let cases = [
            (birth(1, Some(7)), birth(1, Some(7)), true,  "the same"),
            (birth(1, Some(7)), birth(1, Some(8)), false, "an inode used again"),
            (birth(1, Some(7)), birth(2, Some(7)), true,  "inodes numbered anew"),
            (birth(1, Some(7)), birth(2, Some(8)), false, "a copy"),
            (birth(1, None),    birth(1, None),    true,  "only an inode"),
            (birth(1, None),    birth(2, None),    false, "another inode"),
            (birth(1, Some(7)), birth(1, None),    true,  "a kernel that learnt to tell"),
            (birth(1, Some(7)), birth(2, None),    false, "a copy where times are known"),
        ];
        for (one, other, same, what) in cases {
            assert_eq!((one.is_that_of(other), other.is_that_of(one)), (same, same), "{what}");
        }
    }

    #[test]
    fn a_high_water_counts_for_its_instance_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (InstanceId::from_u128(1), InstanceId::from_u128(2));
        let read = |instance| HighWater::read(directory.path(), instance);
        assert_eq!(read(one), None);
        let water = HighWater::open(directory.path(), one).unwrap();
        for number in [1, 500, u64::from(u32::MAX), Fence::LAST.as_u64()] {
            water.note(Fence::from_u64(number)).unwrap();
            assert_eq!((read(one), read(other)), (Some(Fence::from_u64(number)), None));
        }
        for text in ["", "\n", "1", "x y", &format!("{one} "), &format!("{one} ffffffffffffffff")] {
            fs::write(directory.path().join(HIGH_WATER), text).unwrap();
            assert_eq!(read(one), None, "{text:?}");
        }
    }
}
