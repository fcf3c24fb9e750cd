//! Presignatures in whole networks: made, used once, and gone after whatever befalls a node.

use std::time::Duration;

use tsm_crypto::CurveId;
use tsm_crypto::ecdsa::{self, PartialSignature, Signature};
use tsm_node::Settings;
use tsm_tests::{Answers, Network, application};
use tsm_transport::memory::Delivery;
use tsm_types::presignatures::{
    GeneratePresignatures, PresignatureSet, Presigned, SignWithPresignature, SignedWithPresignature,
};
use tsm_types::request::KeyInfo;
use tsm_types::{
    ApplicationId, BatchSize, DerivationPath, ErrorCode, Failure, KeyId, PlayerIndex, PresignatureId,
};

const DIGEST: [u8; 32] = [7; 32];

async fn generate(
    network: &Network,
    id: &str,
    players: &[u16],
    key_id: &KeyId,
    count: u64,
) -> Answers<Presigned> {
    let session = network.session(id, players);
    let count = BatchSize::new(count).unwrap();
    let request = GeneratePresignatures { session: session.clone(), key_id: key_id.clone(), count };
    network
        .ask(&session, |node| {
            let (request, application) = (request.clone(), network.application.clone());
            async move { node.generate_presignatures(&application, request).await }
        })
        .await
}

/// Presignatures that all players have in the same order.
async fn made(
    network: &Network,
    id: &str,
    players: &[u16],
    key_id: &KeyId,
    count: u64,
) -> Vec<PresignatureId> {
    let answers = generate(network, id, players, key_id, count).await;
    let mut ids = answers.into_values().map(|answer| answer.unwrap().presignature_ids);
    let first = ids.next().unwrap();
    assert_eq!(first.len(), count as usize);
    assert!(ids.all(|other| other == first));
    first
}

fn request(key_id: &KeyId, id: Option<PresignatureId>, digest: &[u8]) -> SignWithPresignature {
    SignWithPresignature {
        key_id: key_id.clone(),
        presignature_id: id,
        players: None,
        path: DerivationPath::ROOT,
        digest: digest.to_vec(),
    }
}

async fn sign(
    network: &Network,
    player: u16,
    key_id: &KeyId,
    id: Option<PresignatureId>,
    digest: &[u8],
) -> Result<SignedWithPresignature, Failure> {
    let request = request(key_id, id, digest);
    network.node(player).sign_with_presignature(&network.application, request).await
}

/// One node chooses, the others are asked for the same.
async fn sign_all(network: &Network, players: &[u16], key: &KeyInfo, digest: &[u8]) -> Signature {
    let first = sign(network, players[0], &key.key_id, None, digest).await.unwrap();
    let mut parts = vec![first.partial_signature];
    for player in &players[1..] {
        let part = sign(network, *player, &key.key_id, Some(first.presignature_id), digest).await.unwrap();
        assert_eq!(part.presignature_id, first.presignature_id);
        parts.push(part.partial_signature);
    }
    let parts: Vec<PartialSignature> = parts.iter().map(|part| borsh::from_slice(part).unwrap()).collect();
    let signature = ecdsa::join(digest, &parts).unwrap();
    assert!(ecdsa::verify(key.curve, &key.public_key, digest, signature.der()));
    signature
}

async fn count(network: &Network, player: u16, key_id: &KeyId) -> u64 {
    let sets = network.node(player).count_presignatures(&network.application, key_id).await.unwrap();
    sets.iter().map(|set| set.count).sum()
}

