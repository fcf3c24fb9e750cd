//! What waits to be sent to one peer, and on which of its connections it will go.
//!
//! A frame's `order` picks one of [`LANES`] lanes, and the lanes are dealt out to the usable
//! connections. When connections come and go, a lane moves; so that its frames still arrive in
//! order, it first waits until the peer says that it has read everything from the old connection (a
//! `Ping` behind the last frame, and its `Pong`). A connection without lanes says `Closing` and ends
//! with nothing lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::link::wire::Unit;
use crate::links::{MAX_FRAME_BYTES, SendError};

/// As many as there can be connections in a pool, so that each can have one.
const LANES: usize = 64;
/// More unanswered pings than a peer of ours ever has on one connection: one for each lane, the first
/// one, and one keep-alive.
const MAX_WAITING_PONGS: usize = LANES + 2;
/// The number of a ping that only keeps a connection alive.
const KEEP_ALIVE: u64 = 0;

/// Names a connection within this process.
pub(crate) type ConnectionId = u64;

/// How much may wait for one peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

pub(crate) struct Outbox {
    lanes: [Lane; LANES],
    /// Ordered by age, so that the deal does not depend on chance.
    connections: BTreeMap<ConnectionId, Outgoing>,
    last_barrier: u64,
    limits: QueueLimits,
    frames: usize,
    bytes: usize,
    /// A frame was refused for want of a connection.
    refused: bool,
}

#[derive(Default)]
struct Lane {
    on: Option<ConnectionId>,
    /// Something was sent on this connection that the peer may not have read yet.
    used: bool,
    /// The barrier after which the lane may move.
    moves_after: Option<u64>,
    /// Frames that wait for the move.
    held: VecDeque<Vec<u8>>,
}

struct Outgoing {
    frames: VecDeque<Unit>,
    /// Goes before the frames.
    control: VecDeque<Unit>,
    wake: Arc<Notify>,
    usable: bool,
    /// The number of the first ping, whose pong shows that the connection is usable for the peer, too.
    first_ping: u64,
    confirmed: bool,
    retiring: bool,
    closing_said: bool,
    closing_heard: bool,
}

/// What a connection's writer does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Write(Unit),
    /// Nothing now; it will be woken.
    Idle,
    /// Both sides have said `Closing`, or the connection is no longer known.
    Finished,
}

