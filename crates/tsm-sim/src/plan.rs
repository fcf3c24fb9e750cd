//! What a seed says is to happen: who asks for what, and what goes wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use rand_core::Rng;
use tsm_crypto::hedged::test_rng;

use crate::disk::WriteFault;
use crate::faults::Fault;

/// What callers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Signatures with one key.
    Sign,
    /// Keys.
    Keygen,
    /// Keys, signatures and presignatures.
    Mixed,
}

impl Workload {
    /// Every workload.
    pub const ALL: [Workload; 3] = [Workload::Sign, Workload::Keygen, Workload::Mixed];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Sign => "sign",
            Workload::Keygen => "keygen",
            Workload::Mixed => "mixed",
        }
    }

    /// The faults that it can meet.
    pub fn faults(self) -> BTreeSet<Fault> {
        let stores = self != Workload::Sign;
        Fault::ALL.into_iter().filter(|fault| stores || !fault.needs_writes()).collect()
    }
}

/// What all schedules of a run have in common.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Players, 2 to 8. Any two of them can sign.
    pub nodes: u16,
    /// What callers ask for.
    pub workload: Workload,
    /// What may go wrong.
    pub faults: BTreeSet<Fault>,
}

/// What callers ask for in one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Sign,
    Generate,
    /// Presignatures, and then a signature with one of them.
    Presign,
}

/// One session.
#[derive(Clone, Debug)]
pub(crate) struct SessionPlan {
    pub(crate) ask: Ask,
    pub(crate) players: Vec<u16>,
    /// When each player's caller asks.
    pub(crate) starts: Vec<Duration>,
    pub(crate) connect: Duration,
    pub(crate) total: Duration,
}

/// When a process dies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    At(Duration),
    /// When it sends its nth frame from now.
    Frame(u32),
}

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Of a hundred frames so many are hit, for as long as the trouble lasts.
    Frames(Fault, u32),
    Partition(u16),
    OneWay(u16, u16),
    SlowLink(u16, u16, Duration),
    Break(u16, Duration, Duration),
    Blackout(Duration, Duration),
    Crash(u16, When, Duration),
    Rollback(u16, Duration, Duration),
    Write(u16, u64, WriteFault, Duration),
    DiskFull(u16, Duration, Duration),
    ClockJump(Duration, Duration),
    HangUp(usize, u16, Duration),
    Retry(usize, u16, Duration),
}

/// One schedule.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) sessions: Vec<SessionPlan>,
    pub(crate) troubles: Vec<Trouble>,
    /// From when to when frames are hit and partitions stand.
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    /// How long a frame takes, by sender and receiver.
    pub(crate) latencies: Vec<Duration>,
    /// Signers of the signature that must work afterwards, if not all.
    pub(crate) last_signers: Vec<u16>,
}

/// Draws from a seed.
pub(crate) struct Dice(Box<dyn Rng + Send>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(Box::new(test_rng(seed)))
    }

    /// `least..=most`.
    pub(crate) fn number(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.next_u64() % (most - least + 1)
    }

    pub(crate) fn percent(&mut self, chance: u32) -> bool {
        self.number(0, 99) < u64::from(chance)
    }

    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.number(least, most))
    }

    fn player(&mut self, nodes: u16) -> u16 {
        u16::try_from(self.number(0, u64::from(nodes) - 1)).expect("a player's number is small")
    }

    fn other(&mut self, nodes: u16, than: u16) -> u16 {
        (than + 1 + self.player(nodes - 1)) % nodes
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[usize::try_from(self.number(0, items.len() as u64 - 1)).expect("a place in a short list")]
    }

    /// At least `least` of the players.
    fn players(&mut self, nodes: u16, least: usize) -> Vec<u16> {
        loop {
            let chosen: Vec<u16> = (0..nodes).filter(|_| self.percent(70)).collect();
            if chosen.len() >= least {
                return chosen;
            }
        }
    }
}

