//! Which sessions run here, and how frames find them.
//!
//! A caller may come late: frames of a session that was not opened here yet wait, bounded in
//! number, bytes and time, and are handed over when it is. Frames of a session that has ended get
//! its end as an answer, so that nobody waits for a player that is gone.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tsm_transport::ProcessId;
use tsm_types::{ErrorCode, Failure, PlayerIndex, PlayerKey, Session, SessionId, SessionTag};

use crate::wire::{EndFrame, Frame, RoundFrame};

/// Frames of one peer in one session, repetitions after broken links included. The longest
/// protocol sends four.
const MAX_FRAMES_PER_PEER: usize = 64;

/// Frames of one peer that wait for a session to be opened here.
const MAX_WAITING_FRAMES: usize = 512;

/// Bytes of one peer that wait for a session to be opened here: some fifty sessions' first rounds.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// Longest wait for a caller; longer than any sensible connect timeout.
const WAITING_LIFETIME: Duration = Duration::from_secs(60);

/// Ended sessions whose end is remembered.
const MAX_ENDED: usize = 4096;

/// Something that happened to a running session.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A peer opened a session of this ID: this one, or one that differs from it.
    Opened { from: PlayerIndex, theirs: Session },
    /// A protocol message.
    Round { from: PlayerIndex, frame: RoundFrame },
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
    waiting: HashMap<PlayerKey, Waiting>,
    ended: HashMap<SessionTag, EndFrame>,
    ended_order: VecDeque<SessionTag>,
}

struct Live {
    session: Session,
    inbox: mpsc::UnboundedSender<Inbound>,
    /// The inbox is bounded by what each peer may put into it.
    received: BTreeMap<PlayerIndex, usize>,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<(Instant, Frame)>,
    bytes: usize,
}

/// What to answer to a frame.
pub(crate) type Reply = Option<Frame>;

impl Sessions {
    pub(crate) fn new(max: usize) -> Self {
        Sessions { max, inner: Mutex::default() }
    }

    /// Opens a session: from now on its frames arrive in the inbox, those that came early first.
    pub(crate) fn open(&self, session: &Session) -> Result<mpsc::UnboundedReceiver<Inbound>, Failure> {
        let tag = session.tag();
        let mut inner = self.lock();
        if inner.live.len() >= self.max {
            return Err(Failure::new(ErrorCode::SessionLimit, format!("{} sessions are running", self.max)));
        }
        if inner.live.contains_key(&tag) || inner.ended.contains_key(&tag) {
            return Err(Failure::new(
                ErrorCode::SessionConflict,
                format!("session {} was already run on this node", session.id),
            ));
        }
        let (inbox, receiver) = mpsc::unbounded_channel();
        let mut live = Live { session: session.clone(), inbox, received: BTreeMap::new() };
        for (player, key) in session.players.iter() {
            let early = inner.waiting.get_mut(key).map(|waiting| waiting.take(session, &tag));
            for frame in early.into_iter().flatten() {
                live.deliver(player, frame);
            }
        }
        inner.live.insert(tag, live);
        Ok(receiver)
    }

