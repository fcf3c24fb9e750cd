//! A network that lives: its processes, its databases, and the hand on its frames.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tsm_node::{Node, Settings};
use tsm_storage::Memory;
use tsm_storage::memory::Snapshot;
use tsm_transport::memory::{Delivery, Frame, MemoryNetwork};
use tsm_types::{KeyId, Operation, PlayerIndex, PlayerKey, SessionTag};

use crate::disk::Disk;
use crate::faults::{Fault, Fired};
use crate::frames;
use crate::invariants::{Invariant, Violation};
use crate::nodes;
use crate::once::Once;
use crate::plan::{Dice, Plan, Trouble};
use crate::prepared::Prepared;
use crate::timeline::{Event, Saying, Timeline};

/// A network through a number of schedules.
pub(crate) struct World {
    pub(crate) links: MemoryNetwork,
    pub(crate) prepared: Arc<Prepared>,
    life: u64,
    fallen: mpsc::UnboundedSender<Fallen>,
    shared: Mutex<Shared>,
}

/// A process that has died and is to be started again.
pub(crate) struct Fallen {
    pub(crate) player: u16,
    /// What is left of it: it reaches nobody and nothing any more.
    pub(crate) node: Node,
    pub(crate) down_for: Duration,
    /// What its database is put back to.
    pub(crate) rollback: Option<Snapshot>,
}

/// What changes.
pub(crate) struct Shared {
    seats: Vec<Seat>,
    players: BTreeMap<PlayerKey, u16>,
    started: Instant,
    plan: Option<Plan>,
    dice: Dice,
    /// By sender and receiver: until when frames are held up, and when a frame arrives that may be
    /// overtaken.
    held: BTreeMap<(u16, u16), Instant>,
    late: BTreeMap<(u16, u16), Instant>,
    sessions: BTreeMap<SessionTag, (String, Operation)>,
    once: Once,
    pub(crate) fired: Fired,
    pub(crate) timeline: Timeline,
    pub(crate) violations: Vec<Violation>,
    /// Keys that a database which was put back does not have.
    pub(crate) rolled_back: BTreeSet<KeyId>,
}

struct Seat {
    memory: Memory,
    process: Option<Process>,
    starts: u64,
    down_for: Duration,
    /// It dies with the frame of this number from now.
    dies_with_frame: Option<u32>,
    earlier: Snapshot,
}

/// A running process.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) disk: Disk,
    /// Cancelled when it dies.
    pub(crate) down: CancellationToken,
    /// Which of the player's processes it is.
    pub(crate) number: u64,
}

impl World {
    /// Starts all nodes on the prepared databases.
    pub(crate) fn start(
        prepared: &Arc<Prepared>,
        life: u64,
    ) -> (Arc<World>, mpsc::UnboundedReceiver<Fallen>) {
        let (fallen, receiver) = mpsc::unbounded_channel();
        let seat = |snapshot: &Snapshot| {
            let memory = Memory::new();
            memory.restore(snapshot);
            let earlier = snapshot.clone();
            let down_for = Duration::ZERO;
            Seat { memory, process: None, starts: 0, down_for, dies_with_frame: None, earlier }
        };
        let players =
            prepared.identities.iter().map(|(player, identity)| (identity.public().clone(), *player));
        let shared = Shared {
            seats: prepared.snapshots.iter().map(seat).collect(),
            players: players.collect(),
            started: Instant::now(),
            plan: None,
            dice: Dice::new(life),
            held: BTreeMap::new(),
            late: BTreeMap::new(),
            sessions: BTreeMap::new(),
            once: Once::default(),
            fired: Fired::default(),
            timeline: Timeline::default(),
            violations: Vec::new(),
            rolled_back: BTreeSet::new(),
        };
        let world = Arc::new(World {
            links: MemoryNetwork::new(),
            prepared: prepared.clone(),
            life,
            fallen,
            shared: Mutex::new(shared),
        });
        for player in 0..prepared.nodes() {
            world.start_process(player);
        }
        let hand: Weak<World> = Arc::downgrade(&world);
        world.links.set_tamper(Box::new(move |frame| match hand.upgrade() {
            Some(world) => world.pass(frame),
            None => Vec::new(),
        }));
        (world, receiver)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no holder of this lock panics")
    }

    /// A player's running process.
    pub(crate) fn process(&self, player: u16) -> Option<Process> {
        self.lock().seats[usize::from(player)].process.clone()
    }

    /// A player's database.
    pub(crate) fn memory(&self, player: u16) -> Memory {
        self.lock().seats[usize::from(player)].memory.clone()
    }

