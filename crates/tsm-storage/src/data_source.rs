//! Data source names of sqlite, as Go programs write them.
//!
//! A plain path, `:memory:`, or `file:path?option=value&...`. Options that would weaken what the store
//! promises are refused by name, as are options nobody knows.

use std::path::PathBuf;
use std::time::Duration;

use crate::StoreError;

/// Where a sqlite database is and how to open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataSource {
    pub(crate) place: Place,
    /// How long a statement waits for another program's lock.
    pub(crate) busy_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this process's memory; every opening is a new, empty store.
    Memory,
    File(PathBuf),
}

impl DataSource {
    pub(crate) fn parse(name: &str) -> Result<Self, StoreError> {
        // As in Go's driver, options may follow a plain path too.
        let (place, options) = name.split_once('?').unwrap_or((name, ""));
        let mut source = DataSource { place: parse_place(place)?, busy_timeout: DEFAULT_BUSY_TIMEOUT };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            source.apply(key, value)?;
        }
        if source.place == Place::File(PathBuf::new()) {
            return Err(StoreError::configuration(
                "the data source name is empty: give the path of the database file",
            ));
        }
        Ok(source)
    }

    /// A file, whatever characters its path has.
    pub(crate) fn file(path: PathBuf) -> Self {
        DataSource { place: Place::File(path), busy_timeout: DEFAULT_BUSY_TIMEOUT }
    }

    fn apply(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        let lower = value.to_ascii_lowercase();
        match key {
            "_busy_timeout" | "_timeout" => {
                let milliseconds: u32 =
                    value.parse().map_err(|_| bad_value(key, value, "a number of milliseconds"))?;
                self.busy_timeout = Duration::from_millis(milliseconds.into());
                Ok(())
            }
            "_journal_mode" | "_journal" => {
                allow(key, value, lower == "wal", "WAL, which is also the default")
            }
            "_synchronous" | "_sync" => {
                let safe = matches!(lower.as_str(), "full" | "2" | "extra" | "3");
                allow(key, value, safe, "FULL, because keys must survive a power loss")
            }
            "mode" if lower == "memory" => {
                self.place = Place::Memory;
                Ok(())
            }
            "mode" => allow(key, value, matches!(lower.as_str(), "rw" | "rwc"), "rw, rwc or memory"),
            // They have no effect here: one process writes, through one connection, without foreign keys.
            "cache" => allow(key, value, matches!(lower.as_str(), "shared" | "private"), "shared or private"),
            "_foreign_keys" | "_fk" => {
                let known =
                    matches!(lower.as_str(), "0" | "1" | "no" | "yes" | "false" | "true" | "off" | "on");
                allow(key, value, known, "0 or 1")
            }
            "_txlock" => {
                let known = matches!(lower.as_str(), "deferred" | "immediate" | "exclusive");
                allow(key, value, known, "deferred, immediate or exclusive")
            }
            unknown => Err(StoreError::configuration(format!(
                "the data source name has an option {unknown:?} that is not known here: take it out \
                 (known are _busy_timeout, _journal_mode, _synchronous, _foreign_keys, _txlock, cache, mode)"
            ))),
        }
    }
}

/// The default of Go's driver.
const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

fn parse_place(place: &str) -> Result<Place, StoreError> {
    let Some(uri) = place.strip_prefix("file:") else {
        return Ok(if place == ":memory:" { Place::Memory } else { Place::File(place.into()) });
    };
    let path = match uri.strip_prefix("//") {
        None => uri,
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
    };
    if uri.starts_with("//") && !path.starts_with('/') {
        return Err(StoreError::configuration(format!(
            "the data source name {place:?} names a host: write file:path or file:///path"
        )));
    }
    if path == ":memory:" {
        return Ok(Place::Memory);
    }
    let path = percent_decode(path).ok_or_else(|| {
        StoreError::configuration(format!("the path in the data source name {place:?} is badly escaped"))
    })?;
    Ok(Place::File(path.into()))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_first_chunk::<2>()?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    // A zero byte would end the path early for the operating system.
    String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))
}

fn allow(key: &str, value: &str, allowed: bool, expected: &str) -> Result<(), StoreError> {
    if allowed { Ok(()) } else { Err(bad_value(key, value, expected)) }
}

fn bad_value(key: &str, value: &str, expected: &str) -> StoreError {
    StoreError::configuration(format!(
        "the data source name has {key}={value}: it may only be {expected}; change it or take it out"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_go_reads_them() {
        for (name, path) in [
            ("/var/lib/tsm.db", "/var/lib/tsm.db"),
            ("tsm.db", "tsm.db"),
            ("tsm.db?_busy_timeout=1", "tsm.db"),
            ("file:tsm.db", "tsm.db"),
            ("file:/var/lib/tsm.db?cache=shared&mode=rwc", "/var/lib/tsm.db"),
            ("file:///var/a%20b.db", "/var/a b.db"),
            ("file://localhost/var/tsm.db", "/var/tsm.db"),
        ] {
            assert_eq!(DataSource::parse(name).unwrap().place, Place::File(path.into()), "{name}");
        }
    }

    #[test]
    fn memory_has_three_spellings() {
        for name in [":memory:", "file::memory:?cache=shared", "file:node1?mode=memory&cache=shared"] {
            assert_eq!(DataSource::parse(name).unwrap().place, Place::Memory, "{name}");
        }
    }

    #[test]
    fn the_busy_timeout_is_in_milliseconds() {
        let source = DataSource::parse("file:a.db?_busy_timeout=1500&_journal_mode=WAL").unwrap();
        assert_eq!(source.busy_timeout, Duration::from_millis(1500));
    }

    #[test]
    fn what_is_unknown_or_unsafe_is_refused_by_name() {
        for (name, named) in [
            ("file:a.db?_auto_vacuum=1", "_auto_vacuum"),
            ("file:a.db?_journal_mode=MEMORY", "_journal_mode=MEMORY"),
            ("file:a.db?_synchronous=OFF", "_synchronous=OFF"),
            ("file:a.db?mode=ro", "mode=ro"),
            ("file:a.db?immutable=1", "immutable"),
            ("file:a.db?_busy_timeout=-1", "_busy_timeout=-1"),
            ("file://host/a.db", "file://host/a.db"),
            ("file:a%zz.db", "badly escaped"),
            ("file:a%00.db", "badly escaped"),
            ("", "empty"),
            ("file:", "empty"),
        ] {
            let error = DataSource::parse(name).unwrap_err().to_string();
            assert!(error.contains(named), "{name}: {error}");
        }
    }
}
