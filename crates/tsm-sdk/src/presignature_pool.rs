//! Presignatures kept in supply, and signatures that use them while there are some.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tsm_crypto::ecdsa::Signature;
use tsm_types::{BatchSize, DerivationPath, ErrorCode, Failure};

use crate::client::Client;
use crate::ecdsa::{PresignatureSignResult, finalise_for};
use crate::public_key::PublicKey;
use crate::session::{SessionConfig, SessionId};

/// How often the nodes are asked how many they have: others may use them, too, and nodes restart.
const RECOUNT: Duration = Duration::from_secs(10);

/// How long to wait after a failure; twice as long after each further one, up to the second.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many presignatures a [`PresignaturePool`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaterMarks {
    /// Fewer than this, at least 1, and new ones are made ...
    pub low: u64,
    /// ... until there are this many. The nodes' `PresigGenGlobalLimit` is for all keys together.
    pub high: u64,
    /// How many a session makes, 1 to 100. A larger batch costs less for each, and keeps a processor for
    /// longer at a time.
    pub batch: u16,
}

/// What a pool has and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Presignatures left, as far as the pool knows: the nodes are asked every ten seconds.
    pub supply: u64,
    /// Presignatures made.
    pub made: u64,
    /// Signatures made of a presignature.
    pub signed: u64,
    /// Signatures made by a session of the signers, because there was no presignature.
    pub signed_live: u64,
    /// Why presignatures could not be made or counted the last time; `None` if they could.
    pub failure: Option<Failure>,
}

/// Keeps presignatures of one key and one set of signers in supply at the signers' nodes, and signs with
/// them.
///
/// For a program that has a client of every signer's node: presignatures are made by sessions, and nodes
/// run no session that their callers have not agreed on. Where each signer has a caller of its own, those
/// agree on sessions and presignatures as on any other.
///
/// Below the low mark it makes batches, one after another, until the high mark is reached. A node that is
/// busy computes for its other sessions first. What is left when a program ends stays at the nodes, for the
/// next pool; several pools may feed on one supply. A node that restarts has lost its part: what the others
/// still have goes with the next batch, and signatures are made by sessions until then.
///
/// Dropping the pool ends its work; sessions under way are cancelled.
///
/// ```no_run
/// use tsm_sdk::{Client, Failure, GeneratedKey, PresignaturePool, SessionConfig, SessionId, WaterMarks};
///
/// # async fn example(node0: Client, node2: Client, key: GeneratedKey, digests: Vec<[u8; 32]>) -> Result<(), Failure> {
/// let signers = SessionConfig::new(SessionId::generate(), [0, 2], Default::default());
/// let marks = WaterMarks { low: 100, high: 300, batch: 50 };
/// let pool = PresignaturePool::start(vec![node0, node2], signers, &key.key_id, marks)?;
/// for digest in digests {
///     let signature = pool.sign(&key.public_key, &[], &digest).await?;
/// }
/// println!("{} presignatures are left", pool.status().supply);
/// # Ok(())
/// # }
/// ```
pub struct PresignaturePool {
    pool: Arc<Pool>,
    filling: JoinHandle<()>,
}

impl PresignaturePool {
    /// Starts to fill. `signers` are clients of the nodes of the session's players; the session's ID is
    /// not used.
    ///
    /// Must be called within a tokio runtime, and panics elsewhere. Fails with
    /// [`ErrorCode::RequestInvalidField`] for marks that cannot be kept.
    pub fn start(
        signers: Vec<Client>,
        session: SessionConfig,
        key_id: &str,
        marks: WaterMarks,
    ) -> Result<Self, Failure> {
        if signers.len() != session.players().len() {
            return Err(Failure::invalid_field("signers", "one client per player of the session"));
        }
        if marks.low == 0 || marks.low > marks.high {
            return Err(Failure::invalid_field("low", "at least 1, and at most `high`"));
        }
        BatchSize::new(marks.batch.into())?;
        let mut players = session.players().to_vec();
        players.sort_unstable();
        let pool = Arc::new(Pool {
            signers,
            players,
            session,
            key_id: key_id.to_owned(),
            marks,
            status: Mutex::default(),
            look: Notify::new(),
        });
        let filling = tokio::spawn(pool.clone().keep_filled());
        Ok(PresignaturePool { pool, filling })
    }

