//! Starts that fail, and say why; and what a node takes that does nothing.

use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tsm_sdk::CurveId;

use crate::harness::{Network, Node, run_node};

/// An idle node's resident memory, in KiB. The bound is for the binary that is shipped.
const IDLE_KIB: u64 = if cfg!(debug_assertions) { 64 * 1024 } else { 30 * 1024 };

#[tokio::test]
async fn a_wrong_master_password_stops_the_start_with_one_sentence_and_touches_nothing() {
    let mut network = Network::start().await;
    let key = network.make_key(CurveId::Secp256k1).await;
    // One that was stopped, and one that was killed and leaves a log beside its database.
    network.node_mut(1).stop().await;
    network.node_mut(2).kill();
    for (player, right) in [(1, "encryptorMasterPassword1"), (2, "encryptorMasterPassword2")] {
        let node = network.node(player);
        let before = node.database_files();
        edit(node, right, "anotherMasterPassword");
        let output = node.run_another();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            sentence(&output),
            "error: the master password does not open this store, and nothing was changed: \
             give the password with which the store was made\n"
        );
        assert_eq!(output.stdout, b"");
        assert!(node.database_files() == before, "the database was touched");
        edit(node, "anotherMasterPassword", right);
    }
    network.node_mut(1).start().await;
    network.node_mut(2).start().await;
    network.make_signature(&[1, 2], &key, b"with the right passwords").await;
}

#[tokio::test]
async fn two_processes_on_one_database_are_refused() {
    let mut network = Network::prepare(&[], |_, config| config);
    network.node_mut(0).start().await;
    let node = network.node(0);
    let before = node.database_files();
    let other = Network::prepare(&[], |_, config| config);
    edit(
        other.node(0),
        &other.node(0).database_path().display().to_string(),
        &node.database_path().display().to_string(),
    );
    let output = other.node(0).run_another();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        sentence(&output),
        format!(
            "error: {} is in use by another process: stop it first, or give each node a database of its own\n",
            node.database_path().display()
        )
    );
    assert!(node.database_files() == before, "the database was touched");
    assert_eq!(node.client().key_management().list_keys().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let network = Network::shared().await;
    // Another database, the same ports.
    let other = Network::prepare(&[], |_, config| config);
    for (player, old, new, section) in [
        (0, other.node(0).sdk_port, network.node(0).sdk_port, "[SDKServer]"),
        (1, other.node(1).mpc_port.unwrap(), network.node(1).mpc_port.unwrap(), "[MPCTCPServer]"),
    ] {
        edit(other.node(player), &format!("Port = {old}"), &format!("Port = {new}"));
        let output = other.node(player).run_another();
        assert_eq!(output.status.code(), Some(1));
        let said = sentence(&output);
        assert!(said.contains(&format!("127.0.0.1:{new}")) && said.contains(section), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_bad_configuration_is_refused_with_everything_that_is_wrong() {
    let network = Network::prepare(&[], |_, config| config);
    let node = network.node(2);
    edit(node, "  PublicKey =", "  PublickKey =");
    edit(node, &format!("Port = {}", node.sdk_port), "Port = \"eighty\"");
    edit(node, "DriverName = \"sqlite3\"", "DriverName = \"mysql\"");
    edit(node, "EncryptorMasterPassword = \"encryptorMasterPassword2\"", "EncryptorMasterPassword = 7");
    edit(node, "[DKLS19]", "[DKLS19]\n[SEPD19S]\n[Metriks]\n");
    let output = node.run_another();
    assert_eq!(output.status.code(), Some(2));
    let said = errors(&output);
    assert!(said.contains(&node.config_path().display().to_string()), "{said}");
    for part in [
        "line 7: Players.1.PublickKey: there is no such key here [config.unknown_key]\n  \
         hint: did you mean Players.1.PublicKey?",
        "Database.DriverName",
        "Database.EncryptorMasterPassword",
        "SDKServer.Port",
        "SEPD19S: ",
        "there is no such section [config.unknown_section]",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    assert_eq!(said.matches("hint: ").count(), 6, "{said}");
    assert!(!said.contains("eighty"), "{said}");
    assert_eq!(node.database_files(), []);
}

#[test]
fn a_configuration_file_that_is_not_there_is_named() {
    let missing = |folder: &str| format!("/nowhere/{folder}/config.toml");
    for (argument, variable, named) in [
        (Some(missing("argument")), None, missing("argument")),
        (None, Some(missing("variable")), missing("variable")),
        (Some(missing("argument")), Some(missing("variable")), missing("argument")),
    ] {
        let output = run_node(argument.as_deref(), variable.as_deref());
        assert_eq!(output.status.code(), Some(2));
        assert!(errors(&output).contains(&named), "{}", errors(&output));
    }
}

#[tokio::test]
async fn an_idle_node_takes_little_memory() {
    let mut network = Network::prepare(&[], |_, config| config);
    let begun = Instant::now();
    network.node_mut(1).start().await;
    let start = begun.elapsed();
    // The 64 MiB in which the password was stretched are given back within some ten seconds.
    let mut kib = resident_kib(network.node(1).pid());
    while kib >= IDLE_KIB && begun.elapsed() < Duration::from_secs(40) {
        sleep(Duration::from_millis(500)).await;
        kib = resident_kib(network.node(1).pid());
    }
    let after = begun.elapsed();
    println!("a node starts in {start:?}, Argon2id included, and takes {kib} KiB when idle, {after:?} later");
    assert!(kib < IDLE_KIB, "{kib} KiB");
}

/// Changes a node's configuration.
fn edit(node: &Node, old: &str, new: &str) {
    let config = fs::read_to_string(node.config_path()).unwrap();
    assert!(config.contains(old), "no {old:?} in\n{config}");
    fs::write(node.config_path(), config.replace(old, new)).unwrap();
}

/// What a node that did not start says last, after warnings about its configuration.
fn sentence(output: &Output) -> String {
    let said = errors(output);
    let at = said.find("error: ").unwrap_or_else(|| panic!("no error in {said}"));
    said[at..].to_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
