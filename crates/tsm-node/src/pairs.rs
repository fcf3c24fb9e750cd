//! The state that two running processes share for their signatures (docs/spec/pair-set-up.md).
//!
//! It belongs to a pair of *processes*, lives in memory only, and is replaced rather than repaired:
//! after a failed check, after a restart, after a while. The player of lower index starts a set-up;
//! the other asks it to. Any number of sessions wait for one set-up.
//!
//! Either side may forget a state whose link is down ([`Pairs::expire`], [`Table::make_room`]), and
//! the other does not hear of it. So after a link came up a state is used only when the peer has said
//! that it still holds it (`PairHeld`): what was forgotten is made anew, and no session uses what one
//! side does not have.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tsm_crypto::CryptoRng;
use tsm_crypto::ot::PairState;
use tsm_protocols::ecdsa::sign::PairStates;
use tsm_protocols::{Abort, Outgoing, PerPeer, Round, Step};
use tsm_transport::{PeerStatus, ProcessId, Route};
use tsm_types::{
    ErrorCode, Failure, Operation, PlayerIndex, PlayerKey, Players, Session, SessionId, SessionTag,
};

use crate::node::Inner;
use crate::run::{Limits, Running};
use crate::strikes::Strikes;
use crate::wire::{EndFrame, Frame};

/// A state is renewed after this long, so that what is stolen today opens nothing of yesterday.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A state is renewed after this many extensions.
const MAX_EXTENSIONS: u64 = 1 << 20;

/// A new state is used after this long, and its predecessor held for as long again: the players of
/// one session start it within the connect timeout, so each holds what the other uses.
const SETTLED: Duration = Duration::from_secs(15);

/// How long a state is held after its successor came.
const SUPERSEDED: Duration = Duration::from_secs(75);

/// How often a session that waits for a state looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long a set-up may take.
const SET_UP_LIMITS: Limits = Limits { connect: Duration::from_secs(5), total: Duration::from_secs(8) };

/// A state is not forgotten before its link has been down for so long: until then a session may have
/// used it before the link broke, in frames that wait here for its caller.
const UNLINKED: Duration = Duration::from_secs(75);

/// How many pairs are looked at to find one that makes room. Those that cannot are looked at last from
/// then on.
const LOOKED_AT: usize = 64;

/// The states of one node, by the peer's public key.
#[derive(Default)]
pub(crate) struct Pairs(Mutex<Table>);

#[derive(Default)]
struct Table {
    pairs: HashMap<PlayerKey, Pair>,
    /// By when they were used last, oldest first.
    by_use: BTreeSet<(Instant, PlayerKey)>,
    strikes: Strikes,
    /// States that this process has lost, of all pairs. Only grows, so a pair that was forgotten and
    /// begins with it has lost more than it ever said.
    losses: u64,
    counts: PairCounts,
}

/// What became of pairs, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PairCounts {
    /// States that are held now.
    pub held: u64,
    /// Set-ups that run now.
    pub setting_up: u64,
    pub set_ups: u64,
    pub failed_set_ups: u64,
    pub burned: u64,
    pub forgotten: u64,
}

struct Pair {
    state: Option<Ready>,
    /// Where sessions wait for the state, each with a handle. Wakes them in the order in which they
    /// came, which a watch channel does not: a simulation must be repeatable.
    changed: Arc<Notify>,
    /// The predecessor of the state, while sessions may still use it.
    previous: Option<Ready>,
    /// The peer has said on this link that it holds the state.
    confirmed: bool,
    /// Since when there is no link to the peer; `None` while there is one.
    unlinked_since: Option<Instant>,
    /// The set-up that is running.
    setting_up: Option<CancellationToken>,
    /// How many states of this pair this process has lost or failed to make. Tells the peer whether the state that it
    /// holds is one of them.
    losses: u64,
    used: Instant,
}

#[derive(Clone)]
struct Ready {
    state: Arc<PairState>,
    /// The peer's process, which has the other half.
    process: ProcessId,
    /// The set-up that made it.
    made_by: SessionTag,
    /// The peer's losses when the state was made; none if it did not say.
    peer_losses: u64,
    since: Instant,
}

