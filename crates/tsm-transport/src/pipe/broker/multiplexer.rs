//! All pipes of one node through its broker.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, PollSender};
use tsm_crypto::identity::Fingerprint;

use super::flow::Verdict;
use super::message::{Content, Message, NodeInbox, PipeId};
use super::stream::{BrokerStream, SharedState, State, lock};
use super::{Arrival, Broker, BrokerError, Inbox};
use crate::pipe::{Arriving, Origin, Pipe};

/// How often an `open` is said again until it is answered: it is lost if the player's node comes after
/// it, or a broker loses it.
const REPEAT_OPEN: Duration = Duration::from_secs(1);
/// How often to look whether a broker that was away is back.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Newcomers that wait for the listener, which only has to start a task for each.
const MAX_WAITING_OPENS: usize = 64;
/// Credit, ends and acceptances that wait for the broker. A few for each of some hundred pipes.
const MAX_WAITING_LETTERS: usize = 1024;
/// How long what still waits may take when the links have ended.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// What goes beside the bytes of a pipe.
pub(super) struct Letter {
    pub(super) to: Inbox,
    pub(super) message: Vec<u8>,
}

/// All pipes of one node, whichever side dialled them.
pub(crate) struct Multiplexer {
    pub(super) broker: Arc<dyn Broker>,
    me: NodeInbox,
    table: Mutex<Table>,
    dropped: Dropped,
    /// A pipe did not come about for want of the broker.
    missed: Notify,
    /// The broker is back, after pipes ended or did not come about.
    pub(crate) returned: Notify,
}

struct Table {
    pipes: HashMap<PipeId, Known>,
    /// `None` once the links have ended.
    letters: Option<mpsc::Sender<Letter>>,
}

/// A pipe that this node has an end of.
struct Known {
    state: SharedState,
    /// Of an accepted one: who asked for it.
    accepted_from: Option<NodeInbox>,
}

#[derive(Default)]
struct Dropped {
    malformed: AtomicU64,
    unknown: AtomicU64,
    repeated: AtomicU64,
    beyond: AtomicU64,
    refused: AtomicU64,
}

/// How many messages a broker brought that were of no use; each was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokerCounts {
    /// Not a message of ours: junk, or cut short.
    pub malformed: u64,
    /// For a pipe that this node does not have: delivered to the wrong inbox, or late.
    pub unknown: u64,
    /// Had come before.
    pub repeated: u64,
    /// Further ahead than an honest sender goes.
    pub beyond: u64,
    /// Asked for a pipe while too many others did.
    pub refused: u64,
}

impl BrokerCounts {
    /// All that was dropped.
    pub fn dropped(&self) -> u64 {
        self.malformed + self.unknown + self.repeated + self.beyond + self.refused
    }
}

/// What the owner of a [`Multiplexer`] has to keep running.
pub(crate) struct Work<R, W> {
    /// Hands out what arrives. Never waits for a pipe.
    pub(crate) receive: R,
    /// Sends letters; ends a second after the links, so that peers hear of their end.
    pub(crate) send: W,
}

/// Which inboxes a multiplexer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The player's, too: pipes are accepted.
    All,
    /// Only its own: it dials, and takes nothing from a node that runs for the player.
    Answers,
}

