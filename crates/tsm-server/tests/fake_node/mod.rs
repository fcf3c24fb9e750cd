//! A node that plays its part without any other player, and remembers what it was asked.
//!
//! For the tests of the server and of the SDK.
#![allow(dead_code, reason = "each test binary uses its own half")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tsm_crypto::ecdsa::partial_of_whole_key;
use tsm_crypto::hedged::test_rng;
use tsm_crypto::{Curve, CurveId, IdentityKey, Secp256k1, with_curve};
use tsm_server::api::{About, NodeApi};
use tsm_server::auth::{ApiKeyEntry, ApiKeys};
use tsm_types::presignatures::{
    GeneratePresignatures, PresignatureSet, Presigned, SignWithPresignature, SignedWithPresignature,
};
use tsm_types::request::{ChainCode, GenerateKey, KeyInfo, SignEcdsa, Signed};
use tsm_types::{
    ApplicationId, DerivationPath, ErrorCode, Failure, KeyId, PlayerIndex, PlayerKey, PresignatureId,
    Threshold,
};

/// Logs in to application `a`.
pub(crate) const KEY_OF_A: &str = "api-key-of-a";
/// Logs in to application `b`.
pub(crate) const KEY_OF_B: &str = "api-key-of-b";

/// What the node was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    GenerateKey(GenerateKey),
    Sign(SignEcdsa),
    GeneratePresignatures(GeneratePresignatures),
    SignWithPresignature(SignWithPresignature),
    CountPresignatures(KeyId),
    DeletePresignatures(KeyId),
    PublicKey(KeyId, DerivationPath),
    ChainCode(KeyId, DerivationPath),
    ListKeys,
    DeleteKeyShare(KeyId),
}

/// What the node does when it is asked.
#[derive(Clone, Default)]
pub(crate) enum Behaviour {
    #[default]
    Answer,
    Refuse(Failure),
    /// Waits for other players for ever.
    Wait,
}

pub(crate) struct FakeNode {
    behaviour: Mutex<Behaviour>,
    calls: Mutex<Vec<(String, Call)>>,
    /// One permit for each call that was begun.
    pub(crate) begun: Semaphore,
    /// One permit for each call that was dropped before it ended.
    pub(crate) cancelled: Semaphore,
    not_ready: Mutex<Vec<String>>,
}

impl Default for FakeNode {
    fn default() -> Self {
        FakeNode {
            behaviour: Mutex::default(),
            calls: Mutex::default(),
            begun: Semaphore::new(0),
            cancelled: Semaphore::new(0),
            not_ready: Mutex::default(),
        }
    }
}

impl FakeNode {
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn set_not_ready(&self, reasons: &[&str]) {
        *self.not_ready.lock().unwrap() = reasons.iter().map(|reason| (*reason).to_owned()).collect();
    }

    /// Every call since the last time, each with its application.
    pub(crate) fn take_calls(&self) -> Vec<(String, Call)> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    pub(crate) fn identity() -> PlayerKey {
        IdentityKey::generate(&mut test_rng(1)).public().clone()
    }

    async fn play(&self, application: &ApplicationId, call: Call) -> Result<(), Failure> {
        self.calls.lock().unwrap().push((application.to_string(), call));
        self.begun.add_permits(1);
        let behaviour = self.behaviour.lock().unwrap().clone();
        match behaviour {
            Behaviour::Answer => Ok(()),
            Behaviour::Refuse(failure) => Err(failure),
            Behaviour::Wait => {
                let _guard = OnDrop(&self.cancelled);
                std::future::pending().await
            }
        }
    }
}

struct OnDrop<'s>(&'s Semaphore);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// DER of the key that the node signs with.
pub(crate) fn public_key(curve: CurveId) -> Vec<u8> {
    with_curve!(curve, C => C::public_key_der(&C::mul_generator(&C::random_scalar(&mut test_rng(7)))))
}

fn key_info(key_id: KeyId, curve: CurveId, threshold: u64, holders: Vec<PlayerIndex>) -> KeyInfo {
    let threshold = Threshold::new(threshold, holders.len()).unwrap();
    KeyInfo { key_id, curve, threshold, public_key: public_key(curve), holders, notices: vec![] }
}

#[async_trait]
impl NodeApi for FakeNode {
    async fn generate_key(
        &self,
        application: &ApplicationId,
        request: GenerateKey,
    ) -> Result<KeyInfo, Failure> {
        self.play(application, Call::GenerateKey(request.clone())).await?;
        let key_id = request.key_id.unwrap_or_else(|| KeyId::new("drawnByThePlayers").unwrap());
        let holders = request.session.players.into_iter().collect();
        let mut info = key_info(key_id, request.curve, request.threshold, holders);
        if !request.session.dynamic_public_keys.is_empty() {
            info.notices.push("a dynamic public key was used".into());
        }
        Ok(info)
    }

