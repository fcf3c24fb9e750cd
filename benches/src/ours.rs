//! OpenTSM's protocols, driven as its engine drives them but without links and store.

use std::collections::BTreeMap;
use std::sync::Arc;

use tsm_crypto::ecdsa::{PartialSignature, Signature, join};
use tsm_crypto::hedged::hedged_rng;
use tsm_crypto::ot::PairState;
use tsm_crypto::{CryptoRng, IdentityKey, Secret};
use tsm_protocols::ecdsa::sign;
use tsm_protocols::keygen::{self, KeygenParameters};
use tsm_protocols::{Context, KeyShare, Pending, PerPeer, SignedCertificate, Step, pair};
use tsm_types::{
    CurveId, DerivationPath, Digest, Operation, PlayerIndex, Players, Session, SessionId, Threshold,
};

use crate::{DIGEST, Traffic};

/// Players with their identity keys, and a warm pair state between any two.
pub struct Network {
    identities: BTreeMap<PlayerIndex, IdentityKey>,
    pairs: BTreeMap<(PlayerIndex, PlayerIndex), Arc<PairState>>,
    rng: Box<dyn CryptoRng>,
    runs: u64,
    traffic: Traffic,
    observer: Observer,
}

/// Sees messages on their way.
type Observer = Box<dyn FnMut(&[u8])>;

/// A key's shares.
pub type Shares = BTreeMap<PlayerIndex, KeyShare>;

impl Network {
    /// Players 0 to `players` - 1, without pair states. The same in every run of the program.
    pub fn new(players: u16) -> Self {
        // The product's generator, with constants for what the operating system gives it there.
        let mut rng = hedged_rng(&Secret::new([1; 32]), &Secret::new([2; 32]), b"benchmark");
        let identities =
            (0..players).map(|index| (PlayerIndex(index), IdentityKey::generate(&mut rng))).collect();
        let traffic = Traffic::default();
        let rng = Box::new(rng);
        Network { identities, pairs: BTreeMap::new(), rng, runs: 0, traffic, observer: Box::new(|_| {}) }
    }

    /// From now on players draw from `rng`, and `observer` is shown every message on its way.
    pub fn draw_from(&mut self, rng: impl CryptoRng + 'static, observer: impl FnMut(&[u8]) + 'static) {
        self.rng = Box::new(rng);
        self.observer = Box::new(observer);
    }

    /// What was sent since this was asked last.
    pub fn take_traffic(&mut self) -> Traffic {
        std::mem::take(&mut self.traffic)
    }

    /// All players make a key and confirm it.
    pub fn generate_key(&mut self, curve: CurveId, threshold: u64) -> Shares {
        let threshold =
            Threshold::new(threshold, self.identities.len()).expect("a threshold below the players");
        let operation = Operation::GenerateKey { curve, threshold, key_id: None };
        let contexts = self.contexts(operation, self.identities.len());
        let parameters = KeygenParameters { curve, threshold, key_id: None };
        let steps = contexts
            .iter()
            .map(|(player, context)| (*player, keygen::start(context, parameters.clone(), &mut *self.rng)))
            .collect();
        let shares: Shares = self.drive(steps).into_iter().map(|(player, key)| (player, key.share)).collect();

        let steps: BTreeMap<PlayerIndex, Step<SignedCertificate>> = contexts
            .iter()
            .map(|(player, context)| {
                let certificate = shares[player].certificate.clone();
                (*player, keygen::confirm::start(context, certificate, &self.identities[player]))
            })
            .collect();
        self.drive(steps);
        shares
    }

    /// Sets up the state of every pair of players.
    pub fn set_up_pairs(&mut self) {
        let players: Vec<PlayerIndex> = self.identities.keys().copied().collect();
        for (place, one) in players.iter().enumerate() {
            for other in &players[..place] {
                self.set_up_pair(*one, *other);
            }
        }
    }

