//! The server's process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tsm_crypto::Secret;
use tsm_node::{LinkedNode, LinkedParts, Node, Settings};
use tsm_storage::{SealedStore, Sqlite, Stretch};
use tsm_transport::Listen;
use tsm_types::request::{GenerateKey, SessionRequest, SignEcdsa};
use tsm_types::{CurveId, DerivationPath, Failure, KeyId, PlayerKey, SessionId};

use super::words::{Answer, Asked, Held, Reply, Told, What};
use super::{PATIENT, PHONE, SERVER, application, identity, settings};
use crate::{DIGEST, cpu_time};

/// Sessions at once; more than any of the programs asks for.
const MAX_SESSIONS: usize = 4096;

/// Runs the server until its standard input ends.
///
/// # Errors
///
/// If it cannot listen, or its database cannot be opened.
pub fn serve(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?.block_on(
        async {
            let store = Sqlite::at(folder.join("server.db"));
            let store =
                SealedStore::open(&store, Secret::new("password".to_owned()), Stretch::CHEAPEST).await?;
            let linked = LinkedNode::start(LinkedParts {
                player: SERVER,
                identity: identity(0),
                players: BTreeMap::new(),
                listeners: vec![Listen::Tcp("127.0.0.1:0".parse()?)],
                broker: None,
                web_roots: Default::default(),
                store,
                settings: Settings { max_sessions: MAX_SESSIONS, ..settings() },
            })?;
            let address = linked.mpc_address().ok_or("it listens nowhere")?;
            answer_lines(linked.node(), &address.to_string()).await?;
            linked.stop().await;
            Ok(())
        },
    )
}

async fn answer_lines(node: &Node, address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (replies, mut written) = mpsc::unbounded_channel::<String>();
    let _ = replies.send(address.to_owned());
    let writer = tokio::spawn(async move {
        let mut out = tokio::io::stdout();
        while let Some(mut line) = written.recv().await {
            line.push('\n');
            if out.write_all(line.as_bytes()).await.is_err() || out.flush().await.is_err() {
                return;
            }
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let asked: Asked = serde_json::from_str(&line)?;
        let (node, replies) = (node.clone(), replies.clone());
        tokio::spawn(async move {
            let before = Instant::now();
            let told = answer(&node, asked.what).await;
            let micros = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
            let reply = Reply { number: asked.number, answer: Answer { micros, told } };
            let _ = replies.send(serde_json::to_string(&reply).expect("a reply can be written"));
        });
    }
    drop(replies);
    Ok(writer.await?)
}

async fn answer(node: &Node, what: What) -> Told {
    let result = match what {
        What::GenerateKey { session, phone } => generate_key(node, &session, &phone).await,
        What::Sign { session, phone, key_id, patience, leaves_after } => {
            let signing = sign(node, &session, &phone, &key_id, Duration::from_millis(patience));
            match leaves_after.map(Duration::from_micros) {
                None => signing.await,
                Some(patience) => tokio::time::timeout(patience, signing).await.unwrap_or(Ok(Told::Left)),
            }
        }
        What::Held => Ok(Told::Held(held(node))),
    };
    result.unwrap_or_else(|failure| {
        let players = failure.players.iter().map(|concern| concern.player.0).collect();
        Told::Failed(failure.code.to_string(), players)
    })
}

async fn generate_key(node: &Node, session: &str, phone: &str) -> Result<Told, Failure> {
    let session = session_with(session, phone, PATIENT)?;
    let request = GenerateKey { session, curve: CurveId::Secp256k1, threshold: 1, key_id: None };
    Ok(Told::Key(node.generate_key(&application(), request).await?.key_id.to_string()))
}

async fn sign(
    node: &Node,
    session: &str,
    phone: &str,
    key_id: &str,
    patience: Duration,
) -> Result<Told, Failure> {
    let session = session_with(session, phone, patience)?;
    let request = SignEcdsa {
        session,
        key_id: KeyId::new(key_id)?,
        path: DerivationPath::ROOT,
        digest: DIGEST.to_vec(),
    };
    Ok(Told::Part(node.sign(&application(), request).await?.partial_signature))
}

/// A session of the server with one phone, whose public key comes with it.
fn session_with(id: &str, phone: &str, patience: Duration) -> Result<SessionRequest, Failure> {
    let der = BASE64.decode(phone).expect("the driving program writes base64");
    let key = PlayerKey::from_der(&der).expect("the driving program writes public keys");
    Ok(SessionRequest {
        id: SessionId::new(id)?,
        players: BTreeSet::from([PHONE, SERVER]),
        dynamic_public_keys: [(PHONE, key)].into(),
        dynamic_addresses: BTreeMap::new(),
        connect_timeout: Some(patience),
        session_timeout: None,
    })
}

fn held(node: &Node) -> Held {
    let now = node.metrics();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.split_whitespace().next()?.parse().ok());
    Held {
        resident_kib: resident.unwrap_or(0),
        files: std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
        cpu_micros: u64::try_from(cpu_time().as_micros()).unwrap_or(u64::MAX),
        sessions: now.live_sessions,
        waiting_frames: now.waiting_frames,
        set_ups: now.live_pair_set_ups,
        pairs: now.pairs,
    }
}

/// The server's public key, as phones are shipped with it.
pub(super) fn public_key() -> PlayerKey {
    identity(0).public().clone()
}