    /// Begins a schedule: from now on its troubles befall the network.
    pub(crate) fn begin(&self, seed: u64, plan: &Plan) {
        let mut shared = self.lock();
        shared.started = Instant::now();
        shared.dice = Dice::new(!seed);
        shared.fired = Fired::default();
        shared.timeline = Timeline { players: self.prepared.nodes(), events: Vec::new() };
        for seat in &mut shared.seats {
            seat.earlier = seat.memory.snapshot();
        }
        shared.plan = Some(plan.clone());
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        let mut shared = self.lock();
        shared.plan = shared.plan.take().map(|plan| Plan { troubles: Vec::new(), ..plan });
        shared.held.clear();
        for seat in &mut shared.seats {
            seat.dies_with_frame = None;
            if let Some(process) = &seat.process {
                process.disk.heal();
            }
        }
        shared.at(None, "faults end", false);
    }

    /// A player's process is to die with its nth frame from now, or whenever something makes it; it
    /// comes back after a while.
    pub(crate) fn doom(&self, player: u16, frame: Option<u32>, down_for: Duration) {
        let mut shared = self.lock();
        let seat = &mut shared.seats[usize::from(player)];
        (seat.dies_with_frame, seat.down_for) = (frame, down_for);
    }

    /// The process dies without a word.
    pub(crate) fn crash(&self, player: u16, fault: Fault) {
        let mut shared = self.lock();
        let seat = &mut shared.seats[usize::from(player)];
        let Some(process) = seat.process.take() else { return };
        seat.dies_with_frame = None;
        process.disk.cut(fault == Fault::PowerLoss);
        let rollback = (fault == Fault::Rollback).then(|| seat.earlier.clone());
        let down_for = seat.down_for;
        shared.fault(Some(player), fault, "the process dies");
        drop(shared);
        self.links.disconnect(self.prepared.key_of(player));
        process.down.cancel();
        // The receiver lives as long as the life does.
        let _ = self.fallen.send(Fallen { player, node: process.node, down_for, rollback });
    }

    /// Starts a player's process on what its database holds.
    pub(crate) fn start_process(self: &Arc<Self>, player: u16) {
        let (memory, number) = {
            let mut shared = self.lock();
            let seat = &mut shared.seats[usize::from(player)];
            seat.starts += 1;
            let started = (seat.memory.clone(), seat.starts);
            shared.at(Some(player), "the process starts", false);
            started
        };
        let disk = Disk::new(player, memory, Arc::downgrade(self));
        let others = self.prepared.identities.iter().filter(|(other, _)| **other != player);
        // Player 0 is dynamic at all others.
        let others = others.filter(|(other, _)| **other != 0);
        let configured = others
            .map(|(other, identity)| (PlayerIndex(*other), nodes::static_player(*other, identity, true)));
        let node = nodes::start(
            &self.links,
            player,
            &self.prepared.identities[&player],
            configured.collect(),
            self.prepared.sealed[usize::from(player)].over(Arc::new(disk.clone())),
            Settings::default(),
            (self.life << 24) ^ (u64::from(player) << 16) ^ number,
        );
        let process = Process { node, disk, down: CancellationToken::new(), number };
        self.lock().seats[usize::from(player)].process = Some(process);
    }

