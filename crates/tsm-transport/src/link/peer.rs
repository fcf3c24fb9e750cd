//! What is known of one peer: who expects it, its connections, what to do next for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::link::limits::{FIRST_RETRY, REMEMBERED};
use crate::link::outbox::{ConnectionId, Outbox, QueueLimits};
use crate::link::tls::WrongKey;
use crate::link::wire::Hello;
use crate::links::{DownReason, LinkEvent, PeerKey, PeerStatus, ProcessId, Route};
use tsm_types::Address;
use tsm_types::address::Place;

pub(crate) struct Peer {
    key: PeerKey,
    /// Newest last.
    leases: BTreeMap<u64, Route>,
    /// When the last lease was dropped.
    unleased_at: Instant,
    /// It is not to stay until its time is over.
    leaves_now: bool,
    /// A keeper task looks after this peer. It does while the peer is expected.
    pub(crate) kept: bool,
    connections: BTreeMap<ConnectionId, Connection>,
    most_connections: usize,
    pub(crate) outbox: Outbox,
    /// The process that frames flow to, and the player index it claims.
    up: Option<(ProcessId, u16)>,
    problem: Option<DialProblem>,
    failures: u32,
    /// Not to be dialled before.
    retry_at: Instant,
    /// Wakes the keeper.
    pub(crate) changed: Arc<Notify>,
}

struct Connection {
    hello: Hello,
    /// For those that we dialled: when to replace it.
    renew_at: Option<Instant>,
    usable: bool,
    /// The peer said that it does not expect us.
    parked: bool,
    kill: CancellationToken,
}

/// What the task of a connection needs to know.
pub(crate) struct Registered {
    pub(crate) id: ConnectionId,
    pub(crate) wake: Arc<Notify>,
    /// Cancelled when the connection is of no more use to anyone.
    pub(crate) kill: CancellationToken,
}

/// Why the last attempt to dial failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DialProblem {
    WrongKey(WrongKey),
    Other(String),
}

/// What the keeper does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    Dial(Address),
    Wait(Option<Instant>),
    /// Nobody has expected the peer for a while.
    Leave,
}

impl Peer {
    pub(crate) fn new(key: PeerKey, limits: QueueLimits, most_connections: usize) -> Self {
        let now = Instant::now();
        Peer {
            key,
            leases: BTreeMap::new(),
            unleased_at: now,
            leaves_now: false,
            kept: false,
            connections: BTreeMap::new(),
            most_connections,
            outbox: Outbox::new(limits),
            up: None,
            problem: None,
            failures: 0,
            retry_at: now,
            changed: Arc::new(Notify::new()),
        }
    }

    pub(crate) fn lease(&mut self, id: u64, route: Route) {
        self.leases.insert(id, route);
        self.leaves_now = false;
        // Whoever asks anew does not wait for the end of a long pause.
        self.failures = 0;
        self.retry_at = self.retry_at.min(Instant::now() + FIRST_RETRY);
        self.changed.notify_one();
    }

    /// The message broker is there again: who is dialled through it does not wait for the end of a pause.
    pub(crate) fn broker_is_back(&mut self) {
        if self.address().is_some_and(|(address, _)| matches!(address.place, Place::Broker)) {
            self.failures = 0;
            self.retry_at = Instant::now();
            self.changed.notify_one();
        }
    }

    /// Returns since when the peer is idle, if this was its last lease.
    pub(crate) fn release(&mut self, id: u64) -> Option<Instant> {
        self.leases.remove(&id);
        self.changed.notify_one();
        self.leases.is_empty().then(|| {
            self.unleased_at = Instant::now();
            self.unleased_at
        })
    }

    /// When the last lease was dropped; of no meaning while there is one.
    pub(crate) fn idle_since(&self) -> Instant {
        self.unleased_at
    }

