//! Identifiers: strings with a rule, checked once.

use std::fmt;
use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::CryptoRng;

use crate::failure::Failure;

/// Defines a checked string identifier: its rule, its refusal, and its encodings.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, field: $field:literal, longest: $longest:literal, allowed: $allowed:expr, rule: $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks the rule; the refusal repeats it.
            pub fn new(value: impl Into<String>) -> Result<Self, Failure> {
                let value = value.into();
                let allowed: fn(u8) -> bool = $allowed;
                if value.is_empty() || value.len() > $longest || !value.bytes().all(allowed) {
                    return Err(Failure::invalid_field($field, $rule));
                }
                Ok($name(value))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl BorshSerialize for $name {
            fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
                BorshSerialize::serialize(&self.0, writer)
            }
        }

        impl BorshDeserialize for $name {
            fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
                let value = String::deserialize_reader(reader)?;
                $name::new(value).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, $rule))
            }
        }
    };
}

identifier!(
    /// The caller's name for one run, the same at every node. Never used twice by one application
    /// for different requests.
    SessionId, field: "session_id", longest: 128, allowed: |b| b.is_ascii_graphic(),
    rule: "a session ID has 1 to 128 visible ASCII characters without spaces"
);

identifier!(
    /// Name of a key, the same at all its holders.
    KeyId, field: "key_id", longest: 64, allowed: |b| b.is_ascii_alphanumeric(),
    rule: "a key ID has 1 to 64 ASCII letters and digits"
);

identifier!(
    /// The tenant that an SDK login maps to. Keys belong to an application.
    ApplicationId, field: "application_id", longest: 64, allowed: |b| b.is_ascii_graphic(),
    rule: "an application ID has 1 to 64 visible ASCII characters without spaces"
);

impl SessionId {
    /// A fresh session ID: 32 random bytes as unpadded URL-safe base64, 43 characters.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        use base64::Engine;
        let mut bytes = [0u8; 32];
        rng.fill_bytes(&mut bytes);
        SessionId(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl KeyId {
    /// Length of a key ID that the system chooses.
    pub const GENERATED_LENGTH: usize = 28;

    /// The key ID that a uniform stream of bytes stands for: 28 letters and digits.
    ///
    /// Every holder computes it from the same transcript of the key generation.
    pub fn from_stream(mut next: impl FnMut() -> u8) -> Self {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut id = String::with_capacity(Self::GENERATED_LENGTH);
        while id.len() < Self::GENERATED_LENGTH {
            // 248 is the largest multiple of 62 in a byte: beyond it letters would be uneven.
            let byte = next();
            if byte < 248 {
                id.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
            }
        }
        KeyId(id)
    }
}

/// How often a key's shares have been renewed: 0 after key generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_keep_their_rules() {
        assert!(SessionId::new("").is_err());
        assert!(SessionId::new("a b").is_err());
        assert!(SessionId::new("x".repeat(129)).is_err());
        assert!(SessionId::new("line\nbreak").is_err());
        assert!(SessionId::new("x".repeat(128)).is_ok());
        assert!(KeyId::new("with-dash").is_err());
        assert!(KeyId::new("k".repeat(65)).is_err());
        assert!(KeyId::new("key1").is_ok());
    }

    #[test]
    fn a_generated_session_id_has_43_url_safe_characters() {
        let id = SessionId::generate(&mut tsm_crypto::hedged::test_rng(1));
        assert_eq!(id.as_str().len(), 43);
        assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    }

    #[test]
    fn a_generated_key_id_has_28_letters_and_digits() {
        let mut byte = 0u8;
        let id = KeyId::from_stream(|| {
            byte = byte.wrapping_add(97);
            byte
        });
        assert_eq!(KeyId::new(id.as_str()), Ok(id.clone()));
        assert_eq!(id.as_str().len(), 28);
    }
}
