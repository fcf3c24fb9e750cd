//! The echo: a question to a node that asks for no link (`docs/links.md`, "Echo").
//!
//! Both sides prove their keys as for a link, the node answers, and the connection ends. It never becomes a
//! connection of a peer, so one may ask with a running node's own key and displace nothing.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use borsh::{BorshDeserialize, BorshSerialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tsm_crypto::IdentityKey;
use tsm_types::address::{Address, Place};

use super::tls::{Tls, WrongKey, proven_key, server_name};
use super::wire::VERSION;
use super::{StartError, random};
use crate::links::PeerKey;
use crate::pipe::broker::{Broker, Multiplexer, Reads};
use crate::pipe::{Dialler, Roots};

/// In place of the link protocol's: so nobody takes one for the other.
pub(crate) const ALPN: &[u8] = b"opentsm-echo/1";

/// For connecting, TLS and the answer together.
const LONGEST: Duration = Duration::from_secs(5);

/// Between two attempts to go through a broker.
const AGAIN: Duration = Duration::from_millis(100);

/// Random, and sent back.
type Question = [u8; 32];

/// An [`Answer`] on the wire: 75 bytes.
#[derive(BorshSerialize, BorshDeserialize)]
struct AnswerBody {
    question: Question,
    link_version: u16,
    player: u16,
    knows: u8,
    unix_milliseconds: u64,
    release: [u8; RELEASE_BYTES],
}

const RELEASE_BYTES: usize = 30;
const ANSWER_BYTES: usize = 32 + 2 + 2 + 1 + 8 + RELEASE_BYTES;

/// What a node says of itself to whoever proves a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Index of its player, as its configuration says.
    pub player: u16,
    /// Whether it knows the asker's key.
    pub knows: Knows,
    /// Version of its link protocol. Only nodes of one version have links.
    pub link_version: u16,
    /// Its release, as text of visible characters.
    pub release: String,
    /// How far its clock is ahead of this one, in milliseconds; give or take half the round trip.
    pub clock_ahead_milliseconds: i64,
    /// From the question to the answer.
    pub round_trip: Duration,
}

/// What a node makes of the asker's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knows {
    /// Neither its configuration nor a session that runs has it.
    Nobody,
    /// A session has it.
    Dynamic,
    /// Its configuration has it.
    Static,
}

/// Why there is no answer. Its `Display` is a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EchoError {
    /// Nobody answers at the address.
    Unreached(String),
    /// Somebody with another key does.
    WrongKey(String),
    /// Somebody answers who speaks something else.
    NoNode(String),
}

impl fmt::Display for EchoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (EchoError::Unreached(why) | EchoError::WrongKey(why) | EchoError::NoNode(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for EchoError {}

/// The link protocol of this build, to compare with [`Answer::link_version`].
pub const LINK_VERSION: u16 = VERSION;

/// Asks nodes.
pub struct Echo {
    tls: Tls,
    dialler: Dialler,
    _until_dropped: DropGuard,
}

impl Echo {
    /// Asks with this key. `broker` is asked through at `broker://`; of its inboxes only one of this asker
    /// alone is read. Must be called within a tokio runtime.
    pub fn new(
        identity: &IdentityKey,
        broker: Option<Arc<dyn Broker>>,
        web_roots: Roots,
    ) -> Result<Self, StartError> {
        let tls = Tls::new(identity).ok_or(StartError::Identity)?;
        let stopped = CancellationToken::new();
        let multiplexer = match broker {
            Some(broker) => {
                let player = identity.public().fingerprint();
                let (multiplexer, _, work) =
                    Multiplexer::new(broker, player, random()?, Reads::Answers, stopped.clone());
                tokio::spawn(stopped.clone().run_until_cancelled_owned(work.receive));
                tokio::spawn(work.send);
                Some(multiplexer)
            }
            None => None,
        };
        let dialler = Dialler::new(multiplexer, web_roots);
        Ok(Echo { tls, dialler, _until_dropped: stopped.drop_guard() })
    }

    /// Asks the node at this address, which must have this key. Takes five seconds at most.
    pub async fn ask(&self, peer: &PeerKey, address: &Address) -> Result<Answer, EchoError> {
        timeout(LONGEST, self.ask_now(peer, address)).await.unwrap_or_else(|_| {
            Err(EchoError::Unreached(format!("{address} did not answer within {LONGEST:?}")))
        })
    }

    async fn ask_now(&self, peer: &PeerKey, address: &Address) -> Result<Answer, EchoError> {
        let begun = Instant::now();
        let pipe = loop {
            match self.dialler.dial(address, peer, LONGEST).await {
                Ok(pipe) => break pipe,
                // It is only just being connected to.
                Err(_) if address.place == Place::Broker && begun.elapsed() < LONGEST / 2 => {
                    sleep(AGAIN).await
                }
                Err(why) => return Err(EchoError::Unreached(why)),
            }
        };
        let no_node = |why: &dyn fmt::Display| {
            EchoError::NoNode(format!(
                "{address} answered, but not as a node that knows the echo does: {why}"
            ))
        };
        let connecting = self.tls.connector(peer, ALPN).connect(server_name(), pipe).await;
        let mut stream = connecting.map_err(|error| match WrongKey::in_error(&error) {
            Some(wrong) => EchoError::WrongKey(wrong.to_string()),
            None => no_node(&error),
        })?;
        proven_key(stream.get_ref().1, ALPN).map_err(|why| no_node(&why))?;
        let mut question: Question = [0; 32];
        getrandom::fill(&mut question).map_err(|error| no_node(&error))?;
        let asked = Instant::now();
        let mut bytes = [0; ANSWER_BYTES];
        let exchange = async {
            stream.write_all(&question).await?;
            stream.flush().await?;
            stream.read_exact(&mut bytes).await
        };
        exchange.await.map_err(|error| no_node(&error))?;
        let round_trip = asked.elapsed();
        let answer = AnswerBody::try_from_slice(&bytes).map_err(|error| no_node(&error))?;
        if answer.question != question {
            return Err(no_node(&"it sent something else back"));
        }
        let here = unix_milliseconds().saturating_sub(i64::try_from(round_trip.as_millis() / 2).unwrap_or(0));
        let there = i64::try_from(answer.unix_milliseconds).unwrap_or(i64::MAX);
        let text = String::from_utf8_lossy(&answer.release).into_owned();
        Ok(Answer {
            player: answer.player,
            knows: match answer.knows {
                2 => Knows::Static,
                1 => Knows::Dynamic,
                _ => Knows::Nobody,
            },
            link_version: answer.link_version,
            release: text.chars().filter(char::is_ascii_graphic).collect(),
            clock_ahead_milliseconds: there.saturating_sub(here),
            round_trip,
        })
    }
}

/// Answers one question.
pub(crate) async fn answer<S>(mut stream: S, player: u16, knows: Knows) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut question = [0; 32];
    stream.read_exact(&mut question).await?;
    let mut release = [0; RELEASE_BYTES];
    let text = env!("CARGO_PKG_VERSION").as_bytes();
    let length = text.len().min(RELEASE_BYTES);
    release[..length].copy_from_slice(&text[..length]);
    let body = AnswerBody {
        question,
        link_version: VERSION,
        player,
        knows: knows as u8,
        unix_milliseconds: u64::try_from(unix_milliseconds()).unwrap_or(0),
        release,
    };
    stream.write_all(&borsh::to_vec(&body).expect("writing to memory cannot fail")).await?;
    stream.shutdown().await?;
    // The asker ends it when it has read the answer.
    let mut rest = [0; 1];
    stream.read(&mut rest).await.map(drop)
}

fn unix_milliseconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
