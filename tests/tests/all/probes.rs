//! Who guesses bits of the secret under a pair's state, one guess a session, against a real node
//! (rule S-41).
//!
//! Player 1 is the attacker. It has a share of the key and a state with player 0 like every honest
//! player, and sends extensions that pass check C2 only if four bits of player 0's Δ are what it
//! guessed. Whether its guess was right it sees from how player 0 goes on.

#![allow(clippy::print_stdout, reason = "what was measured is part of what tests print")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tsm_crypto::hedged::test_rng;
use tsm_crypto::ot::{ExtensionContext, PairState, ReceiverExtension};
use tsm_crypto::{CurveId, Secp256k1};
use tsm_protocols::ecdsa::sign::{CommitBroadcast, CommitMessage, CommitPrivate};
use tsm_protocols::{Context, Pending, Step, pair};
use tsm_tests::Network;
use tsm_tests::frames::{self, BODY, ROUND};
use tsm_transport::memory::MemoryLinks;
use tsm_transport::{Lease, LinkEvent, Links, Route};
use tsm_types::request::{KeyInfo, SignEcdsa, Signed};
use tsm_types::{DerivationPath, ErrorCode, Failure, Operation, PlayerIndex, PlayerKey, SessionTag};

const VICTIM: u16 = 0;
const ATTACKER: u16 = 1;

/// Trees of a state, and the bits of Δ that belong to each.
const TREES: usize = 32;
const BITS: u32 = 4;

/// What the victim's next word says of a guess.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// It goes on: the guess was right.
    Right,
    /// A secret-dependent check failed: the guess was wrong.
    Wrong,
    /// The state is gone: this says nothing.
    Nothing,
}

/// The attacker's node: it speaks for itself.
struct Attacker {
    links: Arc<MemoryLinks>,
    events: mpsc::Receiver<LinkEvent>,
    victim: PlayerKey,
    _lease: Lease,
    /// The set-up that runs, and in which round it waits.
    set_up: Option<(SessionTag, u8, Box<dyn Pending<Output = PairState>>)>,
    state: Option<PairState>,
    /// Names of the signing sessions that wait for the attacker, by their tags.
    open: BTreeMap<[u8; 32], String>,
    draws: u64,
}

/// What the attacker hears of a signing session: its tag, and once the guess was answered what it said.
type Heard = ([u8; 32], Option<Answer>);

impl Attacker {
    /// Takes the place of the node that made the key.
    async fn instead_of_node(network: &Network) -> Attacker {
        network.node(ATTACKER).stop().await;
        let (links, events) = network.links.node(network.key(ATTACKER).clone(), ATTACKER);
        let victim = network.key(VICTIM).clone();
        let _lease = links.expect(&victim, Route::Dial("victim:1".parse().unwrap()));
        let (set_up, state, open, draws) = (None, None, BTreeMap::new(), 0);
        Attacker { links, events, victim, _lease, set_up, state, open, draws }
    }

    /// Takes part in everything until there is something to hear of a signing session.
    async fn hear(&mut self) -> Heard {
        loop {
            let LinkEvent::Frame { bytes, .. } = self.events.recv().await.unwrap() else { continue };
            if let Some(session) = frames::opened(&bytes) {
                self.say(bytes);
                if session.operation == Operation::SetUpPair {
                    let context = Context::new(&session, PlayerIndex(ATTACKER)).unwrap();
                    let step = pair::start(&context, &mut self.rng());
                    self.set_up(session.tag(), 1, step);
                } else {
                    self.open.insert(session.tag().0, session.id.to_string());
                }
            } else if let Some((tag, phase, round)) = frames::round(&bytes) {
                if self.open.contains_key(&tag.0) {
                    return (tag.0, (round > 1).then_some(Answer::Right));
                }
                let waits = self.set_up.take_if(|(of, _, _)| *of == tag && phase == 1);
                if let Some((_, round, mut pending)) = waits {
                    pending.accept(PlayerIndex(VICTIM), &bytes[BODY..]).unwrap();
                    let step = pending.advance(&mut self.rng()).unwrap();
                    self.set_up(tag, round + 1, step);
                }
            } else if let Some((id, code)) = frames::ended(&bytes) {
                let Some(tag) = self.open.iter().find(|(_, open)| **open == id).map(|(tag, _)| *tag) else {
                    continue;
                };
                if code == ErrorCode::PairCompromised.as_str() {
                    return (tag, Some(Answer::Wrong));
                }
                if code == ErrorCode::PairRenewed.as_str() {
                    return (tag, Some(Answer::Nothing));
                }
                self.open.remove(&tag);
            }
        }
    }

