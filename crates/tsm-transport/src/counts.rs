//! What the links of a node have seen, as numbers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What links have seen since they were started, and what there is now.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct LinkCounts { $($(#[$doc])* pub $name: u64,)* }

        /// The same while it changes.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64,)* }

        impl Counters {
            pub(crate) fn now(&self) -> LinkCounts {
                LinkCounts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counts! {
    /// Peers that frames flow to now.
    up,
    /// Links that are parked now.
    parked_now,
    /// Links that were parked.
    parked,
    /// Parked links that gave way to newer ones.
    displaced,
    /// Parked links that nobody expected in time.
    expired,
    /// Connections to this node that did not prove a key.
    failed_handshakes,
    /// Times that a source had too many of them and was not listened to for a while.
    blocked_sources,
    /// Connections that were dropped because of that, before any TLS.
    dropped_connections,
    /// Connections beyond what one dynamic player may have.
    refused_connections,
    /// Idle links of dynamic players that gave way to newer ones.
    displaced_idle_links,
    /// Messages of the broker that were junk, cut short, repeated, or for pipes that are not there. Counted
    /// by the pipes.
    dropped_broker_messages,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
