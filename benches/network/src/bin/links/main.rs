//! What the way between nodes costs: the same signatures over each kind of pipe, in one run.
//!
//! `links [KIND ...]` with kinds from `tcp`, `tcp-counted`, `ws`, `amqp`, `amqp-confirms`, `redis`; all of them by default.
//! Three nodes in this process, whole but for HTTP, with databases in memory. RabbitMQ and Redis are started as
//! the tests do it, unless `AMQP_URL` and `REDIS_URL` name some, whose other users disturb the figures.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

mod counted;
mod network;
mod servers;

use std::error::Error;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use network::{Kind, Network};
use servers::Servers;

/// Signatures one after the other.
const ALONE: usize = 300;
/// Before anything is measured.
const WARM: usize = 30;
/// In flight at a time, and how many in all.
const LOADS: [(usize, usize); 4] = [(1, 200), (16, 400), (64, 600), (1000, 1000)];

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut kinds: Vec<Kind> = std::env::args().skip(1).map(|kind| kind.parse()).collect::<Result<_, _>>()?;
    if kinds.is_empty() {
        kinds = Kind::ALL.into();
    }
    println!("| pipe | p50 | p99 | messages | bytes | 1 in flight | 16 | 64 | 1,000 |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let servers = Servers::default();
    for kind in kinds {
        println!("{}", row(kind, &servers).await?);
    }
    Ok(())
}

/// One line of the table.
async fn row(kind: Kind, servers: &Servers) -> Outcome<String> {
    let network = Network::start(kind, servers).await?;
    for _ in 0..WARM {
        network.sign().await?;
    }
    let mut times = Vec::with_capacity(ALONE);
    let before = network.traffic();
    for _ in 0..ALONE {
        let begun = Instant::now();
        network.sign().await?;
        times.push(begun.elapsed());
    }
    let (messages, bytes) = network.traffic();
    let each = |now: u64, then: u64| (now - then) as f64 / ALONE as f64;
    let (messages, bytes) = (each(messages, before.0), each(bytes, before.1));
    times.sort_unstable();
    let at = |share: f64| milliseconds(times[(times.len() as f64 * share) as usize]);
    let mut line = format!("| {kind} | {:.2} ms | {:.2} ms ", at(0.5), at(0.99));
    line += &if messages > 0.0 { format!("| {messages:.1} ") } else { "| - ".to_owned() };
    line += &format!("| {bytes:.0} ");
    for (in_flight, count) in LOADS {
        line += &format!("| {:.0}/s ", throughput(&network, in_flight, count).await?);
    }
    network.stop().await;
    Ok(line + "|")
}

/// Signatures in a second with so many in flight.
async fn throughput(network: &Network, in_flight: usize, count: usize) -> Outcome<f64> {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..count {
        if running.len() == in_flight
            && let Some(ended) = running.join_next().await
        {
            ended??;
        }
        let network = network.clone();
        running.spawn(async move { network.sign().await });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