    /// Decides on a frame.
    fn pass(&self, frame: &Frame) -> Vec<Delivery> {
        let (deliveries, dies) = self.lock().pass(frame);
        if let Some(player) = dies {
            self.crash(player, Fault::Crash);
        }
        deliveries
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes something that happened.
    pub(crate) fn at(&mut self, player: Option<u16>, what: impl Into<String>, fault: bool) {
        let now = self.now();
        self.timeline.events.push((now, Event::At { player, what: what.into(), fault }));
    }

    /// Notes something that does not hold.
    pub(crate) fn broken(&mut self, invariant: Invariant, what: String) {
        self.violations.push(invariant.broken(what));
    }

    /// Notes a fault that fired.
    pub(crate) fn fault(&mut self, player: Option<u16>, fault: Fault, what: &str) {
        self.fired.count(fault);
        self.at(player, format!("{what} ({fault})"), true);
    }

    pub(crate) fn store_fault(&mut self, player: u16, fault: Fault) {
        self.fault(Some(player), fault, "a write to the database fails");
    }

    /// What becomes of a frame, and whether its sender dies with it.
    fn pass(&mut self, frame: &Frame) -> (Vec<Delivery>, Option<u16>) {
        let (Some(from), Some(to)) =
            (self.players.get(&frame.from).copied(), self.players.get(&frame.to).copied())
        else {
            return (vec![Delivery::at_once(frame.bytes.clone())], None);
        };
        let what = self.saying(&frame.bytes);
        self.look(from, to, &frame.bytes);
        let (arrives, faults) = self.arrivals(from, to);
        let deliveries = arrives.iter().map(|after| Delivery { after: *after, bytes: frame.bytes.clone() });
        let deliveries = deliveries.collect();
        let event = Event::Frame {
            from,
            to,
            what,
            bytes: frame.bytes.len(),
            digest: digest(&frame.bytes),
            arrives,
            faults,
        };
        let now = self.now();
        self.timeline.events.push((now, event));
        let seat = &mut self.seats[usize::from(from)];
        let dies = match &mut seat.dies_with_frame {
            Some(1) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        (deliveries, dies.then_some(from))
    }

    /// When a frame that is sent now arrives, and what befalls it.
    fn arrivals(&mut self, from: u16, to: u16) -> (Vec<Duration>, Vec<Fault>) {
        let Some(plan) = &self.plan else { return (vec![Duration::from_millis(1)], Vec::new()) };
        let (now, nodes) = (Instant::now(), self.seats.len());
        let since = self.started.elapsed();
        let active = since >= plan.from && since < plan.until;
        let latency = plan.latencies[usize::from(from) * nodes + usize::from(to)];
        let way = (from, to);
        let (mut lost, mut faults, mut extra) = (false, Vec::new(), Duration::ZERO);
        let (mut overtaken, mut again) = (None, None);
        for trouble in plan.troubles.iter().filter(|_| active) {
            match *trouble {
                Trouble::Frames(fault, chance) => {
                    if !self.dice.percent(chance) {
                        continue;
                    }
                    match fault {
                        Fault::Loss => lost = true,
                        Fault::Repeat => again = Some(self.dice.millis(0, 500)),
                        Fault::Reorder => {
                            overtaken = Some(self.dice.millis(1, 100));
                            // It counts when it was overtaken.
                            continue;
                        }
                        _ => extra += self.dice.millis(10, 400),
                    }
                    faults.push(fault);
                }
                Trouble::Partition(victim) if (from == victim) != (to == victim) => {
                    lost = true;
                    faults.push(Fault::Partition);
                }
                Trouble::OneWay(a, b) if way == (a, b) => {
                    lost = true;
                    faults.push(Fault::OneWay);
                }
                Trouble::SlowLink(a, b, by) if way == (a, b) || way == (b, a) => {
                    extra += by;
                    faults.push(Fault::SlowLink);
                }
                _ => {}
            }
        }
        faults.iter().for_each(|fault| self.fired.count(*fault));
        if lost {
            return (Vec::new(), faults);
        }
        // In order, unless it is overtaken.
        let due = (now + latency + extra).max(self.held.get(&way).copied().unwrap_or(now));
        if self.late.get(&way).is_some_and(|late| *late > due) {
            self.late.remove(&way);
            self.fired.count(Fault::Reorder);
            faults.push(Fault::Reorder);
        }
        let due = match overtaken {
            Some(by) => {
                self.late.insert(way, due + by);
                due + by
            }
            None => {
                self.held.insert(way, due);
                due
            }
        };
        let first = due - now;
        let second = again.map(|again| first + again);
        ([Some(first), second].into_iter().flatten().collect(), faults)
    }

    fn saying(&mut self, bytes: &[u8]) -> Saying {
        if let Some(session) = frames::opened(bytes) {
            let name = short(session.id.as_str());
            self.sessions.insert(session.tag(), (name.clone(), session.operation));
            return Saying::Open(name);
        }
        if let Some((tag, phase, round)) = frames::round(bytes) {
            return Saying::Round(self.name_of(&tag), phase, round);
        }
        if let Some((id, code)) = frames::ended(bytes) {
            return Saying::End(short(&id), code);
        }
        Saying::Other(frames::kind(bytes))
    }

    fn name_of(&self, tag: &SessionTag) -> String {
        self.sessions.get(tag).map_or_else(|| tag.to_string(), |(name, _)| name.clone())
    }

    /// Nothing that may be used once is used twice.
    fn look(&mut self, from: u16, to: u16, bytes: &[u8]) {
        let Some((tag, _, _)) = frames::round(bytes) else { return };
        let Some((_, operation)) = self.sessions.get(&tag) else { return };
        let owner = (tag, from, self.seats[usize::from(from)].starts);
        let found = self.once.look(operation, owner, to, bytes);
        if let Some(what) = found {
            self.broken(Invariant::Once, what);
        }
    }
}

/// Of the long random names of set-ups the beginning is enough.
fn short(name: &str) -> String {
    name.chars().take(16).collect()
}

/// FNV-1a over the first bytes.
fn digest(bytes: &[u8]) -> u32 {
    bytes.iter().take(160).fold(0x811c_9dc5 ^ bytes.len() as u32, |state, byte| {
        (state ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
