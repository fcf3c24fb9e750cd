//! HTTP to one node: login, limits, one repetition, and what may go wrong on the way.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tsm_types::api::{
    AUTHORIZATION_SCHEME, ChainCodeReply, GenerateKeyBody, KeyReply, KeysReply, Problem, ReadyReply,
    SignBody, SignReply, VersionReply,
};
use tsm_types::request::{ChainCode, KeyInfo, Signed};
use tsm_types::{DerivationPath, ErrorCode, Failure, KeyId};

use crate::configuration::{Configuration, NodeUrl};
use crate::node::Node;

/// How long connecting may take, login and TLS not counted.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call that runs no session may take.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A node closes idle connections after 10 s; not to use one at that moment saves a repetition.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// With three probes, a node that vanished is noticed within a minute of silence.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The largest reply, in bytes, except for lists of keys: problem documents with 32 players and
/// their differences take a tenth.
const MAX_REPLY_BYTES: usize = 256 * 1024;

/// Room for the IDs of a million keys.
const MAX_KEYS_REPLY_BYTES: usize = 70_000_000;

/// No node's configuration allows more. That a node is gone is found out much sooner, by the
/// connection's keepalive.
const LONGEST_SESSION: Duration = Duration::from_secs(3600);

/// For the way there and back, and for a busy node.
const REPLY_GRACE: Duration = Duration::from_secs(15);

/// A node at a URL, and the connections to it.
pub(crate) struct RemoteNode {
    url: NodeUrl,
    authorization: Option<HeaderValue>,
    connections: reqwest::Client,
}

impl fmt::Debug for RemoteNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteNode").field("url", &self.url).finish_non_exhaustive()
    }
}

#[async_trait]
impl Node for RemoteNode {
    async fn version(&self) -> Result<VersionReply, Failure> {
        self.call(Call::get("/v1/version")).await
    }

    async fn ready(&self) -> Result<ReadyReply, Failure> {
        self.call(Call { also_accepts: Some(503), ..Call::get("/ready") }).await
    }

    async fn generate_key(
        &self,
        body: GenerateKeyBody,
        timeout: Option<Duration>,
    ) -> Result<KeyInfo, Failure> {
        let call = Call { timeout: reply_timeout(timeout), ..Call::post("/v1/ecdsa/generate-key", &body) };
        let reply: KeyReply = self.call(call).await?;
        KeyInfo::try_from(reply).map_err(|failure| self.at(failure))
    }

    async fn sign(&self, body: SignBody, timeout: Option<Duration>) -> Result<Signed, Failure> {
        let call = Call { timeout: reply_timeout(timeout), ..Call::post("/v1/ecdsa/sign", &body) };
        let reply: SignReply = self.call(call).await?;
        Signed::try_from(reply).map_err(|failure| self.at(failure))
    }

    async fn key_info(&self, key_id: &KeyId, path: &DerivationPath) -> Result<KeyInfo, Failure> {
        let reply: KeyReply = self.call(at_path(key_id, "public-key", path)).await?;
        KeyInfo::try_from(reply).map_err(|failure| self.at(failure))
    }

    async fn chain_code(&self, key_id: &KeyId, path: &DerivationPath) -> Result<ChainCode, Failure> {
        let reply: ChainCodeReply = self.call(at_path(key_id, "chain-code", path)).await?;
        ChainCode::try_from(reply).map_err(|failure| self.at(failure))
    }

    async fn list_keys(&self) -> Result<Vec<String>, Failure> {
        let call = Call { max_reply_bytes: MAX_KEYS_REPLY_BYTES, ..Call::get("/v1/keys") };
        let reply: KeysReply = self.call(call).await?;
        Ok(reply.key_ids)
    }

    async fn delete_key_share(&self, key_id: &KeyId) -> Result<(), Failure> {
        self.attempt_twice(&Call::delete(&format!("/v1/keys/{key_id}"))).await.map(|_| ())
    }

    fn at(&self, failure: Failure) -> Failure {
        Failure { detail: format!("{}: {}", self.url, failure.detail), ..failure }
    }
}

fn at_path(key_id: &KeyId, resource: &str, path: &DerivationPath) -> Call {
    Call::get(&format!("/v1/ecdsa/keys/{key_id}/{resource}?derivation_path={path}"))
}

/// Longer than the session can take, so that the node's own reason arrives first.
fn reply_timeout(session: Option<Duration>) -> Duration {
    session.unwrap_or(LONGEST_SESSION).min(LONGEST_SESSION) + REPLY_GRACE
}

/// A call of the API.
struct Call {
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
    /// For the whole call, from connecting to the last byte.
    timeout: Duration,
    max_reply_bytes: usize,
    /// A status that is a reply like success, although it is an error by its number.
    also_accepts: Option<u16>,
}

impl Call {
    fn get(path: &str) -> Self {
        Self::new(Method::GET, path, None)
    }

    fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path, None)
    }

    fn post(path: &str, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("our bodies are strings and numbers");
        Self::new(Method::POST, path, Some(body))
    }

    fn new(method: Method, path: &str, body: Option<Vec<u8>>) -> Self {
        Call {
            method,
            path: path.to_owned(),
            body,
            timeout: LOCAL_TIMEOUT,
            max_reply_bytes: MAX_REPLY_BYTES,
            also_accepts: None,
        }
    }

    /// Whether making the call twice is the same as making it once. A session is one by its ID.
    fn repeatable(&self) -> bool {
        self.method != Method::DELETE
    }
}

/// Why an attempt brought no reply.
enum Attempt {
    /// The connection broke after it was made: the node may have done what was asked.
    Lost(String),
    /// Trying again makes no sense.
    Failed(Failure),
}

