//! What the tasks of one node's links share: the table of peers, and the way to the engine.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::counts::{Counters, count};
use crate::link::dial::{keep, pause_after};
use crate::link::echo::Knows;
use crate::link::failures::Failures;
use crate::link::limits::{HINT_INTERVAL, Limits, MAX_CONNECTIONS_PER_PEER};
use crate::link::outbox::{ConnectionId, Next, QueueLimits};
use crate::link::parked::{ParkedLink, ParkedLinks};
use crate::link::peer::{Chore, DialProblem, Peer, Registered};
use crate::link::tls::Tls;
use crate::link::waiting::{Source, WaitingRoom};
use crate::link::wire::{Hello, Unit};
use crate::links::{DownReason, LinkEvent, PeerKey, PeerStatus, Route, SendError, Stranger};
use crate::pipe::{Dialler, Origin};

/// How much a writer takes at once; a few TLS records.
pub(crate) const WRITE_BYTES: usize = 64 * 1024;

pub(crate) struct Shared {
    pub(crate) tls: Tls,
    pub(crate) hello: Hello,
    pub(crate) limits: Limits,
    pub(crate) dialler: Dialler,
    pub(crate) counters: Counters,
    /// Peers to which the limits of dynamic ones do not apply.
    static_peers: HashSet<PeerKey>,
    /// No new connections: keepers, the listener and those who wait go home.
    pub(crate) leaving: CancellationToken,
    stopped: CancellationToken,
    pub(crate) tasks: TaskTracker,
    runtime: Handle,
    table: Mutex<Table>,
    events: mpsc::Sender<LinkEvent>,
}

struct Table {
    /// Boxed: one is some kilobytes, and a map that has grown keeps its room.
    peers: HashMap<PeerKey, Box<Peer>>,
    handshakes: WaitingRoom<oneshot::Sender<Infallible>>,
    failures: Failures,
    parked: ParkedLinks,
    /// Dynamic peers that nobody expects at the moment, since when.
    idle: BTreeSet<(Instant, PeerKey)>,
    last_id: u64,
    last_hint_at: Option<Instant>,
}

/// What a node's links are and may.
pub(crate) struct Own {
    pub(crate) tls: Tls,
    pub(crate) hello: Hello,
    pub(crate) limits: Limits,
    pub(crate) static_peers: HashSet<PeerKey>,
    pub(crate) dialler: Dialler,
}

/// Where a proven connection goes.
pub(crate) enum Entry {
    Expected(Registered),
    /// The receiver ends without a value if the link has to give way.
    Parked(ConnectionId, oneshot::Receiver<Registered>),
    /// More connections than these may one such peer have.
    TooMany(usize),
    /// This node is closing its links.
    Leaving,
}

/// What a writer has to do.
pub(crate) struct Work {
    pub(crate) units: Vec<Unit>,
    pub(crate) finished: bool,
    pub(crate) retiring: bool,
}

impl Shared {
    pub(crate) fn new(
        own: Own,
        stopped: CancellationToken,
        runtime: Handle,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        let Own { tls, hello, limits, static_peers, dialler } = own;
        let table = Table {
            peers: HashMap::new(),
            handshakes: WaitingRoom::new(limits.handshakes, limits.handshakes),
            failures: Failures::new(limits.failed_handshakes, limits.blocked_for),
            parked: ParkedLinks::new(limits.parked, limits.parked_per_source),
            idle: BTreeSet::new(),
            last_id: 0,
            last_hint_at: None,
        };
        Shared {
            tls,
            hello,
            limits,
            dialler,
            counters: Counters::default(),
            static_peers,
            leaving: stopped.child_token(),
            stopped,
            tasks: TaskTracker::new(),
            runtime,
            table: Mutex::new(table),
            events,
        }
    }

