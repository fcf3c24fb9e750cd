//! A node: what it is made of, and the task that hands out what its links bring.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tsm_crypto::IdentityKey;
use tsm_storage::SealedStore;
use tsm_transport::{Lease, LinkEvent, Links, PeerStatus, ProcessId, Route};
use tsm_types::presignatures::{
    GeneratePresignatures, PresignatureSet, Presigned, SignWithPresignature, SignedWithPresignature,
};
use tsm_types::request::{ChainCode, GenerateKey, KeyInfo, SessionRequest, SignEcdsa, Signed};
use tsm_types::{
    ApplicationId, DerivationPath, ErrorCode, Failure, KeyId, Operation, PlayerIndex, PlayerKey, Players,
    SessionId, SessionTag,
};

use crate::certificates::Spent;
use crate::compute::Compute;
use crate::derived::DerivedKeys;
use crate::metrics::{Counted, Counters, Metrics, count};
use crate::outcomes::Outcomes;
use crate::pairs::Pairs;
use crate::presignatures::Presignatures;
use crate::resolve::{KnownPlayers, Resolved};
use crate::run::{Limits, end_of};
use crate::sessions::{Replies, Sessions, stopping};
use crate::settings::{Settings, StaticPlayer};
use crate::tenants::Tenants;
use crate::vault::Vault;
use crate::wire::Frame;
use crate::{certificates, operations};

/// How often what is kept for a time is looked through for what is too old.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// How often a stopping node looks for players that wait to be let in, to tell them.
const LOOK_AT_STRANGERS: Duration = Duration::from_millis(250);

/// What a node is made of.
pub struct NodeParts {
    /// Index of the node's player.
    pub player: PlayerIndex,
    /// Its identity.
    pub identity: Arc<IdentityKey>,
    /// What the configuration says of other players.
    pub players: BTreeMap<PlayerIndex, StaticPlayer>,
    /// The ways to other players, and what they tell.
    pub links: Arc<dyn Links>,
    /// Events of `links`.
    pub events: mpsc::Receiver<LinkEvent>,
    /// Where key shares are kept.
    pub store: SealedStore,
    /// Where the mathematics runs.
    pub compute: Compute,
    /// Times and limits.
    pub settings: Settings,
}

/// A running node. Cheap to clone; stops when [`stop`](Self::stop) is called.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

/// What the parts of the engine share.
pub(crate) struct Inner {
    pub known: KnownPlayers,
    pub identity: Arc<IdentityKey>,
    pub links: Arc<dyn Links>,
    pub vault: Vault,
    pub compute: Compute,
    pub settings: Settings,
    pub tenants: Tenants,
    pub sessions: Sessions,
    pub pairs: Pairs,
    pub counters: Counters,
    pub outcomes: Outcomes,
    pub certificate_frames: Spent,
    pub presignatures: Arc<Presignatures>,
    pub derived: DerivedKeys,
    pub stopping: CancellationToken,
    pub tasks: TaskTracker,
    /// What callers asked for.
    pub runs: TaskTracker,
    /// Told when a provisional key became active.
    pub activated: Notify,
    /// Of static players, who are always expected where links are kept.
    _leases: Vec<Lease>,
}

impl Node {
    /// Starts the node's tasks on the current tokio runtime.
    pub fn start(parts: NodeParts) -> Node {
        let known = KnownPlayers {
            me: parts.player,
            my_key: parts.identity.public().clone(),
            configured: parts.players,
            pipes: parts.links.pipes(),
            reject_conflicts: parts.settings.reject_conflicting_dynamic_keys,
        };
        let leases = match parts.settings.keep_links {
            true => expect_static_players(&known, parts.links.as_ref()),
            false => Vec::new(),
        };
        let static_keys = known.configured.values().filter_map(|player| player.public_key.clone()).collect();
        let inner = Arc::new(Inner {
            known,
            identity: parts.identity,
            links: parts.links,
            vault: Vault::new(parts.store),
            compute: parts.compute,
            sessions: Sessions::new(parts.settings.max_sessions),
            presignatures: Arc::new(Presignatures::new(
                parts.settings.presignatures,
                parts.settings.outcome_lifetime,
            )),
            derived: DerivedKeys::new(parts.settings.derived_keys),
            tenants: Tenants::new(parts.settings.tenants.clone(), static_keys),
            settings: parts.settings,
            pairs: Pairs::default(),
            counters: Counters::default(),
            outcomes: Outcomes::default(),
            certificate_frames: Spent::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runs: TaskTracker::new(),
            activated: Notify::new(),
            _leases: leases,
        });
        inner.tasks.spawn(hand_out(inner.clone(), parts.events));
        Node(inner)
    }

