//! One connection after another: makes the queues, reads them, publishes, says why it ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_rs::{Runtime, Tokio};
use futures_core::Stream;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::AsyncTcpStream;
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ErrorKind, Event,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::AmqpConfig;
use super::names::Names;
use super::socket::{self, CONNECT_TIME, Kit, PREFETCH};
use crate::pipe::broker::{Arrival, BrokerError, Inbox};

/// For the connection and all that is declared; the connection alone has [`CONNECT_TIME`].
const OPENING_TIME: Duration = CONNECT_TIME.saturating_mul(2);
/// Messages that wait for a channel: enough to keep it busy.
const WAITING: usize = 64;
/// Acknowledged together, long before the broker would wait for it.
const ACKNOWLEDGED_TOGETHER: u64 = PREFETCH as u64 / 4;
/// Acknowledged at the latest; RabbitMQ ends channels that leave a message for half an hour.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);
/// A broker that is silent for two of these is away, and so is a node for the broker.
const HEARTBEAT_SECONDS: u16 = 10;
/// The client keeps buffers of 32 frames.
const FRAME_BYTES: u32 = 32 * 1024;
/// How long what is left to publish may take when the node has ended.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// A queue that nobody reads is gone after this time.
const QUEUE_EXPIRES: Duration = Duration::from_secs(60);

/// Whether there is a connection.
pub(super) enum Standing {
    /// The first attempt is under way.
    Connecting,
    /// Messages go this way.
    Up(Vec<mpsc::Sender<Outgoing>>),
    /// Why not; a sentence for people.
    Away(String),
}

/// A message on its way to the broker.
pub(super) struct Outgoing {
    pub(super) queue: String,
    pub(super) message: Vec<u8>,
    /// Told what the broker says of it.
    pub(super) confirmed: Option<oneshot::Sender<Result<(), BrokerError>>>,
}

/// Connects, again and again, until `gone`.
pub(super) async fn keep(
    config: AmqpConfig,
    inboxes: Vec<Inbox>,
    arrivals: mpsc::Sender<Arrival>,
    standing: Weak<Mutex<Standing>>,
    gone: CancellationToken,
) {
    let set = |new: Standing| {
        if let Some(standing) = standing.upgrade() {
            *standing.lock().expect("no holder of this lock panics") = new;
        }
    };
    let mut last_why = String::new();
    while !gone.is_cancelled() {
        let opening = tokio::select! {
            opening = timeout(OPENING_TIME, open(&config, &inboxes)) => opening.unwrap_or_else(|_| {
                Err(format!("{} does not answer as an AMQP broker does", config.url))
            }),
            () = gone.cancelled() => return,
        };
        let ended = match opening {
            Ok((open, lanes)) => {
                tracing::info!(broker = %config.url, "connected to the message broker");
                last_why.clear();
                set(Standing::Up(lanes));
                let why = open.run(&arrivals, &gone).await;
                if gone.is_cancelled() {
                    return;
                }
                set(Standing::Away(format!(
                    "{why}; it is connected to again every {:?}",
                    config.retry_delay
                )));
                // The receiver is told of what it may have lost before anything that comes later.
                drop(arrivals.send(Arrival::Interrupted(why.clone())).await);
                why
            }
            Err(why) => {
                set(Standing::Away(format!("{why}; this is tried again every {:?}", config.retry_delay)));
                why
            }
        };
        if ended != last_why {
            tracing::warn!(broker = %config.url, why = %ended, "no connection to the message broker");
            last_why = ended;
        }
        tokio::select! {
            () = tokio::time::sleep(config.retry_delay) => {}
            () = gone.cancelled() => {}
        }
    }
}

/// A connection with everything that belongs to it.
struct Open {
    connection: Connection,
    /// For what is not reading or publishing.
    channel: Channel,
    consumers: Vec<Consumer>,
    /// Queues that end with the node.
    own: Vec<String>,
    publishers: JoinSet<String>,
    /// What the deliveries that were taken cost, for the socket's watch.
    taken: Arc<AtomicU64>,
    place: String,
    /// Breaks the connection with the end of this.
    _abandoned: DropGuard,
}

