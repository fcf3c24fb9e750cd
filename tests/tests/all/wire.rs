//! Every frame lost, repeated, delayed, cut, flipped, forged, or taken from another session.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tsm_crypto::{CurveId, ecdsa};
use tsm_tests::{Answers, Network, frames, join};
use tsm_transport::memory::{Delivery, Frame};
use tsm_types::request::{KeyInfo, Signed};
use tsm_types::{ErrorCode, Failure};

/// Runs with frame number `n`, for every n until a run has fewer frames, and hands the answers on.
async fn for_every_frame(
    change: impl Fn(&Frame) -> Vec<Delivery> + Send + Clone + 'static,
    check: impl Fn(usize, &KeyInfo, &Answers<Signed>),
) {
    let mut changed_one = true;
    let mut number = 0;
    while changed_one {
        let network = Network::start(2, 6).await;
        let key = network.make_key(CurveId::Secp256k1, 1).await;
        let done = Arc::new(Mutex::new((0usize, false)));
        let (state, change) = (done.clone(), change.clone());
        network.links.set_tamper(Box::new(move |frame| {
            let mut state = state.lock().unwrap();
            state.0 += 1;
            if state.0 != number + 1 {
                return vec![Delivery::at_once(frame.bytes.clone())];
            }
            state.1 = true;
            change(frame)
        }));
        let before = Instant::now();
        let answers = network.sign(&network.session("sign", &[0, 1]), &key.key_id, &[7; 32]).await;
        assert!(before.elapsed() <= Duration::from_secs(61), "frame {number}: a caller waited too long");
        changed_one = done.lock().unwrap().1;
        check(number, &key, &answers);
        // Whatever happened, the next session signs.
        network.links.set_tamper(Box::new(|frame| vec![Delivery::at_once(frame.bytes.clone())]));
        join(&[8; 32], &network.sign(&network.session("next", &[0, 1]), &key.key_id, &[8; 32]).await);
        number += 1;
    }
    assert!(number > 8, "only {number} frames were seen");
}

