//! Sources whose connections come to nothing too often are not listened to for a while: what they
//! send does not even reach TLS (rule S-105).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::link::waiting::Source;

/// Within which failures are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Sources that are remembered; beyond it the first are forgotten. Some 5 MB.
const MAX_SOURCES: usize = 64 * 1024;

pub(crate) struct Failures {
    limit: usize,
    blocked_for: Duration,
    sources: HashMap<Source, Counted>,
    /// Every source once, in the order in which it was first counted.
    order: VecDeque<Source>,
}

struct Counted {
    since: Instant,
    failures: usize,
    blocked_until: Option<Instant>,
}

impl Failures {
    pub(crate) fn new(limit: usize, blocked_for: Duration) -> Self {
        Failures { limit, blocked_for, sources: HashMap::new(), order: VecDeque::new() }
    }

    /// Counts a failed handshake. Returns true if the source is blocked from now on.
    pub(crate) fn count(&mut self, source: Source) -> bool {
        if self.limit == 0 {
            return false;
        }
        let now = Instant::now();
        self.expire(now);
        let counted = self.sources.entry(source).or_insert_with(|| {
            self.order.push_back(source);
            Counted { since: now, failures: 0, blocked_until: None }
        });
        if now - counted.since > WINDOW {
            counted.since = now;
            counted.failures = 0;
        }
        counted.failures += 1;
        if counted.failures <= self.limit || counted.blocked_until.is_some_and(|until| until > now) {
            return false;
        }
        counted.failures = 0;
        counted.blocked_until = Some(now + self.blocked_for);
        true
    }

    pub(crate) fn is_blocked(&self, source: Source) -> bool {
        self.sources
            .get(&source)
            .is_some_and(|counted| counted.blocked_until.is_some_and(|until| until > Instant::now()))
    }

    /// Looks at the first two only: every call adds one at most, so the books do not grow.
    fn expire(&mut self, now: Instant) {
        for _ in 0..2 {
            let Some(source) = self.order.front().copied() else { return };
            let over = self.sources.get(&source).is_none_or(|counted| {
                now - counted.since > WINDOW && counted.blocked_until.is_none_or(|until| until <= now)
            });
            self.order.pop_front();
            if over || self.order.len() >= MAX_SOURCES {
                self.sources.remove(&source);
            } else {
                self.order.push_back(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const BAD: Source = Source::V4([10, 0, 0, 1]);
    const GOOD: Source = Source::V4([10, 0, 0, 2]);

    #[tokio::test(start_paused = true)]
    async fn s105_a_source_is_blocked_beyond_its_failures_and_heard_again_later() {
        let mut failures = Failures::new(3, Duration::from_secs(30));
        assert_eq!([0; 3].map(|_| failures.count(BAD)), [false; 3]);
        assert!(!failures.is_blocked(BAD));
        assert!(failures.count(BAD), "the fourth");
        assert!(failures.is_blocked(BAD) && !failures.is_blocked(GOOD));
        assert!(!failures.count(BAD), "what was under way blocks no longer");
        advance(Duration::from_secs(31)).await;
        assert!(!failures.is_blocked(BAD));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_no_source_is_blocked() {
        let mut failures = Failures::new(0, Duration::from_secs(30));
        assert!((0..1000).all(|_| !failures.count(BAD)));
        assert!(!failures.is_blocked(BAD) && failures.sources.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_another_minute_do_not_count() {
        let mut failures = Failures::new(3, Duration::from_secs(30));
        // So many that what is over of the last of them is not forgotten at once.
        for number in 0..100u32 {
            failures.count(Source::V4(number.to_be_bytes()));
        }
        for _ in 0..20 {
            assert!(!failures.count(BAD));
            assert!(!failures.count(BAD));
            advance(WINDOW + Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s105_any_number_of_sources_takes_bounded_room_and_what_is_over_is_forgotten() {
        let mut failures = Failures::new(3, Duration::from_secs(30));
        let source = |number: u32| Source::V4(number.to_be_bytes());
        for number in 0..100_000 {
            failures.count(source(number));
        }
        assert!(failures.sources.len() <= MAX_SOURCES + 1);
        assert_eq!(failures.sources.len(), failures.order.len());
        advance(WINDOW + Duration::from_secs(1)).await;
        for _ in 0..100_000 {
            failures.count(BAD);
        }
        assert!(failures.sources.len() <= 2, "{}", failures.sources.len());
    }
}
