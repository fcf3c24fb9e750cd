//! Phones that misbehave, at a server that serves others at the same time.
//!
//! The phone is player 0, the server player 1. Whatever the phone does: the server's caller is told
//! in time and with the right player, another tenant's signatures take what they always take, no key
//! is lost, and nothing stays behind at the server.

mod at_the_door;
mod lies;
mod returns;
mod soak;
mod vanish;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tsm_crypto::CurveId;
use tsm_node::Metrics;
use tsm_tests::frames::as_it_is;
use tsm_tests::{Answers, Network, join};
use tsm_types::request::{KeyInfo, Signed};
use tsm_types::{ErrorCode, Failure, KeyId, PlayerIndex};

const PHONE: u16 = 0;
const SERVER: u16 = 1;
const BOTH: [u16; 2] = [PHONE, SERVER];
const DIGEST: [u8; 32] = [7; 32];

/// A session's time, and what a key generation adds while it looks for its certificate.
const DEADLINE: Duration = Duration::from_secs(63);

/// Longer than frames wait for a session and links stay without one, and than the slowest
/// housekeeping.
const QUIET: Duration = Duration::from_secs(70);

/// How often the other tenant signs while a phone misbehaves.
const EVERY: Duration = Duration::from_secs(3);

/// A server, a phone that misbehaves, and another tenant's phone.
struct Scene {
    phone: Network,
    other: Network,
    others_key: KeyInfo,
    /// What a signature of the other tenant takes when nobody misbehaves.
    usual: Duration,
    signed: Cell<u32>,
    tried: RefCell<BTreeSet<KeyId>>,
}

impl Scene {
    async fn start(seed: u64) -> Scene {
        let phone = Network::start(2, seed).await;
        let other = phone.with_another_player_0(1, "another-tenant").await;
        let others_key = other.make_key(CurveId::Secp256k1, 1).await;
        let mut scene = Scene {
            phone,
            other,
            others_key,
            usual: Duration::MAX,
            signed: Cell::new(0),
            tried: RefCell::default(),
        };
        scene.other_signs().await;
        let before = Instant::now();
        scene.other_signs().await;
        scene.usual = before.elapsed();
        scene
    }

    /// One signature of the other tenant, as quick as ever.
    async fn other_signs(&self) {
        let (number, before) = (self.signed.replace(self.signed.get() + 1), Instant::now());
        let session = self.other.session(&format!("other-{number}"), &BOTH);
        join(&DIGEST, &self.other.sign(&session, &self.others_key.key_id, &DIGEST).await);
        assert!(before.elapsed() <= self.usual, "the other tenant waited {:?}", before.elapsed());
    }

    /// Does `work` while the other tenant goes on signing. Gives the time that it took, too.
    async fn beside_others<T>(&self, work: impl Future<Output = T>) -> (T, Duration) {
        let before = Instant::now();
        let others = async {
            loop {
                self.other_signs().await;
                sleep(EVERY).await;
            }
        };
        let done = tokio::select! {
            biased;
            // Never ends.
            () = others => unreachable!("it signs for ever"),
            done = work => done,
        };
        let took = before.elapsed();
        self.other_signs().await;
        (done, took)
    }

    /// Both sides of the phone's session are asked to sign, beside the other tenant.
    async fn sign(&self, id: &str, key_id: &KeyId) -> (Answers<Signed>, Duration) {
        let session = self.phone.session(id, &BOTH);
        self.beside_others(self.phone.sign(&session, key_id, &DIGEST)).await
    }

    async fn generate_key(&self, id: &str) -> (Answers<KeyInfo>, Duration) {
        let session = self.phone.session(id, &BOTH);
        self.beside_others(self.phone.generate_key(&session, CurveId::Secp256k1, 1)).await
    }

    /// The phone is honest from here on.
    fn make_honest(&self) {
        self.phone.links.set_tamper(Box::new(as_it_is));
        self.phone.links.reconnect(self.phone.key(PHONE));
    }

    /// The phone is honest, so it signs.
    async fn signs(&self, id: &str, key_id: &KeyId) {
        join(&DIGEST, &self.sign(id, key_id).await.0);
    }

    async fn keys_at(&self, player: u16) -> Vec<KeyId> {
        self.phone.node(player).list_keys(&self.phone.application).await.expect("the store opens")
    }

    /// Every key that either side sees can be used by both; those that were tried are not tried again.
    async fn no_key_is_lost(&self, case: &str) {
        let seen = [self.keys_at(SERVER).await, self.keys_at(PHONE).await].concat();
        for key_id in seen {
            if self.tried.borrow_mut().insert(key_id.clone()) {
                self.signs(&format!("{case}-with-{key_id}"), &key_id).await;
            }
        }
        assert_eq!(self.keys_at(SERVER).await, self.keys_at(PHONE).await, "{case}");
    }

    /// Nothing of the phone's sessions is left at the server.
    async fn nothing_stays(&self, case: &str) {
        sleep(QUIET).await;
        let now = self.phone.node(SERVER).metrics();
        let Metrics { live_sessions, waiting_frames, live_pair_set_ups, pairs, .. } = now;
        assert_eq!((live_sessions, waiting_frames, live_pair_set_ups), (0, 0, 0), "{case}");
        assert!(pairs <= 2, "{case}: {pairs} pairs");
        self.other_signs_after_a_pause().await;
    }

    /// After a minute without sessions its link is made anew.
    async fn other_signs_after_a_pause(&self) {
        let number = self.signed.replace(self.signed.get() + 1);
        let session = self.other.session(&format!("other-{number}"), &BOTH);
        join(&DIGEST, &self.other.sign(&session, &self.others_key.key_id, &DIGEST).await);
    }
}

/// The server's caller got an error about the phone in time; gives its code.
fn told<T>(answers: &Answers<T>, took: Duration, case: &str) -> ErrorCode {
    assert!(took <= DEADLINE, "{case}: {took:?}");
    let failure: &Failure = match &answers[&SERVER] {
        Ok(_) => panic!("{case}: the server has a result"),
        Err(failure) => failure,
    };
    let named: Vec<PlayerIndex> = failure.players.iter().map(|concern| concern.player).collect();
    assert!(
        !named.is_empty() && named.iter().all(|player| *player == PlayerIndex(PHONE)),
        "{case}: {failure:?}"
    );
    failure.code
}
