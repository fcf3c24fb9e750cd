//! What one tenant may take of a server, and that no other tenant feels it (rule S-104).

use std::time::Duration;

use tokio::time::sleep;
use tsm_crypto::CurveId;
use tsm_node::{Settings, TenantLimits};
use tsm_tests::{Network, join};
use tsm_types::request::GenerateKey;
use tsm_types::{ApplicationId, ErrorCode, Failure, PlayerIndex};

async fn network_with(tenants: TenantLimits) -> Network {
    Network::start_with(2, 71, Settings { tenants, ..Settings::default() }).await
}

/// Leaves `number` sessions in flight at the server: the phone's caller does not come.
async fn occupy(network: &Network, number: usize) {
    for run in 0..number {
        let session = network.session(&format!("waiting-{run}"), &[0, 1]);
        let (node, application) = (network.node(1).clone(), network.application.clone());
        let request = GenerateKey { session, curve: CurveId::Secp256k1, threshold: 1, key_id: None };
        tokio::spawn(async move { node.generate_key(&application, request).await });
    }
    sleep(Duration::from_millis(10)).await;
    assert_eq!(network.node(1).running_sessions(), number);
}

fn assert_names_the_phone(failure: &Failure, network: &Network, limit: usize) {
    let fingerprint = network.key(0).fingerprint().to_string();
    assert_eq!(failure.players[0].player, PlayerIndex(0));
    assert_eq!(failure.players[0].note, fingerprint);
    assert!(failure.detail.contains(&fingerprint), "{failure}");
    assert!(failure.detail.contains(&limit.to_string()), "{failure}");
    assert!(failure.hint().contains("[Tenants]"), "{}", failure.hint());
}

#[tokio::test(start_paused = true)]
async fn s104_a_tenant_with_too_many_sessions_is_refused_by_name_and_another_signs_meanwhile() {
    let one = network_with(TenantLimits { sessions: 3, ..TenantLimits::default() }).await;
    let two = one.with_another_player_0(1, "another-tenant").await;
    let key = two.make_key(CurveId::Secp256k1, 1).await;
    occupy(&one, 3).await;

    let answers = one.generate_key(&one.session("one-more", &[0, 1]), CurveId::Secp256k1, 1).await;
    let failure = answers[&1].as_ref().unwrap_err();
    assert_eq!(failure.code, ErrorCode::TenantSessionLimit);
    assert_names_the_phone(failure, &one, 3);
    // The phone's own caller is told the same at once, and by whom.
    let failure = answers[&0].as_ref().unwrap_err();
    assert_eq!(failure.code, ErrorCode::TenantSessionLimit);
    assert_eq!(failure.players[0].player, PlayerIndex(1));

    join(&[7; 32], &two.sign(&two.session("sign", &[0, 1]), &key.key_id, &[7; 32]).await);
    // The places come back when the sessions end.
    sleep(Duration::from_secs(11)).await;
    one.make_key(CurveId::Secp256k1, 1).await;
}

#[tokio::test(start_paused = true)]
async fn s104_a_static_player_is_not_a_tenant() {
    let network = network_with(TenantLimits { sessions: 1, keys: 1, ..TenantLimits::default() }).await;
    // For the phone the server is static: its own limits stop nothing.
    let request = |run: u32| GenerateKey {
        session: network.session(&format!("run-{run}"), &[0, 1]),
        curve: CurveId::Secp256k1,
        threshold: 1,
        key_id: None,
    };
    for run in 0..5 {
        let (node, application) = (network.node(0).clone(), network.application.clone());
        let request = request(run);
        tokio::spawn(async move { node.generate_key(&application, request).await });
    }
    sleep(Duration::from_millis(10)).await;
    assert_eq!(network.node(0).running_sessions(), 5);
}

#[tokio::test(start_paused = true)]
async fn s104_an_application_with_too_many_sessions_is_refused_and_another_is_not() {
    let limits = TenantLimits { sessions_of_application: Some(2), ..TenantLimits::default() };
    let one = network_with(limits).await;
    occupy(&one, 2).await;
    let answers = one.generate_key(&one.session("one-more", &[0, 1]), CurveId::Secp256k1, 1).await;
    assert_eq!(answers[&1].as_ref().unwrap_err().code, ErrorCode::ApplicationSessionLimit);
    assert_eq!(answers[&0].as_ref().unwrap_err().code, ErrorCode::SessionRefused);
    let mut other = one.with_another_player_0(1, "another-tenant").await;
    other.application = ApplicationId::new("another-application").unwrap();
    other.make_key(CurveId::Secp256k1, 1).await;
}

