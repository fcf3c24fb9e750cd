//! The broker that a node uses, and the one task that keeps it connected.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tsm_types::address::HostPort;

use super::super::{Arrival, Broker, BrokerError, Inbox, Publishing};
use super::cluster::Slots;
use super::config::RedisConfig;
use super::connect::{Connection, Driver, Trouble};
use super::reader::{READ_TIME, Reader, bounds, leave};
use super::writer::{BOUNDS, Outgoing, WRITE_TIME, Writer};

/// Messages that wait for the reader of arrivals, and to be sent; beyond it, nothing more is taken.
const WAITING: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What was connected for so long begins anew with the shortest pause.
const STABLE_TIME: Duration = Duration::from_secs(10);
/// How long last words may be sent when the links have ended.
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// Messages through Redis.
pub struct RedisBroker {
    config: Arc<RedisConfig>,
    queue: mpsc::Sender<Outgoing>,
    reached: watch::Sender<Reached>,
    /// Until there is somebody to read for.
    waiting: Mutex<Option<mpsc::Receiver<Outgoing>>>,
}

/// Whether messages can be sent now.
#[derive(Clone, Debug)]
enum Reached {
    /// The first attempt is under way.
    NotYet,
    Yes,
    No(String),
}

impl RedisBroker {
    /// Connects when the links of a node are started.
    pub fn new(config: RedisConfig) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let (reached, _) = watch::channel(Reached::NotYet);
        RedisBroker { config: Arc::new(config), queue, reached, waiting: Mutex::new(Some(waiting)) }
    }
}

impl Broker for RedisBroker {
    fn publish(&self, to: Inbox, message: Vec<u8>) -> Publishing {
        let (queue, mut reached) = (self.queue.clone(), self.reached.subscribe());
        Box::pin(async move {
            let gone = |_| BrokerError("this node has left it".to_owned());
            let known = reached.wait_for(|reached| !matches!(reached, Reached::NotYet)).await;
            let reached =
                known.map(|reached| reached.clone()).map_err(|_| BrokerError("it has ended".to_owned()))?;
            if let Reached::No(why) = reached {
                return Err(BrokerError(why));
            }
            match to {
                Inbox::Node(..) => queue.send(Outgoing { to, message, told: None }).await.map_err(gone),
                // A few messages, whose sender wants to know what is wrong.
                Inbox::Player(_) => {
                    let (told, outcome) = oneshot::channel();
                    queue.send(Outgoing { to, message, told: Some(told) }).await.map_err(gone)?;
                    let interrupted = |_| Err(BrokerError("it was interrupted".to_owned()));
                    outcome.await.unwrap_or_else(interrupted)
                }
            }
        })
    }

    fn trouble(&self) -> Option<String> {
        match &*self.reached.borrow() {
            Reached::No(why) => Some(why.clone()),
            Reached::NotYet | Reached::Yes => None,
        }
    }

    fn subscribe(&self, inboxes: Vec<Inbox>) -> mpsc::Receiver<Arrival> {
        let (arrivals, receiver) = mpsc::channel(WAITING);
        let waiting = self.waiting.lock().expect("no holder of this lock panics").take();
        if let Some(queue) = waiting {
            let (config, reached) = (self.config.clone(), self.reached.clone());
            // Ends when nobody takes arrivals any more, a little after so that last words get through.
            tokio::spawn(Keeper { config, inboxes, arrivals, reached }.run(queue));
        }
        receiver
    }
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisBroker {{ {} }}", self.config.server)
    }
}

/// Keeps the connections to Redis: one that reads and may wait, and one that writes.
struct Keeper {
    config: Arc<RedisConfig>,
    inboxes: Vec<Inbox>,
    arrivals: mpsc::Sender<Arrival>,
    reached: watch::Sender<Reached>,
}

impl Keeper {
    async fn run(self, mut queue: mpsc::Receiver<Outgoing>) {
        self.keep(&mut queue).await;
        self.reached.send_replace(Reached::No("this node has left it".to_owned()));
    }

    async fn keep(&self, queue: &mut mpsc::Receiver<Outgoing>) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let Err(trouble) = self.connected(queue).await else { return };
            if !self.interrupted(trouble).await {
                return;
            }
            // What waits is for pipes that have ended.
            while queue.try_recv().is_ok() {}
            failures = if began.elapsed() < STABLE_TIME { failures + 1 } else { 0 };
            tokio::select! {
                () = sleep(pause_after(failures)) => {}
                () = self.arrivals.closed() => return,
            }
        }
    }

    /// Tells everybody. Returns whether there still is somebody.
    async fn interrupted(&self, trouble: Trouble) -> bool {
        let Trouble { what, advice } = trouble;
        let server = &self.config.server;
        let why = format!("{server}: {what}: {advice}");
        let was = self.reached.send_replace(Reached::No(why.clone()));
        let known = matches!(&was, Reached::No(before) if *before == why);
        if !known {
            tracing::warn!(%server, what, advice, "the message broker cannot be used; will keep trying");
        }
        let lost = matches!(was, Reached::Yes);
        !lost || self.arrivals.send(Arrival::Interrupted(why)).await.is_ok()
    }

    /// Connects, and works until the node leaves or something is wrong.
    async fn connected(&self, queue: &mut mpsc::Receiver<Outgoing>) -> Result<(), Trouble> {
        let config = &*self.config;
        let at = &config.server.at;
        if config.cluster {
            let slots = Slots::learn(config).await?;
            let own = self.inboxes.first().ok_or_else(|| Trouble::odd("there is no inbox to read"))?;
            let at = slots.of(own)?;
            let (reader, driver) = self.reader(at).await?;
            self.work(at, reader, driver, slots.write(config, queue)).await
        } else {
            let writer = Connection::open(config, at, BOUNDS, WRITE_TIME).await?;
            let (reader, driver) = self.reader(at).await?;
            self.work(at, reader, driver, Writer::run(config, writer, queue)).await
        }
    }

    async fn reader(&self, at: &HostPort) -> Result<(Reader, Driver), Trouble> {
        let bounds = bounds(&self.config, self.inboxes.len());
        let connection = Connection::open(&self.config, at, bounds, READ_TIME).await?;
        let Connection { redis, mut driver } = connection;
        tokio::select! {
            reader = Reader::start(redis, &self.config, &self.inboxes) => Ok((reader?, driver)),
            () = &mut driver => Err(Trouble::lost("it ended")),
        }
    }

    async fn work(
        &self,
        at: &HostPort,
        mut reader: Reader,
        mut driver: Driver,
        writing: impl Future<Output = Result<(), Trouble>>,
    ) -> Result<(), Trouble> {
        let mut writing = pin!(writing);
        self.reached.send_replace(Reached::Yes);
        tracing::info!(server = %self.config.server, "the message broker is in use");
        let all_said = tokio::select! {
            end = reader.read(&self.arrivals) => end.map(|()| false)?,
            end = &mut writing => end.map(|()| true)?,
            () = &mut driver => return Err(Trouble::lost("it ended")),
        };
        let leaving = leave(&self.config, at, &self.inboxes);
        let last_words = async {
            if !all_said {
                drop(writing.await);
            }
        };
        drop(timeout(FAREWELL_TIME, async { tokio::join!(leaving, last_words) }).await);
        Ok(())
    }
}

/// Doubling, and never quite the same for all the nodes that lost one Redis at one time.
fn pause_after(failures: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    let mut byte = [0];
    // Without randomness, all of it.
    let part = getrandom::fill(&mut byte).map_or(0.0, |()| f64::from(byte[0]) / 512.0);
    longest.mul_f64(1.0 - part)
}
