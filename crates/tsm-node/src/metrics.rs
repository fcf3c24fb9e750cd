//! What a node has done, as numbers. No name of a tenant, key or caller is ever among them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tsm_transport::LinkCounts;
use tsm_types::{ErrorCode, Failure};

use crate::node::Inner;

/// The counters that the engine itself keeps.
#[derive(Default)]
pub(crate) struct Counters {
    /// By operation and outcome: at most as many as there are operations and codes.
    sessions: Mutex<BTreeMap<(&'static str, Option<ErrorCode>), u64>>,
    /// By the code of the limit.
    refusals: Mutex<BTreeMap<ErrorCode, u64>>,
    pub(crate) ignored_keys: AtomicU64,
    pub(crate) refused_keys: AtomicU64,
    pub(crate) unreadable_frames: AtomicU64,
    pub(crate) certificate_frames_dropped: AtomicU64,
}

/// Everything that a node counts, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Requests that were answered, by operation and outcome; without a code they succeeded.
    pub sessions: BTreeMap<(&'static str, Option<ErrorCode>), u64>,
    /// Requests that a limit refused, by the limit.
    pub refusals: BTreeMap<ErrorCode, u64>,
    /// Dynamic public keys that were ignored since the configuration has another one.
    pub ignored_keys: u64,
    /// Dynamic public keys that were refused for that.
    pub refused_keys: u64,
    /// Frames of peers that nobody could read.
    pub unreadable_frames: u64,
    /// Frames about certificates that were dropped, since a dynamic player sent too many.
    pub certificate_frames_dropped: u64,
    /// Sessions that run now, set-ups of pairs among them.
    pub live_sessions: u64,
    /// Frames that wait now for a session to be opened here.
    pub waiting_frames: u64,
    /// Set-ups of pairs that run now.
    pub live_pair_set_ups: u64,
    /// Pairs that are held now.
    pub pairs: u64,
    /// Set-ups of pairs that worked.
    pub pair_set_ups: u64,
    /// Set-ups of pairs that did not.
    pub pair_set_ups_failed: u64,
    /// Pairs whose state was destroyed after a failed check.
    pub pairs_burned: u64,
    /// Pairs that were forgotten since their peers had left.
    pub pairs_forgotten: u64,
    /// Unused presignatures that are held now, of all keys.
    pub presignatures: u64,
    /// Presignatures that are being made now.
    pub presignatures_in_the_making: u64,
    /// Presignatures that were made.
    pub presignatures_made: u64,
    /// Presignatures that were used.
    pub presignatures_used: u64,
    /// What the links count.
    pub links: LinkCounts,
}

impl Counters {
    fn ended(&self, operation: &'static str, code: Option<ErrorCode>) {
        let mut sessions = self.sessions.lock().expect("no holder of this lock panics");
        *sessions.entry((operation, code)).or_default() += 1;
    }

    /// Counts a refusal by a limit.
    pub(crate) fn refused(&self, limit: ErrorCode) {
        *self.refusals.lock().expect("no holder of this lock panics").entry(limit).or_default() += 1;
    }
}

/// A request until it is answered. One whose caller leaves counts as cancelled.
pub(crate) struct Counted<'a> {
    node: &'a Inner,
    operation: &'static str,
    code: Option<ErrorCode>,
}

impl<'a> Counted<'a> {
    pub(crate) fn begin(node: &'a Inner, operation: &'static str) -> Self {
        Counted { node, operation, code: Some(ErrorCode::SessionCancelled) }
    }

    pub(crate) fn end<T>(mut self, answer: Result<T, Failure>) -> Result<T, Failure> {
        self.code = answer.as_ref().err().map(|failure| failure.code);
        answer
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.node.counters.ended(self.operation, self.code);
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Metrics {
    pub(crate) fn of(node: &Inner) -> Metrics {
        let (counters, pairs) = (&node.counters, node.pairs.counts());
        let presignatures = node.presignatures.counts();
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            sessions: counters.sessions.lock().expect("no holder of this lock panics").clone(),
            refusals: counters.refusals.lock().expect("no holder of this lock panics").clone(),
            ignored_keys: now(&counters.ignored_keys),
            refused_keys: now(&counters.refused_keys),
            unreadable_frames: now(&counters.unreadable_frames),
            certificate_frames_dropped: now(&counters.certificate_frames_dropped),
            live_sessions: node.sessions.running() as u64,
            waiting_frames: node.sessions.waiting_frames() as u64,
            live_pair_set_ups: pairs.setting_up,
            pairs: pairs.held,
            pair_set_ups: pairs.set_ups,
            pair_set_ups_failed: pairs.failed_set_ups,
            pairs_burned: pairs.burned,
            pairs_forgotten: pairs.forgotten,
            presignatures: presignatures.held,
            presignatures_in_the_making: presignatures.in_the_making,
            presignatures_made: presignatures.made,
            presignatures_used: presignatures.used,
            links: node.links.counts(),
        }
    }
}
