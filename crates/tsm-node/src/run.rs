//! A session on this node, from its opening to its end. The one loop that drives protocols.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tsm_crypto::identity::Fingerprint;
use tsm_protocols::{Abort, Class, Context, Outgoing, Step};
use tsm_transport::{Lease, PeerStatus, ProcessId, Route, SendError};
use tsm_types::{
    ApplicationId, Difference, ErrorCode, Failure, PlayerIndex, PlayerKey, Session, SessionId, SessionTag,
};

use crate::compute::Urgency;
use crate::last_words::Said;
use crate::node::Inner;
use crate::parts::{self, Parts};
use crate::sessions::{Inbound, order_of};
use crate::wire::{DisputedKey, EndFrame, Frame};

/// How often a session looks at its links while players are missing.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// Of many phones that wait as one player, how many a message shows.
const MAX_STRANGERS_SHOWN: usize = 3;

/// How long a session may wait and take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub connect: Duration,
    pub total: Duration,
}

/// A running session. Dropping it before [`finish`](Self::finish) ends the session everywhere.
pub(crate) struct Running {
    node: Arc<Inner>,
    session: Session,
    tag: SessionTag,
    context: Context,
    inbox: mpsc::UnboundedReceiver<Inbound>,
    limits: Limits,
    opened: Instant,
    /// Everything sent so far, to be sent again when a link comes back.
    sent: Vec<(PlayerIndex, Said)>,
    /// Where in it the messages of the last round begin that others answered.
    last_round: usize,
    /// Peers that take part, as their frames showed, and the process that each runs in.
    joined: BTreeMap<PlayerIndex, ProcessId>,
    /// Links that broke: when, and why.
    lost: BTreeMap<PlayerIndex, (Instant, String)>,
    /// Messages of later rounds, and of this one until they are handed in.
    early: BTreeMap<(u8, u8, PlayerIndex), Vec<u8>>,
    /// Messages of which a part is still missing.
    parts: Parts,
    /// Peers that already have their result and will say no more.
    finished: BTreeSet<PlayerIndex>,
    /// Public keys that two players see differently, this one or others.
    disputed: Vec<DisputedKey>,
    end: Option<EndFrame>,
    has_result: bool,
    _leases: Vec<Lease>,
}

impl Running {
    /// Opens the session: registers it, makes sure of the links, and tells every peer.
    ///
    /// `application` is whose session it is; a set-up of a pair is nobody's.
    pub(crate) fn open(
        node: &Arc<Inner>,
        application: Option<&ApplicationId>,
        session: Session,
        routes: Vec<(PlayerIndex, Route)>,
        limits: Limits,
    ) -> Result<Self, Failure> {
        let me = node.known.me;
        let context = Context::new(&session, me).ok_or_else(|| {
            Failure::new(ErrorCode::NodeFault, "this node does not take part in its own session")
        })?;
        let tag = session.tag();
        let inbox = node.sessions.open(&session, me, application, &node.tenants).inspect_err(|failure| {
            // Of one that runs or ran here the other players need not hear again.
            if failure.code != ErrorCode::SessionConflict {
                node.counters.refused(failure.code);
                node.refuse(&session.id, Some(tag), &session.players, failure);
            }
        })?;
        let mut leases = Vec::new();
        for (peer, route) in routes {
            leases.push(node.links.expect(context.key_of(peer), route));
        }
        let mut running = Running {
            node: node.clone(),
            tag,
            inbox,
            limits,
            opened: Instant::now(),
            sent: Vec::new(),
            last_round: 0,
            joined: BTreeMap::new(),
            lost: BTreeMap::new(),
            early: BTreeMap::new(),
            parts: Parts::default(),
            finished: BTreeSet::new(),
            disputed: Vec::new(),
            end: None,
            has_result: false,
            _leases: leases,
            context,
            session,
        };
        let open = Frame::Open(running.session.clone()).encode();
        for peer in running.context.peers() {
            running.send(peer, open.clone())?;
        }
        Ok(running)
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// The processes of the peers that take part.
    pub(crate) fn processes(&self) -> &BTreeMap<PlayerIndex, ProcessId> {
        &self.joined
    }

    /// The process of the only peer of a session of two.
    pub(crate) fn process_of_the_peer(&self) -> Result<ProcessId, Failure> {
        let process = self.context.peers().first().and_then(|peer| self.joined.get(peer)).copied();
        process.ok_or_else(|| Failure::new(ErrorCode::NodeFault, "frames came without a link"))
    }

    /// Drives one protocol of the session to its end.
    pub(crate) async fn drive<T: Send + 'static>(
        &mut self,
        phase: u8,
        mut step: Step<T>,
    ) -> Result<T, Failure> {
        for round in 1..=u8::MAX {
            let (send, next) = match step {
                Step::Continue { send, round } => {
                    self.last_round = self.sent.len();
                    (send, Ok(round))
                }
                Step::Done { send, output } => (send, Err(output)),
            };
            self.send_all(phase, round, send)?;
            let mut pending = match next {
                Ok(pending) => pending,
                Err(output) => return Ok(output),
            };
            loop {
                let awaited = pending.awaited();
                if awaited.is_empty() {
                    break;
                }
                let (from, body) = self.message(phase, round, &awaited).await?;
                pending.accept(from, &body).map_err(|abort| self.aborted(&abort))?;
            }
            self.early.retain(|(p, r, _), _| (*p, *r) > (phase, round));
            let advanced = self.compute(phase, round, move |rng| pending.advance(rng)).await?;
            step = advanced.map_err(|abort| self.aborted(&abort))?;
        }
        Err(Failure::new(ErrorCode::NodeFault, "a protocol did not end"))
    }

