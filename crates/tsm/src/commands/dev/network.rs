//! Three nodes with fresh keys, in one process.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_crypto::{IdentityKey, Secret};
use tsm_server::{RunningNode, config};
use zeroize::Zeroizing;

use crate::commands::api_key;
use crate::commands::player::{self, IdentityCurve};
use crate::error::CommandError;
use crate::nodes::{NodeClient, Nodes};

/// Nodes 0, 1 and 2. Node 0 knows the others; they know each other, but not node 0.
pub(super) struct Network {
    pub(super) nodes: Vec<DevNode>,
}

/// A node before it runs, and how to reach it.
pub(super) struct DevNode {
    pub(super) index: u16,
    pub(super) config_file: PathBuf,
    pub(super) url: String,
    pub(super) api_key: Secret<String>,
    pub(super) identity: IdentityKey,
    sdk_port: u16,
    mpc_port: u16,
}

/// The player whose public key no other node's configuration has.
pub(super) const DYNAMIC_PLAYER: u16 = 0;

const NODES: u16 = 3;

impl Network {
    /// Draws keys and ports, and writes the configuration files into `folder`.
    pub(super) fn write(folder: &Path) -> Result<Self, CommandError> {
        let mut ports = free_ports(usize::from(NODES) * 2)?.into_iter();
        let mut nodes = Vec::new();
        for index in 0..NODES {
            let mut port = || ports.next().expect("there are two ports for each node");
            let (sdk_port, mpc_port) = (port(), port());
            nodes.push(DevNode {
                index,
                config_file: folder.join(format!("node{index}.toml")),
                url: format!("http://127.0.0.1:{sdk_port}"),
                api_key: api_key::generate()?,
                identity: player::generate(IdentityCurve::P256)?,
                sdk_port,
                mpc_port,
            });
        }
        let network = Network { nodes };
        for node in &network.nodes {
            let text = network.configuration(node, folder)?;
            write_secret(&node.config_file, &text)
                .map_err(|error| CommandError::Fault(format!("{}: {error}", node.config_file.display())))?;
        }
        Ok(network)
    }

    /// Starts all nodes from their files, at the same time.
    pub(super) async fn start(&self) -> Result<Vec<RunningNode>, CommandError> {
        let starts = self.nodes.iter().map(|node| {
            let file = node.config_file.clone();
            tokio::spawn(async move {
                let config =
                    config::load(&file).map_err(|problems| CommandError::Configuration { file, problems })?;
                RunningNode::start(config).await.map_err(|error| CommandError::Fault(error.to_string()))
            })
        });
        let starts: Vec<_> = starts.collect();
        let mut running = Vec::new();
        for start in starts {
            running.push(start.await.expect("a start neither panics nor is aborted")?);
        }
        Ok(running)
    }

    /// Clients of the nodes of these players.
    pub(super) fn clients(&self, players: &[u16]) -> Result<Nodes, CommandError> {
        let chosen = self.nodes.iter().filter(|node| players.contains(&node.index));
        let clients = chosen.map(|node| NodeClient::new(node.url.clone(), node.api_key.expose()));
        clients.collect::<Result<_, _>>().map(Nodes)
    }

    fn configuration(&self, node: &DevNode, folder: &Path) -> Result<Zeroizing<String>, CommandError> {
        let mut text = Zeroizing::new(format!(
            "# Node {} of a development network, made by `tsm dev`.\n\
             [Player]\n  Index = {}\n  PrivateKey = \"{}\"\n",
            node.index,
            node.index,
            Zeroizing::new(BASE64.encode(node.identity.der().expose())).as_str(),
        ));
        let known = self.nodes.iter().filter(|peer| peer.index != node.index && peer.index != DYNAMIC_PLAYER);
        for peer in known {
            text.push_str(&format!("\n[Players.{}]\n", peer.index));
            // The lower index dials.
            if peer.index > node.index {
                text.push_str(&format!("  Address = \"127.0.0.1:{}\"\n", peer.mpc_port));
            }
            text.push_str(&format!("  PublicKey = \"{}\"\n", peer.public_key()));
        }
        if node.index != DYNAMIC_PLAYER {
            text.push_str(&format!(
                "\n[MPCTCPServer]\n  Address = \"127.0.0.1\"\n  Port = {}\n",
                node.mpc_port
            ));
        }
        let password = api_key::generate()?;
        let database = folder.join(format!("node{}.sqlite", node.index));
        text.push_str(&format!(
            "\n[SDKServer]\n  Address = \"127.0.0.1\"\n  Port = {}\n\n\
             [Database]\n  DriverName = \"sqlite3\"\n  DataSourceName = {}\n  EncryptorMasterPassword = \"{}\"\n\n\
             {}\n\n[DKLS23]\n",
            node.sdk_port,
            toml_text(&database.display().to_string()),
            password.expose(),
            api_key::section(&api_key::hash(node.api_key.expose()), "demoapp"),
        ));
        Ok(text)
    }
}

impl DevNode {
    /// Base64 of the DER SubjectPublicKeyInfo.
    pub(super) fn public_key(&self) -> String {
        BASE64.encode(self.identity.public().der())
    }

    /// The URL with the API key in it.
    pub(super) fn url_with_key(&self) -> String {
        self.url.replacen("://", &format!("://{}@", self.api_key.expose()), 1)
    }
}

/// Ports that nobody uses now. All are held until the last is found, so that they differ.
fn free_ports(count: usize) -> Result<Vec<u16>, CommandError> {
    let listeners: io::Result<Vec<TcpListener>> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    let ports = listeners.and_then(|listeners| {
        listeners.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect()
    });
    ports.map_err(|error| CommandError::Fault(format!("no free port on 127.0.0.1: {error}")))
}

/// Writes a new file that only its owner can read.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// Makes a folder for the files; refuses one that holds anything, since files of another network in
/// it would be mistaken for these.
pub(super) fn empty_folder(path: &Path) -> Result<PathBuf, CommandError> {
    let fault = |error: io::Error| CommandError::Fault(format!("{}: {error}", path.display()));
    fs::create_dir_all(path).map_err(fault)?;
    if fs::read_dir(path).map_err(fault)?.next().is_some() {
        let what = format!("{} is not empty", path.display());
        return Err(CommandError::refused(
            what,
            "Name a new or empty folder; `tsm node` runs nodes of an earlier one.",
        ));
    }
    path.canonicalize().map_err(fault)
}

/// A basic string of TOML.
fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_good_and_only_node_0_is_unknown_to_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let network = Network::write(folder.path()).unwrap();
        let known = |index: usize| -> Vec<u16> {
            let config = config::load(&network.nodes[index].config_file).unwrap();
            assert!(config.warnings.is_empty(), "{:?}", config.warnings);
            config.players.keys().copied().collect()
        };
        assert_eq!([known(0), known(1), known(2)], [vec![1, 2], vec![2], vec![1]]);
    }

    #[test]
    fn s107_others_cannot_read_the_files() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let network = Network::write(folder.path()).unwrap();
        for node in &network.nodes {
            assert_eq!(fs::metadata(&node.config_file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_folder_that_holds_something_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(empty_folder(folder.path()).is_ok());
        fs::write(folder.path().join("node0.toml"), "").unwrap();
        assert!(empty_folder(folder.path()).is_err());
    }
}
