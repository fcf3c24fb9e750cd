//! The life of a network: a number of schedules one after the other, in one thread.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tsm_types::KeyId;
use tsm_types::request::KeyInfo;

use crate::caller::{Answered, Caller, Outcome};
use crate::faults::{Fault, Fired};
use crate::invariants::{self, Invariant, Session, Violation};
use crate::nodes::application;
use crate::plan::{Ask, Plan, Scenario, SessionPlan, Trouble, When};
use crate::prepared::Prepared;
use crate::timeline::Timeline;
use crate::world::{Fallen, World};

/// Schedules of one life. Processes go from one to the next as they are, so that what one leaves
/// behind meets the other, and the costly set-up of pairs is shared.
pub const LIFE: u64 = 20;

/// What is kept for a while is forgotten after this: early frames, links without a session.
const FORGET: Duration = Duration::from_secs(70);

/// In what time the network signs again once faults have ended: a set-up of a pair that lost a
/// frame is given up after 8 s, and what was under way is then made anew.
const RECOVERY: Duration = Duration::from_millis(9_500);

/// The same where no link kept silent about what it lost.
const QUICK_RECOVERY: Duration = Duration::from_millis(1_500);

/// What a schedule showed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The faults that fired.
    pub fired: Fired,
    /// What does not hold; empty if all is well.
    pub violations: Vec<Violation>,
    /// What happened.
    pub timeline: Timeline,
    /// Sessions in which every caller had its result, and all.
    pub succeeded: u64,
    /// How many sessions there were.
    pub sessions: u64,
    /// How long the network took to sign after faults had ended.
    pub recovery: Duration,
}

/// Runs a life up to a schedule, and reports from another on.
pub(crate) async fn live(
    prepared: &Arc<Prepared>,
    scenario: &Scenario,
    life: u64,
    wanted: Range<u64>,
    mut report: impl FnMut(Report) -> bool,
) {
    let (world, mut fallen) = World::start(prepared, life);
    let warm = Plan::quiet(scenario);
    world.begin(u64::MAX - life, &warm);
    let everybody: Vec<u16> = (0..scenario.nodes).collect();
    let warmed_up = sign(&world, &format!("warm-{life}"), &everybody, &prepared.key).await;
    sleep(FORGET).await;
    let base = tasks();
    for seed in life * LIFE..wanted.end {
        let mut done = schedule(&world, &mut fallen, scenario, seed, base).await;
        if let Err(wrong) = &warmed_up {
            let what = format!("the network does not sign before anything went wrong: {wrong}");
            done.violations.push(Invariant::NothingLost.broken(what));
        }
        let go_on = done.violations.is_empty();
        let told = if wanted.contains(&seed) || !go_on { report(done) } else { true };
        if !told || !go_on {
            break;
        }
    }
    let processes: Vec<_> = (0..scenario.nodes).filter_map(|player| world.process(player)).collect();
    for process in processes {
        process.node.stop().await;
    }
}

/// Tasks of the runtime that have not ended.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

async fn schedule(
    world: &Arc<World>,
    fallen: &mut UnboundedReceiver<Fallen>,
    scenario: &Scenario,
    seed: u64,
    base: usize,
) -> Report {
    let plan = Plan::draw(scenario, seed);
    world.begin(seed, &plan);
    let sessions = run(world, fallen, &plan, seed).await;
    world.heal();

    let key = &world.prepared.key;
    let healed = Instant::now();
    let mut violations = Vec::new();
    if let Err(wrong) = sign(world, &format!("s{seed}-last"), &plan.last_signers, key).await {
        let what = format!("the network does not sign after faults have ended: {wrong}");
        violations.push(Invariant::Recovery.broken(what));
    }
    let recovery = healed.elapsed();
    let fired = world.lock().fired.clone();
    let silent = [Fault::Loss, Fault::Partition, Fault::OneWay].iter().any(|kind| fired.of(*kind) > 0);
    let allowed = if silent { RECOVERY } else { QUICK_RECOVERY };
    if recovery > allowed {
        let what = format!("the network took {recovery:?} to sign after faults had ended");
        violations.push(Invariant::Recovery.broken(what));
    }
    for session in &sessions {
        violations.extend(session.violations(key, &fired));
    }
    violations.extend(keys_are_usable(world, seed, &sessions, &fired).await);
    sleep(FORGET).await;
    violations.extend(leftovers(world, base));

    let mut shared = world.lock();
    violations.append(&mut shared.violations);
    let worked = |session: &&Session| {
        let results = |answer: &Answered| {
            matches!(answer.outcome, Outcome::Signed(_) | Outcome::Key(_) | Outcome::Presigned(_))
        };
        session.answers.iter().all(results)
    };
    Report {
        seed,
        fired,
        violations,
        timeline: std::mem::take(&mut shared.timeline),
        succeeded: sessions.iter().filter(worked).count() as u64,
        sessions: sessions.len() as u64,
        recovery,
    }
}