impl Multiplexer {
    /// A node of this player. `stopped` is cancelled when the links have ended; [`close`](Self::close)
    /// belongs to it. Must be called within a tokio runtime.
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        player: Fingerprint,
        node: [u8; 16],
        reads: Reads,
        stopped: CancellationToken,
    ) -> (
        Arc<Self>,
        mpsc::Receiver<Arriving>,
        Work<impl Future<Output = ()> + Send + use<>, impl Future<Output = ()> + Send + use<>>,
    ) {
        let me = NodeInbox { player, node };
        let (letters, to_send) = mpsc::channel(MAX_WAITING_LETTERS);
        let (opens, opened) = mpsc::channel(MAX_WAITING_OPENS);
        let inboxes = match reads {
            Reads::All => vec![Inbox::Player(player), me.into()],
            Reads::Answers => vec![me.into()],
        };
        let arrivals = broker.subscribe(inboxes);
        let send = send(broker.clone(), to_send, stopped);
        let table = Mutex::new(Table { pipes: HashMap::new(), letters: Some(letters) });
        let multiplexer = Arc::new(Multiplexer {
            broker,
            me,
            table,
            dropped: Dropped::default(),
            missed: Notify::new(),
            returned: Notify::new(),
        });
        let receive = multiplexer.clone().receive(arrivals, opens);
        (multiplexer, opened, Work { receive, send })
    }

    /// No new pipes; what still waits to be sent ends with the last of the present ones.
    pub(crate) fn close(&self) {
        self.lock().letters = None;
    }

    pub(crate) fn counts(&self) -> BrokerCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        BrokerCounts {
            malformed: read(&self.dropped.malformed),
            unknown: read(&self.dropped.unknown),
            repeated: read(&self.dropped.repeated),
            beyond: read(&self.dropped.beyond),
            refused: read(&self.dropped.refused),
        }
    }

    /// Why nothing goes through the broker for now.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.broker.trouble().map(|why| BrokerError(why).to_string())
    }

    /// A pipe to any node of the player.
    pub(crate) async fn dial(self: &Arc<Self>, player: Fingerprint) -> Result<Pipe, String> {
        let mut id = PipeId([0; 16]);
        getrandom::fill(&mut id.0).map_err(|_| "the operating system gives no random bytes".to_owned())?;
        let (accepted, mut answer) = oneshot::channel();
        let stream = self.begin(id, None, State::new(Some(accepted)));
        let mut stream = stream.ok_or_else(|| "this node is closing its links".to_owned())?;
        let open = Message { pipe: id, content: Content::Open(self.me) }.encode();
        loop {
            if let Err(error) = self.broker.publish(Inbox::Player(player), open.clone()).await {
                self.missed.notify_one();
                return Err(error.to_string());
            }
            match timeout(REPEAT_OPEN, &mut answer).await {
                Ok(Ok(node)) => {
                    stream.to = Some(node);
                    return Ok(Box::new(stream));
                }
                Ok(Err(_)) => return Err("the message broker was interrupted".to_owned()),
                Err(_) => {}
            }
        }
    }

    /// Takes a pipe into the table, from which its stream removes it.
    fn begin(self: &Arc<Self>, id: PipeId, from: Option<NodeInbox>, state: State) -> Option<BrokerStream> {
        let mut table = self.lock();
        let letters = PollSender::new(table.letters.clone()?);
        let state: SharedState = Arc::new(Mutex::new(state));
        table.pipes.insert(id, Known { state: state.clone(), accepted_from: from });
        Some(BrokerStream::new(id, from, state, self.clone(), letters))
    }

    pub(super) fn forget(&self, id: PipeId) {
        self.lock().pipes.remove(&id);
    }

    async fn receive(self: Arc<Self>, mut arrivals: mpsc::Receiver<Arrival>, opens: mpsc::Sender<Arriving>) {
        // When to look whether the broker that was missed is back.
        let mut look_at = None;
        let soon = || Some(Instant::now() + LOOK_AGAIN);
        loop {
            let looking = sleep_until(look_at.unwrap_or_else(Instant::now));
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(Arrival::Message(bytes)) => self.arrived(bytes, &opens),
                    Some(Arrival::Interrupted(why)) => {
                        self.interrupted(&why);
                        look_at = soon();
                    }
                    None => return self.interrupted("it is gone"),
                },
                () = self.missed.notified() => look_at = look_at.or_else(soon),
                () = looking, if look_at.is_some() => {
                    look_at = if self.broker.trouble().is_some() { soon() } else { None };
                    if look_at.is_none() {
                        self.returned.notify_one();
                    }
                }
            }
        }
    }

    fn arrived(self: &Arc<Self>, bytes: Vec<u8>, opens: &mpsc::Sender<Arriving>) {
        let Some(Message { pipe, content }) = Message::decode(bytes) else {
            return count(&self.dropped.malformed);
        };
        if let Content::Open(from) = content {
            return self.opened(pipe, from, opens);
        }
        let state = self.lock().pipes.get(&pipe).map(|known| known.state.clone());
        let Some(state) = state else { return count(&self.dropped.unknown) };
        let mut state = lock(&state);
        let verdict = match content {
            Content::Open(_) => return,
            Content::Accept(node) if state.accept(node) => Verdict::Taken,
            Content::Accept(_) => Verdict::Repeated,
            Content::Data(number, body) => state.take(number, Some(body)),
            Content::Close(number) => state.take(number, None),
            Content::Credit(number) if state.credit(number) => Verdict::Taken,
            Content::Credit(_) => Verdict::Repeated,
            Content::Reset => {
                state.end(io::ErrorKind::ConnectionReset, "the peer left the pipe".to_owned());
                Verdict::Taken
            }
        };
        match verdict {
            Verdict::Taken => {}
            Verdict::Repeated => count(&self.dropped.repeated),
            Verdict::Beyond => count(&self.dropped.beyond),
        }
    }

    fn opened(self: &Arc<Self>, id: PipeId, from: NodeInbox, opens: &mpsc::Sender<Arriving>) {
        let known = self.lock().pipes.get(&id).map(|known| known.accepted_from);
        if let Some(accepted_from) = known {
            // The acceptance may have been lost.
            if accepted_from == Some(from) {
                self.send(self.acceptance(id, from));
            }
            return count(&self.dropped.repeated);
        }
        // Place first: a flood costs no more than being counted.
        let Ok(place) = opens.try_reserve() else { return count(&self.dropped.refused) };
        let Some(stream) = self.begin(id, Some(from), State::new(None)) else { return };
        let Letter { to, message } = self.acceptance(id, from);
        let broker = self.broker.clone();
        let opening = async move {
            broker.publish(to, message).await.map_err(io::Error::other)?;
            Ok(Box::new(stream) as Pipe)
        };
        let origin = Origin::Broker { claimed: from.player };
        place.send(Arriving { origin, opening: Box::pin(opening) });
    }

    fn acceptance(&self, pipe: PipeId, to: NodeInbox) -> Letter {
        let message = Message { pipe, content: Content::Accept(self.me) }.encode();
        Letter { to: to.into(), message }
    }

    /// If there is room; whoever waits for it asks again.
    fn send(&self, letter: Letter) {
        if let Some(letters) = &self.lock().letters {
            drop(letters.try_send(letter));
        }
    }

    fn interrupted(&self, why: &str) {
        tracing::warn!(why, "the message broker was interrupted; its links will be made anew");
        let states: Vec<SharedState> = self.lock().pipes.values().map(|known| known.state.clone()).collect();
        for state in states {
            lock(&state).end(io::ErrorKind::BrokenPipe, format!("the message broker: {why}"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no holder of this lock panics")
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Sends letters for as long as there can be any.
async fn send(broker: Arc<dyn Broker>, mut letters: mpsc::Receiver<Letter>, stopped: CancellationToken) {
    let sending = async {
        while let Some(Letter { to, message }) = letters.recv().await {
            if let Err(error) = broker.publish(to, message).await {
                tracing::debug!(%error, "a letter was not sent");
            }
        }
    };
    let too_long = async {
        stopped.cancelled().await;
        sleep(FAREWELL_TIME).await;
    };
    tokio::select! {
        () = sending => {}
        () = too_long => {}
    }
}
