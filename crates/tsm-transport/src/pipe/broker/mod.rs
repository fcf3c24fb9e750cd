//! Pipes through a message broker, whichever it is.
//!
//! The broker is not trusted: a pipe through it carries the same TLS as a TCP connection, so it can
//! withhold bytes, and nothing else. `docs/links.md` has the messages and what becomes of bad ones.
//!
//! | module | what it knows |
//! |---|---|
//! | `message` | every byte of a message |
//! | `flow` | order, repetition and credit of one pipe; no I/O |
//! | `stream` | one pipe as a stream of bytes |
//! | `multiplexer` | all pipes of a node: dial, accept, hand out what arrives |
//! | [`memory`] | a broker in memory, with a hand on every message |
//! | [`amqp`] | RabbitMQ |
//! | [`redis`] | Redis as a broker |

pub mod amqp;
mod flow;
pub mod memory;
mod message;
mod multiplexer;
pub mod redis;
mod stream;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tsm_crypto::identity::Fingerprint;

pub use self::message::MAX_MESSAGE_BYTES;
#[doc(hidden)]
pub use self::message::is_message;
pub use self::multiplexer::BrokerCounts;
pub(crate) use self::multiplexer::{Multiplexer, Reads};

/// The port to a message broker: inboxes that anybody may put messages into.
///
/// What an implementation must do: keep the order of the messages of one publisher to one inbox as
/// well as it can; hand each message of an inbox to one of its readers; keep the number of messages in
/// memory bounded, on both ways; come back by itself when the broker was away. What it may do: lose,
/// repeat and reorder messages. A pipe that misses one for a while ends, and its link is dialled again.
pub trait Broker: Send + Sync + 'static {
    /// Puts a message of up to [`MAX_MESSAGE_BYTES`] into an inbox.
    ///
    /// Resolves when there is room for it on its way to the broker, not when it has been delivered:
    /// each pipe waits for one message at a time. An inbox that nobody has made swallows messages.
    /// Messages for a [`Inbox::Player`] are of no use after ten seconds, those for a [`Inbox::Node`]
    /// are of no use once its node has ended.
    fn publish(&self, to: Inbox, message: Vec<u8>) -> Publishing;

    /// Makes these inboxes and reads them until the receiver is dropped.
    ///
    /// While the receiver is full nothing more may be taken from the broker. Called once, within a
    /// tokio runtime; the broker need not have been reached when it returns.
    fn subscribe(&self, inboxes: Vec<Inbox>) -> mpsc::Receiver<Arrival>;

    /// Why messages neither go nor come for now, if that is known: a sentence for people.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// The broker of a node's configuration.
#[derive(Clone, Debug)]
pub enum BrokerConfig {
    /// `[MPCAMQPServer]`.
    Amqp(amqp::AmqpConfig),
    /// `[MPCRedisServer]`.
    Redis(redis::RedisConfig),
}

impl BrokerConfig {
    /// The broker, which connects when links use it, or why this build has none of its kind.
    pub fn broker(self) -> Result<Arc<dyn Broker>, String> {
        match self {
            #[cfg(feature = "amqp")]
            BrokerConfig::Amqp(config) => Ok(Arc::new(amqp::AmqpBroker::new(config))),
            #[cfg(not(feature = "amqp"))]
            BrokerConfig::Amqp(_) => Err("[MPCAMQPServer]: this build has no AMQP; build it with the \
                                          feature `amqp`"
                .to_owned()),
            #[cfg(feature = "redis")]
            BrokerConfig::Redis(config) => Ok(Arc::new(redis::RedisBroker::new(config))),
            #[cfg(not(feature = "redis"))]
            BrokerConfig::Redis(_) => Err("[MPCRedisServer]: this build has no Redis; build it with the \
                                           feature `redis`"
                .to_owned()),
        }
    }
}

/// See [`Broker::publish`].
pub type Publishing = Pin<Box<dyn Future<Output = Result<(), BrokerError>> + Send>>;

/// Where messages wait for their readers. Its `Display` is a name of letters, digits and dots, of at
/// most 102 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Inbox {
    /// Of a player, by the fingerprint of its public key: any node that stands for the player reads it.
    Player(Fingerprint),
    /// Of a running node, by a number drawn when it started.
    Node(Fingerprint, [u8; 16]),
}

impl fmt::Display for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| {
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        match self {
            Inbox::Player(player) => {
                f.write_str("player.")?;
                hex(f, &player.0)
            }
            Inbox::Node(player, node) => {
                f.write_str("node.")?;
                hex(f, &player.0)?;
                f.write_str(".")?;
                hex(f, node)
            }
        }
    }
}

/// What comes out of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A message, from anybody.
    Message(Vec<u8>),
    /// Messages may have been lost, for this reason: every pipe ends, as TCP connections do when a
    /// machine goes away. Not told where nothing can have been lost.
    Interrupted(String),
}

/// Why a message could not be put into an inbox; a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerError(pub String);

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the message broker: {}", self.0)
    }
}

impl std::error::Error for BrokerError {}
