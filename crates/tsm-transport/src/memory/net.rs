//! The state of a network in memory, and how nodes are told of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::link::Limits;
use crate::links::{DownReason, LinkEvent, PeerKey, PeerStatus, ProcessId, Route, SendError, Stranger};
use crate::memory::Delivery;

pub(super) const NO_PANIC: &str = "no holder of this lock panics";

#[derive(Default)]
pub(super) struct Net {
    nodes: BTreeMap<PeerKey, Node>,
    last_number: u64,
}

struct Node {
    process: ProcessId,
    player: u16,
    connected: bool,
    views: BTreeMap<PeerKey, View>,
    inbox: BTreeMap<(Instant, u64), Due>,
    wake: Arc<Notify>,
}

/// What one node has to do with one peer.
#[derive(Default)]
struct View {
    leases: BTreeMap<u64, Route>,
    /// Leased, or not for long.
    expected: bool,
    last_release: u64,
    up: Option<ProcessId>,
    /// Since when the peer has parked this node's dialled link.
    parked: Option<Instant>,
    /// Of frames to the peer that have not arrived.
    frames: usize,
    bytes: usize,
}

enum Due {
    Event(LinkEvent),
    /// The time after the last release of this peer's leases is over.
    Unleased(PeerKey, u64),
}

enum Turn {
    Tell(LinkEvent),
    Again,
    Wait(Option<Instant>),
    End,
}

impl View {
    fn dials(&self) -> bool {
        self.leases.values().any(|route| matches!(route, Route::Dial(_) | Route::Either(_)))
    }
}

impl Net {
    fn new_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn start(&mut self, key: &PeerKey, player: u16, wake: Arc<Notify>) -> ProcessId {
        if let Some(old) = self.nodes.get(key).map(|node| node.process) {
            self.leave(key, old, &DownReason::Restarted);
        }
        let process = ProcessId(u128::from(self.new_number()).to_be_bytes());
        let node =
            Node { process, player, connected: true, views: BTreeMap::new(), inbox: BTreeMap::new(), wake };
        self.nodes.insert(key.clone(), node);
        self.refresh_all(key, &DownReason::Restarted);
        process
    }

    pub(super) fn end(&mut self, key: &PeerKey, process: ProcessId) {
        self.leave(key, process, &DownReason::Lost("the peer's process ended".to_owned()));
    }

