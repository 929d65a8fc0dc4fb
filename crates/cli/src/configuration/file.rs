//! Reading a file that decides where secrets go, or is one.
//!
//! A file is opened, then looked at through the handle, so that what was looked at is what is
//! read. It must be a regular file of limited size that nobody else can change; a symbolic link
//! to it must lie in a directory that is root's or ours.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, StatVfsMountFlags};
use zeroize::Zeroizing;

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// Others must not write it.
    Settings,
    /// Nobody but its owner may write it, and others must not read it, unless it lies on a
    /// read-only mount, as container platforms hand secrets over.
    Secret,
    /// The same, but everybody may read it.
    ReadableSecret,
}

/// Most bytes of the configuration itself and of certificates.
pub(super) const MAX_SETTINGS: u64 = 1024 * 1024;
/// Most bytes of a secret's file.
pub(super) const MAX_SECRET: u64 = 64 * 1024;

/// The text of a file. The error names the file and what to do.
pub(super) fn read(path: &Path, protection: Protection) -> Result<Zeroizing<String>, String> {
    let shown = path.display();
    refuse_foreign_link(path)?;
    let file = open(path).map_err(|error| unreadable(path, &error))?;
    let most = match protection {
        Protection::Settings => MAX_SETTINGS,
        Protection::Secret | Protection::ReadableSecret => MAX_SECRET,
    };
    inspect(&file, path, protection, most)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > most {
        return Err(too_large(path, most));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(format!("{shown} is not UTF-8 text; write it anew")),
    }
}

/// Does not wait for a writer when the path is a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn inspect(file: &File, path: &Path, protection: Protection, most: u64) -> Result<(), String> {
    let shown = path.display();
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(format!("{shown} is no regular file; name one"));
    }
    if metadata.len() > most {
        return Err(too_large(path, most));
    }
    let mode = metadata.mode();
    let (writers, whose) = match protection {
        Protection::Settings => (0o002, "everybody"),
        Protection::Secret | Protection::ReadableSecret => (0o022, "its group or everybody"),
    };
    if mode & writers != 0 {
        return Err(format!("{shown} can be written by {whose}; run: chmod go-w {shown}"));
    }
    if protection == Protection::Secret && mode & 0o004 != 0 && !on_read_only_mount(file) {
        return Err(format!(
            "{shown} can be read by everybody; run: chmod o-r {shown}, or write allow_readable = \
             true beside it"
        ));
    }
    Ok(())
}

fn on_read_only_mount(file: &File) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Whoever may write the directory of a link chooses what it leads to.
fn refuse_foreign_link(path: &Path) -> Result<(), String> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if !is_link {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    let owner = fs::metadata(directory).map_err(|error| unreadable(path, &error))?.uid();
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(format!(
        "{} is a symbolic link in somebody else's directory; name the file itself",
        path.display()
    ))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    if error.kind() == io::ErrorKind::NotFound {
        return format!("{shown} does not exist; create it or correct the path");
    }
    format!("{shown} cannot be read: {error}")
}

fn too_large(path: &Path, most: u64) -> String {
    format!("{} is larger than {} KiB; name another file", path.display(), most / 1024)
}
