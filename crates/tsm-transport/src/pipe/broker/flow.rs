//! Order, repetition and credit of one pipe. No I/O: numbers go in, bytes come out.

use std::collections::{BTreeMap, VecDeque};

use tokio::io::ReadBuf;

use super::message::MAX_BODY_BYTES;

/// Messages under way in one direction of a pipe: enough for small frames not to wait for a round trip.
pub(super) const WINDOW_MESSAGES: u64 = 64;
/// Bytes under way in one direction of a pipe, and so what a stranger can make a node hold for one:
/// four full messages, more than the largest frame of signing.
pub(super) const WINDOW_BYTES: usize = 4 * MAX_BODY_BYTES;
/// Credit is given for every quarter of a window: seldom, but before the other side has to wait.
const CREDIT_MESSAGES: u64 = WINDOW_MESSAGES / 4;
const CREDIT_BYTES: usize = WINDOW_BYTES / 4;

/// What arrives, until it is read.
pub(super) struct Inbound {
    /// The number that comes next in order.
    next: u64,
    /// In order, to be read.
    ready: VecDeque<Vec<u8>>,
    /// Read of the first of `ready`.
    read: usize,
    /// What came before its turn; `None` is the end.
    ahead: BTreeMap<u64, Option<Vec<u8>>>,
    /// In `ready` and `ahead`.
    bytes: usize,
    /// Wholly read up to this number.
    consumed: u64,
    credited: u64,
    uncredited_bytes: usize,
    closed: bool,
}

/// What became of a numbered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    /// It had come before.
    Repeated,
    /// No honest sender goes that far.
    Beyond,
}

impl Inbound {
    pub(super) fn new() -> Self {
        Inbound {
            next: 1,
            ready: VecDeque::new(),
            read: 0,
            ahead: BTreeMap::new(),
            bytes: 0,
            consumed: 0,
            credited: 0,
            uncredited_bytes: 0,
            closed: false,
        }
    }

    /// Takes in bytes, or the end.
    pub(super) fn take(&mut self, number: u64, body: Option<Vec<u8>>) -> Verdict {
        if number < self.next || self.closed || self.ahead.contains_key(&number) {
            return Verdict::Repeated;
        }
        let length = body.as_ref().map_or(0, Vec::len);
        // The end needs no credit.
        let last = self.consumed + WINDOW_MESSAGES + u64::from(body.is_none());
        if number > last || self.bytes + length > WINDOW_BYTES {
            return Verdict::Beyond;
        }
        self.bytes += length;
        self.ahead.insert(number, body);
        while let Some(body) = self.ahead.remove(&self.next) {
            self.next += 1;
            match body {
                Some(body) => self.ready.push_back(body),
                None => {
                    self.closed = true;
                    self.ahead.clear();
                }
            }
        }
        Verdict::Taken
    }

    /// Moves what there is into `out`; returns whether there was anything.
    pub(super) fn read(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let mut any = false;
        while let Some(first) = self.ready.front()
            && out.remaining() > 0
        {
            let rest = first.get(self.read..).unwrap_or_default();
            let length = rest.len().min(out.remaining());
            out.put_slice(&rest[..length]);
            any = true;
            self.read += length;
            if self.read == first.len() {
                self.bytes -= first.len();
                self.uncredited_bytes += first.len();
                self.consumed += 1;
                self.read = 0;
                self.ready.pop_front();
            }
        }
        any
    }

    /// All has been read, and nothing more comes.
    pub(super) fn is_at_end(&self) -> bool {
        self.closed && self.ready.is_empty()
    }

    /// The number that is missing while later ones are there.
    pub(super) fn gap(&self) -> Option<u64> {
        (!self.ahead.is_empty()).then_some(self.next)
    }

    /// The credit to give now, if some is due.
    pub(super) fn credit_due(&self) -> Option<u64> {
        let due = self.consumed - self.credited >= CREDIT_MESSAGES || self.uncredited_bytes >= CREDIT_BYTES;
        (due && !self.closed).then_some(self.consumed)
    }

    pub(super) fn credit_given(&mut self) {
        self.credited = self.consumed;
        self.uncredited_bytes = 0;
    }
}

