//! Every byte inside the secure channel (`docs/links.md`): one hello in each direction, then units
//! of length, kind and body.

use std::io;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::links::{MAX_FRAME_BYTES, ProcessId};

const MAGIC: [u8; 8] = *b"opentsm\0";
pub(crate) const VERSION: u16 = 1;
/// A hello has 28 bytes; a peer that announces more than this is not one of ours.
const MAX_HELLO_BYTES: usize = 64;
/// Length and kind.
const HEADER_BYTES: usize = 5;
/// How much room is made before bytes have arrived: one TLS record.
const READ_BYTES: usize = 16 * 1024;

/// What both sides say first.
#[derive(BorshSerialize, BorshDeserialize)]
struct HelloBody {
    magic: [u8; 8],
    version: u16,
    process: ProcessId,
    player: u16,
}

/// Who the peer says it is, beyond its proven key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) process: ProcessId,
    /// Claimed, for error messages.
    pub(crate) player: u16,
}

impl Hello {
    pub(crate) fn encode(self) -> Vec<u8> {
        let body = HelloBody { magic: MAGIC, version: VERSION, process: self.process, player: self.player };
        let body = borsh::to_vec(&body).expect("writing to memory cannot fail");
        let length = u32::try_from(body.len()).expect("a hello is short");
        [length.to_le_bytes().as_slice(), &body].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let body = HelloBody::try_from_slice(bytes).map_err(|_| ReadError::Misbehaved("malformed hello"))?;
        if body.magic != MAGIC {
            return Err(ReadError::Misbehaved("the hello is not of this protocol"));
        }
        if body.version != VERSION {
            return Err(ReadError::Misbehaved("unknown link version"));
        }
        Ok(Hello { process: body.process, player: body.player })
    }
}

/// What is said after the hellos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// The engine's bytes.
    Frame(Vec<u8>),
    /// To be answered by a `Pong` with the same number, after all that came before it was read.
    Ping(u64),
    /// All that came before the `Ping` of this number was read.
    Pong(u64),
    /// Frames from you are wanted.
    Expected,
    /// Nobody here expects you, yet.
    Parked,
    /// No more frames from me on this connection.
    Closing,
}