    /// Runs a piece of mathematics of this session while the session stays attentive.
    pub(crate) async fn compute<T: Send + 'static>(
        &mut self,
        phase: u8,
        round: u8,
        job: impl FnOnce(&mut dyn tsm_crypto::CryptoRng) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let context = [&self.tag.0[..], &[phase, round]].concat();
        let (compute, urgency) = (self.node.compute.clone(), Urgency::of(&self.session.operation));
        self.attend(async move { compute.run(urgency, context, job).await }).await
    }

    /// Waits for `work` while the session stays attentive: it still ends when a peer ends it, when
    /// its time is over, or when the node stops.
    pub(crate) async fn attend<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut work = std::pin::pin!(work);
        let nobody = BTreeSet::new();
        loop {
            tokio::select! {
                biased;
                result = &mut work => return result,
                event = self.event(&nobody) => event?,
            }
        }
    }

    /// Turns a protocol's abort into the session's failure, and burns what it must burn.
    pub(crate) fn aborted(&self, abort: &Abort) -> Failure {
        tracing::warn!(session = %self.session.id, player = ?abort.player, class = ?abort.class,
            check = abort.check, "protocol aborted");
        let title = abort.code().title();
        let failure = match (abort.player, abort.one_of) {
            (Some(player), _) => Failure::new(abort.code(), format!("player {player}: {title}"))
                .about(player, "named by this node"),
            (None, Some([one, other])) => {
                Failure::new(abort.code(), format!("player {one} or player {other}: {title}"))
                    .about(one, "sent the broadcast, or is misquoted")
                    .about(other, "reports another broadcast than this node received")
            }
            (None, None) => Failure::new(abort.code(), title),
        };
        if let Some(key) = abort.player.map(|player| self.context.key_of(player)) {
            if abort.class == Class::SecretDependent {
                self.node.pairs.burn(&self.node, key);
            }
            if let Some(pair) = abort.pair {
                self.node.pairs.gone(&self.node, key, pair);
            }
        }
        failure
    }

    /// Ends the session: with a result nothing more is said, with a failure every peer is told why.
    pub(crate) fn finish<T>(mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        self.end = Some(match &result {
            Ok(_) => {
                self.has_result = true;
                self.end_frame(ErrorCode::SessionConflict, Vec::new(), Vec::new())
            }
            Err(failure) => {
                let disputed = std::mem::take(&mut self.disputed);
                let end = EndFrame { disputed, ..end_of(&self.session.id, Some(self.tag), failure) };
                self.tell_everybody(&end);
                end
            }
        });
        result
    }

    fn tell_everybody(&self, end: &EndFrame) {
        let frame = Frame::End(end.clone()).encode();
        for peer in self.context.peers() {
            // Who cannot be reached finds out by its own deadline.
            let _ = self.node.links.send(self.context.key_of(peer), self.order(), frame.clone());
        }
    }

    fn end_frame(&self, code: ErrorCode, players: Vec<PlayerIndex>, fields: Vec<String>) -> EndFrame {
        EndFrame {
            id: self.session.id.clone(),
            tag: Some(self.tag),
            code: code.to_string(),
            players,
            fields,
            disputed: Vec::new(),
        }
    }

    fn send_all(&mut self, phase: u8, round: u8, send: Vec<Outgoing>) -> Result<(), Failure> {
        for message in send {
            for frame in parts::frames(self.tag, phase, round, &message.body) {
                self.send(message.to, frame.encode())?;
            }
        }
        Ok(())
    }

    fn send(&mut self, to: PlayerIndex, frame: Vec<u8>) -> Result<(), Failure> {
        let sent = self.node.links.send(self.context.key_of(to), self.order(), frame.clone());
        self.sent.push((to, Said::new(frame)));
        match sent {
            // Not connected: it is sent when the link comes up.
            Ok(()) | Err(SendError::NotConnected) => Ok(()),
            Err(error @ SendError::QueueFull) => {
                Err(Failure::new(ErrorCode::LinkLost, format!("player {to}: {error}"))
                    .about(to, error.to_string()))
            }
            Err(error @ SendError::TooLong) => Err(Failure::new(ErrorCode::NodeFault, error.to_string())),
        }
    }

    fn order(&self) -> u64 {
        order_of(&self.tag)
    }

    /// What the peers may still need: they have answered all that came before it.
    fn last_words(&mut self) -> Vec<(PlayerKey, ProcessId, Vec<Said>)> {
        let mut frames: BTreeMap<PlayerIndex, Vec<Said>> = BTreeMap::new();
        for (peer, frame) in self.sent.drain(self.last_round..) {
            frames.entry(peer).or_default().push(frame);
        }
        let to = |(peer, frames): (PlayerIndex, Vec<Said>)| {
            Some((self.context.key_of(peer).clone(), *self.joined.get(&peer)?, frames))
        };
        frames.into_iter().filter_map(to).collect()
    }

    /// The next message of this round from one of `awaited`.
    async fn message(
        &mut self,
        phase: u8,
        round: u8,
        awaited: &BTreeSet<PlayerIndex>,
    ) -> Result<(PlayerIndex, Vec<u8>), Failure> {
        loop {
            for player in awaited {
                if let Some(body) = self.early.remove(&(phase, round, *player)) {
                    return Ok((*player, body));
                }
            }
            if let Some(player) = awaited.iter().find(|player| self.finished.contains(player)) {
                let detail = format!("player {player} has run session {} before", self.session.id);
                return Err(Failure::new(ErrorCode::SessionConflict, detail).about(*player, "has its result"));
            }
            self.event(awaited).await?;
        }
    }

    /// Waits for one thing to happen and deals with it. `awaited` are the players whose silence
    /// would be the reason if time ran out. Cancellation safe.
    async fn event(&mut self, awaited: &BTreeSet<PlayerIndex>) -> Result<(), Failure> {
        let stopping = self.node.stopping.clone();
        let wake = self.wake(awaited);
        tokio::select! {
            biased;
            inbound = self.inbox.recv() => match inbound {
                Some(inbound) => self.handle(inbound),
                None => Err(Failure::new(ErrorCode::NodeFault, "the session was closed from within")),
            },
            () = stopping.cancelled() => Err(Failure::new(ErrorCode::NodeStopping, "this node is stopping, and the time to end sessions is over")),
            () = tokio::time::sleep_until(wake) => self.check_times(awaited),
        }
    }

    fn handle(&mut self, inbound: Inbound) -> Result<(), Failure> {
        match inbound {
            Inbound::Opened { from, process, theirs } => {
                let differences = self.session.differences(&theirs);
                if !differences.is_empty() {
                    let me = self.context.me();
                    self.disputed = DisputedKey::between((me, &self.session), (from, &theirs));
                    return Err(Failure::disagreement(from, differences));
                }
                self.join(from, process)
            }
            Inbound::Part { from, process, frame } => {
                self.join(from, process)?;
                match self.parts.add(from, frame).map_err(|abort| self.aborted(&abort))? {
                    Some(frame) => self.handle(Inbound::Round { from, process, frame }),
                    None => Ok(()),
                }
            }
            Inbound::Round { from, process, frame } => {
                self.join(from, process)?;
                let place = (frame.phase, frame.round, from);
                match self.early.get(&place) {
                    Some(first) if *first != frame.body => {
                        Err(self.aborted(&Abort::equivocation(from, "one message a round")))
                    }
                    Some(_) => Ok(()),
                    None => {
                        self.early.insert(place, frame.body);
                        Ok(())
                    }
                }
            }
            Inbound::Ended { from, end } => self.ended(from, &end),
            Inbound::Up { from, process } => {
                if self.joined.contains_key(&from) {
                    self.join(from, process)?;
                }
                self.lost.remove(&from);
                self.send_again(from);
                Ok(())
            }
            Inbound::Down { from, reason } => {
                self.lost.insert(from, (Instant::now(), reason));
                Ok(())
            }
        }
    }

    /// A player takes part, and always from the same process.
    fn join(&mut self, player: PlayerIndex, process: ProcessId) -> Result<(), Failure> {
        if *self.joined.entry(player).or_insert(process) == process {
            return Ok(());
        }
        let detail = format!("the node of player {player} restarted during the session");
        Err(Failure::new(ErrorCode::PlayerRestarted, detail).about(player, "restarted"))
    }

    fn send_again(&self, to: PlayerIndex) {
        for (_, frame) in self.sent.iter().filter(|(player, _)| *player == to) {
            let _ = self.node.links.send(self.context.key_of(to), self.order(), frame.to_vec());
        }
    }

    /// A peer's session is over: so is this one.
    fn ended(&mut self, from: PlayerIndex, end: &EndFrame) -> Result<(), Failure> {
        let code = match end.checked_code() {
            // The peer has its result; what it had to send may still be on its way.
            Some(ErrorCode::SessionConflict) if end.tag == Some(self.tag) => {
                self.finished.insert(from);
                return Ok(());
            }
            Some(code) => code,
            None => ErrorCode::SessionRefused,
        };
        let named: Vec<String> = end
            .players
            .iter()
            .filter(|player| **player != from)
            .map(|player| {
                if *player == self.context.me() { "this node".to_owned() } else { format!("player {player}") }
            })
            .collect();
        let (stops, named) = (code == ErrorCode::PlayerStopping, named.join(", "));
        let mut detail = match (stops, named.is_empty()) {
            (true, true) => format!("player {from} is stopping and does not run this session."),
            (true, false) => format!("player {from} ended the session, since {named} is stopping."),
            (false, true) => format!("player {from} ended the session: {}", code.title()),
            (false, false) => format!("player {from} ended the session: {} It names {named}.", code.title()),
        };
        if !end.fields.is_empty() {
            detail += &format!(" Fields: {}.", end.fields.join(", "));
        }
        // Of a peer's frame only what is a fingerprint or an index gets here; and no more than is honest.
        let disputed = if end.checked_code().is_some() { end.disputed.as_slice() } else { &[] };
        for key in disputed {
            detail += &format!(" It shows the {key}.");
        }
        let mut failure = Failure::new(code, detail).about(from, "ended the session");
        failure.differences = disputed.iter().filter_map(|key| self.differs_here(key)).collect();
        self.disputed = disputed.to_vec();
        for player in &end.players {
            if *player != from
                && *player != self.context.me()
                && self.context.players().key(*player).is_some()
            {
                let mut note = format!("named by player {from}");
                // The deadlines of all players are one; whose comes first by a moment ends the session, but
                // every node knows something of its own about a player that did not come.
                if code == ErrorCode::SessionPlayersMissing && !self.joined.contains_key(player) {
                    note += &format!("; {}", self.why_missing(*player));
                }
                failure = failure.about(*player, note);
            }
        }
        Err(failure)
    }

    /// A key that others dispute, if one of them sees another than this node does.
    fn differs_here(&self, disputed: &DisputedKey) -> Option<Difference> {
        let ours = self.context.players().key(disputed.player).map(|key| key.fingerprint());
        let theirs = disputed.seen.iter().find(|seen| seen.key != ours)?;
        let show = |key: Option<Fingerprint>| {
            key.map_or_else(|| "not in the session".to_owned(), |key| key.to_string())
        };
        Some(Difference {
            field: "players".to_owned(),
            player: Some(disputed.player),
            ours: show(ours),
            theirs: show(theirs.key),
        })
    }

    /// When the session must look up if nothing happens.
    fn wake(&self, awaited: &BTreeSet<PlayerIndex>) -> Instant {
        let mut wake = self.opened + self.limits.total;
        if self.joined.len() < self.context.peers().len() {
            wake = wake.min(self.opened + self.limits.connect).min(Instant::now() + LOOK_AROUND);
        }
        for (player, (since, _)) in &self.lost {
            if self.joined.contains_key(player) && (awaited.is_empty() || awaited.contains(player)) {
                wake = wake.min(*since + self.node.settings.reconnect_grace);
            }
        }
        wake
    }

    fn check_times(&self, awaited: &BTreeSet<PlayerIndex>) -> Result<(), Failure> {
        let now = Instant::now();
        let missing: Vec<PlayerIndex> =
            self.context.peers().into_iter().filter(|peer| !self.joined.contains_key(peer)).collect();
        if let Some(failure) = missing.iter().find_map(|peer| self.wrong_key(*peer)) {
            return Err(failure);
        }
        if !missing.is_empty() && now >= self.opened + self.limits.connect {
            return Err(self.players_missing(&missing));
        }
        for (player, (since, reason)) in &self.lost {
            let needed = self.joined.contains_key(player) && (awaited.is_empty() || awaited.contains(player));
            if needed && now >= *since + self.node.settings.reconnect_grace {
                let detail = format!("the link to player {player} broke and did not come back: {reason}");
                return Err(Failure::new(ErrorCode::LinkLost, detail).about(*player, reason.clone()));
            }
        }
        if now >= self.opened + self.limits.total {
            let detail = format!("the session did not finish within {:?}", self.limits.total);
            let silent = if awaited.is_empty() { self.context.peers() } else { awaited.clone() };
            return Err(silent.into_iter().fold(
                Failure::new(ErrorCode::SessionTimeout, detail),
                |failure, player| {
                    failure.about(player, self.node.links.status(self.context.key_of(player)).to_string())
                },
            ));
        }
        Ok(())
    }

    fn wrong_key(&self, peer: PlayerIndex) -> Option<Failure> {
        let status = self.node.links.status(self.context.key_of(peer));
        let PeerStatus::WrongKey { expected, presented } = &status else { return None };
        let detail = format!(
            "the address of player {peer} is answered with public key {presented}; this session expects {expected}"
        );
        Some(Failure::new(ErrorCode::LinkWrongKey, detail).about(peer, status.to_string()))
    }

    fn players_missing(&self, missing: &[PlayerIndex]) -> Failure {
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let detail =
            format!("after {:?} these players had not come: {}", self.limits.connect, names.join(", "));
        missing.iter().fold(Failure::new(ErrorCode::SessionPlayersMissing, detail), |failure, player| {
            failure.about(*player, self.why_missing(*player))
        })
    }

    /// What this node knows of a player that did not come.
    fn why_missing(&self, player: PlayerIndex) -> String {
        let key = self.context.key_of(player);
        let status = self.node.links.status(key);
        let mut note = match status {
            PeerStatus::Up { .. } => {
                "its node is connected, but its caller did not open this session".to_owned()
            }
            PeerStatus::Parked { .. }
            | PeerStatus::WrongKey { .. }
            | PeerStatus::Dialling { .. }
            | PeerStatus::Waiting
            | PeerStatus::Unexpected => status.to_string(),
        };
        let (strangers, number) = self.node.links.strangers_as(player.0, MAX_STRANGERS_SHOWN);
        for stranger in &strangers {
            note += &format!(
                "; a node that says it is player {player} is waiting with public key {}, this session names {}",
                stranger.fingerprint,
                key.fingerprint()
            );
        }
        if number > strangers.len() {
            note += &format!("; {} more say that they are player {player}", number - strangers.len());
        }
        note
    }
}

