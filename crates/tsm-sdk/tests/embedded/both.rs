//! One suite for both kinds of client: the same calls, results and codes.
//!
//! Player 0 is the one under test, player 1 is a remote node that listens.

use std::time::Duration;

use tsm_sdk::{
    Client, CurveId, ErrorCode, Failure, IdentityKey, PlayerIndex, PresignaturePool, PresignatureSet,
    SessionConfig, WaterMarks, generate_identity,
};

use crate::players::{DIGEST, Kind, Player, both_parts, knows, make_key, session, sign, toml};

/// Runs each test of the suite for each kind.
macro_rules! for_both_kinds {
    ($($name:ident,)*) => {
        mod remote {
            $(#[tokio::test] async fn $name() { super::$name(super::Kind::Remote).await })*
        }
        mod embedded {
            $(#[tokio::test] async fn $name() { super::$name(super::Kind::Embedded).await })*
        }
    };
}

for_both_kinds! {
    a_node_says_who_it_is,
    every_call_goes_there_and_back,
    a_derived_key_signs_and_is_what_is_derived_without_a_node,
    a_path_shorter_than_configured_is_refused_by_every_call_that_takes_one,
    on_every_curve,
    presignatures_go_there_and_back,
    presignatures_that_cannot_be_used_have_their_codes,
    a_pool_keeps_presignatures_in_supply_and_signs_with_and_without,
    what_the_caller_can_repair_has_its_code,
    what_the_configuration_forbids_has_its_code,
    a_session_that_players_see_differently_names_the_field,
    a_player_that_does_not_come_is_named,
    a_session_takes_no_longer_than_it_may,
    a_caller_who_leaves_ends_the_session_for_all,
    a_peer_that_stops_is_named,
    a_node_that_stops_says_so_in_its_sessions,
    a_peer_with_another_key_is_named,
    a_repeated_call_has_the_same_outcome,
}

struct Two {
    subject: Player,
    peer: Player,
    keys: [IdentityKey; 2],
}

impl Two {
    async fn start(kind: Kind) -> Two {
        Self::start_with(kind, "[DKLS23]\n").await
    }

    /// `sections` are those of the player under test.
    async fn start_with(kind: Kind, sections: &str) -> Two {
        let keys = [generate_identity(), generate_identity()];
        let [zero, one] = &keys;
        let peer = Player::listening(Kind::Remote, 1, one, &knows(0, Some(zero), None)).await;
        let known = knows(1, Some(one), Some(&peer.address()));
        let subject = Player::start_exactly(kind, &toml(0, zero, &format!("{sections}{known}"))).await;
        Two { subject, peer, keys }
    }

    fn client(&self) -> &Client {
        &self.subject.client
    }
}

fn of_both() -> SessionConfig {
    session(&[0, 1], &[])
}

async fn a_node_says_who_it_is(kind: Kind) {
    let two = Two::start(kind).await;
    let (own, others) = (two.client().version().await.unwrap(), two.peer.client.version().await.unwrap());
    assert_eq!((own.player, others.player), (0, 1));
    assert_eq!((own.version, own.api, own.wire), (others.version, others.api, others.wire));
    let der = two.keys[0].public().der();
    assert_eq!(own.public_key, base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der));
    let ready = two.client().ready().await.unwrap();
    assert!(ready.ready && ready.reasons.is_empty());
}

async fn every_call_goes_there_and_back(kind: Kind) {
    let two = Two::start(kind).await;
    let keys = two.client().key_management();
    let key = make_key(two.client(), &two.peer.client, &of_both()).await.unwrap();
    assert_eq!((key.threshold, key.signers_required), (1, 2));
    assert_eq!(key.players, [0, 1]);
    assert!(key.notices.is_empty());
    assert_eq!(two.client().ecdsa().key_info(&key.key_id, &[]).await.unwrap(), key);
    assert_eq!(two.client().ecdsa().public_key(&key.key_id, &[]).await.unwrap(), key.public_key);
    assert_eq!(keys.list_keys().await.unwrap(), std::slice::from_ref(&key.key_id));
    sign(two.client(), &two.peer.client, &of_both(), &key).await.unwrap();
    keys.delete_key_share(&key.key_id).await.unwrap();
    assert!(keys.list_keys().await.unwrap().is_empty());
    let gone = |failure: Failure| assert_eq!(failure.code, ErrorCode::KeyNotFound);
    gone(keys.delete_key_share(&key.key_id).await.unwrap_err());
    gone(two.client().ecdsa().key_info(&key.key_id, &[]).await.unwrap_err());
    gone(two.client().ecdsa().sign(&of_both(), &key.key_id, &[], &DIGEST).await.unwrap_err());
}

async fn a_derived_key_signs_and_is_what_is_derived_without_a_node(kind: Kind) {
    let two = Two::start(kind).await;
    for curve in CurveId::ALL {
        let session = of_both();
        let (key, _) = tokio::join!(
            two.client().ecdsa().generate_key(&session, 1, curve, None),
            two.peer.client.ecdsa().generate_key(&session, 1, curve, None),
        );
        let key = key.unwrap();
        let root = two.client().ecdsa().chain_code(&key.key_id, &[]).await.unwrap();
        for path in [&[][..], &[44, 0, 1]] {
            let public_key = two.client().ecdsa().public_key(&key.key_id, path).await.unwrap();
            let offline = tsm_sdk::ecdsa::derive_public_key(&key.public_key, &root, path).unwrap();
            assert_eq!((&offline, offline == key.public_key), (&public_key, path.is_empty()));
            let chain_code = two.client().ecdsa().chain_code(&key.key_id, path).await.unwrap();
            let offline = tsm_sdk::ecdsa::derive_chain_code(&key.public_key, &root, path).unwrap();
            assert_eq!(offline, chain_code);
            let info = two.client().ecdsa().key_info(&key.key_id, path).await.unwrap();
            assert_eq!((info.public_key, info.players), (public_key.clone(), vec![0, 1]));

            let (session, digest) = (of_both(), vec![9; curve_digest_bytes(curve)]);
            let (one, other) = tokio::join!(
                two.client().ecdsa().sign(&session, &key.key_id, path, &digest),
                two.peer.client.ecdsa().sign(&session, &key.key_id, path, &digest),
            );
            let parts = [one.unwrap().partial_signature, other.unwrap().partial_signature];
            let signature = tsm_sdk::ecdsa::finalise_for(&public_key, &digest, &parts).unwrap();
            tsm_sdk::ecdsa::verify(public_key.der(), &digest, signature.der()).unwrap();
            let under_the_root = tsm_sdk::ecdsa::finalise_for(&key.public_key, &digest, &parts);
            assert_eq!(under_the_root.is_ok(), path.is_empty());
        }
    }
}

fn curve_digest_bytes(curve: CurveId) -> usize {
    match curve {
        CurveId::Secp256k1 | CurveId::P256 => 32,
        CurveId::P384 => 48,
        CurveId::P521 => 64,
    }
}

async fn a_path_shorter_than_configured_is_refused_by_every_call_that_takes_one(kind: Kind) {
    let two = Two::start_with(kind, "[DKLS23]\nMinChainPathLength = 2\n").await;
    let key = make_key(two.client(), &two.peer.client, &of_both()).await.unwrap();
    let (ecdsa, id) = (two.client().ecdsa(), &key.key_id);
    for path in [&[][..], &[44]] {
        let refused = [
            ecdsa.sign(&of_both(), id, path, &DIGEST).await.unwrap_err(),
            ecdsa.public_key(id, path).await.unwrap_err(),
            ecdsa.key_info(id, path).await.unwrap_err(),
            ecdsa.chain_code(id, path).await.unwrap_err(),
        ];
        assert!(refused.iter().all(|failure| failure.code == ErrorCode::PathTooShort), "{refused:?}");
        assert!(refused[0].detail.contains("at least 2"), "{}", refused[0]);
    }
    ecdsa.public_key(id, &[44, 0]).await.unwrap();
    ecdsa.chain_code(id, &[44, 0]).await.unwrap();
}

async fn on_every_curve(kind: Kind) {
    let two = Two::start(kind).await;
    for (curve, digest) in
        [(CurveId::Secp256k1, 32), (CurveId::P256, 32), (CurveId::P384, 48), (CurveId::P521, 64)]
    {
        let (session, id) = (of_both(), curve.name().replace('-', ""));
        let (key, same) = tokio::join!(
            two.client().ecdsa().generate_key(&session, 1, curve, Some(&id)),
            two.peer.client.ecdsa().generate_key(&session, 1, curve, Some(&id)),
        );
        let key = key.unwrap();
        assert_eq!((&key.key_id, &key), (&id, &same.unwrap()));
        let (digest, session) = (vec![7; digest], of_both());
        let (one, other) = tokio::join!(
            two.client().ecdsa().sign(&session, &key.key_id, &[], &digest),
            two.peer.client.ecdsa().sign(&session, &key.key_id, &[], &digest),
        );
        let parts = [one.unwrap().partial_signature, other.unwrap().partial_signature];
        tsm_sdk::ecdsa::finalise_for(&key.public_key, &digest, &parts).unwrap();
    }
}

async fn presignatures_go_there_and_back(kind: Kind) {
    let two = Two::start(kind).await;
    let key = make_key(two.client(), &two.peer.client, &of_both()).await.unwrap();
    let (own, others) = (two.client().ecdsa(), two.peer.client.ecdsa());
    let session = of_both();
    let (made, same) = tokio::join!(
        own.generate_presignatures(&session, &key.key_id, 3),
        others.generate_presignatures(&session, &key.key_id, 3),
    );
    let made = made.unwrap();
    assert_eq!((made.presignature_ids.len(), &made), (3, &same.unwrap()));
    let held = |count| vec![PresignatureSet { players: vec![0, 1], count }];
    assert_eq!(own.count_presignatures(&key.key_id).await.unwrap(), held(3));

    // One node chooses, the other is asked for the same.
    let first = own.sign_with_presignature(&key.key_id, None, None, &[], &DIGEST).await.unwrap();
    assert_eq!((&first.presignature_id, &first.players[..]), (&made.presignature_ids[0], &[0, 1][..]));
    let id = Some(first.presignature_id.as_str());
    let second = others.sign_with_presignature(&key.key_id, id, Some(&[0, 1]), &[], &DIGEST).await.unwrap();
    let parts = [&first.partial_signature, &second.partial_signature];
    tsm_sdk::ecdsa::finalise_for(&key.public_key, &DIGEST, &parts).unwrap();
    assert_eq!(own.sign_with_presignature(&key.key_id, id, None, &[], &DIGEST).await.unwrap(), first);

    // Parts of different presignatures do not join.
    let other = others.sign_with_presignature(&key.key_id, None, None, &[], &DIGEST).await.unwrap();
    let mixed = [&first.partial_signature, &other.partial_signature];
    let refused = tsm_sdk::ecdsa::finalise(&DIGEST, &mixed).unwrap_err();
    assert_eq!(refused.code, ErrorCode::PartialsInvalid);
    assert!(refused.detail.contains("presignature"), "{refused}");

    assert_eq!(own.count_presignatures(&key.key_id).await.unwrap(), held(2));
    assert_eq!(own.delete_presignatures(&key.key_id).await.unwrap(), 2);
    assert!(own.count_presignatures(&key.key_id).await.unwrap().is_empty());
}

async fn a_pool_keeps_presignatures_in_supply_and_signs_with_and_without(kind: Kind) {
    let two = Two::start(kind).await;
    let key = make_key(two.client(), &two.peer.client, &of_both()).await.unwrap();
    let signers = vec![two.client().clone(), two.peer.client.clone()];
    let marks = WaterMarks { low: 2, high: 3, batch: 2 };
    let pool = PresignaturePool::start(signers, of_both(), &key.key_id, marks).unwrap();
    let supply = async |wanted: u64| {
        while pool.status().supply != wanted {
            assert_eq!(pool.status().failure, None);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    supply(3).await;
    let child = two.client().ecdsa().public_key(&key.key_id, &[7]).await.unwrap();
    pool.sign(&key.public_key, &[], &DIGEST).await.unwrap();
    pool.sign(&child, &[7], &DIGEST).await.unwrap();
    assert_eq!((pool.status().signed, pool.status().signed_live), (2, 0));
    // Filled again, and what somebody else takes away is noticed.
    supply(3).await;
    two.peer.client.ecdsa().delete_presignatures(&key.key_id).await.unwrap();
    pool.sign(&child, &[7], &DIGEST).await.unwrap();
    assert_eq!((pool.status().signed, pool.status().signed_live), (2, 1));
    supply(3).await;
    let refused = pool.sign(&key.public_key, &[7], &DIGEST).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PartialsInvalid, "the key is not the one at the path");
}

async fn presignatures_that_cannot_be_used_have_their_codes(kind: Kind) {
    let limits = "[DKLS23]\nPresigGenRequestLimit = 2\nPresigGenGlobalLimit = 1\n";
    let two = Two::start_with(kind, limits).await;
    let key = make_key(two.client(), &two.peer.client, &of_both()).await.unwrap();
    let (own, others) = (two.client().ecdsa(), two.peer.client.ecdsa());
    for (count, code) in [
        (0, ErrorCode::RequestInvalidField),
        (101, ErrorCode::RequestInvalidField),
        (3, ErrorCode::PresignatureLimit),
        (2, ErrorCode::PresignatureLimit),
    ] {
        let refused = own.generate_presignatures(&of_both(), &key.key_id, count).await.unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    }
    let session = of_both();
    let (made, _) = tokio::join!(
        own.generate_presignatures(&session, &key.key_id, 1),
        others.generate_presignatures(&session, &key.key_id, 1),
    );
    let id = &made.unwrap().presignature_ids[0];
    let unknown = "00".repeat(32);
    for (key_id, id, path, digest, code) in [
        ("absent", Some(id.as_str()), &[][..], &DIGEST[..], ErrorCode::PresignatureNotFound),
        (&key.key_id, Some(&unknown), &[], &DIGEST, ErrorCode::PresignatureNotFound),
        (&key.key_id, Some("any"), &[], &DIGEST, ErrorCode::RequestInvalidField),
        (&key.key_id, Some(id), &[1 << 31], &DIGEST, ErrorCode::PathHardened),
        (&key.key_id, Some(id), &[], &DIGEST[1..], ErrorCode::DigestInvalid),
        (&key.key_id, Some(id), &[], &[0; 32], ErrorCode::DigestInvalid),
    ] {
        let refused = own.sign_with_presignature(key_id, id, None, path, digest).await.unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    }
    own.sign_with_presignature(&key.key_id, Some(id), None, &[], &DIGEST).await.unwrap();
    let used = own.sign_with_presignature(&key.key_id, Some(id), None, &[], &[8; 32]).await.unwrap_err();
    assert_eq!(used.code, ErrorCode::PresignatureUsed);
    assert_eq!(own.count_presignatures("absent").await.unwrap_err().code, ErrorCode::KeyNotFound);
    assert_eq!(own.delete_presignatures("absent").await.unwrap_err().code, ErrorCode::KeyNotFound);
}

async fn what_the_caller_can_repair_has_its_code(kind: Kind) {
    let two = Two::start(kind).await;
    let key = make_key(two.client(), &two.peer.client, &of_both()).await.unwrap();
    let (own, others) = (two.keys[0].public().der(), two.keys[1].public().der());
    let stranger = generate_identity();
    let stranger = stranger.public().der();
    let ecdsa = two.client().ecdsa();

    for (session, threshold, code) in [
        (of_both(), 0, ErrorCode::ThresholdInvalid),
        (of_both(), 2, ErrorCode::ThresholdInvalid),
        (session(&[0, 0], &[]), 1, ErrorCode::PlayersInvalid),
        (session(&[0], &[]), 1, ErrorCode::PlayersInvalid),
        (session(&[1, 2], &[(2, stranger)]), 1, ErrorCode::PlayersInvalid),
        (session(&[0, 2], &[]), 1, ErrorCode::PlayersUnknownKey),
        (session(&[0, 2], &[(2, stranger)]), 1, ErrorCode::PlayersNoAddress),
        (session(&[0, 1, 2], &[(2, others)]), 1, ErrorCode::PlayersDuplicateKey),
        (session(&[0, 1, 2], &[(2, own)]), 1, ErrorCode::PlayersDuplicateKey),
        (session(&[0, 1], &[(0, stranger)]), 1, ErrorCode::PlayersOwnKey),
        (session(&[0, 1], &[(2, stranger)]), 1, ErrorCode::RequestInvalidField),
        (session(&[0, 1], &[(0, &[1, 2])]), 1, ErrorCode::RequestInvalidField),
        (of_both().with_session_timeout(Duration::ZERO), 1, ErrorCode::RequestInvalidField),
        (
            of_both().with_dynamic_addresses([(1, "host".to_owned())].into()),
            1,
            ErrorCode::RequestInvalidField,
        ),
        (session(&(0..40_000).collect::<Vec<_>>(), &[]), 1, ErrorCode::RequestTooLarge),
    ] {
        let refused = ecdsa.generate_key(&session, threshold, CurveId::P256, None).await.unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    }
    let bad_id = ecdsa.generate_key(&of_both(), 1, CurveId::P256, Some("a b")).await.unwrap_err();
    assert_eq!(bad_id.code, ErrorCode::RequestInvalidField);

    for (session, id, path, digest, code) in [
        (of_both(), "absent", &[][..], &DIGEST[..], ErrorCode::KeyNotFound),
        (of_both(), "../a", &[], &DIGEST, ErrorCode::RequestInvalidField),
        (of_both(), &key.key_id, &[1 << 31], &DIGEST, ErrorCode::PathHardened),
        (of_both(), &key.key_id, &[0; 51], &DIGEST, ErrorCode::PathInvalid),
        (of_both(), &key.key_id, &[], &DIGEST[1..], ErrorCode::DigestInvalid),
        (of_both(), &key.key_id, &[], &[7; 48], ErrorCode::DigestInvalid),
    ] {
        let refused = ecdsa.sign(&session, id, path, digest).await.unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    }
    for id in ["", "a/b", "a b"] {
        let code = |failure: Failure| assert_eq!(failure.code, ErrorCode::RequestInvalidField, "{id:?}");
        code(ecdsa.key_info(id, &[]).await.unwrap_err());
        code(two.client().key_management().delete_key_share(id).await.unwrap_err());
    }
    let again = |client: &Client| {
        let (client, id) = (client.clone(), key.key_id.clone());
        async move { client.ecdsa().generate_key(&of_both(), 1, CurveId::Secp256k1, Some(&id)).await }
    };
    assert_eq!(again(two.client()).await.unwrap_err().code, ErrorCode::KeyExists);
}

async fn what_the_configuration_forbids_has_its_code(kind: Kind) {
    let two = Two::start_with(kind, "[DKLS23.Features]\nSign = true\n").await;
    let ecdsa = two.client().ecdsa();
    let disabled = [
        ecdsa.generate_key(&of_both(), 1, CurveId::P256, None).await.unwrap_err(),
        ecdsa.key_info("key1", &[]).await.unwrap_err(),
        ecdsa.chain_code("key1", &[]).await.unwrap_err(),
        ecdsa.generate_presignatures(&of_both(), "key1", 1).await.unwrap_err(),
        ecdsa.sign_with_presignature("key1", None, None, &[], &DIGEST).await.unwrap_err(),
    ];
    assert!(disabled.iter().all(|failure| failure.code == ErrorCode::OperationDisabled), "{disabled:?}");

    let strict = "[DKLS23]\n[Session]\nRejectConflictingDynamicKeys = true\nMaxSessions = 1\n";
    let two = Two::start_with(kind, strict).await;
    let ecdsa = two.client().ecdsa();
    let stranger = generate_identity();
    let conflicting = session(&[0, 1], &[(1, stranger.public().der())]);
    let refused = ecdsa.generate_key(&conflicting, 1, CurveId::P256, None).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PlayersConflictingKey);
    let (first, second) = (of_both(), of_both());
    let waits = ecdsa.generate_key(&first, 1, CurveId::P256, None);
    let full = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ecdsa.generate_key(&second, 1, CurveId::P256, None).await.unwrap_err()
    };
    tokio::select! {
        result = waits => panic!("{result:?}"),
        failure = full => assert_eq!(failure.code, ErrorCode::SessionLimit),
    }
}

