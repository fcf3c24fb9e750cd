//! All players of a run in one thread, with a hand on every message.

use std::collections::{BTreeMap, VecDeque};

use borsh::{BorshDeserialize, BorshSerialize};
use tsm_crypto::CryptoRng;
use tsm_types::PlayerIndex;

use crate::abort::Abort;
use crate::round::{Outgoing, Pending, Step};

/// A message on its way, as a test may see, change or replace it.
pub struct InFlight<'a> {
    /// The sender.
    pub from: PlayerIndex,
    /// The receiver.
    pub to: PlayerIndex,
    /// Which of the sender's steps sent it, from 1.
    pub round: usize,
    /// The encoded message; an empty one is lost.
    pub body: &'a mut Vec<u8>,
}

/// Decodes a message, lets `edit` change it, and encodes it again: how a test cheats.
///
/// # Panics
/// If `body` is not a message of this type, which is a mistake of the test.
pub fn tamper<M: BorshSerialize + BorshDeserialize>(body: &mut Vec<u8>, edit: impl FnOnce(&mut M)) {
    let mut message = borsh::from_slice(body).expect("the test names the type of the message");
    edit(&mut message);
    *body = borsh::to_vec(&message).expect("encoding to memory cannot fail");
}

/// Runs all players to their ends. A player whose run ended early gives its abort; a player that
/// waits for ever for one that ended gives `None`.
pub fn run_cluster<T: Send + 'static>(
    steps: BTreeMap<PlayerIndex, Step<T>>,
    rng: &mut dyn CryptoRng,
    mut tamper: impl FnMut(InFlight<'_>),
) -> BTreeMap<PlayerIndex, Option<Result<T, Abort>>> {
    let mut results: BTreeMap<PlayerIndex, Option<Result<T, Abort>>> =
        steps.keys().map(|player| (*player, None)).collect();
    let mut waiting: BTreeMap<PlayerIndex, (usize, Box<dyn Pending<Output = T>>)> = BTreeMap::new();
    let mut wire: VecDeque<(PlayerIndex, usize, Outgoing)> = VecDeque::new();
    let mut early: Vec<(PlayerIndex, usize, PlayerIndex, Vec<u8>)> = Vec::new();

    let take = |player: PlayerIndex,
                round: usize,
                step: Step<T>,
                wire: &mut VecDeque<(PlayerIndex, usize, Outgoing)>,
                waiting: &mut BTreeMap<PlayerIndex, (usize, Box<dyn Pending<Output = T>>)>,
                results: &mut BTreeMap<PlayerIndex, Option<Result<T, Abort>>>| {
        match step {
            Step::Continue { send, round: pending } => {
                wire.extend(send.into_iter().map(|message| (player, round, message)));
                waiting.insert(player, (round, pending));
            }
            Step::Done { send, output } => {
                wire.extend(send.into_iter().map(|message| (player, round, message)));
                results.insert(player, Some(Ok(output)));
            }
        }
    };

    for (player, step) in steps {
        take(player, 1, step, &mut wire, &mut waiting, &mut results);
    }
    while let Some((from, round, message)) = wire.pop_front() {
        let mut body = message.body.to_vec();
        tamper(InFlight { from, to: message.to, round, body: &mut body });
        if !body.is_empty() {
            early.push((from, round, message.to, body));
        }
        // Deliver what its receiver is ready for; the rest waits.
        let mut progress = true;
        while progress {
            progress = false;
            for (from, round, to, body) in std::mem::take(&mut early) {
                match waiting.get_mut(&to) {
                    Some((current, pending)) if *current == round => {
                        progress = true;
                        if let Err(abort) = pending.accept(from, &body) {
                            waiting.remove(&to);
                            results.insert(to, Some(Err(abort)));
                        }
                    }
                    Some((current, _)) if *current < round => early.push((from, round, to, body)),
                    Some(_) | None => {}
                }
            }
            let ready: Vec<PlayerIndex> = waiting
                .iter()
                .filter(|(_, (_, p))| p.awaited().is_empty())
                .map(|(player, _)| *player)
                .collect();
            for player in ready {
                progress = true;
                let (round, pending) = waiting.remove(&player).expect("it was just there");
                match pending.advance(rng) {
                    Ok(step) => take(player, round + 1, step, &mut wire, &mut waiting, &mut results),
                    Err(abort) => {
                        results.insert(player, Some(Err(abort)));
                    }
                }
            }
        }
    }
    results
}
