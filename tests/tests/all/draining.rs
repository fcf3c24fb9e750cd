//! A node that is asked to stop: what runs ends, what is new is refused by name, and everybody is told.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tsm_crypto::CurveId;
use tsm_node::Settings;
use tsm_storage::memory::Fault;
use tsm_tests::{Network, application, join};
use tsm_transport::memory::Delivery;
use tsm_types::request::{GenerateKey, KeyInfo, SessionRequest, SignEcdsa};
use tsm_types::{DerivationPath, ErrorCode, Failure, PlayerIndex};

fn key_request(session: &SessionRequest) -> GenerateKey {
    GenerateKey { session: session.clone(), curve: CurveId::Secp256k1, threshold: 1, key_id: None }
}

fn sign_request(session: &SessionRequest, key: &KeyInfo) -> SignEcdsa {
    let (session, key_id) = (session.clone(), key.key_id.clone());
    SignEcdsa { session, key_id, path: DerivationPath::ROOT, digest: vec![7; 32] }
}

const SLOW: Duration = Duration::from_millis(300);

/// Every frame takes its time, so that there is a middle of a session.
fn slow(network: &Network) {
    network.links.set_tamper(Box::new(|frame| vec![Delivery { after: SLOW, bytes: frame.bytes.clone() }]));
}

