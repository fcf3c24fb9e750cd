//! Set-up of a pair: three flights (`docs/spec/ot.md` 1 to 3 and 4.5).
//!
//! The two sides differ. In the pair's *first direction* the player of lower index is A, and its base
//! OTs are done with points; in the *second direction* the other player is A, and its base OTs are
//! taken from an extension of the first.
//!
//! 1. Both at once: 32 fresh secret bytes, and the points of the base OTs.
//! 2. Higher to lower: the first direction's trees, and an extension for the second's base OTs.
//! 3. Lower to higher: the second direction's trees.
//!
//! All must travel over the pair's authenticated and confidential channel.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::base::{BaseReceiver, BaseSender, Direction, ReceiverPoints, SenderPoints};
use super::extension::{self, Binding, ExtensionMessage, MAX_BLOCKS, Purpose};
use super::ggm::{TreeMessage, Trees};
use super::pair::{PairState, ReceiverHalf, SenderHalf};
use super::{CheckFailed, DELTA_BITS, ExtensionContext, Seed, bit128};
use crate::secret::Secret;
use crate::transcript::{Label, Transcript};

/// Who sets up with whom, and in which session.
#[derive(Clone, Copy)]
pub struct SetupContext<'a> {
    /// Session in which the set-up runs.
    pub ssid: &'a [u8; 32],
    /// This player's index.
    pub me: u16,
    /// The peer's index, different from `me`.
    pub peer: u16,
    /// This player's identity key, DER.
    pub my_identity: &'a [u8],
    /// The peer's identity key, DER.
    pub peer_identity: &'a [u8],
}

/// Why a set-up ended. Nothing of it may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// The peer sent what no honest player sends (class P): checks N1, N2.
    Malformed(&'static str),
    /// This secret-dependent check failed (class S): N3 or N4.
    CheckFailed(&'static str),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Malformed(what) => write!(f, "malformed set-up message: {what}"),
            SetupError::CheckFailed(_) => CheckFailed.fmt(f),
        }
    }
}

impl std::error::Error for SetupError {}

/// First message of the lower index: 8,224 bytes.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct LowerFlight1 {
    /// Secret of the pair, from which the zero shares come.
    fresh: [u8; 32],
    points: Box<ReceiverPoints>,
}

/// First message of the higher index: 4,128 bytes.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct HigherFlight1 {
    /// Secret of the pair, from which the zero shares come.
    fresh: [u8; 32],
    points: Box<SenderPoints>,
}

/// Second message of the higher index: 8,272 bytes.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct HigherFlight2 {
    trees: Box<TreeMessage>,
    extension: ExtensionMessage<SecondDirection>,
}

/// Second message of the lower index: 5,152 bytes.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct LowerFlight2 {
    trees: Box<TreeMessage>,
}

/// The extension that gives one OT for each bit of the second direction's Δ.
struct SecondDirection;

impl Purpose for SecondDirection {
    const CHOICE_BITS: usize = DELTA_BITS;
    const NAME: &'static str = "pair set-up";
}

/// The lower index, with flight 1 on its way. Secrets are wiped on drop.
pub struct LowerStarted {
    context: OwnedContext,
    delta: Secret<u128>,
    base: BaseReceiver,
    mine: LowerFlight1,
}

impl LowerStarted {
    /// Draws Δ and everything else of this side, and makes flight 1.
    ///
    /// # Panics
    ///
    /// If this player's index is not the lower one.
    pub fn new(context: SetupContext<'_>, rng: &mut dyn CryptoRng) -> (Self, LowerFlight1) {
        assert!(context.me < context.peer, "the lower index starts as the lower one");
        let context = OwnedContext::new(&context);
        let delta = random_delta(rng);
        let mut fresh = random_bytes(rng);
        // Step 2.1: the choice bits are the complements of the bits of Δ.
        let (base, points) = BaseReceiver::new(&context.first(), !*delta.expose(), rng);
        let flight = LowerFlight1 { fresh, points: points.clone() };
        let mine = LowerFlight1 { fresh, points };
        fresh.zeroize();
        (LowerStarted { context, delta, base, mine }, flight)
    }

