//! Refuses answers that are longer than any honest one, before memory is made for them.
//!
//! Whoever may append to an inbox may append half a gigabyte, and a server that is not one may say
//! anything. What goes by is RESP2; its meaning is the Redis library's business, its lengths are ours.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest simple line: an error's sentence.
const MAX_LINE_BYTES: usize = 4096;
/// An answer to a read of two inboxes has five levels.
const MAX_DEPTH: usize = 8;
/// Room for so many is made before they have come.
const MAX_ITEMS: u64 = 4096;

/// Bounds of one answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// One string.
    pub(super) string: usize,
    /// All of it.
    pub(super) answer: usize,
}

/// A connection whose answers keep within bounds, or end it.
pub(super) struct Guard<S> {
    stream: S,
    scan: Scan,
}

impl<S> Guard<S> {
    pub(super) fn new(stream: S, bounds: Bounds) -> Self {
        Guard { stream, scan: Scan::new(bounds) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, out))?;
        let read = out.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.scan.take(read).map_err(|rule| io::Error::new(io::ErrorKind::InvalidData, rule)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Where in an answer the next byte is.
struct Scan {
    bounds: Bounds,
    place: Place,
    /// Elements that are still to come of each array around this place.
    open: Vec<u64>,
    /// Of this answer, so far.
    bytes: usize,
}

enum Place {
    Kind,
    /// A line without meaning for lengths, of so many bytes so far.
    Line(usize),
    /// The digits after `$` or `*`.
    Length {
        array: bool,
        digits: Vec<u8>,
    },
    /// A string's bytes and the end of its line.
    String(usize),
}

type Refusal = &'static str;

impl Scan {
    fn new(bounds: Bounds) -> Self {
        Scan { bounds, place: Place::Kind, open: Vec::new(), bytes: 0 }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while !bytes.is_empty() {
            let used = self.step(bytes)?;
            self.count(used)?;
            bytes = bytes.get(used..).unwrap_or_default();
            if self.open.is_empty() && matches!(self.place, Place::Kind) {
                self.bytes = 0;
            }
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes += bytes;
        if self.bytes > self.bounds.answer { Err("an answer is longer than any honest one") } else { Ok(()) }
    }

    /// Takes at least one of the bytes; returns how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let first = bytes[0];
        match &mut self.place {
            Place::Kind => {
                self.place = match first {
                    b'+' | b'-' | b':' => Place::Line(0),
                    b'$' | b'*' => Place::Length { array: first == b'*', digits: Vec::new() },
                    _ => return Err("an answer is not RESP"),
                };
                Ok(1)
            }
            Place::Line(length) => {
                *length += 1;
                if *length > MAX_LINE_BYTES {
                    return Err("a line is longer than any honest one");
                }
                if first == b'\n' {
                    self.element();
                }
                Ok(1)
            }
            Place::Length { array, digits } => {
                if first != b'\n' {
                    if digits.len() == 20 {
                        return Err("an answer is not RESP");
                    }
                    digits.push(first);
                    return Ok(1);
                }
                let array = *array;
                let digits = std::mem::take(digits);
                self.announced(array, &digits)?;
                Ok(1)
            }
            Place::String(left) => {
                let used = bytes.len().min(*left);
                *left -= used;
                if *left == 0 {
                    self.element();
                }
                Ok(used)
            }
        }
    }

    fn announced(&mut self, array: bool, digits: &[u8]) -> Result<(), Refusal> {
        const NOT_RESP: Refusal = "an answer is not RESP";
        let text = digits.strip_suffix(b"\r").and_then(|digits| std::str::from_utf8(digits).ok());
        let length: i64 = text.and_then(|text| text.parse().ok()).ok_or(NOT_RESP)?;
        match (u64::try_from(length), array) {
            (Err(_), _) | (Ok(0), true) => self.element(),
            (Ok(items), true) if items > MAX_ITEMS || self.open.len() == MAX_DEPTH => {
                return Err("an answer has more parts than any honest one");
            }
            (Ok(items), true) => {
                self.open.push(items);
                self.place = Place::Kind;
            }
            (Ok(bytes), false) => match usize::try_from(bytes) {
                Ok(bytes) if bytes <= self.bounds.string => self.place = Place::String(bytes + 2),
                _ => return Err("a message is longer than any honest one"),
            },
        }
        Ok(())
    }

    /// One is complete, and with it the arrays that it ends.
    fn element(&mut self) {
        self.place = Place::Kind;
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { string: 10, answer: 100 };

    fn scan(bytes: &[u8], piece: usize) -> Result<bool, Refusal> {
        let mut scan = Scan::new(BOUNDS);
        bytes.chunks(piece).try_for_each(|piece| scan.take(piece))?;
        Ok(scan.open.is_empty() && matches!(scan.place, Place::Kind) && scan.bytes == 0)
    }

    #[test]
    fn honest_answers_pass_whatever_pieces_they_come_in() {
        let answers = "+OK\r\n-ERR what\r\n:17\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n$10\r\n*1\r\n$99\r\n1\r\n\
             *2\r\n*1\r\n$1\r\na\r\n*2\r\n:1\r\n*1\r\n+x\r\n"
            .repeat(50);
        for piece in [1, 2, 3, 7, 100, 100_000] {
            assert_eq!(scan(answers.as_bytes(), piece), Ok(true), "{piece}");
        }
        assert_eq!(scan(b"*2\r\n+x\r\n", 3), Ok(false));
    }

    #[test]
    fn s105_an_answer_that_is_too_long_is_refused_when_it_is_announced_or_goes_on() {
        let long_line = [b"-".as_slice(), &[b'x'; 5000]].concat();
        let much = [b"*30\r\n".as_slice(), &b"$1\r\na\r\n".repeat(30)].concat();
        let deep = b"*2\r\n".repeat(9);
        let bad: [&[u8]; 12] = [
            b"$11\r\n",
            b"$536870912\r\n",
            b"$99999999999999999999999\r\n",
            b"*4097\r\n",
            b"*-\r\n",
            b"$1a\r\n",
            b"$1\n",
            b"%1\r\n",
            b"HTTP/1.1 400\r\n",
            &long_line,
            &much,
            &deep,
        ];
        let mut roomy = Scan::new(Bounds { answer: 1 << 20, ..BOUNDS });
        assert_eq!(roomy.take(&long_line), Err("a line is longer than any honest one"));
        for bytes in bad {
            for piece in [1, 5, 10_000] {
                assert!(scan(bytes, piece).is_err(), "{:?}", String::from_utf8_lossy(bytes));
            }
        }
    }
}
