//! Every byte of a message (`docs/links.md`).

use tsm_crypto::identity::Fingerprint;

use super::Inbox;

const VERSION: u8 = 1;
/// Version, kind, pipe, number.
const HEADER_BYTES: usize = 1 + 1 + 16 + 8;
/// Four TLS records; below the limits that brokers have for cheap messages.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;
/// Before the bytes of a pipe: how many they are, less one. So what a broker cut short is missed like
/// what it lost, within [`GAP_TIME`](super::stream::GAP_TIME), and not only when TLS has waited in vain
/// for the rest of a record.
const LENGTH_BYTES: usize = 2;
/// The longest message; a longer one is dropped unread.
pub const MAX_MESSAGE_BYTES: usize = HEADER_BYTES + LENGTH_BYTES + MAX_BODY_BYTES;

/// Names a pipe. Drawn at random by the dialler, so that who cannot read an inbox cannot meddle with
/// its pipes either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PipeId(pub(super) [u8; 16]);

/// The inbox of a running node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeInbox {
    pub(super) player: Fingerprint,
    pub(super) node: [u8; 16],
}

impl From<NodeInbox> for Inbox {
    fn from(inbox: NodeInbox) -> Self {
        Inbox::Node(inbox.player, inbox.node)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) pipe: PipeId,
    pub(super) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// To a player's inbox: a pipe is wanted; answers go to this node.
    Open(NodeInbox),
    /// The pipe leads to this node.
    Accept(NodeInbox),
    /// The bytes with this number, from 1.
    Data(u64, Vec<u8>),
    /// Everything up to this number has been read.
    Credit(u64),
    /// Nothing comes after the bytes before this number.
    Close(u64),
    /// The pipe is no more.
    Reset,
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let inbox = |inbox: &NodeInbox| [inbox.player.0.as_slice(), &inbox.node].concat();
        match &self.content {
            Content::Open(reply) => self.bytes(1, 0, &inbox(reply)),
            Content::Accept(node) => self.bytes(2, 0, &inbox(node)),
            Content::Data(number, body) => {
                let length = u16::try_from(body.len().wrapping_sub(1)).expect("1 to 65,536 bytes");
                self.bytes(3, *number, &[&length.to_le_bytes(), body.as_slice()].concat())
            }
            Content::Credit(number) => self.bytes(4, *number, &[]),
            Content::Close(number) => self.bytes(5, *number, &[]),
            Content::Reset => self.bytes(6, 0, &[]),
        }
    }

    fn bytes(&self, kind: u8, number: u64, body: &[u8]) -> Vec<u8> {
        [&[VERSION, kind], self.pipe.0.as_slice(), &number.to_le_bytes(), body].concat()
    }

    /// `None` for everything that no node sends; whatever is read has exactly one length.
    pub(super) fn decode(mut bytes: Vec<u8>) -> Option<Self> {
        let ([version, kind], rest) = bytes.split_first_chunk::<2>()?;
        let (pipe, rest) = rest.split_first_chunk::<16>()?;
        let (number, body) = rest.split_first_chunk::<8>()?;
        let (kind, pipe, number) = (*kind, PipeId(*pipe), u64::from_le_bytes(*number));
        if *version != VERSION {
            return None;
        }
        let content = match (kind, number, body.len()) {
            (1, 0, _) => Content::Open(decode_inbox(body)?),
            (2, 0, _) => Content::Accept(decode_inbox(body)?),
            (3, 1.., _) => {
                let (length, body) = body.split_first_chunk::<LENGTH_BYTES>()?;
                if body.len() != usize::from(u16::from_le_bytes(*length)) + 1 {
                    return None;
                }
                bytes.drain(..HEADER_BYTES + LENGTH_BYTES);
                Content::Data(number, bytes)
            }
            (4, 1.., 0) => Content::Credit(number),
            (5, 1.., 0) => Content::Close(number),
            (6, 0, 0) => Content::Reset,
            _ => return None,
        };
        Some(Message { pipe, content })
    }
}

/// Whether this is a message, which then has no other encoding: for the fuzzer.
pub fn is_message(bytes: &[u8]) -> bool {
    let Some(message) = Message::decode(bytes.to_vec()) else { return false };
    assert_eq!(message.encode(), bytes);
    true
}

fn decode_inbox(body: &[u8]) -> Option<NodeInbox> {
    let (player, node) = body.split_first_chunk::<32>()?;
    Some(NodeInbox { player: Fingerprint(*player), node: node.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Vec<u8>> {
        let inbox = NodeInbox { player: Fingerprint([3; 32]), node: [4; 16] };
        let contents = [
            Content::Open(inbox),
            Content::Accept(inbox),
            Content::Data(1, vec![5]),
            Content::Data(u64::MAX, vec![6; MAX_BODY_BYTES]),
            Content::Credit(258),
            Content::Close(1),
            Content::Reset,
        ];
        contents.map(|content| Message { pipe: PipeId([2; 16]), content }.encode()).into()
    }

    #[test]
    fn every_message_is_read_as_it_was_written() {
        for bytes in all() {
            assert_eq!(Message::decode(bytes.clone()).unwrap().encode(), bytes);
        }
        let credit = [[1, 4].as_slice(), &[2; 16], &[2, 1, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(all()[4], credit);
    }

    #[test]
    fn s28_every_other_length_kind_and_version_is_dropped() {
        for bytes in all() {
            let short = 0..bytes.len().min(200);
            for length in short.chain([bytes.len() / 2, bytes.len() - 1]) {
                assert_eq!(Message::decode(bytes[..length].to_vec()), None, "{length}");
            }
            assert_eq!(Message::decode([bytes.as_slice(), &[0]].concat()), None);
            for (place, value) in [(0, 0), (0, 2), (1, 0), (1, 7)] {
                let mut other = bytes.clone();
                other[place] = value;
                assert_eq!(Message::decode(other), None);
            }
            // No message has both a number and none.
            let mut other = bytes.clone();
            let numbered = other[18..26].iter().any(|byte| *byte != 0);
            other[18..26].fill(u8::from(!numbered));
            assert_eq!(Message::decode(other), None);
        }
    }
}
