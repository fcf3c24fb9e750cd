//! Very many sessions with one server, a tenth of them with phones and callers that fail, and whether
//! the server's memory stays flat: `soak [SESSIONS [WORKERS]]`, 2000 and 32 by default.
//!
//! Of 40 sessions one phone vanishes in the middle and starts again, one phone's caller leaves, one
//! server's caller leaves, and one server's caller names another phone's key. Every hundredth makes a
//! key. Ends with 1 if the memory of the last quarter is more than a tenth and 4 MiB above that of the
//! second, if anything is left running, if an honest session failed, or if the callers of one that
//! fails were told late.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tsm_network_benches::fleet::{self, Held, Phone, SERVE, Server, Told, quantile};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, folder] = &arguments[..]
        && first == SERVE
    {
        fleet::serve(Path::new(folder)).expect("the server runs");
        return ExitCode::SUCCESS;
    }
    let number = |at: usize, default| arguments.get(at).map_or(Some(default), |text| text.parse().ok());
    let (Some(sessions), Some(workers @ 1..)) = (number(0, 2000), number(1, 32)) else {
        eprintln!("usage: soak [SESSIONS [WORKERS]]");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    if runtime.block_on(soak(sessions, workers)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What happened so far.
#[derive(Default)]
struct Count {
    done: AtomicU64,
    /// Sessions that failed as they should, or were done before the failure came.
    spoiled: AtomicU64,
    /// Honest sessions that failed.
    bad: AtomicU64,
    /// Honest sessions that were told to try again, because a pair's state was being made anew.
    again: AtomicU64,
    keys: AtomicU64,
    /// Of sessions that failed, what the slowest took until both callers knew.
    slowest_micros: AtomicU64,
}

/// How long the callers of a session that fails wait for the other side to come.
const IMPATIENT: Duration = Duration::from_secs(1);

/// And after how long they must know: a link that broke is waited for for 2 s, the rest is for a crowded
/// machine.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

async fn soak(sessions: u64, workers: u64) -> bool {
    let server = Arc::new(Server::start().await.expect("the server starts"));
    let count = Arc::new(Count::default());
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for worker in 0..workers {
        running.spawn(work(worker, workers, sessions, server.clone(), count.clone()));
    }
    println!(
        "{:>9} {:>9} {:>9} {:>7} {:>7} {:>7} {:>7}",
        "sessions", "per s", "KiB", "running", "waiting", "pairs", "failed"
    );
    let step = (sessions / 40).max(1);
    let (mut samples, mut next) = (Vec::new(), step);
    while running.try_join_next().is_some() || !running.is_empty() {
        let done = count.done.load(Ordering::Relaxed);
        if done >= next {
            let held = server.held().await;
            row(done, begun, held, &count);
            samples.push((done, held.resident_kib));
            next = (done / step + 1) * step;
        }
        sleep(Duration::from_millis(20)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    // What phones sent for sessions that nobody opened is dropped after a minute.
    let until = Instant::now() + Duration::from_secs(70);
    let mut held = server.held().await;
    while held.sessions + held.waiting_frames + held.set_ups > 0 && Instant::now() < until {
        sleep(Duration::from_secs(1)).await;
        held = server.held().await;
    }
    row(count.done.load(Ordering::Relaxed), begun, held, &count);
    verdict(sessions, seconds, &samples, held, &count)
}

fn row(done: u64, begun: Instant, held: Held, count: &Count) {
    println!(
        "{done:>9} {:>9.0} {:>9} {:>7} {:>7} {:>7} {:>7}",
        done as f64 / begun.elapsed().as_secs_f64(),
        held.resident_kib,
        held.sessions,
        held.waiting_frames,
        held.pairs,
        count.spoiled.load(Ordering::Relaxed),
    );
}

fn verdict(sessions: u64, seconds: f64, samples: &[(u64, u64)], held: Held, count: &Count) -> bool {
    let median = |from: u64, to: u64| {
        let inside = samples.iter().filter(|(done, _)| (from..to).contains(done));
        let mut kib: Vec<u64> = inside.map(|(_, kib)| *kib).collect();
        kib.sort_unstable();
        quantile(&kib, 1, 2)
    };
    let (second, last) = (median(sessions / 4, sessions / 2), median(sessions * 3 / 4, u64::MAX));
    let flat = last <= second + second / 10 + 4096;
    let empty = held.sessions + held.waiting_frames + held.set_ups == 0;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let line = serde_json::json!({
        "program": "soak", "sessions": read(&count.done), "spoiled": read(&count.spoiled), "keys": read(&count.keys),
        "honest_failed": read(&count.bad), "slowest_failure_ms": read(&count.slowest_micros) / 1000,
        "told_to_try_again": read(&count.again), "seconds": seconds,
        "sessions_per_second": read(&count.done) as f64 / seconds, "second_quarter_kib": second, "last_quarter_kib": last,
        "flat": flat, "nothing_left": empty,
    });
    println!("{line}");
    let in_time = Duration::from_micros(read(&count.slowest_micros)) <= TOLD_WITHIN;
    flat && empty && in_time && read(&count.bad) == 0
}

/// One phone's life: every `workers`th session is its own.
async fn work(worker: u64, workers: u64, sessions: u64, server: Arc<Server>, count: Arc<Count>) {
    let mut phone = Phone::start(worker + 1, &server).await;
    let stranger = Phone::start(1_000_000 + worker, &server).await;
    let (mut key_id, _) = phone.make_key(&server, &format!("first-{worker}")).await;
    for number in (worker..sessions).step_by(usize::try_from(workers).unwrap_or(1)) {
        let session = format!("run-{number}");
        let begun = Instant::now();
        // By the phone's own count, so that every phone fails in every way.
        match (number / workers) % 40 {
            7 => vanish(&mut phone, &server, &session, &key_id, number).await,
            17 => drop(tokio::join!(
                timeout(some_micros(number), phone.sign(&session, &key_id, IMPATIENT)),
                server.sign(&session, &phone.key, &key_id, IMPATIENT, None),
            )),
            27 => drop(tokio::join!(
                phone.sign(&session, &key_id, IMPATIENT),
                server.sign(&session, &phone.key, &key_id, IMPATIENT, Some(some_micros(number))),
            )),
            37 => {
                let (mine, theirs) = tokio::join!(
                    phone.sign(&session, &key_id, IMPATIENT),
                    server.sign(&session, &stranger.key, &key_id, IMPATIENT, None)
                );
                let refused = matches!(&theirs.told, Told::Failed(code, players) if code == "key.other_holder" && players[..] == [1]);
                if mine.is_ok() || !refused {
                    bad(&count, &session, &format!("another's key: {theirs:?}"));
                }
            }
            _ => {
                if number % 100 == 50 {
                    (key_id, _) = phone.make_key(&server, &session).await;
                    count.keys.fetch_add(1, Ordering::Relaxed);
                } else {
                    honest(&phone, &server, &session, &key_id, &count).await;
                }
                count.done.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        }
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        count.slowest_micros.fetch_max(micros, Ordering::Relaxed);
        count.spoiled.fetch_add(1, Ordering::Relaxed);
        count.done.fetch_add(1, Ordering::Relaxed);
    }
    phone.vanish().await;
}

async fn honest(phone: &Phone, server: &Server, session: &str, key_id: &str, count: &Count) {
    let mut result = phone.make_signature(server, session, key_id).await;
    if result.as_ref().is_err_and(|told| told.contains("pair.renewed")) {
        count.again.fetch_add(1, Ordering::Relaxed);
        result = phone.make_signature(server, &format!("{session}-again"), key_id).await;
    }
    if let Err(told) = result {
        bad(count, session, &told);
    }
}

fn bad(count: &Count, session: &str, told: &str) {
    count.bad.fetch_add(1, Ordering::Relaxed);
    println!("{session}: {told}");
}

/// Anywhere in a signature.
fn some_micros(number: u64) -> Duration {
    Duration::from_micros(number * 7 % 9000)
}

/// The phone is gone after some microseconds of a session, and then there again.
async fn vanish(phone: &mut Phone, server: &Server, session: &str, key_id: &str, number: u64) {
    let gone = async {
        tokio::select! {
            _ = phone.sign(session, key_id, IMPATIENT) => {}
            () = sleep(some_micros(number)) => phone.vanish().await,
        }
    };
    tokio::join!(gone, server.sign(session, &phone.key, key_id, IMPATIENT, None));
    phone.restart().await;
}
