//! Which sessions run here, and how frames find them.
//!
//! A caller may come late: frames of a session that was not opened here yet wait, bounded in
//! number, bytes and time, and are handed over when it is. Frames of a session that has ended get
//! its end as an answer, so that nobody waits for a player that is gone; or what that session said last,
//! in case a link lost it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Mutex;

use tokio::sync::mpsc;
use tsm_transport::ProcessId;
use tsm_types::{
    ApplicationId, ErrorCode, Failure, Operation, PlayerIndex, PlayerKey, Session, SessionId, SessionTag,
};

use crate::last_words::{LastWords, Said};
use crate::run::end_of;
use crate::tenants::{Tenants, refusal};
use crate::waiting::WaitingFrames;
use crate::wire::{EndFrame, Frame, PartFrame, RoundFrame};

/// Frames of one peer in one session, repetitions after broken links included. Protocols send four,
/// but for the largest batch of presignatures with 17.
const MAX_FRAMES_PER_PEER: usize = 64;

/// Ended sessions whose end is remembered.
const MAX_ENDED: usize = 4096;

/// Something that happened to a running session.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A peer opened a session of this ID: this one, or one that differs from it.
    Opened { from: PlayerIndex, process: ProcessId, theirs: Session },
    /// A protocol message.
    Round { from: PlayerIndex, process: ProcessId, frame: RoundFrame },
    /// A piece of one.
    Part { from: PlayerIndex, process: ProcessId, frame: PartFrame },
    /// The session is over for a peer.
    Ended { from: PlayerIndex, end: EndFrame },
    /// The link to a peer came up (again).
    Up { from: PlayerIndex, process: ProcessId },
    /// The link to a peer broke.
    Down { from: PlayerIndex, reason: String },
}

/// The sessions of one node.
pub(crate) struct Sessions {
    max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    live: HashMap<SessionTag, Live>,
    /// The live sessions of each peer: what concerns one peer costs nothing for the sessions of others.
    with_peer: HashMap<PlayerKey, OfPeer>,
    of_application: HashMap<ApplicationId, usize>,
    waiting: WaitingFrames,
    ended: HashMap<SessionTag, EndFrame>,
    ended_order: VecDeque<SessionTag>,
    last_words: LastWords,
    /// No more sessions are opened here.
    draining: bool,
    /// Whose links stand, and which of these peers said that they take no more sessions.
    up: HashMap<PlayerKey, Opens>,
}

/// Whether a peer takes new sessions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opens {
    Sessions,
    Nothing,
}

/// The live sessions of one peer.
#[derive(Default)]
struct OfPeer {
    sessions: BTreeSet<(SessionId, SessionTag)>,
    /// How many of them callers asked for.
    asked_for: usize,
}

struct Live {
    session: Session,
    application: Option<ApplicationId>,
    inbox: mpsc::UnboundedSender<Inbound>,
    /// The inbox is bounded by what each peer may put into it.
    received: BTreeMap<PlayerIndex, usize>,
}

/// Frames to send, and the order in which they travel.
pub(crate) type Replies = Vec<(u64, Said)>;

/// All frames of a session travel in order.
pub(crate) fn order_of(tag: &SessionTag) -> u64 {
    u64::from_le_bytes(tag.0[..8].try_into().expect("eight bytes"))
}

impl Sessions {
    pub(crate) fn new(max: usize) -> Self {
        Sessions { max, inner: Mutex::default() }
    }

