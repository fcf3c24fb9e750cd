//! Sets are compared as sets and encodings exist once: not a subset, not another order, not a value
//! that no constructor makes (rules S-29, S-31, S-88, S-112).

use std::collections::BTreeMap;

use tsm_crypto::hedged::test_rng;
use tsm_crypto::ot::PairState;
use tsm_crypto::{CurveId, IdentityKey, Secret, ecdsa};
use tsm_protocols::{KeyShare, SignedCertificate};
use tsm_storage::{RecordId, RecordKind};
use tsm_tests::{Network, application, open_store};
use tsm_types::{
    ApplicationId, ErrorCode, KeyId, Operation, PlayerIndex, PlayerKey, Players, Session, SessionId,
    Threshold,
};

fn public(seed: u64) -> PlayerKey {
    IdentityKey::generate(&mut test_rng(seed)).public().clone()
}

fn entry(index: u16) -> Vec<u8> {
    borsh::to_vec(&(PlayerIndex(index), public(u64::from(index)))).unwrap()
}

fn list(entries: &[Vec<u8>]) -> Vec<u8> {
    [(entries.len() as u32).to_le_bytes().to_vec(), entries.concat()].concat()
}

#[test]
fn s29_players_out_of_order_or_named_twice_are_not_an_encoding() {
    assert!(borsh::from_slice::<Players>(&list(&[entry(0), entry(1), entry(2)])).is_ok());
    assert!(borsh::from_slice::<Players>(&list(&[entry(1), entry(0), entry(2)])).is_err());
    assert!(borsh::from_slice::<Players>(&list(&[entry(0), entry(1), entry(1)])).is_err());
}

/// The certificate of a new key, as player 0 stored it.
async fn certificate() -> (Network, SignedCertificate) {
    let network = Network::start(3, 91).await;
    network.make_key(CurveId::Secp256k1, 1).await;
    let store = open_store(0, network.store(0)).await;
    let ids = store.list(RecordKind::Certificate, "*").await.unwrap();
    let id: &RecordId = ids.first().expect("a complete certificate");
    let record = store.get(id).await.unwrap().unwrap();
    let certificate = borsh::from_slice(record.bytes.expose()).unwrap();
    (network, certificate)
}

#[tokio::test(start_paused = true)]
async fn s36_s112_a_certificate_is_complete_with_exactly_its_holders_signatures() {
    let (network, complete) = certificate().await;
    assert!(complete.is_complete());
    let stranger = IdentityKey::generate(&mut test_rng(99));
    let foreign = stranger.sign(&complete.certificate.transcript());
    for player in [0, 1, 2].map(PlayerIndex) {
        let mut one_less = complete.clone();
        one_less.signatures.remove(&player);
        assert!(!one_less.is_complete(), "without {player:?}");
        let mut replaced = complete.clone();
        let signature = replaced.signatures.remove(&player).unwrap();
        replaced.signatures.insert(PlayerIndex(7), signature);
        assert!(!replaced.is_complete(), "{player:?} under another index");
        let mut forged = complete.clone();
        forged.signatures.insert(player, foreign.clone());
        assert!(!forged.is_complete(), "a stranger's signature for {player:?}");
    }
    let mut one_more = complete.clone();
    one_more.signatures.insert(PlayerIndex(7), foreign);
    assert!(!one_more.is_complete(), "a signature more than there are holders");
    drop(network);
}

#[tokio::test(start_paused = true)]
async fn s112_partial_signatures_are_joined_of_exactly_the_signers() {
    let network = Network::start(3, 92).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let partials = |answers: &tsm_tests::Answers<_>| -> Vec<ecdsa::PartialSignature> {
        let part = |answer: &Result<tsm_types::request::Signed, _>| {
            borsh::from_slice(&answer.as_ref().ok().unwrap().partial_signature).unwrap()
        };
        answers.values().map(part).collect()
    };
    let all = partials(&network.sign(&network.session("all", &[0, 1, 2]), &key.key_id, &[7; 32]).await);
    let two = partials(&network.sign(&network.session("two", &[0, 1]), &key.key_id, &[7; 32]).await);
    assert!(ecdsa::join(&[7; 32], &all).is_ok() && ecdsa::join(&[7; 32], &two).is_ok());
    // Two of three are enough for the key, but not for a signature that three made.
    assert_eq!(ecdsa::join(&[7; 32], &all[..2]), Err(ecdsa::JoinError::Missing(vec![2])));
    let twice = [&all[..], &all[2..]].concat();
    assert_eq!(ecdsa::join(&[7; 32], &twice), Err(ecdsa::JoinError::Twice(2)));
    let one_more = [&two[..], &all[2..]].concat();
    assert_eq!(ecdsa::join(&[7; 32], &one_more), Err(ecdsa::JoinError::Foreign(0, 2)));
}

