//! The record key: from the master password by Argon2id, and how it seals.
//!
//! A sealed record is: schema version (1 byte), key id (1), nonce (24), ciphertext, tag (16). The
//! associated data names the place of the record, so that a row moved elsewhere does not open.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use tsm_crypto::{Label, Secret, Transcript};

use crate::{RecordId, SCHEMA_VERSION, Sealed, StoreError};

/// Cost of stretching the master password with Argon2id.
///
/// A store remembers the cost it was made with; these numbers matter only when a store is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Stretch {
    /// 64 MiB, three passes, one lane: RFC 9106, 4, the second recommendation, with one lane.
    fn default() -> Self {
        Stretch { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

impl Stretch {
    /// The cheapest Argon2id there is, for tests and simulations.
    pub const CHEAPEST: Stretch = Stretch { memory_kib: 8, passes: 1, lanes: 1 };

    /// A header is read before it can be authenticated: these limits keep a forged one from taking all
    /// memory or all time.
    const MOST: Stretch = Stretch { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

    fn params(self) -> Option<Params> {
        let most = Self::MOST;
        if self.memory_kib > most.memory_kib || self.passes > most.passes || self.lanes > most.lanes {
            return None;
        }
        Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES)).ok()
    }
}

/// What a store says in the clear about one of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHeader {
    /// The key id that sealed records carry.
    pub key_id: u8,
    /// Cost of stretching the password.
    pub stretch: Stretch,
    /// Drawn when the key was made.
    pub salt: [u8; SALT_BYTES],
    /// Something known, sealed under the key: it opens under the right password only.
    pub check: Sealed,
}

/// A key that seals records.
pub(crate) struct RecordKey {
    id: u8,
    key: Secret<[u8; KEY_BYTES]>,
}

impl RecordKey {
    /// Makes the first key of a new store, and its header.
    pub(crate) fn create(password: &[u8], stretch: Stretch) -> Result<(KeyHeader, RecordKey), StoreError> {
        let mut salt = [0; SALT_BYTES];
        fill_random(&mut salt)?;
        let mut header = KeyHeader { key_id: FIRST_KEY, stretch, salt, check: Sealed(Vec::new()) };
        let params = stretch.params().ok_or_else(|| {
            StoreError::configuration(format!(
                "the cost of stretching the master password is out of range: {stretch:?}"
            ))
        })?;
        let key = Self::derive(password, &header, params)?;
        header.check = key.seal_with(&check_data(&header), CHECK_TEXT)?;
        Ok((header, key))
    }

    /// The key of a header, if the password is right.
    pub(crate) fn unlock(password: &[u8], header: &KeyHeader) -> Result<RecordKey, StoreError> {
        let params = header.stretch.params().ok_or_else(|| {
            StoreError::damaged(format!("the cost of its password is out of range: {:?}", header.stretch))
        })?;
        let key = Self::derive(password, header, params)?;
        match key.open_with(&check_data(header), &header.check) {
            Some(text) if text.expose() == CHECK_TEXT => Ok(key),
            Some(_) | None => Err(StoreError::WrongPassword),
        }
    }

    pub(crate) fn id(&self) -> u8 {
        self.id
    }

    /// Seals a record for its place.
    pub(crate) fn seal(&self, id: &RecordId, plaintext: &[u8]) -> Result<Sealed, StoreError> {
        self.seal_with(&record_data(self.id, id), plaintext)
    }

    /// Opens a record found at a place; `None` if it was not sealed for it under this key.
    pub(crate) fn open(&self, id: &RecordId, sealed: &Sealed) -> Option<Secret<Vec<u8>>> {
        self.open_with(&record_data(self.id, id), sealed)
    }