/// Connects, makes the queues and begins to read them.
async fn open(config: &AmqpConfig, inboxes: &[Inbox]) -> Result<(Open, Vec<mpsc::Sender<Outgoing>>), String> {
    let place = config.url.to_string();
    let taken = Arc::new(AtomicU64::new(0));
    let abandoned = CancellationToken::new();
    let _abandoned = abandoned.clone().drop_guard();
    let connecting = connect(config, taken.clone(), abandoned).await;
    let connection =
        connecting.map_err(|error| explain(&place, &format!("virtual host {}", config.url.vhost), &error))?;
    let names = Names { fixed: config.skip_setup };
    let told = |what: &str| {
        let (place, what) = (place.clone(), what.to_owned());
        move |error: lapin::Error| explain(&place, &what, &error)
    };

    let channel = connection.create_channel().await.map_err(told("a channel"))?;
    let (mut consumers, mut own) = (Vec::new(), Vec::new());
    for inbox in inboxes {
        let queue = names.queue(inbox);
        let what = format!("queue {queue}");
        if !config.skip_setup {
            declare(&channel, inbox, &queue).await.map_err(told(&what))?;
            if let Inbox::Node(..) = inbox {
                own.push(queue.clone());
            }
        } else if matches!(inbox, Inbox::Node(..)) {
            // The same queue as the player's.
            continue;
        }
        // Of its own: deliveries are counted, and acknowledged, by channel.
        let reading = connection.create_channel().await.map_err(told("a channel"))?;
        reading.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(told("a channel"))?;
        // What waits here is for pipes that are no more, or will be said again.
        let purge = channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default());
        purge.await.map_err(told(&what))?;
        let consumer = reading.basic_consume(
            queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        consumers.push(consumer.await.map_err(told(&what))?);
    }

    let player = inboxes.first().map(|inbox| match inbox {
        Inbox::Player(player) | Inbox::Node(player, _) => *player,
    });
    let exchange = player.map(|player| names.exchange(&player)).unwrap_or_default();
    let (mut publishers, mut lanes) = (JoinSet::new(), Vec::new());
    for _ in 0..config.channel_pool_size.max(1) {
        let channel = connection.create_channel().await.map_err(told("a channel"))?;
        if config.publisher_confirms {
            let select = channel.confirm_select(ConfirmSelectOptions::default());
            select.await.map_err(told("publisher confirms"))?;
        }
        let (lane, outgoing) = mpsc::channel(WAITING);
        lanes.push(lane);
        let delivery_mode = if config.persist_messages { 2 } else { 1 };
        let (exchange, place) = (exchange.clone(), place.clone());
        publishers.spawn(async move {
            let what = if exchange.is_empty() { "the default exchange" } else { exchange.as_str() };
            match publish(channel, &exchange, delivery_mode, outgoing).await {
                Ok(()) => String::new(),
                Err(error) => explain(&place, what, &error),
            }
        });
    }
    let open = Open { connection, channel, consumers, own, publishers, taken, place, _abandoned };
    Ok((open, lanes))
}

async fn connect(
    config: &AmqpConfig,
    taken: Arc<AtomicU64>,
    abandoned: CancellationToken,
) -> Result<Connection, lapin::Error> {
    let (url, roots) = (config.url.clone(), config.roots.clone());
    let uri = AMQPUri {
        scheme: if url.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: url.user.clone(), password: url.password().to_owned() },
            host: url.at.host.clone(),
            port: url.at.port,
        },
        vhost: url.vhost.clone(),
        query: AMQPQueryString {
            frame_max: Some(FRAME_BYTES),
            heartbeat: Some(HEARTBEAT_SECONDS),
            ..AMQPQueryString::default()
        },
    };
    let runtime = Runtime::new(Kit(Tokio::current()));
    let properties = ConnectionProperties::default().with_connection_name("tsm".into());
    let connect = async move |_: AMQPUri, _: Runtime<Kit>| {
        Ok(AsyncTcpStream::Plain(socket::connect(&url, &roots, taken.clone(), abandoned.clone()).await?))
    };
    Connection::connector(uri, runtime, connect, properties).await
}

