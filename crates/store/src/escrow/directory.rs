//! The directory of an escrow: files are reached through it alone, and only its owner's.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::store::StoreError;

/// Device and inode: what tells an open file from another that took its name since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

impl Identity {
    fn of(data: &Metadata) -> Self {
        Self(data.dev(), data.ino())
    }
}

/// A file in the directory, open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) identity: Identity,
}

/// Kept open, so that nothing is written into another directory that took its place.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    open: File,
    identity: Identity,
}

impl Directory {
    /// Opens `path`; makes it, for its owner alone, if there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| fault(path, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(rustix::fs::CWD, path, flags, Mode::empty());
        let open = File::from(opened.map_err(|error| failed(error.into()))?);
        let data = open.metadata().map_err(failed)?;
        check(path, &data)?;
        // The path may be relative, and the working directory another one later.
        let path = fs::canonicalize(path).map_err(failed)?;
        let directory = Self { path, open, identity: Identity::of(&data) };
        directory.sync_parent()?;
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where `name` lies, for messages.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens the file `name`; makes it if `create` says so, else there may be none.
    pub(crate) fn file(&self, name: &str, create: bool) -> Result<Option<Opened>, StoreError> {
        let also = if create { OFlags::CREATE } else { OFlags::empty() };
        self.open_with(name, also)
    }

    /// Makes the file `name` anew, empty.
    pub(crate) fn draft(&self, name: &str) -> Result<Opened, StoreError> {
        let opened = self.open_with(name, OFlags::CREATE | OFlags::TRUNC)?;
        let vanished = || fault(&self.at(name), &ErrorKind::NotFound.into());
        opened.ok_or_else(vanished)
    }

    fn open_with(&self, name: &str, flags: OFlags) -> Result<Option<Opened>, StoreError> {
        let path = self.at(name);
        // What is no regular file must not keep us waiting.
        let flags = flags
            | OFlags::APPEND
            | OFlags::RDWR
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let file = match openat(&self.open, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) if !flags.contains(OFlags::CREATE) => return Ok(None),
            Err(Errno::LOOP) => {
                let why = format!(
                    "{} is a symbolic link; remove it, or choose another path",
                    path.display()
                );
                return Err(StoreError::Refused { why });
            }
            Err(error) => return Err(fault(&path, &error.into())),
        };
        let data = file.metadata().map_err(|error| fault(&path, &error))?;
        if !data.is_file() {
            let why = format!("{} is not a regular file; remove it", path.display());
            return Err(StoreError::Refused { why });
        }
        check(&path, &data)?;
        Ok(Some(Opened { file, identity: Identity::of(&data) }))
    }

    /// Whether the file `name` is still the one that was opened.
    pub(crate) fn is_current(&self, name: &str, opened: &Opened) -> Result<bool, StoreError> {
        match statat(&self.open, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(data) => Ok(Identity(data.st_dev, data.st_ino) == opened.identity),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(fault(&self.at(name), &error.into())),
        }
    }

    /// Puts the file `from` in the place of `to`.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        renameat(&self.open, from, &self.open, to)
            .map_err(|error| fault(&self.at(from), &error.into()))
    }

    /// Removes the file `name`, if there is one.
    pub(crate) fn unlink(&self, name: &str) -> Result<(), StoreError> {
        match unlinkat(&self.open, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(fault(&self.at(name), &error.into())),
        }
    }

    /// Makes names durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.open.sync_all().map_err(|error| fault(&self.path, &error))
    }

    /// Whether it is still what its path names; what is written elsewhere is lost.
    pub(crate) fn check_current(&self) -> Result<(), StoreError> {
        let current = fs::symlink_metadata(&self.path);
        if current.is_ok_and(|data| Identity::of(&data) == self.identity) {
            return Ok(());
        }
        let path = self.path.display();
        let why = format!(
            "{path} was moved, replaced or deleted while in use; put it back or restart bellwether"
        );
        Err(StoreError::Unavailable { why })
    }

    fn sync_parent(&self) -> Result<(), StoreError> {
        let parent = self.path.parent().unwrap_or(&self.path);
        match File::open(parent).and_then(|parent| parent.sync_all()) {
            // Whoever may not even list it did not make anything there.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            synced => synced.map_err(|error| fault(parent, &error)),
        }
    }
}

/// Refuses what others can read or have made.
fn check(path: &Path, data: &Metadata) -> Result<(), StoreError> {
    let (mode, owner, user) = (data.mode() & 0o7777, data.uid(), geteuid().as_raw());
    let path = path.display();
    let why = if mode & 0o077 != 0 {
        let narrow = if data.is_dir() { "700" } else { "600" };
        format!("{path} is open to other users (mode {mode:o}); run `chmod {narrow} {path}`")
    } else if owner != user && user != 0 {
        format!("{path} belongs to user {owner}; run as that user, or choose another path")
    } else {
        return Ok(());
    };
    Err(StoreError::Refused { why })
}

/// Tells what failed at `path` and what to do.
pub(crate) fn fault(path: &Path, error: &io::Error) -> StoreError {
    let (path, kind) = (path.display(), error.kind());
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];
    if full.contains(&kind) {
        let why = format!("no room left for {path} ({error}); free some space on its file system");
        return StoreError::Full { why };
    }
    let forbidden = [
        ErrorKind::PermissionDenied,
        ErrorKind::ReadOnlyFilesystem,
        ErrorKind::NotADirectory,
        ErrorKind::IsADirectory,
        ErrorKind::AlreadyExists,
    ];
    if forbidden.contains(&kind) {
        let why = format!(
            "{path} cannot be used ({error}); this user needs a directory there that it owns and \
             can write to"
        );
        return StoreError::Refused { why };
    }
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let cure = if matches!(errno, Some(Errno::MFILE | Errno::NFILE)) {
        "raise the limit on open files"
    } else {
        "check the disk, then try again"
    };
    let why = format!("{path} cannot be read or written ({error}); {cure}");
    StoreError::Unavailable { why }
}
