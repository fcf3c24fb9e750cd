//! A broker in memory, with a hand on every message: what an adversary in a broker's place can do.
//!
//! Nothing in it is drawn at random, and time is tokio's, which tests can pause.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Arrival, Broker, BrokerError, Inbox, Publishing};

/// Messages that wait for one reader; beyond it, publishers wait.
const WAITING: usize = 256;

/// A message on its way to an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    pub to: Inbox,
    pub message: Vec<u8>,
}

/// What is delivered in a message's stead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub after: Duration,
    pub post: Post,
}

impl Delivery {
    /// Without delay.
    pub fn at_once(post: Post) -> Self {
        Delivery { after: Duration::ZERO, post }
    }
}

/// Decides what becomes of a message: nothing, itself, others, more than one.
pub type Hand = Box<dyn FnMut(Post) -> Vec<Delivery> + Send>;

/// A broker in memory. Cloning gives another handle on the same broker.
#[derive(Clone, Default)]
pub struct MemoryBroker(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The first reader of an inbox gets its next message.
    readers: HashMap<Inbox, Vec<mpsc::Sender<Arrival>>>,
    hand: Option<Hand>,
    away: bool,
    /// Delayed messages.
    late: JoinSet<()>,
}

impl MemoryBroker {
    /// A broker that delivers everything at once and in order.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on decides what becomes of every message.
    pub fn set_hand(&self, hand: Hand) {
        self.lock().hand = Some(hand);
    }

    /// Puts a message into an inbox, past the hand; waits while the inbox is full.
    pub async fn inject(&self, post: Post) {
        let reader = self.lock().reader(&post.to);
        if let Some(reader) = reader {
            drop(reader.send(Arrival::Message(post.message)).await);
        }
    }

    /// Goes away: readers are told, and publishing fails.
    pub fn go_away(&self) {
        let mut state = self.lock();
        state.away = true;
        state.late.abort_all();
        let readers: Vec<_> = state.readers.values().flatten().cloned().collect();
        for reader in readers {
            state.late.spawn(async move {
                drop(reader.send(Arrival::Interrupted("it went away".to_owned())).await);
            });
        }
    }

    /// Comes back, empty.
    pub fn come_back(&self) {
        self.lock().away = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl State {
    /// The reader whose turn it is.
    fn reader(&mut self, inbox: &Inbox) -> Option<mpsc::Sender<Arrival>> {
        let readers = self.readers.get_mut(inbox)?;
        readers.retain(|reader| !reader.is_closed());
        let reader = readers.first()?.clone();
        readers.rotate_left(1);
        Some(reader)
    }
}

impl Broker for MemoryBroker {
    fn publish(&self, to: Inbox, message: Vec<u8>) -> Publishing {
        let broker = self.clone();
        Box::pin(async move {
            let now = {
                let mut state = broker.lock();
                while state.late.try_join_next().is_some() {}
                if state.away {
                    return Err(BrokerError("it is away".to_owned()));
                }
                let post = Post { to, message };
                let deliveries = match &mut state.hand {
                    Some(hand) => hand(post),
                    None => vec![Delivery::at_once(post)],
                };
                let (now, late): (Vec<_>, Vec<_>) =
                    deliveries.into_iter().partition(|delivery| delivery.after.is_zero());
                for Delivery { after, post } in late {
                    let broker = Arc::downgrade(&broker.0);
                    state.late.spawn(async move {
                        tokio::time::sleep(after).await;
                        if let Some(broker) = broker.upgrade() {
                            MemoryBroker(broker).inject(post).await;
                        }
                    });
                }
                now
            };
            for Delivery { post, .. } in now {
                broker.inject(post).await;
            }
            Ok(())
        })
    }

    fn subscribe(&self, inboxes: Vec<Inbox>) -> mpsc::Receiver<Arrival> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut state = self.lock();
        for inbox in inboxes {
            state.readers.entry(inbox).or_default().push(sender.clone());
        }
        receiver
    }

    fn trouble(&self) -> Option<String> {
        self.lock().away.then(|| "it is away".to_owned())
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryBroker")
    }
}