#[test]
fn s112_a_subset_and_a_superset_of_the_players_are_other_sessions_in_both_directions() {
    let session = |indices: &[u16]| Session {
        id: SessionId::new("run").unwrap(),
        operation: Operation::SetUpPair,
        players: Players::new(indices.iter().map(|i| (PlayerIndex(*i), public(u64::from(*i)))).collect())
            .unwrap(),
    };
    let (small, large) = (session(&[0, 1]), session(&[0, 1, 2]));
    assert_ne!(small.tag(), large.tag());
    for (ours, theirs) in [(&small, &large), (&large, &small)] {
        let differences = ours.differences(theirs);
        assert_eq!(differences.len(), 1);
        assert_eq!(differences[0].player, Some(PlayerIndex(2)));
    }
}

#[test]
fn s31_no_value_that_a_constructor_refuses_comes_out_of_a_decoder() {
    let text = |text: &str| borsh::to_vec(&text).unwrap();
    for bad in ["", "a b", "line\nbreak", &"x".repeat(200)] {
        assert!(borsh::from_slice::<SessionId>(&text(bad)).is_err(), "{bad:?}");
        assert!(borsh::from_slice::<KeyId>(&text(bad)).is_err(), "{bad:?}");
        assert!(borsh::from_slice::<ApplicationId>(&text(bad)).is_err(), "{bad:?}");
    }
    assert!(borsh::from_slice::<Threshold>(&[0, 0]).is_err());
    // One player, and one more than there can be; one key for two players.
    assert!(borsh::from_slice::<Players>(&list(&[entry(0)])).is_err());
    let too_many: Vec<Vec<u8>> = (0..33).map(entry).collect();
    assert!(borsh::from_slice::<Players>(&list(&too_many)).is_err());
    assert!(borsh::from_slice::<Players>(&list(&too_many[..32])).is_ok());
    let same = BTreeMap::from([(PlayerIndex(0), public(1)), (PlayerIndex(1), public(1))]);
    assert!(borsh::from_slice::<Players>(&borsh::to_vec(&same).unwrap()).is_err());
}

#[tokio::test(start_paused = true)]
async fn s31_a_certificate_that_contradicts_itself_does_not_decode() {
    let (_network, complete) = certificate().await;
    let decodes = |change: &dyn Fn(&mut SignedCertificate)| {
        let mut changed = complete.clone();
        change(&mut changed);
        borsh::from_slice::<SignedCertificate>(&borsh::to_vec(&changed).unwrap()).is_ok()
    };
    assert!(decodes(&|_| {}));
    assert!(!decodes(&|c| c.certificate.threshold = Threshold::new(3, 4).unwrap()));
    assert!(!decodes(&|c| drop(c.certificate.share_points.pop())));
    assert!(!decodes(&|c| c.certificate.share_points.push(c.certificate.public_key.clone())));
    assert!(!decodes(&|c| c.certificate.public_key[0] = 9));
    assert!(!decodes(&|c| c.certificate.share_points[1] = vec![0]));
    assert!(!decodes(&|c| c.certificate.curve = CurveId::P384));
}

/// Does not compile if a type has the trait: then two implementations fit, and `_` is ambiguous.
macro_rules! lacks {
    ($type:ty: $($bound:path),*) => {$({
        trait Unless<A> { fn holds() {} }
        impl<T: ?Sized> Unless<()> for T {}
        struct Has;
        impl<T: ?Sized + $bound> Unless<Has> for T {}
        <$type as Unless<_>>::holds();
    })*};
}

#[test]
fn s88_s111_secrets_are_not_cloned_compared_encoded_or_shown() {
    use std::fmt::Display;
    lacks!(Secret<[u8; 32]>: Clone, PartialEq, Display, AsRef<[u8]>, borsh::BorshSerialize);
    lacks!(KeyShare: Clone, PartialEq, Display, borsh::BorshSerialize);
    lacks!(IdentityKey: Clone, PartialEq, Display, borsh::BorshSerialize);
    lacks!(PairState: Clone, PartialEq, Display, borsh::BorshSerialize);
}

#[tokio::test(start_paused = true)]
async fn s30_key_generation_takes_thresholds_from_one_to_one_less_than_the_players() {
    let network = Network::start(3, 93).await;
    for (threshold, allowed) in [(0, false), (1, true), (2, true), (3, false), (u64::MAX, false)] {
        let session = network.session(&format!("run-{threshold}"), &[0, 1, 2]);
        for (player, answer) in network.generate_key(&session, CurveId::Secp256k1, threshold).await {
            match answer {
                Ok(_) => assert!(allowed, "threshold {threshold}, player {player}"),
                Err(failure) => {
                    assert!(!allowed, "threshold {threshold}, player {player}: {failure}");
                    assert_eq!(failure.code, ErrorCode::ThresholdInvalid);
                }
            }
        }
    }
    assert_eq!(network.node(0).list_keys(&application()).await.unwrap().len(), 2);
}