#[tokio::test(start_paused = true)]
async fn presignatures_sign_without_a_word_between_nodes() {
    let network = Network::start(3, 61).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    made(&network, "presign", &[0, 2], &key.key_id, 3).await;
    // Nothing of what follows needs the links.
    for player in 0..3 {
        network.links.disconnect(network.key(player));
    }
    let mut seen = std::collections::BTreeSet::new();
    for byte in 1..=3 {
        assert!(seen.insert(sign_all(&network, &[0, 2], &key, &[byte; 32]).await.fixed()));
    }
    for player in [0, 2] {
        let failure = sign(&network, player, &key.key_id, None, &DIGEST).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::PresignatureNotFound);
        assert_eq!(count(&network, player, &key.key_id).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_a_hundred_crosses_the_links_in_parts_and_all_of_it_signs() {
    let network = Network::start(3, 62).await;
    let key = network.make_key(CurveId::Secp256k1, 2).await;
    made(&network, "presign", &[0, 1, 2], &key.key_id, 100).await;
    for byte in [1, 2] {
        sign_all(&network, &[0, 1, 2], &key, &[byte; 32]).await;
    }
    assert_eq!(count(&network, 1, &key.key_id).await, 98);
}

#[tokio::test(start_paused = true)]
async fn presignatures_on_every_curve_sign() {
    let network = Network::start(2, 63).await;
    for curve in CurveId::ALL {
        let key = network.make_key(curve, 1).await;
        made(&network, &format!("presign-{curve}"), &[0, 1], &key.key_id, 2).await;
        sign_all(&network, &[0, 1], &key, &vec![9; curve.digest_bytes()]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s56_s59_the_same_request_gives_the_same_bytes_and_another_is_refused() {
    let network = Network::start(2, 64).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let ids = made(&network, "presign", &[0, 1], &key.key_id, 2).await;
    let first = sign(&network, 0, &key.key_id, Some(ids[0]), &DIGEST).await.unwrap();
    for _ in 0..3 {
        assert_eq!(sign(&network, 0, &key.key_id, Some(ids[0]), &DIGEST).await.as_ref(), Ok(&first));
    }
    let refused = sign(&network, 0, &key.key_id, Some(ids[0]), &[8; 32]).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PresignatureUsed);
    // The other one is untouched by all of it.
    assert_eq!(count(&network, 0, &key.key_id).await, 1);
    assert_eq!(sign(&network, 0, &key.key_id, None, &[8; 32]).await.unwrap().presignature_id, ids[1]);
    // What is forgotten is refused for every digest, the same as what never was.
    tokio::time::sleep(Duration::from_secs(601)).await;
    for digest in [DIGEST, [8; 32]] {
        let refused = sign(&network, 0, &key.key_id, Some(ids[0]), &digest).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::PresignatureNotFound);
    }
}

#[tokio::test(start_paused = true)]
async fn s57_a_restored_database_brings_no_presignature_back() {
    let mut network = Network::start(2, 65).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let ids = made(&network, "presign", &[0, 1], &key.key_id, 2).await;
    let copy = network.store(0).snapshot();
    let before = network.store(0).writes();
    let signed = sign(&network, 0, &key.key_id, Some(ids[0]), &DIGEST).await.unwrap();
    assert_eq!(network.store(0).writes(), before, "the database has nothing to do with it");

    network.store(0).restore(&copy);
    // Even without a restart: the process remembers.
    let refused = sign(&network, 0, &key.key_id, Some(ids[0]), &[8; 32]).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PresignatureUsed);
    assert_eq!(sign(&network, 0, &key.key_id, Some(ids[0]), &DIGEST).await.unwrap(), signed);

    network.restart(0).await;
    for (id, digest) in [(ids[0], DIGEST), (ids[0], [8; 32]), (ids[1], DIGEST)] {
        let refused = sign(&network, 0, &key.key_id, Some(id), &digest).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::PresignatureNotFound);
    }
    assert_eq!(count(&network, 0, &key.key_id).await, 0);
    // The key is there, and new presignatures are made; what the other node still holds is not used.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let new = made(&network, "again", &[0, 1], &key.key_id, 1).await;
    assert!(!ids.contains(&new[0]));
    sign_all(&network, &[0, 1], &key, &[9; 32]).await;
}

#[tokio::test(start_paused = true)]
async fn s56_a_crash_at_any_write_of_a_node_brings_no_presignature_back() {
    use tsm_storage::memory::Fault;
    for fault in [Fault::CrashBefore(1), Fault::CrashAfter(1), Fault::DiskFull] {
        let mut network = Network::start(2, 66).await;
        let key = network.make_key(CurveId::Secp256k1, 1).await;
        network.store(0).plan(fault);
        // Making and using them writes nothing, so that no crash can be in the middle of a write.
        let ids = made(&network, "presign", &[0, 1], &key.key_id, 1).await;
        sign(&network, 0, &key.key_id, Some(ids[0]), &DIGEST).await.unwrap();
        assert_eq!(network.store(0).writes(), 0, "{fault:?}");
        network.restart(0).await;
        let refused = sign(&network, 0, &key.key_id, Some(ids[0]), &DIGEST).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::PresignatureNotFound);
    }
}

