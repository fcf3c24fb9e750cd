//! What tests read in frames and change in them. The format is in docs/formats.md.

use std::sync::{Arc, Mutex};

use tsm_transport::memory::{Delivery, Frame, MemoryNetwork};
use tsm_types::{Operation, PlayerKey, Session, SessionTag};

/// The first byte of a frame.
pub const OPEN: u8 = 0;
pub const ROUND: u8 = 1;
pub const END: u8 = 2;
pub const PAIR_WANTED: u8 = 3;
pub const PAIR_DROPPED: u8 = 4;
pub const CERTIFICATE_WANTED: u8 = 5;
pub const CERTIFICATE: u8 = 6;

/// Where the body of a protocol message begins: kind, tag, phase, round, length.
pub const BODY: usize = 1 + 32 + 1 + 1 + 4;

/// The session that a frame opens.
pub fn opened(bytes: &[u8]) -> Option<Session> {
    bytes.strip_prefix(&[OPEN]).and_then(|rest| borsh::from_slice(rest).ok())
}

/// A frame that opens a session.
pub fn open(session: &Session) -> Vec<u8> {
    [vec![OPEN], borsh::to_vec(session).expect("encoding to memory cannot fail")].concat()
}

/// Session, phase and round of a protocol message.
pub fn round(bytes: &[u8]) -> Option<(SessionTag, u8, u8)> {
    let tag = bytes.get(1..33)?.try_into().expect("32 bytes");
    (bytes[0] == ROUND && bytes.len() >= BODY).then(|| (SessionTag(tag), bytes[33], bytes[34]))
}

/// The frame as it is.
pub fn as_it_is(frame: &Frame) -> Vec<Delivery> {
    vec![Delivery::at_once(frame.bytes.clone())]
}

/// Set-ups of pairs that were opened: by whom, with whom.
pub type SetUps = Arc<Mutex<Vec<(PlayerKey, PlayerKey)>>>;

/// Lets `tamper` decide on every frame, and collects the set-ups of pairs that nodes start.
pub fn watch_set_ups(
    links: &MemoryNetwork,
    mut tamper: impl FnMut(&Frame) -> Vec<Delivery> + Send + 'static,
) -> SetUps {
    let seen = SetUps::default();
    let watched = seen.clone();
    links.set_tamper(Box::new(move |frame| {
        if opened(&frame.bytes).is_some_and(|session| session.operation == Operation::SetUpPair) {
            watched.lock().expect("no holder panics").push((frame.from.clone(), frame.to.clone()));
        }
        tamper(frame)
    }));
    seen
}

/// Session ID and code of a frame that ends a session.
pub fn ended(bytes: &[u8]) -> Option<(String, String)> {
    let rest = &mut bytes.strip_prefix(&[END])?;
    let id = <String as borsh::BorshDeserialize>::deserialize(rest).ok()?;
    let _tag = <Option<[u8; 32]> as borsh::BorshDeserialize>::deserialize(rest).ok()?;
    let code = <String as borsh::BorshDeserialize>::deserialize(rest).ok()?;
    Some((id, code))
}

/// What a frame is, by its first byte.
pub fn kind(bytes: &[u8]) -> &'static str {
    match bytes.first() {
        Some(0) => "open",
        Some(1) => "message",
        Some(2) => "end",
        Some(3) => "pair wanted",
        Some(4) => "pair dropped",
        Some(5) => "certificate wanted",
        Some(6) => "certificate",
        Some(7) => "pair held",
        Some(8) => "part of a message",
        _ => "something else",
    }
}