    /// Opens a session: from now on its frames arrive in the inbox, those that came early first.
    ///
    /// `application` is whose it is; a set-up of a pair is nobody's, and not limited.
    pub(crate) fn open(
        &self,
        session: &Session,
        me: PlayerIndex,
        application: Option<&ApplicationId>,
        tenants: &Tenants,
    ) -> Result<mpsc::UnboundedReceiver<Inbound>, Failure> {
        let tag = session.tag();
        let mut inner = self.lock();
        if let Some(application) = application {
            if inner.draining {
                return Err(stopping());
            }
            inner.within_limits(self.max, session, me, application, tenants)?;
        }
        if inner.live.contains_key(&tag) || inner.ended.contains_key(&tag) {
            return Err(Failure::new(
                ErrorCode::SessionConflict,
                format!("session {} was already run on this node", session.id),
            ));
        }
        let (inbox, receiver) = mpsc::unbounded_channel();
        let application = application.cloned();
        let mut live = Live { session: session.clone(), application, inbox, received: BTreeMap::new() };
        for (player, key) in session.players.iter() {
            let early = inner.waiting.take(key, session, &tag);
            // What it opened before it began to stop it also ends.
            if early.is_empty() && inner.up.get(key) == Some(&Opens::Nothing) && is_asked_for(session) {
                let detail = format!("player {player} is stopping and takes no new sessions");
                return Err(Failure::new(ErrorCode::PlayerStopping, detail).about(player, "is stopping"));
            }
            for (process, frame) in early {
                live.deliver(player, process, frame);
            }
        }
        inner.insert(tag, live);
        Ok(receiver)
    }

    /// Closes a session and remembers how it ended, and what it said last to whom.
    pub(crate) fn close(
        &self,
        tag: SessionTag,
        end: EndFrame,
        last_words: Vec<(PlayerKey, ProcessId, Vec<Said>)>,
    ) {
        let mut inner = self.lock();
        inner.remove(&tag);
        for (peer, process, frames) in last_words {
            inner.last_words.keep(&peer, process, tag, frames);
        }
        if inner.ended.insert(tag, end).is_none() {
            inner.ended_order.push_back(tag);
        }
        if inner.ended_order.len() > MAX_ENDED
            && let Some(oldest) = inner.ended_order.pop_front()
        {
            inner.ended.remove(&oldest);
        }
    }

    /// Whether a session runs here or ran here lately.
    pub(crate) fn knows(&self, tag: &SessionTag) -> bool {
        let inner = self.lock();
        inner.live.contains_key(tag) || inner.ended.contains_key(tag)
    }

    /// Takes a frame of a session from the link to `from`. Returns what to answer.
    pub(crate) fn deliver(&self, from: &PlayerKey, process: ProcessId, frame: Frame) -> Replies {
        let mut inner = self.lock();
        let (id, tag) = match &frame {
            Frame::Open(session) => (Some(session.id.clone()), Some(session.tag())),
            Frame::Round(round) => (None, Some(round.tag)),
            Frame::Part(part) => (None, Some(part.tag)),
            Frame::End(end) => (Some(end.id.clone()), end.tag),
            Frame::PairWanted { .. }
            | Frame::PairDropped { .. }
            | Frame::PairHeld { .. }
            | Frame::CertificateWanted { .. }
            | Frame::Certificate(_)
            | Frame::Stopping => {
                return Vec::new();
            }
        };
        // By tag: agreed. By the caller's ID: the same run, seen differently.
        let live_tag = match tag {
            Some(tag) if inner.live.contains_key(&tag) => Some(tag),
            Some(_) | None => id.as_ref().and_then(|id| inner.live_with(id, from)),
        };
        if let Some(live) = live_tag.and_then(|tag| inner.live.get_mut(&tag)) {
            if let Some(player) = live.session.players.index_of(from) {
                live.deliver(player, process, frame);
            }
            return Vec::new();
        }
        if let Some(tag) = tag
            && let Some(end) = inner.ended.get(&tag)
        {
            if !matches!(frame, Frame::Open(_)) {
                return Vec::new();
            }
            let words: Replies = inner.say_again(from, process, Some(tag)).collect();
            // With these the peer has all that it needs; that there is no more might come before them.
            if !words.is_empty() {
                return words;
            }
            return vec![(order_of(&tag), Said::new(Frame::End(end.clone()).encode()))];
        }
        if inner.draining
            && let Some(refused) = refused_open(&frame)
        {
            return vec![(0, Said::new(refused.encode()))];
        }
        inner.waiting.push(from, process, frame);
        Vec::new()
    }