    fn derive(password: &[u8], header: &KeyHeader, params: Params) -> Result<Self, StoreError> {
        let failed = |e: &dyn fmt::Display| {
            StoreError::unavailable(format!("stretching the master password failed: {e}"))
        };
        // Its last block gives the master key away, and Argon2 does not wipe the memory it allocates itself.
        let mut memory: Secret<Vec<Block>> = Secret::new(Vec::new());
        let blocks = params.block_count();
        memory.expose_mut().try_reserve_exact(blocks).map_err(|e| failed(&e))?;
        memory.expose_mut().resize(blocks, Block::default());
        let mut master = Secret::new([0; KEY_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                password,
                &header.salt,
                master.expose_mut(),
                memory.expose_mut().as_mut_slice(),
            )
            .map_err(|e| failed(&e))?;
        let key = Transcript::new(Label::StorageKey)
            .number("schema", SCHEMA_VERSION.into())
            .number("key", header.key_id.into())
            .bytes("master", master.expose())
            .digest();
        Ok(RecordKey { id: header.key_id, key: Secret::new(key) })
    }

    fn seal_with(&self, associated_data: &[u8], plaintext: &[u8]) -> Result<Sealed, StoreError> {
        let mut nonce = [0; NONCE_BYTES];
        fill_random(&mut nonce)?;
        // The plaintext is copied once, to where the ciphertext will be. The capacity is exact, so that
        // no growth leaves a copy behind.
        let mut sealed = Vec::with_capacity(HEAD_BYTES + plaintext.len() + TAG_BYTES);
        sealed.extend_from_slice(&[FORM, self.id]);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let (_, body) = sealed.split_at_mut(HEAD_BYTES);
        let tag = self
            .cipher()
            .encrypt_inout_detached(&XNonce::from(nonce), associated_data, body.into())
            .expect("a record is shorter than the 256 GiB of one nonce");
        sealed.extend_from_slice(&tag);
        Ok(Sealed(sealed))
    }

    fn open_with(&self, associated_data: &[u8], sealed: &Sealed) -> Option<Secret<Vec<u8>>> {
        let (form, rest) = sealed.0.split_first()?;
        let (key_id, rest) = rest.split_first()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        if *form != FORM || *key_id != self.id {
            return None;
        }
        let mut plaintext = Secret::new(body.to_vec());
        self.cipher()
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                associated_data,
                plaintext.expose_mut().as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .ok()?;
        Some(plaintext)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.key.expose().into())
    }
}

/// The key under which a record says it is sealed.
pub(crate) fn key_id(sealed: &Sealed) -> Option<u8> {
    sealed.0.get(1).copied()
}

const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const HEAD_BYTES: usize = 2 + NONCE_BYTES;
/// First byte of a sealed record: the schema version under which it was sealed.
const FORM: u8 = SCHEMA_VERSION as u8;
/// Key id 0 is left for "none".
const FIRST_KEY: u8 = 1;
const CHECK_TEXT: &[u8] = b"the master password is right";

/// Associated data of a record. Only the last part has no length before it, so two places never have the
/// same bytes.
fn record_data(key_id: u8, id: &RecordId) -> Vec<u8> {
    let mut data = b"OpenTSM record".to_vec();
    data.extend_from_slice(&SCHEMA_VERSION.to_le_bytes());
    data.push(key_id);
    data.extend_from_slice(&id.kind.number().to_le_bytes());
    data.extend_from_slice(&(id.application.len() as u64).to_le_bytes());
    data.extend_from_slice(id.application.as_bytes());
    data.extend_from_slice(id.name.as_bytes());
    data
}

/// Associated data of a check value: no record has the same.
fn check_data(header: &KeyHeader) -> Vec<u8> {
    let mut data = b"OpenTSM check".to_vec();
    data.extend_from_slice(&SCHEMA_VERSION.to_le_bytes());
    data.push(header.key_id);
    for number in [header.stretch.memory_kib, header.stretch.passes, header.stretch.lanes] {
        data.extend_from_slice(&number.to_le_bytes());
    }
    data.extend_from_slice(&header.salt);
    data
}

