//! The protocols that are tried.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use tsm_crypto::ecdsa::{JoinError, PartialSignature, join, verify};
use tsm_crypto::hedged::test_rng;
use tsm_crypto::ot::{ExtensionContext, ReceiverExtension, SenderExtension};
use tsm_crypto::{Curve, Secp256k1};
use tsm_protocols::testing::InFlight;
use tsm_types::{Digest, PlayerIndex, Session};

use super::layout::{self, Message};
use super::{Protocol, Ran};
use crate::support::*;

pub(super) const PLAYERS: [u16; 3] = [0, 5, 9];

/// What all players made, if they all did, and how each ended.
fn split<T>(outcome: Outcome<T>) -> (BTreeMap<PlayerIndex, T>, Outcome<()>) {
    let mut made = BTreeMap::new();
    let ends = outcome.into_iter().map(|(player, end)| {
        let end = end.map(|result| result.map(|value| drop(made.insert(player, value))));
        (player, end)
    });
    let ends = ends.collect();
    (made, ends)
}

pub(super) struct Keygen<C> {
    session: Session,
    curve: PhantomData<C>,
}

impl<C: Curve> Keygen<C> {
    pub(super) fn new() -> Self {
        Keygen { session: keygen_session("keygen", C::ID, 1, &PLAYERS), curve: PhantomData }
    }
}

impl<C: Curve> Protocol for Keygen<C> {
    fn players(&self) -> &'static [u16] {
        &PLAYERS
    }

    fn messages(&self) -> Vec<Message> {
        layout::keygen::<C>(PLAYERS.len(), 2)
    }

    fn run(&mut self, seed: u64, tamper: &mut dyn FnMut(InFlight<'_>)) -> Ran {
        let (made, ends) = split(run_keygen(&self.session, seed, tamper));
        let shares: Vec<_> = made.values().map(|key| copy(&key.share)).collect();
        assert!(shares.windows(2).all(|two| two[0].certificate == two[1].certificate), "two keys");
        Ran { ends, verified: Vec::new() }
    }
}

/// Two keys, so that a signature of an earlier certificate is another.
pub(super) struct Confirm<C> {
    session: Session,
    keys: [Shares; 2],
    curve: PhantomData<C>,
}

impl<C: Curve> Confirm<C> {
    pub(super) fn new() -> Self {
        let keys = [100, 200].map(|seed| generate_with(C::ID, 1, &PLAYERS, seed));
        Confirm { session: keygen_session("keygen", C::ID, 1, &PLAYERS), keys, curve: PhantomData }
    }
}

impl<C: Curve> Protocol for Confirm<C> {
    fn players(&self) -> &'static [u16] {
        &PLAYERS
    }

    fn messages(&self) -> Vec<Message> {
        layout::confirm()
    }

    fn run(&mut self, seed: u64, tamper: &mut dyn FnMut(InFlight<'_>)) -> Ran {
        let key = &self.keys[usize::from(seed == super::EARLIER)];
        let (made, ends) = split(run_confirm(&self.session, key, tamper));
        assert!(made.values().all(|certificate| certificate.is_complete()), "half a certificate");
        Ran { ends, verified: Vec::new() }
    }
}

pub(super) struct SetUp;

impl SetUp {
    pub(super) const NAME: &'static str = "set-up";
}

impl Protocol for SetUp {
    fn players(&self) -> &'static [u16] {
        &[0, 9]
    }

    fn messages(&self) -> Vec<Message> {
        layout::set_up(0, 9)
    }

    fn run(&mut self, seed: u64, tamper: &mut dyn FnMut(InFlight<'_>)) -> Ran {
        let (made, ends) = split(set_up_from(seed, self.players(), tamper));
        if let [(a, lower), (b, higher)] = &made.iter().collect::<Vec<_>>()[..] {
            // Both have the same, and it works in both directions.
            assert_eq!(lower.id(), higher.id());
            for (sender, receiver, from, to) in [(lower, higher, a, b), (higher, lower, b, a)] {
                let context = ExtensionContext { ssid: &[1; 32], sender: from.0, receiver: to.0 };
                let (_, extension) =
                    ReceiverExtension::<Secp256k1>::new(receiver, &context, &mut test_rng(seed));
                let verdict = sender.judge(|judged| SenderExtension::check(judged, &context, &extension));
                assert!(verdict.is_ok(), "a state that does not work");
            }
        }
        Ran { ends, verified: Vec::new() }
    }
}

