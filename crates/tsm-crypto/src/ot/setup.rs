//! Set-up of a pair: two flights, each sent by both sides at once (`docs/spec/ot.md` 1 to 3).
//!
//! Flight 1 holds 32 fresh secret bytes and the base-OT messages of both directions; flight 2 the
//! trees of the direction in which the sender is B. Both must travel over the pair's authenticated
//! and confidential channel.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::base::{BaseReceiver, BaseSender, Direction, ReceiverPoints, SenderPoints};
use super::ggm::{TreeMessage, Trees};
use super::pair::{PairState, ReceiverHalf, SenderHalf};
use super::{DELTA_BITS, Leaves, Seed};
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
    /// The secret-dependent check of the trees failed (class S): check N3.
    CheckFailed,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Malformed(what) => write!(f, "malformed set-up message: {what}"),
            SetupError::CheckFailed => super::CheckFailed.fmt(f),
        }
    }
}

impl std::error::Error for SetupError {}

/// First message of each side: 12,320 bytes.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct SetupFlight1 {
    /// Secret of the pair, from which the zero shares come.
    fresh: [u8; 32],
    receiver: Box<ReceiverPoints>,
    sender: Box<SenderPoints>,
}

/// Second message of each side: 6,176 bytes.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct SetupFlight2 {
    trees: Box<TreeMessage>,
}

impl Drop for SetupFlight1 {
    fn drop(&mut self) {
        self.fresh.zeroize();
    }
}

impl fmt::Debug for SetupFlight1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetupFlight1").finish_non_exhaustive()
    }
}

impl fmt::Debug for SetupFlight2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetupFlight2").finish_non_exhaustive()
    }
}

/// A set-up whose flight 1 is on its way. Secrets are wiped on drop.
pub struct SetupStarted {
    context: OwnedContext,
    delta: Secret<u128>,
    base_receiver: BaseReceiver,
    base_sender: BaseSender,
    mine: SetupFlight1,
}

impl SetupStarted {
    /// Draws Δ and everything else of this side, and makes flight 1.
    ///
    /// # Panics
    ///
    /// If `me` and `peer` are the same index: no session has a player twice.
    pub fn new(context: SetupContext<'_>, rng: &mut dyn CryptoRng) -> (Self, SetupFlight1) {
        assert_ne!(context.me, context.peer, "the players of a session have different indices");
        let context = OwnedContext::new(&context);
        // Step 1.1: of each pair and direction its own (rule S-45).
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        let delta = Secret::new(u128::from_le_bytes(bytes));
        bytes.zeroize();
        let mut fresh = [0; 32];
        rng.fill_bytes(&mut fresh);
        // Step 2.1: the choice bits are the complements of the bits of Δ.
        let (base_receiver, receiver) = BaseReceiver::new(&context.i_am_a(), !*delta.expose(), rng);
        let (base_sender, sender) = BaseSender::new(rng);
        let flight = SetupFlight1 { fresh, receiver: receiver.clone(), sender: sender.clone() };
        let mine = SetupFlight1 { fresh, receiver, sender };
        fresh.zeroize();
        (SetupStarted { context, delta, base_receiver, base_sender, mine }, flight)
    }

    /// Takes the peer's flight 1 and makes flight 2.
    ///
    /// # Errors
    ///
    /// [`SetupError::Malformed`] if a point is malformed (check N2) or our own message came back
    /// (check N1).
    pub fn answer(
        self,
        theirs: &SetupFlight1,
        rng: &mut dyn CryptoRng,
    ) -> Result<(SetupAnswered, SetupFlight2), SetupError> {
        // Check N1.
        if bool::from(theirs.fresh.ct_eq(&self.mine.fresh)) {
            return Err(SetupError::Malformed("fresh bytes are our own"));
        }
        let id = self.context.state_id(&self.mine, theirs);
        let zero_share_seed = self.context.zero_share_seed(&id, &self.mine.fresh, &theirs.fresh);
        // Steps 2.5 and 2.6, check N2.
        let mut chosen = self
            .base_receiver
            .keys(&self.context.i_am_a(), &id, &self.mine.receiver, &theirs.sender)
            .ok_or(SetupError::Malformed("a base-OT sender point"))?;
        let keys = Secret::new(chosen);
        chosen.zeroize();
        let mut both = self
            .base_sender
            .keys(&self.context.i_am_b(), &id, &self.mine.sender, &theirs.receiver)
            .ok_or(SetupError::Malformed("a base-OT receiver point"))?;
        let (leaves, trees) = Trees { direction: self.context.i_am_b(), pair: &id }.build(&both, rng);
        both.zeroize();
        let answered = SetupAnswered {
            context: self.context,
            id,
            delta: self.delta,
            keys,
            receiver: ReceiverHalf { leaves },
            zero_share_seed,
        };
        Ok((answered, SetupFlight2 { trees }))
    }
}