    /// From now on callers and peers open no sessions here; those that run go on. Returns what to answer
    /// to the peers whose sessions wait for a caller of this node.
    pub(crate) fn drain(&self) -> Vec<(PlayerKey, Frame)> {
        let mut inner = self.lock();
        inner.draining = true;
        let waiting = inner.waiting.take_all().into_iter();
        waiting.filter_map(|(peer, frame)| Some((peer, refused_open(&frame)?))).collect()
    }

    /// Whether sessions are refused.
    pub(crate) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// The peers whose links stand.
    pub(crate) fn peers(&self) -> Vec<PlayerKey> {
        self.lock().up.keys().cloned().collect()
    }

    /// A peer takes no more sessions, for as long as the link to it stands.
    pub(crate) fn peer_stops(&self, peer: &PlayerKey) {
        if let Some(opens) = self.lock().up.get_mut(peer) {
            *opens = Opens::Nothing;
        }
    }

    /// Whether this peer takes no more sessions.
    pub(crate) fn is_stopping(&self, peer: &PlayerKey) -> bool {
        self.lock().up.get(peer) == Some(&Opens::Nothing)
    }

    /// Tells every session with this peer that the link to it came up. Returns what those that ended
    /// have to say again.
    pub(crate) fn peer_up(&self, peer: &PlayerKey, process: ProcessId) -> Replies {
        let mut inner = self.lock();
        inner.up.insert(peer.clone(), Opens::Sessions);
        inner.waiting.peer_up(peer, process);
        inner.tell_all(peer, |from| Inbound::Up { from, process });
        inner.say_again(peer, process, None).collect()
    }

    /// Tells every session with this peer that the link to it broke.
    pub(crate) fn peer_down(&self, peer: &PlayerKey, reason: &str) {
        let mut inner = self.lock();
        inner.up.remove(peer);
        inner.waiting.peer_down(peer);
        inner.tell_all(peer, |from| Inbound::Down { from, reason: reason.to_owned() });
    }

    /// Forgets frames that have waited too long. To be called now and then.
    pub(crate) fn expire(&self) {
        let mut inner = self.lock();
        inner.waiting.expire();
        inner.last_words.expire();
    }

    /// Number of running sessions.
    pub(crate) fn running(&self) -> usize {
        self.lock().live.len()
    }