#[tokio::test(start_paused = true)]
async fn s60_nodes_that_are_asked_for_different_digests_make_no_signature() {
    let network = Network::start(2, 67).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let ids = made(&network, "presign", &[0, 1], &key.key_id, 1).await;
    let one = sign(&network, 0, &key.key_id, Some(ids[0]), &[1; 32]).await.unwrap();
    let two = sign(&network, 1, &key.key_id, Some(ids[0]), &[2; 32]).await.unwrap();
    let parts: Vec<PartialSignature> =
        [one, two].iter().map(|part| borsh::from_slice(&part.partial_signature).unwrap()).collect();
    for digest in [[1; 32], [2; 32]] {
        assert_eq!(ecdsa::join(&digest, &parts).err(), Some(ecdsa::JoinError::Foreign(0, 1)));
    }
    // Neither node can be asked for the other's digest any more.
    for (player, digest) in [(0, [2; 32]), (1, [1; 32])] {
        let refused = sign(&network, player, &key.key_id, Some(ids[0]), &digest).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::PresignatureUsed);
    }
}

#[tokio::test(start_paused = true)]
async fn s61_s62_a_digest_that_cannot_be_signed_uses_no_presignature() {
    let network = Network::start(2, 68).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    made(&network, "presign", &[0, 1], &key.key_id, 1).await;
    for digest in [vec![0; 32], vec![1; 31], vec![1; 48], vec![]] {
        let refused = sign(&network, 0, &key.key_id, None, &digest).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::DigestInvalid);
    }
    assert_eq!(count(&network, 0, &key.key_id).await, 1);
    sign_all(&network, &[0, 1], &key, &DIGEST).await;
}

#[tokio::test(start_paused = true)]
async fn every_set_of_signers_has_a_pool_of_its_own_and_the_oldest_goes_first() {
    let network = Network::start(3, 69).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let two = made(&network, "two", &[0, 1], &key.key_id, 2).await;
    let all = made(&network, "all", &[0, 1, 2], &key.key_id, 1).await;
    let set = |players: &[u16], count| PresignatureSet {
        players: players.iter().copied().map(PlayerIndex).collect(),
        count,
    };
    let sets = network.node(0).count_presignatures(&application(), &key.key_id).await.unwrap();
    assert_eq!(sets, [set(&[0, 1], 2), set(&[0, 1, 2], 1)]);
    let refused = sign(&network, 0, &key.key_id, None, &DIGEST).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::RequestInvalidField);
    assert!(refused.detail.contains("`players`"), "{refused}");
    let of = |players: &[u16], id| SignWithPresignature {
        players: Some(players.iter().copied().map(PlayerIndex).collect()),
        ..request(&key.key_id, id, &DIGEST)
    };
    let ask = |request| network.node(0).sign_with_presignature(&network.application, request);
    assert_eq!(ask(of(&[0, 1], Some(all[0]))).await.unwrap_err().code, ErrorCode::RequestInvalidField);
    assert_eq!(ask(of(&[0, 2], None)).await.unwrap_err().code, ErrorCode::PresignatureNotFound);
    assert_eq!(ask(of(&[0, 1], None)).await.unwrap().presignature_id, two[0]);
    assert_eq!(ask(of(&[0, 1, 2], None)).await.unwrap().presignature_id, all[0]);
    // One set is left, so that nothing needs to be said.
    assert_eq!(sign(&network, 0, &key.key_id, None, &[9; 32]).await.unwrap().presignature_id, two[1]);
}

#[tokio::test(start_paused = true)]
async fn s103_another_application_or_key_sees_and_uses_nothing() {
    let network = Network::start(2, 70).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let other_key = network.make_key(CurveId::P256, 1).await;
    let ids = made(&network, "presign", &[0, 1], &key.key_id, 1).await;
    let stranger = ApplicationId::new("stranger").unwrap();
    let node = network.node(0);
    for id in [None, Some(ids[0])] {
        let refused = node.sign_with_presignature(&stranger, request(&key.key_id, id, &DIGEST)).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::PresignatureNotFound);
        let refused = sign(&network, 0, &other_key.key_id, id, &DIGEST).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::PresignatureNotFound);
    }
    let code = |failure: Failure| failure.code;
    assert_eq!(
        node.count_presignatures(&stranger, &key.key_id).await.map_err(code),
        Err(ErrorCode::KeyNotFound)
    );
    assert_eq!(
        node.delete_presignatures(&stranger, &key.key_id).await.map_err(code),
        Err(ErrorCode::KeyNotFound)
    );
    // Nor does a used one show itself.
    sign(&network, 0, &key.key_id, Some(ids[0]), &DIGEST).await.unwrap();
    let refused = node.sign_with_presignature(&stranger, request(&key.key_id, Some(ids[0]), &DIGEST)).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::PresignatureNotFound);
}