/// Runs the callers and the troubles to their end, and starts again what dies.
async fn run(
    world: &Arc<World>,
    fallen: &mut UnboundedReceiver<Fallen>,
    plan: &Plan,
    seed: u64,
) -> Vec<Session> {
    let mut callers: JoinSet<(usize, Vec<Answered>)> = JoinSet::new();
    let mut others: JoinSet<()> = JoinSet::new();
    let jumps = plan.troubles.iter().map(|trouble| match trouble {
        Trouble::ClockJump(_, by) => *by,
        _ => Duration::ZERO,
    });
    let jumps = jumps.sum();
    let mut sessions = Vec::new();
    for (number, session) in plan.sessions.iter().enumerate() {
        let (id, message) = (format!("s{seed}-{number}"), format!("message {number} of {seed}").into_bytes());
        for (player, start) in session.players.iter().zip(&session.starts) {
            let of_me = |trouble: &Trouble| match *trouble {
                Trouble::HangUp(s, p, after) if (s, p) == (number, *player) => Some((true, after)),
                Trouble::Retry(s, p, after) if (s, p) == (number, *player) => Some((false, after)),
                _ => None,
            };
            let mine: Vec<(bool, Duration)> = plan.troubles.iter().filter_map(of_me).collect();
            let when = |leaves| mine.iter().find(|(kind, _)| *kind == leaves).map(|(_, after)| *after);
            let caller = Caller {
                world: world.clone(),
                id: id.clone(),
                session: session.clone(),
                player: *player,
                key_id: world.prepared.key.key_id.clone(),
                digest: invariants::digest(&message),
                start: *start,
                hang_up: when(true),
                retry: when(false),
                jumps,
            };
            callers.spawn(async move { (number, caller.run().await) });
        }
        sessions.push(Session { id, plan: session.clone(), message, answers: Vec::new() });
    }
    for trouble in plan.troubles.clone() {
        others.spawn(befall(world.clone(), trouble));
    }
    let until = plan.until;
    others.spawn(sleep(until));
    loop {
        tokio::select! {
            biased;
            Some(process) = fallen.recv() => {
                others.spawn(start_again(world.clone(), process));
            }
            Some(answers) = callers.join_next() => match answers {
                Ok((session, answers)) => sessions[session].answers.extend(answers),
                Err(error) => {
                    world.lock().broken(Invariant::NoPanic, format!("a call panicked: {error}"));
                }
            },
            Some(_) = others.join_next() => {}
            else => break,
        }
        if callers.is_empty() && others.is_empty() && fallen.is_empty() {
            break;
        }
    }
    for session in &mut sessions {
        session.answers.sort_by_key(|answer| answer.player);
    }
    sessions
}

