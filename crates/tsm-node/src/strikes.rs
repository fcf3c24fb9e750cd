//! Peers whose secret-dependent checks failed: their set-ups are slowed down, but never refused
//! (rule S-104). Remembered apart from what is shared with them, which may be forgotten at any time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use tsm_types::PlayerKey;

/// Failed checks of one peer within a day, after which its set-ups are slowed down.
const STRIKES: usize = 3;
const MEMORY: Duration = Duration::from_secs(24 * 3600);
const SLOWED_DOWN: Duration = Duration::from_secs(60);

/// Peers that are remembered; the first are forgotten first. Each strike cost its peer a set-up.
const MAX_PEERS: usize = 16 * 1024;

#[derive(Default)]
pub(crate) struct Strikes {
    peers: HashMap<PlayerKey, Struck>,
    /// Every peer once, in the order of its first strike.
    order: VecDeque<PlayerKey>,
}

#[derive(Default)]
struct Struck {
    at: VecDeque<Instant>,
    last_set_up: Option<Instant>,
}

impl Strikes {
    /// A check failed. Returns the number within a day.
    pub(crate) fn add(&mut self, key: &PlayerKey) -> usize {
        let struck = self.peers.entry(key.clone()).or_insert_with(|| {
            self.order.push_back(key.clone());
            Struck::default()
        });
        struck.at.push_back(Instant::now());
        if struck.at.len() > STRIKES {
            struck.at.pop_front();
        }
        let number = struck.at.len();
        if self.order.len() > MAX_PEERS
            && let Some(first) = self.order.pop_front()
        {
            self.peers.remove(&first);
        }
        number
    }

    /// Whether it is too soon for another set-up.
    pub(crate) fn slow_down(&self, key: &PlayerKey) -> bool {
        self.peers.get(key).is_some_and(|struck| {
            let recent = struck.at.iter().filter(|at| at.elapsed() <= MEMORY).count();
            recent >= STRIKES && struck.last_set_up.is_some_and(|last| last.elapsed() < SLOWED_DOWN)
        })
    }

    pub(crate) fn set_up(&mut self, key: &PlayerKey) {
        if let Some(struck) = self.peers.get_mut(key) {
            struck.last_set_up = Some(Instant::now());
        }
    }

    /// Forgets whose last strike is a day old. Looks at the first in line only; those that stay go to
    /// its end.
    pub(crate) fn expire(&mut self) {
        let Some(first) = self.order.pop_front() else { return };
        let stays = |struck: &Struck| struck.at.back().is_some_and(|last| last.elapsed() <= MEMORY);
        if self.peers.get(&first).is_some_and(stays) {
            self.order.push_back(first);
        } else {
            self.peers.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;
    use tsm_crypto::IdentityKey;
    use tsm_crypto::hedged::test_rng;

    fn key(seed: u64) -> PlayerKey {
        IdentityKey::generate(&mut test_rng(seed)).public().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn s104_after_three_strikes_set_ups_are_slowed_down_for_a_minute_and_forgiven_after_a_day() {
        let (mut strikes, peer) = (Strikes::default(), key(1));
        for number in 1..=3 {
            assert!(!strikes.slow_down(&peer));
            assert_eq!(strikes.add(&peer), number);
            strikes.set_up(&peer);
        }
        assert!(strikes.slow_down(&peer) && !strikes.slow_down(&key(2)));
        advance(SLOWED_DOWN).await;
        assert!(!strikes.slow_down(&peer), "slowed down, not shut out");
        strikes.set_up(&peer);
        assert!(strikes.slow_down(&peer));
        advance(MEMORY + Duration::from_secs(1)).await;
        strikes.expire();
        assert!(strikes.peers.is_empty() && strikes.order.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn s104_a_strike_counts_for_a_day() {
        let (mut strikes, peer) = (Strikes::default(), key(1));
        for hours in [0, 23, 0] {
            advance(Duration::from_secs(hours * 3600)).await;
            strikes.expire();
            strikes.add(&peer);
            strikes.set_up(&peer);
        }
        assert!(strikes.slow_down(&peer), "three within 23 hours");
        advance(Duration::from_secs(3600 + 1)).await;
        strikes.set_up(&peer);
        assert!(!strikes.slow_down(&peer), "two within the last day");
        strikes.expire();
        assert_eq!((strikes.peers.len(), strikes.order.len()), (1, 1), "which count still");
    }

    #[tokio::test(start_paused = true)]
    async fn s105_of_16384_peers_the_first_is_forgotten_for_another() {
        let mut strikes = Strikes::default();
        strikes.add(&key(0));
        // As many as fit but one. Keys of their own would take seconds to make.
        strikes.order.resize(16_383, key(0));
        strikes.add(&key(1));
        assert!(strikes.order.len() == 16_384 && strikes.peers.contains_key(&key(0)), "all have room");
        strikes.add(&key(2));
        assert!(strikes.order.len() == 16_384 && !strikes.peers.contains_key(&key(0)));
        assert!(strikes.peers.contains_key(&key(1)) && strikes.peers.contains_key(&key(2)));
    }
}
