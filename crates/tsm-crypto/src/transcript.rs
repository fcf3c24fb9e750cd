//! The transcript: the one door to the hash function (spec 1).
//!
//! Every hash has a [`Label`], and its inputs are named fields with a type tag and a length, never
//! glued bytes: two different lists of fields never give the same hash input (rules S-08, S-09).

use std::hint::black_box;
use std::sync::LazyLock;

use crate::curve::{Curve, NonIdentityPoint};

/// Version of `docs/spec/`. Part of every label, so that two versions share no hash value (S-06).
pub const SPEC_VERSION: u32 = 1;

/// What a hash is used for. One variant per use; no two uses share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// Tag of a session: a hash over all that its players agree on.
    SessionTag,
    /// Session identifier of a protocol run, completed by everybody's fresh bytes.
    Ssid,
    /// Digest of all broadcasts of a round, for the echo.
    Echo,
    /// Commitment to a value.
    Commitment,
    /// Challenge of a proof of knowledge of a discrete logarithm.
    DlogProof,
    /// Randomness of a party: operating system, device secret and context together.
    HedgedRandomness,
    /// Device secret of a node, derived from its identity key.
    DeviceSecret,
    /// Hash into the base OT group.
    BaseOtMap,
    /// Key of one slot of a base OT.
    BaseOtKey,
    /// Key of one slot of a base OT that an extension gave.
    ExtendedOtKey,
    /// One level of a GGM tree.
    GgmLevel,
    /// Check strings of the leaves of a GGM tree.
    GgmCheck,
    /// Pseudorandom string of one leaf in one extension.
    ExtensionPrg,
    /// Challenges of the extension's consistency check.
    ExtensionCheck,
    /// Key of the pads of one extension.
    PadKey,
    /// Public gadget vector.
    Gadget,
    /// Challenges of the multiplication's check.
    VoleChallenge,
    /// Hash of the multiplication's check values.
    VoleCheck,
    /// Identifier of a pair's OT state.
    PairStateId,
    /// Seed of a pair's zero shares.
    ZeroShareSeed,
    /// One zero share of a pair.
    ZeroShare,
    /// Chain code from everybody's contributions.
    ChainCode,
    /// Key identifier drawn from a key generation.
    KeyId,
    /// Certificate of a key, as its holders sign it.
    Certificate,
    /// Key of the record cipher, derived from the stretched master password.
    StorageKey,
    /// Identifier of a presignature.
    PresignatureId,
    /// What signers tell each other of a batch of presignatures before it counts.
    PresignatureAcknowledgement,
    /// All that a presignature is used for: its re-randomisation.
    Presignature,
}

impl Label {
    /// All labels, for the test that no two have the same name.
    pub const ALL: &'static [Label] = &[
        Label::SessionTag,
        Label::Ssid,
        Label::Echo,
        Label::Commitment,
        Label::DlogProof,
        Label::HedgedRandomness,
        Label::DeviceSecret,
        Label::BaseOtMap,
        Label::BaseOtKey,
        Label::ExtendedOtKey,
        Label::GgmLevel,
        Label::GgmCheck,
        Label::ExtensionPrg,
        Label::ExtensionCheck,
        Label::PadKey,
        Label::Gadget,
        Label::VoleChallenge,
        Label::VoleCheck,
        Label::PairStateId,
        Label::ZeroShareSeed,
        Label::ZeroShare,
        Label::ChainCode,
        Label::KeyId,
        Label::Certificate,
        Label::StorageKey,
        Label::PresignatureId,
        Label::PresignatureAcknowledgement,
        Label::Presignature,
    ];

    /// The full context string under which BLAKE3 derives this label's own hash function.
    pub fn context(self) -> String {
        format!("OpenTSM spec {SPEC_VERSION} {self:?}")
    }
}

/// A list of named, typed, length-prefixed fields under one label, to be hashed.
///
/// The field's wire form is: type tag (1 byte), length of the name (1 byte), name, length of the
/// value (8 bytes, little endian), value. A list is a [`count`](Self::count) followed by its items.
///
/// The state of the hash has a place of its own: it takes 1.9 KB, and a transcript is handed on from field to
/// field.
#[derive(Clone)]
pub struct Transcript(Box<blake3::Hasher>);

/// The hash function of each label, in the order of [`Label::ALL`]: to derive one takes a hash, too.
static FUNCTIONS: LazyLock<Vec<blake3::Hasher>> = LazyLock::new(|| {
    Label::ALL.iter().map(|label| blake3::Hasher::new_derive_key(&label.context())).collect()
});

/// Bytes of a field before its value, at most: names are short.
const HEADER_BYTES: usize = 64;

const TAG_BYTES: u8 = 1;
const TAG_NUMBER: u8 = 2;
const TAG_COUNT: u8 = 3;
const TAG_POINT: u8 = 4;
const TAG_SCALAR: u8 = 5;

