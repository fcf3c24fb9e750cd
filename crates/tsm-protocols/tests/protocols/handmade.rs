//! A signer that computes its second message itself, and may put other numbers into the multiplication
//! than it shows: everything else fits to them, so that C6 and C7 alone can notice.

use std::collections::BTreeMap;
use std::sync::Arc;

use tsm_crypto::commitment::{Blinding, CommitmentContext};
use tsm_crypto::ecdsa::PartialSignature;
use tsm_crypto::hedged::test_rng;
use tsm_crypto::ot::{ExtensionContext, PairState, ReceiverExtension, SenderExtension, zero_share};
use tsm_crypto::{CanonicalScalar, CryptoRng, Curve, Label, NonIdentityPoint, Secp256k1, Transcript};
use tsm_protocols::ecdsa::sign::{
    CommitBroadcast, CommitMessage, CommitPrivate, MultiplyBroadcast, MultiplyMessage, MultiplyPrivate,
};
use tsm_protocols::echo::Echo;
use tsm_protocols::testing::run_cluster;
use tsm_protocols::{Abort, Class, Context, Outgoing, PerPeer, Round, Step};
use tsm_types::CurveId;

use crate::support::*;

type Scalar = <Secp256k1 as Curve>::Scalar;

const HONEST: u16 = 0;
const HANDMADE: u16 = 9;

/// Message 1 is on its way.
struct Committed {
    context: Context,
    pair: Arc<PairState>,
    /// λ·x.
    key_part: Scalar,
    nonce: Scalar,
    broadcast: CommitBroadcast,
    blinding: Blinding,
    receiver: ReceiverExtension<Secp256k1>,
    sent: CommitPrivate<Secp256k1>,
    /// What it multiplies with, of r and sk that it shows.
    inputs: fn(Scalar, Scalar) -> [Scalar; 2],
}

fn point(scalar: &Scalar) -> NonIdentityPoint<Secp256k1> {
    NonIdentityPoint::new(Secp256k1::mul_generator(scalar)).unwrap()
}

fn encoded(value: &impl borsh::BorshSerialize) -> Vec<u8> {
    borsh::to_vec(value).unwrap()
}

impl Committed {
    fn start(
        context: &Context,
        pair: Arc<PairState>,
        key_part: Scalar,
        inputs: fn(Scalar, Scalar) -> [Scalar; 2],
    ) -> Step<PartialSignature> {
        let mut rng = test_rng(909);
        let nonce = Secp256k1::random_nonzero_scalar(&mut rng);
        let ssid = &context.tag().0;
        let (commitment, blinding) =
            CommitmentContext { ssid, committer: HANDMADE, purpose: "signing nonce" }
                .commit(point(&nonce).encoded(), &mut rng);
        let broadcast = CommitBroadcast { commitment, fresh: [9; 32] };
        let extension_context = ExtensionContext { ssid, sender: HONEST, receiver: HANDMADE };
        let (receiver, extension) = ReceiverExtension::new(&pair, &extension_context, &mut rng);
        let sent = CommitPrivate { pair: pair.id(), extension };
        let send = vec![Outgoing::new(p(HONEST), &(&broadcast, &sent))];
        let context = context.clone();
        let round = Committed { context, pair, key_part, nonce, broadcast, blinding, receiver, sent, inputs };
        Step::wait(send, [p(HONEST)].into(), round)
    }
}

impl Round for Committed {
    type Message = CommitMessage<Secp256k1>;
    type Output = PartialSignature;