    /// Closes a session and remembers how it ended.
    pub(crate) fn close(&self, tag: SessionTag, end: EndFrame) {
        let mut inner = self.lock();
        inner.live.remove(&tag);
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

    /// Takes a frame of a session from the link to `from`.
    pub(crate) fn deliver(&self, from: &PlayerKey, frame: Frame) -> Reply {
        let mut inner = self.lock();
        let (id, tag) = match &frame {
            Frame::Open(session) => (Some(session.id.clone()), Some(session.tag())),
            Frame::Round(round) => (None, Some(round.tag)),
            Frame::End(end) => (Some(end.id.clone()), end.tag),
            Frame::PairWanted { .. }
            | Frame::PairDropped { .. }
            | Frame::CertificateWanted { .. }
            | Frame::Certificate(_) => {
                return None;
            }
        };
        // By tag: agreed. By the caller's ID: the same run, seen differently.
        let live_tag = match tag {
            Some(tag) if inner.live.contains_key(&tag) => Some(tag),
            Some(_) | None => id.as_ref().and_then(|id| inner.live_with(id, from)),
        };
        if let Some(live) = live_tag.and_then(|tag| inner.live.get_mut(&tag)) {
            if let Some(player) = live.session.players.index_of(from) {
                live.deliver(player, frame);
            }
            return None;
        }
        if let Some(end) = tag.and_then(|tag| inner.ended.get(&tag)) {
            return matches!(frame, Frame::Open(_)).then(|| Frame::End(end.clone()));
        }
        inner.waiting.entry(from.clone()).or_default().push(frame);
        None
    }

    /// Tells every session with this peer that the link to it came up.
    pub(crate) fn peer_up(&self, peer: &PlayerKey, process: ProcessId) {
        self.tell_all(peer, |from| Inbound::Up { from, process });
    }

    /// Tells every session with this peer that the link to it broke.
    pub(crate) fn peer_down(&self, peer: &PlayerKey, reason: &str) {
        self.tell_all(peer, |from| Inbound::Down { from, reason: reason.to_owned() });
    }

    /// Forgets frames that have waited too long. To be called now and then.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.waiting.retain(|_, waiting| {
            waiting.expire(now);
            !waiting.frames.is_empty()
        });
    }

    /// Number of running sessions.
    pub(crate) fn running(&self) -> usize {
        self.lock().live.len()
    }

    /// Number of frames that wait for a session to be opened here.
    pub(crate) fn waiting_frames(&self) -> usize {
        self.lock().waiting.values().map(|waiting| waiting.frames.len()).sum()
    }

    fn tell_all(&self, peer: &PlayerKey, event: impl Fn(PlayerIndex) -> Inbound) {
        for live in self.lock().live.values() {
            if let Some(player) = live.session.players.index_of(peer) {
                // A closed inbox belongs to a session that is just ending.
                let _ = live.inbox.send(event(player));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

impl Inner {
    fn live_with(&self, id: &SessionId, from: &PlayerKey) -> Option<SessionTag> {
        let of_this_run =
            |live: &&Live| live.session.id == *id && live.session.players.index_of(from).is_some();
        self.live.values().find(of_this_run).map(|live| live.session.tag())
    }
}

impl Live {
    fn deliver(&mut self, from: PlayerIndex, frame: Frame) {
        let count = self.received.entry(from).or_default();
        *count += 1;
        if *count > MAX_FRAMES_PER_PEER {
            tracing::warn!(player = %from, "frame dropped: more than {MAX_FRAMES_PER_PEER} in one session");
            return;
        }
        let inbound = match frame {
            Frame::Open(theirs) => Inbound::Opened { from, theirs },
            Frame::Round(frame) => Inbound::Round { from, frame },
            Frame::End(end) => Inbound::Ended { from, end },
            Frame::PairWanted { .. }
            | Frame::PairDropped { .. }
            | Frame::CertificateWanted { .. }
            | Frame::Certificate(_) => return,
        };
        let _ = self.inbox.send(inbound);
    }
}

impl Waiting {
    /// The oldest frames make room for new ones.
    fn push(&mut self, frame: Frame) {
        self.expire(Instant::now());
        self.bytes += frame_bytes(&frame);
        self.frames.push_back((Instant::now(), frame));
        while self.frames.len() > MAX_WAITING_FRAMES || self.bytes > MAX_WAITING_BYTES {
            self.drop_oldest();
        }
    }

    fn take(&mut self, session: &Session, tag: &SessionTag) -> Vec<Frame> {
        let belongs = |frame: &Frame| match frame {
            Frame::Open(theirs) => theirs.id == session.id,
            Frame::Round(round) => round.tag == *tag,
            Frame::End(end) => end.id == session.id,
            Frame::PairWanted { .. }
            | Frame::PairDropped { .. }
            | Frame::CertificateWanted { .. }
            | Frame::Certificate(_) => false,
        };
        let (taken, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.frames).into_iter().partition(|(_, frame)| belongs(frame));
        self.frames = kept;
        self.bytes = self.frames.iter().map(|(_, frame)| frame_bytes(frame)).sum();
        taken.into_iter().map(|(_, frame)| frame).collect()
    }

    fn expire(&mut self, now: Instant) {
        while self.frames.front().is_some_and(|(since, _)| now - *since > WAITING_LIFETIME) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, frame)) = self.frames.pop_front() {
            self.bytes = self.bytes.saturating_sub(frame_bytes(&frame));
        }
    }
}

/// What a waiting frame counts for.
fn frame_bytes(frame: &Frame) -> usize {
    const SMALL: usize = 4096;
    match frame {
        Frame::Round(round) => round.body.len(),
        Frame::Open(_)
        | Frame::End(_)
        | Frame::PairWanted { .. }
        | Frame::PairDropped { .. }
        | Frame::CertificateWanted { .. }
        | Frame::Certificate(_) => SMALL,
    }
}