impl RemoteNode {
    pub(crate) fn new(configuration: Configuration) -> Result<Self, Failure> {
        let authorization = configuration.api_key.map(|key| {
            let header = format!("{AUTHORIZATION_SCHEME} {}", key.expose());
            let mut header =
                HeaderValue::try_from(header).expect("ApiKey::new refuses what no header carries");
            header.set_sensitive(true);
            header
        });
        let connections = reqwest::Client::builder()
            .user_agent(concat!("opentsm-sdk/", env!("CARGO_PKG_VERSION")))
            // The API key goes to this node and nowhere else.
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE)
            .tcp_keepalive_retries(3u32)
            .build()
            .map_err(|error| {
                let detail = format!("{}: no HTTP client: {}", configuration.url, cause(&error));
                Failure::new(ErrorCode::NodeUnreachable, detail)
            })?;
        Ok(RemoteNode { url: configuration.url, authorization, connections })
    }

    /// Makes a call and reads its reply.
    async fn call<R: DeserializeOwned>(&self, call: Call) -> Result<R, Failure> {
        let reply = self.attempt_twice(&call).await?;
        serde_json::from_slice(&reply).map_err(|error| {
            self.failure(
                ErrorCode::NodeReply,
                &format!("the reply is not what the API description says: {error}"),
            )
        })
    }

    fn failure(&self, code: ErrorCode, detail: &str) -> Failure {
        self.at(Failure::new(code, detail))
    }

    /// The node keeps outcomes under their session ID, so that asking again after a lost reply
    /// returns what was lost (rule S-117).
    async fn attempt_twice(&self, call: &Call) -> Result<Vec<u8>, Failure> {
        let lost = match self.attempt(call).await {
            Ok(reply) => return Ok(reply),
            Err(Attempt::Failed(failure)) => return Err(failure),
            Err(Attempt::Lost(cause)) => cause,
        };
        let again = if call.repeatable() { self.attempt(call).await } else { Err(Attempt::Lost(lost)) };
        again.map_err(|attempt| match attempt {
            Attempt::Failed(failure) => failure,
            Attempt::Lost(cause) => self.failure(
                ErrorCode::NodeUnreachable,
                &format!("the connection broke before the whole reply was there: {cause}"),
            ),
        })
    }

    async fn attempt(&self, call: &Call) -> Result<Vec<u8>, Attempt> {
        let mut request = self
            .connections
            .request(call.method.clone(), self.url.join(&call.path))
            .header(ACCEPT, "application/json, application/problem+json")
            .timeout(call.timeout);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let response = request.send().await.map_err(|error| self.broken(call, &error))?;
        let status = response.status();
        let body = self.bounded_body(call, response).await?;
        if status.is_success() || call.also_accepts == Some(status.as_u16()) {
            return Ok(body);
        }
        Err(Attempt::Failed(self.problem(status.as_u16(), &body)))
    }

    async fn bounded_body(&self, call: &Call, mut response: Response) -> Result<Vec<u8>, Attempt> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(call, &error))? {
            if body.len() + chunk.len() > call.max_reply_bytes {
                let detail = format!("the reply is longer than {} bytes", call.max_reply_bytes);
                return Err(Attempt::Failed(self.failure(ErrorCode::NodeReply, &detail)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn broken(&self, call: &Call, error: &reqwest::Error) -> Attempt {
        let cause = cause(error);
        let (code, detail) = if error.is_connect() {
            (ErrorCode::NodeUnreachable, format!("no connection: {cause}"))
        } else if error.is_timeout() {
            (ErrorCode::NodeUnreachable, format!("no reply within {:?}", call.timeout))
        } else if is_not_http(error) {
            (ErrorCode::NodeReply, format!("the reply is not HTTP: {cause}"))
        } else {
            return Attempt::Lost(cause);
        };
        Attempt::Failed(self.failure(code, &detail))
    }

    /// The failure that an error reply tells of.
    fn problem(&self, status: u16, body: &[u8]) -> Failure {
        let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
            // What it says instead is not repeated: whoever answers for a node may repeat our login.
            let detail = format!("answered with HTTP status {status} and no problem document");
            return self.failure(ErrorCode::NodeReply, &detail);
        };
        let unknown_code = ErrorCode::from_code(&problem.code).is_none().then(|| problem.code.clone());
        let mut failure = Failure::from(problem);
        if let Some(code) = unknown_code {
            failure.detail = format!("{code}, which this SDK does not know: {}", failure.detail);
        }
        self.at(failure)
    }
}

/// The last of the causes: the ones before only say that there is one. Has no URL and no header.
fn cause(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| "broken".to_owned(), ToString::to_string)
}

/// Whether the answer is not HTTP at all; otherwise a broken connection is just that.
fn is_not_http(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse))
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_silent_node_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let node = RemoteNode::new(Configuration::new(&url).unwrap()).unwrap();
        let call = Call { timeout: Duration::from_millis(50), ..Call::get("/ping") };
        let failure = node.attempt_twice(&call).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::NodeUnreachable);
        assert_eq!(failure.detail, format!("{url}: no reply within 50ms"));
    }

    #[test]
    fn the_nodes_own_reason_arrives_before_the_sdk_gives_up() {
        assert_eq!(reply_timeout(None), LONGEST_SESSION + REPLY_GRACE);
        let minute = Duration::from_secs(60);
        assert_eq!(reply_timeout(Some(minute)), minute + REPLY_GRACE);
        assert_eq!(reply_timeout(Some(Duration::MAX)), LONGEST_SESSION + REPLY_GRACE);
    }
}
