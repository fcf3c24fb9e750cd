//! Makes a node's inboxes and reads them.
//!
//! Both inboxes are read by one blocking command, so that no message waits for a turn, and in the order
//! in which Redis took them. A group without acknowledgements hands each message to one of the nodes
//! that share an inbox, and Redis forgets it: what is under way when the connection breaks is lost, and
//! told so.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tsm_types::address::HostPort;

use super::super::{Arrival, Inbox, MAX_MESSAGE_BYTES};
use super::config::RedisConfig;
use super::connect::{ANSWER_TIME, Connection, Trouble, ask, granted};
use super::guard::Bounds;
use super::names::key;

/// How long Redis holds a read of empty inboxes.
const BLOCK_TIME: Duration = Duration::from_secs(5);
/// When to give up on a read.
pub(super) const READ_TIME: Duration = BLOCK_TIME.saturating_add(ANSWER_TIME);
/// After how long Redis forgets the inboxes of a node that is gone: longer than a node may stand still.
const SHORT_LIFE: Duration = Duration::from_secs(60);
/// Where expiry is not wanted, it is as rare as can be without inboxes that stay for ever.
const LONG_LIFE: Duration = Duration::from_secs(3600);
/// The readers of an inbox, and the one consumer that they all are.
const GROUP: &str = "nodes";
/// The one field of an entry.
pub(super) const FIELD: &str = "m";
/// A reader's own message, by which it sees that its inbox takes any.
const PROBE: &[u8] = b"probe";
/// Beside a message: its number, and the lengths of both.
const ENTRY_BYTES: usize = 100;

pub(super) struct Reader {
    redis: MultiplexedConnection,
    keys: Vec<String>,
    batch: usize,
    life: Duration,
    renewed: Instant,
}

/// A batch from each of so many inboxes.
pub(super) fn bounds(config: &RedisConfig, inboxes: usize) -> Bounds {
    let answer = (MAX_MESSAGE_BYTES + ENTRY_BYTES) * config.receive_batch * inboxes + 4096;
    Bounds { string: MAX_MESSAGE_BYTES, answer }
}

impl Reader {
    /// Makes the inboxes, if they are not there.
    pub(super) async fn start(
        redis: MultiplexedConnection,
        config: &RedisConfig,
        inboxes: &[Inbox],
    ) -> Result<Self, Trouble> {
        let life = if config.expire_keys { SHORT_LIFE } else { LONG_LIFE };
        let keys: Vec<String> = inboxes.iter().map(key).collect();
        let batch = config.receive_batch;
        let mut reader = Reader { redis, keys, batch, life, renewed: Instant::now() };
        for key in reader.keys.clone() {
            reader.make(&key).await?;
        }
        Ok(reader)
    }

    /// Makes an inbox, or joins its readers, and tries whether it takes messages.
    async fn make(&mut self, key: &str) -> Result<(), Trouble> {
        if self.try_to_make(key).await?.is_ok() {
            return Ok(());
        }
        // Somebody put something else there, or used up its numbers.
        remove(&mut self.redis, &[key.to_owned()]).await?;
        self.try_to_make(key).await?
    }

    async fn try_to_make(&mut self, key: &str) -> Result<Result<(), Trouble>, Trouble> {
        let mut commands = Pipeline::new();
        commands.cmd("XGROUP").arg("CREATE").arg(key).arg(GROUP).arg("0").arg("MKSTREAM");
        expire(&mut commands, key, self.life);
        commands.cmd("XADD").arg(key).arg("NOMKSTREAM").arg("*").arg(FIELD).arg(PROBE);
        let answers = ask(&mut self.redis, &commands).await?;
        let refusal = answers.into_iter().find_map(|answer| match answer {
            Value::ServerError(error) if error.code() == "BUSYGROUP" => None,
            Value::ServerError(error) => Some(error),
            _ => None,
        });
        let Some(error) = refusal else { return Ok(Ok(())) };
        let trouble = Trouble::told(error.code(), error.details());
        if matches!(error.code(), "ERR" | "WRONGTYPE") { Ok(Err(trouble)) } else { Err(trouble) }
    }

