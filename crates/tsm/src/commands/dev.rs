//! `tsm dev`: three nodes in one process, and the main job.

mod network;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tsm_sdk::{CurveId, SessionConfig, SessionId, ecdsa};
use tsm_server::RunningNode;
use tsm_types::DerivationPath;

use super::ecdsa::{generate_key, sign};
use super::node::{StopSignals, log_to_stderr};
use crate::error::CommandError;
use crate::output::line;
use crate::progress::Progress;
use crate::public_key::{holders, named, spki};
use network::{DYNAMIC_PLAYER, Network, empty_folder};

/// Run three nodes on this machine, make a key and a signature with them, and keep serving
///
/// The nodes are real ones: each has its own configuration file, sqlite database, keys and ports on
/// 127.0.0.1, and they talk over TCP. Nodes 1 and 2 know each other; node 0 is dynamic: the others
/// learn its public key with each session. Everything is for trying out, and new every time.
/// RUST_LOG=info shows the nodes' log.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// End after the signature instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,
    /// A new or empty folder for configuration files and databases, which stays [default: a temporary
    /// one, removed at the end with --once]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

const MAKERS: [u16; 3] = [0, 1, 2];
const SIGNERS: [u16; 2] = [0, 2];
const THRESHOLD: u16 = 1;
const CURVE: CurveId = CurveId::Secp256k1;
const MESSAGE: &str = "Hello from three nodes";

impl Dev {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        log_to_stderr("warn");
        let (folder, _removed_at_the_end) = self.folder()?;
        super::runtime()?.block_on(self.serve(&folder))
    }

    /// The folder, and what removes it when dropped.
    fn folder(&self) -> Result<(PathBuf, Option<TempDir>), CommandError> {
        if let Some(path) = &self.dir {
            return Ok((empty_folder(path)?, None));
        }
        let folder = tempfile::Builder::new()
            .prefix("tsm-dev-")
            .tempdir()
            .map_err(|error| CommandError::Fault(format!("no temporary folder: {error}")))?;
        if self.once { Ok((folder.path().to_owned(), Some(folder))) } else { Ok((folder.keep(), None)) }
    }

    async fn serve(self, folder: &Path) -> Result<(), CommandError> {
        let mut signals = StopSignals::new()?;
        let started = Instant::now();
        let network = Network::write(folder)?;
        let progress = Progress::start("starting three nodes");
        let running = network.start().await?;
        drop(progress);
        let seconds = started.elapsed().as_secs_f64();
        let kept = if self.once && self.dir.is_none() { " until the end" } else { "" };
        line(format!(
            "three nodes started in {seconds:.2} s; their files are in {}{kept}\n",
            folder.display()
        ))?;
        introduce(&network)?;
        let signed = tokio::select! {
            signed = job(&network) => signed,
            name = signals.next() => Err(CommandError::Fault(format!("{name} before the signature was made"))),
        };
        let result = match signed {
            Ok(signed) if !self.once => {
                suggest(&network, &signed)?;
                signals.next().await;
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        tokio::select! {
            () = stop(running) => {}
            _ = signals.next() => return result,
        }
        if !self.once {
            line(format!(
                "\nStopped. To run a node again: {} node --config {}/node0.toml",
                program(),
                folder.display()
            ))?;
        }
        result
    }
}

async fn stop(nodes: Vec<RunningNode>) {
    let stops: Vec<_> = nodes.into_iter().map(|node| tokio::spawn(node.stop())).collect();
    for stop in stops {
        // Nothing is left to do for a node that panics while it stops.
        let _ = stop.await;
    }
}

fn introduce(network: &Network) -> Result<(), CommandError> {
    for node in &network.nodes {
        let how = match node.index {
            DYNAMIC_PLAYER => "dynamic: no other node's configuration knows it",
            _ => "known to the other nodes' configurations",
        };
        line(format!("node {}  {}  ({how})", node.index, node.url))?;
        line(format!("  API key     {}", node.api_key.expose()))?;
        line(format!("  public key  {}\n", node.public_key()))?;
    }
    Ok(())
}

/// What the job made, in the forms of the command line.
struct Signed {
    key_id: String,
    public_key: String,
    digest: String,
    signature: String,
}

/// The main job: a key by three players, a signature by two, its verification.
async fn job(network: &Network) -> Result<Signed, CommandError> {
    let dynamic = network.nodes.iter().filter(|node| node.index == DYNAMIC_PLAYER);
    let dynamic: BTreeMap<u16, Vec<u8>> =
        dynamic.map(|node| (node.index, node.identity.public().der().to_vec())).collect();
    let session =
        |players: &[u16]| SessionConfig::new(SessionId::generate(), players.iter().copied(), dynamic.clone());

    let started = Instant::now();
    let progress = Progress::start("making a key");
    let (key, _) =
        generate_key(&network.clients(&MAKERS)?, &session(&MAKERS), THRESHOLD, CURVE, None).await?;
    drop(progress);
    let seconds = started.elapsed().as_secs_f64();
    let who = holders(&key.players, key.signers_required, key.threshold);
    line(format!("{CURVE} key made in {seconds:.2} s by {who}"))?;
    line(format!(
        "  key ID      {}\n  public key  {}\n",
        key.key_id,
        hex::encode(key.public_key.sec1_compressed())
    ))?;

    let digest = Sha256::digest(MESSAGE);
    let started = Instant::now();
    let progress = Progress::start("signing");
    let (signature, _) =
        sign(&network.clients(&SIGNERS)?, &session(&SIGNERS), &key, &DerivationPath::ROOT, &digest).await?;
    drop(progress);
    let seconds = started.elapsed().as_secs_f64();
    ecdsa::verify(key.public_key.der(), &digest, signature.der())?;
    line(format!(
        "signature of SHA-256({MESSAGE:?}) made in {seconds:.2} s by {}; node 1 was not asked",
        named(&SIGNERS)
    ))?;
    line(format!("  DER         {}\n  verified under the public key", hex::encode(signature.der())))?;
    Ok(Signed {
        key_id: key.key_id,
        public_key: spki(&key.public_key),
        digest: hex::encode(digest),
        signature: hex::encode(signature.der()),
    })
}

/// Prints commands to copy.
fn suggest(network: &Network, signed: &Signed) -> Result<(), CommandError> {
    let program = program();
    let urls: Vec<String> = network.nodes.iter().map(network::DevNode::url_with_key).collect();
    let dynamic = network.nodes.iter().find(|node| node.index == DYNAMIC_PLAYER);
    let dynamic = dynamic.map(network::DevNode::public_key).unwrap_or_default();
    let Signed { key_id, public_key, digest, signature } = signed;
    line(format!(
        "\nTry it, in another terminal:\n\n\
         export TSM_NODES={}\n\
         NODE0={dynamic}\n\
         {program} ecdsa generate-key --threshold {THRESHOLD} --dynamic {DYNAMIC_PLAYER}=$NODE0\n\
         {program} ecdsa sign --key-id {key_id} --players 0,2 --dynamic {DYNAMIC_PLAYER}=$NODE0 --digest {digest}\n\
         {program} ecdsa verify --public-key {public_key} --digest {digest} --signature {signature}\n\
         {program} keys list\n\n\
         Serving until Ctrl-C.",
        urls.join(",")
    ))
}

/// This program, as the user called it.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "tsm".to_owned())
}
