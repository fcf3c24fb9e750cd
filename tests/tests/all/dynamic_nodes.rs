//! The claims of docs/dynamic-nodes.md that need a network but no processes, sentence by sentence.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tsm_crypto::hedged::test_rng;
use tsm_crypto::{CurveId, IdentityKey};
use tsm_tests::{Answers, Network, application, join};
use tsm_types::request::{GenerateKey, KeyInfo, SessionRequest, SignEcdsa, Signed};
use tsm_types::{ApplicationId, DerivationPath, ErrorCode, Failure, KeyId, PlayerIndex, PlayerKey};

use crate::pipes;

const DIGEST: [u8; 32] = [7; 32];

/// A public key of nobody.
fn another_key() -> PlayerKey {
    IdentityKey::generate(&mut test_rng(99)).public().clone()
}

/// Asks all players for a key; each caller says what `say` makes of the session for its node.
async fn generate(
    network: &Network,
    session: &SessionRequest,
    say: impl Fn(u16, &mut SessionRequest),
) -> Answers<KeyInfo> {
    network
        .ask(session, |node| {
            let mut session = session.clone();
            say(node.player().0, &mut session);
            let request = GenerateKey { session, curve: CurveId::Secp256k1, threshold: 1, key_id: None };
            let application = network.application.clone();
            async move { node.generate_key(&application, request).await }
        })
        .await
}

fn all_the_same(answers: Answers<KeyInfo>, case: &str) -> KeyInfo {
    let keys: Vec<KeyInfo> = answers.into_values().map(|answer| answer.expect(case)).collect();
    assert!(keys.iter().all(|key| key.public_key == keys[0].public_key), "{case}");
    keys[0].clone()
}

fn failure<T>(answers: &Answers<T>, player: u16) -> &Failure {
    match &answers[&player] {
        Ok(_) => panic!("player {player} succeeded"),
        Err(failure) => failure,
    }
}

fn sign_request(session: &SessionRequest, key_id: &KeyId, digest: [u8; 32]) -> SignEcdsa {
    SignEcdsa {
        session: session.clone(),
        key_id: key_id.clone(),
        path: DerivationPath::ROOT,
        digest: digest.to_vec(),
    }
}

async fn signs(network: &Network, id: &str, players: &[u16], key_id: &KeyId) {
    join(&DIGEST, &network.sign(&network.session(id, players), key_id, &DIGEST).await);
}

#[tokio::test(start_paused = true)]
async fn dn1_a_session_of_static_players_names_indices_and_nothing_else() {
    let network = Network::start_knowing(4, 101, |_, _| true).await;
    let session = network.session("run", &[0, 2, 3]);
    assert!(session.dynamic_public_keys.is_empty() && session.dynamic_addresses.is_empty());
    let key = all_the_same(generate(&network, &session, |_, _| {}).await, "static players");
    signs(&network, "sign", &[0, 2], &key.key_id).await;
}

