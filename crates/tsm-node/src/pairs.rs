//! The state that two running processes share for their signatures (docs/spec/pair-set-up.md).
//!
//! It belongs to a pair of *processes*, lives in memory only, and is replaced rather than repaired:
//! after a failed check, after a restart, after a while. The player of lower index starts a set-up;
//! the other asks it to. Any number of sessions wait for one set-up.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tsm_crypto::CryptoRng;
use tsm_crypto::ot::PairState;
use tsm_protocols::ecdsa::sign::PairStates;
use tsm_protocols::{Abort, Outgoing, PerPeer, Round, Step};
use tsm_transport::{PeerStatus, ProcessId, Route};
use tsm_types::{Failure, Operation, PlayerIndex, PlayerKey, Players, Session, SessionId, SessionTag};

use crate::node::Inner;
use crate::run::{Limits, Running};
use crate::wire::Frame;

/// A state is renewed after this long, so that what is stolen today opens nothing of yesterday.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A state is renewed after this many extensions.
const MAX_EXTENSIONS: u64 = 1 << 20;

/// A new state is used after this long, and its predecessor held for as long again: the players of
/// one session start it within the connect timeout, so each holds what the other uses.
const SETTLED: Duration = Duration::from_secs(15);

/// How long a state is held after its successor came.
const SUPERSEDED: Duration = Duration::from_secs(75);

/// Failed secret-dependent checks of one peer within a day, after which its set-ups are slowed down.
const STRIKES: usize = 3;
const STRIKE_MEMORY: Duration = Duration::from_secs(24 * 3600);
const SLOWED_DOWN: Duration = Duration::from_secs(60);

/// How often a session that waits for a state looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long a set-up may take.
const SET_UP_LIMITS: Limits = Limits { connect: Duration::from_secs(5), total: Duration::from_secs(8) };

/// Peers whose state is kept at the same time. A state takes some 20 KB; the oldest makes room.
const MAX_PAIRS: usize = 16 * 1024;

/// The states of one node, by the peer's public key.
#[derive(Default)]
pub(crate) struct Pairs(Mutex<HashMap<PlayerKey, Pair>>);

struct Pair {
    /// Where sessions wait for the state.
    state: watch::Sender<Option<Ready>>,
    /// The predecessor of the state, while sessions may still use it.
    previous: Option<Ready>,
    /// The set-up that is running.
    setting_up: Option<CancellationToken>,
    /// How many states of this pair this process has lost or failed to make. Tells the peer whether the state that it
    /// holds is one of them.
    losses: u64,
    strikes: VecDeque<Instant>,
    last_set_up: Option<Instant>,
    used: Instant,
}

#[derive(Clone)]
struct Ready {
    state: Arc<PairState>,
    /// The peer's process, which has the other half.
    process: ProcessId,
    /// The set-up that made it.
    made_by: SessionTag,
    /// The peer's losses when the state was made.
    peer_losses: u64,
    since: Instant,
}

impl Ready {
    fn is_usable(&self, process: ProcessId) -> bool {
        self.process == process && !self.state.is_burned()
    }

    /// Still usable, but a new one should be made.
    fn is_old(&self) -> bool {
        self.since.elapsed() > LIFETIME || self.state.extensions() > MAX_EXTENSIONS
    }
}

impl Pair {
    fn new() -> Self {
        Pair {
            state: watch::Sender::new(None),
            previous: None,
            setting_up: None,
            losses: 0,
            strikes: VecDeque::new(),
            last_set_up: None,
            used: Instant::now(),
        }
    }

    /// Drops the state; gives its identifier if there was one.
    fn lose(&mut self) -> Option<[u8; 32]> {
        let lost = self.state.send_replace(None)?;
        self.losses += 1;
        self.previous = None;
        tracing::debug!(losses = self.losses, "pair state dropped");
        Some(lost.state.id())
    }

    fn lose_if(&mut self, condition: impl Fn(&Ready) -> bool) {
        let applies = self.state.borrow().as_ref().is_some_and(condition);
        if applies {
            self.lose();
        }
    }

    /// A new state is ready.
    fn replace(&mut self, ready: Ready) {
        self.previous = self.state.send_replace(Some(ready));
    }

    /// The states for a signature, and whether it is time for a new one.
    fn usable(&self, process: ProcessId) -> Option<(PairStates, bool)> {
        let current = self.state.borrow();
        let current = current.as_ref().filter(|ready| ready.is_usable(process))?;
        let since = current.since.elapsed();
        let previous = self.previous.as_ref().filter(|ready| ready.is_usable(process) && since < SUPERSEDED);
        let states = match previous {
            Some(previous) if since < SETTLED => {
                PairStates { mine: previous.state.clone(), others: vec![current.state.clone()] }
            }
            Some(previous) => {
                PairStates { mine: current.state.clone(), others: vec![previous.state.clone()] }
            }
            None => current.state.clone().into(),
        };
        Some((states, current.is_old()))
    }
}