    /// The attacker's side of a set-up, as an honest player's.
    fn set_up(&mut self, tag: SessionTag, mut round: u8, mut step: Step<PairState>) {
        loop {
            let (send, next) = match step {
                Step::Continue { send, round } => (send, Ok(round)),
                Step::Done { send, output } => (send, Err(output)),
            };
            send.iter().for_each(|message| self.say_round(tag, 1, round, &message.body));
            match next {
                Ok(pending) if pending.awaited().is_empty() => {
                    step = pending.advance(&mut self.rng()).unwrap();
                    round += 1;
                }
                Ok(pending) => return self.set_up = Some((tag, round, pending)),
                Err(state) => {
                    self.state = Some(state);
                    // No state was lost, and none is held besides.
                    let worked = borsh::to_vec(&(0u64, None::<[u8; 32]>)).unwrap();
                    return self.say_round(tag, 2, 1, &worked);
                }
            }
        }
    }

    /// Guesses a tree's bits of Δ in this session.
    fn guess(&mut self, tag: [u8; 32], tree: usize, guess: u128) {
        let mut rng = self.rng();
        let state = self.state.as_ref().unwrap();
        let context = ExtensionContext { ssid: &tag, sender: VICTIM, receiver: ATTACKER };
        let extension = ReceiverExtension::<Secp256k1>::guess(state, &context, tree, guess, &mut rng);
        let broadcast = CommitBroadcast { commitment: [1; 32], fresh: [2; 32] };
        let message = CommitMessage { broadcast, private: CommitPrivate { pair: state.id(), extension } };
        self.say_round(SessionTag(tag), 1, 1, &borsh::to_vec(&message).unwrap());
    }

    fn say_round(&self, tag: SessionTag, phase: u8, round: u8, body: &[u8]) {
        let body = borsh::to_vec(body).unwrap();
        self.say([&[ROUND], tag.0.as_slice(), &[phase, round], &body].concat());
    }

    fn say(&self, frame: Vec<u8>) {
        self.links.send(&self.victim, 0, frame).unwrap();
    }

    fn rng(&mut self) -> impl tsm_crypto::CryptoRng + use<> {
        self.draws += 1;
        test_rng(77_000 + self.draws)
    }
}

/// Two players with a key that both must sign with.
async fn victim_and_attacker(seed: u64) -> (Network, KeyInfo, Attacker) {
    let network = Network::start(2, seed).await;
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    let attacker = Attacker::instead_of_node(&network).await;
    (network, key, attacker)
}

/// The victim's caller asks for a signature with the attacker.
fn asked(network: &Network, key: &KeyInfo, id: &str) -> JoinHandle<Result<Signed, Failure>> {
    let session = network.session(id, &[VICTIM, ATTACKER]);
    let (key_id, path) = (key.key_id.clone(), DerivationPath::ROOT);
    let request = SignEcdsa { session, key_id, path, digest: vec![7; 32] };
    let (node, application) = (network.node(VICTIM).clone(), network.application.clone());
    tokio::spawn(async move { node.sign(&application, request).await })
}

