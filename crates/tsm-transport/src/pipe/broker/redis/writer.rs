//! Puts messages into inboxes: pipelined, in order, at one member of a cluster or at the only server.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::{mpsc, oneshot};
use tsm_types::address::HostPort;

use super::super::{BrokerError, Inbox};
use super::config::RedisConfig;
use super::connect::{ANSWER_TIME, Connection, Trouble, ask};
use super::guard::Bounds;
use super::names::key;
use super::reader::FIELD;

/// Writes that Redis has not answered yet; beyond it, messages wait here and publishers with them.
const WRITES_UNDER_WAY: usize = 8;
/// When an inbox holds about so many, the oldest go: its reader is gone, or has lost anyway. Honest
/// pipes of hundreds of peers stay below it.
const MAX_WAITING: usize = 10_000;
/// When to give up on an answer.
pub(super) const WRITE_TIME: Duration = ANSWER_TIME;
/// Answers are numbers and errors.
pub(super) const BOUNDS: Bounds = Bounds { string: 4096, answer: 1 << 16 };

/// A message on its way.
pub(super) struct Outgoing {
    pub(super) to: Inbox,
    pub(super) message: Vec<u8>,
    /// For who wants to know what Redis said.
    pub(super) told: Option<oneshot::Sender<Result<(), BrokerError>>>,
}

/// One connection's worth of writing.
pub(super) struct Writer<'a> {
    config: &'a RedisConfig,
    redis: MultiplexedConnection,
    /// One refusal is told in the log, not thousands.
    complained: bool,
}

type Told = Option<oneshot::Sender<Result<(), BrokerError>>>;

impl<'a> Writer<'a> {
    /// Writes what the queue brings until it ends.
    pub(super) async fn run(
        config: &'a RedisConfig,
        connection: Connection,
        queue: &mut mpsc::Receiver<Outgoing>,
    ) -> Result<(), Trouble> {
        let mut writer = Writer { config, redis: connection.redis, complained: false };
        tokio::select! {
            end = writer.write(queue) => end,
            () = connection.driver => Err(Trouble::lost("it ended")),
        }
    }

    /// As [`run`](Self::run), at this member of a cluster.
    pub(super) async fn run_at(
        config: &'a RedisConfig,
        at: HostPort,
        mut queue: mpsc::Receiver<Outgoing>,
    ) -> Result<(), Trouble> {
        let connection = Connection::open(config, &at, BOUNDS, WRITE_TIME).await?;
        Self::run(config, connection, &mut queue).await
    }

    async fn write(&mut self, queue: &mut mpsc::Receiver<Outgoing>) -> Result<(), Trouble> {
        let mut under_way = FuturesUnordered::new();
        let mut batch = Vec::new();
        loop {
            // Writes begin in the order in which they are pushed: that is how the set polls them.
            tokio::select! {
                biased;
                Some((answers, told)) = under_way.next() => self.answered(answers, told)?,
                count = queue.recv_many(&mut batch, self.config.send_batch),
                    if under_way.len() < WRITES_UNDER_WAY =>
                {
                    if count == 0 {
                        break;
                    }
                    under_way.push(send(self.redis.clone(), std::mem::take(&mut batch)));
                }
            }
        }
        while let Some((answers, told)) = under_way.next().await {
            self.answered(answers, told)?;
        }
        Ok(())
    }

    fn answered(&mut self, answers: Result<Vec<Value>, Trouble>, told: Vec<Told>) -> Result<(), Trouble> {
        for (answer, told) in answers?.into_iter().zip(told) {
            let outcome = match answer {
                Value::ServerError(error) => {
                    let trouble = Trouble::told(error.code(), error.details());
                    if ends_all(error.code()) {
                        return Err(trouble);
                    }
                    Err(self.refused(&trouble))
                }
                // Its number, or nothing if there is no such inbox: then its node is not there.
                _ => Ok(()),
            };
            if let Some(told) = told {
                drop(told.send(outcome));
            }
        }
        Ok(())
    }

    /// The message is lost, and its pipe will notice.
    fn refused(&mut self, trouble: &Trouble) -> BrokerError {
        let server = &self.config.server;
        if !self.complained {
            self.complained = true;
            let Trouble { what, advice } = trouble;
            tracing::warn!(%server, what, advice, "a message was not put into an inbox");
        }
        BrokerError(format!("{server} did not take a message: {}: {}", trouble.what, trouble.advice))
    }
}

/// Begins when it is first polled.
async fn send(
    mut redis: MultiplexedConnection,
    batch: Vec<Outgoing>,
) -> (Result<Vec<Value>, Trouble>, Vec<Told>) {
    let mut commands = Pipeline::with_capacity(batch.len());
    let mut told = Vec::with_capacity(batch.len());
    for outgoing in batch {
        // Only if the inbox is there, so that none is left behind by those who write to the gone.
        commands.cmd("XADD").arg(key(&outgoing.to)).arg("NOMKSTREAM").arg("MAXLEN").arg("~");
        commands.arg(MAX_WAITING).arg("*").arg(FIELD).arg(outgoing.message);
        told.push(outgoing.told);
    }
    (ask(&mut redis, &commands).await, told)
}

/// Whether a refusal is about all messages, so that it is better to connect again.
fn ends_all(code: &str) -> bool {
    matches!(
        code,
        "NOAUTH" | "READONLY" | "LOADING" | "MASTERDOWN" | "MOVED" | "ASK" | "CLUSTERDOWN" | "TRYAGAIN"
    )
}
