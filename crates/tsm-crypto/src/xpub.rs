//! Extended public keys as BIP 32 writes them (docs/spec/derivation.md 5).

use ripemd::Ripemd160;
use sha2::{Digest, Sha256};

use crate::curve::{Curve, Secp256k1};

/// `xpub` in Base58: a public key of the main network.
const VERSION: [u8; 4] = [0x04, 0x88, 0xb2, 0x1e];

/// Where a key stands in its tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Steps from the root.
    pub depth: u8,
    /// [`fingerprint`] of the parent; zero at the root.
    pub parent: [u8; 4],
    /// The last step; zero at the root.
    pub step: u32,
}

/// The first bytes of RIPEMD-160 of SHA-256 of a compressed point.
pub fn fingerprint(compressed: &[u8]) -> [u8; 4] {
    let hash = Ripemd160::digest(Sha256::digest(compressed));
    [hash[0], hash[1], hash[2], hash[3]]
}

/// `xpub...`, 111 characters.
pub fn encode(place: &Place, chain_code: &[u8; 32], point: &<Secp256k1 as Curve>::Point) -> String {
    let mut bytes = VERSION.to_vec();
    bytes.push(place.depth);
    bytes.extend(place.parent);
    bytes.extend(place.step.to_be_bytes());
    bytes.extend(chain_code);
    bytes.extend(Secp256k1::encode_point(point));
    let checksum = Sha256::digest(Sha256::digest(&bytes));
    bytes.extend(&checksum[..4]);
    bs58::encode(bytes).into_string()
}