#[tokio::test(start_paused = true)]
async fn deleting_presignatures_or_the_key_share_leaves_none() {
    let network = Network::start(2, 71).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let ids = made(&network, "presign", &[0, 1], &key.key_id, 3).await;
    sign(&network, 0, &key.key_id, Some(ids[0]), &DIGEST).await.unwrap();
    let deleted = network.node(0).delete_presignatures(&application(), &key.key_id).await;
    assert_eq!(deleted, Ok(2));
    for id in &ids {
        let refused = sign(&network, 0, &key.key_id, Some(*id), &DIGEST).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::PresignatureNotFound);
    }
    assert_eq!(count(&network, 1, &key.key_id).await, 3, "each node has its own");
    network.node(1).delete_key_share(&application(), &key.key_id).await.unwrap();
    let refused = sign(&network, 1, &key.key_id, Some(ids[1]), &DIGEST).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PresignatureNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_share_deleted_while_presignatures_are_made_leaves_none() {
    let network = std::sync::Arc::new(Network::start(2, 72).await);
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    // Slow links, so that there is a while.
    network.links.set_tamper(Box::new(|frame| {
        vec![Delivery { after: Duration::from_millis(100), bytes: frame.bytes.clone() }]
    }));
    let deleting = tokio::spawn({
        let (network, key_id) = (network.clone(), key.key_id.clone());
        async move {
            while network.node(0).running_sessions() == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_ne!(network.node(0).running_sessions(), 0);
            network.node(0).delete_key_share(&application(), &key_id).await
        }
    });
    let answers = generate(&network, "presign", &[0, 1], &key.key_id, 2).await;
    deleting.await.unwrap().unwrap();
    assert_eq!(answers[&0].as_ref().unwrap_err().code, ErrorCode::KeyNotFound);
    let refused = sign(&network, 0, &key.key_id, None, &DIGEST).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PresignatureNotFound);
}

