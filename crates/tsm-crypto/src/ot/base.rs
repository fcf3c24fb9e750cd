//! Base OT: endemic OT in one flight (Masny-Rindal, eprint 2019/706) over ristretto255, 128
//! instances per direction (`docs/spec/ot.md` 2).
//!
//! The paper's ⊕ is the *group operation* (rule S-46). The group has prime order and a uniform map
//! from 64 bytes, so there is no cofactor and no encoding to XOR. A (who will send extended OTs) is
//! the receiver here; B is the sender. Both messages cross: neither depends on the other.
//!
//! Points are made as halves and encoded by doubling: 2·P of a whole list is encoded with one
//! inversion, and in a group of odd order doubling loses nothing.

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use rand_core::CryptoRng;
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, Zeroizing};

use super::{DELTA_BITS, Seed};
use crate::transcript::{Label, Transcript};

/// A point as it is sent.
pub(super) type Encoded = [u8; 32];

/// The receiver's message: r_0 and r_1 of each instance.
pub(super) type ReceiverPoints = [[Encoded; 2]; DELTA_BITS];

/// The sender's message: B_i of each instance.
pub(super) type SenderPoints = [Encoded; DELTA_BITS];

/// One direction of one pair in one set-up: part of every hash below (rule S-04).
#[derive(Clone, Copy)]
pub(super) struct Direction<'a> {
    pub(super) ssid: &'a [u8; 32],
    pub(super) a: u16,
    pub(super) b: u16,
    pub(super) a_identity: &'a [u8],
    pub(super) b_identity: &'a [u8],
}

impl Direction<'_> {
    pub(super) fn transcript(&self, label: Label) -> Transcript {
        Transcript::new(label)
            .bytes("ssid", self.ssid)
            .number("a", u64::from(self.a))
            .number("b", u64::from(self.b))
            .bytes("a identity", self.a_identity)
            .bytes("b identity", self.b_identity)
    }

    /// M, the hash to the group.
    fn map(&self) -> Map {
        Map(self.transcript(Label::BaseOtMap))
    }

    /// The hash to keys. `pair` is the identifier of the pair's state, complete after flight 1.
    fn keys(&self, pair: &[u8; 32]) -> Keys {
        Keys(self.transcript(Label::BaseOtKey).bytes("pair", pair))
    }
}

/// M with the fields that all of its hashes begin with.
struct Map(Transcript);

impl Map {
    /// Half of M for slot `slot` of instance `index`.
    fn half(&self, index: usize, slot: u8, other: &Encoded) -> RistrettoPoint {
        let mut uniform = [0u8; 64];
        self.0
            .clone()
            .number("instance", index as u64)
            .number("slot", u64::from(slot))
            .bytes("other", other)
            .fill(&mut uniform);
        RistrettoPoint::from_uniform_bytes(&uniform)
    }
}

/// The hash to keys with the fields that all of them begin with.
struct Keys(Transcript);

impl Keys {
    /// The key of slot `slot` of instance `index`: everything both sides saw, and twice the point
    /// that only they can compute.
    fn key(
        &self,
        index: usize,
        slot: u8,
        sender: &Encoded,
        receiver: &[Encoded; 2],
        shared: &CompressedRistretto,
    ) -> Seed {
        let mut key = [0; 16];
        self.0
            .clone()
            .number("instance", index as u64)
            .number("slot", u64::from(slot))
            .bytes("B", sender)
            .bytes("r0", &receiver[0])
            .bytes("r1", &receiver[1])
            .bytes("shared", shared.as_bytes())
            .fill(&mut key);
        key
    }
}

/// A's secrets between the flights: choice bits (bit i of the word) and the scalars a_i.
pub(super) struct BaseReceiver {
    choices: u128,
    scalars: Vec<Scalar>,
}