    fn leave(&mut self, key: &PeerKey, process: ProcessId, reason: &DownReason) {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.process == process) else { return };
        node.connected = false;
        self.refresh_all(key, reason);
        if let Some(node) = self.nodes.remove(key) {
            node.wake.notify_one();
        }
    }

    pub(super) fn set_connected(&mut self, key: &PeerKey, connected: bool) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        node.connected = connected;
        self.refresh_all(key, &DownReason::Lost("taken off the network".to_owned()));
    }

    fn view(&mut self, key: &PeerKey, process: ProcessId, peer: &PeerKey) -> Option<&mut View> {
        let node = self.nodes.get_mut(key).filter(|node| node.process == process)?;
        Some(node.views.entry(peer.clone()).or_default())
    }

    pub(super) fn lease(&mut self, key: &PeerKey, process: ProcessId, peer: &PeerKey, route: Route) -> u64 {
        let lease = self.new_number();
        if let Some(view) = self.view(key, process, peer) {
            view.leases.insert(lease, route);
            view.expected = true;
            self.refresh(key, peer, &DownReason::Closed);
        }
        lease
    }

    pub(super) fn release(
        &mut self,
        key: &PeerKey,
        process: ProcessId,
        peer: &PeerKey,
        lease: u64,
        unleased_for: Duration,
    ) {
        let number = self.new_number();
        let Some(view) = self.view(key, process, peer) else { return };
        view.leases.remove(&lease);
        if view.leases.is_empty() {
            view.last_release = number;
            self.put(key, unleased_for, Due::Unleased(peer.clone(), number));
        }
        self.refresh(key, peer, &DownReason::Closed);
    }

    fn refresh_all(&mut self, key: &PeerKey, reason: &DownReason) {
        let others: Vec<PeerKey> = self.nodes.keys().filter(|other| *other != key).cloned().collect();
        others.iter().for_each(|other| self.refresh(key, other, reason));
    }

    /// Brings the link between two nodes to the state that it should have.
    fn refresh(&mut self, a: &PeerKey, b: &PeerKey, reason: &DownReason) {
        let (Some(node_a), Some(node_b)) = (self.nodes.get(a), self.nodes.get(b)) else { return };
        let connected = node_a.connected && node_b.connected && a != b;
        let (view_a, view_b) = (node_a.views.get(b), node_b.views.get(a));
        let expects = |view: Option<&View>| view.is_some_and(|view| view.expected);
        let dials = |view: Option<&View>| view.is_some_and(View::dials);
        let (a_expects, b_expects) = (expects(view_a), expects(view_b));
        let (a_dials, b_dials) = (dials(view_a), dials(view_b));
        let is_up = view_a.is_some_and(|view| view.up.is_some());
        let may_stay = connected && a_expects && b_expects;
        if is_up && !may_stay {
            self.set_down(a, b, reason);
            self.set_down(b, a, reason);
        } else if !is_up && may_stay && (a_dials || b_dials) {
            self.set_up(a, b);
            self.set_up(b, a);
        }
        self.set_parked(a, b, connected && a_dials && !b_expects);
        self.set_parked(b, a, connected && b_dials && !a_expects);
    }

    fn set_up(&mut self, key: &PeerKey, peer: &PeerKey) {
        let Some((process, player)) = self.nodes.get(peer).map(|node| (node.process, node.player)) else {
            return;
        };
        let Some(view) = self.nodes.get_mut(key).and_then(|node| node.views.get_mut(peer)) else { return };
        view.up = Some(process);
        self.put(key, Duration::ZERO, Due::Event(LinkEvent::Up { peer: peer.clone(), process, player }));
    }

    fn set_down(&mut self, key: &PeerKey, peer: &PeerKey, reason: &DownReason) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        let Some(view) = node.views.get_mut(peer) else { return };
        let Some(process) = view.up.take() else { return };
        (view.frames, view.bytes) = (0, 0);
        // What was under way is lost.
        node.inbox
            .retain(|_, due| !matches!(due, Due::Event(LinkEvent::Frame { peer: from, .. }) if from == peer));
        let reason = reason.clone();
        self.put(key, Duration::ZERO, Due::Event(LinkEvent::Down { peer: peer.clone(), process, reason }));
    }

    fn set_parked(&mut self, key: &PeerKey, peer: &PeerKey, parked: bool) {
        let Some(view) = self.nodes.get_mut(key).and_then(|node| node.views.get_mut(peer)) else { return };
        if !parked {
            view.parked = None;
        } else if view.parked.is_none() {
            view.parked = Some(Instant::now());
            self.put(key, Duration::ZERO, Due::Event(LinkEvent::Parked { by: peer.clone() }));
        }
    }

    pub(super) fn may_send(
        &mut self,
        key: &PeerKey,
        process: ProcessId,
        peer: &PeerKey,
        bytes: usize,
        limits: &Limits,
    ) -> Result<(), SendError> {
        let view =
            self.view(key, process, peer).filter(|view| view.up.is_some()).ok_or(SendError::NotConnected)?;
        if view.frames + 1 > limits.queued_frames || view.bytes + bytes > limits.queued_bytes {
            return Err(SendError::QueueFull);
        }
        Ok(())
    }

    pub(super) fn deliver(&mut self, key: &PeerKey, process: ProcessId, peer: &PeerKey, delivery: Delivery) {
        // The tamper function may have taken the link down.
        let Some(view) = self.view(key, process, peer).filter(|view| view.up.is_some()) else { return };
        view.frames += 1;
        view.bytes += delivery.bytes.len();
        let frame = LinkEvent::Frame { peer: key.clone(), process, bytes: delivery.bytes };
        self.put(peer, delivery.after, Due::Event(frame));
    }

    fn put(&mut self, key: &PeerKey, after: Duration, due: Due) {
        let number = self.new_number();
        if let Some(node) = self.nodes.get_mut(key) {
            node.inbox.insert((Instant::now() + after, number), due);
            node.wake.notify_one();
        }
    }

    /// What a node's pump does next.
    fn turn(&mut self, key: &PeerKey, process: ProcessId) -> Turn {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.process == process) else {
            return Turn::End;
        };
        let Some(first) = node.inbox.first_entry() else { return Turn::Wait(None) };
        if first.key().0 > Instant::now() {
            return Turn::Wait(Some(first.key().0));
        }
        match first.remove() {
            Due::Event(event) => {
                if let LinkEvent::Frame { peer, process, bytes } = &event
                    && let Some(view) = self.view(peer, *process, key)
                {
                    view.frames = view.frames.saturating_sub(1);
                    view.bytes = view.bytes.saturating_sub(bytes.len());
                }
                Turn::Tell(event)
            }
            Due::Unleased(peer, release) => {
                if let Some(view) = node.views.get_mut(&peer)
                    && view.leases.is_empty()
                    && view.last_release == release
                {
                    view.expected = false;
                    self.refresh(key, &peer, &DownReason::Closed);
                }
                Turn::Again
            }
        }
    }

    pub(super) fn status(&self, key: &PeerKey, process: ProcessId, peer: &PeerKey) -> PeerStatus {
        let node = self.nodes.get(key).filter(|node| node.process == process);
        let Some(view) = node.and_then(|node| node.views.get(peer)) else { return PeerStatus::Unexpected };
        let player_index = self.nodes.get(peer).map_or(0, |node| node.player);
        match view.up {
            Some(process) => PeerStatus::Up { process, player_index },
            None if view.parked.is_some() => PeerStatus::Parked { player_index },
            None if view.leases.is_empty() => PeerStatus::Unexpected,
            None if view.dials() => {
                let reachable = self.nodes.get(peer).is_some_and(|node| node.connected);
                let last_error = (!reachable).then(|| "no such node is on the network".to_owned());
                PeerStatus::Dialling { last_error }
            }
            None => PeerStatus::Waiting,
        }
    }

    pub(super) fn links_up(&self, key: &PeerKey) -> u64 {
        let views = self.nodes.get(key).into_iter().flat_map(|node| node.views.values());
        views.filter(|view| view.up.is_some()).count() as u64
    }

    pub(super) fn strangers(&self, key: &PeerKey) -> Vec<Stranger> {
        let stranger = |(other, node): (&PeerKey, &Node)| {
            let since = node.views.get(key)?.parked?;
            Some(Stranger {
                fingerprint: other.fingerprint(),
                key: other.clone(),
                player_index: node.player,
                source: "memory".to_owned(),
                parked_for: since.elapsed(),
            })
        };
        self.nodes.iter().filter_map(stranger).collect()
    }
}

/// Tells a node what is due.
pub(super) async fn pump(
    net: Arc<Mutex<Net>>,
    key: PeerKey,
    process: ProcessId,
    wake: Arc<Notify>,
    events: mpsc::Sender<LinkEvent>,
) {
    loop {
        let turn = net.lock().expect(NO_PANIC).turn(&key, process);
        match turn {
            Turn::Tell(event) => {
                if events.send(event).await.is_err() {
                    return;
                }
            }
            Turn::Again => {}
            Turn::Wait(None) => wake.notified().await,
            Turn::Wait(Some(until)) => tokio::select! {
                () = wake.notified() => {}
                () = sleep_until(until) => {}
            },
            Turn::End => return,
        }
    }
}
