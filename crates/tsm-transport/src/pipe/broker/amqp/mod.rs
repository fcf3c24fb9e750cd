//! Messages through an AMQP 0-9-1 broker: RabbitMQ.
//!
//! Every inbox is a queue; a message is published to the default exchange, with the queue's name as its
//! routing key. So a user needs no right to bind queues, with which it could have copies of the messages
//! of others; `docs/brokers.md` has the rights that it needs.
//!
//! | module | what it knows |
//! |---|---|
//! | `url` | the broker's URL, in which the password is |
//! | `names` | queues, and the least rights of a player |
//! | `connection` | one connection after another: queues, readers, publishers (feature `amqp`) |
//! | `socket` | TCP, TLS, and what a broker may make a node hold (feature `amqp`) |

#[cfg(feature = "amqp")]
mod connection;
mod names;
#[cfg(feature = "amqp")]
mod socket;
mod url;

use std::time::Duration;

use crate::pipe::trust::Roots;

pub use self::names::Rights;
pub use self::url::{ServerUrl, UrlError};

/// How a node uses its AMQP broker.
#[derive(Clone, Debug)]
pub struct AmqpConfig {
    /// Where the broker is, and who the node is to it.
    pub url: ServerUrl,
    /// Who may vouch for the broker of an `amqps` URL, besides the operating system's authorities.
    pub roots: Roots,
    /// How long to wait after a connection was lost, or could not be made.
    pub retry_delay: Duration,
    /// Channels that messages are published through; at least one.
    pub channel_pool_size: u16,
    /// A message counts as published when the broker has confirmed it.
    pub publisher_confirms: bool,
    /// The broker writes messages to its disk.
    pub persist_messages: bool,
    /// The operator has made queue and exchange of every player ([`Rights`]), and all nodes of the broker
    /// are told so. One node runs for a player.
    pub skip_setup: bool,
}

impl AmqpConfig {
    /// A broker with the settings of a file that has nothing but its URL.
    pub fn new(url: ServerUrl) -> Self {
        AmqpConfig {
            url,
            roots: Roots::default(),
            retry_delay: Duration::from_secs(5),
            channel_pool_size: 2,
            publisher_confirms: false,
            persist_messages: false,
            skip_setup: false,
        }
    }
}

#[cfg(feature = "amqp")]
pub use self::broker::AmqpBroker;

#[cfg(feature = "amqp")]
mod broker {
    use std::fmt;
    use std::sync::{Arc, Mutex};

    use tokio::sync::{mpsc, oneshot};
    use tokio_util::sync::{CancellationToken, DropGuard};

    use super::AmqpConfig;
    use super::connection::{self, Outgoing, Standing};
    use super::names::Names;
    use crate::pipe::broker::{Arrival, Broker, BrokerError, Inbox, Publishing};

    /// Arrivals that wait for the node; beyond it, the broker keeps them.
    const WAITING: usize = 256;

    /// A connection to an AMQP broker that is made again whenever it is lost.
    pub struct AmqpBroker {
        config: AmqpConfig,
        /// Ends the connection, after what is left to publish. Goes first, so that its end has a reason.
        _owner: DropGuard,
        standing: Arc<Mutex<Standing>>,
        gone: CancellationToken,
    }

    impl AmqpBroker {
        /// Connects when its inboxes are subscribed to.
        pub fn new(config: AmqpConfig) -> Self {
            let gone = CancellationToken::new();
            AmqpBroker {
                config,
                _owner: gone.clone().drop_guard(),
                standing: Arc::new(Mutex::new(Standing::Connecting)),
                gone,
            }
        }

        fn lane(&self, queue: &str) -> Result<mpsc::Sender<Outgoing>, BrokerError> {
            let standing = self.standing.lock().expect("no holder of this lock panics");
            match &*standing {
                // One lane for an inbox, so that the order of its messages holds.
                Standing::Up(lanes) => {
                    let sum = queue.bytes().map(usize::from).sum::<usize>();
                    let lane = lanes.get(sum % lanes.len().max(1)).cloned();
                    lane.ok_or_else(|| BrokerError("it has no channel".to_owned()))
                }
                Standing::Connecting => {
                    Err(BrokerError(format!("{} is being connected to", self.config.url)))
                }
                Standing::Away(why) => Err(BrokerError(why.clone())),
            }
        }
    }

    impl Broker for AmqpBroker {
        fn publish(&self, to: Inbox, message: Vec<u8>) -> Publishing {
            let queue = Names { fixed: self.config.skip_setup }.queue(&to);
            let lane = self.lane(&queue);
            let lost = |_| BrokerError("the connection was lost".to_owned());
            let confirms = self.config.publisher_confirms;
            Box::pin(async move {
                let (confirmed, confirmation) = oneshot::channel();
                let confirmed = confirms.then_some(confirmed);
                let outgoing = Outgoing { queue, message, confirmed };
                lane?.send(outgoing).await.map_err(|_| BrokerError("the connection was lost".to_owned()))?;
                if confirms { confirmation.await.map_err(lost)? } else { Ok(()) }
            })
        }

        fn subscribe(&self, inboxes: Vec<Inbox>) -> mpsc::Receiver<Arrival> {
            let (arrivals, receiver) = mpsc::channel(WAITING);
            let (config, standing) = (self.config.clone(), Arc::downgrade(&self.standing));
            tokio::spawn(connection::keep(config, inboxes, arrivals, standing, self.gone.clone()));
            receiver
        }

        fn trouble(&self) -> Option<String> {
            match &*self.standing.lock().expect("no holder of this lock panics") {
                Standing::Up(_) | Standing::Connecting => None,
                Standing::Away(why) => Some(why.clone()),
            }
        }
    }

    impl fmt::Debug for AmqpBroker {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "AmqpBroker({})", self.config.url)
        }
    }
}