impl Outbox {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Outbox {
            lanes: std::array::from_fn(|_| Lane::default()),
            connections: BTreeMap::new(),
            last_barrier: KEEP_ALIVE,
            limits,
            frames: 0,
            bytes: 0,
            refused: false,
        }
    }

    /// Takes in a connection; frames are given to it once it is usable.
    pub(crate) fn add(&mut self, id: ConnectionId, wake: Arc<Notify>) {
        self.connections.insert(
            id,
            Outgoing {
                frames: VecDeque::new(),
                control: VecDeque::new(),
                wake,
                usable: false,
                first_ping: KEEP_ALIVE,
                confirmed: false,
                retiring: false,
                closing_said: false,
                closing_heard: false,
            },
        );
    }

    pub(crate) fn set_usable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.usable = true;
            self.last_barrier += 1;
            connection.first_ping = self.last_barrier;
            connection.control.push_back(Unit::Ping(self.last_barrier));
            self.deal();
        }
    }

    /// Lets the connection finish what it has, and gives it nothing new.
    pub(crate) fn retire(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.retiring) {
            connection.retiring = true;
            self.deal();
        }
    }

    /// Whether the connection is known to be usable at both ends: only then may it replace another.
    pub(crate) fn is_confirmed(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.confirmed)
    }

    pub(crate) fn is_retiring(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.retiring)
    }

    /// The peer will send no more frames on this connection.
    pub(crate) fn heard_closing(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.closing_heard = true;
            self.retire(id);
            self.wake_all();
        }
    }

    /// Whether both sides have said that they are done.
    pub(crate) fn is_finished(&self, id: ConnectionId) -> bool {
        self.connections
            .get(&id)
            .is_some_and(|connection| connection.closing_said && connection.closing_heard)
    }

    /// Forgets a connection and what waited for it.
    pub(crate) fn remove(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        for unit in &connection.frames {
            self.frames -= frames_in(unit);
            self.bytes -= bytes_in(unit);
        }
        for lane in self.lanes.iter_mut().filter(|lane| lane.on == Some(id)) {
            lane.on = None;
            lane.used = false;
            lane.moves_after = None;
        }
        self.deal();
        // With nowhere to go, what was held is lost like all else that was under way.
        for lane in self.lanes.iter_mut().filter(|lane| lane.on.is_none()) {
            for frame in lane.held.drain(..) {
                self.frames -= 1;
                self.bytes -= frame.len();
            }
        }
        connection.wake.notify_one();
    }

    pub(crate) fn push(&mut self, order: u64, frame: Vec<u8>) -> Result<(), SendError> {
        if frame.len() > MAX_FRAME_BYTES {
            return Err(SendError::TooLong);
        }
        if !self.connections.values().any(Outgoing::takes_frames) {
            self.refused = true;
            return Err(SendError::NotConnected);
        }
        if self.frames + 1 > self.limits.frames || self.bytes + frame.len() > self.limits.bytes {
            return Err(SendError::QueueFull);
        }
        self.frames += 1;
        self.bytes += frame.len();
        let lane = &mut self.lanes[lane_of(order)];
        lane.held.push_back(frame);
        self.release(lane_of(order));
        Ok(())
    }

    /// Whether a frame was refused for want of a connection since this was last asked.
    pub(crate) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// Answers the peer's ping. Refuses a peer that asks and does not listen.
    pub(crate) fn answer_ping(&mut self, id: ConnectionId, number: u64) -> Result<(), &'static str> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        if connection.control.len() >= MAX_WAITING_PONGS {
            return Err("more pings than can be answered");
        }
        connection.control.push_back(Unit::Pong(number));
        connection.wake.notify_one();
        Ok(())
    }

    /// The peer has read everything on this connection up to our ping of this number.
    pub(crate) fn heard_pong(&mut self, id: ConnectionId, number: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.confirmed |= connection.usable && connection.first_ping == number;
        }
        let moved: Vec<usize> = (0..LANES)
            .filter(|lane| self.lanes[*lane].on == Some(id) && self.lanes[*lane].moves_after == Some(number))
            .collect();
        for lane in moved {
            self.lanes[lane].used = false;
            self.lanes[lane].moves_after = None;
        }
        self.deal();
    }

    /// A sign of life, if nothing else is being sent.
    pub(crate) fn keep_alive(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.usable
            && !connection.closing_said
            && connection.control.is_empty()
        {
            connection.control.push_back(Unit::Ping(KEEP_ALIVE));
        }
    }

    pub(crate) fn next(&mut self, id: ConnectionId) -> Next {
        let has_lanes = self.lanes.iter().any(|lane| lane.on == Some(id));
        let has_successor = self.connections.values().any(Outgoing::takes_frames);
        let Some(connection) = self.connections.get_mut(&id) else { return Next::Finished };
        if let Some(unit) = connection.control.pop_front() {
            return Next::Write(unit);
        }
        if let Some(unit) = connection.frames.pop_front() {
            self.frames -= frames_in(&unit);
            self.bytes -= bytes_in(&unit);
            return Next::Write(unit);
        }
        if connection.retiring && !connection.closing_said && !(has_lanes && has_successor) {
            connection.closing_said = true;
            return Next::Write(Unit::Closing);
        }
        if connection.closing_said && connection.closing_heard { Next::Finished } else { Next::Idle }
    }

    /// Deals the lanes out to the connections that take frames; a lane in use is told to move.
    fn deal(&mut self) {
        let takers: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.takes_frames())
            .map(|(id, _)| *id)
            .collect();
        let mut barriers = BTreeMap::new();
        for index in 0..LANES {
            let lane = &mut self.lanes[index];
            // With nobody to move to, a lane ends on the connection that it is on.
            let target = if takers.is_empty() { lane.on } else { Some(takers[index % takers.len()]) };
            match lane.on {
                Some(current) if target == Some(current) => lane.moves_after = None,
                Some(current) if lane.used => {
                    if lane.moves_after.is_none() {
                        let barrier = barriers.entry(current).or_insert_with(|| {
                            self.last_barrier += 1;
                            self.last_barrier
                        });
                        lane.moves_after = Some(*barrier);
                    }
                }
                Some(_) | None => {
                    lane.on = target;
                    lane.moves_after = None;
                }
            }
            self.release(index);
        }
        for (id, barrier) in barriers {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.frames.push_back(Unit::Ping(barrier));
            }
        }
        self.wake_all();
    }

    /// Hands a lane's frames to its connection, unless it waits to move.
    fn release(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if lane.moves_after.is_some() || lane.held.is_empty() {
            return;
        }
        let Some(connection) = lane.on.and_then(|id| self.connections.get_mut(&id)) else { return };
        if connection.closing_said {
            return;
        }
        lane.used = true;
        connection.frames.extend(lane.held.drain(..).map(Unit::Frame));
        connection.wake.notify_one();
    }

    fn wake_all(&self) {
        self.connections.values().for_each(|connection| connection.wake.notify_one());
    }
}

impl Outgoing {
    fn takes_frames(&self) -> bool {
        self.usable && !self.retiring
    }
}

/// Which lane frames of this order take.
fn lane_of(order: u64) -> usize {
    usize::try_from(order % LANES as u64).expect("below LANES")
}

fn frames_in(unit: &Unit) -> usize {
    usize::from(matches!(unit, Unit::Frame(_)))
}