    /// Starts a task that ends with the links.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.stopped.clone();
        // What waits for a task without a box holds its room twice.
        let task = Box::pin(task);
        self.tasks.spawn_on(async move { stopped.run_until_cancelled(task).await }, &self.runtime);
    }

    /// Starts a task that sees to its own end, soon after the links.
    pub(crate) fn spawn_farewell(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Everything ends.
    pub(crate) fn stop(&self) {
        self.stopped.cancel();
        if let Some(broker) = &self.dialler.broker {
            broker.close();
        }
    }

    /// Expects `peer` until the returned lease number is released.
    pub(crate) fn lease(self: &Arc<Self>, peer: &PeerKey, route: Route) -> u64 {
        let mut table = self.lock();
        let lease = table.new_id();
        table.is_not_idle(peer);
        let entry = table.peer(peer, self);
        entry.lease(lease, route);
        if !entry.kept {
            entry.kept = true;
            self.spawn(keep(self.clone(), peer.clone(), entry.changed.clone()));
        }
        for (id, parked) in table.parked.take_of(peer) {
            let entry = table.peer(peer, self);
            let Some(registered) = entry.register(id, parked.hello, None) else { continue };
            if parked.unpark.send(registered).is_err() {
                // It has just gone.
                entry.end(id, DownReason::Closed, pause_after);
            }
        }
        self.counters.parked_now.store(table.parked.len() as u64, Ordering::Relaxed);
        lease
    }

    pub(crate) fn release(&self, peer: &PeerKey, lease: u64) {
        let mut table = self.lock();
        let Some(entry) = table.peers.get_mut(peer) else { return };
        let idle_since = entry.release(lease);
        if self.is_static(peer) {
            return;
        }
        table.idle.extend(idle_since.map(|since| (since, peer.clone())));
        while table.idle.len() > self.limits.idle_links
            && let Some((_, longest)) = table.idle.pop_first()
        {
            count(&self.counters.displaced_idle_links);
            if let Some(entry) = table.peers.get_mut(&longest) {
                entry.leave_now();
            }
        }
    }

    fn is_static(&self, peer: &PeerKey) -> bool {
        self.static_peers.contains(peer)
    }

    /// What this node makes of a key.
    pub(crate) fn knows(&self, key: &PeerKey) -> Knows {
        match self.is_static(key) {
            true => Knows::Static,
            false if self.lock().peers.get(key).is_some_and(|peer| peer.kept) => Knows::Dynamic,
            false => Knows::Nobody,
        }
    }

    /// Connections that one such peer may have.
    fn most_connections(&self, peer: &PeerKey) -> usize {
        if self.is_static(peer) { MAX_CONNECTIONS_PER_PEER } else { self.limits.connections_of_dynamic }
    }

    pub(crate) fn send(&self, peer: &PeerKey, order: u64, frame: Vec<u8>) -> Result<(), SendError> {
        self.lock().peers.get_mut(peer).ok_or(SendError::NotConnected)?.outbox.push(order, frame)
    }

    pub(crate) fn status(&self, peer: &PeerKey) -> PeerStatus {
        self.lock().peers.get(peer).map_or(PeerStatus::Unexpected, |peer| peer.status())
    }

    pub(crate) fn strangers(&self) -> Vec<Stranger> {
        self.lock().parked.strangers()
    }

    pub(crate) fn strangers_as(&self, player: u16, most: usize) -> (Vec<Stranger>, usize) {
        self.lock().parked.strangers_as(player, most)
    }

    /// Dials all at once who could not be reached without the message broker.
    pub(crate) fn broker_is_back(&self) {
        self.lock().peers.values_mut().for_each(|peer| peer.broker_is_back());
    }

    /// Empties and closes all connections.
    pub(crate) fn retire_all(&self) {
        self.lock().peers.values_mut().for_each(|peer| peer.retire_all());
    }

    // The keeper of a peer.

    pub(crate) fn chore(&self, peer: &PeerKey) -> Chore {
        let mut table = self.lock();
        let Some(entry) = table.peers.get_mut(peer) else { return Chore::Leave };
        let is_static = self.is_static(peer);
        let stays = if is_static { self.limits.unleased_for } else { self.limits.dynamic_unleased_for };
        let chore = entry.chore(Instant::now(), stays);
        if chore == Chore::Leave {
            table.is_not_idle(peer);
        }
        table.forget_if_unused(peer);
        chore
    }

    pub(crate) fn dialled(&self, peer: &PeerKey, hello: Hello, lifetime: Duration) -> Option<Registered> {
        let mut table = self.lock();
        if self.leaving.is_cancelled() {
            return None;
        }
        let id = table.new_id();
        table.peer(peer, self).register(id, hello, Some(lifetime))
    }

    /// Returns whether it failed in another way than the time before.
    pub(crate) fn dial_failed(&self, peer: &PeerKey, problem: DialProblem) -> bool {
        self.lock().peers.get_mut(peer).is_some_and(|peer| peer.failed(problem, pause_after))
    }

    // Those who connect to us.

    /// The receiver ends if the handshake has to give way to newer ones.
    pub(crate) fn handshake_begins(&self, from: Origin) -> (ConnectionId, oneshot::Receiver<Infallible>) {
        let (stays, gives_way) = oneshot::channel();
        let mut table = self.lock();
        let id = table.new_id();
        drop(table.handshakes.enter(id, from, stays));
        (id, gives_way)
    }

    /// Whether too much of what this source sent came to nothing lately.
    pub(crate) fn is_blocked(&self, from: Origin) -> bool {
        let blocked = blockable(from).is_some_and(|source| self.lock().failures.is_blocked(source));
        if blocked {
            count(&self.counters.dropped_connections);
        }
        blocked
    }

    /// Returns whether the source is not listened to from now on.
    pub(crate) fn handshake_failed(&self, from: Origin) -> bool {
        count(&self.counters.failed_handshakes);
        let blocked = blockable(from).is_some_and(|source| self.lock().failures.count(source));
        if blocked {
            count(&self.counters.blocked_sources);
        }
        blocked
    }

    pub(crate) fn handshake_ends(&self, id: ConnectionId) {
        self.lock().handshakes.remove(id);
    }

    pub(crate) fn enter(&self, peer: &PeerKey, hello: Hello, from: Origin) -> Entry {
        let mut table = self.lock();
        if self.leaving.is_cancelled() {
            return Entry::Leaving;
        }
        let id = table.new_id();
        if let Some(entry) = table.peers.get_mut(peer).filter(|entry| entry.kept) {
            let registered = entry.register(id, hello, None);
            if registered.is_none() && !self.is_static(peer) {
                count(&self.counters.refused_connections);
            }
            return registered.map_or(Entry::TooMany(self.most_connections(peer)), Entry::Expected);
        }
        let (unpark, unparked) = oneshot::channel();
        let link = ParkedLink { key: peer.clone(), hello, from, since: Instant::now(), unpark };
        count(&self.counters.parked);
        if table.parked.enter(id, link) {
            count(&self.counters.displaced);
        }
        self.counters.parked_now.store(table.parked.len() as u64, Ordering::Relaxed);
        Entry::Parked(id, unparked)
    }

    /// Whether to log now what anybody can make us log: once in a while (rule S-105).
    pub(crate) fn may_hint(&self) -> bool {
        let mut table = self.lock();
        let may = table.last_hint_at.is_none_or(|last| last.elapsed() >= HINT_INTERVAL);
        if may {
            table.last_hint_at = Some(Instant::now());
        }
        may
    }

    /// Returns whether it was still there.
    pub(crate) fn leave_parking(&self, id: ConnectionId) -> bool {
        let mut table = self.lock();
        let was_there = table.parked.remove(id).is_some();
        self.counters.parked_now.store(table.parked.len() as u64, Ordering::Relaxed);
        was_there
    }

    // The task of a connection.

    /// What to write now: up to [`WRITE_BYTES`] and one unit.
    pub(crate) fn work(&self, peer: &PeerKey, id: ConnectionId) -> Work {
        let mut work = Work { units: Vec::new(), finished: true, retiring: false };
        let mut table = self.lock();
        let Some(peer) = table.peers.get_mut(peer) else { return work };
        let mut bytes = 0;
        work.finished = false;
        while bytes < WRITE_BYTES {
            match peer.outbox.next(id) {
                Next::Write(unit) => {
                    bytes += unit.encoded_len();
                    work.units.push(unit);
                }
                Next::Idle => break,
                Next::Finished => {
                    work.finished = true;
                    break;
                }
            }
        }
        work.retiring = peer.outbox.is_retiring(id);
        work
    }

    pub(crate) fn keep_alive(&self, peer: &PeerKey, id: ConnectionId) {
        if let Some(peer) = self.lock().peers.get_mut(peer) {
            peer.outbox.keep_alive(id);
        }
    }

    pub(crate) fn answer_ping(
        &self,
        peer: &PeerKey,
        id: ConnectionId,
        number: u64,
    ) -> Result<(), &'static str> {
        self.lock().peers.get_mut(peer).map_or(Ok(()), |peer| peer.outbox.answer_ping(id, number))
    }

    pub(crate) fn heard_pong(&self, peer: &PeerKey, id: ConnectionId, number: u64) {
        if let Some(peer) = self.lock().peers.get_mut(peer) {
            peer.outbox.heard_pong(id, number);
            peer.changed.notify_one();
        }
    }

    pub(crate) fn heard_closing(&self, peer: &PeerKey, id: ConnectionId) {
        if let Some(peer) = self.lock().peers.get_mut(peer) {
            peer.outbox.heard_closing(id);
            peer.changed.notify_one();
        }
    }

    /// Whether an end of the stream is now in order.
    pub(crate) fn is_finished(&self, peer: &PeerKey, id: ConnectionId) -> bool {
        self.lock().peers.get(peer).is_none_or(|peer| peer.outbox.is_finished(id))
    }

    pub(crate) async fn set_usable(&self, peer: &PeerKey, id: ConnectionId) {
        self.change(peer, |peer| peer.set_usable(id)).await;
    }

    pub(crate) async fn set_parked(&self, peer: &PeerKey, id: ConnectionId) {
        self.change(peer, |peer| peer.set_parked(id)).await;
    }

    pub(crate) async fn end(&self, peer: &PeerKey, id: ConnectionId, reason: DownReason) {
        self.change(peer, |peer| peer.end(id, reason, pause_after)).await;
        self.lock().forget_if_unused(peer);
    }

    /// Passes a frame on; waits while the engine is busy, so that the peer does, too.
    pub(crate) async fn deliver(&self, peer: &PeerKey, id: ConnectionId, bytes: Vec<u8>) {
        let Ok(place) = self.events.reserve().await else { return };
        let table = self.lock();
        let Some(process) = table.peers.get(peer).and_then(|entry| entry.process_of(id)) else { return };
        place.send(LinkEvent::Frame { peer: peer.clone(), process, bytes });
    }

    /// Applies a change and tells the engine of it. First the room for events, then the lock: so
    /// they are told in the order in which the table changed.
    async fn change(&self, peer: &PeerKey, change: impl FnOnce(&mut Peer) -> Vec<LinkEvent>) {
        let places = self.events.reserve_many(MOST_EVENTS_OF_A_CHANGE).await;
        let mut table = self.lock();
        let Some(peer) = table.peers.get_mut(peer) else { return };
        let was_up = peer.is_up();
        let events = change(peer);
        match (was_up, peer.is_up()) {
            (false, true) => self.counters.up.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.counters.up.fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => 0,
        };
        if let Ok(places) = places {
            places.zip(events).for_each(|(place, event)| place.send(event));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no holder of this lock panics")
    }
}

/// The broker is never blocked: whoever can write to it could shut out all others.
fn blockable(from: Origin) -> Option<Source> {
    match from {
        Origin::Network(_) => Some(from.into()),
        Origin::Broker { .. } => None,
    }
}

/// `Down`, and `Up` or `Parked`.
pub(crate) const MOST_EVENTS_OF_A_CHANGE: usize = 2;

impl Table {
    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn peer(&mut self, key: &PeerKey, shared: &Shared) -> &mut Peer {
        let limits = &shared.limits;
        let queue = QueueLimits { frames: limits.queued_frames, bytes: limits.queued_bytes };
        let most = shared.most_connections(key);
        self.peers.entry(key.clone()).or_insert_with(|| Box::new(Peer::new(key.clone(), queue, most)))
    }

    fn is_not_idle(&mut self, peer: &PeerKey) {
        if let Some(entry) = self.peers.get(peer) {
            self.idle.remove(&(entry.idle_since(), peer.clone()));
        }
    }

    fn forget_if_unused(&mut self, peer: &PeerKey) {
        if self.peers.get(peer).is_some_and(|peer| peer.is_forgotten()) {
            self.peers.remove(peer);
        }
    }
}