/// It is said at once which player is stopping.
fn assert_names_the_stopping_player(failure: &Failure, player: u16, since: Instant) {
    assert_eq!(failure.code, ErrorCode::PlayerStopping, "{failure}");
    assert!(failure.players.iter().any(|concern| concern.player == PlayerIndex(player)), "{failure:?}");
    assert!(failure.detail.contains(&format!("player {player} is stopping")), "{failure}");
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_draining_node_lets_the_sessions_that_run_end_and_then_returns() {
    let network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    slow(&network);
    let (making, signing) = (network.session("make", &[0, 1, 2]), network.session("sign", &[0, 1]));
    let begun = Instant::now();
    let drained = async {
        sleep(SLOW / 2).await;
        network.node(1).drain().await;
        (begun.elapsed(), network.node(1).running_sessions())
    };
    let (made, signed, (took, running)) = tokio::join!(
        network.generate_key(&making, CurveId::P256, 1),
        network.sign(&signing, &key.key_id, &[7; 32]),
        drained,
    );
    assert!(made.values().all(Result::is_ok), "{made:?}");
    join(&[7; 32], &signed);
    assert_eq!(running, 0);
    // As long as the longest of them, no longer.
    assert!(took > SLOW * 3 && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_draining_node_refuses_its_caller_and_its_peers_callers_are_told_by_name_at_once() {
    let network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    network.node(1).drain().await;
    // The announcement has arrived: refused where it is asked, and the third is told.
    sleep(Duration::from_millis(10)).await;
    let before = Instant::now();
    let answers = network.generate_key(&network.session("make", &[0, 1, 2]), CurveId::P256, 1).await;
    assert_eq!(answers[&1].as_ref().unwrap_err().code, ErrorCode::NodeStopping);
    for player in [0, 2] {
        assert_names_the_stopping_player(answers[&player].as_ref().unwrap_err(), 1, before);
    }
    let session = network.session("sign", &[0, 1]);
    let alone = network.node(0).sign(&application(), sign_request(&session, &key)).await;
    assert_names_the_stopping_player(&alone.unwrap_err(), 1, before);
    // Others sign without it, and what needs no session still works.
    join(&[7; 32], &network.sign(&network.session("without", &[0, 2]), &key.key_id, &[7; 32]).await);
    assert_eq!(network.node(1).list_keys(&application()).await.unwrap(), [key.key_id]);
    let reasons = network.node(1).not_ready().await;
    assert!(reasons.len() == 1 && reasons[0].contains("stopping"), "{reasons:?}");
    for player in [0, 2] {
        let ways = network.node(player).ways();
        let way = ways.players.iter().find(|way| way.player == PlayerIndex(1)).unwrap();
        assert!(way.stopping && way.status.contains("stopping"), "{ways:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_not_heard_the_announcement_is_refused_by_the_draining_node_itself() {
    let network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    // Nobody hears it.
    const STOPPING: u8 = 9;
    network.links.set_tamper(Box::new(|frame| match frame.bytes[..] {
        [STOPPING] => Vec::new(),
        _ => vec![Delivery::at_once(frame.bytes.clone())],
    }));
    network.node(1).drain().await;
    let session = network.session("sign", &[0, 1]);
    let before = Instant::now();
    let failure = network.node(0).sign(&application(), sign_request(&session, &key)).await.unwrap_err();
    assert_names_the_stopping_player(&failure, 1, before);
}

#[tokio::test(start_paused = true)]
async fn peers_whose_sessions_wait_for_a_caller_of_the_draining_node_are_told_at_once() {
    let network = Network::start(3, 1).await;
    let session = network.session("make", &[0, 1, 2]);
    let (app, stopped) = (application(), async {
        sleep(Duration::from_secs(1)).await;
        network.node(2).drain().await;
        Instant::now()
    });
    let (zero, one, since) = tokio::join!(
        network.node(0).generate_key(&app, key_request(&session)),
        network.node(1).generate_key(&app, key_request(&session)),
        stopped,
    );
    assert_names_the_stopping_player(&zero.unwrap_err(), 2, since);
    assert_names_the_stopping_player(&one.unwrap_err(), 2, since);
}

#[tokio::test(start_paused = true)]
async fn what_the_draining_node_opened_before_also_runs_where_its_peers_callers_come_late() {
    let network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let session = network.session("sign", &[0, 1]);
    let app = application();
    let late = async {
        sleep(Duration::from_secs(3)).await;
        network.node(0).sign(&app, sign_request(&session, &key)).await
    };
    let drained = async {
        sleep(Duration::from_secs(1)).await;
        network.node(1).drain().await;
    };
    let (zero, one, ()) =
        tokio::join!(late, network.node(1).sign(&app, sign_request(&session, &key)), drained);
    join(&[7; 32], &[(0, zero), (1, one)].into());
}

#[tokio::test(start_paused = true)]
async fn draining_ends_at_its_limit_and_what_still_runs_is_ended_with_the_reason() {
    let settings = Settings { drain_timeout: Duration::from_secs(4), ..Settings::default() };
    let network = Network::start_with(3, 1, settings).await;
    let session = network.session("run", &[0, 1, 2]);
    let app = application();
    let stopping = async {
        sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        network.node(1).drain().await;
        assert_eq!(begun.elapsed().as_secs(), 4);
        // Player 2 did not come: the session still waits for it.
        assert_eq!(network.node(1).running_sessions(), 1);
        network.node(1).stop().await;
        begun.elapsed()
    };
    let (zero, one, took) = tokio::join!(
        network.node(0).generate_key(&app, key_request(&session)),
        network.node(1).generate_key(&app, key_request(&session)),
        stopping,
    );
    assert_eq!(one.unwrap_err().code, ErrorCode::NodeStopping);
    assert_eq!(zero.unwrap_err().code, ErrorCode::PlayerStopping);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_asks_again_while_the_node_drains_gets_the_answer_of_its_session() {
    let network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let session = network.session("sign", &[0, 1]);
    let first = network.sign(&session, &key.key_id, &[7; 32]).await;
    network.node(1).drain().await;
    let again = network.node(1).sign(&application(), sign_request(&session, &key)).await;
    assert_eq!(again, first[&1]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_stopped_and_started_again_is_no_longer_stopping_for_its_peers() {
    let mut network = Network::start(3, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    network.node(1).drain().await;
    network.restart(1).await;
    sleep(Duration::from_millis(10)).await;
    assert!(network.node(0).ways().players.iter().all(|way| !way.stopping));
    join(&[7; 32], &network.sign(&network.session("sign", &[0, 1]), &key.key_id, &[7; 32]).await);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_drain_waits_no_longer_and_still_refuses() {
    let network = Network::start(3, 1).await;
    let session = network.session("run", &[0, 1, 2]);
    let app = application();
    let hasty = async {
        sleep(Duration::from_secs(1)).await;
        let waited = timeout(Duration::from_secs(1), network.node(1).drain()).await;
        assert!(waited.is_err(), "a session runs");
        let other = network.session("other", &[0, 1]);
        let refused = network.node(1).generate_key(&app, key_request(&other)).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::NodeStopping);
        network.node(1).stop().await;
    };
    let (one, ()) = tokio::join!(network.node(1).generate_key(&app, key_request(&session)), hasty);
    assert_eq!(one.unwrap_err().code, ErrorCode::NodeStopping);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_fails_is_a_reason_not_to_be_ready() {
    let network = Network::start(2, 1).await;
    assert_eq!(network.node(1).not_ready().await, Vec::<String>::new());
    network.store(1).plan(Fault::CrashBefore(1));
    let made = network.generate_key(&network.session("make", &[0, 1]), CurveId::P256, 1).await;
    assert_eq!(made[&1].as_ref().unwrap_err().code, ErrorCode::StoreUnavailable);
    let reasons = network.node(1).not_ready().await;
    assert!(reasons.len() == 1 && reasons[0].contains("database"), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_player_that_the_draining_node_does_not_expect_is_told_at_once() {
    let network = Network::start_all_dynamic(2, 1).await;
    let draining = network.node(1).clone();
    let app = application();
    // Something runs, so that the node drains for a while.
    let running = network.session("running", &[0, 1]);
    let (_, (), ()) = tokio::join!(
        timeout(Duration::from_secs(5), draining.generate_key(&app, key_request(&running))),
        async {
            sleep(Duration::from_millis(500)).await;
            let _ = timeout(Duration::from_secs(4), draining.drain()).await;
        },
        async {
            sleep(Duration::from_secs(1)).await;
            let before = Instant::now();
            let session = network.session("new", &[0, 1]);
            let refused = network.node(0).generate_key(&app, key_request(&session)).await;
            assert_names_the_stopping_player(&refused.unwrap_err(), 1, before);
        }
    );
}