fn bytes_in(unit: &Unit) -> usize {
    if let Unit::Frame(body) = unit { body.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits { frames: 1000, bytes: 10_000 };

    fn outbox(connections: &[ConnectionId]) -> Outbox {
        let mut outbox = Outbox::new(LIMITS);
        for id in connections {
            outbox.add(*id, Arc::new(Notify::new()));
            set_usable(&mut outbox, *id);
        }
        outbox
    }

    fn set_usable(outbox: &mut Outbox, id: ConnectionId) {
        outbox.set_usable(id);
        let Next::Write(Unit::Ping(number)) = outbox.next(id) else { panic!("no first ping") };
        assert!(!outbox.is_confirmed(id));
        outbox.heard_pong(id, number);
        assert!(outbox.is_confirmed(id));
    }

    fn written(outbox: &mut Outbox, id: ConnectionId) -> Vec<Unit> {
        std::iter::from_fn(|| match outbox.next(id) {
            Next::Write(unit) => Some(unit),
            Next::Idle | Next::Finished => None,
        })
        .collect()
    }

    fn frame(byte: u8) -> Unit {
        Unit::Frame(vec![byte])
    }

    #[test]
    fn equal_orders_share_a_connection_and_others_spread_over_all() {
        let mut outbox = outbox(&[1, 2]);
        for (order, byte) in [(0, 1), (1, 2), (2, 3), (0, 4)] {
            outbox.push(order, vec![byte]).unwrap();
        }
        assert_eq!(written(&mut outbox, 1), [frame(1), frame(3), frame(4)]);
        assert_eq!(written(&mut outbox, 2), [frame(2)]);
    }

    #[test]
    fn a_lane_moves_only_after_the_peer_has_read_its_old_connection() {
        let mut outbox = outbox(&[1]);
        outbox.push(0, vec![1]).unwrap();
        outbox.add(2, Arc::new(Notify::new()));
        set_usable(&mut outbox, 2);
        outbox.retire(1);
        outbox.push(0, vec![2]).unwrap();
        assert_eq!(written(&mut outbox, 1), [frame(1), Unit::Ping(3)]);
        assert_eq!(written(&mut outbox, 2), []);
        outbox.heard_pong(1, 0);
        outbox.heard_pong(2, 3);
        assert_eq!(written(&mut outbox, 2), []);
        outbox.heard_pong(1, 3);
        assert_eq!(written(&mut outbox, 2), [frame(2)]);
        assert_eq!(written(&mut outbox, 1), [Unit::Closing]);
        assert_eq!(outbox.next(1), Next::Idle);
        outbox.heard_closing(1);
        assert_eq!(outbox.next(1), Next::Finished);
    }

    #[test]
    fn the_last_connection_is_emptied_before_it_closes_and_takes_nothing_new() {
        let mut outbox = outbox(&[1]);
        outbox.push(0, vec![1]).unwrap();
        outbox.heard_closing(1);
        assert_eq!(outbox.push(0, vec![2]), Err(SendError::NotConnected));
        assert_eq!(written(&mut outbox, 1), [frame(1), Unit::Closing]);
        assert_eq!(outbox.next(1), Next::Finished);
    }

    #[test]
    fn frames_held_for_a_move_stay_in_order_when_the_move_is_called_off() {
        let mut outbox = outbox(&[1]);
        outbox.push(1, vec![1]).unwrap();
        outbox.add(2, Arc::new(Notify::new()));
        set_usable(&mut outbox, 2);
        outbox.push(1, vec![2]).unwrap();
        outbox.remove(2);
        assert_eq!(written(&mut outbox, 1), [frame(1), Unit::Ping(3), frame(2)]);
    }

    #[test]
    fn a_lost_connection_leaves_its_lanes_to_the_others() {
        let mut outbox = outbox(&[1, 2]);
        outbox.push(1, vec![1]).unwrap();
        outbox.remove(2);
        outbox.push(1, vec![2]).unwrap();
        assert_eq!(written(&mut outbox, 1), [frame(2)]);
        assert_eq!(outbox.next(2), Next::Finished);
    }

    #[test]
    fn what_is_lost_or_written_no_longer_counts() {
        let mut outbox = outbox(&[1]);
        for _ in 0..10 {
            outbox.push(0, vec![0; 1000]).unwrap();
        }
        assert_eq!(outbox.push(0, vec![0]), Err(SendError::QueueFull));
        assert!(matches!(outbox.next(1), Next::Write(_)));
        outbox.push(0, vec![0; 1000]).unwrap();
        outbox.add(2, Arc::new(Notify::new()));
        set_usable(&mut outbox, 2);
        outbox.retire(1);
        outbox.remove(1);
        outbox.remove(2);
        assert_eq!((outbox.frames, outbox.bytes), (0, 0));
        assert_eq!(outbox.push(0, vec![0]), Err(SendError::NotConnected));
    }

    #[test]
    fn s105_pings_that_nobody_collects_are_refused() {
        let mut outbox = outbox(&[1]);
        for number in 0..MAX_WAITING_PONGS as u64 {
            outbox.answer_ping(1, number).unwrap();
        }
        assert!(outbox.answer_ping(1, 0).is_err());
    }
}