    /// Sets up the state of one pair.
    pub fn set_up_pair(&mut self, one: PlayerIndex, other: PlayerIndex) {
        let contexts = self.contexts_of(Operation::SetUpPair, &[one, other]);
        let steps = contexts
            .iter()
            .map(|(player, context)| (*player, pair::start(context, &mut *self.rng)))
            .collect();
        for (player, state) in self.drive(steps) {
            let peer = if player == one { other } else { one };
            self.pairs.insert((player, peer), Arc::new(state));
        }
    }

    /// The first `signers` players sign on their warm pairs; partial signatures are not joined.
    pub fn sign(&mut self, shares: &Shares, signers: usize) -> Vec<PartialSignature> {
        let certificate = &shares[&PlayerIndex(0)].certificate;
        let digest = Digest::new(DIGEST, certificate.curve).expect("a curve of 32-byte digests");
        let operation = Operation::SignEcdsa {
            key_id: certificate.key_id.clone(),
            epoch: certificate.epoch,
            certificate: certificate.digest(),
            path: DerivationPath::ROOT,
            digest: digest.clone(),
        };
        let steps = self
            .contexts(operation, signers)
            .iter()
            .map(|(player, context)| {
                let pairs = PerPeer::from_fn(&context.peers(), |peer| self.pairs[&(*player, peer)].clone());
                let step = sign::start(context, &shares[player], &digest, pairs, &mut *self.rng)
                    .expect("holders of the key with fresh pairs");
                (*player, step)
            })
            .collect();
        self.drive(steps).into_values().collect()
    }

    fn contexts(&mut self, operation: Operation, players: usize) -> BTreeMap<PlayerIndex, Context> {
        let players: Vec<PlayerIndex> = self.identities.keys().copied().take(players).collect();
        self.contexts_of(operation, &players)
    }

    /// A new session, as each player sees it.
    fn contexts_of(
        &mut self,
        operation: Operation,
        players: &[PlayerIndex],
    ) -> BTreeMap<PlayerIndex, Context> {
        self.runs += 1;
        let keys = players.iter().map(|player| (*player, self.identities[player].public().clone())).collect();
        let session = Session {
            id: SessionId::new(format!("run-{}", self.runs)).expect("a valid session ID"),
            operation,
            players: Players::new(keys).expect("two players or more, each with its key"),
        };
        // One `Context` for each player: every node hashes the session for itself.
        players
            .iter()
            .map(|player| (*player, Context::new(&session, *player).expect("a player of the session")))
            .collect()
    }

    /// Runs all players to their ends. The protocols are lock-step, so that one pass over the
    /// players is one round.
    fn drive<T: 'static>(&mut self, mut steps: BTreeMap<PlayerIndex, Step<T>>) -> BTreeMap<PlayerIndex, T> {
        let mut outputs = BTreeMap::new();
        while !steps.is_empty() {
            let mut waiting: BTreeMap<PlayerIndex, Box<dyn Pending<Output = T>>> = BTreeMap::new();
            let mut sent = Vec::new();
            for (player, step) in std::mem::take(&mut steps) {
                let send = match step {
                    Step::Continue { send, round } => {
                        waiting.insert(player, round);
                        send
                    }
                    Step::Done { send, output } => {
                        outputs.insert(player, output);
                        send
                    }
                };
                sent.extend(send.into_iter().map(|message| (player, message)));
            }
            for (from, message) in sent {
                self.traffic.count(&message.body);
                (self.observer)(&message.body);
                if let Some(round) = waiting.get_mut(&message.to) {
                    round.accept(from, &message.body).expect("honest messages are accepted");
                }
            }
            for (player, round) in waiting {
                steps.insert(player, round.advance(&mut *self.rng).expect("honest runs do not abort"));
            }
        }
        outputs
    }
}

/// Joins partial signatures, which verifies the signature.
pub fn join_and_verify(partials: &[PartialSignature]) -> Signature {
    join(&DIGEST, partials).expect("honest parts join")
}
