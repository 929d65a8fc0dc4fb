//! The file that holds the root key.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::lease::HolderId;
use crate::seal::Keyring;

type Root = Zeroizing<[u8; Keyring::KEY_LEN]>;

/// Why a key file is not used; names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Somebody else could read it.
    #[error(
        "the key file {path} is open to other users (mode {mode:o}): run `chmod 600 {path}`; if others may have read it, make a new key and store"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else could change it.
    #[error("the key file {path} belongs to user {owner}: run as that user, or `chown` it")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its user id.
        owner: u32,
    },
    /// It is no key.
    #[error(
        "{path} is no key file: it has {size} bytes instead of 32; restore it from a backup, or remove it together with its store"
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes; 33 stands for more.
        size: usize,
    },
    /// The operating system refused.
    #[error(
        "cannot {doing} the key file {path}: {source}; the directory must exist and be writable by this user"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Reads the key at `path`; makes one from `random` if there is none.
pub(crate) fn open_or_create(
    path: &Path,
    random: impl FnOnce() -> Root,
) -> Result<Root, KeyFileError> {
    match open(path) {
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(path, &random()).map_err(io_error(path, "create"))?;
            open(path)
        }
        opened => opened,
    }
}

/// Reads the key at `path`.
pub(crate) fn open(path: &Path) -> Result<Root, KeyFileError> {
    let failed = io_error(path, "read");
    let file = File::open(path).map_err(&failed)?;
    let metadata = file.metadata().map_err(&failed)?;
    let (mode, owner, user) = (metadata.mode() & 0o7777, metadata.uid(), geteuid().as_raw());
    let path = path.to_owned();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open { path, mode });
    }
    if owner != user && owner != 0 && user != 0 {
        return Err(KeyFileError::Owner { path, owner });
    }
    let mut content = Zeroizing::new(Vec::with_capacity(Keyring::KEY_LEN + 1));
    file.take(Keyring::KEY_LEN as u64 + 1).read_to_end(&mut content).map_err(&failed)?;
    let size = content.len();
    let root = <[u8; Keyring::KEY_LEN]>::try_from(content.as_slice());
    root.map(Zeroizing::new).map_err(|_| KeyFileError::Size { path, size })
}

/// Puts a complete, durable file at `path` unless there is one already: whoever loses the race
/// reads the winner's.
fn create(path: &Path, root: &Root) -> io::Result<()> {
    let unique = HolderId::random().map_err(io::Error::other)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{unique}"));
    let draft = PathBuf::from(draft);

    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let placed =
        file.write_all(&**root).and_then(|()| file.sync_all()).and_then(|()| place(&draft, path));
    match placed {
        Ok(()) => {}
        Err(error) => {
            std::fs::remove_file(&draft)?;
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(error);
            }
        }
    }
    // The loser too: it must not use a key whose name is not yet durable.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Renames without replacing; a file system that cannot do that gets a hard link.
fn place(draft: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            std::fs::hard_link(draft, path)?;
            std::fs::remove_file(draft)
        }
        renamed => Ok(renamed?),
    }
}

fn io_error(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { path: path.clone(), doing, source }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Barrier;

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_kept_for_its_owner_alone() {
        let directory = directory();
        let path = directory.path().join("store.key");
        let first = Keyring::open_or_create(&path).unwrap();
        let again = Keyring::open_or_create(&path).unwrap();
        assert_eq!(first.digest("", b"x"), again.digest("", b"x"));
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.len()), (0o600, 32));
    }

    #[test]
    fn all_who_race_get_the_same_key_and_no_draft_stays() {
        let directory = directory();
        let path = directory.path().join("store.key");
        let start = Barrier::new(8);
        let digests: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                start.wait();
                Keyring::open_or_create(&path).unwrap().digest("", b"x")
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(digests.iter().all(|digest| *digest == digests[0]));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_open_to_others_or_of_the_wrong_size_is_refused_and_left_alone() {
        let directory = directory();
        let path = directory.path().join("store.key");
        #[rustfmt::skip]
        let cases = [
            (32, 0o640, "chmod 600"),
            (32, 0o604, "chmod 600"),
            ( 0, 0o600, "0 bytes instead of 32"),
            (31, 0o600, "31 bytes instead of 32"),
            (33, 0o600, "33 bytes instead of 32"),
        ];
        for (size, mode, says) in cases {
            fs::write(&path, vec![1; size]).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = Keyring::open_or_create(&path).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("store.key"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), vec![1; size]);
        }
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = directory();
        let path = directory.path().join("missing/store.key");
        let error = Keyring::open_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("missing/store.key") && error.contains("directory"), "{error}");
    }
}