impl Transcript {
    /// An empty transcript for one use.
    pub fn new(label: Label) -> Self {
        Transcript(Box::new(FUNCTIONS[label as usize].clone()))
    }

    /// Appends a byte string.
    #[must_use]
    pub fn bytes(self, name: &'static str, value: &[u8]) -> Self {
        self.field(TAG_BYTES, name, value)
    }

    /// Appends an unsigned number.
    #[must_use]
    pub fn number(self, name: &'static str, value: u64) -> Self {
        self.field(TAG_NUMBER, name, &value.to_le_bytes())
    }

    /// Says how many items of a list follow.
    #[must_use]
    pub fn count(self, name: &'static str, items: usize) -> Self {
        self.field(TAG_COUNT, name, &(items as u64).to_le_bytes())
    }

    /// Appends a point in its fixed-length encoding.
    #[must_use]
    pub fn point<C: Curve>(self, name: &'static str, value: &NonIdentityPoint<C>) -> Self {
        self.field(TAG_POINT, name, value.encoded())
    }

    /// Appends a scalar, big endian.
    #[must_use]
    pub fn scalar<C: Curve>(self, name: &'static str, value: &C::Scalar) -> Self {
        self.field(TAG_SCALAR, name, &C::encode_scalar(value))
    }

    /// The 32-byte hash of all fields.
    pub fn digest(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }

    /// Fills `out` with as many bytes of the extendable output as it holds.
    pub fn fill(&self, out: &mut [u8]) {
        self.0.finalize_xof().fill(out);
    }

    /// A scalar, by wide reduction of the extendable output: statistically close to uniform.
    pub fn challenge<C: Curve>(&self) -> C::Scalar {
        let mut wide = C::Wide::default();
        self.fill(wide.as_mut());
        C::reduce_wide(&wide)
    }

    /// The extendable output as a stream, for long outputs read piece by piece.
    pub fn stream(&self) -> TranscriptStream {
        TranscriptStream(self.0.finalize_xof())
    }

    fn field(mut self, tag: u8, name: &'static str, value: &[u8]) -> Self {
        let name_len = u8::try_from(name.len()).expect("field names are short literals");
        let mut header = [0; HEADER_BYTES];
        let fields = [&[tag, name_len], name.as_bytes(), &(value.len() as u64).to_le_bytes()];
        let mut end = 0;
        for field in fields {
            header[end..][..field.len()].copy_from_slice(field);
            end += field.len();
        }
        self.0.update(&header[..end]);
        self.0.update(value);
        self
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        // What was hashed may be secret, and the last of it stands in the state as it was.
        self.0.reset();
        black_box(&self.0);
    }
}

/// The extendable output of a [`Transcript`], read from its beginning.
pub struct TranscriptStream(blake3::OutputReader);

impl TranscriptStream {
    /// Fills `out` with the next bytes of the stream.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn s09_no_two_labels_share_a_context() {
        let contexts: BTreeSet<String> = Label::ALL.iter().map(|l| l.context()).collect();
        assert_eq!(contexts.len(), Label::ALL.len());
    }

    #[test]
    fn every_label_has_the_function_of_its_own_context() {
        for label in Label::ALL {
            let other = blake3::Hasher::new_derive_key(&label.context())
                .update(b"\x01\x01a\x02\0\0\0\0\0\0\0xy")
                .finalize();
            assert_eq!(Transcript::new(*label).bytes("a", b"xy").digest(), *other.as_bytes(), "{label:?}");
        }
    }

    #[test]
    fn s06_labels_carry_the_spec_version() {
        assert!(Label::ALL.iter().all(|l| l.context().contains("spec 1 ")));
    }

    #[test]
    fn s08_moving_a_byte_between_fields_changes_the_hash() {
        let one = Transcript::new(Label::Echo).bytes("a", b"xy").bytes("b", b"z");
        let two = Transcript::new(Label::Echo).bytes("a", b"x").bytes("b", b"yz");
        assert_ne!(one.digest(), two.digest());
    }

    #[test]
    fn s08_a_number_is_not_its_bytes() {
        let one = Transcript::new(Label::Echo).number("a", 1);
        let two = Transcript::new(Label::Echo).bytes("a", &1u64.to_le_bytes());
        assert_ne!(one.digest(), two.digest());
    }

    proptest! {
        #[test]
        fn s08_distinct_field_lists_have_distinct_hashes(
            a in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..4),
            b in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..4),
        ) {
            let hash = |list: &[Vec<u8>]| {
                list.iter().fold(Transcript::new(Label::Echo), |t, f| t.bytes("f", f)).digest()
            };
            prop_assert_eq!(a == b, hash(&a) == hash(&b));
        }
    }
}
