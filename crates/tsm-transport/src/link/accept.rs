//! Those who connect to us: proven, then let in or parked (rules S-33, S-105).

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

use tsm_types::ErrorCode;

use crate::counts::count;
use crate::link::connection::{Greeted, greet, run, say};
use crate::link::echo;
use crate::link::limits::{FAREWELL_TIME, FIRST_RETRY};
use crate::link::outbox::ConnectionId;
use crate::link::peer::Registered;
use crate::link::shared::{Entry, Shared};
use crate::link::tls::{ALPN, is_refusal_of_our_key, proven_key};
use crate::link::wire::{ReadError, Unit};
use crate::links::PeerKey;
use crate::pipe::{Arriving, Listener, Origin, Pipe};

/// What a parked peer has to say: that it expects us, and perhaps that it goes. Some more is
/// overlooked.
const MAX_PARKED_UNITS: usize = 16;

type Stream = TlsStream<Pipe>;

/// Why a parked link is over.
enum Parked {
    Unparked(Registered),
    /// It gave way to newer ones.
    Displaced,
    Expired,
    Ended(ReadError),
}

pub(crate) async fn listen(shared: Arc<Shared>, mut listener: Listener) {
    let leaving = shared.leaving.clone();
    let accepting = async {
        loop {
            match listener.accept().await {
                // Dropped here, a connection costs nothing but its acceptance.
                Ok(arriving) if shared.is_blocked(arriving.origin) => {}
                Ok(arriving) => {
                    let (id, gives_way) = shared.handshake_begins(arriving.origin);
                    shared.spawn(receive(shared.clone(), arriving, id, gives_way));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections: raise the limit of open files if this stays");
                    sleep(FIRST_RETRY).await;
                }
            }
        }
    };
    leaving.run_until_cancelled(accepting).await;
}

/// One who connects, to its end.
async fn receive<N>(
    shared: Arc<Shared>,
    arriving: Arriving,
    id: ConnectionId,
    gives_way: oneshot::Receiver<N>,
) {
    let from = arriving.origin;
    // In a box that goes with it: a task keeps for life the room of the largest that it ever awaits.
    let proving = Box::pin(prove(&shared, arriving));
    let outcome = tokio::select! {
        outcome = timeout(shared.limits.handshake_time, proving) => {
            outcome.unwrap_or_else(|_| Err("no handshake in time".to_owned()))
        }
        _ = gives_way => Err("too many handshakes at once".to_owned()),
        () = shared.leaving.cancelled() => return,
    };
    shared.handshake_ends(id);
    match outcome {
        Ok(Some((peer, greeted))) => admit(shared, peer, greeted, from).await,
        Ok(None) => {}
        Err(why) => {
            tracing::debug!(%from, why, "a connection came to nothing");
            if shared.handshake_failed(from) {
                tracing::warn!(
                    code = %ErrorCode::HandshakeLimit, source = %from, limit = shared.limits.failed_handshakes,
                    "too many connections of this source came to nothing within a minute: it is not listened to for {:?}",
                    shared.limits.blocked_for
                );
            }
        }
    }
}

/// `None` for who only wanted an answer, and has it.
async fn prove(shared: &Shared, arriving: Arriving) -> Result<Option<(PeerKey, Greeted<Stream>)>, String> {
    let from = arriving.origin;
    let pipe = arriving.opening.await.map_err(|error| error.to_string())?;
    let stream = shared.tls.acceptor().accept(pipe).await.map_err(|error| {
        if is_refusal_of_our_key(&error) && shared.may_hint() {
            tracing::warn!(
                %from, player = shared.hello.player,
                "a node that dialled this one expects another public key here: correct the public key of this \
                 player in its configuration"
            );
        }
        error.to_string()
    })?;
    if stream.get_ref().1.alpn_protocol() == Some(echo::ALPN) {
        let asker = proven_key(stream.get_ref().1, echo::ALPN).map_err(str::to_owned)?;
        let answering = echo::answer(stream, shared.hello.player, shared.knows(&asker));
        return answering.await.map(|()| None).map_err(|error| error.to_string());
    }
    let peer = proven_key(stream.get_ref().1, ALPN).map_err(str::to_owned)?;
    let greeted = greet(shared, stream).await.map_err(|error| format!("no hello: {error:?}"))?;
    Ok(Some((peer, greeted)))
}