impl Unit {
    /// Appends the unit's bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Unit::Frame(body) => encode_unit(out, 1, body),
            Unit::Ping(number) => encode_unit(out, 2, &number.to_le_bytes()),
            Unit::Pong(number) => encode_unit(out, 3, &number.to_le_bytes()),
            Unit::Expected => encode_unit(out, 4, &[]),
            Unit::Parked => encode_unit(out, 5, &[]),
            Unit::Closing => encode_unit(out, 6, &[]),
        }
    }

    /// How many bytes [`Unit::encode`] appends.
    pub(crate) fn encoded_len(&self) -> usize {
        let body = match self {
            Unit::Frame(body) => body.len(),
            Unit::Ping(_) | Unit::Pong(_) => 8,
            Unit::Expected | Unit::Parked | Unit::Closing => 0,
        };
        HEADER_BYTES + body
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, ReadError> {
        let number =
            || body.try_into().map(u64::from_le_bytes).map_err(|_| ReadError::Misbehaved("malformed unit"));
        match kind {
            1 => Ok(Unit::Frame(body.to_vec())),
            2 => Ok(Unit::Ping(number()?)),
            3 => Ok(Unit::Pong(number()?)),
            4 => Ok(Unit::Expected),
            5 => Ok(Unit::Parked),
            6 => Ok(Unit::Closing),
            _ => Err(ReadError::Misbehaved("unknown kind of unit")),
        }
    }
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The peer ended the stream in good order.
    Ended,
    /// The stream ended, and it was not the peer's TLS that said so.
    Cut,
    Io(io::Error),
    Silent,
    Misbehaved(&'static str),
}

/// Reads hellos and units. Its state survives a dropped `hello` or `unit` future.
pub(crate) struct UnitReader<R> {
    io: R,
    /// Grows with what has arrived, never with what was announced.
    buffer: Vec<u8>,
    /// What lies before this has been taken.
    taken: usize,
    silent_after: Duration,
    takes_frames: bool,
}

impl<R: AsyncRead + Unpin> UnitReader<R> {
    /// `silent_after`: how long to wait for the next byte. Frames are refused, before their body is
    /// read, until [`UnitReader::take_frames`].
    pub(crate) fn new(io: R, silent_after: Duration) -> Self {
        UnitReader { io, buffer: Vec::new(), taken: 0, silent_after, takes_frames: false }
    }

    pub(crate) fn take_frames(&mut self) {
        self.takes_frames = true;
    }

    pub(crate) fn refuse_frames(&mut self) {
        self.takes_frames = false;
    }

    pub(crate) fn set_silent_after(&mut self, silent_after: Duration) {
        self.silent_after = silent_after;
    }

    /// The peer's first words.
    pub(crate) async fn hello(&mut self) -> Result<Hello, ReadError> {
        loop {
            if let Some(length) = self.announced() {
                if length > MAX_HELLO_BYTES {
                    return Err(ReadError::Misbehaved("the hello is too long"));
                }
                if let Some(bytes) = self.waiting().get(4..4 + length) {
                    let hello = Hello::decode(bytes)?;
                    self.take(4 + length);
                    return Ok(hello);
                }
            }
            self.fill().await?;
        }
    }

    pub(crate) async fn unit(&mut self) -> Result<Unit, ReadError> {
        loop {
            if let Some(unit) = self.buffered()? {
                return Ok(unit);
            }
            self.fill().await?;
        }
    }

    /// Reads whatever comes until the peer closes.
    pub(crate) async fn drain(&mut self) {
        while self.fill().await.is_ok() {
            self.take(self.waiting().len());
        }
    }

    fn buffered(&mut self) -> Result<Option<Unit>, ReadError> {
        let (Some(length), Some(kind)) = (self.announced(), self.waiting().get(4).copied()) else {
            return Ok(None);
        };
        let allowed = match kind {
            1 if !self.takes_frames => return Err(ReadError::Misbehaved("a frame that was not expected")),
            1 => 0..=MAX_FRAME_BYTES,
            2 | 3 => 8..=8,
            4..=6 => 0..=0,
            _ => return Err(ReadError::Misbehaved("unknown kind of unit")),
        };
        if !allowed.contains(&length) {
            return Err(ReadError::Misbehaved("a unit of forbidden length"));
        }
        let Some(body) = self.waiting().get(HEADER_BYTES..HEADER_BYTES + length) else {
            return Ok(None);
        };
        let unit = Unit::decode(kind, body)?;
        self.take(HEADER_BYTES + length);
        Ok(Some(unit))
    }

    fn waiting(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// The length at the head of what waits.
    fn announced(&self) -> Option<usize> {
        let length = self.waiting().first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*length)).ok()
    }

    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
            // One large frame must not hold its room for the rest of a long quiet life.
            self.buffer.shrink_to(READ_BYTES);
        } else if self.taken >= self.buffer.len() / 2 {
            // Moving what waits costs no more than it took to read what is dropped.
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// One read. Dropping this future loses nothing: `read_buf` either has appended or has not read.
    async fn fill(&mut self) -> Result<(), ReadError> {
        self.buffer.reserve(READ_BYTES);
        match timeout(self.silent_after, self.io.read_buf(&mut self.buffer)).await {
            Err(_) => Err(ReadError::Silent),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReadError::Cut),
            Ok(Err(error)) => Err(ReadError::Io(error)),
            Ok(Ok(0)) => Err(ReadError::Ended),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

/// Reads a hello and then units until something is refused or the bytes end, and returns how many
/// units there were: for the fuzzer. What is read has no other encoding.
pub async fn read_all(mut bytes: &[u8]) -> usize {
    let mut again = Vec::new();
    let (whole, mut count) = (bytes, 0);
    let mut reader = UnitReader::new(&mut bytes, Duration::from_secs(1));
    let Ok(hello) = reader.hello().await else { return 0 };
    again.extend(hello.encode());
    reader.take_frames();
    while let Ok(unit) = reader.unit().await {
        unit.encode(&mut again);
        count += 1;
    }
    assert_eq!(again, whole[..again.len()]);
    count
}

fn encode_unit(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("`send` refuses longer frames");
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(15);

    fn pipe() -> (DuplexStream, UnitReader<DuplexStream>) {
        let (ours, theirs) = duplex(1 << 21);
        let mut reader = UnitReader::new(theirs, PATIENCE);
        reader.take_frames();
        (ours, reader)
    }

    fn every_unit() -> Vec<Unit> {
        vec![
            Unit::Expected,
            Unit::Frame(Vec::new()),
            Unit::Ping(u64::MAX),
            Unit::Frame(vec![7; MAX_FRAME_BYTES]),
            Unit::Pong(1),
            Unit::Frame(vec![8; 100_000]),
            Unit::Parked,
            Unit::Closing,
        ]
    }

    #[tokio::test(start_paused = true)]
    async fn units_are_read_as_they_were_written_however_they_are_cut() {
        let mut bytes = Vec::new();
        every_unit().iter().for_each(|unit| unit.encode(&mut bytes));
        for piece in [1 << 22, 65_537, 1_000] {
            let (mut writer, mut reader) = pipe();
            for piece in bytes.chunks(piece) {
                writer.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            for unit in every_unit() {
                assert_eq!(reader.unit().await.unwrap(), unit);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_read_loses_nothing() {
        let (mut writer, mut reader) = pipe();
        let mut bytes = Vec::new();
        Unit::Ping(0x0102_0304).encode(&mut bytes);
        for byte in &bytes[..bytes.len() - 1] {
            writer.write_all(&[*byte]).await.unwrap();
            assert!(timeout(Duration::from_millis(1), reader.unit()).await.is_err());
        }
        writer.write_all(&bytes[bytes.len() - 1..]).await.unwrap();
        assert_eq!(reader.unit().await.unwrap(), Unit::Ping(0x0102_0304));
    }

    #[tokio::test(start_paused = true)]
    async fn s27_no_announced_length_or_kind_is_believed() {
        let over = u32::try_from(MAX_FRAME_BYTES + 1).unwrap();
        let table: [(u32, u8); 8] =
            [(over, 1), (u32::MAX, 1), (7, 2), (9, 3), (1, 4), (1, 5), (u32::MAX, 6), (0, 0)];
        for (length, kind) in table {
            let (mut writer, mut reader) = pipe();
            writer.write_all(&length.to_le_bytes()).await.unwrap();
            writer.write_all(&[kind]).await.unwrap();
            assert!(matches!(reader.unit().await, Err(ReadError::Misbehaved(_))), "{length} {kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s28_room_grows_with_what_arrived_not_with_what_was_announced() {
        let (mut writer, mut reader) = pipe();
        let announced = u32::try_from(MAX_FRAME_BYTES).unwrap();
        writer.write_all(&announced.to_le_bytes()).await.unwrap();
        writer.write_all(&[1; 1001]).await.unwrap();
        assert!(timeout(Duration::from_secs(1), reader.unit()).await.is_err());
        assert!(reader.buffer.capacity() <= 4 * READ_BYTES, "{}", reader.buffer.capacity());
    }

    #[tokio::test(start_paused = true)]
    async fn s105_a_large_frame_does_not_hold_its_room_when_it_is_read() {
        let (mut writer, mut reader) = pipe();
        let mut bytes = Vec::new();
        Unit::Frame(vec![7; 45_000]).encode(&mut bytes);
        writer.write_all(&bytes).await.unwrap();
        assert!(matches!(reader.unit().await, Ok(Unit::Frame(_))));
        assert!(reader.buffer.capacity() <= READ_BYTES, "{}", reader.buffer.capacity());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_byte() {
        let (mut writer, mut reader) = pipe();
        let reading = tokio::spawn(async move { reader.unit().await.map(drop) });
        for byte in [0, 0, 0] {
            tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
            writer.write_all(&[byte]).await.unwrap();
        }
        assert!(!reading.is_finished());
        assert!(matches!(reading.await.unwrap(), Err(ReadError::Silent)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_exact_hello_is_taken() {
        let hello = Hello { process: ProcessId([9; 16]), player: 3 };
        let good = hello.encode();
        let (mut writer, mut reader) = pipe();
        writer.write_all(&good).await.unwrap();
        assert_eq!(reader.hello().await.unwrap(), hello);

        let changed = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            bytes
        };
        // Length one short, one long, far too long; another magic; another version.
        let longer = [changed(0, 29), vec![0]].concat();
        for bad in [changed(0, 27), longer, changed(3, 0xff), changed(4, b'O'), changed(12, 2)] {
            let (mut writer, mut reader) = pipe();
            writer.write_all(&bad).await.unwrap();
            assert!(matches!(reader.hello().await, Err(ReadError::Misbehaved(_))), "{bad:?}");
        }
    }
}