/// Guesses until so many were answered, each in a session of its own, one after the other.
#[tokio::test(start_paused = true)]
async fn s41_guesses_in_series_each_cost_the_attacker_all_that_it_knew_once_one_is_wrong() {
    const GUESSES: usize = 160;
    let (network, key, mut attacker) = victim_and_attacker(41).await;
    let began = Instant::now();
    // Bits that are known of each state's Δ; and the states of which a guess was wrong.
    let mut known: BTreeMap<[u8; 32], u32> = BTreeMap::new();
    let mut over: BTreeSet<[u8; 32]> = BTreeSet::new();
    let (mut right, mut sessions) = (0, 0);
    while right + over.len() < GUESSES {
        let mut call = asked(&network, &key, &format!("guess-{sessions}"));
        sessions += 1;
        let (tag, answer) = tokio::select! {
            heard = attacker.hear() => heard,
            // While it is slowed down there is no state, and no session.
            _ = &mut call => continue,
        };
        assert_eq!(answer, None);
        let state = attacker.state.as_ref().unwrap().id();
        let bits = known.entry(state).or_default();
        attacker.guess(tag, (*bits / BITS) as usize, sessions as u128 % (1 << BITS));
        // A session whose time was over by then gives no answer.
        let heard = timeout(Duration::from_secs(1), attacker.hear()).await;
        attacker.open.remove(&tag);
        let Ok((_, answer)) = heard else { continue };
        match answer.unwrap() {
            Answer::Right => {
                *bits += BITS;
                right += 1;
            }
            Answer::Wrong => assert!(over.insert(state), "a second wrong guess of one state was answered"),
            Answer::Nothing => panic!("no other session was there to burn the state"),
        }
        let _ = call.await;
    }
    let most = known.values().max().unwrap();
    let hours = began.elapsed().as_secs_f64() / 3600.0;
    println!(
        "{GUESSES} guesses in series: {right} right, {} wrong; of {} states at most {most} of 128 bits were \
         known at a time; {hours:.1} hours",
        over.len(),
        known.len(),
    );
    // One of sixteen is right: ten of 160, with a standard deviation of three.
    assert!((1..=25).contains(&right), "{right}");
    assert!(*most <= 3 * BITS, "{most} bits of one state");
    // Who was wrong three times waits a minute for each further set-up.
    assert!(began.elapsed() > Duration::from_secs(60) * (over.len() as u32 - 4), "{hours} hours");
    assert_eq!(network.node(VICTIM).metrics().pairs_burned, over.len() as u64);
}

/// As many sessions have begun on one state as a node runs at a time, and the attacker guesses each tree's bits
/// in all ways before it hears an answer: without S-41 it would know all of Δ.
#[tokio::test(start_paused = true)]
async fn s41_a_thousand_parallel_guesses_tell_nothing_after_the_first_wrong_one() {
    const SESSIONS: usize = 1000;
    let (network, key, mut attacker) = victim_and_attacker(42).await;
    let calls: Vec<_> = (0..SESSIONS).map(|number| asked(&network, &key, &format!("{number}"))).collect();
    let mut tags = Vec::new();
    while tags.len() < SESSIONS {
        let (tag, answer) = attacker.hear().await;
        assert_eq!(answer, None);
        tags.push(tag);
    }
    let first = attacker.state.as_ref().unwrap().id();
    for (number, tag) in tags.iter().enumerate() {
        attacker.guess(*tag, number % TREES, (number / TREES) as u128 % (1 << BITS));
    }
    let mut answers = BTreeMap::new();
    while answers.len() < SESSIONS {
        let (tag, answer) = attacker.hear().await;
        attacker.open.remove(&tag);
        answers.insert(tag, answer.unwrap());
    }
    let answers: Vec<Answer> = tags.iter().map(|tag| answers[tag]).collect();
    let count = |of: Answer| answers.iter().filter(|answer| **answer == of).count();
    let known: BTreeSet<usize> = (0..SESSIONS)
        .filter(|number| answers[*number] == Answer::Right)
        .map(|number| number % TREES)
        .collect();
    let known = known.len() as u32 * BITS;
    let (right, wrong, nothing) = (count(Answer::Right), count(Answer::Wrong), count(Answer::Nothing));
    println!(
        "{SESSIONS} parallel guesses: {right} right, {wrong} wrong, {nothing} told nothing; {known} of 128 bits known"
    );
    assert_eq!(wrong, 1, "{right} right: {known} bits of one secret are known");
    let until = answers.iter().position(|answer| *answer == Answer::Wrong).unwrap();
    assert_eq!((right, nothing), (until, SESSIONS - until - 1), "the first wrong guess is the last answer");
    calls.into_iter().for_each(|call| call.abort());

    // What comes next is on another state, of which nothing is known.
    let _call = asked(&network, &key, "next");
    assert_eq!(attacker.hear().await.1, None);
    assert_ne!(attacker.state.as_ref().unwrap().id(), first);
}