async fn admit(shared: Arc<Shared>, peer: PeerKey, greeted: Greeted<Stream>, from: Origin) {
    match shared.enter(&peer, greeted.hello, from) {
        Entry::Expected(registered) => run(shared, peer, registered, greeted, false).await,
        Entry::Parked(id, unparked) => Box::pin(park(shared, peer, greeted, from, id, unparked)).await,
        Entry::Leaving => {}
        Entry::TooMany(limit) if shared.may_hint() => tracing::warn!(
            code = %ErrorCode::TenantLinkLimit, peer = %peer.fingerprint(), player = greeted.hello.player, %from, limit,
            "refused: this peer holds as many connections as it may; lower its connectionPoolSize"
        ),
        Entry::TooMany(_) => {}
    }
}

async fn park(
    shared: Arc<Shared>,
    peer: PeerKey,
    mut greeted: Greeted<Stream>,
    from: Origin,
    id: ConnectionId,
    mut unparked: oneshot::Receiver<Registered>,
) {
    let mut expects_us = false;
    let mut end = tokio::select! {
        // Unparked and ended at once: the connection's own task will find out.
        biased;
        registered = &mut unparked => registered.map_or(Parked::Displaced, Parked::Unparked),
        () = sleep(shared.limits.parked_for) => Parked::Expired,
        error = overhear(&shared, &mut greeted, &mut expects_us) => Parked::Ended(error),
        () = shared.leaving.cancelled() => Parked::Displaced,
    };
    if !shared.leave_parking(id)
        && let Ok(registered) = unparked.try_recv()
    {
        end = Parked::Unparked(registered);
    }
    let (fingerprint, player) = (peer.fingerprint(), greeted.hello.player);
    match end {
        Parked::Unparked(registered) => run(shared, peer, registered, greeted, expects_us).await,
        Parked::Expired => {
            count(&shared.counters.expired);
            tracing::warn!(
                "refused: unknown key {fingerprint} from {from}, claimed player {player}; to let it in, add its \
                 public key to the configuration or name it in the session"
            );
        }
        Parked::Displaced => {
            tracing::debug!(%fingerprint, %from, player, "a parked link gave way to newer ones")
        }
        Parked::Ended(error) => tracing::debug!(%fingerprint, %from, player, ?error, "a parked link ended"),
    }
}

/// Tells the peer that it is parked and notes whether it expects us. Frames are not read: the reader
/// takes none until the link is usable.
async fn overhear(shared: &Shared, greeted: &mut Greeted<Stream>, expects_us: &mut bool) -> ReadError {
    match timeout(FAREWELL_TIME, say(&mut greeted.writer, Unit::Parked)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return ReadError::Io(error),
        Err(_) => return ReadError::Silent,
    }
    greeted.reader.set_silent_after(shared.limits.parked_for * 2);
    for _ in 0..MAX_PARKED_UNITS {
        match greeted.reader.unit().await {
            Ok(Unit::Expected) => *expects_us = true,
            Ok(Unit::Closing) => return ReadError::Ended,
            Ok(Unit::Ping(_) | Unit::Pong(_) | Unit::Parked) => {}
            Ok(Unit::Frame(_)) => return ReadError::Misbehaved("a frame that was not expected"),
            Err(error) => return error,
        }
    }
    ReadError::Misbehaved("talkative while parked")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the future that a function gives: what its task takes for as long as it lives.
    fn size<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn s105_an_idle_link_does_not_keep_the_room_of_its_handshake() {
        let size = size(receive::<()>);
        assert!(size <= 4096, "{size} bytes for each link");
    }
}