/// One of the troubles that have their time.
async fn befall(world: Arc<World>, trouble: Trouble) {
    match trouble {
        Trouble::Break(player, at, long) => {
            sleep(at).await;
            break_links(&world, &[player], long, Fault::LinkBreak).await;
        }
        Trouble::Blackout(at, long) => {
            sleep(at).await;
            let everybody: Vec<u16> = (0..world.prepared.nodes()).collect();
            break_links(&world, &everybody, long, Fault::Blackout).await;
        }
        Trouble::Crash(player, When::Frame(number), down_for) => world.doom(player, Some(number), down_for),
        Trouble::Crash(player, When::At(at), down_for) => {
            world.doom(player, None, down_for);
            sleep(at).await;
            world.crash(player, Fault::Crash);
        }
        Trouble::Rollback(player, at, down_for) => {
            world.doom(player, None, down_for);
            sleep(at).await;
            world.crash(player, Fault::Rollback);
        }
        Trouble::Write(player, number, fault, down_for) => {
            world.doom(player, None, down_for);
            if let Some(process) = world.process(player) {
                process.disk.plan(number, fault);
            }
        }
        Trouble::DiskFull(player, at, long) => {
            sleep(at).await;
            let Some(process) = world.process(player) else { return };
            process.disk.set_full(true);
            sleep(long).await;
            process.disk.set_full(false);
        }
        Trouble::ClockJump(at, by) => {
            sleep(at).await;
            world.lock().fault(None, Fault::ClockJump, &format!("all clocks jump by {by:?}"));
            tokio::time::advance(by).await;
        }
        Trouble::Frames(..)
        | Trouble::Partition(_)
        | Trouble::OneWay(..)
        | Trouble::SlowLink(..)
        | Trouble::HangUp(..)
        | Trouble::Retry(..) => {}
    }
}

async fn break_links(world: &Arc<World>, players: &[u16], long: Duration, fault: Fault) {
    let up = players
        .iter()
        .any(|player| world.process(*player).is_some_and(|process| process.node.metrics().links.up > 0));
    if !up {
        return;
    }
    let victim = if players.len() == 1 { players.first().copied() } else { None };
    world.lock().fault(victim, fault, "links break");
    for player in players {
        world.links.disconnect(world.prepared.key_of(*player));
    }
    sleep(long).await;
    world.lock().at(victim, "links may come back", false);
    for player in players {
        // A process that has died in the meantime has no link to come back.
        if world.process(*player).is_some() {
            world.links.reconnect(world.prepared.key_of(*player));
        }
    }
}

/// What is left of a process goes, and its successor starts on the same database.
async fn start_again(world: Arc<World>, fallen: Fallen) {
    let Fallen { player, node, down_for, rollback } = fallen;
    node.stop().await;
    drop(node);
    if let Some(snapshot) = rollback {
        world.memory(player).restore(&snapshot);
        world.lock().at(Some(player), "the database is put back to what it was before", false);
    }
    sleep(down_for).await;
    world.start_process(player);
}

/// One signature in a session without troubles; all of `signers` must have their part.
async fn sign(world: &Arc<World>, id: &str, signers: &[u16], key: &KeyInfo) -> Result<(), String> {
    let message = id.as_bytes().to_vec();
    let mut calls = JoinSet::new();
    for player in signers {
        let session = SessionPlan {
            ask: Ask::Sign,
            players: signers.to_vec(),
            starts: Vec::new(),
            connect: Duration::from_secs(10),
            total: Duration::from_secs(60),
        };
        let caller = Caller {
            world: world.clone(),
            id: id.to_owned(),
            session,
            player: *player,
            key_id: key.key_id.clone(),
            digest: invariants::digest(&message),
            start: Duration::ZERO,
            hang_up: None,
            retry: None,
            jumps: Duration::ZERO,
        };
        calls.spawn(caller.run());
    }
    let mut parts = Vec::new();
    while let Some(answers) = calls.join_next().await {
        for answer in answers.map_err(|error| format!("a call panicked: {error}"))? {
            match answer.outcome {
                Outcome::Signed(part) => parts.push((answer.player, part)),
                Outcome::Failed(failure) => {
                    return Err(format!("player {} of {signers:?}: {failure}", answer.player));
                }
                other => return Err(format!("player {} of {signers:?}: {other:?}", answer.player)),
            }
        }
    }
    parts.sort();
    let parts: Vec<&[u8]> = parts.iter().map(|(_, part)| part.as_slice()).collect();
    invariants::signature_is_right(key, &message, &parts)
}

