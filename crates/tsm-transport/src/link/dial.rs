//! The keeper of a peer: dials it, keeps its pool full, renews what has grown old.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::client::TlsStream;
use tsm_types::address::{Address, Place};

use crate::link::connection::{Greeted, greet, run};
use crate::link::limits::{FIRST_RETRY, LONGEST_RETRY};
use crate::link::peer::{Chore, DialProblem};
use crate::link::shared::Shared;
use crate::link::tls::{ALPN, WrongKey, proven_key, server_name};
use crate::link::wire::ReadError;
use crate::links::PeerKey;
use crate::pipe::Pipe;

/// Looks after one peer for as long as it is expected.
pub(crate) async fn keep(shared: Arc<Shared>, peer: PeerKey, changed: Arc<Notify>) {
    let leaving = shared.leaving.clone();
    let work = async {
        loop {
            match shared.chore(&peer) {
                Chore::Leave => return,
                Chore::Wait(None) => changed.notified().await,
                Chore::Wait(Some(until)) => tokio::select! {
                    () = changed.notified() => {}
                    () = sleep_until(until) => {}
                },
                // In a box that goes with it: a task keeps for life the room of the largest that it ever awaits.
                Chore::Dial(address) => Box::pin(dial(&shared, &peer, &address)).await,
            }
        }
    };
    leaving.run_until_cancelled(work).await;
}

async fn dial(shared: &Arc<Shared>, peer: &PeerKey, address: &Address) {
    let attempt = timeout(shared.limits.handshake_time, connect(shared, peer, address)).await;
    let outcome = attempt.unwrap_or_else(|_| {
        let seconds = shared.limits.handshake_time.as_secs_f32();
        let check = match address.place {
            Place::Tcp(_) | Place::WebSocket { .. } => "a node listens there and no firewall is between",
            Place::Broker => "the player's node runs and uses the same message broker",
        };
        Err(DialProblem::Other(format!("{address} did not answer within {seconds} s: check that {check}")))
    });
    match outcome {
        Ok(greeted) => {
            let lifetime = address.connection_lifetime.mul_f64(0.9 + 0.1 * chance());
            if let Some(registered) = shared.dialled(peer, greeted.hello, lifetime) {
                shared.spawn(run(shared.clone(), peer.clone(), registered, greeted, false));
            }
        }
        Err(problem) => report(shared, peer, address, problem),
    }
}

async fn connect(
    shared: &Arc<Shared>,
    peer: &PeerKey,
    address: &Address,
) -> Result<Greeted<TlsStream<Pipe>>, DialProblem> {
    let pipe = shared.dialler.dial(address, peer, shared.limits.handshake_time).await;
    let pipe = pipe.map_err(DialProblem::Other)?;
    let connector = shared.tls.connector(peer, ALPN);
    let stream =
        connector.connect(server_name(), pipe).await.map_err(|error| match WrongKey::in_error(&error) {
            // An inbox bears the name of its player's key: if another key answers, the broker led astray. The
            // next attempt may find the player, so that no session ends by it.
            Some(wrong) if matches!(address.place, Place::Broker) => DialProblem::Other(format!(
                "the message broker led to a node with the public key {} in place of {}",
                wrong.presented, wrong.expected
            )),
            Some(wrong) => DialProblem::WrongKey(wrong),
            None => DialProblem::Other(format!("{address} answered, but no secure link came about: {error}")),
        })?;
    proven_key(stream.get_ref().1, ALPN)
        .map_err(|why| DialProblem::Other(format!("{address} is not a peer: {why}")))?;
    greet(shared, stream).await.map_err(|error| DialProblem::Other(no_greeting(address, &error)))
}

fn no_greeting(address: &Address, error: &ReadError) -> String {
    match error {
        ReadError::Ended | ReadError::Cut => format!(
            "{address} ended the connection after the handshake: compare this node's public key with the one that \
             is known there"
        ),
        ReadError::Io(error) => format!("{address} refused the link: {error}"),
        ReadError::Silent => format!("{address} proved its key, but said nothing more"),
        ReadError::Misbehaved(rule) => {
            format!("{address} speaks another protocol ({rule}): compare the versions")
        }
    }
}

fn report(shared: &Shared, peer: &PeerKey, address: &Address, problem: DialProblem) {
    if !shared.dial_failed(peer, problem.clone()) {
        return;
    }
    match problem {
        DialProblem::WrongKey(WrongKey { expected, presented }) => tracing::warn!(
            player = shared.hello.player, %address, %expected, %presented,
            "the node at this address has another public key than expected: correct the address or the public key"
        ),
        DialProblem::Other(error) => tracing::info!(
            player = shared.hello.player, peer = %peer.fingerprint(), error, "not reached yet; will keep trying"
        ),
    }
}

/// How long not to dial after this many failures: doubling, and never quite the same for two nodes
/// that lost each other at one time.
pub(crate) fn pause_after(failures: u32) -> Duration {
    let longest = FIRST_RETRY.saturating_mul(1 << failures.min(16)).min(LONGEST_RETRY);
    longest.mul_f64(0.5 + 0.5 * chance())
}

/// Uniform in [0, 1). Timing only: without randomness it is 0.5.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the future that a function gives: what its task takes for as long as it lives.
    fn size<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn s105_an_idle_peer_does_not_keep_the_room_of_dialling_it() {
        let size = size(keep);
        assert!(size <= 1024, "{size} bytes for each peer");
    }

    #[test]
    fn pauses_grow_to_a_bound_and_vary() {
        for (failures, longest) in [(0, 100), (1, 200), (5, 3200), (6, 5000), (u32::MAX, 5000)] {
            let longest = Duration::from_millis(longest);
            let pause = pause_after(failures);
            assert!(longest / 2 <= pause && pause <= longest, "{failures} {pause:?}");
        }
        assert_ne!([0; 4].map(pause_after), [0; 4].map(pause_after));
    }
}
