//! What strangers, peers and waiting frames may cost (rules S-28, S-105).

use std::time::Duration;

/// Connections that one expected static peer may hold: a full pool, twice while it is renewed.
pub(crate) const MAX_CONNECTIONS_PER_PEER: usize = 128;
/// How long a connection may take to be emptied before it is closed as lost.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(30);
/// How long to wait for the other side's end of a connection on which both have said `Closing`.
pub(crate) const FAREWELL_TIME: Duration = Duration::from_secs(1);
/// How long a peer without links is remembered after its last session. Longer than sessions repeat their last
/// words.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(60);
/// How often to log what strangers can make this node log.
pub(crate) const HINT_INTERVAL: Duration = Duration::from_secs(10);
/// First and longest pause between two attempts to dial.
pub(crate) const FIRST_RETRY: Duration = Duration::from_millis(100);
pub(crate) const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Bounds of one node's links. The defaults suit a server; tests shorten the times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Parked links in all. Each costs a socket and some 30 kB.
    pub parked: usize,
    /// Parked links from one IPv4 address or IPv6 /64 network: one source cannot displace the others.
    pub parked_per_source: usize,
    /// How long a link is parked: a caller may start its session late, by a few times the connect
    /// deadline.
    pub parked_for: Duration,
    /// Failed handshakes of one source within a minute. Beyond it the source is not listened to. 0: no
    /// limit, for a node behind a proxy that hides where connections come from.
    pub failed_handshakes: usize,
    /// For how long not.
    pub blocked_for: Duration,
    /// Connections that one expected dynamic peer may hold: a pool, twice while it is renewed.
    pub connections_of_dynamic: usize,
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
    /// The same of dynamic peers.
    pub dynamic_unleased_for: Duration,
    /// Dynamic peers whose links stay like this at the same time. The longest idle give way.
    pub idle_links: usize,
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
            failed_handshakes: 120,
            blocked_for: Duration::from_secs(60),
            connections_of_dynamic: 32,
            handshakes: 256,
            handshake_time: Duration::from_secs(5),
            ping_after: Duration::from_secs(5),
            silent_after: Duration::from_secs(15),
            unleased_for: Duration::from_secs(60),
            dynamic_unleased_for: Duration::from_secs(60),
            idle_links: 10_000,
            events: 128,
            queued_frames: 4096,
            queued_bytes: 64 << 20,
        }
    }
}