/// Makes an inbox anew: what a connection that is no more has left behind goes away with it.
async fn declare(channel: &Channel, inbox: &Inbox, queue: &str) -> Result<(), lapin::Error> {
    let (lifetime, bytes) = match inbox {
        // Openings only, each of which is said again every second.
        Inbox::Player(_) => (Duration::from_secs(10), 1 << 20),
        // The link is given up after 15 s of silence.
        Inbox::Node(..) => {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
            (Duration::from_secs(30), 64 << 20)
        }
    };
    let milliseconds =
        |time: Duration| AMQPValue::LongLongInt(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    let mut arguments = FieldTable::default();
    // A virtual host may have another default; what is replicated and on disk is of no use here.
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert("x-expires".into(), milliseconds(QUEUE_EXPIRES));
    arguments.insert("x-message-ttl".into(), milliseconds(lifetime));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(bytes));
    // Durable says that the queue, not that a message, outlives the broker: newer brokers refuse others.
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, arguments).await.map(drop)
}

impl Open {
    /// Carries messages until something ends it, and says what; until `gone` and all is published.
    async fn run(mut self, arrivals: &mpsc::Sender<Arrival>, gone: &CancellationToken) -> String {
        let mut readers = JoinSet::new();
        for consumer in std::mem::take(&mut self.consumers) {
            readers.spawn(read(consumer, arrivals.clone(), self.taken.clone()));
        }
        let place = self.place.clone();
        let events = self.connection.events_listener();
        let farewell = async {
            gone.cancelled().await;
            tokio::time::sleep(FAREWELL_TIME).await;
        };
        let why = tokio::select! {
            why = watch(events, &place) => why,
            Some(Ok(why)) = readers.join_next() => match why {
                Some(error) => explain(&place, "a queue", &error),
                None => format!("{place} deleted a queue, or stopped delivering from it"),
            },
            why = ended(&mut self.publishers) => why,
            () = farewell => String::new(),
        };
        if gone.is_cancelled() {
            drop(timeout(FAREWELL_TIME, self.leave()).await);
        }
        why
    }

    /// Leaves nothing behind.
    async fn leave(&self) {
        for queue in &self.own {
            drop(self.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await);
        }
        drop(self.connection.close(200, "the node ends".into()).await);
    }
}

/// The first publisher that failed, or all that have ended because nobody publishes any more.
async fn ended(publishers: &mut JoinSet<String>) -> String {
    while let Some(ended) = publishers.join_next().await {
        match ended {
            Ok(why) if why.is_empty() => {}
            Ok(why) => return why,
            Err(error) => return error.to_string(),
        }
    }
    String::new()
}

/// What the connection says of itself, until that is its end.
async fn watch(events: impl Stream<Item = Event>, place: &str) -> String {
    let mut events = std::pin::pin!(events);
    loop {
        match std::future::poll_fn(|context| events.as_mut().poll_next(context)).await {
            Some(Event::Error(error)) => return explain(place, "the connection", &error),
            Some(Event::ConnectionBlocked(reason)) => {
                tracing::warn!(broker = %place, %reason, "the message broker takes no messages for now");
            }
            Some(Event::ConnectionUnblocked) => {
                tracing::info!(broker = %place, "the message broker takes messages again");
            }
            Some(_) => {}
            None => return format!("{place} closed the connection"),
        }
    }
}