    /// Takes the peer's flight 1.
    ///
    /// # Errors
    ///
    /// [`SetupError::Malformed`] if our own fresh bytes came back (check N1) or a point is malformed
    /// (check N2).
    pub fn answer(self, theirs: &HigherFlight1) -> Result<LowerAnswered, SetupError> {
        let common = self.context.agree(&self.mine, theirs)?;
        // Step 2.6, check N2.
        let mut chosen = self
            .base
            .keys(&self.context.first(), &common.id, &self.mine.points, &theirs.points)
            .ok_or(SetupError::Malformed("N2 base-OT sender point"))?;
        let keys = Secret::new(chosen);
        chosen.zeroize();
        Ok(LowerAnswered { context: self.context, common, delta: self.delta, keys })
    }
}

/// The lower index, waiting for the trees of the first direction. Secrets are wiped on drop.
pub struct LowerAnswered {
    context: OwnedContext,
    common: Common,
    delta: Secret<u128>,
    keys: Secret<[Seed; DELTA_BITS]>,
}

impl LowerAnswered {
    /// Takes the peer's flight 2; gives the pair's state, and this side's flight 2, without which the
    /// peer has none.
    ///
    /// # Errors
    ///
    /// [`SetupError::CheckFailed`] (checks N3, N4): everything drawn here is gone, Δ included.
    pub fn finish(
        self,
        theirs: &HigherFlight2,
        rng: &mut dyn CryptoRng,
    ) -> Result<(PairState, LowerFlight2), SetupError> {
        let LowerAnswered { context, common, delta, keys } = self;
        let pair = &common.id;
        // Section 3 as A of the first direction, check N3.
        let leaves = Trees::new(&context.first(), pair)
            .evaluate(*delta.expose(), keys.expose(), &theirs.trees)
            .map_err(|CheckFailed| SetupError::CheckFailed("N3 trees"))?;
        let sender = SenderHalf { delta, leaves };
        // Step 4.5.2 and check N4.
        let binding = context.binding(pair, theirs.extension.nonce);
        let rows = extension::send(*sender.delta.expose(), &sender.leaves, &binding, &theirs.extension)
            .map_err(|CheckFailed| SetupError::CheckFailed("N4 extension"))?;
        // Step 4.5.3: the keys of both slots.
        let mut both = Zeroizing::new([[[0; 16]; 2]; DELTA_BITS]);
        for (index, (slots, row)) in both.iter_mut().zip(rows.0.as_flattened()).enumerate() {
            *slots = [
                context.extended_key(pair, index, 0, *row),
                context.extended_key(pair, index, 1, row ^ sender.delta.expose()),
            ];
        }
        // Section 3 as B of the second direction.
        let (leaves, trees) = Trees::new(&context.second(), pair).build(&both, rng);
        let state = PairState::new(common.id, sender, ReceiverHalf { leaves }, common.zero_share_seed);
        Ok((state, LowerFlight2 { trees }))
    }
}

/// The higher index, with flight 1 on its way. Secrets are wiped on drop.
pub struct HigherStarted {
    context: OwnedContext,
    delta: Secret<u128>,
    base: BaseSender,
    mine: HigherFlight1,
}

impl HigherStarted {
    /// Draws Δ and everything else of this side, and makes flight 1.
    ///
    /// # Panics
    ///
    /// If this player's index is not the higher one.
    pub fn new(context: SetupContext<'_>, rng: &mut dyn CryptoRng) -> (Self, HigherFlight1) {
        assert!(context.me > context.peer, "the higher index starts as the higher one");
        let context = OwnedContext::new(&context);
        let delta = random_delta(rng);
        let mut fresh = random_bytes(rng);
        let (base, points) = BaseSender::new(rng);
        let flight = HigherFlight1 { fresh, points: points.clone() };
        let mine = HigherFlight1 { fresh, points };
        fresh.zeroize();
        (HigherStarted { context, delta, base, mine }, flight)
    }

