//! Login with API keys.
//!
//! A node keeps only SHA-256 hashes of the keys that it accepts; each key logs in to one
//! application, and keys of players belong to applications. Keys are long and random, so a plain
//! hash is enough (rule S-101).

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// One accepted API key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyEntry {
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// The application that the key logs in to.
    pub application: String,
}

impl fmt::Debug for ApiKeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyEntry {{ sha256: <secret>, application: {:?} }}", self.application)
    }
}

/// Two entries have one key, but different applications: which one a login meant would be chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedApiKey {
    /// Position of the entry that came first.
    pub first: usize,
    /// Position of the entry that contradicts it.
    pub second: usize,
}

impl fmt::Display for SharedApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "API keys {} and {} are the same, but for different applications", self.first, self.second)
    }
}

impl std::error::Error for SharedApiKey {}

/// The API keys that a node accepts.
#[derive(Debug, Default)]
pub struct ApiKeys {
    entries: Vec<ApiKeyEntry>,
}

impl ApiKeys {
    /// Takes the accepted keys. The same key twice is fine for one application and refused for two.
    pub fn new(entries: Vec<ApiKeyEntry>) -> Result<Self, SharedApiKey> {
        for (second, entry) in entries.iter().enumerate() {
            let contradicts = |earlier: &ApiKeyEntry| {
                earlier.sha256 == entry.sha256 && earlier.application != entry.application
            };
            if let Some(first) = entries.iter().take(second).position(contradicts) {
                return Err(SharedApiKey { first, second });
            }
        }
        Ok(ApiKeys { entries })
    }

    /// The application that `presented` logs in to, or `None` if it is no accepted key.
    ///
    /// Looks at every entry whether or not one has matched, so the time taken tells neither which
    /// entry it was nor how close a wrong key came.
    pub fn authenticate(&self, presented: &str) -> Option<&str> {
        let digest: Zeroizing<[u8; 32]> = Zeroizing::new(Sha256::digest(presented.as_bytes()).into());
        let mut found = Choice::from(0);
        let mut position = 0u64;
        for (index, entry) in (0u64..).zip(&self.entries) {
            let same = digest.ct_eq(&entry.sha256);
            position.conditional_assign(&index, same);
            found |= same;
        }
        if !bool::from(found) {
            return None;
        }
        let position = usize::try_from(position).ok()?;
        self.entries.get(position).map(|entry| entry.application.as_str())
    }

    /// Whether nobody can log in.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The applications that can log in, each once, in order.
    pub fn applications(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.entries.iter().map(|entry| entry.application.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, application: &str) -> ApiKeyEntry {
        ApiKeyEntry { sha256: Sha256::digest(key).into(), application: application.to_owned() }
    }

    #[test]
    fn s101_a_key_logs_in_to_its_own_application_and_no_other_does() {
        let keys = ApiKeys::new(vec![entry("one", "a"), entry("two", "b"), entry("three", "a")]).unwrap();
        assert_eq!(keys.authenticate("one"), Some("a"));
        assert_eq!(keys.authenticate("two"), Some("b"));
        assert_eq!(keys.authenticate("three"), Some("a"));
        for wrong in ["", "One", "one ", "onetwo", "\0"] {
            assert_eq!(keys.authenticate(wrong), None, "{wrong:?}");
        }
        assert_eq!(keys.applications(), ["a", "b"]);
    }

    #[test]
    fn s101_the_hash_of_a_key_is_not_a_key() {
        let keys = ApiKeys::new(vec![entry("one", "a")]).unwrap();
        let hash: String = entry("one", "a").sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(keys.authenticate(&hash), None);
    }

    #[test]
    fn s101_without_entries_nobody_logs_in() {
        let keys = ApiKeys::default();
        assert!(keys.is_empty());
        assert_eq!(keys.authenticate(""), None);
    }

    #[test]
    fn one_key_twice_is_fine_for_one_application_only() {
        let keys = ApiKeys::new(vec![entry("one", "a"), entry("one", "a")]).unwrap();
        assert_eq!(keys.authenticate("one"), Some("a"));

        let shared = ApiKeys::new(vec![entry("x", "a"), entry("one", "a"), entry("one", "b")]).unwrap_err();
        assert_eq!(shared, SharedApiKey { first: 1, second: 2 });
    }

    #[test]
    fn s107_debug_shows_no_hash() {
        let text = format!("{:?}", ApiKeys::new(vec![entry("one", "a")]).unwrap());
        assert_eq!(text, r#"ApiKeys { entries: [ApiKeyEntry { sha256: <secret>, application: "a" }] }"#);
    }
}