async fn a_session_that_players_see_differently_names_the_field(kind: Kind) {
    let two = Two::start(kind).await;
    let session = of_both();
    let (own, others) = tokio::join!(
        two.client().ecdsa().generate_key(&session, 1, CurveId::P256, None),
        two.peer.client.ecdsa().generate_key(&session, 1, CurveId::P384, None),
    );
    for failure in [own.unwrap_err(), others.unwrap_err()] {
        assert_eq!(failure.code, ErrorCode::SessionDisagreement, "{failure}");
    }
}

async fn a_player_that_does_not_come_is_named(kind: Kind) {
    let two = Two::start(kind).await;
    let session = of_both().with_connect_timeout(Duration::from_millis(300));
    let failure = two.client().ecdsa().generate_key(&session, 1, CurveId::P256, None).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SessionPlayersMissing);
    assert_eq!(failure.players[0].player, PlayerIndex(1));
}

async fn a_session_takes_no_longer_than_it_may(kind: Kind) {
    let two = Two::start(kind).await;
    let session = of_both().with_session_timeout(Duration::from_millis(300));
    let failure = two.client().ecdsa().generate_key(&session, 1, CurveId::P256, None).await.unwrap_err();
    let reasons = [ErrorCode::SessionTimeout, ErrorCode::SessionPlayersMissing];
    assert!(reasons.contains(&failure.code), "{failure}");
}

