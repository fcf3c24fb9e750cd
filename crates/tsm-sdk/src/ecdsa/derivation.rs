//! Keys below a key, without any node (`docs/spec/derivation.md`).

use tsm_crypto::derivation::Derived;
use tsm_crypto::xpub::{self, Place};
use tsm_crypto::{Curve, CurveId, Secp256k1, with_curve};
use tsm_types::{DerivationPath, ErrorCode, Failure};

use crate::public_key::PublicKey;

/// The public key at `path` below a key whose chain code is known: what the nodes sign with at that
/// path.
///
/// On secp256k1 the steps are those of BIP 32. On the other curves they are those of OpenTSM alone,
/// which no wallet knows.
///
/// Fails with [`ErrorCode::PathHardened`], [`ErrorCode::PathInvalid`] or [`ErrorCode::PathNoKey`].
pub fn derive_public_key(
    public_key: &PublicKey,
    chain_code: &[u8; 32],
    path: &[u32],
) -> Result<PublicKey, Failure> {
    Ok(ExtendedPublicKey::root(public_key.clone(), *chain_code).derive(path)?.public_key)
}

/// The chain code at `path` below a key. Fails as [`derive_public_key`].
pub fn derive_chain_code(
    public_key: &PublicKey,
    chain_code: &[u8; 32],
    path: &[u32],
) -> Result<[u8; 32], Failure> {
    Ok(ExtendedPublicKey::root(public_key.clone(), *chain_code).derive(path)?.chain_code)
}

/// Reads a path such as `m/44/0/1`; `m` and the empty text are the key itself.
///
/// Refuses hardened steps (`44'`, `44h`) with [`ErrorCode::PathHardened`], and what is no path with
/// [`ErrorCode::PathInvalid`].
pub fn parse_path(text: &str) -> Result<Vec<u32>, Failure> {
    Ok(text.parse::<DerivationPath>()?.to_vec())
}

/// A public key with its chain code, and where it stands in its tree.
///
/// Whoever has it sees all keys below, and signs with none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct ExtendedPublicKey {
    public_key: PublicKey,
    chain_code: [u8; 32],
    place: Place,
}

impl ExtendedPublicKey {
    /// A key as it was generated: depth 0 and no parent.
    pub fn root(public_key: PublicKey, chain_code: [u8; 32]) -> Self {
        ExtendedPublicKey { public_key, chain_code, place: Place::default() }
    }

    /// The key at `path` from its parent's public key and chain code: where a node's configuration
    /// does not show the root of the tree. The root, if the path is empty; then the arguments are
    /// the root's own.
    pub fn below(parent: PublicKey, parent_chain_code: [u8; 32], path: &[u32]) -> Result<Self, Failure> {
        let path = DerivationPath::new(path)?;
        let Some((last, earlier)) = path.split_last() else {
            return Ok(Self::root(parent, parent_chain_code));
        };
        // Only the depth of the parent enters a child; its own parent's fingerprint does not.
        let place = Place { depth: depth(earlier.len()), ..Place::default() };
        ExtendedPublicKey { public_key: parent, chain_code: parent_chain_code, place }.child(*last)
    }

    /// The key at the end of a path below this one. Fails as [`derive_public_key`].
    pub fn derive(&self, path: &[u32]) -> Result<Self, Failure> {
        let path = DerivationPath::new(path)?;
        if usize::from(self.place.depth) + path.len() > usize::from(u8::MAX) {
            return Err(Failure::new(ErrorCode::PathInvalid, "a tree is at most 255 steps deep"));
        }
        path.iter().try_fold(self.clone(), |key, step| key.child(*step))
    }

    fn child(&self, step: u32) -> Result<Self, Failure> {
        with_curve!(self.public_key.curve(), C => {
            let point = C::decode_point(self.public_key.sec1_compressed()).ok_or_else(not_a_key)?;
            let child = Derived::<C>::root(point, self.chain_code).child(step)?;
            Ok(ExtendedPublicKey {
                public_key: PublicKey::from_der(&C::public_key_der(child.point()))?,
                chain_code: *child.chain_code(),
                place: Place {
                    depth: self.place.depth.saturating_add(1),
                    parent: xpub::fingerprint(self.public_key.sec1_compressed()),
                    step,
                },
            })
        })
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The chain code.
    pub fn chain_code(&self) -> &[u8; 32] {
        &self.chain_code
    }

    /// Steps from the root of the tree.
    pub fn depth(&self) -> u8 {
        self.place.depth
    }

    /// `xpub...`, as BIP 32 writes it and wallets read it: from it they derive addresses by
    /// themselves, steps below 2^31 only.
    ///
    /// Fails with [`ErrorCode::CurveUnsupported`] on other curves than secp256k1, for which there is
    /// no such text.
    pub fn xpub(&self) -> Result<String, Failure> {
        let curve = self.public_key.curve();
        if curve != CurveId::Secp256k1 {
            let detail = format!("an xpub is a key on secp256k1; this one is on {curve}");
            return Err(Failure::new(ErrorCode::CurveUnsupported, detail));
        }
        let point = Secp256k1::decode_point(self.public_key.sec1_compressed()).ok_or_else(not_a_key)?;
        Ok(xpub::encode(&self.place, &self.chain_code, &point))
    }
}

impl std::fmt::Debug for ExtendedPublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ExtendedPublicKey {{ public_key: {:?}, depth: {}, .. }}",
            self.public_key, self.place.depth
        )
    }
}

