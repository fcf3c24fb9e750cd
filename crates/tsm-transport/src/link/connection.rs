//! One connection, from the hellos on. It knows nothing of TCP: any stream that proved its peer will
//! do.

use std::future::pending;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, timeout, timeout_at};

use crate::link::limits::{DRAIN_TIME, FAREWELL_TIME};
use crate::link::peer::Registered;
use crate::link::shared::Shared;
use crate::link::wire::{Hello, ReadError, Unit, UnitReader};
use crate::links::{DownReason, PeerKey};

/// A stream on which both hellos were exchanged.
pub(crate) struct Greeted<S> {
    pub(crate) hello: Hello,
    pub(crate) reader: UnitReader<ReadHalf<S>>,
    pub(crate) writer: WriteHalf<S>,
}

/// Says our hello and hears the peer's.
pub(crate) async fn greet<S>(shared: &Shared, stream: S) -> Result<Greeted<S>, ReadError>
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, mut writer) = split(stream);
    writer.write_all(&shared.hello.encode()).await.map_err(ReadError::Io)?;
    writer.flush().await.map_err(ReadError::Io)?;
    let mut reader = UnitReader::new(reader, shared.limits.silent_after);
    let hello = reader.hello().await?;
    Ok(Greeted { hello, reader, writer })
}

/// Writes one unit at once.
pub(crate) async fn say<S: AsyncWrite>(writer: &mut WriteHalf<S>, unit: Unit) -> io::Result<()> {
    let mut bytes = Vec::new();
    unit.encode(&mut bytes);
    writer.write_all(&bytes).await?;
    writer.flush().await
}

/// Carries frames until the connection ends, and reports its end.
///
/// `expects_us`: the peer has already said so, while it was parked.
pub(crate) async fn run<S>(
    shared: Arc<Shared>,
    peer: PeerKey,
    registered: Registered,
    greeted: Greeted<S>,
    expects_us: bool,
) where
    S: AsyncRead + AsyncWrite,
{
    let Greeted { mut reader, mut writer, .. } = greeted;
    let connection = Running { shared: &shared, peer: &peer, registered: &registered };
    let reason = tokio::select! {
        reason = connection.read(&mut reader, expects_us) => reason,
        reason = connection.write(&mut writer) => reason,
        () = registered.kill.cancelled() => DownReason::Restarted,
    };
    shared.end(&peer, registered.id, reason.clone()).await;
    if reason == DownReason::Closed {
        // Closing a socket with unread bytes would also destroy what the peer has not read yet.
        let farewell = async {
            drop(writer.shutdown().await);
            reader.drain().await;
        };
        drop(timeout(FAREWELL_TIME, farewell).await);
    }
}

struct Running<'a> {
    shared: &'a Shared,
    peer: &'a PeerKey,
    registered: &'a Registered,
}

impl Running<'_> {
    async fn read<R: AsyncRead + Unpin>(&self, reader: &mut UnitReader<R>, expects_us: bool) -> DownReason {
        let id = self.registered.id;
        let mut expected = expects_us;
        if expected {
            self.set_usable(reader).await;
        }
        loop {
            let unit = match reader.unit().await {
                Ok(unit) => unit,
                Err(error) => return self.end_of(error),
            };
            match unit {
                Unit::Frame(bytes) => self.shared.deliver(self.peer, id, bytes).await,
                Unit::Ping(number) => {
                    if let Err(rule) = self.shared.answer_ping(self.peer, id, number) {
                        return DownReason::Misbehaved(rule);
                    }
                }
                Unit::Pong(number) => self.shared.heard_pong(self.peer, id, number),
                Unit::Expected | Unit::Parked if expected => {
                    return DownReason::Misbehaved("it had said before that it expects us");
                }
                Unit::Expected => {
                    expected = true;
                    self.set_usable(reader).await;
                }
                Unit::Parked => {
                    // Who parks says nothing more until it unparks or closes.
                    reader.set_silent_after(self.shared.limits.parked_for + self.shared.limits.silent_after);
                    self.shared.set_parked(self.peer, id).await;
                }
                Unit::Closing => {
                    reader.refuse_frames();
                    self.shared.heard_closing(self.peer, id);
                }
            }
        }
    }

    async fn set_usable<R: AsyncRead + Unpin>(&self, reader: &mut UnitReader<R>) {
        reader.take_frames();
        reader.set_silent_after(self.shared.limits.silent_after);
        self.shared.set_usable(self.peer, self.registered.id).await;
    }

    fn end_of(&self, error: ReadError) -> DownReason {
        match error {
            ReadError::Ended if self.shared.is_finished(self.peer, self.registered.id) => DownReason::Closed,
            ReadError::Ended => DownReason::Lost("the peer ended the connection".to_owned()),
            ReadError::Cut => {
                DownReason::Lost("the connection was cut, or the peer's process ended".to_owned())
            }
            ReadError::Io(error) => DownReason::Lost(error.to_string()),
            ReadError::Silent => DownReason::Silent,
            ReadError::Misbehaved(rule) => DownReason::Misbehaved(rule),
        }
    }

    async fn write<W: AsyncWrite + Unpin>(&self, writer: &mut W) -> DownReason {
        let id = self.registered.id;
        let mut bytes = Vec::new();
        Unit::Expected.encode(&mut bytes);
        let (mut drained_by, mut written_at) = (None, Instant::now());
        loop {
            let work = self.shared.work(self.peer, id);
            work.units.iter().for_each(|unit| unit.encode(&mut bytes));
            if work.retiring && drained_by.is_none() {
                drained_by = Some(Instant::now() + DRAIN_TIME);
            }
            if !bytes.is_empty() {
                if let Err(error) = write_all(writer, &bytes, drained_by).await {
                    // The reader may have a better reason; it has already been woken if so.
                    drop(timeout(FAREWELL_TIME, pending::<()>()).await);
                    return DownReason::Lost(error.to_string());
                }
                bytes.clear();
                written_at = Instant::now();
                continue;
            }
            if work.finished {
                return DownReason::Closed;
            }
            // What was busy must not hold its room for the rest of a long quiet life.
            bytes.shrink_to(0);
            let sign_of_life_at = written_at + self.shared.limits.ping_after;
            let wake_at = drained_by.map_or(sign_of_life_at, |end| end.min(sign_of_life_at));
            if timeout_at(wake_at, self.registered.wake.notified()).await.is_err() {
                self.shared.keep_alive(self.peer, id);
                // Counts as written: where no ping may be sent, none is due either.
                written_at = Instant::now();
            }
            if drained_by.is_some_and(|end| end <= Instant::now()) {
                return DownReason::Lost("it could not be emptied in time".to_owned());
            }
        }
    }
}

async fn write_all<W: AsyncWrite + Unpin>(
    writer: &mut W,
    bytes: &[u8],
    until: Option<Instant>,
) -> io::Result<()> {
    let writing = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    match until {
        None => writing.await,
        Some(until) => {
            timeout_at(until, writing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    }
}
