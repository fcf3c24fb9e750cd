//! Callers: what they ask, what they are told, when they leave and ask again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tsm_crypto::CurveId;
use tsm_node::Node;
use tsm_types::presignatures::{GeneratePresignatures, SignWithPresignature};
use tsm_types::request::{GenerateKey, KeyInfo, SignEcdsa};
use tsm_types::{BatchSize, DerivationPath, ErrorCode, Failure, KeyId, PresignatureId};

use crate::faults::Fault;
use crate::nodes::application;
use crate::plan::{Ask, SessionPlan};
use crate::prepared::request;
use crate::world::{Process, World};

/// Presignatures of one session: enough for a second one.
const PRESIGNATURES: u64 = 2;

/// What a key generation adds to the session's time while it looks for its certificate, a caller's
/// way to its node, and the grain of the clock.
const ALLOWANCE: Duration = Duration::from_millis(2_600);

/// One caller of one session.
pub(crate) struct Caller {
    pub(crate) world: Arc<World>,
    pub(crate) id: String,
    pub(crate) session: SessionPlan,
    pub(crate) player: u16,
    pub(crate) key_id: KeyId,
    pub(crate) digest: Vec<u8>,
    pub(crate) start: Duration,
    pub(crate) hang_up: Option<Duration>,
    pub(crate) retry: Option<Duration>,
    /// By how much clocks jump at most.
    pub(crate) jumps: Duration,
}

/// What a caller got.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Signed(Vec<u8>),
    Key(KeyInfo),
    Presigned(Vec<PresignatureId>),
    Failed(Failure),
    /// The process died, or was not there.
    Lost,
    HungUp,
    /// No answer by the deadline.
    Overdue,
}

/// An answer, and which process gave it.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) player: u16,
    pub(crate) process: u64,
    pub(crate) outcome: Outcome,
    /// What a presignature of the session made: the part, or why not; and the code of the attempt to use
    /// it for another digest.
    pub(crate) used: Option<Used>,
}

/// A part or why there is none, and the code of the attempt to use the presignature again.
pub(crate) type Used = (Result<Vec<u8>, ErrorCode>, Result<(), ErrorCode>);

impl Caller {
    /// Asks when it is time; gives every answer it got.
    pub(crate) async fn run(self) -> Vec<Answered> {
        sleep(self.start).await;
        let Some(after) = self.retry else { return vec![self.ask("asks", self.hang_up).await] };
        let again = async {
            sleep(after).await;
            self.world.lock().fault(Some(self.player), Fault::Retry, "the caller asks again");
            self.ask("asks again", None).await
        };
        let (first, second) = tokio::join!(self.ask("asks", self.hang_up), again);
        sleep(Duration::from_millis(10)).await;
        let third = self.ask("asks a third time", None).await;
        vec![first, second, third]
    }

    async fn ask(&self, how: &str, hang_up: Option<Duration>) -> Answered {
        let process = self.world.process(self.player);
        self.note(format!("the caller {how} for {}", self.id));
        let (number, outcome) = match &process {
            Some(process) => (process.number, self.answer(process, hang_up).await),
            None => (0, Outcome::Lost),
        };
        let said = match &outcome {
            Outcome::Signed(_) => "a partial signature".to_owned(),
            Outcome::Key(key) => format!("key {}", key.key_id),
            Outcome::Presigned(ids) => format!("{} presignatures", ids.len()),
            Outcome::Failed(failure) => format!("{}: {}", failure.code, failure.detail),
            Outcome::Lost => "nothing, the node is gone".to_owned(),
            Outcome::HungUp => "nothing, it has left".to_owned(),
            Outcome::Overdue => "NOTHING BY THE DEADLINE".to_owned(),
        };
        self.note(format!("the caller of {} has {said}", self.id));
        let used = match (&outcome, &process) {
            (Outcome::Presigned(ids), Some(process)) => self.use_twice(process, ids[0]).await,
            _ => None,
        };
        Answered { player: self.player, process: number, outcome, used }
    }

    fn note(&self, what: String) {
        self.world.lock().at(Some(self.player), what, false);
    }

    async fn answer(&self, process: &Process, hang_up: Option<Duration>) -> Outcome {
        // Before the session opens, a key whose certificate this node misses may be looked for.
        let latest = self.session.connect + self.session.total + ALLOWANCE + self.jumps;
        let left = async {
            match hang_up {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = process.down.cancelled() => Outcome::Lost,
            answer = self.call(&process.node) => answer.unwrap_or_else(Outcome::Failed),
            () = left => {
                self.world.lock().fault(Some(self.player), Fault::HangUp, "the caller leaves");
                Outcome::HungUp
            }
            () = sleep(latest) => Outcome::Overdue,
        }
    }

    async fn call(&self, node: &Node) -> Result<Outcome, Failure> {
        let mut session = request(&self.id, &self.session.players, &self.world.prepared.identities);
        session.connect_timeout = Some(self.session.connect);
        session.session_timeout = Some(self.session.total);
        let (application, key_id) = (application(), self.key_id.clone());
        match self.session.ask {
            Ask::Sign => {
                let (path, digest) = (DerivationPath::ROOT, self.digest.clone());
                let request = SignEcdsa { session, key_id, path, digest };
                Ok(Outcome::Signed(node.sign(&application, request).await?.partial_signature))
            }
            Ask::Generate => {
                let request = GenerateKey { session, curve: CurveId::Secp256k1, threshold: 1, key_id: None };
                Ok(Outcome::Key(node.generate_key(&application, request).await?))
            }
            Ask::Presign => {
                let count = BatchSize::new(PRESIGNATURES)?;
                let request = GeneratePresignatures { session, key_id, count };
                let made = node.generate_presignatures(&application, request).await?;
                Ok(Outcome::Presigned(made.presignature_ids))
            }
        }
    }

    /// Uses a presignature, and then tries to use it for another digest.
    async fn use_twice(
        &self,
        process: &Process,
        id: PresignatureId,
    ) -> Option<(Result<Vec<u8>, ErrorCode>, Result<(), ErrorCode>)> {
        let make = async |digest: &[u8]| {
            let request = SignWithPresignature {
                key_id: self.key_id.clone(),
                presignature_id: Some(id),
                players: None,
                path: DerivationPath::ROOT,
                digest: digest.to_vec(),
            };
            let made = process.node.sign_with_presignature(&application(), request).await;
            made.map(|signed| signed.partial_signature).map_err(|failure| failure.code)
        };
        let used = make(&self.digest).await;
        let other: Vec<u8> = self.digest.iter().map(|byte| byte ^ 1).collect();
        let twice = make(&other).await.map(drop);
        Some((used, twice))
    }
}
