//! Shares of zero (`docs/spec/ot.md` 7): of each pair, the lower index adds what the higher
//! subtracts, so that the sum over all pairs of a session is zero.

use zeroize::Zeroize;

use super::PairState;
use crate::curve::Curve;
use crate::secret::Secret;
use crate::transcript::{Label, Transcript};

/// This player's part of its pair's share of zero in the run `ssid`.
///
/// `me` and `peer` are player indices of the session; the peer computes the negative of this. Every
/// run needs its own `ssid`: under a repeated one the share repeats.
pub fn pair_share<C: Curve>(pair: &PairState, ssid: &[u8; 32], me: u16, peer: u16) -> Secret<C::Scalar> {
    let mut share = Transcript::new(Label::ZeroShare)
        .bytes("curve", C::ID.name().as_bytes())
        .bytes("seed", pair.zero_share_seed().expose())
        .bytes("pair", &pair.id())
        .bytes("ssid", ssid)
        .number("lower", u64::from(me.min(peer)))
        .number("higher", u64::from(me.max(peer)))
        .challenge::<C>();
    // Indices are public.
    let signed = Secret::new(if me < peer { share } else { -share });
    share.zeroize();
    signed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Field, P256, P384, P521, Secp256k1};
    use crate::ot::tests::honest_pair;

    fn shares_cancel<C: Curve>() {
        let (one, two) = honest_pair(1);
        let a = pair_share::<C>(&one, &[5; 32], 2, 7);
        let b = pair_share::<C>(&two, &[5; 32], 7, 2);
        assert!(bool::from((*a.expose() + b.expose()).is_zero()));
        assert!(!bool::from(a.expose().is_zero()));
    }

    #[test]
    fn the_shares_of_a_pair_sum_to_zero_on_every_curve() {
        shares_cancel::<Secp256k1>();
        shares_cancel::<P256>();
        shares_cancel::<P384>();
        shares_cancel::<P521>();
    }

    #[test]
    fn another_run_other_players_or_another_pair_have_other_shares() {
        let (one, _) = honest_pair(1);
        let (other, _) = honest_pair(2);
        let share = |pair: &PairState, ssid: u8, me, peer| {
            *pair_share::<Secp256k1>(pair, &[ssid; 32], me, peer).expose()
        };
        let shares =
            [share(&one, 5, 2, 7), share(&one, 6, 2, 7), share(&one, 5, 2, 8), share(&other, 5, 2, 7)];
        for i in 0..shares.len() {
            for j in 0..i {
                assert_ne!(shares[i], shares[j]);
            }
        }
    }
}
