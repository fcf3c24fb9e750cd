//! What a node is told of its Redis.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use tsm_crypto::Secret;
use tsm_types::Reach;
use tsm_types::address::{Address, HostPort, Place};

use crate::pipe::trust::Roots;

const DEFAULT_PORT: u16 = 6379;

/// Where Redis is and how it is used; the values of `[MPCRedisServer]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// Where it is, and who this node is there.
    pub server: RedisServer,
    /// Who may vouch for the Redis of a `rediss` URL, besides the operating system's authorities.
    pub roots: Roots,
    /// Most messages in one write, from 1.
    pub send_batch: usize,
    /// Most messages taken from an inbox in one read, from 1.
    pub receive_batch: usize,
    /// An inbox whose node is gone vanishes after a minute rather than an hour.
    pub expire_keys: bool,
    /// Redis is a cluster, of which `server` is any member.
    pub cluster: bool,
}

impl RedisConfig {
    /// The defaults of a configuration file.
    pub fn new(server: RedisServer) -> Self {
        RedisConfig {
            server,
            roots: Roots::default(),
            send_batch: 20,
            receive_batch: 20,
            expire_keys: false,
            cluster: false,
        }
    }
}

/// What a URL `redis://user:password@host:port/database` says; with `rediss` by TLS. Only host and port
/// are ever shown.
#[derive(Clone)]
pub struct RedisServer {
    pub(super) tls: bool,
    pub(super) at: HostPort,
    /// Redis's user `default` if there is a password alone.
    pub(super) user: Option<Arc<Secret<String>>>,
    pub(super) password: Option<Arc<Secret<String>>>,
    pub(super) database: u32,
}

impl RedisServer {
    /// Other than 0, which is the only one that a cluster has.
    pub fn names_a_database(&self) -> bool {
        self.database != 0
    }
}

/// What is wrong with a URL; a sentence that does not quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisUrlError(pub &'static str);

impl fmt::Display for RedisUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for RedisUrlError {}

impl FromStr for RedisServer {
    type Err = RedisUrlError;

    fn from_str(url: &str) -> Result<Self, RedisUrlError> {
        let (tls, rest) = match url.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            _ => return Err(RedisUrlError("the URL does not begin with redis:// or rediss://")),
        };
        if rest.contains(['?', '#']) {
            return Err(RedisUrlError("the URL has options, which are not known here"));
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| RedisUrlError("the database in the URL is not a number"))?,
        };
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let (user, password) = login.map_or(Ok((None, None)), read_login)?;
        Ok(RedisServer { tls, at: read_place(place)?, user, password, database })
    }
}

type Login = (Option<Arc<Secret<String>>>, Option<Arc<Secret<String>>>);

fn read_login(login: &str) -> Result<Login, RedisUrlError> {
    let Some((user, password)) = login.split_once(':') else {
        return Err(RedisUrlError("the URL has a user without a password"));
    };
    let (user, password) = (decoded(user)?, decoded(password)?);
    if password.expose().is_empty() {
        return Err(RedisUrlError("the password in the URL is empty"));
    }
    Ok(((!user.expose().is_empty()).then(|| Arc::new(user)), Some(Arc::new(password))))
}

/// Without `%`-encoding.
fn decoded(text: &str) -> Result<Secret<String>, RedisUrlError> {
    const WRONG: RedisUrlError = RedisUrlError("user or password in the URL is not percent-encoded UTF-8");
    // With room for all of it: a buffer that grows leaves copies behind.
    let mut bytes = Secret::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or(WRONG);
                (u8::try_from(digit(high)? * 16 + digit(low)?).map_err(|_| WRONG)?, after)
            }
            (b'%', _) => return Err(WRONG),
            (byte, after) => (*byte, after),
        };
        bytes.expose_mut().push(byte);
        rest = after;
    }
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| WRONG)?;
    Ok(Secret::new(text.to_owned()))
}

fn read_place(place: &str) -> Result<HostPort, RedisUrlError> {
    let has_port = match place.rsplit_once(']') {
        Some((_, after)) => !after.is_empty(),
        None => place.contains(':'),
    };
    let port = if has_port { String::new() } else { format!(":{DEFAULT_PORT}") };
    match format!("tcp://{place}{port}").parse() {
        Ok(Reach::Dial(Address { place: Place::Tcp(at), .. })) => Ok(at),
        _ => Err(RedisUrlError("what follows user and password in the URL is not a host and a port")),
    }
}

impl PartialEq for RedisServer {
    fn eq(&self, other: &Self) -> bool {
        let parts = |server: &Self| (server.tls, server.at.clone(), server.database);
        let same = |one: &Option<Arc<Secret<String>>>, other: &Option<Arc<Secret<String>>>| match (one, other)
        {
            (Some(one), Some(other)) => one.expose().as_bytes().ct_eq(other.expose().as_bytes()).into(),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        parts(self) == parts(other) && same(&self.user, &other.user) && same(&self.password, &other.password)
    }
}

impl Eq for RedisServer {}

impl fmt::Display for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis at {}", self.at)
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisServer {{ at: {}, tls: {} }}", self.at, self.tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> (bool, String, Option<String>, Option<String>, u32) {
        let server: RedisServer = url.parse().unwrap();
        let text =
            |secret: &Option<Arc<Secret<String>>>| secret.as_ref().map(|secret| secret.expose().clone());
        (server.tls, server.at.to_string(), text(&server.user), text(&server.password), server.database)
    }

    #[test]
    fn a_url_is_read() {
        let some = |text: &str| Some(text.to_owned());
        let table = [
            ("redis://h", (false, "h:6379".to_owned(), None, None, 0)),
            ("redis://h:1/", (false, "h:1".to_owned(), None, None, 0)),
            ("rediss://[::1]/3", (true, "[::1]:6379".to_owned(), None, None, 3)),
            ("redis://:word@h", (false, "h:6379".to_owned(), None, some("word"), 0)),
            ("redis://me:w%40r%64%2f:@[::1]:7", (false, "[::1]:7".to_owned(), some("me"), some("w@rd/:"), 0)),
        ];
        for (url, wanted) in table {
            assert_eq!(read(url), wanted, "{url}");
        }
    }

    #[test]
    fn s107_a_bad_url_is_refused_without_being_quoted_and_a_good_one_is_not_shown() {
        let bad = [
            "",
            "canary",
            "http://canary:canary@h",
            "redis+unix:///canary",
            "redis://canary@h",
            "redis://canary:@h",
            "redis://canary:%6@h",
            "redis://canary:%fe@h",
            "redis://canary:canary@",
            "redis://canary:canary@h:0",
            "redis://canary:canary@h:canary",
            "redis://canary:canary@::1",
            "redis://canary:can/ary@h",
            "redis://canary:canary@h/canary",
            "redis://canary:canary@h#insecure",
            "rediss://canary:canary@h?protocol=resp3",
        ];
        for url in bad {
            let error = url.parse::<RedisServer>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{url}");
        }
        let good: RedisServer = "redis://canary:canary@h/7".parse().unwrap();
        let shown = format!("{good} {good:?}");
        let shown = format!("{shown} {:?}", RedisConfig::new(good));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
