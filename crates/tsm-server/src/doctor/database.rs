//! The database: its file, its disk, its password.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use tsm_crypto::Secret;
use tsm_storage::{SealedStore, Sqlite, StoreError};

use super::Finding;
use crate::config::DatabaseConfig;

/// A write to the disk that takes longer than this is felt in every key generation.
const SLOW: Duration = Duration::from_millis(100);

/// How often the disk is tried.
const TRIES: u32 = 5;

/// A key takes a few kilobytes, the write-ahead log a few megabytes.
const LITTLE_SPACE: u64 = 100 << 20;
const NO_SPACE: u64 = 8 << 20;

/// Returns also whether a node has the database open.
pub(super) async fn examine(config: &DatabaseConfig) -> (bool, Vec<Finding>) {
    let subject = "database";
    let refused = |error: StoreError| (code(&error), error.to_string());
    let sqlite = match Sqlite::new(config.data_source.expose()) {
        Ok(sqlite) => sqlite,
        Err(error) => {
            let (code, found) = refused(error);
            return (false, vec![Finding::fail(code, subject, found, "correct [Database] DataSourceName")]);
        }
    };
    let Some(path) = sqlite.file().map(Path::to_owned) else {
        let advice =
            "for tests only: name a file in [Database] DataSourceName, or all keys are lost at every stop";
        return (false, vec![Finding::warn("database.memory", subject, "it is in memory", advice)]);
    };
    let subject = format!("database {}", path.display());
    let password = Secret::new(config.master_password.expose().clone());
    let (in_use, first) = match SealedStore::check(&sqlite, password).await {
        Ok(true) => (false, Finding::ok("database.ok", &subject, "the master password opens it")),
        Ok(false) => {
            (false, Finding::ok("database.new", &subject, "not there yet: the node makes it at its start"))
        }
        Err(StoreError::InUse { .. }) => {
            (true, Finding::ok("database.in_use", &subject, "a running node has it open"))
        }
        Err(error) => {
            let advice = "nothing was changed; do what the message says, then ask the doctor again";
            let (code, found) = refused(error);
            return (false, vec![Finding::fail(code, &subject, found, advice)]);
        }
    };
    let mut findings = vec![first];
    findings.push(rights(&path, &subject));
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    findings.push(disk(folder));
    findings.extend(space(folder));
    (in_use, findings)
}

fn code(error: &StoreError) -> &'static str {
    match error {
        StoreError::WrongPassword => "database.password",
        StoreError::NotADatabase { .. } => "database.not_ours",
        StoreError::NewerSchema { .. } => "database.newer",
        StoreError::Damaged { .. } | StoreError::Corrupt { .. } => "database.damaged",
        StoreError::Configuration { .. } => "database.configuration",
        StoreError::Unavailable { .. } | StoreError::Exists { .. } | StoreError::InUse { .. } => {
            "database.unusable"
        }
    }
}

/// Opened for writing, and nothing is written.
fn rights(path: &Path, subject: &str) -> Finding {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Finding::ok("database.rights", subject, "this user may read and write it"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::ok("database.rights", subject, "nothing is there that could be in the way")
        }
        Err(error) => {
            let advice = "give the node's user the right to read and write the file (and ask the doctor as that user), \
                          or mount its disk for writing";
            Finding::fail(
                "database.read_only",
                subject,
                format!("it cannot be opened for writing: {error}"),
                advice,
            )
        }
    }
}

/// How long the disk takes for a small write, as the node waits for one before it says that a key is made.
fn disk(folder: &Path) -> Finding {
    let subject = format!("disk of {}", folder.display());
    let name = folder.join(format!(".tsm-doctor-{}", std::process::id()));
    let tried = write_times(&name);
    drop(fs::remove_file(&name));
    match tried {
        Ok(time) if time > SLOW => Finding::warn(
            "database.slow",
            subject,
            format!("a durable write takes {time:.1?}"),
            "use a local disk: every key generation waits for a few of these",
        ),
        Ok(time) => Finding::ok("database.latency", subject, format!("a durable write takes {time:.1?}")),
        Err(error) => Finding::fail(
            "database.read_only",
            subject,
            format!("a file beside the database cannot be made and written: {error}"),
            "give the node's user the right to write the folder (the database has files beside it), free some space, or \
             mount the disk for writing",
        ),
    }
}

/// The median.
fn write_times(name: &Path) -> io::Result<Duration> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(name)?;
    let mut times = Vec::new();
    for _ in 0..TRIES {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_all()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn space(folder: &Path) -> Option<Finding> {
    let subject = format!("space at {}", folder.display());
    let about = rustix::fs::statvfs(folder).ok()?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let found = format!("{} MiB are free", free >> 20);
    let advice = "free some space: with a full disk no keys are made; those that there are still sign";
    Some(match free {
        free if free < NO_SPACE => Finding::fail("database.no_space", subject, found, advice),
        free if free < LITTLE_SPACE => Finding::warn("database.little_space", subject, found, advice),
        _ => Finding::ok("database.space", subject, found),
    })
}
