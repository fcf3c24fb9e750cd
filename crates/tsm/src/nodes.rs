//! The nodes that a command talks to: which ones, with which keys, all at the same time.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tsm_crypto::Secret;
use tsm_sdk::{ApiKey, Client, Configuration, Failure};

use crate::error::{CallFailure, CommandError};
use crate::node_url::NodeUrl;

/// After the first failure the other calls may tell their own for this long; then they are dropped,
/// which cancels their session.
const GRACE: Duration = Duration::from_secs(2);

/// Larger than any API key.
const MAX_API_KEY_FILE_BYTES: u64 = 4096;

/// The nodes to call. The URLs may hold API keys.
#[derive(Args)]
#[command(next_help_heading = "Nodes")]
pub(crate) struct NodeArgs {
    /// A node's URL; give one per node
    ///
    /// The node's API key is taken from the URL itself (http://KEY@localhost:8500), or from
    /// --api-key-file, or from the environment: TSM_API_KEY_0 for the first URL, TSM_API_KEY_1 for the
    /// second, and so on; TSM_API_KEY for those without their own. TSM_NODES may list the URLs,
    /// separated by commas.
    #[arg(
        long = "node",
        value_name = "URL",
        env = "TSM_NODES",
        hide_env_values = true,
        value_delimiter = ','
    )]
    urls: Vec<String>,
    /// A file with a node's API key; one per node, in the order of the URLs
    #[arg(long, value_name = "FILE")]
    api_key_file: Vec<PathBuf>,
}

/// A node and the client that talks to it.
#[derive(Clone, Debug)]
pub(crate) struct NodeClient {
    /// The URL, without a key.
    pub(crate) url: String,
    pub(crate) client: Client,
}

impl fmt::Debug for NodeArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeArgs {{ urls: <{} secrets>, api_key_file: {:?} }}", self.urls.len(), self.api_key_file)
    }
}

impl NodeArgs {
    /// Whether no node is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    /// Makes a client for every node. Talks to none of them yet.
    pub(crate) fn clients(&self) -> Result<Nodes, CommandError> {
        if self.is_empty() {
            return Err(CommandError::refused(
                "no node to call",
                "Give one --node per node, or set TSM_NODES.",
            ));
        }
        if !self.api_key_file.is_empty() && self.api_key_file.len() != self.urls.len() {
            let what = format!("{} nodes, but {} API key files", self.urls.len(), self.api_key_file.len());
            return Err(CommandError::refused(
                what,
                "Give one --api-key-file per --node, in the same order.",
            ));
        }
        let nodes = self.urls.iter().enumerate().map(|(place, url)| self.client(place, url));
        let nodes: Vec<NodeClient> = nodes.collect::<Result<_, _>>()?;
        let different: BTreeSet<&str> = nodes.iter().map(|node| node.url.as_str()).collect();
        if different.len() < nodes.len() {
            return Err(CommandError::refused("a node is named twice", "Give every node's URL once."));
        }
        Ok(Nodes(nodes))
    }

    fn client(&self, place: usize, url: &str) -> Result<NodeClient, CommandError> {
        let NodeUrl { url, api_key } = NodeUrl::new(url);
        let api_key = match (api_key, self.api_key_file.get(place)) {
            (Some(key), _) => Some(key),
            (None, Some(file)) => Some(read_api_key(file)?),
            (None, None) => api_key_of_environment(place),
        };
        let Some(api_key) = api_key else {
            let hint = format!("Give --api-key-file, or set TSM_API_KEY_{place} or TSM_API_KEY.");
            return Err(CommandError::refused(format!("no API key for {url}"), hint));
        };
        NodeClient::new(url, api_key.expose())
    }
}

impl NodeClient {
    /// A client of the node at `url`.
    pub(crate) fn new(url: String, api_key: &str) -> Result<Self, CommandError> {
        let client = ApiKey::new(api_key)
            .and_then(|key| Client::new(Configuration::new(&url)?.with_api_key(key)))
            .map_err(|failure| CommandError::Calls(vec![CallFailure { node: Some(url.clone()), failure }]))?;
        Ok(NodeClient { url, client })
    }
}

fn read_api_key(path: &Path) -> Result<Secret<String>, CommandError> {
    let mut text = Secret::new(String::new());
    let read =
        File::open(path).and_then(|file| file.take(MAX_API_KEY_FILE_BYTES).read_to_string(text.expose_mut()));
    match read {
        Ok(_) => Ok(Secret::new(text.expose().trim().to_owned())),
        Err(error) => Err(CommandError::refused(
            format!("{}: {error}", path.display()),
            "--api-key-file names a text file that holds one API key.",
        )),
    }
}

fn api_key_of_environment(place: usize) -> Option<Secret<String>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|key| !key.is_empty()).map(Secret::new);
    variable(&format!("TSM_API_KEY_{place}")).or_else(|| variable("TSM_API_KEY"))
}

/// The nodes of a command, in the order of the command line.
pub(crate) struct Nodes(pub(crate) Vec<NodeClient>);

/// What calls at several nodes brought.
pub(crate) struct Replies<T> {
    /// Who answered, in the order of the nodes.
    pub(crate) replies: Vec<(NodeClient, T)>,
    /// Who did not, and why.
    pub(crate) failures: Vec<CallFailure>,
}

impl<T> Replies<T> {
    /// The replies of all, or every failure.
    pub(crate) fn all(self) -> Result<Vec<(NodeClient, T)>, CommandError> {
        if self.failures.is_empty() { Ok(self.replies) } else { Err(CommandError::Calls(self.failures)) }
    }
}

