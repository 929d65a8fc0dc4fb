//! Where the store lies, and whether that is a good place.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bellwether_store::StoreError;
use rustix::fs::statfs;
use rustix::process::geteuid;

/// The files of one store, checked.
#[derive(Debug)]
pub(crate) struct Place {
    /// The database, in a directory without symbolic links.
    pub(crate) database: PathBuf,
    /// The directory for [`presence`](crate::presence).
    pub(crate) locks: PathBuf,
    /// Whether a reboot takes it away.
    pub(crate) volatile: bool,
}

impl Place {
    /// Finds a good place at `path`; makes missing directories, for their owner alone.
    pub(crate) fn prepare(path: &Path) -> Result<Self, StoreError> {
        let name = path.file_name().ok_or_else(|| StoreError::Refused {
            why: format!("{} names no file; give the path of one", path.display()),
        })?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        make_directory(parent)?;
        let directory = fs::canonicalize(parent).map_err(|error| unusable(parent, &error))?;
        check_directory(&directory)?;
        let volatile = check_file_system(&directory)?;

        let database = directory.join(name);
        let mut locks = database.clone().into_os_string();
        locks.push("-locks");
        let locks = PathBuf::from(locks);
        make_directory(&locks)?;
        Ok(Self { database, locks, volatile })
    }

    /// Makes sure that the database is there, an empty one if need be, and its owner's alone.
    ///
    /// Never opens a database that is there: closing it would drop SQLite's own locks on it.
    pub(crate) fn prepare_database(&self) -> Result<(), StoreError> {
        let path = &self.database;
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => {
                let directory = path.parent().unwrap_or(Path::new("."));
                let synced =
                    file.sync_all().and_then(|()| File::open(directory)).and_then(|d| d.sync_all());
                synced.map_err(|error| unusable(path, &error))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => check_database(path),
            Err(error) => Err(unusable(path, &error)),
        }
    }

    /// What tells the open files from others that took their names since.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let mut log = self.database.clone().into_os_string();
        log.push("-wal");
        let inode = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
        Some(Identity { database: inode(&self.database)?, log: inode(Path::new(&log))? })
    }
}

/// Device and inode of the database and of its write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    database: (u64, u64),
    log: (u64, u64),
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| unusable(path, &error))
}

fn check_directory(directory: &Path) -> Result<(), StoreError> {
    let metadata = fs::metadata(directory).map_err(|error| unusable(directory, &error))?;
    let mode = metadata.mode() & 0o7777;
    // In a sticky directory others can add files, but not take ours away.
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        let directory = directory.display();
        let why = format!(
            "everybody can replace files in {directory} (mode {mode:o}); run `chmod o-w \
             {directory}`, or choose another directory"
        );
        return Err(StoreError::Refused { why });
    }
    Ok(())
}

fn check_database(path: &Path) -> Result<(), StoreError> {
    let metadata = fs::symlink_metadata(path).map_err(|error| unusable(path, &error))?;
    let (mode, owner, user) = (metadata.mode() & 0o7777, metadata.uid(), geteuid().as_raw());
    let path = path.display();
    let why = if !metadata.is_file() {
        format!("{path} is not a regular file; give the path of one")
    } else if mode & 0o077 != 0 {
        format!("{path} is open to other users (mode {mode:o}); run `chmod 600 {path}`")
    } else if owner != user && user != 0 {
        format!("{path} belongs to user {owner}; run as that user, or choose another path")
    } else {
        return Ok(());
    };
    Err(StoreError::Refused { why })
}

/// Network file systems, where neither locks nor the shared memory of a write-ahead log can be
/// trusted: NFS, SMB, CIFS, SMB2, AFS, Coda, Ceph, Lustre.
const REMOTE: [u32; 8] =
    [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x5346_414f, 0x7375_7245, 0x00c3_6400, 0x0bd0_0bd0];
/// tmpfs and ramfs.
const VOLATILE: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// Returns whether a reboot takes the file system's content away.
fn check_file_system(directory: &Path) -> Result<bool, StoreError> {
    let status = statfs(directory).map_err(|error| unusable(directory, &error.into()))?;
    // The kernel's numbers have 32 bits; the field is wider on some machines.
    let number = status.f_type as u32;
    if REMOTE.contains(&number) {
        let directory = directory.display();
        let why = format!(
            "{directory} is on a network file system, which cannot share an SQLite file safely; \
             choose a local path, or redis: or postgres: to share between machines"
        );
        return Err(StoreError::Refused { why });
    }
    Ok(VOLATILE.contains(&number))
}

/// Tells what the operating system refused at `path`.
pub(crate) fn unusable(path: &Path, error: &io::Error) -> StoreError {
    let (path, kind) = (path.display(), error.kind());
    if matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        let why = format!("no room left for {path} ({error}); free some space on its file system");
        return StoreError::Full { why };
    }
    let cure = if matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) {
        "the store needs a directory that this user can write to; choose another path"
    } else {
        "check the path"
    };
    StoreError::Refused { why: format!("{path} cannot be used ({error}): {cure}") }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(result: Result<(), StoreError>) -> String {
        match result {
            Err(StoreError::Refused { why }) => why,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn missing_directories_and_the_database_are_made_for_their_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::prepare(&directory.path().join("state/bellwether/store.db")).unwrap();
        place.prepare_database().unwrap();
        place.prepare_database().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&directory.path().join("state")), 0o700);
        assert_eq!(mode(&place.locks), 0o700);
        assert_eq!(mode(&place.database), 0o600);
    }

    #[test]
    fn a_bad_place_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let inside = |name: &str| directory.path().join(name);

        fs::write(inside("file"), "").unwrap();
        let error = Place::prepare(&inside("file/store.db")).unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");

        fs::create_dir(inside("open")).unwrap();
        chmod(&inside("open"), 0o777);
        let why = refusal(Place::prepare(&inside("open/store.db")).map(drop));
        assert!(why.contains("chmod o-w"), "{why}");
        chmod(&inside("open"), 0o1777);
        Place::prepare(&inside("open/store.db")).unwrap();

        let place = Place::prepare(&inside("store.db")).unwrap();
        for mode in [0o640, 0o604, 0o666] {
            fs::write(&place.database, "").unwrap();
            chmod(&place.database, mode);
            let why = refusal(place.prepare_database());
            assert!(why.contains("chmod 600"), "{why}");
        }

        fs::remove_file(&place.database).unwrap();
        std::os::unix::fs::symlink(inside("file"), &place.database).unwrap();
        let why = refusal(place.prepare_database());
        assert!(why.contains("not a regular file"), "{why}");
    }

    #[test]
    fn what_the_operating_system_refuses_is_told() {
        let told = |kind| unusable(Path::new("dir/store.db"), &io::Error::from(kind)).to_string();
        let cases = [
            (ErrorKind::StorageFull, "full", "free some space"),
            (ErrorKind::ReadOnlyFilesystem, "refuses", "choose another path"),
            (ErrorKind::PermissionDenied, "refuses", "choose another path"),
            (ErrorKind::NotADirectory, "refuses", "check the path"),
        ];
        for (kind, what, cure) in cases {
            let told = told(kind);
            assert!(told.contains(what) && told.contains(cure), "{told}");
        }
    }
}
