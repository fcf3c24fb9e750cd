//! Bytes of peers, brokers and the database.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tsm_crypto::hedged::test_rng;
use tsm_crypto::{Curve, CurveId, IdentityKey, IdentityPublicKey, Secp256k1, Secret, ecdsa};
use tsm_node::{Compute, Node, NodeParts, Settings};
use tsm_storage::{Backend, Memory, RecordId, RecordKind, Sealed, SealedStore};
use tsm_tests::{application, open_store};
use tsm_transport::memory::MemoryNetwork;
use tsm_types::{DerivationPath, ErrorCode, KeyId, PlayerIndex};

use crate::engine;

/// A thread with a virtual clock.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// A frozen vector of the project.
fn vector(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(name);
    std::fs::read(path).unwrap()
}

pub(crate) fn frame(bytes: &[u8]) {
    tsm_node::fuzzing::frame(bytes);
}

pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let of_a_run = engine::recorded(CurveId::Secp256k1).into_iter().map(|frame| frame.bytes);
    let frozen = ["part", "pair_held", "pair_dropped", "pair_wanted", "certificate_wanted", "end"];
    let frozen = frozen.map(|name| vector(&format!("frame_v1_{name}.bin")));
    let seeds: Vec<Vec<u8>> = of_a_run.filter(|bytes| bytes.len() < 1000).chain(frozen).collect();
    assert!(seeds.iter().all(|seed| tsm_node::fuzzing::frame(seed)));
    seeds
}

pub(crate) fn link(bytes: &[u8]) {
    runtime().block_on(tsm_transport::fuzzing::read_all(bytes));
}

pub(crate) fn link_seeds() -> Vec<Vec<u8>> {
    // docs/links.md: a hello, then units.
    let hello = [b"opentsm\0".as_slice(), &[1, 0], &[9; 16], &[3, 0]].concat();
    let unit = |kind: u8, body: &[u8]| {
        [u32::try_from(body.len()).unwrap().to_le_bytes().as_slice(), &[kind], body].concat()
    };
    let units = [unit(4, &[]), unit(1, b"a frame"), unit(2, &[1; 8]), unit(3, &[1; 8]), unit(6, &[])];
    let hello = [(hello.len() as u32).to_le_bytes().as_slice(), &hello].concat();
    let seed = [hello, units.concat()].concat();
    assert_eq!(runtime().block_on(tsm_transport::fuzzing::read_all(&seed)), 5);
    vec![seed]
}

pub(crate) fn broker(bytes: &[u8]) {
    tsm_transport::fuzzing::is_message(bytes);
}

pub(crate) fn broker_seeds() -> Vec<Vec<u8>> {
    // docs/links.md: version, kind, pipe, number, body; of data, its length less one comes first.
    let message = |kind: u8, number: u64, body: &[u8]| {
        [[1, kind].as_slice(), &[7; 16], &number.to_le_bytes(), body].concat()
    };
    let inbox = [3; 48];
    let seeds = vec![
        message(1, 0, &inbox),
        message(2, 0, &inbox),
        message(3, 1, b"\x04\0bytes"),
        message(4, 64, &[]),
        message(5, 2, &[]),
        message(6, 0, &[]),
    ];
    assert!(seeds.iter().all(|seed| tsm_transport::fuzzing::is_message(seed)));
    seeds
}

/// Private keys, public keys of players and of signatures, signatures: all DER.
pub(crate) fn key(bytes: &[u8]) {
    if let Ok(key) = IdentityPublicKey::from_der(bytes) {
        assert_eq!(key.der(), bytes, "a public key has one encoding");
    }
    if let Ok(key) = IdentityKey::from_der(bytes) {
        let again = IdentityKey::from_der(key.der().expose()).unwrap();
        assert_eq!(again.public(), key.public());
    }
    let _ = tsm_sdk::PublicKey::from_der(bytes);
    if ecdsa::curve_of(bytes).is_some() {
        assert!(!CurveId::ALL.iter().any(|curve| ecdsa::verify(*curve, bytes, &[7; 32], &[1; 64])));
    }
    // As a signature it is one of nothing.
    let other = IdentityKey::generate(&mut test_rng(5));
    assert!(!ecdsa::verify(CurveId::P256, other.public().der(), &[7; 32], bytes));
}

