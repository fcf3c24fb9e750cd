//! The claims of docs/dynamic-nodes.md about files and programs.

use std::path::Path;
use std::process::Command;

use tsm_sdk::CurveId;

use crate::harness::{Network, PLAYER_0_PUBLIC_KEY};

/// The three files name hosts, ports and paths; so they run on a machine of their own, which here
/// is a set of namespaces with its own host names, its own ports and its own `/tmp`. What was built may
/// lie below the old `/tmp`, and is then still found at its place.
const MACHINE: &str = r#"
    ip link set lo up && mount --bind "$1" /etc/hosts &&
    mount --bind "$2" /mnt && mount -t tmpfs tsm-tests /tmp && mkdir -p "$2" && mount --bind /mnt "$2" &&
    exec "$0" --exact dynamic_nodes::on_a_machine_of_its_own --ignored --test-threads 1
"#;
const HOSTS: &str = "127.0.0.1 localhost tsm-node0 tsm-node1 tsm-node2\n";

#[test]
fn dn14_the_three_configuration_files_run_as_they_are() {
    let probe = Command::new("unshare").args(["-Urmn", "sh", "-c", "ip link set lo up"]).output();
    if !probe.as_ref().is_ok_and(|output| output.status.success()) {
        return println!("skipped, no namespaces can be made here: {probe:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, HOSTS).unwrap();
    let mut machine = Command::new("unshare");
    let this = std::env::current_exe().unwrap();
    // The folder of the profile: this test's binary, and beside its folder the one that it tests.
    let built = this.parent().and_then(Path::parent).unwrap();
    machine.args(["-Urmn", "sh", "-c", MACHINE]).args([&this, &hosts]).arg(built);
    let output = machine.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", output.status);
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn on_a_machine_of_its_own() {
    let mut network = Network::unchanged();
    for player in [1, 2] {
        let config = std::fs::read_to_string(network.node(player).config_path()).unwrap();
        assert!(!config.contains(PLAYER_0_PUBLIC_KEY) && !config.contains("[Players.0]"), "{config}");
    }
    network.start_all().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    network.make_signature(&[0, 2], &key, b"with the files as they are").await;
}

#[tokio::test]
async fn dn15_the_program_makes_one_key_at_three_nodes_of_which_one_comes_with_the_session() {
    let network = Network::shared().await;
    let session = network.session(&[0, 1, 2]);
    let answers = network.generate_key(&session).await;
    let ids: Vec<String> = answers.into_values().map(|answer| answer.unwrap().key_id).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