    /// Takes the peer's flight 1 and makes flight 2.
    ///
    /// # Errors
    ///
    /// [`SetupError::Malformed`] if our own fresh bytes came back (check N1) or a point is malformed
    /// (check N2).
    pub fn answer(
        self,
        theirs: &LowerFlight1,
        rng: &mut dyn CryptoRng,
    ) -> Result<(HigherAnswered, HigherFlight2), SetupError> {
        let HigherStarted { context, delta, base, mine } = self;
        let common = context.agree(theirs, &mine)?;
        let pair = &common.id;
        // Step 2.5, check N2.
        let both = base
            .keys(&context.first(), pair, &mine.points, &theirs.points)
            .ok_or(SetupError::Malformed("N2 base-OT receiver point"))?;
        let both = Zeroizing::new(both);
        // Section 3 as B of the first direction.
        let (leaves, trees) = Trees::new(&context.first(), pair).build(&both, rng);
        // Step 4.5.1: the choice bits are the complements of the bits of Δ.
        let nonce = random_bytes(rng);
        let mut choices = Secret::new([0; MAX_BLOCKS]);
        let mut check_bits = random_bytes(rng);
        choices.expose_mut()[0] = !*delta.expose();
        choices.expose_mut()[1] = u128::from_le_bytes(check_bits);
        check_bits.zeroize();
        let (choices, rows, extension) = extension::receive(&leaves, &context.binding(pair, nonce), choices);
        // Step 4.5.3: the keys of the chosen slots.
        let mut keys = Secret::new([[0; 16]; DELTA_BITS]);
        let chosen = choices.expose()[0];
        for (index, (key, row)) in keys.expose_mut().iter_mut().zip(rows.0.as_flattened()).enumerate() {
            *key = context.extended_key(pair, index, bit128(chosen, index) as u8, *row);
        }
        let answered = HigherAnswered { context, common, delta, keys, receiver: ReceiverHalf { leaves } };
        Ok((answered, HigherFlight2 { trees, extension }))
    }
}

/// The higher index, with flight 2 on its way. Secrets are wiped on drop.
pub struct HigherAnswered {
    context: OwnedContext,
    common: Common,
    delta: Secret<u128>,
    keys: Secret<[Seed; DELTA_BITS]>,
    receiver: ReceiverHalf,
}

impl HigherAnswered {
    /// Takes the peer's flight 2 and gives the pair's state.
    ///
    /// # Errors
    ///
    /// [`SetupError::CheckFailed`] (check N3): everything drawn here is gone, Δ included.
    pub fn finish(self, theirs: &LowerFlight2) -> Result<PairState, SetupError> {
        let HigherAnswered { context, common, delta, keys, receiver } = self;
        // Section 3 as A of the second direction, check N3.
        let leaves = Trees::new(&context.second(), &common.id)
            .evaluate(*delta.expose(), keys.expose(), &theirs.trees)
            .map_err(|CheckFailed| SetupError::CheckFailed("N3 trees"))?;
        let sender = SenderHalf { delta, leaves };
        Ok(PairState::new(common.id, sender, receiver, common.zero_share_seed))
    }
}

/// What both sides know after flight 1.
struct Common {
    id: [u8; 32],
    zero_share_seed: Secret<[u8; 32]>,
}

/// Step 1.1: of each pair and direction its own (rule S-45).
fn random_delta(rng: &mut dyn CryptoRng) -> Secret<u128> {
    let mut bytes = random_bytes(rng);
    let delta = Secret::new(u128::from_le_bytes(bytes));
    bytes.zeroize();
    delta
}