impl Plan {
    /// What this seed says.
    pub(crate) fn draw(scenario: &Scenario, seed: u64) -> Plan {
        let mut dice = Dice::new(seed);
        let nodes = scenario.nodes;
        let sessions: Vec<SessionPlan> =
            (0..dice.number(1, 2)).map(|_| session(&mut dice, scenario)).collect();
        let available: Vec<Fault> = scenario.faults.iter().copied().collect();
        let number = if available.is_empty() || dice.percent(4) { 0 } else { dice.number(1, 3) };
        let kinds: BTreeSet<Fault> = (0..number).map(|_| dice.one_of(&available)).collect();
        let from = dice.millis(0, 60);
        let until = from + dice.one_of(&[60, 250, 1500, 5000].map(Duration::from_millis));
        let troubles = kinds.into_iter().map(|kind| trouble(&mut dice, nodes, &sessions, kind)).collect();
        let pairs = usize::from(nodes) * usize::from(nodes);
        let latencies = (0..pairs).map(|_| dice.millis(1, 20)).collect();
        let last_signers = dice.players(nodes, 2);
        Plan { sessions, troubles, from, until, latencies, last_signers }
    }
}

fn session(dice: &mut Dice, scenario: &Scenario) -> SessionPlan {
    let ask = match scenario.workload {
        Workload::Sign => Ask::Sign,
        Workload::Keygen => Ask::Generate,
        Workload::Mixed => dice.one_of(&[Ask::Sign, Ask::Generate, Ask::Presign]),
    };
    let players = match ask {
        Ask::Sign | Ask::Presign => dice.players(scenario.nodes, 2),
        Ask::Generate => (0..scenario.nodes).collect(),
    };
    let slow = if dice.percent(15) { 2500 } else { 60 };
    let starts = players.iter().map(|_| dice.millis(0, slow)).collect();
    SessionPlan {
        ask,
        starts,
        players,
        connect: dice.millis(4_000, 10_000),
        total: dice.millis(12_000, 40_000),
    }
}

fn trouble(dice: &mut Dice, nodes: u16, sessions: &[SessionPlan], kind: Fault) -> Trouble {
    let victim = dice.player(nodes);
    let soon = dice.millis(0, 200);
    let away = dice.millis(20, 4_000);
    let caller = |dice: &mut Dice| {
        let session = dice.number(0, sessions.len() as u64 - 1) as usize;
        let player = dice.one_of(&sessions[session].players);
        (session, player, dice.millis(0, 250))
    };
    match kind {
        Fault::Loss => Trouble::Frames(kind, dice.one_of(&[2, 8, 25])),
        Fault::Delay | Fault::Reorder | Fault::Repeat => Trouble::Frames(kind, dice.one_of(&[10, 30, 60])),
        Fault::Partition => Trouble::Partition(victim),
        Fault::OneWay => Trouble::OneWay(victim, dice.other(nodes, victim)),
        Fault::SlowLink => Trouble::SlowLink(victim, dice.other(nodes, victim), dice.millis(50, 300)),
        Fault::LinkBreak => Trouble::Break(victim, soon, dice.millis(5, 900)),
        Fault::Blackout => Trouble::Blackout(soon, dice.millis(20, 5_000)),
        Fault::Crash => {
            let frame = dice.percent(60);
            let number = dice.number(1, 24) as u32;
            Trouble::Crash(victim, if frame { When::Frame(number) } else { When::At(soon) }, away)
        }
        Fault::Rollback => Trouble::Rollback(victim, soon, away),
        Fault::WriteCrash => {
            let fault = dice.one_of(&[WriteFault::CrashBefore, WriteFault::CrashAfter]);
            Trouble::Write(victim, dice.number(1, 4), fault, away)
        }
        Fault::PowerLoss => Trouble::Write(victim, dice.number(1, 4), WriteFault::PowerLoss, away),
        Fault::WriteFailure => Trouble::Write(victim, dice.number(1, 4), WriteFault::Fails, away),
        Fault::DiskFull => Trouble::DiskFull(victim, dice.millis(0, 150), dice.millis(50, 3_000)),
        Fault::ClockJump => Trouble::ClockJump(soon, dice.millis(100, 30_000)),
        Fault::HangUp => {
            let (session, player, after) = caller(dice);
            Trouble::HangUp(session, player, after)
        }
        Fault::Retry => {
            let (session, player, after) = caller(dice);
            Trouble::Retry(session, player, after)
        }
    }
}

impl Plan {
    /// Nothing is asked and nothing goes wrong.
    pub(crate) fn quiet(scenario: &Scenario) -> Plan {
        let pairs = usize::from(scenario.nodes) * usize::from(scenario.nodes);
        Plan {
            sessions: Vec::new(),
            troubles: Vec::new(),
            from: Duration::ZERO,
            until: Duration::ZERO,
            latencies: vec![Duration::from_millis(5); pairs],
            last_signers: Vec::new(),
        }
    }
}