impl BaseReceiver {
    /// Steps 2.1 to 2.3.
    pub(super) fn new(
        direction: &Direction<'_>,
        choices: u128,
        rng: &mut dyn CryptoRng,
    ) -> (Self, Box<ReceiverPoints>) {
        // Step 2.2: the slots that are not wanted get points whose logarithm nobody knows.
        let mut halves: Vec<RistrettoPoint> = (0..DELTA_BITS).map(|_| random_point(rng)).collect();
        let mut unwanted = RistrettoPoint::double_and_compress_batch(&halves);
        // Step 2.3: r_c = A - M(c, r_{1-c}).
        let map = direction.map();
        let mut scalars = Vec::with_capacity(DELTA_BITS);
        for (index, (half, unwanted)) in halves.iter_mut().zip(&unwanted).enumerate() {
            let scalar = random_scalar(rng);
            let slot = choice(choices, index);
            *half = RistrettoPoint::mul_base(&scalar) - map.half(index, slot, unwanted.as_bytes());
            scalars.push(scalar + scalar);
        }
        let mut wanted = RistrettoPoint::double_and_compress_batch(&halves);
        let mut points = Box::new([[[0; 32]; 2]; DELTA_BITS]);
        for (index, (pair, (wanted, unwanted))) in
            points.iter_mut().zip(wanted.iter().zip(&unwanted)).enumerate()
        {
            *pair = [wanted.to_bytes(), unwanted.to_bytes()];
            let [zero, one] = pair;
            let swap = Choice::from(choice(choices, index));
            for (zero, one) in zero.iter_mut().zip(one) {
                u8::conditional_swap(zero, one, swap);
            }
        }
        halves.zeroize();
        wanted.zeroize();
        unwanted.zeroize();
        (BaseReceiver { choices, scalars }, points)
    }

    /// Step 2.6: the keys of the chosen slots. `None` if a point is malformed (check N2).
    pub(super) fn keys(
        &self,
        direction: &Direction<'_>,
        pair: &[u8; 32],
        mine: &ReceiverPoints,
        theirs: &SenderPoints,
    ) -> Option<[Seed; DELTA_BITS]> {
        let mut points = Zeroizing::new(Vec::with_capacity(DELTA_BITS));
        for (scalar, point) in self.scalars.iter().zip(theirs) {
            points.push(scalar * decode(point)?);
        }
        let shared = Zeroizing::new(RistrettoPoint::double_and_compress_batch(points.iter()));
        let hash = direction.keys(pair);
        let mut keys = [[0; 16]; DELTA_BITS];
        for (index, (key, shared)) in keys.iter_mut().zip(shared.iter()).enumerate() {
            let slot = choice(self.choices, index);
            *key = hash.key(index, slot, &theirs[index], &mine[index], shared);
        }
        Some(keys)
    }
}

impl Drop for BaseReceiver {
    fn drop(&mut self) {
        self.choices.zeroize();
        self.scalars.zeroize();
    }
}

/// B's secrets between the flights: the scalars b_i.
pub(super) struct BaseSender {
    scalars: Vec<Scalar>,
}

impl BaseSender {
    /// Step 2.4: a fresh scalar for each instance.
    pub(super) fn new(rng: &mut dyn CryptoRng) -> (Self, Box<SenderPoints>) {
        let mut scalars: Vec<Scalar> = (0..DELTA_BITS).map(|_| random_scalar(rng)).collect();
        let halves: Vec<RistrettoPoint> = scalars.iter().map(RistrettoPoint::mul_base).collect();
        let mut points = Box::new([[0; 32]; DELTA_BITS]);
        for (point, encoded) in points.iter_mut().zip(RistrettoPoint::double_and_compress_batch(&halves)) {
            *point = encoded.to_bytes();
        }
        scalars.iter_mut().for_each(|scalar| *scalar += *scalar);
        (BaseSender { scalars }, points)
    }