#[tokio::test(start_paused = true)]
async fn dn2_a_player_that_no_configuration_knows_takes_part_by_the_key_that_comes_with_the_session() {
    let network = Network::start(3, 102).await;
    let session = network.session("run", &[0, 1, 2]);
    assert_eq!(session.dynamic_public_keys, BTreeMap::from([(PlayerIndex(0), network.key(0).clone())]));
    let key = all_the_same(generate(&network, &session, |_, _| {}).await, "player 0 is dynamic");
    signs(&network, "sign", &[0, 1], &key.key_id).await;

    // Without the key, the nodes that lack it refuse at once and say whose it is.
    let answers = generate(&network, &network.session("without", &[0, 1, 2]), |_, session| {
        session.dynamic_public_keys.clear();
    })
    .await;
    for player in [1, 2] {
        let failure = failure(&answers, player);
        assert_eq!((failure.code, failure.players[0].player), (ErrorCode::PlayersUnknownKey, PlayerIndex(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn dn3_a_key_that_is_not_the_one_in_the_players_own_configuration_makes_no_session() {
    let network = Network::start(2, 103).await;
    let session = network.session("run", &[0, 1]);
    let wrong = another_key();
    let answers = generate(&network, &session, |_, session| {
        session.dynamic_public_keys.insert(PlayerIndex(0), wrong.clone());
    })
    .await;
    // The player's own node sees it before anybody is spoken to.
    let own = failure(&answers, 0);
    assert_eq!(own.code, ErrorCode::PlayersOwnKey, "{own}");
    assert!(own.detail.contains(&wrong.fingerprint().to_string()), "{own}");
    assert!(own.detail.contains(&network.key(0).fingerprint().to_string()), "{own}");
    // The others meet nobody who can prove it.
    let other = failure(&answers, 1);
    assert_eq!((other.code, other.players[0].player), (ErrorCode::SessionPlayersMissing, PlayerIndex(0)));
    for player in [0, 1] {
        assert_eq!(network.node(player).list_keys(&network.application).await.unwrap(), []);
    }
}

/// Every way in which the configurations of three nodes can know each other: 2^6.
#[tokio::test(start_paused = true)]
async fn dn4_a_player_may_be_static_at_one_node_and_dynamic_at_another() {
    const PAIRS: [(u16, u16); 6] = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
    for mask in 0..1u8 << PAIRS.len() {
        let knows = move |node: u16, other: u16| {
            PAIRS.iter().position(|pair| *pair == (node, other)).is_some_and(|place| mask >> place & 1 == 1)
        };
        let network = Network::start_knowing(3, 104, knows).await;
        let session =
            SessionRequest { dynamic_public_keys: BTreeMap::new(), ..network.session("run", &[0, 1, 2]) };
        // Each caller gives exactly what its node lacks.
        let answers = generate(&network, &session, |node, session| {
            for other in (0..3).filter(|other| *other != node && !knows(node, *other)) {
                session.dynamic_public_keys.insert(PlayerIndex(other), network.key(other).clone());
            }
        })
        .await;
        let key = all_the_same(answers, &format!("mask {mask:06b}"));
        assert_eq!(key.notices, [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn dn5_nodes_that_find_different_keys_for_a_player_do_not_start_and_are_told_whose() {
    // Player 0 is static at node 1 and dynamic at node 2, whose caller gives another key.
    let network = Network::start_knowing(3, 105, |node, other| other != 0 || node == 1).await;
    let wrong = another_key();
    let before = Instant::now();
    let answers = generate(&network, &network.session("run", &[0, 1, 2]), |node, session| {
        if node == 2 {
            session.dynamic_public_keys.insert(PlayerIndex(0), wrong.clone());
        }
    })
    .await;
    assert!(before.elapsed() < Duration::from_secs(2), "nobody waits for a deadline");
    for player in 0..3 {
        assert_eq!(failure(&answers, player).code, ErrorCode::SessionDisagreement, "player {player}");
    }
    let difference = &failure(&answers, 2).differences[0];
    assert_eq!((difference.field.as_str(), difference.player), ("players", Some(PlayerIndex(0))));
    assert_eq!(difference.ours, wrong.fingerprint().to_string());
    assert_eq!(difference.theirs, network.key(0).fingerprint().to_string());
}

#[tokio::test(start_paused = true)]
async fn dn6_a_configured_key_goes_before_a_dynamic_one_that_differs_and_the_reply_says_so() {
    let network = Network::start(3, 106).await;
    let wrong = another_key();
    let answers = generate(&network, &network.session("run", &[0, 1, 2]), |node, session| {
        if node == 1 {
            session.dynamic_public_keys.insert(PlayerIndex(2), wrong.clone());
        }
    })
    .await;
    for (player, answer) in &answers {
        let notices = &answer.as_ref().expect("the configured key is used").notices;
        let told = notices.iter().any(|notice| notice.contains(&wrong.fingerprint().to_string()));
        assert_eq!(told, *player == 1, "player {player}: {notices:?}");
    }
    // A dynamic key that equals the configured one needs no notice.
    let answers = generate(&network, &network.session("same", &[0, 1, 2]), |node, session| {
        if node == 1 {
            session.dynamic_public_keys.insert(PlayerIndex(2), network.key(2).clone());
        }
    })
    .await;
    assert_eq!(all_the_same(answers, "the same key twice").notices, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn dn6_where_the_operator_wants_it_a_dynamic_key_that_differs_is_an_error() {
    let settings = tsm_node::Settings { reject_conflicting_dynamic_keys: true, ..Default::default() };
    let network = Network::start_with(3, 106, settings).await;
    let wrong = another_key();
    let answers = generate(&network, &network.session("run", &[0, 1, 2]), |node, session| {
        if node == 1 {
            session.dynamic_public_keys.insert(PlayerIndex(2), wrong.clone());
        }
    })
    .await;
    let refused = failure(&answers, 1);
    assert_eq!((refused.code, refused.players[0].player), (ErrorCode::PlayersConflictingKey, PlayerIndex(2)));
}

#[tokio::test(start_paused = true)]
async fn dn7_each_users_key_is_shared_by_the_server_and_that_users_instance_alone() {
    let alice = Network::start(2, 107).await;
    let bob = alice.with_another_player_0(1, alice.application.as_str()).await;
    let key_a = alice.make_key(CurveId::Secp256k1, 1).await;
    let session = bob.session("make-bobs", &[0, 1]);
    let key_b = all_the_same(generate(&bob, &session, |_, _| {}).await, "Bob's key");
    assert_ne!(key_a.public_key, key_b.public_key);
    let keys_of = async |network: &Network, player| {
        network.node(player).list_keys(&network.application).await.expect("the list of keys")
    };
    assert_eq!(keys_of(&alice, 0).await, std::slice::from_ref(&key_a.key_id));
    assert_eq!(keys_of(&bob, 0).await, std::slice::from_ref(&key_b.key_id));
    let mut both = vec![key_a.key_id.clone(), key_b.key_id.clone()];
    both.sort();
    assert_eq!(keys_of(&alice, 1).await, both);
    signs(&alice, "sign-a", &[0, 1], &key_a.key_id).await;
    signs(&bob, "sign-b", &[0, 1], &key_b.key_id).await;
}

/// A network of the server and Alice's phone, and her key.
async fn with_a_key(seed: u64) -> (Network, KeyInfo) {
    let network = Network::start(2, seed).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    (network, key)
}

/// Asks both; `say` is what each caller says.
async fn sign_saying(network: &Network, key: &KeyInfo, say: impl Fn(u16) -> SignEcdsa) -> Answers<Signed> {
    assert_eq!(key.holders.len(), 2);
    network
        .ask(&network.session("who", &[0, 1]), |node| {
            let (request, application) = (say(node.player().0), network.application.clone());
            async move { node.sign(&application, request).await }
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn dn8_a_signature_needs_both_callers_the_same_session_id_and_the_same_message() {
    let (network, key) = with_a_key(108).await;
    // Only the server is asked.
    let alone = sign_request(&network.session("alone", &[0, 1]), &key.key_id, DIGEST);
    let refused = network.node(1).sign(&network.application, alone).await.unwrap_err();
    assert_eq!((refused.code, refused.players[0].player), (ErrorCode::SessionPlayersMissing, PlayerIndex(0)));

    let by_player = |player: u16| if player == 0 { "mine" } else { "yours" };
    let answers = sign_saying(&network, &key, |player| {
        sign_request(&network.session(by_player(player), &[0, 1]), &key.key_id, DIGEST)
    })
    .await;
    for player in [0, 1] {
        assert_eq!(failure(&answers, player).code, ErrorCode::SessionPlayersMissing, "player {player}");
    }

    let answers = sign_saying(&network, &key, |player| {
        let digest = [u8::try_from(player).unwrap() + 1; 32];
        sign_request(&network.session("differ", &[0, 1]), &key.key_id, digest)
    })
    .await;
    for player in [0, 1] {
        let refused = failure(&answers, player);
        assert_eq!(refused.code, ErrorCode::SessionDisagreement, "player {player}");
        assert_eq!(refused.differences[0].field, "digest", "player {player}");
    }
    signs(&network, "agreed", &[0, 1], &key.key_id).await;
}

#[tokio::test(start_paused = true)]
async fn dn8_the_servers_caller_must_give_the_public_key_of_the_users_own_instance() {
    let (alice, key) = with_a_key(108).await;
    let bob = alice.with_another_player_0(1, alice.application.as_str()).await;
    let with_bob = sign_request(&bob.session("wrong-phone", &[0, 1]), &key.key_id, DIGEST);
    let refused = alice.node(1).sign(&alice.application, with_bob).await.unwrap_err();
    assert_eq!((refused.code, refused.players[0].player), (ErrorCode::KeyOtherHolder, PlayerIndex(0)));
    let mut without = sign_request(&alice.session("no-phone", &[0, 1]), &key.key_id, DIGEST);
    without.session.dynamic_public_keys.clear();
    let refused = alice.node(1).sign(&alice.application, without).await.unwrap_err();
    assert_eq!((refused.code, refused.players[0].player), (ErrorCode::PlayersUnknownKey, PlayerIndex(0)));
}

#[tokio::test(start_paused = true)]
async fn dn9_instances_come_and_go_and_nothing_is_said_to_the_server_but_their_keys() {
    let first = Network::start(2, 109).await;
    let mut phones = Vec::new();
    for number in 1..=12 {
        let phone = first.with_another_player_0(number, first.application.as_str()).await;
        let session = phone.session(&format!("make-{number}"), &[0, 1]);
        let key = all_the_same(generate(&phone, &session, |_, _| {}).await, "a new phone");
        phones.push((phone, key));
    }
    // Half of them leave; the others sign, and one that left comes back with its database.
    let (left, stayed) = phones.split_at_mut(6);
    for (phone, _) in left.iter() {
        first.links.disconnect(phone.key(0));
        phone.node(0).stop().await;
    }
    for (number, (phone, key)) in stayed.iter().enumerate() {
        signs(phone, &format!("sign-{number}"), &[0, 1], &key.key_id).await;
    }
    let (back, key) = &mut left[2];
    back.restart(0).await;
    signs(back, "back", &[0, 1], &key.key_id).await;
    let keys = first.node(1).list_keys(&first.application).await.unwrap();
    assert_eq!(keys.len(), 12, "the server keeps the shares of those that are away");
}

#[tokio::test(start_paused = true)]
async fn dn10_instances_and_applications_separate_independently_of_each_other() {
    let (one, key) = with_a_key(110).await;
    // The same instance, but the server's caller logs in to another application.
    let other = ApplicationId::new("otherapp").unwrap();
    let request = sign_request(&one.session("other-login", &[0, 1]), &key.key_id, DIGEST);
    let refused = one.node(1).sign(&other, request).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::KeyNotFound);
    assert_eq!(one.node(1).list_keys(&other).await.unwrap(), []);
    // The same application, another instance.
    let two = one.with_another_player_0(1, one.application.as_str()).await;
    let answers = two.sign(&two.session("other-phone", &[0, 1]), &key.key_id, &DIGEST).await;
    assert_eq!(failure(&answers, 1).code, ErrorCode::KeyOtherHolder);
    assert_eq!(failure(&answers, 0).code, ErrorCode::KeyNotFound);
    // Two applications may name their keys alike.
    signs(&one, "own", &[0, 1], &key.key_id).await;
}

#[tokio::test(start_paused = true)]
async fn dn12_with_direct_links_the_player_of_the_smallest_index_can_always_be_dynamic() {
    // Nobody knows anybody's key but by what callers say; addresses of players 1 and up are known.
    for players in [&[0, 1][..], &[1, 2], &[2, 3], &[0, 3], &[0, 1, 2, 3], &[1, 2, 3]] {
        let smallest = players[0];
        let network = Network::start_knowing(4, 112, move |_, other| other != smallest).await;
        let session = network.session("run", players);
        assert_eq!(session.dynamic_public_keys.len(), 1);
        all_the_same(generate(&network, &session, |_, _| {}).await, &format!("{players:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn dn13_another_player_needs_an_address_and_who_would_have_to_connect_refuses_at_once() {
    // Node 0 has direct links only and knows nothing of player 5, not even where it is.
    let linked = pipes::node(0, Vec::new(), None).await;
    let session = pipes::session("run", &[0, 5]);
    let before = Instant::now();
    let request = GenerateKey { session, curve: CurveId::P256, threshold: 1, key_id: None };
    let refused = linked.node().generate_key(&application(), request).await.unwrap_err();
    assert_eq!((refused.code, refused.players[0].player), (ErrorCode::PlayersNoAddress, PlayerIndex(5)));
    assert!(refused.hint().contains("dynamic_addresses"), "{}", refused.hint());
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
}