/// A key, a digest to sign, and the states of all pairs.
struct Signing {
    session: Session,
    shares: Shares,
    digest: Digest,
    pairs: Pairs,
}

impl Signing {
    fn new<C: Curve>(session: impl Fn(&Shares, &Digest) -> Session) -> Self {
        let (shares, digest) = (generate(C::ID, 1, &PLAYERS), digest(C::ID, 0x42));
        Signing { session: session(&shares, &digest), shares, digest, pairs: Pairs::fresh(&PLAYERS) }
    }

    /// Joins the parts of all players. What is joined verifies, or it is not joined.
    fn verifies(&self, parts: impl IntoIterator<Item = PartialSignature>) -> bool {
        let certificate = &self.shares[&p(PLAYERS[0])].certificate;
        let parts: Vec<_> = parts.into_iter().collect();
        match join(self.digest.as_bytes(), &parts) {
            Ok(signature) => {
                let (curve, key) = (certificate.curve, certificate.public_key_der());
                assert!(verify(curve, &key, self.digest.as_bytes(), signature.der()), "a wrong signature");
                true
            }
            Err(error) => {
                assert_eq!(error, JoinError::Unverifiable);
                false
            }
        }
    }
}

pub(super) struct Sign<C> {
    signing: Signing,
    curve: PhantomData<C>,
}

impl<C: Curve> Sign<C> {
    pub(super) fn new() -> Self {
        let session = |shares: &Shares, digest: &Digest| sign_session("sign", shares, digest, &PLAYERS);
        Sign { signing: Signing::new::<C>(session), curve: PhantomData }
    }
}

impl<C: Curve> Protocol for Sign<C> {
    fn players(&self) -> &'static [u16] {
        &PLAYERS
    }

    fn messages(&self) -> Vec<Message> {
        layout::sign::<C>(PLAYERS.len())
    }

    fn run(&mut self, seed: u64, tamper: &mut dyn FnMut(InFlight<'_>)) -> Ran {
        let Signing { session, shares, pairs, .. } = &self.signing;
        let (made, ends) = split(run_sign(session, shares, pairs, seed, tamper));
        let has_all = made.len() == PLAYERS.len();
        let verified = if has_all { vec![self.signing.verifies(made.into_values())] } else { vec![] };
        Ran { ends, verified }
    }

    fn burned(&self) -> BTreeSet<(PlayerIndex, PlayerIndex)> {
        self.signing.pairs.burned()
    }

    fn renew(&mut self) {
        self.signing.pairs.renew();
    }
}

pub(super) struct Presign<C> {
    signing: Signing,
    curve: PhantomData<C>,
}

const COUNT: usize = 2;

impl<C: Curve> Presign<C> {
    pub(super) fn new() -> Self {
        let session =
            |shares: &Shares, _: &Digest| presign_session("presign", shares, COUNT as u64, &PLAYERS);
        Presign { signing: Signing::new::<C>(session), curve: PhantomData }
    }
}

impl<C: Curve> Protocol for Presign<C> {
    fn players(&self) -> &'static [u16] {
        &PLAYERS
    }

    fn messages(&self) -> Vec<Message> {
        layout::presign::<C>(PLAYERS.len(), COUNT)
    }

    fn run(&mut self, seed: u64, tamper: &mut dyn FnMut(InFlight<'_>)) -> Ran {
        let Signing { session, shares, pairs, digest } = &self.signing;
        let (made, ends) = split(run_presign(session, shares, pairs, seed, tamper));
        let has_all = made.len() == PLAYERS.len();
        let made = if has_all { each(made).collect() } else { vec![] };
        let parts = made.into_iter().map(|presignatures| use_all(presignatures, digest, None).into_values());
        let verified = parts.map(|parts| self.signing.verifies(parts)).collect();
        Ran { ends, verified }
    }

    fn burned(&self) -> BTreeSet<(PlayerIndex, PlayerIndex)> {
        self.signing.pairs.burned()
    }

    fn renew(&mut self) {
        self.signing.pairs.renew();
    }
}
