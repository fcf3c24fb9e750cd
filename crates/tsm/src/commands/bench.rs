//! `tsm bench`: a load on running nodes, and what it measured.

mod load;
mod report;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tsm_sdk::{CurveId, SessionId};

use super::ecdsa::{curve, generate_key, key_info};
use crate::error::{CommandError, EXIT_CODES};
use crate::nodes::{NodeArgs, NodeClient, Nodes, demand_a_node_each};
use crate::output::OutputArgs;
use crate::path::PathArgs;
use crate::progress::Progress;
use crate::session::PlayerArgs;
use load::{Load, Tally};
use report::Report;

/// Put a load on running nodes and measure throughput and latency
///
/// Each client repeats one operation for the time given, one after another: it calls the nodes of all
/// players, and a signature counts when its parts are joined and verified. What ends after the time is
/// not counted. One operation goes ahead unmeasured, so that links and the state between two nodes
/// stand. Without --key-id a key is made for the test among all nodes given, and stays.
///
/// `sign-with-presignature` makes as many as --presignatures says before the measurement, which ends
/// when they are used up if that is earlier. It deletes what is left, and `presign` what it makes: with
/// all other presignatures that the key has at these nodes.
///
/// This program and the nodes share the machine's processors if they share the machine.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Bench {
    /// What to repeat
    #[arg(long, value_enum, default_value_t = Operation::Sign)]
    operation: Operation,
    /// How many operations are under way at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: u16,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    duration: u64,
    /// Presignatures of a batch of `presign`
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=100))]
    batch: u16,
    /// Presignatures for `sign-with-presignature`; a node holds 5000 unless its configuration says otherwise
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    presignatures: u32,
    /// The key to sign with [default: one is made]
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// Security threshold of a key that is made: t + 1 must sign
    #[arg(long, value_name = "T", default_value_t = 1)]
    threshold: u16,
    /// Curve of a key that is made: secp256k1, P-256, P-384 or P-521
    #[arg(long, default_value = "secp256k1", value_parser = curve)]
    curve: CurveId,
    #[command(flatten)]
    path: PathArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    nodes: NodeArgs,
    #[command(flatten)]
    who: PlayerArgs,
}

/// What a client repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Operation {
    /// A signature by the players, each time of another digest
    Sign,
    /// A batch of presignatures by the players
    Presign,
    /// A signature of a presignature made beforehand: no message between nodes
    SignWithPresignature,
    /// A key, shared among the players
    GenerateKey,
    /// Ask every node for a public key: login, HTTP and database, without a session
    PublicKey,
}

impl Bench {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        let found = self.nodes.clients()?.of_players(&[]).await?;
        let players = match self.who.players.is_empty() {
            true => found.iter().map(|(player, _)| *player).collect(),
            false => self.who.players.clone(),
        };
        demand_a_node_each(&players, &found, "Add its --node, or leave it out of --players.")?;
        let load = Arc::new(self.load(found, players).await?);
        self.prepare(&load).await?;

        let tally = Arc::new(Tally::new());
        let watched = tally.clone();
        let progress = Progress::watch(move || watched.line());
        let took = load::run(&load, &tally, self.clients, Duration::from_secs(self.duration)).await;
        drop(progress);
        let tidied = load.tidy_up().await;
        let (latencies, mut failures) = tally.take();
        match Report::new(&load, self.clients, took, &latencies, &failures) {
            Some(report) => self.output.print(&report, report.text())?,
            // Nothing to report but why.
            None => return Err(failures.pop_last().map_or_else(none_ended, |(_, failed)| failed.last)),
        }
        tidied
    }

    /// Makes the presignatures that the clients will use, and does the operation once.
    async fn prepare(&self, load: &Load) -> Result<(), CommandError> {
        if self.operation == Operation::SignWithPresignature {
            let _progress = Progress::start(format!("making {} presignatures", self.presignatures));
            // One more, for the operation that goes ahead.
            load.stock_up(self.presignatures + 1).await?;
        }
        load.once().await.map(drop)
    }

    /// What to repeat, with a key to do it with.
    async fn load(&self, found: Vec<(u16, NodeClient)>, players: Vec<u16>) -> Result<Load, CommandError> {
        let everybody: Vec<u16> = found.iter().map(|(player, _)| *player).collect();
        let of = |chosen: &[u16]| {
            let chosen = found.iter().filter(|(player, _)| chosen.contains(player));
            Nodes(chosen.map(|(_, node)| node.clone()).collect())
        };
        let session = self.who.config(SessionId::generate(), &players)?;
        let key_id = match (&self.key_id, self.operation) {
            (Some(id), _) => Some(id.clone()),
            (None, Operation::GenerateKey) => None,
            (None, _) => {
                let session = self.who.config(SessionId::generate(), &everybody)?;
                let progress = Progress::start("making a key");
                let made = generate_key(&of(&everybody), &session, self.threshold, self.curve, None).await?;
                drop(progress);
                Some(made.0.key_id)
            }
        };
        let key = match key_id {
            Some(id) => Some(key_info(&of(&players), &id, &self.path.path).await?.0),
            None => None,
        };
        Ok(Load {
            operation: self.operation,
            nodes: of(&players),
            session,
            players,
            key,
            path: self.path.path.clone(),
            threshold: self.threshold,
            curve: self.curve,
            batch: self.batch,
            stock: Mutex::default(),
        })
    }
}

fn none_ended() -> CommandError {
    CommandError::refused("no operation ended in the time given", "Give a longer --duration.")
}
