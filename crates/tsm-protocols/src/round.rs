//! Rounds: what a protocol author writes, and what an engine sees of it.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::CryptoRng;
use tsm_types::PlayerIndex;
use zeroize::Zeroizing;

use crate::abort::Abort;
use crate::per_peer::PerPeer;

/// One player's state between two messages. Consumed by the step that leaves it.
pub trait Round: Send + Sized + 'static {
    /// What every peer must send before this round can be left.
    type Message: BorshSerialize + BorshDeserialize + Send + 'static;
    /// What the whole protocol gives.
    type Output: Send + 'static;

    /// Leaves the round with one message of every peer.
    fn advance(
        self,
        received: PerPeer<Self::Message>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<Self::Output>, Abort>;
}

/// What a player does next.
pub enum Step<T> {
    /// Send, then wait for every peer's message of this round.
    Continue {
        /// Messages to send.
        send: Vec<Outgoing>,
        /// What waits for the answers.
        round: Box<dyn Pending<Output = T>>,
    },
    /// Send, and be done.
    Done {
        /// Messages to send.
        send: Vec<Outgoing>,
        /// The result.
        output: T,
    },
}

impl<T: Send + 'static> Step<T> {
    /// Sends, then waits in `round` for a message of each of `peers`.
    pub fn wait<R: Round<Output = T>>(send: Vec<Outgoing>, peers: BTreeSet<PlayerIndex>, round: R) -> Self {
        Step::Continue { send, round: Box::new(Collector { round, peers, received: BTreeMap::new() }) }
    }

    /// Done, with nothing left to send.
    pub fn done(output: T) -> Self {
        Step::Done { send: Vec::new(), output }
    }
}

/// A message for one peer. Its body may hold secrets for that peer alone (a key share on its way
/// to its owner), so it is wiped after sending, and only links to that one peer ever see it.
pub struct Outgoing {
    /// The receiver.
    pub to: PlayerIndex,
    /// The encoded message.
    pub body: Zeroizing<Vec<u8>>,
}

impl Outgoing {
    /// A message for one peer.
    pub fn new(to: PlayerIndex, message: &impl BorshSerialize) -> Self {
        // Room for all of it from the start: a vector that grows leaves copies behind (rule S-111).
        let length = borsh::object_length(message).expect("encoding to memory cannot fail");
        let mut body = Zeroizing::new(Vec::with_capacity(length));
        borsh::to_writer(&mut *body, message).expect("encoding to memory cannot fail");
        Outgoing { to, body }
    }

    /// The same message for every peer.
    pub fn broadcast(peers: &BTreeSet<PlayerIndex>, message: &impl BorshSerialize) -> Vec<Self> {
        peers.iter().map(|peer| Outgoing::new(*peer, message)).collect()
    }
}

/// What an engine sees of a round: it hands in messages, then advances.
pub trait Pending: Send {
    /// What the whole protocol gives.
    type Output;

    /// Takes a peer's message. Refuses strangers, what does not decode, and a second message that
    /// differs from the first; an exact repetition is ignored (a link may repeat what it sent).
    fn accept(&mut self, from: PlayerIndex, body: &[u8]) -> Result<(), Abort>;

    /// The peers whose message is still awaited.
    fn awaited(&self) -> BTreeSet<PlayerIndex>;

    /// Leaves the round. To be called when nobody is awaited any more.
    fn advance(self: Box<Self>, rng: &mut dyn CryptoRng) -> Result<Step<Self::Output>, Abort>;
}

/// The one implementation of [`Pending`].
struct Collector<R: Round> {
    round: R,
    peers: BTreeSet<PlayerIndex>,
    received: BTreeMap<PlayerIndex, (Zeroizing<Vec<u8>>, R::Message)>,
}

impl<R: Round> Pending for Collector<R> {
    type Output = R::Output;

    fn accept(&mut self, from: PlayerIndex, body: &[u8]) -> Result<(), Abort> {
        if !self.peers.contains(&from) {
            return Err(Abort::malformed(from, "sender takes part"));
        }
        if let Some((first, _)) = self.received.get(&from) {
            let repeated = first.as_slice() == body;
            return if repeated { Ok(()) } else { Err(Abort::equivocation(from, "one message a round")) };
        }
        // Exact decoding: trailing bytes are an error (rule S-29).
        let message = borsh::from_slice(body).map_err(|_| Abort::malformed(from, "message decodes"))?;
        self.received.insert(from, (Zeroizing::new(body.to_vec()), message));
        Ok(())
    }

    fn awaited(&self) -> BTreeSet<PlayerIndex> {
        self.peers.iter().filter(|peer| !self.received.contains_key(peer)).copied().collect()
    }

    fn advance(self: Box<Self>, rng: &mut dyn CryptoRng) -> Result<Step<Self::Output>, Abort> {
        let messages = self.received.into_iter().map(|(peer, (_, message))| (peer, message)).collect();
        let received =
            PerPeer::collect(&self.peers, messages).expect("the engine advances when nobody is awaited");
        self.round.advance(received, rng)
    }
}