/// A key that a caller was told of is there and signs at every holder; one that nobody was told of is
/// there at all or at none.
async fn keys_are_usable(
    world: &Arc<World>,
    seed: u64,
    sessions: &[Session],
    fired: &Fired,
) -> Vec<Violation> {
    let nodes = world.prepared.nodes();
    let mut found = Vec::new();
    let mut unusable = |what| found.push(Invariant::Keys.broken(what));
    if sessions.iter().all(|session| session.plan.ask != Ask::Generate) {
        return found;
    }
    let mut told: Vec<&KeyInfo> = sessions.iter().flat_map(Session::keys).collect();
    told.dedup_by_key(|key| key.key_id.clone());
    // Whoever has the key brings the certificate to who missed it.
    let mut seen: Vec<Vec<KeyId>> = keys_at(world, nodes).await;
    // A database that was put back does not have what came after.
    let rolled_back = fired.of(Fault::Rollback) > 0;
    for key in &told {
        if rolled_back && seen.iter().any(|keys| !keys.contains(&key.key_id)) {
            continue;
        }
        for first in 0..nodes {
            let signers = {
                let mut two = [first, (first + 1) % nodes];
                two.sort_unstable();
                two
            };
            let id = format!("s{seed}-use-{}-{first}", key.key_id);
            if let Err(wrong) = sign(world, &id, &signers, key).await {
                unusable(format!("key {} was reported and cannot be used: {wrong}", key.key_id));
            }
        }
    }
    seen = keys_at(world, nodes).await;
    let everywhere = |id: &KeyId| seen.iter().all(|keys| keys.contains(id));
    let partly: BTreeSet<KeyId> = seen.iter().flatten().filter(|id| !everywhere(id)).cloned().collect();
    let mut shared = world.lock();
    if rolled_back {
        shared.rolled_back.extend(partly);
        return found;
    }
    for key in told.iter().filter(|key| !everywhere(&key.key_id)) {
        unusable(format!("key {} was reported and is not everywhere: {seen:?}", key.key_id));
    }
    let missing: Vec<&KeyId> = partly.difference(&shared.rolled_back).collect();
    if !missing.is_empty() {
        unusable(format!("keys are at some nodes only: {missing:?}"));
    }
    found
}

async fn keys_at(world: &Arc<World>, nodes: u16) -> Vec<Vec<KeyId>> {
    let mut seen = Vec::new();
    for player in 0..nodes {
        let Some(process) = world.process(player) else { continue };
        match process.node.list_keys(&application()).await {
            Ok(keys) => seen.push(keys),
            Err(failure) => {
                let what = format!("player {player} cannot list its keys: {failure}");
                world.lock().broken(Invariant::Keys, what);
            }
        }
    }
    seen
}

/// Nothing of the schedule is left in any process.
fn leftovers(world: &Arc<World>, base: usize) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut left = |what| found.push(Invariant::NothingLeft.broken(what));
    let nodes = world.prepared.nodes();
    for player in 0..nodes {
        let Some(process) = world.process(player) else {
            left(format!("player {player} is not running"));
            continue;
        };
        let metrics = process.node.metrics();
        let peers = u64::from(nodes) - 1;
        let now = [
            ("sessions run", metrics.live_sessions, 0),
            ("early frames wait", metrics.waiting_frames, 0),
            ("set-ups of pairs run", metrics.live_pair_set_ups, 0),
            ("pairs are held", metrics.pairs, peers),
            ("links are up", metrics.links.up, peers),
        ];
        for (what, number, most) in now {
            if number > most {
                left(format!("player {player}: {number} {what} after everything has ended"));
            }
        }
        if metrics.unreadable_frames > 0 {
            left(format!("player {player} could not read {} frames", metrics.unreadable_frames));
        }
    }
    let now = tasks();
    if now > base {
        left(format!("{now} tasks run after everything has ended, {base} before"));
    }
    found
}