    /// Makes a key that is shared among the session's players.
    pub async fn generate_key(
        &self,
        application: &ApplicationId,
        request: GenerateKey,
    ) -> Result<KeyInfo, Failure> {
        let counted = Counted::begin(&self.0, "ecdsa.generate_key");
        counted.end(self.within(operations::generate_key::run(&self.0, application, request)).await)
    }

    /// Makes this node's part of a signature.
    pub async fn sign(&self, application: &ApplicationId, request: SignEcdsa) -> Result<Signed, Failure> {
        let counted = Counted::begin(&self.0, "ecdsa.sign");
        counted.end(self.within(operations::sign::run(&self.0, application, request)).await)
    }

    /// Makes presignatures, in the memory of this process and of every other signer's.
    pub async fn generate_presignatures(
        &self,
        application: &ApplicationId,
        request: GeneratePresignatures,
    ) -> Result<Presigned, Failure> {
        let counted = Counted::begin(&self.0, "ecdsa.generate_presignatures");
        counted.end(self.within(operations::presignatures::generate(&self.0, application, request)).await)
    }

    /// Makes this node's part of a signature from a presignature, without a word to other nodes. The
    /// presignature is gone; the same request again gives the same bytes.
    pub async fn sign_with_presignature(
        &self,
        application: &ApplicationId,
        request: SignWithPresignature,
    ) -> Result<SignedWithPresignature, Failure> {
        let counted = Counted::begin(&self.0, "ecdsa.sign_with_presignature");
        counted.end(self.within(operations::presignatures::sign(&self.0, application, request)).await)
    }

    /// Unused presignatures of a key that this process holds, by signer set.
    pub async fn count_presignatures(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
    ) -> Result<Vec<PresignatureSet>, Failure> {
        self.within(operations::presignatures::count(&self.0, application, key_id)).await
    }

    /// Deletes the presignatures of a key that this process holds; returns how many were unused.
    pub async fn delete_presignatures(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
    ) -> Result<u64, Failure> {
        self.within(operations::presignatures::delete(&self.0, application, key_id)).await
    }

    /// What is public of a key, with the public key at this path.
    pub async fn public_key(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
        path: &DerivationPath,
    ) -> Result<KeyInfo, Failure> {
        self.within(operations::keys::public_key(&self.0, application, key_id, path)).await
    }

    /// The chain code at this path. With the public key it shows all keys below.
    pub async fn chain_code(
        &self,
        application: &ApplicationId,
        key_id: &KeyId,
        path: &DerivationPath,
    ) -> Result<ChainCode, Failure> {
        self.within(operations::keys::chain_code(&self.0, application, key_id, path)).await
    }

    /// IDs of the application's keys of which this node holds a share, in ascending order.
    pub async fn list_keys(&self, application: &ApplicationId) -> Result<Vec<KeyId>, Failure> {
        self.within(operations::keys::list(&self.0, application)).await
    }

    /// Deletes this node's share of a key, for ever.
    pub async fn delete_key_share(&self, application: &ApplicationId, key_id: &KeyId) -> Result<(), Failure> {
        self.within(operations::keys::delete(&self.0, application, key_id)).await
    }

