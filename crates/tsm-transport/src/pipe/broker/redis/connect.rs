//! One connection to a Redis: TCP, TLS, login, and what is made of its errors.

use std::pin::Pin;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, Value};
use tokio::time::timeout;
use tsm_types::address::HostPort;

use super::config::{RedisConfig, RedisServer};
use super::guard::{Bounds, Guard};
use crate::pipe::trust::{Roots, TlsClient};
use crate::pipe::{Pipe, tcp};

/// For all of TCP, TLS and login.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a living Redis may take to answer what it need not wait for.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Of what Redis says of itself this much is passed on.
const MAX_QUOTED_CHARS: usize = 200;

/// A connection that is logged in.
pub(super) struct Connection {
    pub(super) redis: MultiplexedConnection,
    pub(super) driver: Driver,
}

/// Moves bytes; must be polled for as long as there is anything to say. Ends with the connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Connection {
    /// Connects to `at`, which is the server's own place or, in a cluster, that of another member.
    pub(super) async fn open(
        config: &RedisConfig,
        at: &HostPort,
        bounds: Bounds,
        answer_time: Duration,
    ) -> Result<Self, Trouble> {
        let opening = async {
            let tcp = tcp::dial(at, CONNECT_TIME).await.map_err(Trouble::unreachable)?;
            let stream = if config.server.tls { encrypted(tcp, &config.roots, at).await? } else { tcp };
            let times = AsyncConnectionConfig::new().set_response_timeout(Some(answer_time));
            let (redis, driver) = MultiplexedConnection::new_with_config(
                &login(&config.server),
                Guard::new(stream, bounds),
                times,
            )
            .await
            .map_err(|error| Trouble::of(&error))?;
            Ok(Connection { redis, driver: Box::pin(driver) })
        };
        let outcome = timeout(CONNECT_TIME, opening).await;
        outcome.unwrap_or_else(|_| Err(Trouble::unreachable("it does not answer".to_owned())))
    }
}

fn login(server: &RedisServer) -> RedisConnectionInfo {
    let info = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP2)
        .set_db(i64::from(server.database))
        // Would need a right of its own.
        .set_skip_set_lib_name();
    let info = match &server.user {
        Some(user) => info.set_username(user.expose()),
        None => info,
    };
    match &server.password {
        Some(password) => info.set_password(password.expose()),
        None => info,
    }
}

async fn encrypted(tcp: Pipe, roots: &Roots, at: &HostPort) -> Result<Pipe, Trouble> {
    let stream = TlsClient::new(roots.clone(), None).connect(&at.host, tcp).await;
    let stream = stream.map_err(|error| Trouble {
        what: format!("no TLS came about: {error}"),
        advice: "its certificate must be valid for the host in ServerURL and from an authority that this machine \
                 trusts, or that [MPCRedisServer] RootCAFile names",
    })?;
    Ok(Box::new(stream))
}

/// Why Redis cannot be used, and what to do about it.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) what: String,
    pub(super) advice: &'static str,
}

impl Trouble {
    pub(super) fn unreachable(what: String) -> Self {
        Trouble { what, advice: "check ServerURL, and that Redis runs" }
    }

    /// A connection that was there.
    pub(super) fn lost(what: &str) -> Self {
        Trouble { what: format!("the connection was lost: {what}"), advice: "check that Redis runs" }
    }

    /// What came is not what was asked for.
    pub(super) fn odd(what: &str) -> Self {
        Trouble { what: what.to_owned(), advice: "check that ServerURL names a Redis, 7 or later" }
    }

    pub(super) fn of(error: &RedisError) -> Self {
        match (error.code(), error.kind()) {
            (Some(code), _) => Trouble::told(code, error.detail()),
            (None, ErrorKind::AuthenticationFailed) => Trouble::told("WRONGPASS", error.detail()),
            (None, _) if error.is_io_error() => Trouble::lost(&quoted(&error.to_string())),
            (None, _) => Trouble::odd(&quoted(&error.to_string())),
        }
    }

    /// An error that Redis itself told, by its first word.
    pub(super) fn told(code: &str, detail: Option<&str>) -> Self {
        let advice = match code {
            "WRONGPASS" | "NOAUTH" => "check the user and the password in ServerURL",
            "NOPERM" => "give this node's user at Redis the rights that docs/brokers.md lists",
            "OOM" => "give Redis more memory",
            "READONLY" | "MASTERDOWN" => "ServerURL must lead to a master",
            "LOADING" => "wait until Redis has read its data",
            "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" | "TRYAGAIN" => {
                "Redis is a cluster: set ClusterMode, and check that all of its slots are served"
            }
            _ => "check that it is Redis 7 or later, and see its log",
        };
        Trouble { what: quoted(&format!("it says {code} {}", detail.unwrap_or_default())), advice }
    }
}

/// What a stranger said, short and without anything that could disturb a log.
fn quoted(text: &str) -> String {
    text.trim().chars().take(MAX_QUOTED_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Sends commands in one write and returns as many answers.
pub(super) async fn ask(
    redis: &mut MultiplexedConnection,
    commands: &redis::Pipeline,
) -> Result<Vec<Value>, Trouble> {
    let count = commands.len();
    let answers = redis.send_packed_commands(commands, 0, count).await;
    let answers = answers.map_err(|error| Trouble::of(&error))?;
    if answers.len() == count { Ok(answers) } else { Err(Trouble::odd("it gave too few answers")) }
}

/// The answer to a command, if it is no refusal.
pub(super) fn granted(answer: Value) -> Result<Value, Trouble> {
    match answer {
        Value::ServerError(error) => Err(Trouble::told(error.code(), error.details())),
        answer => Ok(answer),
    }
}