/// What a set-up gave.
struct SetUp {
    ready: Ready,
    /// What the peer said when it had computed the state. If that was lost with a link, the peer may have
    /// it and use it all the same.
    word: Option<Worked>,
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
    fn new(losses: u64, unlinked_since: Option<Instant>) -> Self {
        Pair {
            state: None,
            changed: Arc::default(),
            previous: None,
            confirmed: false,
            unlinked_since,
            setting_up: None,
            losses,
            used: Instant::now(),
        }
    }

    fn id(&self) -> Option<[u8; 32]> {
        self.state.as_ref().map(|ready| ready.state.id())
    }

    fn holds(&self, id: &[u8; 32]) -> bool {
        [&self.state, &self.previous].into_iter().flatten().any(|ready| ready.state.id() == *id)
    }

    /// Drops the state; gives its identifier if there was one.
    fn drop_state(&mut self) -> Option<[u8; 32]> {
        self.previous = None;
        self.confirmed = false;
        let dropped = self.state.take();
        self.changed.notify_waiters();
        Some(dropped?.state.id())
    }

    /// A new state is ready. Its predecessor stays unless the peer said that it does not have it.
    fn replace(&mut self, made: SetUp) {
        let before = self.state.replace(made.ready);
        self.changed.notify_waiters();
        let stays =
            |before: &Ready| made.word.as_ref().is_none_or(|word| word.holds == Some(before.state.id()));
        self.previous = before.filter(stays);
        self.confirmed = made.word.is_some();
    }

    /// Whether the pair may be forgotten without a word: nobody uses its state now or is about to.
    fn may_be_forgotten(&self) -> bool {
        let is_empty = self.state.is_none() && Arc::strong_count(&self.changed) == 1;
        let is_left = self.unlinked_since.is_some_and(|since| since.elapsed() >= UNLINKED);
        self.setting_up.is_none() && (is_empty || is_left)
    }

