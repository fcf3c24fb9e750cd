//! Protocol messages that are too long for one frame (docs/formats.md, section "Frames").
//!
//! A batch of presignatures answers with megabytes. Such a message travels as parts, in order or
//! repeated after a link broke, and is a message again when the last of them is there.

use std::collections::BTreeMap;

use tsm_protocols::Abort;
use tsm_transport::MAX_FRAME_BYTES;
use tsm_types::{PlayerIndex, SessionTag};

use crate::wire::{Frame, PartFrame, RoundFrame};

/// Bytes of a message that go into one frame, beside the frame's own fields.
const PART_BYTES: usize = MAX_FRAME_BYTES - 64;

/// Parts of one message: a hundred presignatures on P-521 take 14.
const MAX_PARTS: u8 = 16;

/// The frames of one message.
pub(crate) fn frames(tag: SessionTag, phase: u8, round: u8, body: &[u8]) -> Vec<Frame> {
    if body.len() <= PART_BYTES {
        return vec![Frame::Round(RoundFrame { tag, phase, round, body: body.to_vec() })];
    }
    let parts = body.chunks(PART_BYTES);
    let of = u8::try_from(parts.len()).unwrap_or(u8::MAX);
    let part = |(place, part): (u8, &[u8])| {
        Frame::Part(PartFrame { tag, phase, round, place, of, body: part.to_vec() })
    };
    (0..=u8::MAX).zip(parts).map(part).collect()
}

/// Messages of which some parts have come.
#[derive(Default)]
pub(crate) struct Parts(BTreeMap<(u8, u8, PlayerIndex), Incomplete>);

struct Incomplete {
    of: u8,
    parts: BTreeMap<u8, Vec<u8>>,
}

impl Parts {
    /// Takes a part; returns the message if it was the last one missing.
    pub(crate) fn add(&mut self, from: PlayerIndex, part: PartFrame) -> Result<Option<RoundFrame>, Abort> {
        let PartFrame { tag, phase, round, place, of, body } = part;
        if !(2..=MAX_PARTS).contains(&of) || place >= of || body.is_empty() {
            return Err(Abort::malformed(from, "parts of a message"));
        }
        let message = (phase, round, from);
        let incomplete = self.0.entry(message).or_insert_with(|| Incomplete { of, parts: BTreeMap::new() });
        let repeated = incomplete.parts.get(&place).is_none_or(|first| *first == body);
        if incomplete.of != of || !repeated {
            return Err(Abort::equivocation(from, "one message a round"));
        }
        incomplete.parts.insert(place, body);
        if incomplete.parts.len() < usize::from(of) {
            return Ok(None);
        }
        let parts = self.0.remove(&message).map(|complete| complete.parts).unwrap_or_default();
        let body = parts.into_values().collect::<Vec<_>>().concat();
        Ok(Some(RoundFrame { tag, phase, round, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsm_protocols::Class;

    const FROM: PlayerIndex = PlayerIndex(5);

    fn body(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at / 7) as u8).collect()
    }

    fn parts(body: &[u8]) -> Vec<PartFrame> {
        let frames = frames(SessionTag([9; 32]), 1, 2, body);
        let part = |frame| {
            let Frame::Part(part) = frame else { panic!("{frame:?}") };
            part
        };
        frames.into_iter().map(part).collect()
    }

    fn copy(part: &PartFrame) -> PartFrame {
        borsh::from_slice(&borsh::to_vec(part).unwrap()).unwrap()
    }

    #[test]
    fn a_message_in_parts_is_the_same_message_in_any_order_and_with_repetitions() {
        let body = body(3 * PART_BYTES + 1);
        let sent = parts(&body);
        assert_eq!(sent.len(), 4);
        for order in [[0, 1, 2, 3], [3, 1, 0, 2]] {
            let mut received = Parts::default();
            for place in &order[..3] {
                for _ in 0..2 {
                    assert!(received.add(FROM, copy(&sent[*place])).unwrap().is_none());
                }
            }
            // Another player's parts are another message.
            assert!(received.add(PlayerIndex(6), copy(&sent[order[3]])).unwrap().is_none());
            let message = received.add(FROM, copy(&sent[order[3]])).unwrap().unwrap();
            assert_eq!((message.phase, message.round), (1, 2));
            assert_eq!(message.body, body);
        }
    }

    #[test]
    fn every_frame_fits_a_link_and_a_short_message_is_one_frame() {
        for bytes in [0, 1, PART_BYTES] {
            let frames = frames(SessionTag([9; 32]), 1, 2, &body(bytes));
            assert!(matches!(&frames[..], [Frame::Round(_)]));
            assert!(frames[0].encode().len() <= MAX_FRAME_BYTES);
        }
        let longest = body(136_656 * 100 + 2_000);
        let sent = parts(&longest);
        assert!(sent.len() <= usize::from(MAX_PARTS));
        for part in sent {
            assert!(Frame::Part(part).encode().len() <= MAX_FRAME_BYTES);
        }
    }

    #[test]
    fn s18_parts_of_two_messages_in_one_round_are_equivocation() {
        let sent = parts(&body(PART_BYTES + 9));
        let mut other = copy(&sent[0]);
        other.body[0] ^= 1;
        let mut longer = copy(&sent[1]);
        longer.of = 3;
        for second in [other, longer] {
            let mut received = Parts::default();
            received.add(FROM, copy(&sent[0])).unwrap();
            let abort = received.add(FROM, second).unwrap_err();
            assert_eq!((abort.class, abort.player), (Class::Equivocation, Some(FROM)));
        }
    }

    #[test]
    fn s28_parts_that_no_message_has_are_malformed() {
        let part = |place, of, bytes| PartFrame {
            tag: SessionTag([9; 32]),
            phase: 1,
            round: 2,
            place,
            of,
            body: body(bytes),
        };
        for bad in [part(0, 0, 5), part(0, 1, 5), part(2, 2, 5), part(0, MAX_PARTS + 1, 5), part(0, 2, 0)] {
            let abort = Parts::default().add(FROM, bad).unwrap_err();
            assert_eq!((abort.class, abort.player), (Class::Malformed, Some(FROM)));
        }
    }
}