impl Nodes {
    /// Makes a call at every node at the same time.
    pub(crate) async fn call<T, F>(&self, call: impl Fn(Client) -> F) -> Replies<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let mut calls = JoinSet::new();
        for (place, node) in self.0.iter().enumerate() {
            let call = call(node.client.clone());
            calls.spawn(async move { (place, call.await) });
        }
        let mut results: Vec<Option<Result<T, Failure>>> = self.0.iter().map(|_| None).collect();
        let mut give_up = None;
        while let Some(joined) = next(&mut calls, give_up).await {
            let (place, result) = joined.expect("no call panics, and none is aborted before the loop ends");
            if result.is_err() {
                give_up.get_or_insert(Instant::now() + GRACE);
            }
            if let Some(slot) = results.get_mut(place) {
                *slot = Some(result);
            }
        }
        let mut outcome = Replies { replies: Vec::new(), failures: Vec::new() };
        for (node, result) in self.0.iter().zip(results) {
            match result {
                Some(Ok(reply)) => outcome.replies.push((node.clone(), reply)),
                Some(Err(failure)) => {
                    outcome.failures.push(CallFailure { node: Some(node.url.clone()), failure });
                }
                // It was dropped, because another call had failed; that one is told.
                None => {}
            }
        }
        outcome
    }

    /// The nodes of `players`, in that order, or of all nodes if none are named; each says itself
    /// which player it is.
    ///
    /// A node that cannot say it matters only if a player then has no node.
    pub(crate) async fn of_players(&self, players: &[u16]) -> Result<Vec<(u16, NodeClient)>, CommandError> {
        let asked = self.call(|client| async move { Ok(client.version().await?.player) }).await;
        let found: Vec<(u16, NodeClient)> =
            asked.replies.into_iter().map(|(node, player)| (player, node)).collect();
        for (place, (player, node)) in found.iter().enumerate() {
            if let Some((_, other)) = found.iter().take(place).find(|(earlier, _)| earlier == player) {
                let what = format!("{} and {} are both player {player}", other.url, node.url);
                return Err(CommandError::refused(what, "Name one node per player."));
            }
        }
        if players.is_empty() {
            return if asked.failures.is_empty() {
                Ok(found)
            } else {
                Err(CommandError::Calls(asked.failures))
            };
        }
        let wanted = |player: &u16| found.iter().find(|(index, _)| index == player).cloned();
        let chosen: Vec<_> = players.iter().filter_map(wanted).collect();
        if chosen.len() < players.len() && !asked.failures.is_empty() {
            return Err(CommandError::Calls(asked.failures));
        }
        Ok(chosen)
    }
}

async fn next<T: 'static>(
    calls: &mut JoinSet<T>,
    give_up: Option<Instant>,
) -> Option<Result<T, tokio::task::JoinError>> {
    match give_up {
        Some(at) => timeout_at(at, calls.join_next()).await.ok().flatten(),
        None => calls.join_next().await,
    }
}

/// Refuses a session whose `players` do not all have a node among `found`.
pub(crate) fn demand_a_node_each(
    players: &[u16],
    found: &[(u16, NodeClient)],
    hint: &str,
) -> Result<(), CommandError> {
    let without = players.iter().find(|player| !found.iter().any(|(index, _)| index == *player));
    match without {
        Some(player) => Err(CommandError::refused(format!("none of the nodes is player {player}"), hint)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(urls: &[&str], files: &[&Path]) -> NodeArgs {
        NodeArgs {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            api_key_file: files.iter().map(|file| file.to_path_buf()).collect(),
        }
    }

    fn refusal(arguments: &NodeArgs) -> String {
        arguments.clients().map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_key_comes_from_the_url_or_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "canary\n").unwrap();
        let nodes = arguments(&["http://a", "http://secret@b/"], &[file.path(), Path::new("/not/read")]);
        let urls: Vec<String> = nodes.clients().unwrap().0.into_iter().map(|node| node.url).collect();
        assert_eq!(urls, ["http://a", "http://b"]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(refusal(&arguments(&[], &[])).contains("no node to call"));
        let twice = arguments(&["http://x@a", "http://y@a/"], &[]);
        assert!(refusal(&twice).contains("named twice"));
        let too_few = arguments(&["http://a", "http://b"], &[Path::new("f")]);
        assert!(refusal(&too_few).contains("2 nodes, but 1 API key files"));
        let missing = arguments(&["http://a"], &[Path::new("/does/not/exist")]);
        assert!(refusal(&missing).contains("/does/not/exist"));
    }

    #[test]
    fn s107_a_key_is_never_shown() {
        for url in
            ["http://canary@", "ftp://canary@a", "canary@a", "http://:canary@a?b", "http://can%20ary@a"]
        {
            let arguments = arguments(&[url], &[]);
            assert!(!refusal(&arguments).contains("can"), "{url}");
            assert!(!format!("{arguments:?}").contains("can"), "{url}");
        }
    }

    #[tokio::test]
    async fn every_failed_node_is_told_with_its_url() {
        let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let urls = [format!("http://k@{refused}"), format!("http://k@{refused}/b")];
        let nodes = arguments(&[&urls[0], &urls[1]], &[]).clients().unwrap();
        let replies = nodes.call(|client| async move { client.version().await }).await;
        assert!(replies.replies.is_empty());
        let told: Vec<_> = replies.failures.iter().filter_map(|failure| failure.node.clone()).collect();
        assert_eq!(told, [format!("http://{refused}"), format!("http://{refused}/b")]);
    }
}
