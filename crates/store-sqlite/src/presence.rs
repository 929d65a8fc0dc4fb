//! Whether the process behind a lease is still alive.
//!
//! Each open store keeps a file of a random name locked (`flock`). The kernel drops the lock when
//! the process is gone, so whoever can lock the file knows that its owner is dead. A file that is
//! missing says nothing: then a lease is waited out.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bellwether_store::{HolderId, StoreError};

use crate::place::unusable;

/// The file whose lock lets one process at a time open or sweep the store.
const OPENING: &str = "opening";

/// The name of a presence: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PresenceName(String);

impl PresenceName {
    /// Reads a name as the store kept it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for PresenceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shows others that this store is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Presence {
    name: PresenceName,
    path: PathBuf,
    _locked: File,
}

impl Presence {
    /// Begins in the directory `locks`. The caller has locked [`opening`], so nobody sweeps the
    /// file away before it is locked.
    pub(crate) fn begin(locks: &Path) -> Result<Self, StoreError> {
        let name = PresenceName(HolderId::random()?.to_string());
        let path = locks.join(&name.0);
        let failed = |error: io::Error| unusable(&path, &error);
        let options = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = options.map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(Self { name, path, _locked: file })
    }

    /// The name to put into leases.
    pub(crate) fn name(&self) -> &PresenceName {
        &self.name
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // A file that stays is swept by whoever opens the store next.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Waits until no other process is opening the store; dropping the file lets the next one in.
pub(crate) fn opening(locks: &Path) -> Result<File, StoreError> {
    let path = locks.join(OPENING);
    let failed = |error: io::Error| unusable(&path, &error);
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

/// Whether the process that had `name` is certainly gone.
pub(crate) fn is_dead(locks: &Path, name: &PresenceName) -> bool {
    // Shared, so that several who look at the same time do not take each other for the owner.
    File::open(locks.join(&name.0)).is_ok_and(|file| file.try_lock_shared().is_ok())
}

/// A presence whose process is gone. Removes its file when dropped.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) name: PresenceName,
    path: PathBuf,
    _locked: File,
}

impl Drop for Remains {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// All presences in `locks` whose processes are gone. The caller has locked [`opening`].
pub(crate) fn remains(locks: &Path) -> Result<Vec<Remains>, StoreError> {
    let failed = |error: io::Error| unusable(locks, &error);
    let mut remains = Vec::new();
    for entry in locks.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(name) = entry.file_name().to_str().and_then(PresenceName::parse) else { continue };
        // Gone since it was listed, or somebody else's: not ours to sweep.
        let Ok(file) = File::open(entry.path()) else { continue };
        match file.try_lock() {
            Ok(()) if file.metadata().is_ok_and(|data| data.nlink() > 0) => {
                remains.push(Remains { name, path: entry.path(), _locked: file });
            }
            Ok(()) | Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
    Ok(remains)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presence_lives_as_long_as_its_lock() {
        let directory = tempfile::tempdir().unwrap();
        let locks = directory.path();
        let presence = Presence::begin(locks).unwrap();
        let name = presence.name().clone();
        assert!(!is_dead(locks, &name));
        assert!(remains(locks).unwrap().is_empty());

        // What a killed process leaves: the file without its lock.
        let killed = Presence::begin(locks).unwrap().name().clone();
        std::fs::write(locks.join(&killed.0), "").unwrap();
        assert!(is_dead(locks, &killed) && is_dead(locks, &killed));
        let swept: Vec<_> = remains(locks).unwrap().iter().map(|dead| dead.name.clone()).collect();
        assert_eq!(swept, [killed]);
        assert!(remains(locks).unwrap().is_empty());

        drop(presence);
        assert!(!is_dead(locks, &name), "a missing file says nothing");
    }

    #[test]
    fn a_name_is_never_a_path() {
        let upper = "0123456789ABCDEFabcdef0123456789";
        assert_eq!(PresenceName::parse(upper).map(|name| name.0).as_deref(), Some(upper));
        for text in ["", "opening", "../../../../../../../etc/passwd00", &format!("{upper}0")] {
            assert_eq!(PresenceName::parse(text), None, "{text:?}");
        }
    }
}
