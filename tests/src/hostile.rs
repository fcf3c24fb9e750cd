//! What an adversary in the place of a message broker does, and what callers may be told of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tsm_transport::broker::memory::{Delivery, Hand, Post};
use tsm_transport::broker::{Broker, Inbox, Publishing};
use tsm_types::{ErrorCode, Failure};

/// Where a broker does harm, somebody did not come, or the link was lost. Nobody is blamed.
const BLAMELESS: [ErrorCode; 7] = [
    ErrorCode::LinkLost,
    ErrorCode::SessionPlayersMissing,
    ErrorCode::SessionTimeout,
    ErrorCode::SessionCancelled,
    ErrorCode::SessionRefused,
    ErrorCode::PairRenewed,
    ErrorCode::KeyNotActive,
];

/// The failure must blame nobody for what the broker did, in a text that says something.
#[track_caller]
pub fn blames_nobody(what: &str, failure: &Failure) {
    assert!(BLAMELESS.contains(&failure.code), "{what}: {failure} {failure:?}");
    assert!(!failure.detail.is_empty(), "{what}: {failure:?}");
}

/// Something done to a message; the inbox is somebody else's.
pub type Trick = fn(Post, Inbox) -> Vec<Delivery>;

/// All that a broker can do to one message, with its name.
pub const TRICKS: [(&str, Trick); 9] = [
    ("lose", |_, _| Vec::new()),
    ("delay", |post, _| vec![Delivery { after: Duration::from_millis(400), post }]),
    ("delay for too long", |post, _| vec![Delivery { after: Duration::from_secs(4), post }]),
    ("repeat", |post, _| vec![Delivery::at_once(post.clone()), Delivery::at_once(post)]),
    ("cut", |mut post, _| {
        post.message.truncate(post.message.len() / 2);
        vec![Delivery::at_once(post)]
    }),
    ("change a bit", |mut post, _| {
        *post.message.last_mut().expect("no message is empty") ^= 1;
        vec![Delivery::at_once(post)]
    }),
    ("deliver to another", |post, other| vec![Delivery::at_once(Post { to: other, ..post })]),
    ("inject the end of the pipe", |post, _| {
        let reset = [[1, 6].as_slice(), &post.message[2..18], &[0; 8]].concat();
        vec![Delivery::at_once(Post { message: reset, ..post.clone() }), Delivery::at_once(post)]
    }),
    ("inject junk before it", |post, _| {
        let junk =
            [[1, 3].as_slice(), &post.message[2..18], &post.message[18..26], &[9, 0], &[9; 10]].concat();
        vec![Delivery::at_once(Post { message: junk, ..post.clone() }), Delivery::at_once(post)]
    }),
];

/// A hand that changes nothing.
pub fn honest() -> Hand {
    Box::new(|post| vec![Delivery::at_once(post)])
}

/// Does it to one message, counted from 0, and is honest before and after.
pub fn once(at: usize, trick: Trick, other: Inbox) -> Hand {
    let mut seen = 0;
    Box::new(move |post| {
        seen += 1;
        if seen - 1 == at { trick(post, other) } else { vec![Delivery::at_once(post)] }
    })
}

/// A broker that a hand is put before: every message passes it.
pub struct Handed {
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The hand, which several nodes may share.
    pub hand: Arc<Mutex<Hand>>,
}

impl Broker for Handed {
    fn publish(&self, to: Inbox, message: Vec<u8>) -> Publishing {
        let hand = &mut *self.hand.lock().expect("no holder of this lock panics");
        let deliveries = hand(Post { to, message });
        let broker = self.broker.clone();
        Box::pin(async move {
            for Delivery { after, post } in deliveries {
                let publishing = broker.publish(post.to, post.message);
                if after.is_zero() {
                    publishing.await?;
                } else {
                    tokio::spawn(async move {
                        tokio::time::sleep(after).await;
                        drop(publishing.await);
                    });
                }
            }
            Ok(())
        })
    }

    fn subscribe(&self, inboxes: Vec<Inbox>) -> tokio::sync::mpsc::Receiver<tsm_transport::broker::Arrival> {
        self.broker.subscribe(inboxes)
    }

    fn trouble(&self) -> Option<String> {
        self.broker.trouble()
    }
}