    /// Refuses what comes when all is being ended; what came before has its store until it has ended, too.
    async fn within<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let _call = self.0.tasks.token();
        if self.0.stopping.is_cancelled() {
            return Err(stopping());
        }
        call.await
    }

    /// Index of the node's player.
    pub fn player(&self) -> PlayerIndex {
        self.0.known.me
    }

    /// The node's public key.
    pub fn public_identity(&self) -> &PlayerKey {
        &self.0.known.my_key
    }

    /// Why the node takes no sessions now, one sentence each; empty when it does.
    ///
    /// Asks the database, which may take up to two seconds.
    pub async fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.0.sessions.is_draining() {
            let running = self.running_sessions();
            reasons.push(format!("the node is stopping: it takes no new sessions; {running} still run"));
            // It may be closed by now.
            return reasons;
        }
        reasons.extend(self.0.vault.trouble().await);
        reasons.extend(self.0.links.trouble().filter(|trouble| trouble.cuts_off).map(|trouble| trouble.what));
        reasons
    }

    /// What is known of the ways to the configured players, and of what else may keep single sessions
    /// from working. Not a reason to take no sessions.
    pub fn ways(&self) -> Ways {
        let configured = self.0.known.configured.iter().filter(|(index, _)| **index != self.player());
        let player = |(index, player): (&PlayerIndex, &StaticPlayer)| {
            let key = player.public_key.as_ref()?;
            let status = self.0.links.status(key);
            let connected = matches!(status, PeerStatus::Up { .. });
            let stopping = self.0.sessions.is_stopping(key);
            let status =
                if stopping { "stopping: it takes no new sessions".to_owned() } else { status.to_string() };
            Some(PlayerWay { player: *index, connected, stopping, status })
        };
        Ways {
            players: configured.filter_map(player).collect(),
            trouble: self.0.links.trouble().map(|trouble| trouble.what),
        }
    }

    /// Number of running sessions.
    pub fn running_sessions(&self) -> usize {
        self.0.sessions.running()
    }

    /// What the node has done so far, and what there is now.
    pub fn metrics(&self) -> Metrics {
        Metrics::of(&self.0)
    }

    /// From now on refuses sessions, of callers and of peers, with the reason; returns when those that run
    /// have ended, or `drain_timeout` of the settings is over. Calls that need no session still work.
    ///
    /// Dropped, it waits no longer; sessions stay refused.
    pub async fn drain(&self) {
        let inner = &self.0;
        inner.refuse_sessions();
        for peer in inner.sessions.peers() {
            inner.tell_stopping(&peer);
        }
        inner.runs.close();
        let tell_strangers = async {
            let mut leases = Vec::new();
            loop {
                // They find out when their link is up, as all others do.
                let strangers = inner.links.strangers().into_iter();
                leases.extend(strangers.map(|stranger| inner.links.expect(&stranger.key, Route::Wait)));
                tokio::time::sleep(LOOK_AT_STRANGERS).await;
            }
        };
        tokio::select! {
            biased;
            () = inner.runs.wait() => {}
            () = tokio::time::sleep(inner.settings.drain_timeout) => {
                let running = self.running_sessions();
                tracing::warn!(running, "sessions still run at the end of [Session] DrainTimeout; they are ended");
            }
            () = tell_strangers => {}
        }
    }

    /// Ends all sessions, telling every player why, waits until nothing runs any more, and frees the
    /// database. The links are their owner's to stop, after this.
    pub async fn stop(&self) {
        self.0.refuse_sessions();
        self.0.stopping.cancel();
        for tasks in [&self.0.runs, &self.0.tasks] {
            tasks.close();
            tasks.wait().await;
        }
        self.0.vault.close().await;
    }
}

impl Inner {
    /// A session's times: the node's own, or shorter if the caller says so.
    pub(crate) fn limits(&self, request: &SessionRequest) -> Limits {
        let shorter = |own: Duration, asked: Option<Duration>| asked.map_or(own, |asked| asked.min(own));
        Limits {
            connect: shorter(self.settings.connect_timeout, request.connect_timeout),
            total: shorter(self.settings.session_timeout, request.session_timeout),
        }
    }

    /// Resolves a session's players, and counts what happened to dynamic keys.
    pub(crate) fn resolve(&self, request: &SessionRequest) -> Result<Resolved, Failure> {
        let resolved = self.known.resolve(request);
        match &resolved {
            Ok(resolved) => {
                self.counters.ignored_keys.fetch_add(resolved.ignored_keys, Ordering::Relaxed);
            }
            Err(failure) if failure.code == ErrorCode::PlayersConflictingKey => {
                count(&self.counters.refused_keys);
            }
            Err(_) => {}
        }
        resolved
    }

    /// Tells the players of a session that never opened here why they need not wait.
    pub(crate) fn refuse(
        &self,
        id: &SessionId,
        tag: Option<SessionTag>,
        players: &Players,
        failure: &Failure,
    ) {
        let frame = Frame::End(end_of(id, tag, failure)).encode();
        for peer in players.peers_of(self.known.me) {
            if let Some(key) = players.key(peer) {
                // Who is not connected now finds out by its own deadline.
                let _ = self.links.send(key, 0, frame.clone());
            }
        }
    }

    /// From now on; also those that peers have opened and that wait for a caller of this node.
    fn refuse_sessions(&self) {
        for (peer, end) in self.sessions.drain() {
            let _ = self.links.send(&peer, 0, end.encode());
        }
    }

    fn tell_stopping(&self, peer: &PlayerKey) {
        // Who is not connected is told when it is.
        let _ = self.links.send(peer, 0, Frame::Stopping.encode());
    }

