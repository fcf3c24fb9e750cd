//! An adversary in the place of a real broker.
//!
//! Every player has a virtual host of its own, in which only this program, with all rights and its own
//! connections, has queues for the others. So every message passes its hand.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_core::Stream;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::{Channel, Connection};
use tsm_crypto::identity::Fingerprint;
use tsm_tests::hostile::honest;
use tsm_transport::broker::Inbox;
use tsm_transport::broker::memory::{Delivery, Hand, Post};

/// Carries messages from one virtual host to another, as far as its hand lets it.
#[derive(Clone)]
pub(crate) struct Bridge(Arc<State>);

struct State {
    hosts: BTreeMap<Fingerprint, Channel>,
    /// Ends with the bridge.
    _connections: Vec<Connection>,
    hand: Mutex<Hand>,
    /// The inboxes for which a host has a queue of ours.
    watched: Mutex<BTreeSet<(Fingerprint, Inbox)>>,
}

impl Bridge {
    /// Between the virtual hosts of these players, each at its URL.
    pub(crate) async fn between(players: &BTreeMap<Fingerprint, String>) -> Self {
        let (mut hosts, mut connections) = (BTreeMap::new(), Vec::new());
        for (player, url) in players {
            let connection = Connection::connect(url, Default::default()).await.unwrap();
            hosts.insert(*player, connection.create_channel().await.unwrap());
            connections.push(connection);
        }
        let (hand, watched) = (Mutex::new(honest()), Mutex::default());
        let bridge = Bridge(Arc::new(State { hosts, _connections: connections, hand, watched }));
        for player in players.keys() {
            for other in players.keys().filter(|other| *other != player) {
                bridge.watch(*player, Inbox::Player(*other)).await;
            }
        }
        bridge
    }

    pub(crate) fn set_hand(&self, hand: Hand) {
        *self.0.hand.lock().unwrap() = hand;
    }

    /// Puts a message into an inbox, past the hand.
    pub(crate) async fn inject(&self, post: Post) {
        let (Inbox::Player(player) | Inbox::Node(player, _)) = post.to;
        let Some(channel) = self.0.hosts.get(&player) else { return };
        let queue = format!("tsm.{}", post.to);
        let published = channel.basic_publish(
            "".into(),
            queue.as_str().into(),
            Default::default(),
            &post.message,
            Default::default(),
        );
        drop(published.await);
    }

    /// The inboxes that the running nodes were seen to have.
    pub(crate) fn nodes(&self) -> Vec<Inbox> {
        let watched = self.0.watched.lock().unwrap();
        let nodes: BTreeSet<Inbox> = watched
            .iter()
            .map(|(_, inbox)| *inbox)
            .filter(|inbox| matches!(inbox, Inbox::Node(..)))
            .collect();
        nodes.into_iter().collect()
    }

    /// Deletes the queues of all running nodes.
    pub(crate) async fn delete_queues(&self) {
        for inbox in self.nodes() {
            let (Inbox::Player(player) | Inbox::Node(player, _)) = inbox;
            let queue = format!("tsm.{inbox}");
            drop(self.0.hosts[&player].queue_delete(queue.as_str().into(), Default::default()).await);
        }
    }

    /// Takes what `sender` sends to this inbox.
    async fn watch(&self, sender: Fingerprint, inbox: Inbox) {
        if !self.0.watched.lock().unwrap().insert((sender, inbox)) {
            return;
        }
        let Some(channel) = self.0.hosts.get(&sender) else { return };
        let queue = format!("tsm.{inbox}");
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(queue.as_str().into(), options, Default::default()).await.unwrap();
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consumer = channel.basic_consume(queue.as_str().into(), "".into(), options, Default::default());
        let mut consumer = consumer.await.unwrap();
        let bridge = self.clone();
        tokio::spawn(async move {
            loop {
                let next = std::future::poll_fn(|context| Pin::new(&mut consumer).poll_next(context));
                let Some(Ok(delivery)) = next.await else { return };
                bridge.pass(sender, Post { to: inbox, message: delivery.data }).await;
            }
        });
    }

    /// A type of its own, since it may begin to watch, and that to pass on.
    fn pass(&self, sender: Fingerprint, post: Post) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // Whoever opens or accepts a pipe says where the answers go (docs/links.md).
            if let (Some(1 | 2), Some(body)) = (post.message.get(1), post.message.get(26..))
                && let Some((player, node)) = body.split_first_chunk::<32>()
                && let Ok(node) = node.try_into()
            {
                debug_assert_eq!(*player, sender.0);
                let (Inbox::Player(receiver) | Inbox::Node(receiver, _)) = post.to;
                self.watch(receiver, Inbox::Node(Fingerprint(*player), node)).await;
            }
            let deliveries = (self.0.hand.lock().unwrap())(post);
            for Delivery { after, post } in deliveries {
                if after.is_zero() {
                    self.inject(post).await;
                } else {
                    let bridge = self.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(after).await;
                        bridge.inject(post).await;
                    });
                }
            }
        })
    }
}
