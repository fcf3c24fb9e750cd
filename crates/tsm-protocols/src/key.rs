//! What a key generation leaves behind: a share, and a certificate that all holders signed
//! (docs/spec/key-generation.md).

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::{Curve, CurveId, Label, Secret, Transcript, with_curve};
use tsm_types::{Epoch, KeyId, PlayerIndex, Players, Threshold};
use zeroize::Zeroize;

/// All that is public about a key at one epoch. Every holder has the same.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Certificate {
    /// The key's name.
    pub key_id: KeyId,
    /// Curve of the key.
    pub curve: CurveId,
    /// Epoch of the shares.
    pub epoch: Epoch,
    /// Security threshold.
    pub threshold: Threshold,
    /// The holders, each with its identity key. Share numbers follow from their order.
    pub holders: Players,
    /// The public key X, SEC1 compressed.
    pub public_key: Vec<u8>,
    /// X_j = x_j·G for every holder, in the order of `holders`, SEC1 compressed.
    pub share_points: Vec<Vec<u8>>,
    /// Chain code, agreed by all holders (rule S-07).
    pub chain_code: [u8; 32],
    /// Session identifier of the key generation.
    pub ssid: [u8; 32],
}

impl Certificate {
    /// Hash over all fields: what holders sign and what signing sessions name (rule S-05).
    pub fn digest(&self) -> [u8; 32] {
        self.transcript().digest()
    }

    /// What holders sign.
    pub fn transcript(&self) -> Transcript {
        let encoded = borsh::to_vec(self).expect("encoding to memory cannot fail");
        Transcript::new(Label::Certificate).bytes("certificate", &encoded)
    }

    /// The public key as DER SubjectPublicKeyInfo.
    pub fn public_key_der(&self) -> Vec<u8> {
        with_curve!(self.curve, C => {
            let point = C::decode_point(&self.public_key).expect("checked when the certificate was made");
            C::public_key_der(&point)
        })
    }

    /// Whether the parts fit each other: counts, threshold, points on the curve.
    fn is_consistent(&self) -> bool {
        let decodes = |bytes: &Vec<u8>| with_curve!(self.curve, C => C::decode_point(bytes).is_some());
        self.threshold.value() < self.holders.len()
            && self.share_points.len() == self.holders.len()
            && decodes(&self.public_key)
            && self.share_points.iter().all(decodes)
    }
}

impl BorshDeserialize for Certificate {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let certificate = Certificate {
            key_id: BorshDeserialize::deserialize_reader(reader)?,
            curve: BorshDeserialize::deserialize_reader(reader)?,
            epoch: BorshDeserialize::deserialize_reader(reader)?,
            threshold: BorshDeserialize::deserialize_reader(reader)?,
            holders: BorshDeserialize::deserialize_reader(reader)?,
            public_key: BorshDeserialize::deserialize_reader(reader)?,
            share_points: BorshDeserialize::deserialize_reader(reader)?,
            chain_code: BorshDeserialize::deserialize_reader(reader)?,
            ssid: BorshDeserialize::deserialize_reader(reader)?,
        };
        certificate
            .is_consistent()
            .then_some(certificate)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "certificate contradicts itself"))
    }
}

/// A certificate with the signatures of all holders: the key is active.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedCertificate {
    /// What was signed.
    pub certificate: Certificate,
    /// A signature of every holder, made with its identity key.
    pub signatures: BTreeMap<PlayerIndex, Vec<u8>>,
}

impl SignedCertificate {
    /// Whether every holder, and nobody else, signed. Anybody may forward a complete certificate;
    /// whoever receives one calls this.
    pub fn is_complete(&self) -> bool {
        let transcript = self.certificate.transcript();
        self.signatures.len() == self.certificate.holders.len()
            && self.certificate.holders.iter().all(|(player, key)| {
                self.signatures.get(&player).is_some_and(|signature| key.verifies(&transcript, signature))
            })
    }
}

/// One holder's share of a key. Only [`KeyShare::new`] and the key generation make one: both know
/// that the secret fits the certificate.
#[non_exhaustive]
pub struct KeyShare {
    /// What is public about the key.
    pub certificate: Certificate,
    /// Whose share this is.
    pub holder: PlayerIndex,
    /// x_j, big endian.
    pub secret: Secret<Vec<u8>>,
}

impl fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "KeyShare {{ key_id: {}, holder: {:?}, secret: <secret> }}",
            self.certificate.key_id, self.holder
        )
    }
}

impl KeyShare {
    /// A share as it was stored. `None` if the secret does not belong to the certificate, which is
    /// checked here and nowhere else: a stale or mixed-up share is never used (rule S-80).
    pub fn new(certificate: Certificate, holder: PlayerIndex, secret: Secret<Vec<u8>>) -> Option<Self> {
        let share = KeyShare { certificate, holder, secret };
        share.is_consistent().then_some(share)
    }

    /// x_j·G = X_j.
    fn is_consistent(&self) -> bool {
        let Some(place) = self.certificate.holders.indices().position(|player| player == self.holder) else {
            return false;
        };
        with_curve!(self.certificate.curve, C => {
            let Some(mut secret) = C::decode_scalar(self.secret.expose()) else { return false };
            let point = C::encode_point(&C::mul_generator(&secret));
            secret.zeroize();
            self.certificate.share_points.get(place) == Some(&point)
        })
    }
}
