//! Frames that came before their session was opened here (rules S-28, S-105).
//!
//! Bounded for each peer and in all. Where a bound is met the peer that takes most room gives way
//! first, so that a flood displaces itself.
//!
//! A frame counts for a session only while the link over which it came is up: who has left since has
//! not come to the session, and says it again when it comes back.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use tsm_transport::ProcessId;
use tsm_types::{PlayerKey, Session, SessionTag};

use crate::wire::Frame;

/// Frames of one peer.
const MAX_FRAMES: usize = 512;

/// Bytes of one peer: some fifty sessions' first rounds.
const MAX_BYTES: usize = 4 << 20;

/// Bytes of all peers: a thousand phones' first rounds, many times over.
const MAX_BYTES_IN_ALL: usize = 64 << 20;

/// Longest wait for a caller; longer than any sensible connect timeout.
const LIFETIME: Duration = Duration::from_secs(60);

/// The frames that wait at one node, by the peer that sent them.
#[derive(Default)]
pub(crate) struct WaitingFrames {
    peers: HashMap<PlayerKey, Waiting>,
    /// Who takes how much room.
    by_bytes: BTreeSet<(usize, PlayerKey)>,
    bytes: usize,
}

struct Waiting {
    /// Who sent the frames.
    process: ProcessId,
    /// The link to it is up.
    linked: bool,
    frames: VecDeque<(Instant, Frame)>,
    bytes: usize,
}

impl WaitingFrames {
    /// Takes in a frame. The peer's oldest make room for it, or those of the peer with most.
    pub(crate) fn push(&mut self, from: &PlayerKey, process: ProcessId, frame: Frame) {
        self.peers.entry(from.clone()).or_insert_with(|| Waiting::of(process));
        self.change(from, |waiting| waiting.push(process, frame));
        while self.bytes > MAX_BYTES_IN_ALL
            && let Some((_, busiest)) = self.by_bytes.last().cloned()
        {
            self.change(&busiest, Waiting::drop_oldest);
        }
    }

    /// Takes out the frames of a session, in the order in which they came, and gives those that count.
    pub(crate) fn take(
        &mut self,
        from: &PlayerKey,
        session: &Session,
        tag: &SessionTag,
    ) -> Vec<(ProcessId, Frame)> {
        self.change(from, |waiting| waiting.take(session, tag)).unwrap_or_default()
    }

    /// The link to a peer came up. Of another process than before nothing is left.
    pub(crate) fn peer_up(&mut self, peer: &PlayerKey, process: ProcessId) {
        self.change(peer, |waiting| waiting.belongs_to(process));
    }

    /// The link to a peer broke.
    pub(crate) fn peer_down(&mut self, peer: &PlayerKey) {
        self.change(peer, |waiting| waiting.linked = false);
    }

    /// All that wait, taken out.
    pub(crate) fn take_all(&mut self) -> Vec<(PlayerKey, Frame)> {
        let peers = std::mem::take(self).peers;
        let of_peer = |(key, waiting): (PlayerKey, Waiting)| {
            waiting.frames.into_iter().map(move |(_, frame)| (key.clone(), frame))
        };
        peers.into_iter().flat_map(of_peer).collect()
    }

    /// Number of frames that wait.
    pub(crate) fn len(&self) -> usize {
        self.peers.values().map(|waiting| waiting.frames.len()).sum()
    }

    /// Forgets frames that have waited too long.
    pub(crate) fn expire(&mut self) {
        let now = Instant::now();
        let old = self.peers.iter().filter(|(_, waiting)| waiting.has_expired(now));
        let old: Vec<PlayerKey> = old.map(|(key, _)| key.clone()).collect();
        for key in &old {
            self.change(key, |waiting| waiting.expire(now));
        }
    }

    fn change<T>(&mut self, key: &PlayerKey, change: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        let waiting = self.peers.get_mut(key)?;
        let before = waiting.bytes;
        let result = change(waiting);
        let after = waiting.bytes;
        if waiting.frames.is_empty() {
            self.peers.remove(key);
        }
        self.by_bytes.remove(&(before, key.clone()));
        if after > 0 {
            self.by_bytes.insert((after, key.clone()));
        }
        self.bytes = self.bytes + after - before;
        Some(result)
    }
}

impl Waiting {
    fn of(process: ProcessId) -> Self {
        Waiting { process, linked: true, frames: VecDeque::new(), bytes: 0 }
    }