fn random_bytes<const N: usize>(rng: &mut dyn CryptoRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Both players, with the lower index first.
struct OwnedContext {
    ssid: [u8; 32],
    players: [(u16, Vec<u8>); 2],
}

impl OwnedContext {
    fn new(context: &SetupContext<'_>) -> Self {
        let mut players =
            [(context.me, context.my_identity.to_vec()), (context.peer, context.peer_identity.to_vec())];
        players.sort_by_key(|(index, _)| *index);
        OwnedContext { ssid: *context.ssid, players }
    }

    /// The lower index is A.
    fn first(&self) -> Direction<'_> {
        let [lower, higher] = &self.players;
        self.direction(lower, higher)
    }

    /// The higher index is A.
    fn second(&self) -> Direction<'_> {
        let [lower, higher] = &self.players;
        self.direction(higher, lower)
    }

    fn direction<'a>(&'a self, a: &'a (u16, Vec<u8>), b: &'a (u16, Vec<u8>)) -> Direction<'a> {
        Direction { ssid: &self.ssid, a: a.0, b: b.0, a_identity: &a.1, b_identity: &b.1 }
    }

    /// Steps 1.2 and 1.3, check N1.
    fn agree(&self, lower: &LowerFlight1, higher: &HigherFlight1) -> Result<Common, SetupError> {
        if bool::from(lower.fresh.ct_eq(&higher.fresh)) {
            return Err(SetupError::Malformed("N1 fresh bytes are our own"));
        }
        let id = self.state_id(lower, higher);
        let seed = self
            .first()
            .transcript(Label::ZeroShareSeed)
            .bytes("pair", &id)
            .bytes("fresh of the lower", &lower.fresh)
            .bytes("fresh of the higher", &higher.fresh)
            .digest();
        Ok(Common { id, zero_share_seed: Secret::new(seed) })
    }

    /// Step 1.2: over the whole of both first flights.
    fn state_id(&self, lower: &LowerFlight1, higher: &HigherFlight1) -> [u8; 32] {
        self.first()
            .transcript(Label::PairStateId)
            .bytes("fresh of the lower", &lower.fresh)
            .bytes("points of the lower", lower.points.as_flattened().as_flattened())
            .bytes("fresh of the higher", &higher.fresh)
            .bytes("points of the higher", higher.points.as_flattened())
            .digest()
    }

    /// The extension of the first direction, in which the lower index is A.
    fn binding(&self, pair: &[u8; 32], nonce: [u8; 32]) -> Binding {
        let [(sender, _), (receiver, _)] = &self.players;
        let context = ExtensionContext { ssid: &self.ssid, sender: *sender, receiver: *receiver };
        Binding::new(*pair, &context, nonce)
    }

    /// Step 4.5.3: the key of slot `slot` of base OT `index` of the second direction. The slot may be
    /// secret; it is hashed.
    fn extended_key(&self, pair: &[u8; 32], index: usize, slot: u8, row: u128) -> Seed {
        let mut row = row.to_le_bytes();
        let transcript: Transcript = self
            .second()
            .transcript(Label::ExtendedOtKey)
            .bytes("pair", pair)
            .number("instance", index as u64)
            .number("slot", u64::from(slot))
            .bytes("row", &row);
        row.zeroize();
        let mut key = [0; 16];
        transcript.fill(&mut key);
        key
    }
}

/// Secrets and their types' names are not for printing, and the fresh bytes are secret.
macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

opaque!(LowerStarted, LowerAnswered, HigherStarted, HigherAnswered);
opaque!(LowerFlight1, LowerFlight2, HigherFlight1, HigherFlight2);

impl Drop for LowerFlight1 {
    fn drop(&mut self) {
        self.fresh.zeroize();
    }
}