/// A session that waits for a third player.
fn of_three(two: &Two, third: &IdentityKey) -> SessionConfig {
    let keys = [(0, two.keys[0].public().der()), (2, third.public().der())];
    let addresses = [(2, "127.0.0.1:1".to_owned())].into();
    session(&[0, 1, 2], &keys).with_dynamic_addresses(addresses)
}

/// Both wait for a third player; `then` happens; what the one under test and its peer are told.
async fn while_waiting(two: &Two, then: impl Future<Output = ()>) -> (Failure, Failure) {
    let third = generate_identity();
    let session = of_three(two, &third);
    let own = two.client().ecdsa().generate_key(&session, 1, CurveId::P256, None);
    let others = two.peer.client.ecdsa().generate_key(&session, 1, CurveId::P256, None);
    let then = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        then.await;
    };
    let (own, others, ()) = tokio::join!(own, others, then);
    (own.unwrap_err(), others.unwrap_err())
}

async fn a_caller_who_leaves_ends_the_session_for_all(kind: Kind) {
    let two = Two::start(kind).await;
    let third = generate_identity();
    let session = of_three(&two, &third);
    let ecdsa = two.client().ecdsa();
    let own = tokio::time::timeout(
        Duration::from_millis(500),
        ecdsa.generate_key(&session, 1, CurveId::P256, None),
    );
    let others = two.peer.client.ecdsa();
    let (own, others) = tokio::join!(own, others.generate_key(&session, 1, CurveId::P256, None));
    own.unwrap_err();
    let failure = others.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SessionCancelled, "{failure}");
    assert_eq!(failure.players[0].player, PlayerIndex(0));

    let session = of_three(&two, &third);
    let others = tokio::time::timeout(
        Duration::from_millis(500),
        two.peer.client.ecdsa().generate_key(&session, 1, CurveId::P256, None),
    )
    .await;
    others.unwrap_err();
    let failure = ecdsa.generate_key(&session, 1, CurveId::P256, None).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::SessionCancelled, "{failure}");
}