    fn advance(
        self,
        received: PerPeer<Self::Message>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<PartialSignature>, Abort> {
        let (_, theirs) = received.into_only();
        // Steps 4.2 and 4.3 of the specification.
        let tag = self.context.tag();
        let mut echo: Echo = borsh::from_slice(&encoded(&vec![[0u8; 32]; 2])).unwrap();
        echo.replace(&self.context, p(HONEST), &theirs.broadcast);
        echo.replace(&self.context, p(HANDMADE), &self.broadcast);
        let ssid = Transcript::new(Label::Ssid).bytes("session", &tag.0).count("broadcasts", 2);
        let ssid =
            echo.digests_mut().iter().fold(ssid, |ssid, digest| ssid.bytes("broadcast", digest)).digest();
        let ssid_full = Transcript::new(Label::Ssid)
            .bytes("run", &ssid)
            .number("player", HONEST.into())
            .bytes("message", &encoded(&theirs.private))
            .number("player", HANDMADE.into())
            .bytes("message", &encoded(&self.sent))
            .digest();
        let extension_context = ExtensionContext { ssid: &tag.0, sender: HANDMADE, receiver: HONEST };
        let sender = self
            .pair
            .judge(|judged| SenderExtension::check(judged, &extension_context, &theirs.private.extension))
            .unwrap();
        let zero = zero_share::pair_share::<Secp256k1>(&self.pair, &ssid, HANDMADE, HONEST);
        let key = self.key_part + zero.expose();
        // Steps 4.4 to 4.7.
        let [one, other] = (self.inputs)(self.nonce, key);
        let (c, vole) = sender.multiply(&ssid_full, [&one, &other], rng);
        let [gamma_u, gamma_v] = c.expose().each_ref().map(point);
        let psi = CanonicalScalar::new(Scalar::from(7u64) - self.receiver.chi().expose());
        let message = MultiplyMessage {
            broadcast: MultiplyBroadcast {
                echo,
                blinding: self.blinding,
                nonce_point: point(&self.nonce),
                key_point: point(&key),
            },
            private: MultiplyPrivate { vole, gamma_u, gamma_v, psi },
        };
        Ok(Step::wait(vec![Outgoing::new(p(HONEST), &message)], [p(HONEST)].into(), Said))
    }
}

/// All was said that the other needs.
struct Said;

impl Round for Said {
    type Message = MultiplyMessage<Secp256k1>;
    type Output = PartialSignature;

    fn advance(
        self,
        _: PerPeer<Self::Message>,
        _: &mut dyn CryptoRng,
    ) -> Result<Step<PartialSignature>, Abort> {
        Err(Abort::unattributed("it has no more to say"))
    }
}

/// How the honest player's run ends.
fn against(inputs: fn(Scalar, Scalar) -> [Scalar; 2]) -> (Option<Abort>, bool) {
    let shares = generate(CurveId::Secp256k1, 1, &[0, 5, 9]);
    let pairs = Pairs::fresh(&[HONEST, HANDMADE]);
    let session = sign_session("sign", &shares, &digest(CurveId::Secp256k1, 0x42), &[HONEST, HANDMADE]);
    let context = Context::new(&session, p(HANDMADE)).unwrap();
    // Share number 3 of signers 1 and 3: λ = -1 / (3 - 1).
    let lambda = -Scalar::from(2u64).invert().unwrap();
    let key_part = lambda * Secp256k1::decode_scalar(shares[&p(HANDMADE)].secret.expose()).unwrap();
    let mut steps: BTreeMap<_, _> = sign_starts(&session, &shares, &pairs, 1);
    let pair = pairs.between(HANDMADE, HONEST).clone();
    steps.insert(p(HANDMADE), Committed::start(&context, pair, key_part, inputs));
    let mut outcome = run_cluster(steps, &mut test_rng(2), honest);
    let end = outcome.remove(&p(HONEST)).unwrap().unwrap();
    (end.err(), pairs.between(HONEST, HANDMADE).is_burned())
}

#[test]
fn c6_a_nonce_other_than_the_one_shown_multiplied_consistently_burns_the_pair() {
    let (abort, is_burned) = against(|nonce, key| [nonce + Scalar::ONE, key]);
    assert_named(&abort.unwrap(), Some(HANDMADE), Class::SecretDependent, "C6, C7");
    assert!(is_burned);
    // What it does beside is what an honest player does.
    assert_eq!(against(|nonce, key| [nonce, key]), (None, false));
}

#[test]
fn c7_a_key_part_other_than_the_one_shown_multiplied_consistently_burns_the_pair() {
    let inputs: [fn(Scalar, Scalar) -> [Scalar; 2]; 2] = [
        |nonce, key| [nonce, key + Scalar::ONE],
        // Both at once, in amounts that would cancel in a plain sum of the two checks.
        |nonce, key| [nonce - Scalar::ONE, key + Scalar::ONE],
    ];
    for inputs in inputs {
        let (abort, is_burned) = against(inputs);
        assert_named(&abort.unwrap(), Some(HANDMADE), Class::SecretDependent, "C6, C7");
        assert!(is_burned);
    }
}
