//! The state that two processes share: set up once, renewed without disturbing anybody.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;
use tsm_crypto::CurveId;
use tsm_node::{Settings, TenantLimits};
use tsm_tests::frames::{self, as_it_is, watch_set_ups};
use tsm_tests::{Network, join};
use tsm_transport::memory::Delivery;
use tsm_types::{ErrorCode, PlayerIndex, SessionTag};

/// Both sides open each set-up once.
const OPENINGS: usize = 2;

#[tokio::test(start_paused = true)]
async fn one_set_up_serves_all_sessions_and_keys_of_two_processes() {
    let network = Network::start(2, 1).await;
    let set_ups = watch_set_ups(&network.links, as_it_is);
    for curve in [CurveId::Secp256k1, CurveId::P256] {
        let key = network.make_key(curve, 1).await;
        for run in 0..5 {
            let session = network.session(&format!("sign-{curve}-{run}"), &[0, 1]);
            join(&[7; 32], &network.sign(&session, &key.key_id, &[7; 32]).await);
        }
    }
    assert_eq!(set_ups.lock().unwrap().len(), OPENINGS);
}

#[tokio::test(start_paused = true)]
async fn an_hourly_renewal_disturbs_no_session() {
    let network = Network::start(2, 1).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let set_ups = watch_set_ups(&network.links, as_it_is);
    for minute in 0..150 {
        // The callers are not quite at the same time, in turn.
        let session = network.session(&format!("sign-{minute}"), &[0, 1]);
        let answers = network.ask(&session, |node| {
            let request = tsm_types::request::SignEcdsa {
                session: session.clone(),
                key_id: key.key_id.clone(),
                path: tsm_types::DerivationPath::ROOT,
                digest: vec![7; 32],
            };
            async move {
                let late = u64::from(node.player().0) == minute % 2;
                sleep(Duration::from_secs(if late { 5 } else { 0 })).await;
                node.sign(&tsm_tests::application(), request).await
            }
        });
        join(&[7; 32], &answers.await);
        sleep(Duration::from_secs(if (58..64).contains(&(minute % 60)) { 7 } else { 55 })).await;
    }
    let set_ups = set_ups.lock().unwrap().len() / OPENINGS;
    assert!((2..=3).contains(&set_ups), "{set_ups} set-ups in two hours");
}

const MINUTE: Duration = Duration::from_secs(60);

/// Settings under which a state is forgotten soon after its peer left, or not for hours.
fn forgets(soon: bool) -> Settings {
    let pair_idle = if soon { MINUTE } else { 600 * MINUTE };
    Settings { tenants: TenantLimits { pair_idle, ..TenantLimits::default() }, ..Settings::default() }
}

/// Signs three times at once.
async fn sign_three(network: &Network, key: &tsm_types::KeyId, name: &str) {
    let names: Vec<String> = (0..3).map(|run| format!("{name}-{run}")).collect();
    let sessions: Vec<_> = names.iter().map(|name| network.session(name, &[0, 1])).collect();
    let digest = [7; 32];
    let (a, b, c) = tokio::join!(
        network.sign(&sessions[0], key, &digest),
        network.sign(&sessions[1], key, &digest),
        network.sign(&sessions[2], key, &digest),
    );
    [a, b, c].iter().for_each(|answers| drop(join(&digest, answers)));
}