async fn a_peer_that_stops_is_named(kind: Kind) {
    let mut two = Two::start(kind).await;
    let stopped = Player::start(Kind::Embedded, 9, &generate_identity(), "").await;
    let peer = std::mem::replace(&mut two.peer, stopped);
    let client = peer.client.clone();
    let third = generate_identity();
    let session = of_three(&two, &third);
    let ecdsa = two.client().ecdsa();
    let others = client.ecdsa();
    let (own, others, ()) = tokio::join!(
        ecdsa.generate_key(&session, 1, CurveId::P256, None),
        others.generate_key(&session, 1, CurveId::P256, None),
        async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            peer.stop().await;
        },
    );
    assert_eq!(others.unwrap_err().code, ErrorCode::NodeStopping);
    let failure = own.unwrap_err();
    assert_eq!(failure.code, ErrorCode::PlayerStopping, "{failure}");
    assert_eq!(failure.players[0].player, PlayerIndex(1));
}

async fn a_node_that_stops_says_so_in_its_sessions(kind: Kind) {
    let mut two = Two::start(kind).await;
    let stand_in = Player::start(Kind::Embedded, 9, &generate_identity(), "").await;
    let subject = std::mem::replace(&mut two.subject, stand_in);
    // The client outlives the node.
    two.subject.client = subject.client.clone();
    let (own, others) = while_waiting(&two, subject.stop()).await;
    assert_eq!(own.code, ErrorCode::NodeStopping, "{own}");
    assert_eq!(others.code, ErrorCode::PlayerStopping, "{others}");
    let after = two.client().key_management().list_keys().await.unwrap_err();
    match kind {
        Kind::Remote => assert_eq!(after.code, ErrorCode::NodeUnreachable),
        Kind::Embedded => assert_eq!(after.code, ErrorCode::NodeStopping),
    }
}