impl Drop for HigherFlight1 {
    fn drop(&mut self) {
        self.fresh.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hedged::test_rng;
    use crate::ot::tests::{PAIR_1, PAIR_2, honest_pair};

    type Lower = (LowerStarted, LowerFlight1);
    type Higher = (HigherStarted, HigherFlight1);

    fn hellos(seed: u64) -> (Lower, Higher) {
        (
            LowerStarted::new(PAIR_1, &mut test_rng(seed)),
            HigherStarted::new(PAIR_2, &mut test_rng(seed + 1000)),
        )
    }

    /// Both sides with the higher one's second flight on its way.
    fn answers(seed: u64) -> (LowerAnswered, HigherAnswered, HigherFlight2) {
        let ((lower, f), (higher, g)) = hellos(seed);
        let (higher, flight) = higher.answer(&f, &mut test_rng(4)).unwrap();
        (lower.answer(&g).unwrap(), higher, flight)
    }

    fn changed<T: BorshSerialize + BorshDeserialize>(message: &T, position: usize) -> T {
        let mut bytes = borsh::to_vec(message).unwrap();
        bytes[position] ^= 1;
        borsh::from_slice(&bytes).unwrap()
    }

    #[test]
    fn both_sides_get_the_same_state_id_and_the_peer_knows_all_leaves_but_those_of_delta() {
        let (one, two) = honest_pair(1);
        assert_eq!(one.id(), two.id());
        for (a, b) in [(&one, &two), (&two, &one)] {
            a.judge(|judged| {
                let half = judged.sender;
                for (chunk, (known, all)) in half.leaves.iter().zip(b.receiver().leaves.iter()).enumerate() {
                    let missing = (half.delta.expose() >> (chunk * super::super::TREE_DEPTH)) as usize
                        % super::super::LEAVES;
                    for leaf in 0..super::super::LEAVES {
                        assert_eq!(known[leaf] == all[leaf], leaf != missing);
                    }
                }
                Ok::<(), ()>(())
            })
            .unwrap();
        }
    }

    #[test]
    fn s46_the_second_direction_has_exactly_the_chosen_key_of_each_instance() {
        // What only one side computes, computed for both.
        let (lower, higher, flight) = answers(1);
        let pair = &lower.common.id;
        let delta = *lower.delta.expose();
        let leaves = Trees::new(&lower.context.first(), pair)
            .evaluate(delta, lower.keys.expose(), &flight.trees)
            .unwrap();
        let binding = lower.context.binding(pair, flight.extension.nonce);
        let rows = extension::send(delta, &leaves, &binding, &flight.extension).unwrap();
        let mut all = Vec::new();
        for (index, row) in rows.0.as_flattened()[..DELTA_BITS].iter().enumerate() {
            let slots = [(0, *row), (1, row ^ delta)]
                .map(|(slot, row)| lower.context.extended_key(pair, index, slot, row));
            let chosen = 1 - ((*higher.delta.expose() >> index) & 1) as usize;
            assert_eq!(slots[chosen], higher.keys.expose()[index]);
            all.extend(slots);
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2 * DELTA_BITS);
    }

    #[test]
    fn the_flights_have_the_documented_sizes_and_only_one_encoding() {
        fn check<T: BorshSerialize + BorshDeserialize>(message: &T, size: usize) {
            let bytes = borsh::to_vec(message).unwrap();
            assert_eq!(bytes.len(), size);
            assert_eq!(borsh::to_vec(&borsh::from_slice::<T>(&bytes).unwrap()).unwrap(), bytes);
            for wrong in [&bytes[..size - 1], &[bytes.as_slice(), &[0]].concat()] {
                assert!(borsh::from_slice::<T>(wrong).is_err());
            }
        }
        let ((_, f), (_, g)) = hellos(1);
        check(&f, 8_224);
        check(&g, 4_128);
        let (lower, _, flight) = answers(1);
        check(&flight, 8_272);
        check(&lower.finish(&flight, &mut test_rng(5)).unwrap().1, 5_152);
    }

    #[test]
    fn n1_our_own_fresh_bytes_sent_back_are_refused_by_both() {
        let ((lower, mut f), (higher, mut g)) = hellos(1);
        let (mine, theirs) = (f.fresh, g.fresh);
        g.fresh = mine;
        f.fresh = theirs;
        assert_eq!(lower.answer(&g).err(), Some(SetupError::Malformed("N1 fresh bytes are our own")));
        let refused = higher.answer(&f, &mut test_rng(3)).err();
        assert_eq!(refused, Some(SetupError::Malformed("N1 fresh bytes are our own")));
    }

    #[test]
    fn n2_every_malformed_point_is_refused_and_is_the_peers_fault() {
        for (instance, slot, bad) in [(0, 0, [0; 32]), (64, 1, [0xff; 32]), (127, 1, [0; 32])] {
            let ((_, mut f), (higher, _)) = hellos(1);
            f.points[instance][slot] = bad;
            let error = higher.answer(&f, &mut test_rng(3)).err();
            assert!(matches!(error, Some(SetupError::Malformed(_))), "{error:?}");
        }
        let spoils: [fn(&mut SenderPoints); 3] =
            [|b| b[0] = [0; 32], |b| b[127] = [0xff; 32], |b| b[63][0] |= 1];
        for spoil in spoils {
            let ((lower, _), (_, mut g)) = hellos(1);
            spoil(&mut g.points);
            let error = lower.answer(&g).err();
            assert!(matches!(error, Some(SetupError::Malformed(_))), "{error:?}");
        }
    }

    #[test]
    fn n3_a_flight_2_of_another_set_up_or_a_spoiled_one_is_refused_by_both() {
        let n3 = Some(SetupError::CheckFailed("N3 trees"));
        let (_, _, replayed) = answers(2);
        assert_eq!(answers(1).0.finish(&replayed, &mut test_rng(5)).err(), n3);
        let (lower, _, mut spoiled) = answers(1);
        spoiled.trees.sums[7][7] ^= 1;
        assert_eq!(lower.finish(&spoiled, &mut test_rng(5)).err(), n3);

        let last = |seed| {
            let (lower, higher, flight) = answers(seed);
            (higher, lower.finish(&flight, &mut test_rng(5)).unwrap().1)
        };
        let (higher, honest) = last(1);
        assert!(higher.finish(&honest).is_ok());
        assert_eq!(last(1).0.finish(&last(2).1).err(), n3);
        let (higher, mut spoiled) = last(1);
        spoiled.trees.sums[7][7] ^= 1;
        assert_eq!(higher.finish(&spoiled).err(), n3);
    }

    #[test]
    fn n4_any_changed_part_of_the_extension_is_refused() {
        let (_, _, flight) = answers(1);
        // Nonce, u, x̃, t̃: first and last byte of each.
        for position in [5_152, 5_183, 5_184, 6_207, 6_208, 6_223, 6_224, 8_271] {
            let error = answers(1).0.finish(&changed(&flight, position), &mut test_rng(5)).err();
            assert_eq!(error, Some(SetupError::CheckFailed("N4 extension")), "{position}");
        }
    }

    #[test]
    fn n4_an_extension_of_another_set_up_is_refused() {
        let (lower, _, mut flight) = answers(1);
        flight.extension = answers(2).2.extension;
        let error = lower.finish(&flight, &mut test_rng(5)).err();
        assert_eq!(error, Some(SetupError::CheckFailed("N4 extension")));
    }

    #[test]
    fn s04_sides_that_disagree_on_any_part_of_the_context_do_not_get_a_state() {
        let contexts = [
            SetupContext { ssid: &[9; 32], ..PAIR_2 },
            SetupContext { me: 4, ..PAIR_2 },
            SetupContext { peer: 1, ..PAIR_2 },
            SetupContext { my_identity: b"other", ..PAIR_2 },
            SetupContext { peer_identity: b"other", ..PAIR_2 },
        ];
        for context in contexts {
            let (lower, f) = LowerStarted::new(PAIR_1, &mut test_rng(1));
            let (higher, g) = HigherStarted::new(context, &mut test_rng(2));
            let (_, flight) = higher.answer(&f, &mut test_rng(4)).unwrap();
            let error = lower.answer(&g).unwrap().finish(&flight, &mut test_rng(5)).err();
            assert_eq!(error, Some(SetupError::CheckFailed("N3 trees")));
        }
    }

    #[test]
    fn s04_every_part_of_the_context_enters_the_keys_of_the_second_direction() {
        let context = |context| OwnedContext::new(&context);
        let key = |context: &OwnedContext, pair, index, slot, row| {
            context.extended_key(&[pair; 32], index, slot, row)
        };
        let one = context(PAIR_1);
        let keys = [
            key(&one, 1, 0, 0, 7),
            key(&one, 2, 0, 0, 7),
            key(&one, 1, 1, 0, 7),
            key(&one, 1, 0, 1, 7),
            key(&one, 1, 0, 0, 6),
            key(&context(SetupContext { ssid: &[9; 32], ..PAIR_1 }), 1, 0, 0, 7),
            key(&context(SetupContext { me: 1, ..PAIR_1 }), 1, 0, 0, 7),
            key(&context(SetupContext { peer: 4, ..PAIR_1 }), 1, 0, 0, 7),
            key(&context(SetupContext { my_identity: b"x", ..PAIR_1 }), 1, 0, 0, 7),
            key(&context(SetupContext { peer_identity: b"x", ..PAIR_1 }), 1, 0, 0, 7),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(keys[0], key(&context(PAIR_2), 1, 0, 0, 7), "both sides agree");
    }

    #[test]
    fn the_state_id_depends_on_every_part_of_both_first_flights() {
        let ((lower, f), (_, g)) = hellos(1);
        let id = |f: &LowerFlight1, g: &HigherFlight1| lower.context.state_id(f, g);
        let mut ids = vec![id(&f, &g)];
        ids.extend([0, 31, 32, 8_223].map(|position| id(&changed(&f, position), &g)));
        ids.extend([0, 31, 32, 4_127].map(|position| id(&f, &changed(&g, position))));
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn s45_the_deltas_of_all_ordered_pairs_are_different_and_half_ones() {
        let mut deltas = Vec::new();
        for seed in 0..45 {
            let ((lower, _), (higher, _)) = hellos(seed);
            deltas.extend([*lower.delta.expose(), *higher.delta.expose()]);
        }
        for (i, a) in deltas.iter().enumerate() {
            for b in &deltas[..i] {
                // Five standard deviations around 64 of 128.
                assert!((36..=92).contains(&(a ^ b).count_ones()));
            }
        }
    }

    #[test]
    fn s107_debug_shows_no_secret() {
        let ((one, flight), _) = hellos(1);
        assert_eq!(format!("{one:?} {flight:?}"), "LowerStarted { .. } LowerFlight1 { .. }");
        let (pair, _) = honest_pair(1);
        assert!(format!("{pair:?}").starts_with("PairState { id: "));
        assert!(format!("{pair:?}").ends_with("extensions: 0, .. }"));
    }
}
