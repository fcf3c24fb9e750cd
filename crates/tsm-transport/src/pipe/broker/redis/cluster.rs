//! Which member of a cluster has which inbox.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{Pipeline, Value};
use tokio::sync::mpsc;
use tsm_types::address::HostPort;

use super::super::Inbox;
use super::config::RedisConfig;
use super::connect::{ANSWER_TIME, Connection, Trouble, ask, granted};
use super::guard::Bounds;
use super::names::key;
use super::writer::{Outgoing, Writer};

/// Of the answer that names all ranges of slots.
const BOUNDS: Bounds = Bounds { string: 4096, answer: 1 << 20 };
/// Messages that wait for one member.
const WAITING: usize = 64;

/// The masters of all slots, as they were when the node connected. When that changes, writes and reads
/// are refused, and the node connects again.
pub(super) struct Slots(Vec<(RangeInclusive<u16>, HostPort)>);

impl Slots {
    /// Asks the member that the configuration names.
    pub(super) async fn learn(config: &RedisConfig) -> Result<Self, Trouble> {
        let server = &config.server;
        let mut connection = Connection::open(config, &server.at, BOUNDS, ANSWER_TIME).await?;
        let mut commands = Pipeline::new();
        commands.cmd("CLUSTER").arg("SLOTS");
        let answer = tokio::select! {
            answers = ask(&mut connection.redis, &commands) => granted(answers?.swap_remove(0))?,
            () = connection.driver => return Err(Trouble::lost("it ended")),
        };
        let slots = read(answer, &server.at).ok_or_else(|| Trouble::odd("its slots cannot be read"))?;
        Ok(Slots(slots))
    }

    pub(super) fn of(&self, inbox: &Inbox) -> Result<&HostPort, Trouble> {
        let slot = slot(&key(inbox));
        let found = self.0.iter().find(|(slots, _)| slots.contains(&slot));
        let served = found.map(|(_, at)| at);
        served.ok_or_else(|| Trouble::told("CLUSTERDOWN", Some("not all slots are served")))
    }

    /// Hands each message to a writer at the member that has its inbox.
    pub(super) async fn write(
        &self,
        config: &RedisConfig,
        queue: &mut mpsc::Receiver<Outgoing>,
    ) -> Result<(), Trouble> {
        let mut lanes: HashMap<HostPort, mpsc::Sender<Outgoing>> = HashMap::new();
        let mut writers = FuturesUnordered::new();
        loop {
            let outgoing = tokio::select! {
                biased;
                Some(ended) = writers.next() => { ended?; continue }
                next = queue.recv() => next,
            };
            let Some(outgoing) = outgoing else { break };
            let at = self.of(&outgoing.to)?;
            let lane = lanes.entry(at.clone()).or_insert_with(|| {
                let (lane, waiting) = mpsc::channel(WAITING);
                writers.push(Writer::run_at(config, at.clone(), waiting));
                lane
            });
            tokio::select! {
                sent = lane.send(outgoing) => drop(sent),
                Some(ended) = writers.next() => ended?,
            }
        }
        drop(lanes);
        while let Some(ended) = writers.next().await {
            ended?;
        }
        Ok(())
    }
}

fn read(answer: Value, asked: &HostPort) -> Option<Vec<(RangeInclusive<u16>, HostPort)>> {
    let Value::Array(ranges) = answer else { return None };
    ranges.into_iter().map(|range| read_range(range, asked)).collect()
}

/// First and last slot, then the master, then replicas.
fn read_range(range: Value, asked: &HostPort) -> Option<(RangeInclusive<u16>, HostPort)> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
        return None;
    };
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) if !host.is_empty() => String::from_utf8(host.clone()).ok()?,
        // The one that was asked, which does not know its own name.
        _ => asked.host.clone(),
    };
    let number = |number: &i64| u16::try_from(*number).ok();
    Some((number(first)?..=number(last)?, HostPort { host, port: number(port)? }))
}

/// CRC-16/XMODEM of what stands in the braces, modulo the number of slots.
fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(key, |(tag, _)| tag);
    let crc = tag.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From the specification of Redis Cluster; the last by `CLUSTER KEYSLOT`.
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("a{123456789}b"), 0x31c3);
        assert_eq!(slot("tsm:{foo}:player"), 12_182);
    }
}