#[tokio::test(start_paused = true)]
async fn s105_a_node_makes_and_holds_no_more_than_it_may() {
    let settings = Settings { presignatures: 5, presignatures_per_request: 4, ..Settings::default() };
    let network = Network::start_with(2, 73, settings).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let code = |answers: Answers<Presigned>| answers[&0].as_ref().map(|_| ()).map_err(|failure| failure.code);
    assert_eq!(
        code(generate(&network, "a", &[0, 1], &key.key_id, 5).await),
        Err(ErrorCode::PresignatureLimit)
    );
    made(&network, "b", &[0, 1], &key.key_id, 4).await;
    assert_eq!(
        code(generate(&network, "c", &[0, 1], &key.key_id, 2).await),
        Err(ErrorCode::PresignatureLimit)
    );
    made(&network, "d", &[0, 1], &key.key_id, 1).await;
    assert_eq!(
        code(generate(&network, "e", &[0, 1], &key.key_id, 1).await),
        Err(ErrorCode::PresignatureLimit)
    );
    sign_all(&network, &[0, 1], &key, &DIGEST).await;
    made(&network, "f", &[0, 1], &key.key_id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn s105_a_session_that_fails_gives_its_room_back() {
    let settings = Settings { presignatures: 4, ..Settings::default() };
    let network = Network::start_with(2, 74, settings).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    // Player 1's caller never comes.
    let session = network.session("alone", &[0, 1]);
    let request =
        GeneratePresignatures { session, key_id: key.key_id.clone(), count: BatchSize::new(4).unwrap() };
    let failure = network.node(0).generate_presignatures(&application(), request).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SessionPlayersMissing);
    made(&network, "both", &[0, 1], &key.key_id, 4).await;
}

#[tokio::test(start_paused = true)]
async fn callers_that_want_different_numbers_are_told_so() {
    let network = Network::start(2, 75).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let session = network.session("presign", &[0, 1]);
    let answers = network
        .ask(&session, |node| {
            let count = BatchSize::new(2 + u64::from(node.player().0)).unwrap();
            let request =
                GeneratePresignatures { session: session.clone(), key_id: key.key_id.clone(), count };
            async move { node.generate_presignatures(&application(), request).await }
        })
        .await;
    for answer in answers.values() {
        let failure = answer.as_ref().unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionDisagreement, "{failure}");
    }
    for player in [0, 1] {
        assert_eq!(count(&network, player, &key.key_id).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn s117_a_presigning_that_is_asked_for_again_has_the_same_presignatures() {
    let network = Network::start(2, 76).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let first = made(&network, "presign", &[0, 1], &key.key_id, 2).await;
    assert_eq!(made(&network, "presign", &[0, 1], &key.key_id, 2).await, first);
    assert_eq!(count(&network, 0, &key.key_id).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_crashes_after_the_others_took_theirs_costs_one_presignature() {
    let mut network = Network::start(2, 77).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    made(&network, "presign", &[0, 1], &key.key_id, 2).await;
    let taken = sign(&network, 1, &key.key_id, None, &DIGEST).await.unwrap();
    network.restart(0).await;
    let gone = sign(&network, 0, &key.key_id, Some(taken.presignature_id), &DIGEST).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::PresignatureNotFound);
    // The recipe: delete what the others hold, make new ones, and let the first node choose.
    network.node(1).delete_presignatures(&application(), &key.key_id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    made(&network, "again", &[0, 1], &key.key_id, 2).await;
    sign_all(&network, &[0, 1], &key, &DIGEST).await;
}

#[tokio::test(start_paused = true)]
async fn s58_a_presignature_signs_under_the_key_at_a_path_and_under_no_other() {
    let network = Network::start(2, 78).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let path = DerivationPath::new([44, 0, 7]).unwrap();
    let below = network.node(0).public_key(&application(), &key.key_id, &path).await.unwrap();
    let ids = made(&network, "presign", &[0, 1], &key.key_id, 1).await;
    let mut parts = Vec::new();
    for player in [0, 1] {
        let request =
            SignWithPresignature { path: path.clone(), ..request(&key.key_id, Some(ids[0]), &DIGEST) };
        let part = network.node(player).sign_with_presignature(&application(), request).await.unwrap();
        parts.push(borsh::from_slice::<PartialSignature>(&part.partial_signature).unwrap());
    }
    let signature = ecdsa::join(&DIGEST, &parts).unwrap();
    assert!(ecdsa::verify(key.curve, &below.public_key, &DIGEST, signature.der()));
    assert!(!ecdsa::verify(key.curve, &key.public_key, &DIGEST, signature.der()));
    // The same digest at another path is another use.
    let refused = sign(&network, 0, &key.key_id, Some(ids[0]), &DIGEST).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PresignatureUsed);
}

#[tokio::test(start_paused = true)]
async fn what_a_restarted_signer_has_lost_goes_elsewhere_with_the_next_batch() {
    let mut network = Network::start(3, 78).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let lost = made(&network, "presign", &[0, 1], &key.key_id, 2).await;
    let others = made(&network, "others", &[1, 2], &key.key_id, 2).await;
    network.restart(0).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let new = made(&network, "again", &[0, 1], &key.key_id, 1).await;
    // A further batch of the same processes changes nothing.
    let more = made(&network, "more", &[0, 1], &key.key_id, 1).await;
    for id in lost {
        let gone = sign(&network, 1, &key.key_id, Some(id), &DIGEST).await.unwrap_err();
        assert_eq!(gone.code, ErrorCode::PresignatureNotFound);
    }
    assert_eq!(count(&network, 1, &key.key_id).await, 4);
    for id in [new[0], more[0], others[0]] {
        sign(&network, 1, &key.key_id, Some(id), &DIGEST).await.unwrap();
    }
    let metrics = network.node(1).metrics();
    assert_eq!(
        (metrics.presignatures, metrics.presignatures_made, metrics.presignatures_used),
        (1, 6, 3),
        "made, used and left are counted"
    );
}