fn depth(steps: usize) -> u8 {
    u8::try_from(steps).expect("a path has at most 50 steps")
}

fn not_a_key() -> Failure {
    Failure::new(ErrorCode::RequestInvalidField, "`public_key`: not a point of its curve")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    use bip32::{ChildNumber, Prefix, XPub};
    use tsm_crypto::hedged::test_rng;

    const CHAIN_CODE: [u8; 32] = [0x5a; 32];

    fn key(curve: CurveId) -> PublicKey {
        with_curve!(curve, C => {
            let secret = C::random_nonzero_scalar(&mut test_rng(11));
            PublicKey::from_der(&C::public_key_der(&C::mul_generator(&secret))).unwrap()
        })
    }

    fn root() -> ExtendedPublicKey {
        ExtendedPublicKey::root(key(CurveId::Secp256k1), CHAIN_CODE)
    }

    #[test]
    fn s89_a_foreign_wallet_library_reads_our_xpub_and_derives_the_same_keys_from_it() {
        for path in [&[][..], &[44], &[44, 0, 0], &[0, 2_147_483_647, 5, 1]] {
            let account = root().derive(path).unwrap();
            let text = account.xpub().unwrap();
            let wallet = XPub::from_str(&text).unwrap();
            assert_eq!(usize::from(wallet.attrs().depth), path.len());
            assert_eq!(wallet.attrs().child_number.0, path.last().copied().unwrap_or_default());
            assert_eq!(wallet.to_string(Prefix::XPUB), text);
            for step in [0, 1, 99, 2_147_483_647] {
                let theirs = wallet.derive_child(ChildNumber(step)).unwrap();
                let ours = account.derive(&[step]).unwrap();
                assert_eq!(ours.public_key().sec1_compressed(), theirs.to_bytes());
                assert_eq!(ours.xpub().unwrap(), theirs.to_string(Prefix::XPUB));
            }
        }
    }

    #[test]
    fn the_root_has_depth_0_and_no_parent() {
        let wallet = XPub::from_str(&root().xpub().unwrap()).unwrap();
        let attrs = wallet.attrs();
        assert_eq!((attrs.depth, attrs.parent_fingerprint, attrs.child_number.0), (0, [0; 4], 0));
        assert_eq!(attrs.chain_code, CHAIN_CODE);
    }

    #[test]
    fn an_extended_key_from_its_parent_is_the_one_from_the_root() {
        for path in [&[7][..], &[44, 0, 3]] {
            let parent = root().derive(&path[..path.len() - 1]).unwrap();
            let from_parent = ExtendedPublicKey::below(parent.public_key, parent.chain_code, path).unwrap();
            assert_eq!(from_parent, root().derive(path).unwrap());
        }
        let empty = ExtendedPublicKey::below(key(CurveId::Secp256k1), CHAIN_CODE, &[]).unwrap();
        assert_eq!(empty, root());
    }

    #[test]
    fn helpers_and_extended_keys_say_the_same_on_every_curve() {
        for curve in CurveId::ALL {
            let (key, path) = (key(curve), [3, 1, 4]);
            let extended = ExtendedPublicKey::root(key.clone(), CHAIN_CODE).derive(&path).unwrap();
            assert_eq!(&derive_public_key(&key, &CHAIN_CODE, &path).unwrap(), extended.public_key());
            assert_eq!(&derive_chain_code(&key, &CHAIN_CODE, &path).unwrap(), extended.chain_code());
            assert_eq!(derive_public_key(&key, &CHAIN_CODE, &[]).unwrap(), key);
            assert_eq!(extended.depth(), 3);
        }
    }

    #[test]
    fn there_is_no_xpub_on_another_curve() {
        for curve in [CurveId::P256, CurveId::P384, CurveId::P521] {
            let failure = ExtendedPublicKey::root(key(curve), CHAIN_CODE).xpub().unwrap_err();
            assert_eq!(failure.code, ErrorCode::CurveUnsupported);
        }
    }

    #[test]
    fn d1_s89_impossible_paths_are_refused_offline_with_the_codes_of_the_nodes() {
        let key = key(CurveId::Secp256k1);
        for (path, code) in [(vec![1 << 31], ErrorCode::PathHardened), (vec![0; 51], ErrorCode::PathInvalid)]
        {
            assert_eq!(derive_public_key(&key, &CHAIN_CODE, &path).unwrap_err().code, code);
            assert_eq!(derive_chain_code(&key, &CHAIN_CODE, &path).unwrap_err().code, code);
            assert_eq!(ExtendedPublicKey::below(key.clone(), CHAIN_CODE, &path).unwrap_err().code, code);
        }
        assert_eq!(parse_path("m/44'/0").unwrap_err().code, ErrorCode::PathHardened);
        assert_eq!(parse_path("m/x").unwrap_err().code, ErrorCode::PathInvalid);
        assert_eq!(parse_path("m/44/0"), Ok(vec![44, 0]));
        // BIP 32 counts the depth in one byte.
        let deep = (0..5).try_fold(root(), |key, _| key.derive(&[1; 50])).unwrap();
        assert_eq!(deep.derive(&[1; 6]).unwrap_err().code, ErrorCode::PathInvalid);
        assert_eq!(deep.derive(&[1; 5]).unwrap().depth(), 255);
    }
}
