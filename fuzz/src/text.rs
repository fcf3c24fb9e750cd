//! What people write: configuration files, and the small languages in them.

use tsm_config::{parse, parse_embedded};
use tsm_types::{Address, ApplicationId, DerivationPath, KeyId, SessionId, duration};

/// A configuration, of a node that serves and of one inside an app; and every word in it as an address, a
/// duration, a path and a name.
pub(crate) fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for problems in [parse(text).err(), parse_embedded(text).err()] {
        // A file is refused with a reason.
        assert!(problems.is_none_or(|problems| !problems.is_empty()));
    }
    for word in text.split(['"', '\n']) {
        if let Ok(address) = word.parse::<Address>() {
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address, "{word}");
        }
        if let Ok(path) = word.parse::<DerivationPath>() {
            assert_eq!(path.to_string().parse::<DerivationPath>().unwrap(), path, "{word}");
        }
        let _ = duration::parse(word);
        for name in [
            SessionId::new(word).map(|id| id.to_string()),
            KeyId::new(word).map(|id| id.to_string()),
            ApplicationId::new(word).map(|id| id.to_string()),
        ] {
            assert!(name.is_err() || name.is_ok_and(|name| name == word));
        }
    }
}

pub(crate) fn config_seeds() -> Vec<Vec<u8>> {
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let mut folders = vec![deploy];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                seeds.push(std::fs::read(path).unwrap());
            }
        }
    }
    assert!(seeds.len() >= 3);
    seeds.push(
        b"tcp://node0:9000\nbroker://\nwss://a.example/x\n[::1]:9000\nm/44/0/1\n1h30m5s\nkey1".to_vec(),
    );
    seeds
}