    /// Reads until nobody takes the messages any more.
    pub(super) async fn read(&mut self, arrivals: &mpsc::Sender<Arrival>) -> Result<(), Trouble> {
        // What was read up to this number can go.
        let mut done: Vec<(String, EntryId)> = Vec::new();
        loop {
            let commands = self.next(&done);
            let answers = tokio::select! {
                answers = ask(&mut self.redis, &commands) => answers?,
                () = arrivals.closed() => return Ok(()),
            };
            done.clear();
            let read = answers.into_iter().next_back().unwrap_or(Value::Nil);
            for (key, entries) in inboxes(granted(read)?).ok_or_else(|| Trouble::odd(ODD))? {
                for (id, message) in entries {
                    if id.is_last() {
                        // Nothing could be put behind it. The others may be no better.
                        let keys = self.keys.clone();
                        remove(&mut self.redis, &keys).await?;
                        return Err(Trouble::odd("somebody used up the numbers of an inbox"));
                    }
                    match done.last_mut() {
                        Some((same, last)) if *same == key => *last = id,
                        _ => done.push((key.clone(), id)),
                    }
                    if message == Some(PROBE.to_vec()) {
                        continue;
                    }
                    let message = message.unwrap_or_default();
                    if arrivals.send(Arrival::Message(message)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn next(&mut self, done: &[(String, EntryId)]) -> Pipeline {
        let mut commands = Pipeline::new();
        for (key, id) in done {
            commands.cmd("XTRIM").arg(key).arg("MINID").arg(id.next().to_string());
        }
        if self.renewed.elapsed() > self.life / 4 {
            self.renewed = Instant::now();
            self.keys.iter().for_each(|key| expire(&mut commands, key, self.life));
        }
        commands.cmd("XREADGROUP").arg("GROUP").arg(GROUP).arg("node").arg("COUNT").arg(self.batch);
        commands.arg("BLOCK").arg(BLOCK_TIME.as_millis().to_string()).arg("NOACK").arg("STREAMS");
        commands.arg(&self.keys).arg(vec![">"; self.keys.len()]);
        commands
    }
}

/// Removes the inboxes that nobody else reads. By a connection of its own: the reader's waits for messages.
pub(super) async fn leave(config: &RedisConfig, at: &HostPort, inboxes: &[Inbox]) {
    let own: Vec<String> = inboxes.iter().filter(|inbox| matches!(inbox, Inbox::Node(..))).map(key).collect();
    let removing = async {
        let bounds = bounds(config, inboxes.len());
        let mut connection = Connection::open(config, at, bounds, ANSWER_TIME).await?;
        tokio::select! {
            removed = remove(&mut connection.redis, &own) => removed,
            () = connection.driver => Err(Trouble::lost("it ended")),
        }
    };
    if let Err(trouble) = removing.await {
        tracing::debug!(what = trouble.what, "an inbox was not removed, and will expire");
    }
}

async fn remove(redis: &mut MultiplexedConnection, keys: &[String]) -> Result<(), Trouble> {
    let mut commands = Pipeline::new();
    commands.cmd("UNLINK").arg(keys);
    granted(ask(redis, &commands).await?.swap_remove(0)).map(drop)
}

fn expire(commands: &mut Pipeline, key: &str, life: Duration) {
    commands.cmd("PEXPIRE").arg(key).arg(life.as_millis().to_string());
}

const ODD: &str = "its answer to a read is not one";

/// The number of an entry: milliseconds, and a count within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EntryId(u64, u64);

impl EntryId {
    fn parse(text: &[u8]) -> Option<Self> {
        let (milliseconds, count) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(EntryId(milliseconds.parse().ok()?, count.parse().ok()?))
    }

    /// Redis counts on from whatever number somebody put in; from here it soon could not.
    fn is_last(self) -> bool {
        self.0 == u64::MAX
    }

    fn next(self) -> Self {
        match self.1.checked_add(1) {
            Some(count) => EntryId(self.0, count),
            None => EntryId(self.0.saturating_add(1), 0),
        }
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

type Entry = (EntryId, Option<Vec<u8>>);

/// Key and entries of each inbox that had any; `None` if the answer is not one to a read.
fn inboxes(answer: Value) -> Option<Vec<(String, Vec<Entry>)>> {
    match answer {
        Value::Nil => Some(Vec::new()),
        answer => list(answer)?
            .into_iter()
            .map(|inbox| {
                let [key, entries] = pair(inbox)?;
                let entries = list(entries)?.into_iter().map(entry).collect::<Option<_>>()?;
                Some((String::from_utf8(string(key)?).ok()?, entries))
            })
            .collect(),
    }
}

/// Without a message if it is not one of ours: then it becomes one that is none, is dropped, and counted.
fn entry(value: Value) -> Option<Entry> {
    let [id, fields] = pair(value)?;
    let id = EntryId::parse(&string(id)?)?;
    let message = pair(fields).and_then(|[field, message]| {
        let ours = string(field)? == FIELD.as_bytes();
        ours.then_some(message).and_then(string)
    });
    Some((id, message))
}

fn pair(value: Value) -> Option<[Value; 2]> {
    list(value)?.try_into().ok()
}

fn list(value: Value) -> Option<Vec<Value>> {
    if let Value::Array(items) = value { Some(items) } else { None }
}

fn string(value: Value) -> Option<Vec<u8>> {
    if let Value::BulkString(bytes) = value { Some(bytes) } else { None }
}
