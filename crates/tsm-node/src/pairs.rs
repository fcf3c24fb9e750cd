//! The state that two running processes share for their signatures (docs/spec/pair-set-up.md).
//!
//! It belongs to a pair of *processes*, lives in memory only, and is replaced rather than repaired:
//! after a failed check, after a restart, after a while. The player of lower index starts a set-up;
//! the other asks it to. Any number of sessions wait for one set-up.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tsm_crypto::ot::PairState;
use tsm_transport::{PeerStatus, ProcessId};
use tsm_types::{Failure, Operation, PlayerIndex, PlayerKey, Players, Session, SessionId};

use crate::node::Inner;
use crate::run::{Limits, Running};
use crate::wire::Frame;

/// A state is renewed after this long, so that what is stolen today opens nothing of yesterday.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A state is renewed after this many extensions.
const MAX_EXTENSIONS: u64 = 1 << 20;

/// Failed secret-dependent checks of one peer within a day, after which its set-ups are slowed down.
const STRIKES: usize = 3;
const STRIKE_MEMORY: Duration = Duration::from_secs(24 * 3600);
const SLOWED_DOWN: Duration = Duration::from_secs(60);

/// How long a set-up may take.
const SET_UP_LIMITS: Limits = Limits { connect: Duration::from_secs(10), total: Duration::from_secs(20) };

/// Peers whose state is kept at the same time. A state takes some 20 KB; the oldest makes room.
const MAX_PAIRS: usize = 16 * 1024;

/// The states of one node, by the peer's public key.
#[derive(Default)]
pub(crate) struct Pairs(Mutex<HashMap<PlayerKey, Pair>>);

struct Pair {
    /// Where sessions wait for the state.
    state: watch::Sender<Option<Ready>>,
    /// The peer's process, once its link was up.
    process: Option<ProcessId>,
    /// A set-up is running.
    setting_up: bool,
    /// The last state that was ready, burned or not.
    last: Option<[u8; 32]>,
    strikes: VecDeque<Instant>,
    last_set_up: Option<Instant>,
    used: Instant,
}

#[derive(Clone)]
struct Ready {
    state: Arc<PairState>,
    since: Instant,
}

impl Ready {
    fn is_usable(&self) -> bool {
        !self.state.is_burned() && self.since.elapsed() < LIFETIME && self.state.extensions() < MAX_EXTENSIONS
    }
}

impl Pair {
    fn new() -> Self {
        Pair {
            state: watch::Sender::new(None),
            process: None,
            setting_up: false,
            last: None,
            strikes: VecDeque::new(),
            last_set_up: None,
            used: Instant::now(),
        }
    }

    fn usable(&self) -> Option<Arc<PairState>> {
        self.state.borrow().as_ref().filter(|ready| ready.is_usable()).map(|ready| ready.state.clone())
    }
}

impl Pairs {
    /// The state shared with a peer, set up now if there is none. Waits as long as it is let.
    pub(crate) async fn ready(
        &self,
        node: &Arc<Inner>,
        peer: PlayerIndex,
        key: &PlayerKey,
    ) -> Result<Arc<PairState>, Failure> {
        loop {
            let mut changes = {
                let mut pairs = self.lock();
                make_room(&mut pairs);
                let pair = pairs.entry(key.clone()).or_insert_with(Pair::new);
                pair.used = Instant::now();
                if let Some(state) = pair.usable() {
                    return Ok(state);
                }
                pair.state.subscribe()
            };
            changes.mark_unchanged();
            if node.known.me < peer {
                self.start(node, peer, key)?;
            } else {
                self.want(node, key);
            }
            // A set-up that failed leaves no state: look again now and then.
            let _ = tokio::time::timeout(Duration::from_millis(500), changes.changed()).await;
        }
    }

    /// Drops the state shared with a peer. `strike` if it failed a secret-dependent check.
    pub(crate) fn burn(&self, key: &PlayerKey, strike: bool) {
        if let Some(pair) = self.lock().get_mut(key) {
            pair.state.send_replace(None);
            if strike {
                pair.strikes.push_back(Instant::now());
                tracing::error!(peer = %key.fingerprint(), strikes = pair.strikes.len(),
                    "a secret-dependent check failed: the state shared with this peer was destroyed");
            }
        }
    }