    async fn sign(&self, application: &ApplicationId, request: SignEcdsa) -> Result<Signed, Failure> {
        self.play(application, Call::Sign(request.clone())).await?;
        if request.key_id.as_str() == "absent" {
            return Err(Failure::new(ErrorCode::KeyNotFound, "no key `absent`"));
        }
        let secret = Secp256k1::random_scalar(&mut test_rng(7));
        let nonce = Secp256k1::random_scalar(&mut test_rng(8));
        let partial = partial_of_whole_key::<Secp256k1>(&secret, &nonce, &request.digest);
        Ok(Signed { partial_signature: borsh::to_vec(&partial).unwrap(), notices: vec!["signed".into()] })
    }

    async fn generate_presignatures(
        &self,
        application: &ApplicationId,
        request: GeneratePresignatures,
    ) -> Result<Presigned, Failure> {
        self.play(application, Call::GeneratePresignatures(request.clone())).await?;
        let ids = (0..request.count.get()).map(|number| PresignatureId([number as u8; 32]));
        Ok(Presigned { presignature_ids: ids.collect(), notices: vec!["made".into()] })
    }

    async fn sign_with_presignature(
        &self,
        application: &ApplicationId,
        request: SignWithPresignature,
    ) -> Result<SignedWithPresignature, Failure> {
        self.play(application, Call::SignWithPresignature(request.clone())).await?;
        let secret = Secp256k1::random_scalar(&mut test_rng(7));
        let nonce = Secp256k1::random_scalar(&mut test_rng(8));
        let partial = partial_of_whole_key::<Secp256k1>(&secret, &nonce, &request.digest);
        Ok(SignedWithPresignature {
            presignature_id: request.presignature_id.unwrap_or(PresignatureId([9; 32])),
            players: vec![PlayerIndex(0)],
            partial_signature: borsh::to_vec(&partial).unwrap(),
        })
    }

    async fn count_presignatures(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
    ) -> Result<Vec<PresignatureSet>, Failure> {
        self.play(application, Call::CountPresignatures(key_id.clone())).await?;
        let set = |players: &[u16], count| PresignatureSet {
            players: players.iter().copied().map(PlayerIndex).collect(),
            count,
        };
        Ok(vec![set(&[0, 1], 3), set(&[0, 1, 2], 4)])
    }

    async fn delete_presignatures(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
    ) -> Result<u64, Failure> {
        self.play(application, Call::DeletePresignatures(key_id.clone())).await?;
        Ok(7)
    }

    async fn public_key(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
        path: &DerivationPath,
    ) -> Result<KeyInfo, Failure> {
        self.play(application, Call::PublicKey(key_id.clone(), path.clone())).await?;
        Ok(key_info(key_id.clone(), CurveId::Secp256k1, 1, vec![PlayerIndex(0), PlayerIndex(1)]))
    }

    async fn chain_code(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
        path: &DerivationPath,
    ) -> Result<ChainCode, Failure> {
        self.play(application, Call::ChainCode(key_id.clone(), path.clone())).await?;
        Ok(ChainCode([path.len() as u8; 32]))
    }

    async fn list_keys(&self, application: &ApplicationId) -> Result<Vec<KeyId>, Failure> {
        self.play(application, Call::ListKeys).await?;
        Ok(vec![KeyId::new(format!("keyOf{application}")).unwrap()])
    }

    async fn delete_key_share(&self, application: &ApplicationId, key_id: &KeyId) -> Result<(), Failure> {
        self.play(application, Call::DeleteKeyShare(key_id.clone())).await
    }

    fn about(&self) -> About {
        About { player: PlayerIndex(3), public_key: FakeNode::identity() }
    }

    async fn not_ready(&self) -> Vec<String> {
        self.not_ready.lock().unwrap().clone()
    }
}

/// The server with a fake node behind it. Ends with the value.
pub(crate) struct FakeServer {
    pub(crate) address: SocketAddr,
    pub(crate) node: Arc<FakeNode>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl FakeServer {
    pub(crate) async fn start() -> Self {
        let node = Arc::new(FakeNode::default());
        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = stop.clone().cancelled_owned();
        let task =
            tokio::spawn(tsm_server::server::serve(listener, node.clone(), Arc::new(api_keys()), shutdown));
        FakeServer { address, node, stop, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn api_keys() -> ApiKeys {
    let entry = |key: &str, application: &str| ApiKeyEntry {
        sha256: Sha256::digest(key).into(),
        application: application.to_owned(),
    };
    ApiKeys::new(vec![entry(KEY_OF_A, "a"), entry(KEY_OF_B, "b")]).unwrap()
}