    async fn event(self: &Arc<Self>, event: LinkEvent) {
        match event {
            LinkEvent::Up { peer, process, player } => {
                tracing::info!(player, peer = %peer.fingerprint(), process = %process, "link up");
                self.pairs.peer_up(self, &peer, process);
                self.reply(&peer, self.sessions.peer_up(&peer, process));
                if self.sessions.is_draining() {
                    self.tell_stopping(&peer);
                }
                certificates::ask(self, &peer).await;
            }
            LinkEvent::Down { peer, process: _, reason } => {
                tracing::info!(peer = %peer.fingerprint(), %reason, "link down");
                self.pairs.peer_down(&peer);
                self.sessions.peer_down(&peer, &reason.to_string());
            }
            LinkEvent::Parked { by } => {
                tracing::info!(peer = %by.fingerprint(), "reached, but the peer does not expect this node yet");
            }
            LinkEvent::Frame { peer, process, bytes } => match Frame::decode(&bytes) {
                Some(frame) => self.frame(&peer, process, frame).await,
                // Authenticated, so the peer is faulty; but nothing tells which session it meant.
                None => {
                    count(&self.counters.unreadable_frames);
                    tracing::warn!(peer = %peer.fingerprint(), bytes = bytes.len(), "unreadable frame dropped")
                }
            },
        }
    }

    async fn frame(self: &Arc<Self>, peer: &PlayerKey, process: ProcessId, frame: Frame) {
        match frame {
            Frame::PairWanted { losses } => self.pairs.wanted(self, peer, losses),
            Frame::PairDropped { id } => self.pairs.dropped(peer, &id),
            Frame::PairHeld { id, asks } => self.pairs.held(self, peer, id, asks),
            Frame::CertificateWanted { digest } if certificates::listens(self, peer) => {
                certificates::answer(self, peer, digest).await;
            }
            Frame::Certificate(certificate) if certificates::listens(self, peer) => {
                certificates::receive(self, &certificate).await;
            }
            Frame::CertificateWanted { .. } | Frame::Certificate(_) => {}
            Frame::Stopping => {
                tracing::info!(peer = %peer.fingerprint(), "the peer is stopping");
                self.sessions.peer_stops(peer);
            }
            Frame::Open(session) if session.operation == Operation::SetUpPair => {
                self.pairs.invited(self, &session, peer);
                self.reply(peer, self.sessions.deliver(peer, process, Frame::Open(session)));
            }
            Frame::End(end) => {
                self.pairs.ended_at(peer, &end);
                self.reply(peer, self.sessions.deliver(peer, process, Frame::End(end)));
            }
            Frame::Open(_) | Frame::Round(_) | Frame::Part(_) => {
                self.reply(peer, self.sessions.deliver(peer, process, frame));
            }
        }
    }

    fn reply(&self, peer: &PlayerKey, replies: Replies) {
        for (order, frame) in replies {
            // Not connected (any more): said again when the link comes up.
            let _ = self.links.send(peer, order, frame.to_vec());
        }
    }
}

/// What is known of the ways to other players.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    /// The configured players, in their order.
    pub players: Vec<PlayerWay>,
    /// What is wrong with the message broker, if there is one.
    pub trouble: Option<String>,
}

/// The way to a configured player.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayerWay {
    /// Which.
    pub player: PlayerIndex,
    /// Whether frames flow.
    pub connected: bool,
    /// Whether it said that it takes no new sessions.
    pub stopping: bool,
    /// The same and more, in words.
    pub status: String,
}

/// Configured players are expected all the time, and dialled by the lower index.
fn expect_static_players(known: &KnownPlayers, links: &dyn Links) -> Vec<Lease> {
    let configured = known.configured.iter().filter(|(index, _)| **index != known.me);
    configured
        .filter_map(|(index, player)| {
            let key = player.public_key.as_ref()?;
            // A player that cannot be dialled is told of by sessions.
            Some(links.expect(key, known.route(*index, known.configured_reach(*index)).ok()?))
        })
        .collect()
}

async fn hand_out(node: Arc<Inner>, mut events: mpsc::Receiver<LinkEvent>) {
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            biased;
            () = node.stopping.cancelled() => return,
            event = events.recv() => match event {
                Some(event) => node.event(event).await,
                None => return,
            },
            _ = housekeeping.tick() => {
                node.sessions.expire();
                node.outcomes.expire(node.settings.outcome_lifetime);
                node.pairs.expire(node.tenants.limits.pair_idle);
                node.certificate_frames.expire();
            }
        }
    }
}