    /// A link came up. Another process than before does not have the state.
    pub(crate) fn peer_up(&self, key: &PlayerKey, process: ProcessId) {
        if let Some(pair) = self.lock().get_mut(key)
            && pair.process.replace(process).is_some_and(|earlier| earlier != process)
        {
            pair.state.send_replace(None);
        }
    }

    /// The peer, of higher index, holds no state.
    pub(crate) fn wanted(&self, node: &Arc<Inner>, key: &PlayerKey, seen: Option<[u8; 32]>) {
        let PeerStatus::Up { player_index, .. } = node.links.status(key) else { return };
        let peer = PlayerIndex(player_index);
        if node.known.me >= peer {
            return;
        }
        {
            let mut pairs = self.lock();
            make_room(&mut pairs);
            let pair = pairs.entry(key.clone()).or_insert_with(Pair::new);
            // A state that the peer has not seen yet is on its way to it.
            let current = pair.state.borrow().as_ref().map(|ready| ready.state.id());
            if current.is_some() && current != seen {
                return;
            }
            pair.state.send_replace(None);
        }
        if let Err(failure) = self.start(node, peer, key) {
            tracing::debug!(player = %peer, %failure, "no set-up started");
        }
    }

    /// A peer of lower index opened a set-up: take part.
    pub(crate) fn invited(&self, node: &Arc<Inner>, session: &Session, key: &PlayerKey) {
        let me = node.known.me;
        let honest = session.players.len() == 2
            && session.players.key(me) == Some(&node.known.my_key)
            && session.players.index_of(key).is_some_and(|peer| peer < me);
        if honest {
            self.run(node, session.clone(), key.clone());
        } else {
            tracing::warn!(peer = %key.fingerprint(), "an invitation to a set-up of other players was ignored");
        }
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
        let seen = self.lock().get(key).and_then(|pair| pair.last);
        // Not connected: asked again in half a second.
        let _ = node.links.send(key, 0, Frame::PairWanted { seen }.encode());
    }

    /// Runs one set-up in the background, unless one is running or must wait.
    fn run(&self, node: &Arc<Inner>, session: Session, key: PlayerKey) {
        {
            let mut pairs = self.lock();
            let pair = pairs.entry(key.clone()).or_insert_with(Pair::new);
            while pair.strikes.front().is_some_and(|strike| strike.elapsed() > STRIKE_MEMORY) {
                pair.strikes.pop_front();
            }
            let too_soon = pair.strikes.len() >= STRIKES
                && pair.last_set_up.is_some_and(|last| last.elapsed() < SLOWED_DOWN);
            if pair.setting_up || too_soon {
                return;
            }
            pair.setting_up = true;
            pair.last_set_up = Some(Instant::now());
        }
        let node = node.clone();
        let task = node.clone();
        node.tasks.spawn(async move {
            let result = set_up(&task, session).await;
            let mut pairs = task.pairs.lock();
            let pair = pairs.entry(key.clone()).or_insert_with(Pair::new);
            pair.setting_up = false;
            match result {
                Ok(state) => {
                    pair.last = Some(state.id());
                    pair.state.send_replace(Some(Ready { state: Arc::new(state), since: Instant::now() }));
                }
                Err(failure) => tracing::warn!(peer = %key.fingerprint(), %failure, "pair set-up failed"),
            }
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PlayerKey, Pair>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

async fn set_up(node: &Arc<Inner>, session: Session) -> Result<PairState, Failure> {
    let mut running = Running::open(node, session, SET_UP_LIMITS)?;
    let context = running.context().clone();
    let result = async {
        let step = running.compute(1, 0, move |rng| tsm_protocols::pair::start(&context, rng)).await?;
        running.drive(1, step).await
    }
    .await;
    running.finish(result)
}

/// Forgets the pair that was not used for longest when there are too many.
fn make_room(pairs: &mut HashMap<PlayerKey, Pair>) {
    if pairs.len() < MAX_PAIRS {
        return;
    }
    let idle = pairs.iter().filter(|(_, pair)| !pair.setting_up && pair.strikes.is_empty());
    if let Some(key) = idle.min_by_key(|(_, pair)| pair.used).map(|(key, _)| key.clone()) {
        pairs.remove(&key);
    }
}