async fn a_peer_with_another_key_is_named(kind: Kind) {
    let [zero, one, expected] = [generate_identity(), generate_identity(), generate_identity()];
    let peer = Player::listening(Kind::Remote, 1, &one, "").await;
    let known = knows(1, Some(&expected), Some(&peer.address()));
    let subject = Player::start(kind, 0, &zero, &known).await;
    let session = session(&[0, 1], &[]).with_connect_timeout(Duration::from_secs(1));
    let failure = subject.client.ecdsa().generate_key(&session, 1, CurveId::P256, None).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::LinkWrongKey, "{failure}");
    assert!(failure.to_string().contains(&one.public().fingerprint().to_string()), "{failure}");
}

async fn a_repeated_call_has_the_same_outcome(kind: Kind) {
    let two = Two::start(kind).await;
    let key = make_key(two.client(), &two.peer.client, &of_both()).await.unwrap();
    let session = of_both();
    let (own, _) = both_parts(two.client(), &two.peer.client, &session, &key.key_id).await;
    let again = two.client().ecdsa().sign(&session, &key.key_id, &[], &DIGEST).await;
    assert_eq!(again, own);
    let other = two.client().ecdsa().sign(&session, &key.key_id, &[], &[8; 32]).await.unwrap_err();
    assert_eq!(other.code, ErrorCode::SessionConflict);
}