impl Drop for Running {
    /// Without an end yet, the caller has gone.
    fn drop(&mut self) {
        let end = self.end.take().unwrap_or_else(|| {
            let end = self.end_frame(ErrorCode::SessionCancelled, vec![self.context.me()], Vec::new());
            self.tell_everybody(&end);
            end
        });
        let last_words = if self.has_result { self.last_words() } else { Vec::new() };
        self.node.sessions.close(self.tag, end, last_words);
    }
}

/// What the other players are told of this node's failure.
pub(crate) fn end_of(id: &SessionId, tag: Option<SessionTag>, failure: &Failure) -> EndFrame {
    use tsm_types::error_code::Actor;
    let code = match (failure.code, failure.code.actor()) {
        (ErrorCode::NodeStopping, _) => ErrorCode::PlayerStopping,
        // The particulars are for this node's own caller and log.
        (_, Actor::Caller) => ErrorCode::SessionRefused,
        (_, Actor::Node) => ErrorCode::PlayerFault,
        (code, Actor::Player) => code,
    };
    EndFrame {
        id: id.clone(),
        tag,
        code: code.to_string(),
        players: failure.players.iter().map(|concern| concern.player).collect(),
        fields: failure.differences.iter().map(field_name).collect(),
        disputed: Vec::new(),
    }
}

fn field_name(difference: &Difference) -> String {
    match difference.player {
        Some(player) => format!("{}.{player}", difference.field),
        None => difference.field.clone(),
    }
}