/// A set-up whose flight 2 is on its way. Secrets are wiped on drop.
pub struct SetupAnswered {
    context: OwnedContext,
    id: [u8; 32],
    delta: Secret<u128>,
    keys: Secret<[Seed; DELTA_BITS]>,
    receiver: ReceiverHalf,
    zero_share_seed: Secret<[u8; 32]>,
}

impl SetupAnswered {
    /// Takes the peer's flight 2 and gives the pair's state.
    ///
    /// # Errors
    ///
    /// [`SetupError::CheckFailed`] (check N3): everything drawn here is gone, Δ included.
    pub fn finish(self, theirs: &SetupFlight2) -> Result<PairState, SetupError> {
        let leaves: Box<Leaves> = Trees { direction: self.context.i_am_a(), pair: &self.id }
            .evaluate(*self.delta.expose(), self.keys.expose(), &theirs.trees)
            .map_err(|super::CheckFailed| SetupError::CheckFailed)?;
        let sender = SenderHalf { delta: *self.delta.expose(), leaves };
        Ok(PairState::new(self.id, sender, self.receiver, self.zero_share_seed))
    }
}

impl fmt::Debug for SetupStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetupStarted").finish_non_exhaustive()
    }
}

impl fmt::Debug for SetupAnswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetupAnswered").finish_non_exhaustive()
    }
}

struct OwnedContext {
    ssid: [u8; 32],
    me: u16,
    peer: u16,
    my_identity: Vec<u8>,
    peer_identity: Vec<u8>,
}

impl OwnedContext {
    fn new(context: &SetupContext<'_>) -> Self {
        OwnedContext {
            ssid: *context.ssid,
            me: context.me,
            peer: context.peer,
            my_identity: context.my_identity.to_vec(),
            peer_identity: context.peer_identity.to_vec(),
        }
    }