    /// Signs with a presignature, in two calls one after the other and without a message between nodes; or
    /// by a session, if there is none.
    ///
    /// `public_key` is the key at `path` ([`Ecdsa::public_key`](crate::ecdsa::Ecdsa::public_key)); the
    /// signature has been verified under it. A call that fails may have used a presignature up.
    pub async fn sign(
        &self,
        public_key: &PublicKey,
        path: &[u32],
        digest: &[u8],
    ) -> Result<Signature, Failure> {
        // What no node would sign costs no presignature.
        DerivationPath::new(path)?;
        if let Some(parts) = self.pool.sign_with_presignature(path, digest).await? {
            let signature = finalise_for(public_key, digest, &parts)?;
            self.pool.status().signed += 1;
            return Ok(signature);
        }
        let parts = self.pool.sign_live(path, digest).await?;
        let signature = finalise_for(public_key, digest, &parts)?;
        self.pool.status().signed_live += 1;
        Ok(signature)
    }

    /// What it has and did so far.
    pub fn status(&self) -> PoolStatus {
        self.pool.status().clone()
    }
}

impl Drop for PresignaturePool {
    fn drop(&mut self) {
        self.filling.abort();
    }
}

impl fmt::Debug for PresignaturePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pool { key_id, players, marks, .. } = self.pool.as_ref();
        f.debug_struct("PresignaturePool")
            .field("key_id", key_id)
            .field("players", players)
            .field("marks", marks)
            .finish_non_exhaustive()
    }
}

struct Pool {
    signers: Vec<Client>,
    /// Ascending.
    players: Vec<u16>,
    session: SessionConfig,
    key_id: String,
    marks: WaterMarks,
    status: Mutex<PoolStatus>,
    /// Told when the supply should be looked at.
    look: Notify,
}

