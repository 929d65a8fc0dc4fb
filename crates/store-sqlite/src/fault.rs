//! What SQLite's errors mean for whoever runs the broker.

use std::path::Path;

use bellwether_store::StoreError;
use rusqlite::{Error, ErrorCode, ffi};

/// Tells what failed at the store `path` and what to do.
pub(crate) fn fault(path: &Path, error: &Error) -> StoreError {
    let path = path.display();
    let Some(code) = error.sqlite_error_code() else {
        // A value of the wrong type or size: the tables are strict, so nobody wrote it.
        let why = format!("{path} holds what was never written ({error}); {RESTORE}");
        return StoreError::Corrupt { why };
    };
    if matches!(code, ErrorCode::DiskFull) {
        let why = format!("no room left for {path}; free some space on its file system");
        return StoreError::Full { why };
    }
    if extended_code(error) == Some(ffi::SQLITE_IOERR_SHMSIZE) {
        let why = format!(
            "{path}-shm could not be made larger ({error}); free some space on its file system, or \
             check the disk"
        );
        return StoreError::Full { why };
    }
    if matches!(code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) {
        let why = format!("another process has kept {path} locked; try again");
        return StoreError::Unavailable { why };
    }
    if matches!(code, ErrorCode::NotADatabase) {
        let why = format!("{path} is no SQLite database; {RESTORE}, or choose another path");
        return StoreError::Corrupt { why };
    }
    let damaged = [
        ErrorCode::DatabaseCorrupt,
        ErrorCode::SchemaChanged,
        ErrorCode::ConstraintViolation,
        ErrorCode::TypeMismatch,
        ErrorCode::Unknown,
    ];
    if damaged.contains(&code) {
        // A sector that cannot be read looks the same to SQLite.
        let why = format!("{path} is damaged ({error}); check the disk, then {RESTORE}");
        return StoreError::Corrupt { why };
    }
    let forbidden = [ErrorCode::ReadOnly, ErrorCode::CannotOpen, ErrorCode::PermissionDenied];
    if forbidden.contains(&code) {
        let why = format!(
            "{path} cannot be opened for writing ({error}); this user needs to own the file and to \
             be able to write to its directory"
        );
        return StoreError::Refused { why };
    }
    let why = format!("{path} cannot be read or written ({error}); check the disk, then try again");
    StoreError::Unavailable { why }
}

/// What to do about a damaged file.
pub(crate) const RESTORE: &str =
    "restore it from a backup, or move it away to begin with an empty store";

fn extended_code(error: &Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_names_its_cure() {
        let cases = [
            (ffi::SQLITE_BUSY, "unavailable", "try again"),
            (ffi::SQLITE_BUSY_SNAPSHOT, "unavailable", "try again"),
            (ffi::SQLITE_LOCKED, "unavailable", "try again"),
            (ffi::SQLITE_FULL, "full", "free some space"),
            (ffi::SQLITE_IOERR_SHMSIZE, "full", "free some space"),
            (ffi::SQLITE_IOERR_FSYNC, "unavailable", "check the disk"),
            (ffi::SQLITE_CORRUPT, "damaged", "restore it from a backup"),
            (ffi::SQLITE_NOTADB, "damaged", "choose another path"),
            (ffi::SQLITE_ERROR, "damaged", "restore it from a backup"),
            (ffi::SQLITE_READONLY, "refuses", "write to its directory"),
            (ffi::SQLITE_READONLY_DIRECTORY, "refuses", "write to its directory"),
            (ffi::SQLITE_CANTOPEN, "refuses", "write to its directory"),
            (ffi::SQLITE_NOMEM, "unavailable", "try again"),
        ];
        for (code, kind, cure) in cases {
            let error = Error::SqliteFailure(ffi::Error::new(code), None);
            let shown = fault(Path::new("dir/store.db"), &error).to_string();
            for part in [kind, cure, "dir/store.db"] {
                assert!(shown.contains(part), "{code}: {shown}");
            }
        }
    }
}
