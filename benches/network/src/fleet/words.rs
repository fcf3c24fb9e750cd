//! What is said between the driving program and the server's process: one JSON object a line.

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub number: u64,
    pub what: What,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// Makes a key with the phone of this public key (base64 of DER).
    GenerateKey { session: String, phone: String },
    /// Signs; waits for the phone for so many milliseconds. The caller leaves after so many microseconds
    /// if that is given.
    Sign { session: String, phone: String, key_id: String, patience: u64, leaves_after: Option<u64> },
    /// What the process holds.
    Held,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub number: u64,
    pub answer: Answer,
}

/// What the server's caller got.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Microseconds from the call to its result.
    pub micros: u64,
    /// The result.
    pub told: Told,
}

/// A result of the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Told {
    /// A key with this ID.
    Key(String),
    /// An encoded partial signature.
    Part(Vec<u8>),
    /// An error with this code, about these players.
    Failed(String, Vec<u16>),
    /// The caller left first.
    Left,
    /// What the process holds.
    Held(Held),
}

/// What a server's process holds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Held {
    /// Resident memory in KiB.
    pub resident_kib: u64,
    /// Open files and sockets.
    pub files: u64,
    /// CPU time so far, in microseconds.
    pub cpu_micros: u64,
    /// Running sessions.
    pub sessions: u64,
    /// Frames that wait for a session.
    pub waiting_frames: u64,
    /// Set-ups that run.
    pub set_ups: u64,
    /// Peers with a shared state.
    pub pairs: u64,
}