impl Pool {
    async fn keep_filled(self: Arc<Self>) {
        let mut pause = PAUSE;
        let mut filling = false;
        loop {
            let looked = self.look(&mut filling).await;
            self.status().failure = looked.as_ref().err().cloned();
            match looked {
                Ok(()) if filling => pause = PAUSE,
                Ok(()) => {
                    pause = PAUSE;
                    // Either way it is time to look.
                    let _ = timeout(RECOUNT, self.look.notified()).await;
                }
                Err(_) => {
                    sleep(pause).await;
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Counts, and makes a batch if it is time to. `filling` is whether it goes on to the high mark.
    async fn look(&self, filling: &mut bool) -> Result<(), Failure> {
        let supply = self.count().await?;
        self.status().supply = supply;
        *filling = supply < if *filling { self.marks.high } else { self.marks.low };
        if !*filling {
            return Ok(());
        }
        let count = (self.marks.high - supply).min(self.marks.batch.into()) as u16;
        let session = self.fresh_session();
        let calls = self
            .signers
            .iter()
            .map(|signer| signer.ecdsa().generate_presignatures(&session, &self.key_id, count));
        try_join_all(calls).await?;
        let mut status = self.status();
        status.supply += u64::from(count);
        status.made += u64::from(count);
        Ok(())
    }

    /// What the node with the fewest has.
    async fn count(&self) -> Result<u64, Failure> {
        let counts = try_join_all(self.signers.iter().map(|signer| self.held_at(signer))).await?;
        Ok(counts.into_iter().min().unwrap_or_default())
    }

    async fn held_at(&self, signer: &Client) -> Result<u64, Failure> {
        let sets = signer.ecdsa().count_presignatures(&self.key_id).await?;
        Ok(sets.iter().find(|set| set.players == self.players).map_or(0, |set| set.count))
    }

    /// The parts of all signers; `None` if there is no presignature that all have.
    async fn sign_with_presignature(
        &self,
        path: &[u32],
        digest: &[u8],
    ) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        let Some((first, others)) = self.signers.split_first().filter(|_| self.status().supply > 0) else {
            return Ok(None);
        };
        let used = async {
            let first = self.part(first, None, path, digest).await?;
            self.one_less();
            let id = first.presignature_id.as_str();
            let others = others.iter().map(|signer| self.part(signer, Some(id), path, digest));
            let mut parts = try_join_all(others).await?;
            parts.push(first);
            Ok(parts.into_iter().map(|part| part.partial_signature).collect())
        };
        match used.await {
            Ok(parts) => Ok(Some(parts)),
            Err(Failure { code: ErrorCode::PresignatureNotFound | ErrorCode::PresignatureUsed, .. }) => {
                self.look.notify_one();
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn part(
        &self,
        signer: &Client,
        id: Option<&str>,
        path: &[u32],
        digest: &[u8],
    ) -> Result<PresignatureSignResult, Failure> {
        signer.ecdsa().sign_with_presignature(&self.key_id, id, Some(&self.players), path, digest).await
    }

    async fn sign_live(&self, path: &[u32], digest: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let session = self.fresh_session();
        let calls =
            self.signers.iter().map(|signer| signer.ecdsa().sign(&session, &self.key_id, path, digest));
        let signed = try_join_all(calls).await?;
        Ok(signed.into_iter().map(|part| part.partial_signature).collect())
    }

    fn one_less(&self) {
        let mut status = self.status();
        status.supply = status.supply.saturating_sub(1);
        if status.supply < self.marks.low {
            self.look.notify_one();
        }
    }

    fn fresh_session(&self) -> SessionConfig {
        self.session.clone().with_session_id(SessionId::generate())
    }

    fn status(&self) -> MutexGuard<'_, PoolStatus> {
        self.status.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use async_trait::async_trait;
    use tsm_crypto::ecdsa::partial_of_whole_key;
    use tsm_crypto::hedged::test_rng;
    use tsm_crypto::{Curve, Secp256k1, curve::Field};
    use tsm_types::api::{
        GenerateKeyBody, GeneratePresignaturesBody, ReadyReply, SignBody, SignWithPresignatureBody,
        VersionReply,
    };
    use tsm_types::presignatures::{PresignatureSet, Presigned, SignedWithPresignature};
    use tsm_types::request::{ChainCode, KeyInfo, SignEcdsa, Signed};
    use tsm_types::{KeyId, PlayerIndex, PresignatureId};

    use super::*;
    use crate::node::Node;

    const PLAYERS: [u16; 2] = [0, 4];
    const MARKS: WaterMarks = WaterMarks { low: 3, high: 10, batch: 4 };

    /// A node whose presignatures are names, and whose parts make signatures of one key.
    #[derive(Debug)]
    struct Fake {
        player: u16,
        held: Mutex<VecDeque<PresignatureId>>,
        batches: Mutex<Vec<u64>>,
        refuses: Mutex<Option<ErrorCode>>,
    }

    impl Fake {
        fn part(&self, digest: &[u8]) -> Vec<u8> {
            let (secret, nonce) = (scalar(1), scalar(2));
            let mut part = partial_of_whole_key::<Secp256k1>(&secret, &nonce, digest);
            part.common.signers = PLAYERS.to_vec();
            part.signer = self.player;
            if self.player != PLAYERS[0] {
                let nothing = Secp256k1::encode_scalar(&Field::ZERO);
                (part.w, part.u) = (nothing.clone(), nothing);
            }
            borsh::to_vec(&part).unwrap()
        }

        fn held(&self) -> usize {
            self.held.lock().unwrap().len()
        }

        fn batches(&self) -> Vec<u64> {
            self.batches.lock().unwrap().clone()
        }

        fn refuse(&self, code: Option<ErrorCode>) {
            *self.refuses.lock().unwrap() = code;
        }
    }

    #[async_trait]
    impl Node for Fake {
        async fn generate_presignatures(
            &self,
            body: GeneratePresignaturesBody,
            _: Option<Duration>,
        ) -> Result<Presigned, Failure> {
            self.batches.lock().unwrap().push(body.count);
            if let Some(code) = *self.refuses.lock().unwrap() {
                return Err(Failure::new(code, "as it was told"));
            }
            sleep(Duration::from_millis(10)).await;
            let id = |number| {
                let mut id: [u8; 32] = body.session.session_id.as_bytes()[..32].try_into().unwrap();
                id[31] = number;
                PresignatureId(id)
            };
            let made: Vec<_> = (0..body.count as u8).map(id).collect();
            self.held.lock().unwrap().extend(&made);
            Ok(Presigned { presignature_ids: made, notices: vec![] })
        }

        async fn sign_with_presignature(
            &self,
            body: SignWithPresignatureBody,
        ) -> Result<SignedWithPresignature, Failure> {
            let request = tsm_types::presignatures::SignWithPresignature::try_from(body)?;
            let mut held = self.held.lock().unwrap();
            let place = match request.presignature_id {
                None => 0,
                Some(id) => held.iter().position(|held| *held == id).unwrap_or(usize::MAX),
            };
            let none = || Failure::new(ErrorCode::PresignatureNotFound, "is not here");
            let presignature_id = held.remove(place).ok_or_else(none)?;
            let partial_signature = self.part(&request.digest);
            Ok(SignedWithPresignature {
                presignature_id,
                players: PLAYERS.map(PlayerIndex).to_vec(),
                partial_signature,
            })
        }

        async fn count_presignatures(&self, _: &KeyId) -> Result<Vec<PresignatureSet>, Failure> {
            let set = |players: &[u16], count| PresignatureSet {
                players: players.iter().copied().map(PlayerIndex).collect(),
                count,
            };
            Ok(vec![set(&[0, 1], 99), set(&PLAYERS, self.held() as u64)])
        }

        async fn sign(&self, body: SignBody, _: Option<Duration>) -> Result<Signed, Failure> {
            let request = SignEcdsa::try_from(body)?;
            Ok(Signed { partial_signature: self.part(&request.digest), notices: vec![] })
        }

        async fn generate_key(&self, _: GenerateKeyBody, _: Option<Duration>) -> Result<KeyInfo, Failure> {
            unimplemented!()
        }
        async fn version(&self) -> Result<VersionReply, Failure> {
            unimplemented!()
        }
        async fn ready(&self) -> Result<ReadyReply, Failure> {
            unimplemented!()
        }
        async fn delete_presignatures(&self, _: &KeyId) -> Result<u64, Failure> {
            unimplemented!()
        }
        async fn key_info(&self, _: &KeyId, _: &DerivationPath) -> Result<KeyInfo, Failure> {
            unimplemented!()
        }
        async fn chain_code(&self, _: &KeyId, _: &DerivationPath) -> Result<ChainCode, Failure> {
            unimplemented!()
        }
        async fn list_keys(&self) -> Result<Vec<String>, Failure> {
            unimplemented!()
        }
        async fn delete_key_share(&self, _: &KeyId) -> Result<(), Failure> {
            unimplemented!()
        }
        fn at(&self, failure: Failure) -> Failure {
            failure
        }
    }

    fn scalar(seed: u64) -> <Secp256k1 as Curve>::Scalar {
        Secp256k1::random_scalar(&mut test_rng(seed))
    }

    fn key() -> PublicKey {
        PublicKey::from_der(&Secp256k1::public_key_der(&Secp256k1::mul_generator(&scalar(1)))).unwrap()
    }

    fn nodes() -> [Arc<Fake>; 2] {
        PLAYERS.map(|player| {
            Arc::new(Fake {
                player,
                held: Mutex::default(),
                batches: Mutex::default(),
                refuses: Mutex::default(),
            })
        })
    }

    fn pool(nodes: &[Arc<Fake>], marks: WaterMarks) -> Result<PresignaturePool, Failure> {
        let clients = nodes.iter().map(|node| Client::of(node.clone() as Arc<dyn Node>)).collect();
        let session = SessionConfig::new(SessionId::generate(), PLAYERS, Default::default());
        PresignaturePool::start(clients, session, "key", marks)
    }

    async fn sign(pool: &PresignaturePool) {
        pool.sign(&key(), &[], &[7; 32]).await.unwrap();
    }

    /// Long enough to fill a pool, and too short for another count.
    async fn a_while() {
        sleep(RECOUNT / 10).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_is_filled_to_the_high_mark_and_again_below_the_low_one() {
        let nodes = nodes();
        let pool = pool(&nodes, MARKS).unwrap();
        a_while().await;
        assert_eq!((nodes[0].held(), nodes[1].batches()), (10, vec![4, 4, 2]));
        for _ in 0..7 {
            sign(&pool).await;
        }
        sleep(3 * RECOUNT).await;
        assert_eq!((nodes[0].held(), pool.status().supply), (3, 3));
        sign(&pool).await;
        a_while().await;
        assert_eq!((nodes[0].held(), nodes[1].held(), nodes[0].batches().len()), (10, 10, 5));
        let expected = PoolStatus { supply: 10, made: 18, signed: 8, signed_live: 0, failure: None };
        assert_eq!(pool.status(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn without_presignatures_a_pool_signs_by_sessions() {
        let nodes = nodes();
        nodes[0].refuse(Some(ErrorCode::PresignatureLimit));
        let pool = pool(&nodes, MARKS).unwrap();
        a_while().await;
        sign(&pool).await;
        assert_eq!((pool.status().signed, pool.status().signed_live), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_node_has_lost_is_noticed_at_the_next_signature_and_made_anew() {
        let nodes = nodes();
        let pool = pool(&nodes, MARKS).unwrap();
        a_while().await;
        nodes[1].held.lock().unwrap().clear();
        sign(&pool).await;
        assert_eq!((pool.status().signed, pool.status().signed_live), (0, 1));
        a_while().await;
        assert_eq!(nodes[1].held(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_use_is_noticed_without_a_signature() {
        let nodes = nodes();
        let _pool = pool(&nodes, MARKS).unwrap();
        a_while().await;
        for node in &nodes {
            node.held.lock().unwrap().truncate(2);
        }
        sleep(RECOUNT).await;
        a_while().await;
        assert_eq!(nodes[0].held(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_that_cannot_be_filled_tells_why_and_tries_ever_less_often() {
        let nodes = nodes();
        nodes[0].refuse(Some(ErrorCode::PresignatureLimit));
        let pool = pool(&nodes, MARKS).unwrap();
        sleep(Duration::from_secs(600)).await;
        assert_eq!(pool.status().failure.unwrap().code, ErrorCode::PresignatureLimit);
        let attempts = nodes[0].batches().len();
        assert!((10..=20).contains(&attempts), "{attempts}");
        nodes[0].refuse(None);
        sleep(LONGEST_PAUSE).await;
        a_while().await;
        assert_eq!((nodes[0].held(), pool.status().failure), (10, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_nobody_signs_at_costs_no_presignature() {
        let nodes = nodes();
        let pool = pool(&nodes, MARKS).unwrap();
        a_while().await;
        let refused = pool.sign(&key(), &[1 << 31], &[7; 32]).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::PathHardened);
        assert_eq!(nodes.map(|node| node.held()), [10, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_that_is_dropped_makes_no_more() {
        let nodes = nodes();
        let pool = pool(&nodes, WaterMarks { high: 1000, ..MARKS }).unwrap();
        sleep(Duration::from_millis(15)).await;
        drop(pool);
        a_while().await;
        assert!(nodes[0].batches().len() <= 2);
    }

    #[tokio::test]
    async fn marks_that_cannot_be_kept_are_refused() {
        for marks in [
            WaterMarks { low: 0, ..MARKS },
            WaterMarks { low: 11, ..MARKS },
            WaterMarks { batch: 0, ..MARKS },
            WaterMarks { batch: 101, ..MARKS },
        ] {
            assert_eq!(pool(&nodes(), marks).unwrap_err().code, ErrorCode::RequestInvalidField, "{marks:?}");
        }
        assert_eq!(pool(&nodes()[..1], MARKS).unwrap_err().code, ErrorCode::RequestInvalidField);
    }
}
