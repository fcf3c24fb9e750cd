//! Links without a network: whole clusters in one thread, with a hand on every frame.
//!
//! Deterministic: nothing is drawn at random, maps are ordered, and time is tokio's, which tests can
//! pause. The rules of [`Links`] hold as they do over TCP: frames flow while both nodes expect each
//! other and at least one of them was told to dial (any address will do).

mod net;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use self::net::{NO_PANIC, Net, pump};
use crate::counts::LinkCounts;
use crate::link::Limits;
use crate::links::{
    Lease, LinkEvent, Links, MAX_FRAME_BYTES, PeerKey, PeerStatus, Pipes, ProcessId, Route, SendError,
    Stranger,
};

/// A frame on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub from: PeerKey,
    pub to: PeerKey,
    pub bytes: Vec<u8>,
}

/// What arrives in a frame's stead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Counted from when the frame was sent. Frames that are due together arrive as they were sent.
    pub after: Duration,
    pub bytes: Vec<u8>,
}

impl Delivery {
    /// Without delay.
    pub fn at_once(bytes: Vec<u8>) -> Self {
        Delivery { after: Duration::ZERO, bytes }
    }
}

/// Decides what becomes of a frame: nothing, itself, something else, more than one. It must not send
/// frames itself.
pub type Tamper = Box<dyn FnMut(&Frame) -> Vec<Delivery> + Send>;

/// A network in memory. Cloning gives another handle on the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    net: Arc<Mutex<Net>>,
    tamper: Arc<Mutex<Option<Tamper>>>,
}

impl MemoryNetwork {
    /// A network without nodes, that delivers everything at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a node; starts it again as a new process if there is one with this key. It runs until
    /// the returned links are dropped. Must be called within a tokio runtime.
    pub fn node(&self, key: PeerKey, player: u16) -> (Arc<MemoryLinks>, mpsc::Receiver<LinkEvent>) {
        let limits = Limits::default();
        let (events, receiver) = mpsc::channel(limits.events);
        let wake = Arc::new(Notify::new());
        let process = self.lock().start(&key, player, wake.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(pump(self.net.clone(), key.clone(), process, wake, events));
        let links = MemoryLinks { network: self.clone(), key, process, limits, _tasks: tasks };
        (Arc::new(links), receiver)
    }

    /// From now on decides what becomes of every frame.
    pub fn set_tamper(&self, tamper: Tamper) {
        *self.tamper.lock().expect(NO_PANIC) = Some(tamper);
    }

    /// Takes a node off the network; it goes on running, and all its links go down.
    pub fn disconnect(&self, key: &PeerKey) {
        self.lock().set_connected(key, false);
    }

    /// Puts a node back on the network.
    pub fn reconnect(&self, key: &PeerKey) {
        self.lock().set_connected(key, true);
    }

    fn tampered(&self, frame: Frame) -> Vec<Delivery> {
        match self.tamper.lock().expect(NO_PANIC).as_mut() {
            Some(tamper) => tamper(&frame),
            None => vec![Delivery::at_once(frame.bytes)],
        }
    }

    fn lock(&self) -> MutexGuard<'_, Net> {
        self.net.lock().expect(NO_PANIC)
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryNetwork")
    }
}

/// One node's links in a [`MemoryNetwork`]. Dropping it is the node's sudden end.
pub struct MemoryLinks {
    network: MemoryNetwork,
    key: PeerKey,
    process: ProcessId,
    limits: Limits,
    /// Ends with this.
    _tasks: JoinSet<()>,
}

impl Links for MemoryLinks {
    fn process(&self) -> ProcessId {
        self.process
    }

    fn pipes(&self) -> Pipes {
        Pipes { web_socket: true, broker: true }
    }

    fn expect(&self, peer: &PeerKey, route: Route) -> Lease {
        let lease = self.network.lock().lease(&self.key, self.process, peer, route);
        let (net, key, process) = (Arc::downgrade(&self.network.net), self.key.clone(), self.process);
        let (peer, unleased_for) = (peer.clone(), self.limits.unleased_for);
        Lease::new(move || {
            if let Some(net) = net.upgrade() {
                net.lock().expect(NO_PANIC).release(&key, process, &peer, lease, unleased_for);
            }
        })
    }

    fn send(&self, peer: &PeerKey, _order: u64, frame: Vec<u8>) -> Result<(), SendError> {
        if frame.len() > MAX_FRAME_BYTES {
            return Err(SendError::TooLong);
        }
        self.network.lock().may_send(&self.key, self.process, peer, frame.len(), &self.limits)?;
        let frame = Frame { from: self.key.clone(), to: peer.clone(), bytes: frame };
        for delivery in self.network.tampered(frame) {
            self.network.lock().deliver(&self.key, self.process, peer, delivery);
        }
        Ok(())
    }

    fn status(&self, peer: &PeerKey) -> PeerStatus {
        self.network.lock().status(&self.key, self.process, peer)
    }

    fn strangers(&self) -> Vec<Stranger> {
        self.network.lock().strangers(&self.key)
    }

    fn strangers_as(&self, player: u16, most: usize) -> (Vec<Stranger>, usize) {
        let mut claim = self.strangers();
        claim.retain(|stranger| stranger.player_index == player);
        let number = claim.len();
        claim.truncate(most);
        (claim, number)
    }

    /// A network in memory parks and refuses nothing: only what is up counts.
    fn counts(&self) -> LinkCounts {
        LinkCounts { up: self.network.lock().links_up(&self.key), ..LinkCounts::default() }
    }
}

impl Drop for MemoryLinks {
    fn drop(&mut self) {
        self.network.lock().end(&self.key, self.process);
    }
}

impl fmt::Debug for MemoryLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryLinks {{ key: {}, process: {} }}", self.key.fingerprint(), self.process)
    }
}
