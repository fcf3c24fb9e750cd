//! Randomness that survives a broken random number generator (rules S-38, S-69).
//!
//! A run's generator is seeded from the operating system's randomness, a secret of this device and
//! the run's context together. If the first fails, two different runs still never share a nonce;
//! if the second leaks, the first protects.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;

use crate::secret::Secret;
use crate::transcript::{Label, Transcript};

/// A generator for one run of one protocol.
///
/// * `fresh`: 32 bytes of the operating system.
/// * `device`: a secret that only this node knows ([`crate::IdentityKey::device_secret`]).
/// * `context`: what tells this run from every other (session tag, phase, time, counter).
pub fn hedged_rng(fresh: &Secret<[u8; 32]>, device: &Secret<[u8; 32]>, context: &[u8]) -> ChaCha20Rng {
    let mut seed = Transcript::new(Label::HedgedRandomness)
        .bytes("fresh", fresh.expose())
        .bytes("device", device.expose())
        .bytes("context", context)
        .digest();
    let rng = ChaCha20Rng::from_seed(seed);
    zeroize::Zeroize::zeroize(&mut seed);
    rng
}

/// A generator for tests: the same sequence for the same number.
#[doc(hidden)]
pub fn test_rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::Rng;

    #[test]
    fn s38_a_constant_operating_system_rng_never_repeats_across_sessions() {
        let fresh = Secret::new([0; 32]);
        let device = Secret::new([1; 32]);
        let one = hedged_rng(&fresh, &device, b"session 1").next_u64();
        let two = hedged_rng(&fresh, &device, b"session 2").next_u64();
        assert_ne!(one, two);
    }

    #[test]
    fn s38_fresh_bytes_and_device_secret_both_count() {
        let first = |fresh: u8, device: u8| {
            hedged_rng(&Secret::new([fresh; 32]), &Secret::new([device; 32]), b"session").next_u64()
        };
        assert_ne!(first(0, 0), first(1, 0));
        assert_ne!(first(0, 0), first(0, 1));
    }
}
