//! What the tests stand on: networks of processes and their callers.

mod faults;
mod network;
mod node;
mod ports;
mod proxy;
mod reaper;
mod verify;

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::time::sleep;
use tsm_sdk::{Failure, PlayerIndex};

pub(crate) use faults::{FaultyWay, Way};
pub(crate) use network::{Answers, Network, PLAYER_0_PUBLIC_KEY, Places, session_with};
pub(crate) use node::{Node, binary, client_of, run_node, run_tsm};
pub(crate) use ports::free as free_port;
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

/// What the management port answers: the status, and the body.
pub(crate) async fn management(port: u16, path: &str, key: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: n\r\nAuthorization: APIKEY {key}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The sections of a management port.
pub(crate) fn managed(port: u16, key: &str) -> String {
    let hash = BASE64.encode(sha256(key.as_bytes()));
    format!(
        "\n[ManagementServer]\nAddress = \"127.0.0.1\"\nPort = {port}\n[[ManagementServer.APIKeys]]\nAPIKey = \"{hash}\"\n\
         Permissions = [\"HEALTH\", \"TSMINFO\"]\n"
    )
}

/// Whether a failure is about a player.
pub(crate) fn names(failure: &Failure, player: u16) -> bool {
    failure.players.iter().any(|concern| concern.player == PlayerIndex(player))
}
