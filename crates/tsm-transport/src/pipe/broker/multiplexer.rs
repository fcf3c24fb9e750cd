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

#[cfg(test)]
mod tests {
    use super::super::memory::{Delivery, MemoryBroker, Post};
    use super::*;

    use std::pin::Pin;

    use tokio::io::AsyncWriteExt;

    const ME: NodeInbox = node(1);

    const fn node(number: u8) -> NodeInbox {
        NodeInbox { player: Fingerprint([number; 32]), node: [number; 16] }
    }

    /// A multiplexer, and what it sends.
    struct Bench {
        broker: MemoryBroker,
        multiplexer: Arc<Multiplexer>,
        opened: mpsc::Receiver<Arriving>,
        receive: tokio::task::JoinHandle<()>,
        send: Pin<Box<dyn Future<Output = ()> + Send>>,
        sent: Arc<Mutex<Vec<(Inbox, Message)>>>,
    }

    impl Bench {
        fn new() -> Self {
            let (broker, sent) = (MemoryBroker::new(), Arc::<Mutex<Vec<_>>>::default());
            let see = sent.clone();
            broker.set_hand(Box::new(move |post| {
                see.lock().unwrap().push((post.to, Message::decode(post.message.clone()).unwrap()));
                vec![Delivery::at_once(post)]
            }));
            let (port, stopped) = (Arc::new(broker.clone()), CancellationToken::new());
            let (multiplexer, opened, work) = Multiplexer::new(port, ME.player, ME.node, Reads::All, stopped);
            let receive = tokio::spawn(work.receive);
            Bench { broker, multiplexer, opened, receive, send: Box::pin(work.send), sent }
        }

        /// Brings a message and lets it be seen to.
        async fn bring(&self, message: Vec<u8>) {
            self.broker.inject(Post { to: ME.into(), message }).await;
            sleep(Duration::from_millis(1)).await;
        }

        async fn tell(&self, pipe: u16, content: Content) {
            let mut id = PipeId([0; 16]);
            id.0[..2].copy_from_slice(&pipe.to_le_bytes());
            self.bring(Message { pipe: id, content }.encode()).await;
        }

        /// A pipe that another node has opened.
        async fn pipe(&mut self, from: NodeInbox) -> Pipe {
            self.tell(0, Content::Open(from)).await;
            self.opened.recv().await.unwrap().opening.await.unwrap()
        }

        /// All that has been sent, and to whom, once nothing waits.
        async fn sent(&mut self) -> Vec<Inbox> {
            drop(timeout(Duration::from_secs(1), &mut self.send).await);
            self.sent.lock().unwrap().drain(..).map(|(to, _)| to).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s33_whatever_is_of_no_use_is_dropped_and_counted_by_its_kind() {
        let mut bench = Bench::new();
        let _pipe = bench.pipe(node(2)).await;
        bench.bring(b"junk".to_vec()).await;
        bench.tell(7, Content::Data(1, vec![1])).await;
        for number in [1, 1, 1000] {
            bench.tell(0, Content::Data(number, vec![1])).await;
        }
        // Nothing was sent that could have been read.
        bench.tell(0, Content::Credit(1)).await;
        bench.tell(0, Content::Accept(node(3))).await;
        let counts = BrokerCounts { malformed: 1, unknown: 1, repeated: 3, beyond: 1, refused: 0 };
        assert_eq!(bench.multiplexer.counts(), counts);
        assert_eq!(counts.dropped(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn s105_no_more_newcomers_wait_than_may_and_of_those_who_left_nothing_is_left() {
        let mut bench = Bench::new();
        let most = u16::try_from(MAX_WAITING_OPENS).unwrap();
        for pipe in 0..most + 3 {
            bench.tell(pipe, Content::Open(node(2))).await;
        }
        assert_eq!(bench.multiplexer.counts().refused, 3);
        assert_eq!(bench.multiplexer.lock().pipes.len(), MAX_WAITING_OPENS);
        while bench.opened.try_recv().is_ok() {}
        assert!(bench.multiplexer.lock().pipes.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn s97_an_open_that_comes_again_is_answered_to_the_node_that_asked_and_to_no_other() {
        let mut bench = Bench::new();
        let _pipe = bench.pipe(node(2)).await;
        assert_eq!(bench.sent().await, [node(2).into()]);
        let (other_node, other_player) = (NodeInbox { node: [3; 16], ..node(2) }, node(3));
        for from in [other_node, other_player, node(2)] {
            bench.tell(0, Content::Open(from)).await;
        }
        assert_eq!(bench.sent().await, [node(2).into()]);
        // Nor is a pipe that this node dials answered by itself.
        let dialling = bench.multiplexer.clone();
        let dialling = tokio::spawn(async move { dialling.dial(Fingerprint([9; 32])).await.map(drop) });
        sleep(Duration::from_millis(1)).await;
        let pipe = bench.sent.lock().unwrap().pop().unwrap().1.pipe;
        bench.bring(Message { pipe, content: Content::Open(node(2)) }.encode()).await;
        assert!(!bench.sent().await.contains(&node(2).into()));
        dialling.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn s105_letters_that_the_broker_does_not_take_wait_in_bounded_number() {
        let mut bench = Bench::new();
        let _pipe = bench.pipe(node(2)).await;
        for _ in 0..2 * MAX_WAITING_LETTERS {
            bench.tell(0, Content::Open(node(2))).await;
        }
        assert_eq!(bench.sent().await.len(), 1 + MAX_WAITING_LETTERS);
    }

    #[tokio::test(start_paused = true)]
    async fn s97_a_message_that_the_broker_refuses_ends_the_pipe() {
        let mut bench = Bench::new();
        let mut pipe = bench.pipe(node(2)).await;
        // That the broker is away is not heard, but that it takes nothing.
        bench.receive.abort();
        bench.broker.go_away();
        pipe.write_all(&[1]).await.unwrap();
        assert_eq!(pipe.flush().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        bench.broker.come_back();
        pipe.write_all(&[1]).await.unwrap();
        assert!(pipe.flush().await.is_err(), "what comes after it would not be understood");
    }
}