#[tokio::test(start_paused = true)]
async fn s104_a_tenant_with_as_many_keys_as_it_may_is_refused_until_one_is_deleted() {
    let one = network_with(TenantLimits { keys: 2, ..TenantLimits::default() }).await;
    let two = one.with_another_player_0(1, "another-tenant").await;
    let make = async |network: &Network, run: u32| {
        let session = network.session(&format!("make-{run}"), &[0, 1]);
        network.generate_key(&session, CurveId::Secp256k1, 1).await
    };
    let first = make(&one, 1).await[&1].clone().unwrap();
    make(&one, 2).await[&1].clone().unwrap();

    let refused = make(&one, 3).await;
    assert_eq!(refused[&1].as_ref().unwrap_err().code, ErrorCode::TenantKeyLimit);
    assert_names_the_phone(refused[&1].as_ref().unwrap_err(), &one, 2);
    assert_eq!(refused[&0].as_ref().unwrap_err().code, ErrorCode::TenantKeyLimit);
    make(&two, 4).await[&1].clone().unwrap();

    // A full account can still sign.
    let signed = one.sign(&one.session("sign", &[0, 1]), &first.key_id, &[7; 32]).await;
    join(&[7; 32], &signed);
    one.node(1).delete_key_share(&one.application, &first.key_id).await.unwrap();
    make(&one, 5).await[&1].clone().unwrap();
    assert_eq!(make(&one, 6).await[&1].as_ref().unwrap_err().code, ErrorCode::TenantKeyLimit);
}

#[tokio::test(start_paused = true)]
async fn s104_an_application_with_as_many_keys_as_it_may_is_refused_before_anything_is_stored() {
    let limits = TenantLimits { keys_of_application: Some(2), ..TenantLimits::default() };
    let one = network_with(limits).await;
    let mut two = one.with_another_player_0(1, one.application.as_str()).await;
    let make = async |network: &Network, run: u32| {
        let session = network.session(&format!("make-{run}"), &[0, 1]);
        network.generate_key(&session, CurveId::Secp256k1, 1).await
    };
    // Of whichever tenant they are.
    let first = make(&one, 1).await[&1].clone().unwrap();
    make(&two, 2).await[&1].clone().unwrap();
    let stored = one.store(1).snapshot();
    let refused = make(&one, 3).await;
    let failure = refused[&1].as_ref().unwrap_err();
    assert_eq!(failure.code, ErrorCode::ApplicationKeyLimit);
    assert!(failure.detail.contains(one.application.as_str()) && failure.detail.contains('2'), "{failure}");
    assert!(failure.hint().contains("[Tenants] MaxKeysPerApplication"), "{}", failure.hint());
    assert_eq!(refused[&0].as_ref().unwrap_err().code, ErrorCode::SessionRefused);
    assert_eq!(one.store(1).snapshot(), stored);
    assert_eq!(one.store(0).writes(), two.store(0).writes(), "the phone stored nothing either");
    assert_eq!(one.node(1).metrics().refusals, [(ErrorCode::ApplicationKeyLimit, 1)].into());

    // Another application is not concerned, and deleting gives a place back, for one key.
    two.application = ApplicationId::new("another-application").unwrap();
    make(&two, 4).await[&1].clone().unwrap();
    one.node(1).delete_key_share(&one.application, &first.key_id).await.unwrap();
    make(&one, 5).await[&1].clone().unwrap();
    assert_eq!(make(&one, 6).await[&1].as_ref().unwrap_err().code, ErrorCode::ApplicationKeyLimit);
}

#[tokio::test(start_paused = true)]
async fn s104_what_an_application_stored_before_a_restart_counts() {
    let limits = TenantLimits { keys_of_application: Some(2), ..TenantLimits::default() };
    let mut network = network_with(limits).await;
    for run in 0..3 {
        let session = network.session(&format!("make-{run}"), &[0, 1]);
        let made = network.generate_key(&session, CurveId::Secp256k1, 1).await;
        assert_eq!(made[&1].is_ok(), run < 2, "{made:?}");
        network.restart(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s104_key_generations_at_the_same_moment_together_stay_within_the_limit() {
    let one = TenantLimits { keys: 3, ..TenantLimits::default() };
    let all = TenantLimits { keys_of_application: Some(3), ..TenantLimits::default() };
    for (limits, code) in [(one, ErrorCode::TenantKeyLimit), (all, ErrorCode::ApplicationKeyLimit)] {
        of_key_generations_at_the_same_moment_three_work(limits, code).await;
    }
}

async fn of_key_generations_at_the_same_moment_three_work(limits: TenantLimits, code: ErrorCode) {
    let network = std::sync::Arc::new(network_with(limits).await);
    let runs: Vec<_> = (0..8)
        .map(|run| {
            let network = network.clone();
            tokio::spawn(async move {
                let session = network.session(&format!("make-{run}"), &[0, 1]);
                network.generate_key(&session, CurveId::Secp256k1, 1).await[&1].clone()
            })
        })
        .collect();
    let mut made = 0;
    for run in runs {
        match run.await.unwrap() {
            Ok(_) => made += 1,
            Err(failure) => assert_eq!(failure.code, code),
        }
    }
    assert_eq!(made, 3);
    assert_eq!(network.node(1).list_keys(&network.application).await.unwrap().len(), 3);
}
