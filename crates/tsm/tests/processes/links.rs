//! What the options of an address do on the wire.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::time::Duration;

use tokio::time::sleep;
use tsm_sdk::CurveId;

use crate::harness::{Network, until};

#[tokio::test]
async fn a_connection_pool_has_the_size_that_the_address_asks_for() {
    // Six everywhere in the seed's files; one on the way from player 0 to player 2.
    let network = Network::start_with(|places, config| match places.player {
        0 => {
            let six = format!(":{}?connectionPoolSize=6", places.mpc[2]);
            config.replace(&six, &format!(":{}?connectionPoolSize=1", places.mpc[2]))
        }
        _ => config,
    })
    .await;
    let [one, two] = [1, 2].map(|player| network.node(player).mpc_port.unwrap());
    network.make_key(CurveId::Secp256k1).await;
    // From player 0; from players 0 and 1.
    until("6 connections to player 1, 1 + 6 to player 2", || {
        (established(one).len(), established(two).len()) == (6, 7)
    })
    .await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((established(one).len(), established(two).len()), (6, 7));
}

#[tokio::test]
async fn connections_are_renewed_after_the_lifetime_that_the_address_asks_for_and_no_signature_fails() {
    let network =
        Network::start_with(|_, config| config.replace("connectionLifetime=5m", "connectionLifetime=1s"))
            .await;
    let key = network.make_key(CurveId::Secp256k1).await;
    let port = network.node(1).mpc_port.unwrap();
    until("6 connections", || established(port).len() >= 6).await;
    let first = established(port);
    for round in 0..8 {
        network.make_signature(&[0, 1], &key, format!("round {round}").as_bytes()).await;
        sleep(Duration::from_millis(250)).await;
    }
    let still_there: Vec<u16> = established(port).intersection(&first).copied().collect();
    assert_eq!(still_there, [0u16; 0]);
    assert_eq!(network.node(0).log_lines("link down"), [""; 0]);
}

#[tokio::test]
async fn one_session_uses_tcp_to_one_player_and_a_websocket_to_another() {
    let network = Network::start_with(|places, config| {
        let (tcp, web) =
            (format!("127.0.0.1:{}", places.mpc[2]), format!("ws://127.0.0.1:{}/tsm", places.mpc[2]));
        match places.player {
            2 => config.replace(
                "[MPCTCPServer]\n  Port",
                "[MPCDirectServer]\n  DisableMultiplexing = false\n  WSPort",
            ),
            _ => config.replace(&tcp, &web),
        }
    })
    .await;
    let key = network.make_key(CurveId::Secp256k1).await;
    for signers in [[0, 1], [0, 2], [1, 2]] {
        network.make_signature(&signers, &key, b"by whichever pipe").await;
    }
    let [tcp, web] = [1, 2].map(|player| network.node(player).mpc_port.unwrap());
    assert!(!established(tcp).is_empty() && !established(web).is_empty());
    // Nothing but HTTP is answered there.
    let mut stranger = std::net::TcpStream::connect(("127.0.0.1", web)).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stranger.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 426");
}

/// The local ports of established connections to this port of 127.0.0.1.
fn established(port: u16) -> BTreeSet<u16> {
    const ESTABLISHED: &str = "01";
    let port_of = |address: &str| u16::from_str_radix(address.split(':').nth(1).unwrap(), 16).unwrap();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[3] == ESTABLISHED && port_of(row[2]) == port).map(|row| port_of(row[1])).collect()
}