    /// Step 2.5: the keys of both slots. `None` if a point is malformed (check N2).
    pub(super) fn keys(
        &self,
        direction: &Direction<'_>,
        pair: &[u8; 32],
        mine: &SenderPoints,
        theirs: &ReceiverPoints,
    ) -> Option<[[Seed; 2]; DELTA_BITS]> {
        let map = direction.map();
        let mut points = Zeroizing::new(Vec::with_capacity(2 * DELTA_BITS));
        for (index, (scalar, encoded)) in self.scalars.iter().zip(theirs).enumerate() {
            for (slot, this, other) in [(0, 0, 1), (1, 1, 0)] {
                let half = map.half(index, slot, &encoded[other]);
                points.push(scalar * (decode(&encoded[this])? + half + half));
            }
        }
        let shared = Zeroizing::new(RistrettoPoint::double_and_compress_batch(points.iter()));
        let hash = direction.keys(pair);
        let mut keys = [[[0; 16]; 2]; DELTA_BITS];
        for (index, (slots, shared)) in keys.iter_mut().zip(shared.chunks_exact(2)).enumerate() {
            for (slot, (key, shared)) in (0..).zip(slots.iter_mut().zip(shared)) {
                *key = hash.key(index, slot, &mine[index], &theirs[index], shared);
            }
        }
        Some(keys)
    }
}

impl Drop for BaseSender {
    fn drop(&mut self) {
        self.scalars.zeroize();
    }
}

/// Check N2: canonical, in the group, not the identity (rule S-24).
fn decode(bytes: &Encoded) -> Option<RistrettoPoint> {
    CompressedRistretto(*bytes).decompress().filter(|point| !point.is_identity())
}

/// Choice bit `index`, as 0 or 1.
fn choice(choices: u128, index: usize) -> u8 {
    ((choices >> index) & 1) as u8
}

fn random_point(rng: &mut dyn CryptoRng) -> RistrettoPoint {
    let mut uniform = [0u8; 64];
    rng.fill_bytes(&mut uniform);
    let point = RistrettoPoint::from_uniform_bytes(&uniform);
    uniform.zeroize();
    point
}

