//! Players, keys and pairs for the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use tsm_crypto::ecdsa::{PartialSignature, Signature, join};
use tsm_crypto::hedged::test_rng;
use tsm_crypto::ot::PairState;
use tsm_crypto::{Curve, IdentityKey, NonIdentityPoint, Secp256k1};
use tsm_protocols::ecdsa::presign::{self, Presignature};
use tsm_protocols::ecdsa::sign;
use tsm_protocols::keygen::{self, KeygenParameters, ProvisionalKey};
use tsm_protocols::testing::{InFlight, run_cluster};
use tsm_protocols::{Abort, Class, Context, KeyShare, PerPeer, SignedCertificate, Step, pair};
use tsm_types::{
    BatchSize, CurveId, DerivationPath, Digest, Operation, PlayerIndex, Players, Session, SessionId,
    Threshold,
};

/// Neither contiguous nor starting at one, so that a player index is never mistaken for a share
/// number.
pub(crate) const INDICES: [u16; 5] = [0, 5, 9, 11, 300];

pub(crate) type Outcome<T> = BTreeMap<PlayerIndex, Option<Result<T, Abort>>>;

pub(crate) fn honest(_: InFlight<'_>) {}

pub(crate) fn p(index: u16) -> PlayerIndex {
    PlayerIndex(index)
}

pub(crate) fn identity(index: u16) -> IdentityKey {
    IdentityKey::generate(&mut test_rng(9_000 + u64::from(index)))
}

pub(crate) fn players(indices: &[u16]) -> Players {
    let key = |index: &u16| (p(*index), identity(*index).public().clone());
    Players::new(indices.iter().map(key).collect()).unwrap()
}

pub(crate) fn session(id: &str, operation: Operation, indices: &[u16]) -> Session {
    Session { id: SessionId::new(id).unwrap(), operation, players: players(indices) }
}

pub(crate) fn contexts(session: &Session) -> BTreeMap<PlayerIndex, Context> {
    session.players.indices().map(|player| (player, Context::new(session, player).unwrap())).collect()
}

/// The results of a run in which nobody failed.
pub(crate) fn all<T>(outcome: Outcome<T>) -> BTreeMap<PlayerIndex, T> {
    let finished = |(player, result): (PlayerIndex, Option<Result<T, Abort>>)| match result {
        Some(Ok(value)) => (player, value),
        Some(Err(abort)) => panic!("{player:?}: {abort:?}"),
        None => panic!("{player:?} waits for ever"),
    };
    outcome.into_iter().map(finished).collect()
}

/// How a player's run ended early.
pub(crate) fn abort_of<T>(outcome: &Outcome<T>, player: u16) -> &Abort {
    match &outcome[&p(player)] {
        Some(Err(abort)) => abort,
        Some(Ok(_)) => panic!("P{player} has a result"),
        None => panic!("P{player} waits for ever"),
    }
}

/// Everybody but the cheat ended with this class, naming the cheat, at the check of this number.
pub(crate) fn assert_caught<T>(outcome: &Outcome<T>, cheat: u16, class: Class, check: &str) {
    for player in outcome.keys().filter(|player| **player != p(cheat)) {
        assert_named(abort_of(outcome, player.0), Some(cheat), class, check);
    }
}

pub(crate) fn assert_named(abort: &Abort, culprit: Option<u16>, class: Class, check: &str) {
    assert_eq!(abort.class, class, "{abort:?}");
    assert_eq!(abort.player, culprit.map(p), "{abort:?}");
    assert!(abort.check.starts_with(check), "{abort:?}");
}

// Key generation.

pub(crate) fn keygen_session(id: &str, curve: CurveId, t: u64, indices: &[u16]) -> Session {
    let threshold = Threshold::new(t, indices.len()).unwrap();
    session(id, Operation::GenerateKey { curve, threshold, key_id: None }, indices)
}

pub(crate) fn parameters(session: &Session) -> KeygenParameters {
    match &session.operation {
        Operation::GenerateKey { curve, threshold, key_id } => {
            KeygenParameters { curve: *curve, threshold: *threshold, key_id: key_id.clone() }
        }
        Operation::SignEcdsa { .. } | Operation::SetUpPair | Operation::GeneratePresignatures { .. } => {
            panic!("not a key generation")
        }
    }
}

/// First steps of all players. Player i draws from the generator seeded with `seed` + i.
pub(crate) fn keygen_starts(session: &Session, seed: u64) -> BTreeMap<PlayerIndex, Step<ProvisionalKey>> {
    contexts(session)
        .into_iter()
        .map(|(player, context)| {
            let mut rng = test_rng(seed + u64::from(player.0));
            (player, keygen::start(&context, parameters(session), &mut rng))
        })
        .collect()
}

pub(crate) fn run_keygen(
    session: &Session,
    seed: u64,
    tamper: impl FnMut(InFlight<'_>),
) -> Outcome<ProvisionalKey> {
    run_cluster(keygen_starts(session, seed), &mut test_rng(seed), tamper)
}

pub(crate) fn run_confirm(
    session: &Session,
    shares: &BTreeMap<PlayerIndex, KeyShare>,
    tamper: impl FnMut(InFlight<'_>),
) -> Outcome<SignedCertificate> {
    let start = |(player, context): (PlayerIndex, Context)| {
        let certificate = shares[&player].certificate.clone();
        (player, keygen::confirm::start(&context, certificate, &identity(player.0)))
    };
    let steps = contexts(session).into_iter().map(start).collect();
    run_cluster(steps, &mut test_rng(0), tamper)
}

/// A key and all its shares.
pub(crate) type Shares = BTreeMap<PlayerIndex, KeyShare>;

pub(crate) fn generate(curve: CurveId, t: u64, indices: &[u16]) -> Shares {
    generate_with(curve, t, indices, 100)
}

pub(crate) fn generate_with(curve: CurveId, t: u64, indices: &[u16], seed: u64) -> Shares {
    let session = keygen_session("generate", curve, t, indices);
    all(run_keygen(&session, seed, honest)).into_iter().map(|(player, key)| (player, key.share)).collect()
}

/// A second copy of a share, as a node that loads it has one.
pub(crate) fn copy(share: &KeyShare) -> KeyShare {
    let secret = tsm_crypto::Secret::new(share.secret.expose().clone());
    KeyShare::new(share.certificate.clone(), share.holder, secret).unwrap()
}

// Pairs.

/// States of all pairs: `[i][j]` is the one that i has with j.
pub(crate) struct Pairs(BTreeMap<PlayerIndex, BTreeMap<PlayerIndex, Arc<PairState>>>);

impl Pairs {
    /// Sets up every pair anew. For tests that burn one.
    pub(crate) fn fresh(indices: &[u16]) -> Self {
        let mut pairs = Pairs(BTreeMap::new());
        for (place, one) in indices.iter().enumerate() {
            for other in &indices[place + 1..] {
                pairs.set_up(*one, *other);
            }
        }
        pairs
    }

    fn set_up(&mut self, one: u16, other: u16) {
        for (player, state) in all(set_up(&[one, other], honest)) {
            let peer = if player == p(one) { p(other) } else { p(one) };
            self.0.entry(player).or_default().insert(peer, Arc::new(state));
        }
    }

    pub(crate) fn of(&self, context: &Context) -> PerPeer<Arc<PairState>> {
        PerPeer::from_fn(&context.peers(), |peer| self.0[&context.me()][&peer].clone())
    }

    /// The states of these pairs to use, with the peer perhaps using those of `others`.
    pub(crate) fn or(&self, others: &Pairs, context: &Context) -> PerPeer<sign::PairStates> {
        PerPeer::from_fn(&context.peers(), |peer| sign::PairStates {
            mine: self.0[&context.me()][&peer].clone(),
            others: vec![others.0[&context.me()][&peer].clone()],
        })
    }

    pub(crate) fn between(&self, me: u16, peer: u16) -> &Arc<PairState> {
        &self.0[&p(me)][&p(peer)]
    }

    /// Whose states are burned, and with whom.
    pub(crate) fn burned(&self) -> BTreeSet<(PlayerIndex, PlayerIndex)> {
        let all = self.0.iter().flat_map(|(me, peers)| peers.iter().map(|(peer, state)| (*me, *peer, state)));
        all.filter(|(_, _, state)| state.is_burned()).map(|(me, peer, _)| (me, peer)).collect()
    }

    /// Sets up anew what is burned at either side.
    pub(crate) fn renew(&mut self) {
        let pairs: BTreeSet<[u16; 2]> =
            self.burned().into_iter().map(|(one, other)| [one.min(other).0, one.max(other).0]).collect();
        pairs.into_iter().for_each(|[one, other]| self.set_up(one, other));
    }
}

/// States that honest tests share: no check on them ever fails.
pub(crate) static PAIRS: LazyLock<Pairs> = LazyLock::new(|| Pairs::fresh(&INDICES));

pub(crate) fn set_up(indices: &[u16], tamper: impl FnMut(InFlight<'_>)) -> Outcome<PairState> {
    // No two set-ups of a test run may be the same.
    static SET_UPS: AtomicU64 = AtomicU64::new(1);
    set_up_from(1_000_000 + SET_UPS.fetch_add(1, Ordering::Relaxed), indices, tamper)
}

pub(crate) fn set_up_from(
    seed: u64,
    indices: &[u16],
    tamper: impl FnMut(InFlight<'_>),
) -> Outcome<PairState> {
    let mut rng = test_rng(seed);
    let session = session("pair", Operation::SetUpPair, indices);
    let start = |(player, context): (PlayerIndex, Context)| (player, pair::start(&context, &mut rng));
    let steps = contexts(&session).into_iter().map(start).collect();
    run_cluster(steps, &mut rng, tamper)
}

// Signing.

pub(crate) fn sign_session(id: &str, shares: &Shares, digest: &Digest, signers: &[u16]) -> Session {
    let certificate = &shares.values().next().unwrap().certificate;
    let operation = Operation::SignEcdsa {
        key_id: certificate.key_id.clone(),
        epoch: certificate.epoch,
        certificate: certificate.digest(),
        path: DerivationPath::ROOT,
        digest: digest.clone(),
    };
    session(id, operation, signers)
}

/// First steps of all signers. Player i draws from the generator seeded with `seed` + i.
pub(crate) fn sign_starts(
    session: &Session,
    shares: &Shares,
    pairs: &Pairs,
    seed: u64,
) -> BTreeMap<PlayerIndex, Step<PartialSignature>> {
    let Operation::SignEcdsa { digest, .. } = &session.operation else { panic!("not a signing session") };
    contexts(session)
        .into_iter()
        .map(|(player, context)| {
            let mut rng = test_rng(seed + u64::from(player.0));
            let step = sign::start(&context, &shares[&player], digest, pairs.of(&context), &mut rng).unwrap();
            (player, step)
        })
        .collect()
}

pub(crate) fn run_sign(
    session: &Session,
    shares: &Shares,
    pairs: &Pairs,
    seed: u64,
    tamper: impl FnMut(InFlight<'_>),
) -> Outcome<PartialSignature> {
    run_cluster(sign_starts(session, shares, pairs, seed), &mut test_rng(seed), tamper)
}

// Presigning.

pub(crate) fn presign_session(id: &str, shares: &Shares, count: u64, signers: &[u16]) -> Session {
    let certificate = &shares.values().next().unwrap().certificate;
    let operation = Operation::GeneratePresignatures {
        key_id: certificate.key_id.clone(),
        epoch: certificate.epoch,
        certificate: certificate.digest(),
        count: BatchSize::new(count).unwrap(),
    };
    session(id, operation, signers)
}

pub(crate) type Presigned = Vec<Presignature>;

/// First steps of all signers. Player i draws from the generator seeded with `seed` + i.
pub(crate) fn presign_starts(
    session: &Session,
    shares: &Shares,
    pairs: &Pairs,
    seed: u64,
) -> BTreeMap<PlayerIndex, Step<Presigned>> {
    let Operation::GeneratePresignatures { count, .. } = session.operation else { panic!("another session") };
    contexts(session)
        .into_iter()
        .map(|(player, context)| {
            let mut rng = test_rng(seed + u64::from(player.0));
            let step =
                presign::start(&context, &shares[&player], count, pairs.of(&context), &mut rng).unwrap();
            (player, step)
        })
        .collect()
}

pub(crate) fn run_presign(
    session: &Session,
    shares: &Shares,
    pairs: &Pairs,
    seed: u64,
    tamper: impl FnMut(InFlight<'_>),
) -> Outcome<Presigned> {
    run_cluster(presign_starts(session, shares, pairs, seed), &mut test_rng(seed), tamper)
}

/// The parts of all signers, of one presignature of each.
pub(crate) fn use_all(
    presignatures: BTreeMap<PlayerIndex, Presignature>,
    digest: &Digest,
    tweak: Option<&[u8]>,
) -> BTreeMap<PlayerIndex, PartialSignature> {
    let sign = |(player, presignature): (PlayerIndex, Presignature)| {
        let prepared = presignature.public().prepare(digest, tweak).unwrap();
        (player, presignature.sign(&prepared))
    };
    presignatures.into_iter().map(sign).collect()
}

/// Takes presignature after presignature from what all signers made.
pub(crate) fn each(
    made: BTreeMap<PlayerIndex, Presigned>,
) -> impl Iterator<Item = BTreeMap<PlayerIndex, Presignature>> {
    let mut made: BTreeMap<PlayerIndex, std::vec::IntoIter<Presignature>> =
        made.into_iter().map(|(player, presignatures)| (player, presignatures.into_iter())).collect();
    std::iter::from_fn(move || {
        made.iter_mut().map(|(player, rest)| rest.next().map(|first| (*player, first))).collect()
    })
}

pub(crate) fn digest(curve: CurveId, byte: u8) -> Digest {
    Digest::new(vec![byte; curve.digest_bytes()], curve).unwrap()
}

pub(crate) fn joined(partials: &BTreeMap<PlayerIndex, PartialSignature>) -> Signature {
    let partials: Vec<PartialSignature> = partials.values().cloned().collect();
    join(&partials[0].common.digest, &partials).unwrap()
}

/// All subsets of at least `least` elements.
pub(crate) fn subsets(of: &[u16], least: usize) -> Vec<Vec<u16>> {
    (0u32..1 << of.len())
        .filter(|bits| bits.count_ones() as usize >= least)
        .map(|bits| (0..of.len()).filter(|place| bits >> place & 1 == 1).map(|place| of[place]).collect())
        .collect()
}

// Cheating.

/// A generator that first gives what the test wants, then goes on as an honest one.
pub(crate) struct Scripted {
    pub(crate) first: std::collections::VecDeque<u8>,
    pub(crate) then: chacha20::ChaCha20Rng,
}

impl Scripted {
    pub(crate) fn new(first: impl IntoIterator<Item = u8>, seed: u64) -> Self {
        Scripted { first: first.into_iter().collect(), then: test_rng(seed) }
    }
}

impl rand_core::TryRng for Scripted {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        use rand_core::Rng;
        for byte in out {
            *byte = match self.first.pop_front() {
                Some(first) => first,
                None => {
                    let mut next = [0];
                    self.then.fill_bytes(&mut next);
                    next[0]
                }
            };
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Scripted {}

/// What a generator must give so that a scalar of secp256k1 is drawn as this one.
pub(crate) fn drawn_as(scalar: &<Secp256k1 as Curve>::Scalar) -> Vec<u8> {
    use tsm_crypto::Curve;
    [vec![0; 16], Secp256k1::encode_scalar(scalar)].concat()
}

/// Replaces the only occurrence of `old` in a message.
pub(crate) fn replace_bytes(body: &mut [u8], old: &[u8], new: &[u8]) {
    assert_eq!(old.len(), new.len());
    let places: Vec<usize> = body
        .windows(old.len())
        .enumerate()
        .filter(|(_, window)| *window == old)
        .map(|(place, _)| place)
        .collect();
    let [place] = places[..] else { panic!("{} occurrences", places.len()) };
    body[place..place + new.len()].copy_from_slice(new);
}

/// Encodings of 33 bytes that are not a point of secp256k1 other than the identity (rule S-24).
pub(crate) fn bad_points() -> Vec<(&'static str, Vec<u8>)> {
    let p = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f";
    let p = num_bigint::BigUint::parse_bytes(p.as_bytes(), 16).unwrap().to_bytes_be();
    let tagged = |tag: u8, x: &[u8], y: &[u8]| [&[tag], x, y].concat();
    let point =
        borsh::to_vec(&NonIdentityPoint::<Secp256k1>::new(Secp256k1::mul_generator(&1u64.into())).unwrap())
            .unwrap();
    let (x, y) = point[1..].split_at(32);
    vec![
        ("identity, padded", vec![0; 65]),
        ("x not below p", tagged(4, &p, y)),
        ("y not below p", tagged(4, x, &p)),
        ("all ones", vec![0xff; 65]),
        ("not on the curve", tagged(4, y, x)),
        ("tag of a compressed point", tagged(2, x, y)),
        ("hybrid tag", tagged(6, x, y)),
    ]
}

/// Encodings of 32 bytes that are not a scalar below the order of secp256k1.
pub(crate) fn bad_scalars() -> Vec<(&'static str, Vec<u8>)> {
    let q = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let q = num_bigint::BigUint::parse_bytes(q.as_bytes(), 16).unwrap().to_bytes_be();
    vec![("q", q), ("all ones", vec![0xff; 32])]
}