    fn belongs_to(&mut self, process: ProcessId) {
        if self.process != process {
            *self = Waiting::of(process);
        }
        self.linked = true;
    }

    fn push(&mut self, process: ProcessId, frame: Frame) {
        self.belongs_to(process);
        self.expire(Instant::now());
        self.bytes += frame_bytes(&frame);
        self.frames.push_back((Instant::now(), frame));
        while self.frames.len() > MAX_FRAMES || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    fn take(&mut self, session: &Session, tag: &SessionTag) -> Vec<(ProcessId, Frame)> {
        let belongs = |frame: &Frame| match frame {
            Frame::Open(theirs) => theirs.id == session.id,
            Frame::Round(round) => round.tag == *tag,
            Frame::Part(part) => part.tag == *tag,
            Frame::End(end) => end.id == session.id,
            Frame::PairWanted { .. }
            | Frame::PairDropped { .. }
            | Frame::PairHeld { .. }
            | Frame::CertificateWanted { .. }
            | Frame::Certificate(_)
            | Frame::Stopping => false,
        };
        let (taken, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.frames).into_iter().partition(|(_, frame)| belongs(frame));
        self.frames = kept;
        self.bytes = self.frames.iter().map(|(_, frame)| frame_bytes(frame)).sum();
        // That a session is over needs no link to stay true.
        let counts = |frame: &Frame| self.linked || matches!(frame, Frame::End(_));
        let taken = taken.into_iter().map(|(_, frame)| frame).filter(counts);
        taken.map(|frame| (self.process, frame)).collect()
    }

    fn has_expired(&self, now: Instant) -> bool {
        self.frames.front().is_some_and(|(since, _)| now - *since > LIFETIME)
    }

    fn expire(&mut self, now: Instant) {
        while self.has_expired(now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, frame)) = self.frames.pop_front() {
            self.bytes = self.bytes.saturating_sub(frame_bytes(&frame));
        }
    }
}

/// What a waiting frame counts for. Never nothing.
fn frame_bytes(frame: &Frame) -> usize {
    const SMALL: usize = 4096;
    match frame {
        Frame::Round(round) => round.body.len() + SMALL,
        Frame::Part(part) => part.body.len() + SMALL,
        Frame::Open(_)
        | Frame::End(_)
        | Frame::PairWanted { .. }
        | Frame::PairDropped { .. }
        | Frame::PairHeld { .. }
        | Frame::CertificateWanted { .. }
        | Frame::Certificate(_)
        | Frame::Stopping => SMALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::RoundFrame;
    use tsm_crypto::IdentityKey;
    use tsm_crypto::hedged::test_rng;

    fn key(seed: u64) -> PlayerKey {
        IdentityKey::generate(&mut test_rng(seed)).public().clone()
    }

    fn process(number: u8) -> ProcessId {
        ProcessId([number; 16])
    }

    fn frame(bytes: usize) -> Frame {
        Frame::Round(RoundFrame { tag: SessionTag([1; 32]), phase: 1, round: 1, body: vec![0; bytes] })
    }

    #[tokio::test]
    async fn s105_s104_a_flood_of_early_frames_displaces_itself_and_no_frame_of_another_peer() {
        let mut waiting = WaitingFrames::default();
        let quiet = key(0);
        waiting.push(&quiet, process(0), frame(1000));
        let floods: Vec<PlayerKey> = (1..=40).map(key).collect();
        for _ in 0..8 {
            floods.iter().for_each(|flood| waiting.push(flood, process(0), frame(500_000)));
        }
        assert_eq!(waiting.peers[&quiet].frames.len(), 1);
        assert!(waiting.bytes <= MAX_BYTES_IN_ALL);
        let sum: usize = waiting.peers.values().map(|peer| peer.bytes).sum();
        assert_eq!(sum, waiting.bytes, "the books are right");
        assert_eq!(waiting.by_bytes.len(), waiting.peers.len());
    }

    #[tokio::test(start_paused = true)]
    async fn s105_frames_that_nobody_wants_are_forgotten() {
        let mut waiting = WaitingFrames::default();
        (0..10).for_each(|seed| waiting.push(&key(seed), process(0), frame(10)));
        tokio::time::advance(LIFETIME + Duration::from_secs(1)).await;
        waiting.expire();
        assert!(waiting.peers.is_empty() && waiting.by_bytes.is_empty());
        assert_eq!(waiting.bytes, 0);
    }
}
