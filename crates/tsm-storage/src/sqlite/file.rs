//! The files of a store, without sqlite: what is there, whose it is, who may touch it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::{SCHEMA_VERSION, StoreError};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Store,
}

/// Looks at the first bytes of a file, without sqlite, to tell a store from anything else.
///
/// Not while this process has the store open: closing any handle on a file ends all POSIX locks that the
/// process has on it, and sqlite relies on its own.
pub(super) fn look_at(path: &Path) -> Result<Found, StoreError> {
    let not_a_store = || StoreError::NotADatabase { path: path.to_owned() };
    // Before it is opened: opening a pipe would wait for somebody to write to it.
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return check_no_orphans(path),
        Err(error) => return Err(file_error("read", path, &error)),
    };
    if !about.is_file() {
        return Err(not_a_store());
    }
    if about.len() == 0 {
        return check_no_orphans(path);
    }
    let mut file = File::open(path).map_err(|e| file_error("read", path, &e))?;
    let mut head = [0; 72];
    file.read_exact(&mut head).map_err(|_| not_a_store())?;
    // Offsets of the sqlite file format: magic at 0, user_version at 60, application_id at 68.
    let [schema, _, application] = [60, 64, 68].map(|at: usize| {
        u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes at a fixed place within 72"))
    });
    if !head.starts_with(b"SQLite format 3\0") || application != APPLICATION_ID {
        return Err(not_a_store());
    }
    check_schema(schema)?;
    Ok(Found::Store)
}

/// A log without its file would be replayed into the next file of that name.
fn check_no_orphans(path: &Path) -> Result<Found, StoreError> {
    for suffix in ["-wal", "-journal"] {
        let log = beside(path, suffix);
        if fs::metadata(&log).is_ok_and(|about| about.len() > 0) {
            return Err(StoreError::damaged(format!(
                "{} is there but {} is missing",
                log.display(),
                path.display()
            )));
        }
    }
    Ok(Found::Nothing)
}

pub(super) fn check_schema(found: u32) -> Result<(), StoreError> {
    match found {
        0 => Err(StoreError::damaged("its schema version is missing")),
        SCHEMA_VERSION => Ok(()),
        _ => Err(StoreError::NewerSchema { found }),
    }
}

/// The real path of a file that may not exist yet, so that every name of a store has the same lock.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| StoreError::NotADatabase { path: path.to_owned() })?;
    match folder.canonicalize() {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::unavailable(format!(
            "the folder {} does not exist: make it, or correct the data source name",
            folder.display()
        ))),
        Err(error) => Err(file_error("reach", folder, &error)),
    }
}

/// The operating system frees the lock however the process ends. The lock file stays: removing it would
/// let two processes lock two files of the same name.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let name = beside(path, ".lock");
    let file = private_file().create(true).open(&name).map_err(|e| file_error("open", &name, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(file_error("lock", &name, &error)),
    }
}

/// Fails if some process, this one included, has the store open. Makes nothing.
pub(super) fn refuse_if_in_use(path: &Path) -> Result<(), StoreError> {
    let name = beside(path, ".lock");
    let file = match private_file().open(&name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(file_error("open", &name, &error)),
    };
    // Shared, so that two that only look do not take each other for a user.
    match file.try_lock_shared() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(file_error("lock", &name, &error)),
    }
}

pub(super) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

pub(super) fn warn_if_others_can_read(path: &Path) {
    #[cfg(unix)]
    if let Ok(about) = fs::metadata(path) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&about.permissions());
        if mode & 0o077 != 0 {
            tracing::warn!(
                path = %path.display(),
                "other users of this machine can reach the store: chmod 600 the file"
            );
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}

pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn file_error(verb: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::unavailable(format!("cannot {verb} {}: {error}", path.display()))
}

/// `application_id` of our files: "OTSM" as a big-endian number. It tells them from other sqlite files.
const APPLICATION_ID: u32 = u32::from_be_bytes(*b"OTSM");