impl Pairs {
    /// The states shared with a peer, set up now if there is none. Waits as long as it is let.
    pub(crate) async fn ready(
        &self,
        node: &Arc<Inner>,
        peer: PlayerIndex,
        key: &PlayerKey,
    ) -> Result<PairStates, Failure> {
        loop {
            let linked = match node.links.status(key) {
                PeerStatus::Up { process, .. } => Some(process),
                PeerStatus::Parked { .. }
                | PeerStatus::WrongKey { .. }
                | PeerStatus::Dialling { .. }
                | PeerStatus::Waiting
                | PeerStatus::Unexpected => None,
            };
            let (usable, mut changes) = {
                let mut pairs = self.lock();
                make_room(&mut pairs);
                let pair = pairs.entry(key.clone()).or_insert_with(Pair::new);
                pair.used = Instant::now();
                // A state belongs to the process at the other end of the link, not to its key.
                (linked.and_then(|process| pair.usable(process)), pair.state.subscribe())
            };
            if let Some((states, is_old)) = usable {
                if is_old && node.known.me < peer {
                    self.start(node, peer, key)?;
                }
                return Ok(states);
            }
            match linked {
                Some(_) if node.known.me < peer => self.start(node, peer, key)?,
                Some(_) => self.want(node, key),
                None => {}
            }
            // A set-up that failed leaves no state: look again now and then.
            let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
        }
    }

    /// Drops the state shared with a peer, here and there. `strike` if it failed a secret-dependent
    /// check.
    pub(crate) fn burn(&self, node: &Inner, key: &PlayerKey, strike: bool) {
        let mut pairs = self.lock();
        let Some(pair) = pairs.get_mut(key) else { return };
        if let Some(id) = pair.lose() {
            // Not connected: the peer finds out when it uses the state.
            let _ = node.links.send(key, 0, Frame::PairDropped { id }.encode());
        }
        if strike {
            pair.strikes.push_back(Instant::now());
            tracing::error!(peer = %key.fingerprint(), strikes = pair.strikes.len(),
                "a secret-dependent check failed: the state shared with this peer was destroyed");
        }
    }

    /// The peer dropped a state.
    pub(crate) fn dropped(&self, key: &PlayerKey, id: &[u8; 32]) {
        if let Some(pair) = self.lock().get_mut(key) {
            pair.lose_if(|ready| ready.state.id() == *id);
        }
    }

    /// A link came up. Another process than before does not have the state.
    pub(crate) fn peer_up(&self, key: &PlayerKey, process: ProcessId) {
        if let Some(pair) = self.lock().get_mut(key) {
            pair.lose_if(|ready| ready.process != process);
            // Who waits for a state looks again.
            pair.state.send_modify(|_| {});
        }
    }

    /// A session ended at the peer. If it was the set-up that worked here, it did not work there.
    pub(crate) fn ended_at(&self, key: &PlayerKey, tag: Option<SessionTag>) {
        if let Some(pair) = self.lock().get_mut(key) {
            pair.lose_if(|ready| Some(ready.made_by) == tag);
        }
    }

    /// The peer, of higher index, holds no state.
    pub(crate) fn wanted(&self, node: &Arc<Inner>, key: &PlayerKey, losses: u64) {
        let PeerStatus::Up { player_index, .. } = node.links.status(key) else { return };
        let peer = PlayerIndex(player_index);
        if node.known.me >= peer {
            return;
        }
        {
            let mut pairs = self.lock();
            make_room(&mut pairs);
            let pair = pairs.entry(key.clone()).or_insert_with(Pair::new);
            // The peer asked before it had this state.
            if pair.state.borrow().as_ref().is_some_and(|ready| ready.peer_losses >= losses) {
                return;
            }
            pair.lose();
        }
        if let Err(failure) = self.start(node, peer, key) {
            tracing::debug!(player = %peer, %failure, "no set-up started");
        }
    }

    /// A peer opened a set-up. If it is of lower index, that is an invitation: take part.
    pub(crate) fn invited(&self, node: &Arc<Inner>, session: &Session, key: &PlayerKey) {
        let me = node.known.me;
        let of_us_two = session.players.len() == 2 && session.players.key(me) == Some(&node.known.my_key);
        let invites = session.players.index_of(key).is_some_and(|peer| peer < me);
        // A repeated invitation is to a set-up that runs or ran already.
        if !of_us_two || !invites || node.sessions.knows(&session.tag()) {
            return;
        }
        // The peer starts again only when it gave up the earlier one.
        if let Some(earlier) = self.lock().get_mut(key).and_then(|pair| pair.setting_up.take()) {
            earlier.cancel();
        }
        self.run(node, session.clone(), key.clone());
    }

    fn start(&self, node: &Arc<Inner>, peer: PlayerIndex, key: &PlayerKey) -> Result<(), Failure> {
        let fresh = node.compute.fresh(b"pair set-up")?;
        let players = [(node.known.me, node.known.my_key.clone()), (peer, key.clone())];
        let id: String = fresh.iter().map(|byte| format!("{byte:02x}")).collect();
        let session = Session {
            id: SessionId::new(format!("pair-{id}"))?,
            operation: Operation::SetUpPair,
            players: Players::new(players.into())?,
        };
        self.run(node, session, key.clone());
        Ok(())
    }

