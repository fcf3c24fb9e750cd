//! The last message of a key generation, delivered late (rule S-37).
//!
//! A node that stored its share and then missed signatures asks the other holders for the complete
//! certificate as soon as it can reach one of them. Whoever has it may forward it: it proves itself.
//!
//! Each frame about a certificate may cost a read of the database, so a dynamic player may send a few
//! at a time only (rule S-104). What is dropped is asked for again at the next session or link.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tsm_protocols::{Certificate, SignedCertificate};
use tsm_transport::Lease;
use tsm_types::{ApplicationId, ErrorCode, Failure, KeyId, PlayerKey};

use crate::metrics::count;
use crate::node::Inner;
use crate::provisional::Digest;
use crate::resolve::Resolved;
use crate::vault::key_not_found;
use crate::wire::Frame;

/// How long a key generation waits for the last message until it asks for the certificate, and for that
/// after the session has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How often the other holders are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Frames about certificates that a dynamic player may send at once: more than the keys that a phone
/// misses after a crash.
const AT_ONCE: u32 = 64;

/// How soon it may send one more after that.
const ONE_MORE: Duration = Duration::from_millis(250);

/// Until when what each dynamic player sent lately is paid for.
#[derive(Default)]
pub(crate) struct Spent(Mutex<HashMap<PlayerKey, Instant>>);

impl Spent {
    /// Whether a player may send one more frame about a certificate now.
    fn may_send(&self, player: &PlayerKey) -> bool {
        let (mut spent, now) = (self.0.lock().expect("no holder of this lock panics"), Instant::now());
        let paid = spent.entry(player.clone()).or_insert(now);
        let next = (*paid).max(now) + ONE_MORE;
        let may = next <= now + ONE_MORE * AT_ONCE;
        if may {
            *paid = next;
        }
        may
    }

    /// Forgets who has sent nothing for a while. To be called now and then.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        self.0.lock().expect("no holder of this lock panics").retain(|_, paid| *paid > now);
    }
}

/// Whether a frame about a certificate is listened to: its sender has not said too many.
pub(crate) fn listens(node: &Inner, peer: &PlayerKey) -> bool {
    let listens = !node.tenants.is_dynamic(peer) || node.certificate_frames.may_send(peer);
    if !listens {
        count(&node.counters.certificate_frames_dropped);
        tracing::debug!(peer = %peer.fingerprint(), "too many frames about certificates: one was dropped");
    }
    listens
}

/// Asks a peer for the certificates that this node misses. A key of which it has the certificate, since it
/// crashed before the key was active, becomes active: perhaps nobody else has it.
pub(crate) async fn ask(node: &Arc<Inner>, peer: &PlayerKey) {
    let missed = match node.vault.provisional_of(peer).await {
        Ok(missed) => missed,
        Err(failure) => return tracing::error!(%failure, "provisional keys cannot be read"),
    };
    for digest in missed {
        match node.vault.complete(&digest).await {
            Ok(Some(complete)) => receive(node, &complete).await,
            // Not connected any more: asked again when it is.
            Ok(None) | Err(_) => {
                let _ = node.links.send(peer, 0, Frame::CertificateWanted { digest }.encode());
            }
        }
    }
}

/// Answers a peer that misses a certificate, if it is a holder of the key.
pub(crate) async fn answer(node: &Arc<Inner>, peer: &PlayerKey, digest: Digest) {
    match node.vault.complete(&digest).await {
        Ok(Some(complete)) if complete.certificate.holders.index_of(peer).is_some() => {
            let _ = node.links.send(peer, 0, Frame::Certificate(complete).encode());
        }
        Ok(_) => {}
        Err(failure) => tracing::error!(%failure, "a certificate cannot be read"),
    }
}

/// Takes a certificate from a peer. Nothing is believed that is not signed by all holders.
pub(crate) async fn receive(node: &Arc<Inner>, certificate: &SignedCertificate) {
    match node.vault.activate(certificate).await {
        Ok(true) => {
            tracing::info!(key_id = %certificate.certificate.key_id, "the key's certificate became complete");
            node.activated.notify_waiters();
        }
        Ok(false) => tracing::debug!("a certificate for no provisional key of this node was ignored"),
        Err(failure) => tracing::error!(%failure, "a key could not be activated"),
    }
}

/// Asks all holders for the certificate and waits a while. True if the key became active.
pub(crate) async fn chase(node: &Arc<Inner>, certificate: &Certificate, patience: Duration) -> bool {
    let peers = certificate.holders.iter().map(|(_, key)| key);
    let peers = peers.filter(|key| **key != node.known.my_key).cloned().collect::<Vec<_>>();
    chase_any(node, &[certificate.digest()], &peers, patience).await
}

/// Returns once the key became active, without being told how. Asks all holders from time to time.
pub(crate) async fn arrives(node: &Arc<Inner>, certificate: &Certificate) {
    loop {
        tokio::time::sleep(PATIENCE).await;
        if chase(node, certificate, ASK_AGAIN).await {
            return;
        }
    }
}

/// [`chase`] for certificates of which one is enough.
async fn chase_any(node: &Arc<Inner>, digests: &[Digest], peers: &[PlayerKey], patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let activated = node.activated.notified();
        for digest in digests {
            match node.vault.is_provisional(digest).await {
                Ok(true) => {}
                Ok(false) => return true,
                Err(_) => return false,
            }
        }
        if Instant::now() >= deadline {
            return false;
        }
        for key in peers {
            ask(node, key).await;
        }
        let awaited = tokio::time::timeout_at(deadline.min(Instant::now() + ASK_AGAIN), activated);
        if node.stopping.run_until_cancelled(awaited).await.is_none() {
            return false;
        }
    }
}

/// A key that a session is about is not active here. If this node holds its share provisionally,
/// the other players of the session may bring the certificate.
pub(crate) async fn catch_up(
    node: &Arc<Inner>,
    application: &ApplicationId,
    key_id: &KeyId,
    players: &Resolved,
    patience: Duration,
) -> Result<(), Failure> {
    let missed = node.vault.provisional_named(application, key_id).await?;
    if missed.is_empty() {
        return Err(key_not_found(key_id));
    }
    let routes = players.routes.iter();
    let (peers, _leases): (Vec<PlayerKey>, Vec<Lease>) = routes
        .filter_map(|(peer, route)| {
            let key = players.players.key(*peer)?;
            Some((key.clone(), node.links.expect(key, route.clone())))
        })
        .unzip();
    if chase_any(node, &missed, &peers, patience).await {
        return Ok(());
    }
    let detail = format!("key {key_id} waits for its certificate, and no other holder brought it");
    Err(Failure::new(ErrorCode::KeyNotActive, detail))
}
