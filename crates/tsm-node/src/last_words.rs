//! What sessions that gave their result said last (docs/spec/session.md, 5).
//!
//! Who has its result waits for nothing more, and a link may lose its last messages all the same. So
//! they are kept for a while, bounded for each peer and in all, and said again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use tsm_transport::ProcessId;
use tsm_types::{PlayerKey, SessionTag};
use zeroize::Zeroizing;

/// Longer than it takes to find that a link is dead, 15 s of silence, and to dial it.
const LIFETIME: Duration = Duration::from_secs(30);

/// Bytes for one peer: of some twenty signatures.
const MAX_BYTES: usize = 1 << 20;

/// Bytes for all peers.
const MAX_BYTES_IN_ALL: usize = 16 << 20;

/// A frame, as it was sent.
pub(crate) type Said = Zeroizing<Vec<u8>>;

#[derive(Default)]
pub(crate) struct LastWords {
    peers: HashMap<PlayerKey, OfPeer>,
    /// By age. Those that gave way to later ones of their peer stay until they would expire.
    order: VecDeque<(Instant, u64, PlayerKey)>,
    last_number: u64,
    bytes: usize,
}

#[derive(Default)]
struct OfPeer {
    /// Oldest first.
    words: VecDeque<Words>,
    bytes: usize,
}

struct Words {
    number: u64,
    tag: SessionTag,
    /// Another process of the peer takes part in other runs, whatever they are called.
    process: ProcessId,
    frames: Vec<Said>,
    bytes: usize,
}

impl LastWords {
    /// Keeps what a session said to a process of a peer. The oldest give way, the peer's own first.
    pub(crate) fn keep(&mut self, peer: &PlayerKey, process: ProcessId, tag: SessionTag, frames: Vec<Said>) {
        self.expire();
        let bytes = frames.iter().map(|frame| frame.len()).sum();
        if bytes == 0 || bytes > MAX_BYTES {
            return;
        }
        while self.peers.get(peer).is_some_and(|of_peer| of_peer.bytes + bytes > MAX_BYTES)
            && self.forget_first_of(peer)
        {}
        while self.bytes + bytes > MAX_BYTES_IN_ALL && self.forget_first() {}
        self.last_number += 1;
        let number = self.last_number;
        let of_peer = self.peers.entry(peer.clone()).or_default();
        of_peer.words.push_back(Words { number, tag, process, frames, bytes });
        of_peer.bytes += bytes;
        self.bytes += bytes;
        self.order.push_back((Instant::now(), number, peer.clone()));
    }

    /// What was said to this process of the peer, in all sessions or one.
    pub(crate) fn to(
        &self,
        peer: &PlayerKey,
        process: ProcessId,
        session: Option<SessionTag>,
    ) -> Vec<(SessionTag, Said)> {
        let words = self.peers.get(peer).into_iter().flat_map(|of_peer| &of_peer.words);
        let these = words
            .filter(|words| words.process == process && session.is_none_or(|session| words.tag == session));
        these.flat_map(|words| words.frames.iter().map(|frame| (words.tag, frame.clone()))).collect()
    }

    /// Forgets what was said too long ago. To be called now and then.
    pub(crate) fn expire(&mut self) {
        while self.order.front().is_some_and(|(since, ..)| since.elapsed() > LIFETIME) && self.forget_first()
        {
        }
    }

    /// Whether there was one.
    fn forget_first(&mut self) -> bool {
        let Some((_, number, peer)) = self.order.pop_front() else { return false };
        let first = self.peers.get(&peer).and_then(|of_peer| of_peer.words.front());
        if first.is_some_and(|words| words.number == number) {
            self.forget_first_of(&peer);
        }
        true
    }

    /// Whether there was one.
    fn forget_first_of(&mut self, peer: &PlayerKey) -> bool {
        let Some(of_peer) = self.peers.get_mut(peer) else { return false };
        let bytes = of_peer.words.pop_front().map_or(0, |words| words.bytes);
        of_peer.bytes -= bytes;
        self.bytes -= bytes;
        if of_peer.words.is_empty() {
            self.peers.remove(peer);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsm_crypto::IdentityKey;
    use tsm_crypto::hedged::test_rng;

    const PROCESS: ProcessId = ProcessId([1; 16]);

    fn key(seed: u64) -> PlayerKey {
        IdentityKey::generate(&mut test_rng(seed)).public().clone()
    }

    fn tag(number: u8) -> SessionTag {
        SessionTag([number; 32])
    }

    fn frame(bytes: usize) -> Vec<Said> {
        vec![Zeroizing::new(vec![0; bytes])]
    }

    fn tags(words: &LastWords, peer: &PlayerKey) -> Vec<u8> {
        words.to(peer, PROCESS, None).iter().map(|(tag, _)| tag.0[0]).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn s105_last_words_take_bounded_room_for_each_peer_and_in_all_and_not_for_long() {
        let books_are_right = |words: &LastWords| {
            let sum: usize = words.peers.values().map(|of_peer| of_peer.bytes).sum();
            assert_eq!(sum, words.bytes);
        };
        let (mut words, quiet, loud) = (LastWords::default(), key(0), key(1));
        words.keep(&quiet, PROCESS, tag(0), frame(1000));
        for number in 1..=42 {
            words.keep(&loud, PROCESS, tag(number), frame(MAX_BYTES / 4));
        }
        assert_eq!((tags(&words, &quiet), tags(&words, &loud)), (vec![0], vec![39, 40, 41, 42]));
        books_are_right(&words);
        words.keep(&loud, PROCESS, tag(50), frame(MAX_BYTES + 1));
        assert_eq!(tags(&words, &loud).len(), 4);
        for peer in 2..40 {
            words.keep(&key(peer), PROCESS, tag(1), frame(MAX_BYTES));
            assert!(words.bytes <= MAX_BYTES_IN_ALL);
        }
        assert!(tags(&words, &quiet).is_empty(), "the oldest give way");
        assert_eq!(words.bytes, MAX_BYTES_IN_ALL, "and no more than must");
        books_are_right(&words);
        tokio::time::advance(LIFETIME + Duration::from_secs(1)).await;
        words.expire();
        assert!(words.peers.is_empty() && words.order.is_empty() && words.bytes == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_gave_way_takes_nothing_along_when_its_time_has_come() {
        let (mut words, peer) = (LastWords::default(), key(0));
        words.keep(&peer, PROCESS, tag(1), frame(MAX_BYTES));
        tokio::time::advance(LIFETIME).await;
        words.expire();
        assert_eq!(tags(&words, &peer), [1], "its time is not over");
        words.keep(&peer, PROCESS, tag(2), frame(MAX_BYTES));
        tokio::time::advance(Duration::from_secs(1)).await;
        words.expire();
        assert_eq!((tags(&words, &peer), words.order.len()), (vec![2], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_said_nothing_is_not_kept() {
        let mut words = LastWords::default();
        words.keep(&key(0), PROCESS, tag(1), Vec::new());
        assert!(words.peers.is_empty() && words.order.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn another_process_and_another_session_are_not_told() {
        let (mut words, peer) = (LastWords::default(), key(0));
        words.keep(&peer, PROCESS, tag(1), frame(1));
        words.keep(&peer, PROCESS, tag(2), frame(1));
        assert_eq!(tags(&words, &peer), [1, 2]);
        let told = words.to(&peer, PROCESS, Some(tag(2)));
        assert_eq!(told.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), [tag(2)]);
        assert!(words.to(&peer, ProcessId([2; 16]), None).is_empty());
    }
}
