//! What a simulated world does to a network, by name, and how often it truly did.

use std::collections::BTreeMap;
use std::fmt;

use tsm_types::ErrorCode;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A frame vanishes although the link stands. Links promise better; a hostile broker does not.
    Loss,
    /// A frame, and all behind it, is held up.
    Delay,
    /// A frame is overtaken by later ones.
    Reorder,
    /// A frame arrives twice.
    Repeat,
    /// Nothing passes between one player and the others, and no link tells of it.
    Partition,
    /// Nothing passes from one player to another; the other way all is well.
    OneWay,
    /// Every frame between two players takes long.
    SlowLink,
    /// The links of one player break, with what is under way, and come back.
    LinkBreak,
    /// All links break, as when a broker goes away, and come back.
    Blackout,
    /// A process dies without a word and is started again.
    Crash,
    /// A process dies before or after one of its writes to the database.
    WriteCrash,
    /// A machine loses power in the middle of a write: what was not yet durable is gone.
    PowerLoss,
    /// One write to the database fails.
    WriteFailure,
    /// A disk is full for a while.
    DiskFull,
    /// All clocks jump forward, as when a machine was suspended.
    ClockJump,
    /// A caller leaves before it has its answer.
    HangUp,
    /// A caller asks again: while its first request runs, and after it has ended.
    Retry,
    /// A process dies, and its database is put back to what it was before.
    Rollback,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 18] = [
        Fault::Loss,
        Fault::Delay,
        Fault::Reorder,
        Fault::Repeat,
        Fault::Partition,
        Fault::OneWay,
        Fault::SlowLink,
        Fault::LinkBreak,
        Fault::Blackout,
        Fault::Crash,
        Fault::WriteCrash,
        Fault::PowerLoss,
        Fault::WriteFailure,
        Fault::DiskFull,
        Fault::ClockJump,
        Fault::HangUp,
        Fault::Retry,
        Fault::Rollback,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Loss => "loss",
            Fault::Delay => "delay",
            Fault::Reorder => "reorder",
            Fault::Repeat => "repeat",
            Fault::Partition => "partition",
            Fault::OneWay => "one-way",
            Fault::SlowLink => "slow-link",
            Fault::LinkBreak => "link-break",
            Fault::Blackout => "blackout",
            Fault::Crash => "crash",
            Fault::WriteCrash => "write-crash",
            Fault::PowerLoss => "power-loss",
            Fault::WriteFailure => "write-failure",
            Fault::DiskFull => "disk-full",
            Fault::ClockJump => "clock-jump",
            Fault::HangUp => "hang-up",
            Fault::Retry => "retry",
            Fault::Rollback => "rollback",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Whether it happens only where something is stored, which no signature does.
    pub fn needs_writes(self) -> bool {
        matches!(self, Fault::WriteCrash | Fault::PowerLoss | Fault::WriteFailure | Fault::DiskFull)
    }

    /// The reasons that callers may be given for it. For no other does a session fail: a network that is
    /// only slow, repeats itself, overtakes or breaks for a moment costs time and nothing else.
    pub fn explains(self) -> &'static [ErrorCode] {
        use ErrorCode::{
            LinkLost, PairRenewed, PlayerFault, PlayerRestarted, SessionCancelled, SessionConflict,
            SessionPlayersMissing, SessionTimeout, StoreUnavailable,
        };
        match self {
            Fault::Delay
            | Fault::Reorder
            | Fault::Repeat
            | Fault::SlowLink
            | Fault::LinkBreak
            | Fault::Retry => &[],
            Fault::Loss | Fault::Partition | Fault::OneWay => {
                &[SessionPlayersMissing, SessionTimeout, SessionConflict, PairRenewed]
            }
            Fault::Blackout => &[SessionPlayersMissing, SessionTimeout, LinkLost],
            Fault::ClockJump => &[SessionPlayersMissing, SessionTimeout, LinkLost],
            Fault::Crash | Fault::Rollback | Fault::WriteCrash | Fault::PowerLoss => &[
                SessionPlayersMissing,
                SessionTimeout,
                SessionConflict,
                LinkLost,
                PlayerRestarted,
                PairRenewed,
            ],
            Fault::WriteFailure | Fault::DiskFull => &[StoreUnavailable, PlayerFault],
            Fault::HangUp => &[SessionCancelled],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each kind of fault fired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fired(BTreeMap<Fault, u64>);

impl Fired {
    /// Counts one.
    pub fn count(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// How often this kind fired.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// The kinds that fired.
    pub fn kinds(&self) -> impl Iterator<Item = Fault> {
        self.0.keys().copied()
    }

    /// Adds what fired elsewhere.
    pub fn add(&mut self, other: &Fired) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }
}