    /// An idle peer does not wait for its time.
    pub(crate) fn leave_now(&mut self) {
        self.leaves_now = true;
        self.changed.notify_one();
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// Nothing is left to remember.
    pub(crate) fn is_forgotten(&self) -> bool {
        !self.kept && self.leases.is_empty() && self.connections.is_empty()
    }

    /// Takes in a proven connection; `lifetime` for one that we dialled. `None` if there are too many.
    pub(crate) fn register(
        &mut self,
        id: ConnectionId,
        hello: Hello,
        lifetime: Option<Duration>,
    ) -> Option<Registered> {
        if self.connections.len() >= self.most_connections {
            return None;
        }
        let (wake, kill) = (Arc::new(Notify::new()), CancellationToken::new());
        let renew_at = lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime));
        let connection = Connection { hello, renew_at, usable: false, parked: false, kill: kill.clone() };
        self.connections.insert(id, connection);
        self.outbox.add(id, wake.clone());
        Some(Registered { id, wake, kill })
    }

    /// Both sides expect each other on this connection.
    pub(crate) fn set_usable(&mut self, id: ConnectionId) -> Vec<LinkEvent> {
        let Some(connection) = self.connections.get_mut(&id) else { return Vec::new() };
        connection.usable = true;
        connection.parked = false;
        let Hello { process, player } = connection.hello;
        self.problem = None;
        self.failures = 0;
        self.changed.notify_one();

        let mut events = self.leave_other_process(process);
        self.outbox.set_usable(id);
        // Told again to whoever found the last connections about to close, and waits for this.
        if self.outbox.take_refused() || self.up.is_none() {
            self.up = Some((process, player));
            events.push(self.up_event(process, player));
        }
        events
    }

    /// The peer does not expect us. Told once, not for every connection.
    pub(crate) fn set_parked(&mut self, id: ConnectionId) -> Vec<LinkEvent> {
        let known = self.is_parked();
        let Some(connection) = self.connections.get_mut(&id) else { return Vec::new() };
        connection.parked = true;
        // While frames flow on another connection this is of no interest; `end` tells it after them.
        if known || self.up.is_some() { Vec::new() } else { vec![self.parked_event()] }
    }

    /// Whether frames of this connection may be passed on.
    pub(crate) fn process_of(&self, id: ConnectionId) -> Option<ProcessId> {
        self.connections
            .get(&id)
            .filter(|connection| connection.usable)
            .map(|connection| connection.hello.process)
    }

    /// A connection is over. `pause`: how long not to dial after this many failures.
    pub(crate) fn end(
        &mut self,
        id: ConnectionId,
        reason: DownReason,
        pause: impl FnOnce(u32) -> Duration,
    ) -> Vec<LinkEvent> {
        // Unknown: it was left with its process.
        let Some(connection) = self.connections.remove(&id) else { return Vec::new() };
        self.outbox.remove(id);
        self.changed.notify_one();
        if !connection.usable {
            if connection.renew_at.is_some() {
                self.failed(DialProblem::Other(unused(&reason, connection.parked)), pause);
            }
            return Vec::new();
        }
        let Some((process, player)) = self.up else { return Vec::new() };
        let others = self.connections.values().any(|connection| connection.usable);
        if others && reason == DownReason::Closed {
            return Vec::new();
        }
        self.retry_at = Instant::now() + pause(0);
        let mut events = vec![LinkEvent::Down { peer: self.key.clone(), process, reason }];
        if others {
            events.push(self.up_event(process, player));
        } else {
            self.up = None;
            if self.is_parked() {
                events.push(self.parked_event());
            }
        }
        events
    }

    /// An attempt to dial failed. Returns whether it failed in another way than the one before.
    pub(crate) fn failed(&mut self, problem: DialProblem, pause: impl FnOnce(u32) -> Duration) -> bool {
        self.retry_at = Instant::now() + pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.problem.replace(problem.clone()) != Some(problem)
    }

    pub(crate) fn retire_all(&mut self) {
        self.connections.keys().for_each(|id| self.outbox.retire(*id));
    }

    pub(crate) fn status(&self) -> PeerStatus {
        if let Some((process, player_index)) = self.up {
            return PeerStatus::Up { process, player_index };
        }
        if let Some(connection) = self.connections.values().find(|connection| connection.parked) {
            return PeerStatus::Parked { player_index: connection.hello.player };
        }
        if self.leases.is_empty() {
            return PeerStatus::Unexpected;
        }
        if self.address().is_none() {
            return PeerStatus::Waiting;
        }
        match &self.problem {
            Some(DialProblem::WrongKey(WrongKey { expected, presented })) => {
                PeerStatus::WrongKey { expected: *expected, presented: *presented }
            }
            Some(DialProblem::Other(error)) => PeerStatus::Dialling { last_error: Some(error.clone()) },
            None => PeerStatus::Dialling { last_error: None },
        }
    }

    /// What there is to do for this peer; closes what is no longer wanted.
    pub(crate) fn chore(&mut self, now: Instant, unleased_for: Duration) -> Chore {
        if self.leases.is_empty() {
            // `unleased_for` is for links; without one, a peer is remembered while it may still dial again.
            let linked = !self.connections.is_empty();
            let stays = if linked { unleased_for } else { unleased_for.min(REMEMBERED) };
            let leave_at = self.unleased_at + stays;
            if now < leave_at && !self.leaves_now {
                return Chore::Wait(Some(leave_at));
            }
            self.kept = false;
            self.retire_all();
            return Chore::Leave;
        }
        let Some((address, yields)) = self.address() else { return Chore::Wait(None) };
        let (address, wanted) = (address.clone(), self.wanted_connections(address, yields));
        self.retire_replaced(now, wanted);
        // One that is not usable (yet) is not renewed either: the peer might park it again and again.
        if self.dialled().filter(|(_, renew_at, usable)| !usable || now < *renew_at).count() >= wanted {
            let renewals = self.dialled().filter(|(_, renew_at, usable)| *usable && now < *renew_at);
            return Chore::Wait(renewals.map(|(_, renew_at, _)| renew_at).min());
        }
        if now < self.retry_at { Chore::Wait(Some(self.retry_at)) } else { Chore::Dial(address) }
    }

    /// A whole pool where frames flow; one connection where they do not (yet); none where the peer's own
    /// will do.
    fn wanted_connections(&self, address: &Address, yields: bool) -> usize {
        let mut theirs = self.connections.iter().filter(|(_, connection)| connection.renew_at.is_none());
        if yields && theirs.any(|(id, _)| self.outbox.is_confirmed(*id) && !self.outbox.is_retiring(*id)) {
            return 0;
        }
        if self.up.is_some() { usize::from(address.connection_pool_size.max(1)) } else { 1 }
    }

    /// Retires the oldest connections, once there are enough fresh ones that both ends can use.
    fn retire_replaced(&mut self, now: Instant, wanted: usize) {
        let confirmed = |id: &ConnectionId| self.outbox.is_confirmed(*id);
        let fresh = self.dialled().filter(|(id, renew_at, _)| confirmed(id) && now < *renew_at).count();
        if fresh < wanted {
            return;
        }
        let mut by_age: Vec<(Instant, ConnectionId)> = self.dialled().map(|(id, at, _)| (at, id)).collect();
        by_age.sort();
        let too_many = by_age.len().saturating_sub(wanted);
        by_age.iter().take(too_many).for_each(|(_, id)| self.outbox.retire(*id));
    }

    /// The connections that we dialled and keep: identifier, time of renewal, usable.
    fn dialled(&self) -> impl Iterator<Item = (ConnectionId, Instant, bool)> {
        self.connections
            .iter()
            .filter(|(id, _)| !self.outbox.is_retiring(**id))
            .filter_map(|(id, connection)| Some((*id, connection.renew_at?, connection.usable)))
    }

    /// Where to dial the peer, and whether to yield to connections that it makes itself.
    fn address(&self) -> Option<(&Address, bool)> {
        self.leases.values().rev().find_map(|route| match route {
            Route::Dial(address) => Some((address, false)),
            Route::Either(address) => Some((address, true)),
            Route::Wait => None,
        })
    }

    /// A new process of the peer ends all that is left of the one before.
    fn leave_other_process(&mut self, process: ProcessId) -> Vec<LinkEvent> {
        let Some((old, player)) = self.up.filter(|(old, _)| *old != process) else { return Vec::new() };
        tracing::warn!(
            peer = %self.key.fingerprint(), player, %old, new = %process,
            "the peer was started again; if it was not, two nodes run with the same private key: stop one"
        );
        for (id, connection) in
            self.connections.extract_if(.., |_, connection| connection.hello.process == old)
        {
            self.outbox.remove(id);
            connection.kill.cancel();
        }
        self.up = None;
        vec![LinkEvent::Down { peer: self.key.clone(), process: old, reason: DownReason::Restarted }]
    }

    fn is_parked(&self) -> bool {
        self.connections.values().any(|connection| connection.parked)
    }

    fn parked_event(&self) -> LinkEvent {
        LinkEvent::Parked { by: self.key.clone() }
    }

    fn up_event(&self, process: ProcessId, player: u16) -> LinkEvent {
        LinkEvent::Up { peer: self.key.clone(), process, player }
    }
}