fn random_scalar(rng: &mut dyn CryptoRng) -> Scalar {
    let mut wide = [0u8; 64];
    rng.fill_bytes(&mut wide);
    let scalar = Scalar::from_bytes_mod_order_wide(&wide);
    wide.zeroize();
    scalar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hedged::test_rng;
    use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;

    const DIRECTION: Direction<'static> =
        Direction { ssid: &[1; 32], a: 3, b: 5, a_identity: b"alice", b_identity: b"bob" };
    const PAIR: [u8; 32] = [9; 32];
    const CHOICES: u128 = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978;

    #[test]
    fn s46_the_receiver_gets_exactly_the_chosen_key_of_each_instance() {
        let mut rng = test_rng(1);
        let (receiver, r) = BaseReceiver::new(&DIRECTION, CHOICES, &mut rng);
        let (sender, b) = BaseSender::new(&mut rng);
        let chosen = receiver.keys(&DIRECTION, &PAIR, &r, &b).unwrap();
        let both = sender.keys(&DIRECTION, &PAIR, &b, &r).unwrap();
        for i in 0..DELTA_BITS {
            let c = ((CHOICES >> i) & 1) as usize;
            assert_eq!(chosen[i], both[i][c]);
            assert_ne!(chosen[i], both[i][1 - c]);
        }
        let mut all: Vec<Seed> = both.iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2 * DELTA_BITS);
    }

    #[test]
    fn s46_a_second_computation_from_the_definition_gives_the_same_keys() {
        // By the discrete logarithms instead of the points: a_i from r_c + M(c, r_{1-c}) = a_i G.
        let mut rng = test_rng(2);
        let (receiver, r) = BaseReceiver::new(&DIRECTION, CHOICES, &mut rng);
        let (sender, b) = BaseSender::new(&mut rng);
        let chosen = receiver.keys(&DIRECTION, &PAIR, &r, &b).unwrap();
        for i in 0..DELTA_BITS {
            let c = ((CHOICES >> i) & 1) as usize;
            let mut uniform = [0u8; 64];
            DIRECTION
                .transcript(Label::BaseOtMap)
                .number("instance", i as u64)
                .number("slot", c as u64)
                .bytes("other", &r[i][1 - c])
                .fill(&mut uniform);
            let half = RistrettoPoint::from_uniform_bytes(&uniform);
            let a = CompressedRistretto(r[i][c]).decompress().unwrap() + half + half;
            assert_eq!(a, receiver.scalars[i] * RISTRETTO_BASEPOINT_POINT);
            assert_eq!(
                CompressedRistretto(b[i]).decompress().unwrap(),
                sender.scalars[i] * RISTRETTO_BASEPOINT_POINT
            );
            let shared = (receiver.scalars[i] * sender.scalars[i]) * RISTRETTO_BASEPOINT_POINT;
            let shared = shared + shared;
            let mut key = [0u8; 16];
            DIRECTION
                .transcript(Label::BaseOtKey)
                .bytes("pair", &PAIR)
                .number("instance", i as u64)
                .number("slot", c as u64)
                .bytes("B", &b[i])
                .bytes("r0", &r[i][0])
                .bytes("r1", &r[i][1])
                .bytes("shared", shared.compress().as_bytes())
                .fill(&mut key);
            assert_eq!(chosen[i], key);
        }
    }

    #[test]
    fn s46_what_a_passive_observer_sees_does_not_depend_on_the_choice() {
        // The published leak showed in which slot decodes, or in a biased bit of an encoding.
        // Count, for both choices, each bit of both slots over 2560 instances: five standard
        // deviations of a fair coin are 127.
        for choices in [0, u128::MAX] {
            let mut ones = [[0i32; 256]; 2];
            for seed in 0..20 {
                let (_, r) = BaseReceiver::new(&DIRECTION, choices, &mut test_rng(seed));
                for slots in r.iter() {
                    for (slot, counts) in slots.iter().zip(&mut ones) {
                        assert!(decode(slot).is_some());
                        for (bit, count) in counts.iter_mut().enumerate() {
                            *count += i32::from((slot[bit / 8] >> (bit % 8)) & 1);
                        }
                    }
                }
            }
            for counts in ones {
                // Bit 0 (sign) and bit 255 are zero in every canonical ristretto encoding.
                assert_eq!((counts[0], counts[255]), (0, 0));
                for count in &counts[1..255] {
                    assert!((count - 1280).abs() < 127, "{count}");
                }
            }
        }
    }

    #[test]
    fn s46_every_field_of_the_context_and_both_messages_enter_the_keys() {
        let mut rng = test_rng(3);
        let (receiver, r) = BaseReceiver::new(&DIRECTION, CHOICES, &mut rng);
        let (_, b) = BaseSender::new(&mut rng);
        let honest = receiver.keys(&DIRECTION, &PAIR, &r, &b).unwrap();
        let mut moved = r.clone();
        moved.iter_mut().for_each(|pair| pair.swap(0, 1));
        let others = [
            receiver.keys(&Direction { ssid: &[2; 32], ..DIRECTION }, &PAIR, &r, &b),
            receiver.keys(&Direction { a: 5, b: 3, ..DIRECTION }, &PAIR, &r, &b),
            receiver.keys(&Direction { a: 4, ..DIRECTION }, &PAIR, &r, &b),
            receiver.keys(&Direction { b: 4, ..DIRECTION }, &PAIR, &r, &b),
            receiver.keys(&Direction { a_identity: b"x", ..DIRECTION }, &PAIR, &r, &b),
            receiver.keys(&Direction { b_identity: b"x", ..DIRECTION }, &PAIR, &r, &b),
            receiver.keys(&DIRECTION, &[8; 32], &r, &b),
            receiver.keys(&DIRECTION, &PAIR, &moved, &b),
        ];
        for other in others {
            let other = other.unwrap();
            assert!((0..DELTA_BITS).all(|i| other[i] != honest[i]));
        }
    }

    #[test]
    fn n2_points_that_are_not_canonical_or_are_the_identity_are_refused() {
        assert!(decode(&[0; 32]).is_none(), "identity");
        assert!(decode(&[0xff; 32]).is_none(), "not canonical");
        let mut negative = RISTRETTO_BASEPOINT_POINT.compress().to_bytes();
        negative[0] |= 1;
        assert!(decode(&negative).is_none(), "negative");
        assert!(decode(&RISTRETTO_BASEPOINT_POINT.compress().to_bytes()).is_some());
    }
}