/// What was sent, until the other side has read it.
pub(super) struct Outbound {
    last: u64,
    /// Lengths of what is not credited yet, the oldest first.
    under_way: VecDeque<usize>,
    bytes: usize,
}

impl Outbound {
    pub(super) fn new() -> Self {
        Outbound { last: 0, under_way: VecDeque::new(), bytes: 0 }
    }

    /// Whether there is credit for one more message of any length.
    pub(super) fn may_send(&self) -> bool {
        (self.under_way.len() as u64) < WINDOW_MESSAGES && self.bytes + MAX_BODY_BYTES <= WINDOW_BYTES
    }

    /// The number of the message that is sent now.
    pub(super) fn send(&mut self, bytes: usize) -> u64 {
        self.last += 1;
        self.under_way.push_back(bytes);
        self.bytes += bytes;
        self.last
    }

    /// Everything up to this number was read. Returns whether that is news, and can be.
    pub(super) fn credit(&mut self, number: u64) -> bool {
        let oldest = self.last - self.under_way.len() as u64;
        if number <= oldest || number > self.last {
            return false;
        }
        for _ in oldest..number {
            self.bytes -= self.under_way.pop_front().unwrap_or(0);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inbound: &mut Inbound) -> Vec<u8> {
        let mut room = vec![0; 1 << 20];
        let mut out = ReadBuf::new(&mut room);
        inbound.read(&mut out);
        out.filled().to_vec()
    }

    #[test]
    fn bytes_come_out_once_and_in_order() {
        let mut inbound = Inbound::new();
        let mut verdicts = Vec::new();
        for number in [2, 1, 1, 2, 5, 3, 5, 4] {
            verdicts.push(inbound.take(number, Some(vec![number as u8])));
        }
        use Verdict::{Repeated, Taken};
        assert_eq!(verdicts, [Taken, Taken, Repeated, Repeated, Taken, Taken, Repeated, Taken]);
        assert_eq!(read(&mut inbound), [1, 2, 3, 4, 5]);
        assert_eq!(inbound.gap(), None);
        assert_eq!(inbound.take(7, None), Taken);
        assert_eq!(inbound.gap(), Some(6));
        assert!(!inbound.is_at_end());
        inbound.take(6, Some(vec![6]));
        assert!(!inbound.is_at_end());
        assert_eq!(read(&mut inbound), [6]);
        assert!(inbound.is_at_end());
        assert_eq!(inbound.take(8, Some(vec![8])), Repeated);
    }

    #[test]
    fn s105_a_pipe_holds_no_more_than_its_window() {
        let mut inbound = Inbound::new();
        assert_eq!(inbound.take(WINDOW_MESSAGES + 1, Some(vec![0])), Verdict::Beyond);
        assert_eq!(inbound.take(u64::MAX, None), Verdict::Beyond);
        assert_eq!(inbound.take(2, Some(vec![0; WINDOW_BYTES])), Verdict::Taken);
        assert_eq!(inbound.take(1, Some(vec![0])), Verdict::Beyond);
        let mut small = Inbound::new();
        for number in 1..=WINDOW_MESSAGES {
            assert_eq!(small.take(number, Some(vec![0])), Verdict::Taken);
        }
        assert_eq!(small.take(WINDOW_MESSAGES + 1, Some(vec![0])), Verdict::Beyond);
        assert_eq!(small.take(WINDOW_MESSAGES + 1, None), Verdict::Taken);
    }

    #[test]
    fn credit_comes_before_the_sender_has_nothing_left_to_do() {
        for length in [1, 1000, MAX_BODY_BYTES / 2, MAX_BODY_BYTES] {
            let (mut outbound, mut inbound) = (Outbound::new(), Inbound::new());
            for _ in 0..1000 {
                assert!(outbound.may_send(), "{length}");
                while outbound.may_send() {
                    let number = outbound.send(length);
                    assert_eq!(inbound.take(number, Some(vec![0; length])), Verdict::Taken);
                }
                read(&mut inbound);
                let credit = inbound.credit_due().unwrap();
                inbound.credit_given();
                assert!(outbound.credit(credit));
                assert!(!outbound.credit(credit));
            }
            assert!(!outbound.credit(outbound.last + 1), "nobody can have read what was not sent");
            assert!(!outbound.credit(u64::MAX) && !outbound.credit(0));
        }
    }
}
