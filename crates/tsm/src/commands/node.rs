//! `tsm node`: one node, until it is told to stop.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use tsm_server::RunningNode;
use tsm_server::config::{self, NodeConfig};

use crate::error::CommandError;

/// Run a node until SIGTERM or Ctrl-C
///
/// Logs to standard error; RUST_LOG chooses what (default: info). At the first signal the node takes
/// no new sessions and lets those that run end, for `[Session] DrainTimeout` at most; the second ends
/// them at once, telling their callers and players; the third ends the process.
#[derive(Debug, Args)]
pub(crate) struct Node {
    /// The node's configuration file (docs/configuration.md)
    #[arg(long, value_name = "FILE", env = "CONFIG_FILE", default_value = "/config/config.toml")]
    config: PathBuf,
}

impl Node {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let config = config::load(&self.config)
            .map_err(|problems| CommandError::Configuration { file: self.config, problems })?;
        log_to_stderr("info");
        super::runtime()?.block_on(serve(config))
    }
}

async fn serve(config: NodeConfig) -> Result<(), CommandError> {
    let mut signals = StopSignals::new()?;
    let (player, key) = (config.player, config.identity.public().fingerprint());
    for warning in &config.warnings {
        warn!(code = %warning.code, key = warning.key, "{}; {}", warning.what, warning.hint);
    }
    let warnings = config.warnings.len();
    let node = tokio::select! {
        started = RunningNode::start(config) => started.map_err(|error| CommandError::Fault(error.to_string()))?,
        name = signals.next() => {
            info!(player, "{name} before the node had started");
            return Ok(());
        }
    };
    let ports: Vec<String> = node.mpc_addresses().iter().map(ToString::to_string).collect();
    let mpc = if ports.is_empty() { "none".to_owned() } else { ports.join(" ") };
    info!(player, public_key = %key, sdk = %node.sdk_address(), %mpc, warnings, "the node is running");
    let name = signals.next().await;
    let running = node.node().running_sessions();
    info!(
        player,
        running, "{name}: stopping; no new sessions are taken; a second signal ends those that run"
    );
    tokio::select! {
        () = node.drain() => {}
        name = signals.next() => info!(player, "{name} again: ending the sessions that run"),
    }
    tokio::select! {
        () = node.end() => {
            info!(player, "stopped");
            Ok(())
        }
        name = signals.next() => Err(CommandError::Fault(format!("{name} again: stopped without waiting"))),
    }
}

/// Sends the program's log to standard error. RUST_LOG goes before `default`.
pub(crate) fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // The AMQP client logs its own frames at the finest level, the one with the password among them; what
    // it says of errors the links say, too.
    let filter = match "lapin=off".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// What asks the process to stop: SIGTERM and SIGINT.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From now on the signals no longer end the process by themselves.
    pub(crate) fn new() -> Result<Self, CommandError> {
        let listen = |kind| {
            signal(kind).map_err(|error| CommandError::Fault(format!("cannot listen for signals: {error}")))
        };
        Ok(StopSignals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