    /// The states for a signature, and whether it is time for a new one.
    fn usable(&self, process: ProcessId) -> Option<(PairStates, bool)> {
        let current = self.state.as_ref().filter(|ready| self.confirmed && ready.is_usable(process))?;
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

impl Table {
    /// The pair with this peer; a new one if there is room.
    fn pair(&mut self, node: &Inner, key: &PlayerKey, linked: bool) -> Option<&mut Pair> {
        if !self.pairs.contains_key(key) {
            let is_full = self.pairs.len() >= node.tenants.limits.pairs;
            // Static players are few, and the operator's own choice.
            if is_full && !self.make_room() && node.tenants.is_dynamic(key) {
                return None;
            }
            let pair = Pair::new(self.losses, (!linked).then(Instant::now));
            self.by_use.insert((pair.used, key.clone()));
            self.pairs.insert(key.clone(), pair);
        }
        self.pairs.get_mut(key)
    }

    fn used(&mut self, key: &PlayerKey) {
        if let Some(pair) = self.pairs.get_mut(key) {
            self.by_use.remove(&(pair.used, key.clone()));
            pair.used = Instant::now();
            self.by_use.insert((pair.used, key.clone()));
        }
    }

    /// Drops the state and remembers that it is lost; gives its identifier if there was one.
    fn lose(&mut self, key: &PlayerKey) -> Option<[u8; 32]> {
        let pair = self.pairs.get_mut(key)?;
        let id = pair.drop_state()?;
        self.losses += 1;
        pair.losses = self.losses;
        tracing::debug!(losses = self.losses, "pair state dropped");
        Some(id)
    }

    fn lose_if(&mut self, key: &PlayerKey, condition: impl Fn(&Ready) -> bool) -> Option<[u8; 32]> {
        let applies = self.pairs.get(key).is_some_and(|pair| pair.state.as_ref().is_some_and(condition));
        if applies { self.lose(key) } else { None }
    }

    fn lose_burned(&mut self, key: &PlayerKey) {
        let burned = self.lose_if(key, |ready| ready.state.is_burned());
        self.counts.burned += u64::from(burned.is_some());
    }

    fn forget(&mut self, key: &PlayerKey) {
        self.lose(key);
        if let Some(pair) = self.pairs.remove(key) {
            self.by_use.remove(&(pair.used, key.clone()));
            self.counts.forgotten += 1;
        }
    }

    /// Forgets the pair that was not used for longest, of those that may be forgotten.
    fn make_room(&mut self) -> bool {
        for _ in 0..LOOKED_AT.min(self.pairs.len()) {
            let Some((_, key)) = self.by_use.first().cloned() else { return false };
            if self.pairs.get(&key).is_some_and(Pair::may_be_forgotten) {
                self.forget(&key);
                return true;
            }
            self.used(&key);
        }
        false
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
            let (usable, held, changed) = {
                let mut table = self.lock();
                table.lose_burned(key);
                let Some(pair) = table.pair(node, key, linked.is_some()) else {
                    return Err(no_room(node, peer, key));
                };
                // A state belongs to the process at the other end of the link, not to its key.
                let usable = linked.and_then(|process| pair.usable(process));
                let (held, changed) = (pair.id(), pair.changed.clone().notified_owned());
                table.used(key);
                (usable, held, changed)
            };
            if let Some((states, is_old)) = usable {
                if is_old && node.known.me < peer {
                    self.start(node, peer, key)?;
                }
                return Ok(states);
            }
            match (linked, held) {
                // The answer is on its way, or was lost with a link.
                (Some(_), Some(id)) => tell_held(node, key, id, true),
                (Some(_), None) if node.known.me < peer => self.start(node, peer, key)?,
                (Some(_), None) => self.want(node, key),
                (None, _) => {}
            }
            // A set-up that failed leaves no state: look again now and then.
            let _ = tokio::time::timeout(LOOK_AGAIN, changed).await;
        }
    }

    /// A secret-dependent check failed: drops what is shared with the peer, here and there.
    pub(crate) fn burn(&self, node: &Inner, key: &PlayerKey) {
        let mut table = self.lock();
        if let Some(id) = table.lose(key) {
            table.counts.burned += 1;
            tell_dropped(node, key, id);
        }
        let strikes = table.strikes.add(key);
        tracing::error!(peer = %key.fingerprint(), strikes,
            "a secret-dependent check failed: the state shared with this peer was destroyed");
    }

    /// A session met a state that was burned, or that it did not find here. Others may be newer, and stay.
    pub(crate) fn gone(&self, node: &Inner, key: &PlayerKey, id: [u8; 32]) {
        let mut table = self.lock();
        table.lose_burned(key);
        // It may have come since the session began.
        if !table.pairs.get(key).is_some_and(|pair| pair.holds(&id)) {
            tell_dropped(node, key, id);
        }
    }

    /// The peer has dropped a state, or never had it.
    pub(crate) fn dropped(&self, key: &PlayerKey, id: &[u8; 32]) {
        let mut table = self.lock();
        table.lose_if(key, |ready| ready.state.id() == *id);
        if let Some(pair) = table.pairs.get_mut(key)
            && pair.previous.as_ref().is_some_and(|ready| ready.state.id() == *id)
        {
            pair.previous = None;
        }
    }

    /// The peer holds a state, and asks whether this node does if an answer is wanted.
    pub(crate) fn held(&self, node: &Inner, key: &PlayerKey, id: [u8; 32], asks: bool) {
        match self.lock().pairs.get_mut(key) {
            Some(pair) if pair.id() == Some(id) => {
                pair.confirmed = true;
                // Who waits for a state looks again.
                pair.changed.notify_waiters();
                if asks {
                    tell_held(node, key, id, false);
                }
            }
            // It may be the one that is just being made. The peer asks again.
            Some(pair) if pair.setting_up.is_some() => {}
            Some(_) | None => tell_dropped(node, key, id),
        }
    }

    /// A link came up. Another process than before does not have the state; the same one may have
    /// forgotten it.
    pub(crate) fn peer_up(&self, node: &Inner, key: &PlayerKey, process: ProcessId) {
        let mut table = self.lock();
        table.lose_if(key, |ready| ready.process != process);
        let Some(pair) = table.pairs.get_mut(key) else { return };
        pair.unlinked_since = None;
        if let Some(id) = pair.id() {
            tell_held(node, key, id, true);
        }
        // Who waits for a state looks again.
        pair.changed.notify_waiters();
    }

    /// A link broke. Until the peer has said so again, nothing is known of what it holds.
    pub(crate) fn peer_down(&self, key: &PlayerKey) {
        if let Some(pair) = self.lock().pairs.get_mut(key) {
            pair.confirmed = false;
            pair.unlinked_since = Some(Instant::now());
        }
    }

    /// A session ended at the peer. If it was the set-up that worked here, it did not work there;
    /// unless this answers a repeated invitation and says that it ran already.
    pub(crate) fn ended_at(&self, key: &PlayerKey, end: &EndFrame) {
        if end.code != ErrorCode::SessionConflict.as_str() {
            self.lock().lose_if(key, |ready| Some(ready.made_by) == end.tag);
        }
    }

    /// Forgets what was not used for `idle` and whose peers are gone, so that memory falls when
    /// tenants leave; and what was superseded a while ago. To be called now and then.
    pub(crate) fn expire(&self, idle: Duration) {
        let mut table = self.lock();
        table.strikes.expire();
        while let Some((used, key)) = table.by_use.first().cloned()
            && used.elapsed() >= idle.max(UNLINKED)
        {
            match table.pairs.get_mut(&key) {
                Some(pair) if !pair.may_be_forgotten() => {
                    let settled = |ready: &Ready| ready.since.elapsed() >= SUPERSEDED;
                    if pair.state.as_ref().is_some_and(settled) {
                        pair.previous = None;
                    }
                    table.used(&key);
                }
                Some(_) | None => table.forget(&key),
            }
        }
    }

    /// How many states there are, and what became of others.
    pub(crate) fn counts(&self) -> PairCounts {
        let table = self.lock();
        let setting_up = table.pairs.values().filter(|pair| pair.setting_up.is_some()).count() as u64;
        PairCounts { held: table.pairs.len() as u64, setting_up, ..table.counts }
    }

    /// The peer, of higher index, held no state when it said so.
    pub(crate) fn wanted(&self, node: &Arc<Inner>, key: &PlayerKey, losses: u64) {
        let PeerStatus::Up { player_index, .. } = node.links.status(key) else { return };
        let peer = PlayerIndex(player_index);
        if node.known.me >= peer {
            return;
        }
        {
            let mut table = self.lock();
            let Some(pair) = table.pair(node, key, true) else { return };
            match &pair.state {
                // The peer asked before it had this state.
                Some(ready) if pair.confirmed && ready.peer_losses >= losses => return,
                // It may have got it since. It says so, or drops it, and asks again.
                Some(ready) => {
                    pair.confirmed = false;
                    return tell_held(node, key, ready.state.id(), true);
                }
                None => {}
            }
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
        if let Some(earlier) = self.lock().pairs.get_mut(key).and_then(|pair| pair.setting_up.take()) {
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
            let mut table = self.lock();
            let too_soon = table.strikes.slow_down(&key);
            let Some(pair) = table.pair(node, &key, true) else { return };
            if pair.setting_up.is_some() || too_soon {
                return;
            }
            tracing::debug!(peer = %key.fingerprint(), session = %session.id, "pair set-up starts");
            pair.setting_up = Some(cancelled.clone());
            table.strikes.set_up(&key);
        }
        let task = node.clone();
        node.tasks.spawn(async move {
            let result = tokio::select! {
                biased;
                () = cancelled.cancelled() => return,
                result = set_up(&task, session) => result,
            };
            let mut table = task.pairs.lock();
            let table = &mut *table;
            // Not forgotten while it is set up.
            let Some(pair) = table.pairs.get_mut(&key).filter(|_| !cancelled.is_cancelled()) else { return };
            pair.setting_up = None;
            match result {
                Ok(made) => {
                    tracing::debug!(peer = %key.fingerprint(), certain = made.word.is_some(), "pair set up");
                    pair.replace(made);
                    table.counts.set_ups += 1;
                }
                Err(failure) => {
                    // The peer may believe that it worked.
                    table.losses += 1;
                    pair.losses = table.losses;
                    table.counts.failed_set_ups += 1;
                    tracing::warn!(peer = %key.fingerprint(), %failure, "pair set-up failed");
                }
            }
        });
    }

    fn losses(&self, key: &PlayerKey) -> u64 {
        let table = self.lock();
        table.pairs.get(key).map_or(table.losses, |pair| pair.losses)
    }

    fn id(&self, key: &PlayerKey) -> Option<[u8; 32]> {
        self.lock().pairs.get(key).and_then(Pair::id)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

fn no_room(node: &Inner, peer: PlayerIndex, key: &PlayerKey) -> Failure {
    node.counters.refused(ErrorCode::TenantPairLimit);
    let (limit, fingerprint) = (node.tenants.limits.pairs, key.fingerprint());
    let detail = format!(
        "this node keeps state with {limit} players, as many as it may, and none of them has left: there is no room \
         for player {peer}, public key {fingerprint}"
    );
    Failure::new(ErrorCode::TenantPairLimit, detail).about(peer, fingerprint.to_string())
}

fn tell_dropped(node: &Inner, key: &PlayerKey, id: [u8; 32]) {
    // Not connected: the peer finds out when it asks whether the state is still held.
    let _ = node.links.send(key, 0, Frame::PairDropped { id }.encode());
}

fn tell_held(node: &Inner, key: &PlayerKey, id: [u8; 32], asks: bool) {
    // Not connected any more: told again when it is.
    let _ = node.links.send(key, 0, Frame::PairHeld { id, asks }.encode());
}

/// Two protocols: the set-up, then a word that it worked. Who has the peer's word knows that it computed
/// the state too, and uses it. Who has computed it and waits in vain keeps it, since the peer may have
/// this node's word: so nobody uses what the other does not hold.
async fn set_up(node: &Arc<Inner>, session: Session) -> Result<SetUp, Failure> {
    // The link stands already: a session or the peer asked for this. So no way is made up for a peer
    // that the configuration has none for.
    let configured = |peer| node.known.route(peer, Some(node.known.configured_reach(peer)?)).ok();
    let peers = session.players.peers_of(node.known.me).into_iter();
    let routes = peers.map(|peer| (peer, configured(peer).unwrap_or(Route::Wait))).collect();
    let mut running = Running::open(node, None, session, routes, SET_UP_LIMITS)?;
    let context = running.context().clone();
    let result = async {
        let (peers, set_up_context) = (context.peers(), context.clone());
        let step =
            running.compute(SET_UP, 0, move |rng| tsm_protocols::pair::start(&set_up_context, rng)).await?;
        let state = running.drive(SET_UP, step).await?;
        let peer = peers.first().map(|peer| context.key_of(*peer));
        let worked = Worked {
            losses: peer.map_or(0, |peer| node.pairs.losses(peer)),
            holds: peer.and_then(|peer| node.pairs.id(peer)),
        };
        let worked = Step::wait(Outgoing::broadcast(&peers, &worked), peers, AwaitWorked);
        let lost = [ErrorCode::LinkLost, ErrorCode::SessionTimeout, ErrorCode::SessionConflict];
        let word = match running.drive(WORKED, worked).await {
            Err(failure) if lost.contains(&failure.code) => None,
            word => Some(word?),
        };
        let process = running.process_of_the_peer()?;
        let made_by = *context.tag();
        let peer_losses = word.as_ref().map_or(0, |word| word.losses);
        let ready = Ready { state: Arc::new(state), process, made_by, peer_losses, since: Instant::now() };
        Ok(SetUp { ready, word })
    }
    .await;
    running.finish(result)
}

const SET_UP: u8 = 1;
const WORKED: u8 = 2;

/// "I computed the state".
#[derive(BorshSerialize, BorshDeserialize)]
struct Worked {
    /// How many this process lost before.
    losses: u64,
    /// The state that it holds besides, until this one is settled.
    holds: Option<[u8; 32]>,
}

struct AwaitWorked;

impl Round for AwaitWorked {
    type Message = Worked;
    type Output = Worked;

    fn advance(self, received: PerPeer<Worked>, _: &mut dyn CryptoRng) -> Result<Step<Worked>, Abort> {
        Ok(Step::done(received.into_only().1))
    }
}