fn fill_random(bytes: &mut [u8]) -> Result<(), StoreError> {
    getrandom::fill(bytes)
        .map_err(|e| StoreError::unavailable(format!("the system gave no random bytes: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecordKind;

    #[test]
    fn two_sealings_of_the_same_record_differ() {
        let key = key();
        let id = RecordId::new(RecordKind::KeyShare, "a", "k");
        assert_ne!(key.seal(&id, b"x").unwrap(), key.seal(&id, b"x").unwrap());
    }

    #[test]
    fn a_record_opens_under_its_own_id_only() {
        let key = key();
        let ids = [
            RecordId::new(RecordKind::KeyShare, "ab", "c"),
            RecordId::new(RecordKind::ProvisionalKey, "ab", "c"),
            RecordId::new(RecordKind::KeyShare, "a", "bc"),
            RecordId::new(RecordKind::KeyShare, "", "abc"),
            RecordId::new(RecordKind::KeyShare, "abc", ""),
        ];
        for sealed_as in &ids {
            let sealed = key.seal(sealed_as, b"x").unwrap();
            for read_as in &ids {
                assert_eq!(key.open(read_as, &sealed).is_some(), sealed_as == read_as);
            }
        }
    }

    #[test]
    fn s27_no_prefix_and_no_flipped_bit_of_a_record_opens() {
        let key = key();
        let id = RecordId::new(RecordKind::KeyShare, "a", "k");
        let sealed = key.seal(&id, b"four").unwrap();
        for length in 0..sealed.0.len() {
            assert!(key.open(&id, &Sealed(sealed.0[..length].to_vec())).is_none(), "{length}");
            for bit in 0..8 {
                let mut flipped = sealed.clone();
                flipped.0[length] ^= 1 << bit;
                assert!(key.open(&id, &flipped).is_none(), "{length} {bit}");
            }
        }
        let mut longer = sealed.clone();
        longer.0.push(0);
        assert!(key.open(&id, &longer).is_none());
        assert_eq!(key.open(&id, &sealed).unwrap().expose(), b"four");
    }

    #[test]
    fn a_header_that_asks_for_too_much_is_refused_before_it_is_tried() {
        let (mut header, _) = RecordKey::create(b"password", Stretch::CHEAPEST).unwrap();
        header.stretch.memory_kib = u32::MAX;
        assert!(matches!(RecordKey::unlock(b"password", &header), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_header_with_another_cost_is_another_password() {
        let (mut header, _) = RecordKey::create(b"password", Stretch::CHEAPEST).unwrap();
        header.stretch.passes += 1;
        assert!(matches!(RecordKey::unlock(b"password", &header), Err(StoreError::WrongPassword)));
    }

    #[test]
    fn the_highest_cost_is_taken_and_none_above_it() {
        let taken = |memory_kib, passes, lanes| Stretch { memory_kib, passes, lanes }.params().is_some();
        assert!(taken(1_048_576, 1, 1) && !taken(1_048_577, 1, 1));
        assert!(taken(8, 16, 1) && !taken(8, 17, 1));
        assert!(taken(128, 1, 16) && !taken(136, 1, 17));
    }

    #[test]
    fn a_header_is_one_of_this_key_only_with_all_that_it_says() {
        let (header, key) = RecordKey::create(b"password", Stretch::CHEAPEST).unwrap();
        // Under the same cipher key, as neither its number nor another text changes that.
        let renamed = KeyHeader { key_id: 2, ..header.clone() };
        assert!(matches!(RecordKey::unlock(b"password", &renamed), Err(StoreError::WrongPassword)));
        let check = key.seal_with(&check_data(&header), b"another text").unwrap();
        let other = KeyHeader { check, ..header };
        assert!(matches!(RecordKey::unlock(b"password", &other), Err(StoreError::WrongPassword)));
    }

    #[test]
    fn a_check_is_bound_to_all_that_its_header_says_and_to_no_record() {
        let (header, _) = RecordKey::create(b"password", Stretch::CHEAPEST).unwrap();
        let stretch = header.stretch;
        let mut salt = header.salt;
        salt[31] ^= 1;
        let changed = [
            header.clone(),
            KeyHeader { key_id: 2, ..header.clone() },
            KeyHeader { stretch: Stretch { memory_kib: 9, ..stretch }, ..header.clone() },
            KeyHeader { stretch: Stretch { passes: 2, ..stretch }, ..header.clone() },
            KeyHeader { stretch: Stretch { lanes: 2, ..stretch }, ..header.clone() },
            KeyHeader { salt, ..header },
        ];
        let data: std::collections::BTreeSet<Vec<u8>> = changed.iter().map(check_data).collect();
        assert_eq!(data.len(), changed.len());
        assert!(data.iter().all(|data| data.starts_with(b"OpenTSM check")));
    }

    #[test]
    fn a_record_says_under_which_key_it_is_sealed() {
        let key = RecordKey { id: 7, ..key() };
        let sealed = key.seal(&RecordId::new(RecordKind::KeyShare, "a", "k"), b"x").unwrap();
        assert_eq!((key.id(), key_id(&sealed)), (7, Some(7)));
        assert_eq!(key_id(&Sealed(vec![FORM])), None);
    }

    #[test]
    fn the_form_of_a_record_holds_the_schema_version() {
        assert_eq!(u32::from(FORM), SCHEMA_VERSION);
    }

    fn key() -> RecordKey {
        RecordKey::create(b"password", Stretch::CHEAPEST).unwrap().1
    }
}
