//! From partial signatures to a signature. Needs no node and no secret.

use tsm_crypto::ecdsa::{self, JoinError, PartialSignature, Signature};
use tsm_types::{ErrorCode, Failure, PlayerIndex};

use crate::public_key::PublicKey;

/// More bytes than any partial signature has: 32 signers on P-521 take a quarter of it.
const MAX_PARTIAL_BYTES: usize = 2048;

/// Joins the partial signatures of all signers of one session, or of one presignature, to a signature of `digest`.
///
/// The signature has been verified under the key that the partial signatures name. Where the nodes
/// are not trusted to name the right one, use [`finalise_for`].
///
/// Fails with [`ErrorCode::PartialsInvalid`], naming the players, if the parts do not belong
/// together or one is missing, and with [`ErrorCode::SignatureInvalid`] if they do but give no
/// valid signature.
pub fn finalise<P: AsRef<[u8]>>(digest: &[u8], partial_signatures: &[P]) -> Result<Signature, Failure> {
    join(digest, &read(partial_signatures)?)
}

/// Joins partial signatures as [`finalise`] does, and demands that the signature is of this key: of
/// the derived one, if it was signed at a path.
pub fn finalise_for<P: AsRef<[u8]>>(
    public_key: &PublicKey,
    digest: &[u8],
    partial_signatures: &[P],
) -> Result<Signature, Failure> {
    let partials = read(partial_signatures)?;
    for partial in &partials {
        if partial.common.curve != public_key.curve()
            || partial.common.public_key != public_key.sec1_compressed()
        {
            let signer = PlayerIndex(partial.signer);
            let detail = format!("the partial signature of player {signer} is for another public key");
            return Err(
                Failure::new(ErrorCode::PartialsInvalid, detail).about(signer, "signed with another key")
            );
        }
    }
    join(digest, &partials)
}

/// Verifies a signature, in DER or as r and s one after the other.
///
/// `public_key` is a DER SubjectPublicKeyInfo. Fails with [`ErrorCode::SignatureInvalid`], also
/// when the key or the digest's length is not possible.
pub fn verify(public_key: &[u8], digest: &[u8], signature: &[u8]) -> Result<(), Failure> {
    let invalid = |detail: &str| Failure::new(ErrorCode::SignatureInvalid, detail);
    let curve =
        ecdsa::curve_of(public_key).ok_or_else(|| invalid("the public key is on no supported curve"))?;
    if !ecdsa::verify(curve, public_key, digest, signature) {
        return Err(invalid("the signature is not one of this digest with this key"));
    }
    Ok(())
}

fn read<P: AsRef<[u8]>>(partial_signatures: &[P]) -> Result<Vec<PartialSignature>, Failure> {
    let read_one = |(place, bytes): (usize, &P)| {
        let bytes = bytes.as_ref();
        let partial = if bytes.len() > MAX_PARTIAL_BYTES { None } else { borsh::from_slice(bytes).ok() };
        partial.ok_or_else(|| {
            let detail = format!("number {} of the partial signatures is not readable", place + 1);
            Failure::new(ErrorCode::PartialsInvalid, detail)
        })
    };
    partial_signatures.iter().enumerate().map(read_one).collect()
}

