//! Many schedules on all processors: what was run, what fired, what did not hold.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::faults::{Fault, Fired};
use crate::invariants::{Invariant, Violation};
use crate::life::{self, LIFE, Report};
use crate::plan::Scenario;
use crate::prepared::Prepared;

/// Failing schedules that are kept; after so many nothing new is learnt.
const MAX_FAILURES: usize = 10;

/// How often a watcher is told.
const TELL: Duration = Duration::from_millis(50);

/// What was run and found so far.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Schedules that ran to their end.
    pub schedules: u64,
    /// Sessions in them.
    pub sessions: u64,
    /// Sessions in which every caller had its result.
    pub succeeded: u64,
    /// The faults that fired.
    pub fired: Fired,
    /// Schedules in which something did not hold.
    pub failures: Vec<Report>,
    /// The longest time that a network took to sign after faults had ended.
    pub slowest_recovery: Duration,
    /// How long it took.
    pub took: Duration,
}

impl Summary {
    /// The kinds of fault that were asked for and never fired.
    pub fn never_fired(&self, asked: &BTreeSet<Fault>) -> Vec<Fault> {
        asked.iter().copied().filter(|fault| self.fired.of(*fault) == 0).collect()
    }

    fn add(&mut self, report: Report) {
        self.schedules += 1;
        self.sessions += report.sessions;
        self.succeeded += report.succeeded;
        self.fired.add(&report.fired);
        self.slowest_recovery = self.slowest_recovery.max(report.recovery);
        if !report.violations.is_empty() {
            self.failures.push(report);
        }
    }
}

/// Runs the schedules of these seeds on so many threads. `watch` is told now and then how far it is.
pub fn run(
    scenario: &Scenario,
    seeds: Range<u64>,
    threads: usize,
    mut watch: impl FnMut(&Summary),
) -> Summary {
    notice_panics();
    let started = Instant::now();
    let prepared = Arc::new(runtime().block_on(Prepared::make(scenario.nodes)));
    let summary = Mutex::new(Summary::default());
    let (next, stop) = (AtomicU64::new(seeds.start / LIFE), AtomicBool::new(false));
    let lives = seeds.end.div_ceil(LIFE);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let life = next.fetch_add(1, Ordering::Relaxed);
                        if life >= lives || stop.load(Ordering::Relaxed) {
                            return;
                        }
                        one_life(&prepared, scenario, life, &seeds, |report| {
                            let mut summary = lock(&summary);
                            summary.add(report);
                            stop.fetch_or(summary.failures.len() >= MAX_FAILURES, Ordering::Relaxed);
                            !stop.load(Ordering::Relaxed)
                        });
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            thread::sleep(TELL);
            watch(&lock(&summary));
        }
    });
    let mut summary = summary.into_inner().expect("no holder of this lock panics");
    summary.failures.sort_by_key(|report| report.seed);
    summary.took = started.elapsed();
    summary
}

/// Runs one schedule, and what comes before it in the same life.
pub fn replay(scenario: &Scenario, seed: u64) -> Report {
    notice_panics();
    let prepared = Arc::new(runtime().block_on(Prepared::make(scenario.nodes)));
    let mut last = Report::default();
    one_life(&prepared, scenario, seed / LIFE, &(seed..seed + 1), |report| {
        last = report;
        true
    });
    last
}

fn one_life(
    prepared: &Arc<Prepared>,
    scenario: &Scenario,
    life: u64,
    seeds: &Range<u64>,
    mut report: impl FnMut(Report) -> bool,
) {
    let wanted = seeds.start.max(life * LIFE)..seeds.end.min((life + 1) * LIFE);
    let mut last = wanted.start;
    let ended = panic::catch_unwind(AssertUnwindSafe(|| {
        runtime().block_on(life::live(prepared, scenario, life, wanted.clone(), |mut done| {
            done.violations.extend(panics());
            last = done.seed + 1;
            report(done)
        }));
    }));
    let panics = panics();
    if ended.is_err() || !panics.is_empty() {
        report(Report { seed: last, violations: panics, ..Report::default() });
    }
}

/// One thread, and a clock that moves when nothing else does.
fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O starts")
}

fn lock(summary: &Mutex<Summary>) -> MutexGuard<'_, Summary> {
    summary.lock().expect("no holder of this lock panics")
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A task that panics is dropped in silence: here it is noticed, in the thread of its life.
fn notice_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
}

fn panics() -> Vec<Violation> {
    PANICS.take().into_iter().map(|panic| Invariant::NoPanic.broken(panic)).collect()
}