/// A result is right, and a failure has a reason that is not this node's own fault.
fn right_or_named(number: usize, key: &KeyInfo, answers: &Answers<Signed>) {
    if answers.values().all(Result::is_ok) {
        // Joined where it verifies; a wrong part is noticed by the joiner and by nobody else.
        let partials: Vec<ecdsa::PartialSignature> =
            answers.values().flatten().map(|s| borsh::from_slice(&s.partial_signature).unwrap()).collect();
        let signature = ecdsa::join(&[7; 32], &partials).unwrap();
        assert!(ecdsa::verify(CurveId::Secp256k1, &key.public_key, &[7; 32], signature.der()));
        return;
    }
    for (player, failure) in
        answers.iter().filter_map(|(player, answer)| Some((player, answer.as_ref().err()?)))
    {
        assert_ne!(failure.code, ErrorCode::NodeFault, "frame {number}, player {player}: {failure}");
        assert!(!failure.players.is_empty() || failure.code == ErrorCode::ResultInconsistent, "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_frame_lost() {
    for_every_frame(|_| vec![], right_or_named).await;
}

#[tokio::test(start_paused = true)]
async fn every_frame_repeated_changes_nothing() {
    for_every_frame(
        |frame| vec![Delivery::at_once(frame.bytes.clone()), Delivery::at_once(frame.bytes.clone())],
        |_, _, answers| drop(join(&[7; 32], answers)),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_frame_delayed_changes_nothing() {
    for_every_frame(
        |frame| vec![Delivery { after: Duration::from_secs(5), bytes: frame.bytes.clone() }],
        |_, _, answers| drop(join(&[7; 32], answers)),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn s27_every_frame_cut_extended_and_flipped_is_survived() {
    for cut in [0, 1, 30] {
        for_every_frame(
            move |frame| {
                vec![Delivery::at_once(frame.bytes[..frame.bytes.len().saturating_sub(cut + 1)].to_vec())]
            },
            right_or_named,
        )
        .await;
    }
    for_every_frame(|frame| vec![Delivery::at_once([&frame.bytes[..], &[0]].concat())], right_or_named).await;
    for place in [0, 1, 40, 70, 200] {
        for_every_frame(
            move |frame| {
                let mut bytes = frame.bytes.clone();
                let last = bytes.len() - 1;
                bytes[place.min(last)] ^= 1;
                vec![Delivery::at_once(bytes)]
            },
            right_or_named,
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn s33_junk_beside_every_frame_changes_nothing() {
    for_every_frame(
        |frame| {
            let junk = |byte: u8| Delivery::at_once(vec![byte; 500]);
            vec![junk(0xff), junk(9), Delivery::at_once(vec![]), Delivery::at_once(frame.bytes.clone())]
        },
        |_, _, answers| drop(join(&[7; 32], answers)),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn s03_frames_of_an_earlier_session_are_not_taken_for_this_one() {
    let network = Network::start(2, 6).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let recorded = Arc::new(Mutex::new(Vec::<Frame>::new()));
    let record = recorded.clone();
    network.links.set_tamper(Box::new(move |frame| {
        record.lock().unwrap().push(frame.clone());
        vec![Delivery::at_once(frame.bytes.clone())]
    }));
    join(&[7; 32], &network.sign(&network.session("first", &[0, 1]), &key.key_id, &[7; 32]).await);
    let earlier = recorded.lock().unwrap().clone();
    // In front of every frame of the second session, everything of the first.
    network.links.set_tamper(Box::new(move |frame| {
        let old = earlier.iter().filter(|old| old.from == frame.from && old.to == frame.to);
        let mut deliveries: Vec<Delivery> = old.map(|old| Delivery::at_once(old.bytes.clone())).collect();
        deliveries.push(Delivery::at_once(frame.bytes.clone()));
        deliveries
    }));
    join(&[8; 32], &network.sign(&network.session("second", &[0, 1]), &key.key_id, &[8; 32]).await);
}

#[tokio::test(start_paused = true)]
async fn s37_every_lost_frame_of_a_key_generation_leaves_a_key_for_all_or_for_none() {
    let mut number = 0;
    loop {
        let network = Network::start(3, 7).await;
        let done = Arc::new(Mutex::new((0usize, false)));
        let state = done.clone();
        network.links.set_tamper(Box::new(move |frame| {
            let mut state = state.lock().unwrap();
            state.0 += 1;
            if state.0 == number + 1 {
                state.1 = true;
                return vec![];
            }
            vec![Delivery::at_once(frame.bytes.clone())]
        }));
        let answers = network.generate_key(&network.session("run", &[0, 1, 2]), CurveId::Secp256k1, 1).await;
        for failure in answers.values().filter_map(|answer| answer.as_ref().err()) {
            assert_named(failure);
        }
        network.links.set_tamper(Box::new(|frame| vec![Delivery::at_once(frame.bytes.clone())]));
        // Whoever sees the key signs with it, and so delivers the certificate to who missed it.
        let seen = seen_keys(&network).await;
        for key_id in seen.iter().flatten().take(1) {
            for signers in [[0, 1], [0, 2], [1, 2]] {
                let session = network.session(&format!("sign-{}-{}", signers[0], signers[1]), &signers);
                join(&[7; 32], &network.sign(&session, key_id, &[7; 32]).await);
            }
        }
        let seen = seen_keys(&network).await;
        assert!(seen.iter().all(|keys| *keys == seen[0]), "frame {number}: {seen:?}");
        if !done.lock().unwrap().1 {
            assert!(number > 20 && answers.values().all(Result::is_ok));
            return;
        }
        number += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn s37_a_lost_last_message_of_a_key_generation_costs_seconds_and_no_key() {
    let network = Network::start(3, 8).await;
    let (from, to) = (network.key(1).clone(), network.key(0).clone());
    network.links.set_tamper(Box::new(move |frame| {
        let confirms = frames::round(&frame.bytes).is_some_and(|(_, phase, _)| phase == 2);
        if confirms && frame.from == from && frame.to == to {
            return vec![];
        }
        frames::as_it_is(frame)
    }));
    let begun = Instant::now();
    let answers = network.generate_key(&network.session("run", &[0, 1, 2]), CurveId::Secp256k1, 1).await;
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let key = &answers[&0].as_ref().unwrap().key_id;
    network.links.set_tamper(Box::new(frames::as_it_is));
    join(&[7; 32], &network.sign(&network.session("sign", &[0, 1]), key, &[7; 32]).await);
}

/// Player 1's confirmation of a key reaches player 0 late.
fn confirmation_comes_after(network: &Network, after: Duration) {
    let (from, to) = (network.key(1).clone(), network.key(0).clone());
    network.links.set_tamper(Box::new(move |frame| {
        let confirms = frames::round(&frame.bytes).is_some_and(|(_, phase, _)| phase == 2);
        let late = confirms && frame.from == from && frame.to == to;
        let after = if late { after } else { Duration::ZERO };
        vec![Delivery { after, bytes: frame.bytes.clone() }]
    }));
}

#[tokio::test(start_paused = true)]
async fn s37_a_certificate_that_comes_before_the_last_message_is_no_fault() {
    let network = Network::start(2, 8).await;
    // Later than what is asked for meanwhile.
    confirmation_comes_after(&network, Duration::from_millis(2_500));
    let answers = network.generate_key(&network.session("run", &[0, 1]), CurveId::Secp256k1, 1).await;
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn s37_a_certificate_that_a_new_link_brings_before_the_last_message_is_no_fault() {
    let network = Network::start(2, 8).await;
    // Before the session asks for the certificate itself.
    confirmation_comes_after(&network, Duration::from_millis(1_000));
    let session = network.session("run", &[0, 1]);
    let blink = async {
        sleep(Duration::from_millis(500)).await;
        network.links.disconnect(network.key(0));
        network.links.reconnect(network.key(0));
        sleep(Duration::from_millis(500)).await;
        network.node(0).list_keys(&tsm_tests::application()).await.unwrap()
    };
    let begun = Instant::now();
    let answers = async { (network.generate_key(&session, CurveId::Secp256k1, 1).await, begun.elapsed()) };
    let ((answers, took), active) = tokio::join!(answers, blink);
    assert_eq!(active.len(), 1, "the certificate came first");
    assert!(took >= Duration::from_millis(1_500) && took < Duration::from_millis(2_000), "{took:?}");
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
}

/// Links keep the order, and a hostile broker need not.
#[tokio::test(start_paused = true)]
async fn an_opening_and_a_last_message_that_are_overtaken_cost_no_session() {
    let network = Network::start(2, 8).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await.key_id;
    join(&[7; 32], &network.sign(&network.session("first", &[0, 1]), &key, &[7; 32]).await);
    let from = network.key(0).clone();
    network.links.set_tamper(Box::new(move |frame| {
        let last = frames::round(&frame.bytes).is_some_and(|(_, _, round)| round == 2);
        let late = match frame.from == from {
            // When it comes, player 0 has its result.
            false if frames::opened(&frame.bytes).is_some() => 100,
            true if last => 300,
            _ => 0,
        };
        vec![Delivery { after: Duration::from_millis(late), bytes: frame.bytes.clone() }]
    }));
    let begun = Instant::now();
    join(&[7; 32], &network.sign(&network.session("second", &[0, 1]), &key, &[7; 32]).await);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

async fn seen_keys(network: &Network) -> Vec<Vec<tsm_types::KeyId>> {
    let mut seen = Vec::new();
    for player in 0..3 {
        seen.push(network.node(player).list_keys(&tsm_tests::application()).await.unwrap());
    }
    seen
}

fn assert_named(failure: &Failure) {
    assert_ne!(failure.code, ErrorCode::NodeFault, "{failure}");
    assert!(!failure.players.is_empty(), "{failure:?}");
}