    fn want(&self, node: &Arc<Inner>, key: &PlayerKey) {
        // Not connected: asked again in half a second.
        let _ = node.links.send(key, 0, Frame::PairWanted { losses: self.losses(key) }.encode());
    }

    /// Runs one set-up in the background, unless one is running or must wait.
    fn run(&self, node: &Arc<Inner>, session: Session, key: PlayerKey) {
        let cancelled = CancellationToken::new();
        {
            let mut pairs = self.lock();
            let pair = pairs.entry(key.clone()).or_insert_with(Pair::new);
            while pair.strikes.front().is_some_and(|strike| strike.elapsed() > STRIKE_MEMORY) {
                pair.strikes.pop_front();
            }
            let too_soon = pair.strikes.len() >= STRIKES
                && pair.last_set_up.is_some_and(|last| last.elapsed() < SLOWED_DOWN);
            if pair.setting_up.is_some() || too_soon {
                return;
            }
            tracing::debug!(peer = %key.fingerprint(), session = %session.id, "pair set-up starts");
            pair.setting_up = Some(cancelled.clone());
            pair.last_set_up = Some(Instant::now());
        }
        let task = node.clone();
        node.tasks.spawn(async move {
            let result = tokio::select! {
                biased;
                () = cancelled.cancelled() => return,
                result = set_up(&task, session) => result,
            };
            let mut pairs = task.pairs.lock();
            let pair = pairs.entry(key.clone()).or_insert_with(Pair::new);
            if cancelled.is_cancelled() {
                return;
            }
            pair.setting_up = None;
            match result {
                Ok(ready) => {
                    tracing::debug!(peer = %key.fingerprint(), peer_losses = ready.peer_losses, "pair set up");
                    pair.replace(ready);
                }
                Err(failure) => {
                    // The peer may believe that it worked.
                    pair.losses += 1;
                    tracing::warn!(peer = %key.fingerprint(), %failure, "pair set-up failed");
                }
            }
        });
    }

    /// Number of peers with whom a state is shared, and of set-ups that run.
    pub(crate) fn count(&self) -> (usize, usize) {
        let pairs = self.lock();
        let states = pairs.values().filter(|pair| pair.state.borrow().is_some()).count();
        (states, pairs.values().filter(|pair| pair.setting_up.is_some()).count())
    }

    fn losses(&self, key: &PlayerKey) -> u64 {
        self.lock().get(key).map_or(0, |pair| pair.losses)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PlayerKey, Pair>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// Two protocols: the set-up, then a word that it worked. Whoever holds a state after this knows
/// that its peer computed it too.
async fn set_up(node: &Arc<Inner>, session: Session) -> Result<Ready, Failure> {
    // The link stands already: a session or the peer asked for this.
    let peers = session.players.peers_of(node.known.me).into_iter();
    let routes = peers.map(|peer| (peer, node.known.route(peer).unwrap_or(Route::Wait))).collect();
    let mut running = Running::open(node, session, routes, SET_UP_LIMITS)?;
    let context = running.context().clone();
    let result = async {
        let (peers, set_up_context) = (context.peers(), context.clone());
        let step =
            running.compute(SET_UP, 0, move |rng| tsm_protocols::pair::start(&set_up_context, rng)).await?;
        let state = running.drive(SET_UP, step).await?;
        let losses = peers.first().map_or(0, |peer| node.pairs.losses(context.key_of(*peer)));
        let worked = Step::wait(Outgoing::broadcast(&peers, &Worked { losses }), peers, AwaitWorked);
        let peer_losses = running.drive(WORKED, worked).await?;
        let process = running.process_of_the_peer()?;
        let made_by = *context.tag();
        Ok(Ready { state: Arc::new(state), process, made_by, peer_losses, since: Instant::now() })
    }
    .await;
    running.finish(result)
}

const SET_UP: u8 = 1;
const WORKED: u8 = 2;

/// "I computed the state", and how many this process lost before.
#[derive(BorshSerialize, BorshDeserialize)]
struct Worked {
    losses: u64,
}

struct AwaitWorked;

impl Round for AwaitWorked {
    type Message = Worked;
    type Output = u64;

    fn advance(self, received: PerPeer<Worked>, _: &mut dyn CryptoRng) -> Result<Step<u64>, Abort> {
        Ok(Step::done(received.iter().map(|(_, worked)| worked.losses).sum()))
    }
}

/// Forgets the pair that was not used for longest when there are too many.
fn make_room(pairs: &mut HashMap<PlayerKey, Pair>) {
    if pairs.len() < MAX_PAIRS {
        return;
    }
    let idle = pairs.iter().filter(|(_, pair)| pair.setting_up.is_none() && pair.strikes.is_empty());
    if let Some(key) = idle.min_by_key(|(_, pair)| pair.used).map(|(key, _)| key.clone()) {
        pairs.remove(&key);
    }
}