#[tokio::test(start_paused = true)]
async fn a_state_that_either_side_forgot_costs_the_next_sessions_one_set_up_and_no_failure() {
    for (forgets_0, forgets_1) in [(true, false), (false, true), (true, true), (false, false)] {
        let own = [(0, forgets(forgets_0)), (1, forgets(forgets_1))].into();
        let network = Network::start_with_own(2, 7, own).await;
        let key = network.make_key(CurveId::Secp256k1, 1).await.key_id;
        sign_three(&network, &key, "before").await;
        let set_ups = || network.node(0).metrics().pair_set_ups;
        let before = set_ups();
        for round in 1..=3 {
            // The state is not old yet; the link is gone.
            sleep(5 * MINUTE).await;
            for (player, forgets) in [(0, forgets_0), (1, forgets_1)] {
                let held = network.node(player).metrics().pairs;
                assert_eq!(held, u64::from(!forgets), "player {player}, {forgets_0} {forgets_1}");
            }
            sign_three(&network, &key, &format!("after-{round}")).await;
            let expected = if forgets_0 || forgets_1 { round } else { 0 };
            assert_eq!(set_ups() - before, expected, "{forgets_0} {forgets_1}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_blinks_in_the_middle_costs_no_set_up() {
    let network = Network::start(2, 7).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await.key_id;
    sign_three(&network, &key, "before").await;
    let set_ups = watch_set_ups(&network.links, as_it_is);
    for round in 0..5 {
        network.links.disconnect(network.key(0));
        sleep(Duration::from_secs(1)).await;
        let blink = async {
            network.links.reconnect(network.key(0));
            sleep(Duration::from_millis(1)).await;
            network.links.disconnect(network.key(0));
            sleep(Duration::from_millis(500)).await;
            network.links.reconnect(network.key(0));
        };
        let name = format!("run-{round}");
        tokio::join!(sign_three(&network, &key, &name), blink);
    }
    assert_eq!(set_ups.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_set_up_whose_last_word_is_lost_at_either_end_costs_no_session() {
    for from in [0, 1] {
        let network = Network::start(2, 11).await;
        let key = network.make_key(CurveId::Secp256k1, 1).await.key_id;
        let deaf = network.key(1 - from).clone();
        let set_ups = watch_set_ups(&network.links, move |frame| {
            // The second protocol of a set-up is the word that the first one worked.
            let word = frames::round(&frame.bytes).is_some_and(|(_, phase, _)| phase == 2);
            if word && frame.to == deaf { Vec::new() } else { as_it_is(frame) }
        });
        sign_three(&network, &key, "first").await;
        sign_three(&network, &key, "then").await;
        assert_eq!(set_ups.lock().unwrap().len(), OPENINGS, "the word of player {from} is lost");
    }
}

/// Where a first message of a signature names the state that it was made from: after the commitment and the
/// fresh bytes.
const NAMED: Range<usize> = frames::BODY + 64..frames::BODY + 96;

/// Bytes of the first messages of a set-up (docs/spec/pair-set-up.md).
const OF_A_SET_UP: [usize; 2] = [8_224, 4_128];

/// Whether it is the first message of a signature.
fn is_first_message(frame: &[u8]) -> bool {
    frames::round(frame).is_some_and(|(_, phase, round)| (phase, round) == (1, 1))
        && !OF_A_SET_UP.contains(&(frame.len() - frames::BODY))
}

/// "I hold no state", from a process that has lost more than any other.
fn pair_wanted() -> Vec<u8> {
    [&[frames::PAIR_WANTED][..], &u64::MAX.to_le_bytes()].concat()
}

/// "I dropped this state".
fn pair_dropped(id: &[u8]) -> Vec<u8> {
    [&[frames::PAIR_DROPPED], id].concat()
}

#[tokio::test(start_paused = true)]
async fn word_of_another_state_leaves_the_present_one_alone() {
    let network = Network::start(2, 7).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await.key_id;
    sign_three(&network, &key, "before").await;
    for (case, word) in [Some(pair_wanted()), Some(pair_dropped(&[9; 32])), None].into_iter().enumerate() {
        let (late, mut said) = (network.key(1).clone(), false);
        let set_ups = watch_set_ups(&network.links, move |frame| {
            let mut arrives = as_it_is(frame);
            if frame.from == late && is_first_message(&frame.bytes) && !std::mem::replace(&mut said, true) {
                match &word {
                    Some(word) => arrives.push(Delivery::at_once(word.clone())),
                    // It names a state of long ago.
                    None => arrives[0].bytes[NAMED].fill(9),
                }
            }
            arrives
        });
        let session = network.session(&format!("meets-{case}"), &[0, 1]);
        let answers = network.sign(&session, &key, &[7; 32]).await;
        if case == 2 {
            let failure = answers[&0].as_ref().unwrap_err();
            assert_eq!((failure.code, failure.players[0].player), (ErrorCode::PairRenewed, PlayerIndex(1)));
        } else {
            join(&[7; 32], &answers);
        }
        sign_three(&network, &key, &format!("after-{case}")).await;
        assert_eq!(set_ups.lock().unwrap().len(), 0, "case {case}");
        assert_eq!(network.node(0).metrics().pairs_burned, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_predecessor_that_the_peer_does_not_hold_is_named_no_more() {
    let network = Network::start_with(2, 7, forgets(false)).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await.key_id;
    sign_three(&network, &key, "before").await;
    sleep(61 * MINUTE).await;
    // By session: when a link comes up, what was said is said again.
    let named = Arc::new(Mutex::new(Vec::<(SessionTag, Vec<u8>)>::new()));
    let (seen, peer) = (named.clone(), network.key(1).clone());
    let set_ups = watch_set_ups(&network.links, move |frame| {
        let mut arrives = as_it_is(frame);
        let mut seen = seen.lock().unwrap();
        if let Some((session, ..)) = frames::round(&frame.bytes)
            && is_first_message(&frame.bytes)
            && frame.from != peer
            && seen.last().is_none_or(|(last, _)| *last != session)
        {
            seen.push((session, frame.bytes[NAMED].to_vec()));
        }
        // After two signatures the peer says that it does not have the old state, which is not true: it names it
        // once more, and hears the same.
        if frame.from == peer && seen.len() == 2 {
            arrives.push(Delivery::at_once(pair_dropped(&seen[1].1)));
        }
        arrives
    });
    for run in 0..4 {
        let session = network.session(&format!("renewed-{run}"), &[0, 1]);
        let answers = network.sign(&session, &key, &[7; 32]).await;
        if run == 2 {
            assert_eq!(answers[&0].as_ref().unwrap_err().code, ErrorCode::PairRenewed);
        } else {
            join(&[7; 32], &answers);
        }
        sleep(Duration::from_secs(2)).await;
    }
    let named: Vec<_> = named.lock().unwrap().iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(named[0], named[1], "the new state is not settled yet");
    assert_ne!(named[1], named[2]);
    assert_eq!(named[2], named[3]);
    assert_eq!(set_ups.lock().unwrap().len(), OPENINGS);
}

#[tokio::test(start_paused = true)]
async fn s105_states_are_bounded_in_number_and_those_who_left_make_room() {
    let tenants = TenantLimits { pairs: 2, pair_idle: 600 * MINUTE, ..TenantLimits::default() };
    let settings = Settings { tenants, ..Settings::default() };
    let first = Network::start_with_own(2, 7, [(1, settings)].into()).await;
    let (second, third) =
        (first.with_another_player_0(1, "two").await, first.with_another_player_0(2, "three").await);
    let mut keys = Vec::new();
    for network in [&first, &second, &third] {
        keys.push(network.make_key(CurveId::Secp256k1, 1).await.key_id);
    }
    sign_three(&first, &keys[0], "first").await;
    sign_three(&second, &keys[1], "second").await;
    // Both are still here: the third is refused, by name, and nobody else fails.
    let refused = third.sign(&third.session("refused", &[0, 1]), &keys[2], &[7; 32]).await;
    let failure = refused[&1].as_ref().unwrap_err();
    assert_eq!(failure.code, ErrorCode::TenantPairLimit);
    assert_eq!(failure.players[0].player, PlayerIndex(0));
    assert!(failure.detail.contains(&third.key(0).fingerprint().to_string()), "{failure}");
    assert_eq!(refused[&0].as_ref().unwrap_err().code, ErrorCode::TenantPairLimit);
    sign_three(&first, &keys[0], "first-again").await;

    // When a phone has left, it makes room; when it comes back, it is as if it had never been away.
    sleep(5 * MINUTE).await;
    for (round, (network, key)) in [(&third, 2), (&second, 1), (&first, 0)].into_iter().enumerate() {
        sign_three(network, &keys[key], &format!("round-{round}")).await;
        assert!(first.node(1).metrics().pairs <= 2);
        sleep(5 * MINUTE).await;
    }
}
