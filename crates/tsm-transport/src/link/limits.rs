//! What strangers, peers and waiting frames may cost (rules S-28, S-105).

use std::time::Duration;

/// Connections that one proven and expected peer may hold: a full pool, twice while it is renewed.
pub(crate) const MAX_CONNECTIONS_PER_PEER: usize = 128;
/// How long a connection may take to be emptied before it is closed as lost.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(30);
/// How long to wait for the other side's end of a connection on which both have said `Closing`.
pub(crate) const FAREWELL_TIME: Duration = Duration::from_secs(1);
/// How often to log what strangers can make this node log.
pub(crate) const HINT_INTERVAL: Duration = Duration::from_secs(10);
/// First and longest pause between two attempts to dial.
pub(crate) const FIRST_RETRY: Duration = Duration::from_millis(100);
pub(crate) const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Bounds of one node's links. The defaults suit a server; tests shorten the times.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Parked links in all. Each costs a socket and some 50 kB.
    pub parked: usize,
    /// Parked links from one IPv4 address or IPv6 /64 network: one source cannot displace the others.
    pub parked_per_source: usize,
    /// How long a link is parked: a caller may start its session late, by a few times the connect
    /// deadline.
    pub parked_for: Duration,
    /// Handshakes at once. Beyond it, the oldest one of the busiest source gives way.
    pub handshakes: usize,
    /// For connecting, TLS and hello together; a slow network needs a second or two.
    pub handshake_time: Duration,
    /// A node that has sent nothing for this long sends a ping.
    pub ping_after: Duration,
    /// A connection without one arriving byte for this long is dead. Three pings fit in.
    pub silent_after: Duration,
    /// How long links stay after the last lease of their peer was dropped, for the next session.
    pub unleased_for: Duration,
    /// Events that wait for the engine. Each holds at most one frame, so this is also MiB.
    pub events: usize,
    /// Frames that wait for one peer: of some thousand sessions at once.
    pub queued_frames: usize,
    /// Bytes that wait for one peer: half a second of a gigabit link.
    pub queued_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            parked: 1024,
            parked_per_source: 64,
            parked_for: Duration::from_secs(30),
            handshakes: 256,
            handshake_time: Duration::from_secs(5),
            ping_after: Duration::from_secs(5),
            silent_after: Duration::from_secs(15),
            unleased_for: Duration::from_secs(60),
            events: 128,
            queued_frames: 4096,
            queued_bytes: 64 << 20,
        }
    }
}