pub(crate) fn key_seeds() -> Vec<Vec<u8>> {
    let key = IdentityKey::generate(&mut test_rng(1));
    let mut seeds = vec![key.der().expose().to_vec(), key.public().der().to_vec()];
    for curve in CurveId::ALL {
        seeds.push(crate::fake_node::public_key(curve));
    }
    let (secret, nonce) = secrets();
    let whole = ecdsa::partial_of_whole_key::<Secp256k1>(&secret, &nonce, &[7; 32]);
    seeds.push(ecdsa::join(&[7; 32], &[whole]).unwrap().der().to_vec());
    seeds
}

fn secrets() -> (<Secp256k1 as Curve>::Scalar, <Secp256k1 as Curve>::Scalar) {
    (Secp256k1::random_scalar(&mut test_rng(7)), Secp256k1::random_scalar(&mut test_rng(8)))
}

/// A partial signature, alone and beside a good one.
pub(crate) fn partial(bytes: &[u8]) {
    let good = &partial_seeds()[0];
    let digest = [7; 32];
    for parts in [vec![bytes], vec![good, bytes], vec![bytes, good]] {
        if let Ok(signature) = tsm_sdk::ecdsa::finalise(&digest, &parts) {
            // What comes out has been verified under the key that the parts name.
            let named: ecdsa::PartialSignature = borsh::from_slice(parts[0]).unwrap();
            let der = tsm_crypto::with_curve!(named.common.curve, C => {
                <C as Curve>::public_key_der(&C::decode_point(&named.common.public_key).unwrap())
            });
            assert!(ecdsa::verify(named.common.curve, &der, &digest, signature.der()));
        }
    }
}

pub(crate) fn partial_seeds() -> Vec<Vec<u8>> {
    let (secret, nonce) = secrets();
    let whole = ecdsa::partial_of_whole_key::<Secp256k1>(&secret, &nonce, &[7; 32]);
    vec![borsh::to_vec(&whole).unwrap()]
}

/// A stored record. The first byte says of which kind, the second whether it is sealed properly or is
/// what lies in the database.
pub(crate) fn record(bytes: &[u8]) {
    let [kind, sealed, bytes @ ..] = bytes else { return };
    let kind = RecordKind::ALL[usize::from(*kind) % RecordKind::ALL.len()];
    let (owner, name) = if kind == RecordKind::KeyShare {
        (application().as_str().to_owned(), "key1".to_owned())
    } else {
        ("*".to_owned(), "ab".repeat(32))
    };
    let id = RecordId::new(kind, owner, name);
    runtime().block_on(async {
        let memory = Memory::new();
        let store = open_store(0, &memory).await;
        if sealed % 2 == 1 {
            store.insert(&id, Secret::new(bytes.to_vec())).await.unwrap();
        } else {
            let headers = memory.key_headers().await.unwrap();
            memory.open(&headers).await.unwrap().insert(&id, Sealed(bytes.to_vec())).await.unwrap();
        }
        look_at(store).await;
    });
}

/// A node on this store says that a record is damaged, or shows a key.
async fn look_at(store: SealedStore) {
    let identity = Arc::new(IdentityKey::generate(&mut test_rng(1)));
    let (links, events) = MemoryNetwork::new().node(identity.public().clone(), 0);
    let node = Node::start(NodeParts {
        player: PlayerIndex(0),
        identity: identity.clone(),
        players: BTreeMap::new(),
        links,
        events,
        store,
        compute: Compute::inline(1, &identity),
        settings: Settings::default(),
    });
    let (application, key_id) = (application(), KeyId::new("key1").unwrap());
    let damaged = [ErrorCode::StoreCorrupt, ErrorCode::KeyNotFound];
    match node.public_key(&application, &key_id, &DerivationPath::ROOT).await {
        Ok(key) => assert_eq!(key.key_id, key_id),
        Err(failure) => assert!(damaged.contains(&failure.code), "{failure}"),
    }
    // Looks at all records that are not of one key.
    assert!(node.list_keys(&application).await.unwrap().len() <= 1);
    match node.delete_key_share(&application, &key_id).await {
        Ok(()) => assert!(node.list_keys(&application).await.unwrap().is_empty()),
        Err(failure) => assert!(damaged.contains(&failure.code), "{failure}"),
    }
    node.stop().await;
}

pub(crate) fn record_seeds() -> Vec<Vec<u8>> {
    let key = vector("key_record_v1.bin");
    let with = |head: [u8; 2]| [head.as_slice(), &key].concat();
    vec![with([0, 1]), with([1, 1]), with([0, 0]), vec![2, 1, 1], vec![3, 1, 1, 1, 0, 0, 0, b'a']]
}