/// Why a dialled connection came to nothing.
fn unused(reason: &DownReason, parked: bool) -> String {
    if parked {
        "the peer was reached, but it does not expect this node: start the same session there".to_owned()
    } else {
        reason.to_string()
    }
}

#[cfg(test)]
mod tests {
    use tsm_crypto::IdentityKey;
    use tsm_crypto::hedged::test_rng;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn s105_an_idle_peer_is_forgotten_soon_after_its_link_is_gone_however_long_links_stay() {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let key = IdentityKey::generate(&mut test_rng(1)).public().clone();
        let mut peer = Peer::new(key, QueueLimits { frames: 1, bytes: 1 }, 1);
        peer.lease(1, Route::Wait);
        let hello = Hello { process: ProcessId([1; 16]), player: 1 };
        let registered = peer.register(2, hello, None).unwrap();
        peer.release(1);
        let later = Instant::now() + REMEMBERED;
        assert_eq!(peer.chore(later, DAY), Chore::Wait(Some(Instant::now() + DAY)));
        peer.end(registered.id, DownReason::Silent, |_| Duration::ZERO);
        assert_eq!(peer.chore(later - Duration::from_secs(1), DAY), Chore::Wait(Some(later)));
        assert_eq!(peer.chore(later, DAY), Chore::Leave);
    }
}
