//! A dynamic node inside an app, beside static ones that serve (docs/dynamic-nodes.md).

use tsm_sdk::{CurveId, generate_identity};

use crate::players::{DIGEST, Kind, Player, knows, session};

#[tokio::test]
async fn dn16_the_dynamic_node_may_run_inside_an_app() {
    let [app, one, two] = [0; 3].map(|_| generate_identity());
    let node_2 = Player::listening(Kind::Remote, 2, &two, &knows(1, Some(&one), None)).await;
    let at_2 = node_2.address();
    let node_1 = Player::listening(Kind::Remote, 1, &one, &knows(2, Some(&two), Some(&at_2))).await;
    let both = knows(1, Some(&one), Some(&node_1.address())) + &knows(2, Some(&two), Some(&at_2));
    let node_0 = Player::start(Kind::Embedded, 0, &app, &both).await;

    let of_all = session(&[0, 1, 2], &[(0, app.public().der())]);
    let clients = [&node_0, &node_1, &node_2].map(|player| player.client.ecdsa());
    let [make_0, make_1, make_2] =
        [0, 1, 2].map(|at: usize| clients[at].generate_key(&of_all, 1, CurveId::Secp256k1, None));
    let (key, at_1, at_2) = tokio::try_join!(make_0, make_1, make_2).unwrap();
    assert!(at_1.key_id == key.key_id && at_2.key_id == key.key_id);

    let of_two = session(&[0, 2], &[(0, app.public().der())]);
    let [sign_0, sign_2] = [0, 2].map(|at: usize| clients[at].sign(&of_two, &key.key_id, &[], &DIGEST));
    let (part_0, part_2) = tokio::try_join!(sign_0, sign_2).unwrap();
    let parts = [part_0.partial_signature, part_2.partial_signature];
    tsm_sdk::ecdsa::finalise_for(&key.public_key, &DIGEST, &parts).unwrap();
}