fn join(digest: &[u8], partials: &[PartialSignature]) -> Result<Signature, Failure> {
    ecdsa::join(digest, partials).map_err(|error| {
        let (code, players, note) = match &error {
            JoinError::Malformed | JoinError::OtherDigest => (ErrorCode::PartialsInvalid, vec![], ""),
            JoinError::Foreign(one, other) => {
                (ErrorCode::PartialsInvalid, vec![*one, *other], "does not belong to the other's part")
            }
            JoinError::Twice(signer) => (ErrorCode::PartialsInvalid, vec![*signer], "given twice"),
            JoinError::Missing(signers) => (ErrorCode::PartialsInvalid, signers.clone(), "missing"),
            JoinError::Unverifiable => (ErrorCode::SignatureInvalid, vec![], ""),
        };
        let failure = Failure::new(code, error.to_string());
        players.into_iter().fold(failure, |failure, player| failure.about(PlayerIndex(player), note))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsm_crypto::curve::Field;
    use tsm_crypto::ecdsa::partial_of_whole_key;
    use tsm_crypto::hedged::test_rng;
    use tsm_crypto::{Curve, Secp256k1};

    const DIGEST: [u8; 32] = [7; 32];

    fn key(seed: u64) -> PublicKey {
        let secret = Secp256k1::random_scalar(&mut test_rng(seed));
        PublicKey::from_der(&Secp256k1::public_key_der(&Secp256k1::mul_generator(&secret))).unwrap()
    }

    /// The parts of players 0 and 4, whose parts happen to be everything and nothing.
    fn partials() -> [PartialSignature; 2] {
        let secret = Secp256k1::random_scalar(&mut test_rng(1));
        let nonce = Secp256k1::random_scalar(&mut test_rng(2));
        let mut everything = partial_of_whole_key::<Secp256k1>(&secret, &nonce, &DIGEST);
        everything.common.signers = vec![0, 4];
        let zero = Secp256k1::encode_scalar(&Field::ZERO);
        let nothing = PartialSignature { signer: 4, w: zero.clone(), u: zero, ..everything.clone() };
        [everything, nothing]
    }

    fn encoded(partials: &[PartialSignature]) -> Vec<Vec<u8>> {
        partials.iter().map(|partial| borsh::to_vec(partial).unwrap()).collect()
    }

    #[test]
    fn joined_signatures_verify_in_both_forms() {
        let signature = finalise_for(&key(1), &DIGEST, &encoded(&partials())).unwrap();
        assert_eq!(finalise(&DIGEST, &encoded(&partials())).as_ref(), Ok(&signature));
        assert!(verify(key(1).der(), &DIGEST, signature.der()).is_ok());
        assert!(verify(key(1).der(), &DIGEST, &signature.fixed()).is_ok());
        for (key, digest) in [(key(2).der(), [7; 32]), (key(1).der(), [8; 32]), (&[], [7; 32])] {
            let failure = verify(key, &digest, signature.der()).unwrap_err();
            assert_eq!(failure.code, ErrorCode::SignatureInvalid);
        }
    }

    /// Expects a refusal with `code` that names `players`.
    #[track_caller]
    fn refused(partials: &[Vec<u8>], code: ErrorCode, players: &[u16]) {
        let failure = finalise(&DIGEST, partials).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert_eq!(failure.players.iter().map(|concern| concern.player.0).collect::<Vec<_>>(), players);
    }

    #[test]
    fn s63_parts_that_do_not_belong_together_name_their_players() {
        use ErrorCode::{PartialsInvalid, SignatureInvalid};
        let [zero, four] = partials();
        refused(&[], PartialsInvalid, &[]);
        refused(&encoded(std::slice::from_ref(&zero)), PartialsInvalid, &[4]);
        refused(&encoded(std::slice::from_ref(&four)), PartialsInvalid, &[0]);
        refused(&encoded(&[zero.clone(), four.clone(), four.clone()]), PartialsInvalid, &[4]);
        let mut other_session = four.clone();
        other_session.common.session = [9; 32];
        // Either of the two may be the wrong one, whichever comes first.
        refused(&encoded(&[zero.clone(), other_session.clone()]), PartialsInvalid, &[0, 4]);
        refused(&encoded(&[other_session, zero.clone()]), PartialsInvalid, &[4, 0]);
        let mut wrong = four.clone();
        *wrong.w.last_mut().unwrap() = 1;
        refused(&encoded(&[zero, wrong]), SignatureInvalid, &[]);
    }

    #[test]
    fn an_unreadable_part_is_named_by_its_place() {
        let mut parts = encoded(&partials());
        for bad in [vec![], vec![0; 10_000], [parts[1].as_slice(), &[0]].concat(), parts[1][..9].to_vec()] {
            parts[1] = bad;
            let failure = finalise(&DIGEST, &parts).unwrap_err();
            assert_eq!(failure.code, ErrorCode::PartialsInvalid);
            assert!(failure.detail.contains("number 2"), "{failure}");
        }
    }

    #[test]
    fn the_digest_and_the_key_must_be_the_expected_ones() {
        let failure = finalise(&[8; 32], &encoded(&partials())).unwrap_err();
        assert_eq!(failure.code, ErrorCode::PartialsInvalid);
        let failure = finalise_for(&key(3), &DIGEST, &encoded(&partials())).unwrap_err();
        assert_eq!((failure.code, failure.players.len()), (ErrorCode::PartialsInvalid, 1));
    }
}
