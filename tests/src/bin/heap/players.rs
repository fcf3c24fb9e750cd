//! The protocols, driven as the engine drives them: one thread, no links, every message encoded and decoded.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tsm_crypto::ecdsa::PartialSignature;
use tsm_crypto::ot::PairState;
use tsm_crypto::{CurveId, IdentityKey};
use tsm_protocols::ecdsa::presign::{self, Presignature};
use tsm_protocols::ecdsa::sign;
use tsm_protocols::keygen::{self, KeygenParameters};
use tsm_protocols::{Certificate, Context, KeyShare, Outgoing, Pending, PerPeer, Step, pair};
use tsm_types::{BatchSize, DerivationPath, Digest, Operation, PlayerIndex, Session, SessionId, Threshold};

use super::secrets::{Recorder, Secrets};

const DIGEST: [u8; 32] = [7; 32];

pub(crate) struct Players {
    identities: BTreeMap<PlayerIndex, IdentityKey>,
    pairs: BTreeMap<(PlayerIndex, PlayerIndex), Arc<PairState>>,
    rng: Recorder,
    secrets: Rc<RefCell<Secrets>>,
    sessions: u64,
}

pub(crate) type Shares = BTreeMap<PlayerIndex, KeyShare>;

impl Players {
    pub(crate) fn new(players: u16, mut rng: Recorder) -> Self {
        let identities =
            (0..players).map(|index| (PlayerIndex(index), IdentityKey::generate(&mut rng))).collect();
        let secrets = rng.secrets();
        Players { identities, pairs: BTreeMap::new(), rng, secrets, sessions: 0 }
    }

    pub(crate) fn generate_key(&mut self, curve: CurveId, threshold: u64) -> Shares {
        let threshold = Threshold::new(threshold, self.identities.len()).expect("below the players");
        let parameters = KeygenParameters { curve, threshold, key_id: None };
        let operation = Operation::GenerateKey { curve, threshold, key_id: None };
        let contexts = self.contexts(operation, self.identities.len());
        let start = |context: &Context, rng: &mut Recorder| keygen::start(context, parameters.clone(), rng);
        let steps = contexts.iter().map(|(me, context)| (*me, start(context, &mut self.rng))).collect();
        self.drive(steps).into_iter().map(|(me, key)| (me, key.share)).collect()
    }

    pub(crate) fn set_up_pairs(&mut self) {
        let all: Vec<PlayerIndex> = self.identities.keys().copied().collect();
        for (place, one) in all.iter().enumerate() {
            for other in &all[..place] {
                let contexts = self.contexts_of(Operation::SetUpPair, &[*other, *one]);
                let steps =
                    contexts.iter().map(|(me, context)| (*me, pair::start(context, &mut self.rng))).collect();
                for (me, state) in self.drive(steps) {
                    let peer = if me == *one { *other } else { *one };
                    self.pairs.insert((me, peer), Arc::new(state));
                }
            }
        }
    }

    /// Players 0 and 1 sign.
    pub(crate) fn sign(&mut self, shares: &Shares) -> Vec<PartialSignature> {
        let certificate = &shares[&PlayerIndex(0)].certificate;
        let digest = Digest::new(DIGEST, certificate.curve).expect("32 bytes");
        let operation = Operation::SignEcdsa {
            key_id: certificate.key_id.clone(),
            epoch: certificate.epoch,
            certificate: certificate.digest(),
            path: DerivationPath::ROOT,
            digest: digest.clone(),
        };
        let mut steps = BTreeMap::new();
        for (me, context) in self.contexts(operation, 2) {
            let step = sign::start(&context, &shares[&me], &digest, self.pairs(me, &context), &mut self.rng);
            steps.insert(me, step.expect("holders with fresh pairs"));
        }
        self.drive(steps).into_values().collect()
    }

    /// Players 0 and 1 make presignatures.
    pub(crate) fn presign(&mut self, shares: &Shares, count: u64) -> Vec<Vec<Presignature>> {
        let certificate: &Certificate = &shares[&PlayerIndex(0)].certificate;
        let count = BatchSize::new(count).expect("a possible size");
        let operation = Operation::GeneratePresignatures {
            key_id: certificate.key_id.clone(),
            epoch: certificate.epoch,
            certificate: certificate.digest(),
            count,
        };
        let mut steps = BTreeMap::new();
        for (me, context) in self.contexts(operation, 2) {
            let step = presign::start(&context, &shares[&me], count, self.pairs(me, &context), &mut self.rng);
            steps.insert(me, step.expect("holders with fresh pairs"));
        }
        self.drive(steps).into_values().collect()
    }

    fn pairs(&self, me: PlayerIndex, context: &Context) -> PerPeer<Arc<PairState>> {
        PerPeer::from_fn(&context.peers(), |peer| self.pairs[&(me, peer)].clone())
    }

    fn contexts(&mut self, operation: Operation, players: usize) -> BTreeMap<PlayerIndex, Context> {
        let players: Vec<PlayerIndex> = self.identities.keys().copied().take(players).collect();
        self.contexts_of(operation, &players)
    }

    fn contexts_of(
        &mut self,
        operation: Operation,
        players: &[PlayerIndex],
    ) -> BTreeMap<PlayerIndex, Context> {
        self.sessions += 1;
        let keys = players.iter().map(|player| (*player, self.identities[player].public().clone())).collect();
        let session = Session {
            id: SessionId::new(format!("session-{}", self.sessions)).expect("a session ID"),
            operation,
            players: tsm_types::Players::new(keys).expect("two players or more"),
        };
        players.iter().map(|me| (*me, Context::new(&session, *me).expect("takes part"))).collect()
    }

    /// Runs all players to their ends, round by round.
    fn drive<T: 'static>(&mut self, mut steps: BTreeMap<PlayerIndex, Step<T>>) -> BTreeMap<PlayerIndex, T> {
        let mut outputs = BTreeMap::new();
        while !steps.is_empty() {
            let mut waiting: BTreeMap<PlayerIndex, Box<dyn Pending<Output = T>>> = BTreeMap::new();
            let mut sent: Vec<(PlayerIndex, Outgoing)> = Vec::new();
            for (me, step) in std::mem::take(&mut steps) {
                let send = match step {
                    Step::Continue { send, round } => {
                        waiting.insert(me, round);
                        send
                    }
                    Step::Done { send, output } => {
                        outputs.insert(me, output);
                        send
                    }
                };
                sent.extend(send.into_iter().map(|message| (me, message)));
            }
            for (from, message) in sent {
                self.secrets.borrow_mut().sent(&message.body);
                if let Some(round) = waiting.get_mut(&message.to) {
                    round.accept(from, &message.body).expect("honest");
                }
            }
            for (me, round) in waiting {
                steps.insert(me, round.advance(&mut self.rng).expect("honest"));
            }
        }
        outputs
    }
}

/// The partial signature of one presignature.
pub(crate) fn use_presignature(presignature: Presignature) -> PartialSignature {
    let digest = Digest::new(DIGEST, CurveId::Secp256k1).expect("32 bytes");
    let prepared = presignature.public().prepare(&digest, None).expect("can be signed");
    presignature.sign(&prepared)
}