    fn i_am_a(&self) -> Direction<'_> {
        Direction {
            ssid: &self.ssid,
            a: self.me,
            b: self.peer,
            a_identity: &self.my_identity,
            b_identity: &self.peer_identity,
        }
    }

    fn i_am_b(&self) -> Direction<'_> {
        Direction {
            ssid: &self.ssid,
            a: self.peer,
            b: self.me,
            a_identity: &self.peer_identity,
            b_identity: &self.my_identity,
        }
    }

    /// The direction in which the lower index is A: a view that both sides share.
    fn common(&self) -> Direction<'_> {
        if self.me < self.peer { self.i_am_a() } else { self.i_am_b() }
    }

    fn lower_first<'a, T: ?Sized>(&self, mine: &'a T, theirs: &'a T) -> [&'a T; 2] {
        if self.me < self.peer { [mine, theirs] } else { [theirs, mine] }
    }

    /// Step 1.2: over the whole of both first flights.
    fn state_id(&self, mine: &SetupFlight1, theirs: &SetupFlight1) -> [u8; 32] {
        let flights = self.lower_first(mine, theirs);
        flights
            .into_iter()
            .fold(self.common().transcript(Label::PairStateId), |transcript: Transcript, flight| {
                transcript
                    .bytes("fresh", &flight.fresh)
                    .bytes("receiver", flight.receiver.as_flattened().as_flattened())
                    .bytes("sender", flight.sender.as_flattened())
            })
            .digest()
    }

    /// Step 1.3.
    fn zero_share_seed(&self, id: &[u8; 32], mine: &[u8; 32], theirs: &[u8; 32]) -> Secret<[u8; 32]> {
        let [lower, higher] = self.lower_first(mine, theirs);
        Secret::new(
            self.common()
                .transcript(Label::ZeroShareSeed)
                .bytes("pair", id)
                .bytes("fresh of the lower", lower)
                .bytes("fresh of the higher", higher)
                .digest(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hedged::test_rng;
    use crate::ot::tests::{PAIR_1, PAIR_2, honest_pair};

    type Hello = (SetupStarted, SetupFlight1);

    fn hellos(seed: u64) -> (Hello, Hello) {
        (
            SetupStarted::new(PAIR_1, &mut test_rng(seed)),
            SetupStarted::new(PAIR_2, &mut test_rng(seed + 1000)),
        )
    }

    #[test]
    fn both_sides_get_the_same_state_id_and_the_peer_knows_all_leaves_but_those_of_delta() {
        let (one, two) = honest_pair(1);
        assert_eq!(one.id(), two.id());
        for (a, b) in [(&one, &two), (&two, &one)] {
            a.judge(|judged| {
                let half = judged.sender;
                for (chunk, (known, all)) in half.leaves.iter().zip(b.receiver().leaves.iter()).enumerate() {
                    let missing = ((half.delta >> (chunk * super::super::TREE_DEPTH)) & 3) as usize;
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
    fn the_flights_have_the_documented_sizes_and_only_one_encoding() {
        let ((one, flight_1), (_, theirs)) = hellos(1);
        let bytes = borsh::to_vec(&flight_1).unwrap();
        assert_eq!(bytes.len(), 12_320);
        let again: SetupFlight1 = borsh::from_slice(&bytes).unwrap();
        assert_eq!(borsh::to_vec(&again).unwrap(), bytes);
        let (_, flight_2) = one.answer(&theirs, &mut test_rng(3)).unwrap();
        let bytes = borsh::to_vec(&flight_2).unwrap();
        assert_eq!(bytes.len(), 6_176);
        for wrong in [&bytes[..6_175], &[bytes.as_slice(), &[0]].concat()] {
            assert!(borsh::from_slice::<SetupFlight2>(wrong).is_err());
        }
    }

    #[test]
    fn n1_our_own_first_message_sent_back_is_refused() {
        let ((one, flight), _) = hellos(1);
        let error = one.answer(&flight, &mut test_rng(3)).err();
        assert!(matches!(error, Some(SetupError::Malformed(_))));
    }

    #[test]
    fn n2_every_malformed_point_is_refused_and_is_the_peers_fault() {
        type Spoil = fn(&mut SetupFlight1);
        let spoils: [Spoil; 6] = [
            |f| f.receiver[0][0] = [0; 32],
            |f| f.receiver[64][1] = [0xff; 32],
            |f| f.receiver[127][1] = [0; 32],
            |f| f.sender[0] = [0; 32],
            |f| f.sender[127] = [0xff; 32],
            |f| f.sender[63][0] |= 1,
        ];
        for spoil in spoils {
            let ((one, _), (_, mut theirs)) = hellos(1);
            spoil(&mut theirs);
            let error = one.answer(&theirs, &mut test_rng(3)).err();
            assert!(matches!(error, Some(SetupError::Malformed(_))), "{error:?}");
        }
    }

    #[test]
    fn n3_a_flight_2_of_another_set_up_or_a_spoiled_one_is_refused() {
        let answer = |seed| {
            let ((one, f1), (two, f2)) = hellos(seed);
            let (one, _) = one.answer(&f2, &mut test_rng(3)).unwrap();
            let (_, flight_2) = two.answer(&f1, &mut test_rng(4)).unwrap();
            (one, flight_2)
        };
        let (one, honest) = answer(1);
        assert!(one.finish(&honest).is_ok());
        let (one, _) = answer(1);
        let (_, replayed) = answer(2);
        assert_eq!(one.finish(&replayed).err(), Some(SetupError::CheckFailed));
        let (one, mut spoiled) = answer(1);
        spoiled.trees.sums[7][7] ^= 1;
        assert_eq!(one.finish(&spoiled).err(), Some(SetupError::CheckFailed));
    }

    #[test]
    fn s04_sides_that_disagree_on_any_part_of_the_context_do_not_get_a_state() {
        let contexts = [
            SetupContext { ssid: &[9; 32], ..PAIR_2 },
            SetupContext { me: 4, ..PAIR_2 },
            SetupContext { peer: 4, ..PAIR_2 },
            SetupContext { my_identity: b"other", ..PAIR_2 },
            SetupContext { peer_identity: b"other", ..PAIR_2 },
        ];
        for context in contexts {
            let (one, f1) = SetupStarted::new(PAIR_1, &mut test_rng(1));
            let (two, f2) = SetupStarted::new(context, &mut test_rng(2));
            let (one, g1) = one.answer(&f2, &mut test_rng(3)).unwrap();
            let (two, g2) = two.answer(&f1, &mut test_rng(4)).unwrap();
            assert_eq!(one.finish(&g2).err(), Some(SetupError::CheckFailed));
            assert_eq!(two.finish(&g1).err(), Some(SetupError::CheckFailed));
        }
    }

    #[test]
    fn the_state_id_depends_on_every_part_of_both_first_flights_and_on_their_order() {
        let ((one, mine), (_, theirs)) = hellos(1);
        let id = |mine: &SetupFlight1, theirs: &SetupFlight1| one.context.state_id(mine, theirs);
        let changed = |flight: &SetupFlight1, position: usize| {
            let mut bytes = borsh::to_vec(flight).unwrap();
            bytes[position] ^= 1;
            borsh::from_slice::<SetupFlight1>(&bytes).unwrap()
        };
        let mut ids = vec![id(&mine, &theirs), id(&theirs, &mine)];
        for position in [0, 31, 32, 8_223, 8_224, 12_319] {
            ids.push(id(&changed(&mine, position), &theirs));
            ids.push(id(&mine, &changed(&theirs, position)));
        }
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn s45_the_deltas_of_all_ordered_pairs_are_different_and_half_ones() {
        let mut deltas = Vec::new();
        for seed in 0..45 {
            let ((one, _), (two, _)) = hellos(seed);
            deltas.extend([*one.delta.expose(), *two.delta.expose()]);
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
        assert_eq!(format!("{one:?} {flight:?}"), "SetupStarted { .. } SetupFlight1 { .. }");
        let (pair, _) = honest_pair(1);
        assert!(format!("{pair:?}").starts_with("PairState { id: "));
        assert!(format!("{pair:?}").ends_with("extensions: 0, .. }"));
    }
}