/// Hands out what arrives. While the receiver is full, what is delivered is not acknowledged, and so
/// no more comes than was fetched ahead.
async fn read(
    mut consumer: Consumer,
    arrivals: mpsc::Sender<Arrival>,
    taken: Arc<AtomicU64>,
) -> Option<lapin::Error> {
    let mut unacknowledged = 0;
    let mut last: Option<lapin::Acker> = None;
    loop {
        let next = std::future::poll_fn(|context| std::pin::Pin::new(&mut consumer).poll_next(context));
        match timeout(ACKNOWLEDGED_WITHIN, next).await {
            Ok(Some(Ok(delivery))) => {
                taken.fetch_add(socket::cost(delivery.data.len() as u64), Ordering::Release);
                unacknowledged += 1;
                last = Some(delivery.acker);
                if arrivals.send(Arrival::Message(delivery.data)).await.is_err() {
                    // Nobody reads any more; what is published meanwhile is still sent.
                    std::future::pending::<()>().await;
                }
            }
            Ok(Some(Err(error))) => return Some(error),
            Ok(None) => return None,
            Err(_) => unacknowledged = unacknowledged.max(ACKNOWLEDGED_TOGETHER),
        }
        if unacknowledged >= ACKNOWLEDGED_TOGETHER {
            unacknowledged = 0;
            if let Some(acker) = last.take()
                && let Err(error) = acker.ack(BasicAckOptions { multiple: true }).await
            {
                return Some(error);
            }
        }
    }
}

/// Publishes one after the other, so that their order holds.
async fn publish(
    channel: Channel,
    exchange: &str,
    delivery_mode: u8,
    mut outgoing: mpsc::Receiver<Outgoing>,
) -> Result<(), lapin::Error> {
    let mut confirmations = JoinSet::new();
    while let Some(Outgoing { queue, message, confirmed }) = outgoing.recv().await {
        while confirmations.try_join_next().is_some() {}
        let properties = BasicProperties::default().with_delivery_mode(delivery_mode);
        let options = BasicPublishOptions::default();
        let published =
            channel.basic_publish(exchange.into(), queue.as_str().into(), options, &message, properties);
        let confirmation = published.await?;
        if let Some(confirmed) = confirmed {
            confirmations.spawn(async move {
                let outcome = match confirmation.await {
                    Ok(Confirmation::Ack(_) | Confirmation::NotRequested) => Ok(()),
                    Ok(Confirmation::Nack(_)) => Err(BrokerError("it did not take a message".to_owned())),
                    Err(error) => Err(BrokerError(error.to_string())),
                };
                drop(confirmed.send(outcome));
            });
        }
    }
    Ok(())
}

/// What is wrong, and what to do about it. Nothing in an error of the client tells of the password.
#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds of error are not ours, and may grow")]
fn explain(place: &str, what: &str, error: &lapin::Error) -> String {
    const RIGHTS: &str = "give its user the rights that `tsm player id` prints";
    match error.kind() {
        ErrorKind::IOError(error) => match error.kind() {
            std::io::ErrorKind::Other => format!("{place}: {error}"),
            _ => format!("the connection to {place} was lost: {error}"),
        },
        ErrorKind::MissingHeartbeatError => format!("{place} was silent for too long"),
        ErrorKind::ProtocolError(error) => {
            let text = error.get_message();
            match error.kind() {
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => format!(
                    "{place} refused {what}: correct [MPCAMQPServer] ServerURL, or give its user access ({text})"
                ),
                AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED) => {
                    format!("{place} is stopping ({text})")
                }
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) if text.as_str().contains("ogin") => {
                    format!(
                        "{place} refused the login: correct user name and password in [MPCAMQPServer] ServerURL ({text})"
                    )
                }
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                    format!("{place} refused the use of {what}: {RIGHTS} ({text})")
                }
                AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => format!(
                    "{place} does not have {what}: with SkipSetup its operator makes queue and exchange ({text})"
                ),
                AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)
                    if text.as_str().contains("inequivalent") =>
                {
                    format!(
                        "{place} has {what} with other properties: delete it there, the node makes it anew ({text})"
                    )
                }
                AMQPErrorKind::Hard(_) | AMQPErrorKind::Soft(_) => format!("{place} refused {what}: {text}"),
            }
        }
        _ => format!("{place}: {what} cannot be used: {error}"),
    }
}
