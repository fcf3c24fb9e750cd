//! A disk that fills up.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use tsm_sdk::{CurveId, ErrorCode};

use crate::harness::{Mount, Network, names};

#[tokio::test]
async fn a_full_disk_ends_key_generation_at_its_own_caller_and_loses_nothing() {
    let mut network = Network::prepare(&[], |places, config| match places.player {
        1 => config.replace("tsm_node_1.sqlite", "disk/tsm_node_1.sqlite"),
        _ => config,
    });
    let disk = network.node(1).folder.join("disk");
    let _mount = match Mount::new(&disk, 1024) {
        Ok(mount) => mount,
        Err(reason) => return println!("skipped, a small disk cannot be mounted: {reason}"),
    };
    network.start_all().await;
    let first = network.make_key(CurveId::Secp256k1).await;

    fill(&disk);
    // The write-ahead log may have room for some.
    let mut ended = None;
    for _ in 0..20 {
        let answers = network.generate_key(&network.session(&[0, 1, 2])).await;
        if answers.values().any(Result::is_err) {
            ended = Some(answers);
            break;
        }
    }
    let answers = ended.expect("a full disk takes no more keys");
    let failure = answers[&1].as_ref().unwrap_err();
    assert_eq!(failure.code, ErrorCode::StoreUnavailable, "{failure}");
    assert!(!failure.detail.contains("sqlite"), "particulars are for the log: {failure}");
    for player in [0, 2] {
        let failure = answers[&player].as_ref().unwrap_err();
        assert_eq!(failure.code, ErrorCode::PlayerFault, "player {player}: {failure}");
        assert!(names(failure, 1), "player {player}: {failure:?}");
    }
    let line = network.node(1).log_lines("the disk of").remove(0);
    assert!(line.contains("ERROR") && line.contains("is full, free some space"), "{line}");
    // What is there already is of use.
    network.make_signature(&[0, 1], &first, b"with a full disk").await;
    let kept = keys(&network, 1).await;

    fs::remove_file(disk.join("filler")).unwrap();
    let second = network.make_key(CurveId::Secp256k1).await;
    network.make_signature(&[1, 2], &second, b"with space again").await;

    network.node_mut(1).kill();
    network.node_mut(1).start().await;
    let found = keys(&network, 1).await;
    assert!(found.contains(&second.key_id) && kept.iter().all(|key_id| found.contains(key_id)), "{found:?}");
    network.make_signature(&[0, 1], &first, b"after a restart").await;
}

fn fill(disk: &Path) {
    let mut filler = File::create(disk.join("filler")).unwrap();
    while filler.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
}

async fn keys(network: &Network, player: u16) -> Vec<String> {
    network.node(player).client().key_management().list_keys().await.unwrap()
}
