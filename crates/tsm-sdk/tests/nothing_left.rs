//! An embedded node that has ended leaves no task, no file and no socket. One test, since it counts
//! what the whole process has.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tsm_sdk::{
    CurveId, Database, EmbeddedConfig, EmbeddedNode, ErrorCode, IdentityKey, SessionConfig, SessionId,
    generate_identity,
};
use tsm_storage::Stretch;

#[test]
fn a_node_that_was_stopped_or_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("phone.db");
    // The server has a runtime of its own: what is alive in the other is the phone's.
    let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = servers.block_on(Phone::server());
    let phones = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let identity = generate_identity();
    // Warm: what the process keeps anyway is there.
    phones.block_on(async { Phone::start(&server, &identity, &file).await.node.stop().await });
    let before = open_files();
    assert_eq!(tasks(&phones), 0);

    // Stopped, with a key made: everything is gone when `stop` returns, and the file is free.
    phones.block_on(async {
        let phone = Phone::start(&server, &identity, &file).await;
        phone.make_key(&server).await;
        phone.node.stop().await;
        Phone::start(&server, &identity, &file).await.node.stop().await;
    });
    assert_eq!(tasks(&phones), 0);
    assert_eq!(files_in(folder.path()), Vec::<String>::new());
    soon("sockets", || open_files() <= before);

    // Dropped in the middle of a session: the same, a moment later; the call is told.
    phones.block_on(async {
        let phone = Phone::start(&server, &identity, &file).await;
        let client = phone.node.client();
        let session = phone.session();
        let call = tokio::spawn(async move {
            client.ecdsa().generate_key(&session, 1, CurveId::P256, None).await.unwrap_err()
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let client = phone.node.client();
        drop(phone);
        assert_eq!(call.await.unwrap().code, ErrorCode::NodeStopping);
        assert_eq!(client.version().await.unwrap_err().code, ErrorCode::NodeStopping);
        let ready = client.ready().await.unwrap();
        assert!(!ready.ready && ready.reasons.len() == 1);
    });
    soon("tasks", || tasks(&phones) == 0);
    soon("files", || files_in(folder.path()).is_empty());
    soon("sockets", || open_files() <= before);

    // Dropped outside of its runtime, and then the runtime itself.
    let phone = phones.block_on(Phone::start(&server, &identity, &file));
    drop(phone);
    soon("tasks", || tasks(&phones) == 0);
    let phone = phones.block_on(Phone::start(&server, &identity, &file));
    drop(phones);
    drop(phone);
    soon("files", || files_in(folder.path()).is_empty());
    servers.block_on(server.node.stop());
}

/// A node, on the server's side or on the phone's.
struct Phone {
    node: EmbeddedNode,
}

impl Phone {
    async fn server() -> Phone {
        let config = EmbeddedConfig::new(2, generate_identity(), Database::memory())
            .with_listen("127.0.0.1:0".parse().unwrap());
        Phone { node: EmbeddedNode::start(config).await.unwrap() }
    }

    async fn start(server: &Phone, identity: &IdentityKey, file: &Path) -> Phone {
        let identity = IdentityKey::from_der(identity.der().expose()).unwrap();
        let address = server.node.mpc_address().unwrap().to_string();
        let config = EmbeddedConfig::new(1, identity, Database::sqlite(file, "password"))
            .with_player(2, Some(server.node.public_key()), Some(&address))
            .unwrap()
            .with_stretch(Stretch::CHEAPEST);
        Phone { node: EmbeddedNode::start(config).await.unwrap() }
    }

    fn session(&self) -> SessionConfig {
        let keys = [(1, self.node.public_key().to_vec())].into();
        SessionConfig::new(SessionId::generate(), [1, 2], keys)
    }

    async fn make_key(&self, server: &Phone) {
        let session = self.session();
        let (own, others) = (self.node.client(), server.node.client());
        tokio::try_join!(
            own.ecdsa().generate_key(&session, 1, CurveId::P256, None),
            others.ecdsa().generate_key(&session, 1, CurveId::P256, None),
        )
        .unwrap();
    }
}

fn tasks(runtime: &Runtime) -> usize {
    runtime.metrics().num_alive_tasks()
}

/// Descriptors of this process.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Open files of this process in a folder.
fn files_in(folder: &Path) -> Vec<String> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let within: BTreeSet<_> = targets.filter(|path| path.starts_with(folder)).collect();
    within.iter().map(|path| path.display().to_string()).collect()
}

/// Waits for what another thread is about to do.
fn soon(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} are left");
        std::thread::sleep(Duration::from_millis(10));
    }
}
