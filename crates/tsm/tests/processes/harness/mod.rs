//! What the tests stand on: networks of processes and their callers.

mod network;
mod node;
mod ports;
mod proxy;
mod reaper;
mod verify;

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tsm_sdk::{Failure, PlayerIndex};

pub(crate) use network::{Answers, Network, PLAYER_0_PUBLIC_KEY, session_with};
pub(crate) use node::{Node, binary, client_of, run_node, run_tsm};
pub(crate) use proxy::CuttingProxy;
pub(crate) use reaper::Mount;
pub(crate) use verify::{join, sha256};

/// Longer than anything takes that is not about a deadline, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the issue calls promptly.
pub(crate) const PROMPTLY: Duration = Duration::from_secs(2);

/// Waits until `condition` holds; fails with `what` if it does not in time.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    until_within(PATIENCE, what, condition).await;
}

async fn until_within(patience: Duration, what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a failure is about a player.
pub(crate) fn names(failure: &Failure, player: u16) -> bool {
    failure.players.iter().any(|concern| concern.player == PlayerIndex(player))
}