    /// Number of frames that wait for a session to be opened here.
    pub(crate) fn waiting_frames(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

impl Inner {
    /// Whether one session more is within what the node, the application and each tenant may have.
    fn within_limits(
        &self,
        most: usize,
        session: &Session,
        me: PlayerIndex,
        application: &ApplicationId,
        tenants: &Tenants,
    ) -> Result<(), Failure> {
        for (player, key) in tenants.of(&session.players, me) {
            let limit = tenants.limits.sessions;
            if self.with_peer.get(key).is_some_and(|of_peer| of_peer.asked_for >= limit) {
                return Err(refusal(ErrorCode::TenantSessionLimit, player, key, limit, "sessions in flight"));
            }
        }
        if let Some(limit) = tenants.limits.sessions_of_application
            && self.of_application.get(application).is_some_and(|number| *number >= limit)
        {
            let detail = format!("application {application} has {limit} sessions in flight at this node");
            return Err(Failure::new(ErrorCode::ApplicationSessionLimit, detail));
        }
        if self.live.len() >= most {
            return Err(Failure::new(ErrorCode::SessionLimit, format!("{most} sessions are running")));
        }
        Ok(())
    }

    fn insert(&mut self, tag: SessionTag, live: Live) {
        let asked_for = usize::from(live.application.is_some());
        for (_, key) in live.session.players.iter() {
            let of_peer = self.with_peer.entry(key.clone()).or_default();
            of_peer.sessions.insert((live.session.id.clone(), tag));
            of_peer.asked_for += asked_for;
        }
        if let Some(application) = &live.application {
            *self.of_application.entry(application.clone()).or_default() += 1;
        }
        self.live.insert(tag, live);
    }

    fn remove(&mut self, tag: &SessionTag) {
        let Some(live) = self.live.remove(tag) else { return };
        let asked_for = usize::from(live.application.is_some());
        let place = (live.session.id.clone(), *tag);
        for (_, key) in live.session.players.iter() {
            let Some(of_peer) = self.with_peer.get_mut(key) else { continue };
            of_peer.sessions.remove(&place);
            of_peer.asked_for -= asked_for;
            if of_peer.sessions.is_empty() {
                self.with_peer.remove(key);
            }
        }
        if let Some(application) = &live.application
            && let Some(number) = self.of_application.get_mut(application)
        {
            *number -= 1;
            if *number == 0 {
                self.of_application.remove(application);
            }
        }
    }

    fn tell_all(&self, peer: &PlayerKey, event: impl Fn(PlayerIndex) -> Inbound) {
        for (_, tag) in self.with_peer.get(peer).into_iter().flat_map(|of_peer| &of_peer.sessions) {
            let Some(live) = self.live.get(tag) else { continue };
            if let Some(player) = live.session.players.index_of(peer) {
                // A closed inbox belongs to a session that is just ending.
                let _ = live.inbox.send(event(player));
            }
        }
    }

    fn say_again(
        &self,
        to: &PlayerKey,
        process: ProcessId,
        session: Option<SessionTag>,
    ) -> impl Iterator<Item = (u64, Said)> + use<> {
        let words = self.last_words.to(to, process, session);
        words.into_iter().map(|(tag, frame)| (order_of(&tag), frame))
    }

    fn live_with(&self, id: &SessionId, from: &PlayerKey) -> Option<SessionTag> {
        let sessions = &self.with_peer.get(from)?.sessions;
        let mut of_this_id = sessions.range((id.clone(), SessionTag([0; 32]))..);
        of_this_id.next().filter(|(other, _)| other == id).map(|(_, tag)| *tag)
    }
}

impl Live {
    fn deliver(&mut self, from: PlayerIndex, process: ProcessId, frame: Frame) {
        let count = self.received.entry(from).or_default();
        *count += 1;
        if *count > MAX_FRAMES_PER_PEER {
            tracing::warn!(player = %from, "frame dropped: more than {MAX_FRAMES_PER_PEER} in one session");
            return;
        }
        let inbound = match frame {
            Frame::Open(theirs) => Inbound::Opened { from, process, theirs },
            Frame::Round(frame) => Inbound::Round { from, process, frame },
            Frame::Part(frame) => Inbound::Part { from, process, frame },
            Frame::End(end) => Inbound::Ended { from, end },
            Frame::PairWanted { .. }
            | Frame::PairDropped { .. }
            | Frame::PairHeld { .. }
            | Frame::CertificateWanted { .. }
            | Frame::Certificate(_)
            | Frame::Stopping => return,
        };
        let _ = self.inbox.send(inbound);
    }
}

/// What the caller of a stopping node is told.
pub(crate) fn stopping() -> Failure {
    Failure::new(ErrorCode::NodeStopping, "this node is stopping and takes no new sessions")
}

/// Whether a caller asked for the session. Set-ups of pairs are part of sessions that run already.
fn is_asked_for(session: &Session) -> bool {
    session.operation != Operation::SetUpPair
}

/// The answer of a stopping node to a peer that opens a session.
fn refused_open(frame: &Frame) -> Option<Frame> {
    let Frame::Open(session) = frame else { return None };
    is_asked_for(session).then(|| Frame::End(end_of(&session.id, Some(session.tag()), &stopping())))
}
