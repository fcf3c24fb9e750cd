//! The command line.

mod api_key;
mod bench;
mod config;
mod dev;
mod doctor;
mod ecdsa;
mod explain;
mod keys;
mod node;
mod player;
#[cfg(feature = "sim")]
mod sim;
mod version;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::error::{CommandError, EXIT_CODES};

/// OpenTSM, a Threshold Security Module: keys that no single machine ever holds
///
/// Start with `tsm dev`.
#[derive(Debug, Parser)]
#[command(name = "tsm", version, after_help = EXIT_CODES)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Dev),
    Node(node::Node),
    #[command(subcommand)]
    Ecdsa(ecdsa::Ecdsa),
    #[command(subcommand)]
    Keys(keys::Keys),
    Bench(bench::Bench),
    #[command(subcommand)]
    Config(config::Config),
    #[command(subcommand)]
    Player(player::Player),
    #[command(subcommand)]
    ApiKey(api_key::ApiKey),
    Doctor(doctor::Doctor),
    #[cfg(feature = "sim")]
    Sim(sim::Sim),
    Explain(explain::Explain),
    Version(version::Version),
}

impl CommandLine {
    /// Runs the command to its end.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        match self.command {
            Command::Dev(command) => command.run(),
            Command::Node(command) => command.run(),
            Command::Ecdsa(command) => runtime()?.block_on(command.run()),
            Command::Keys(command) => runtime()?.block_on(command.run()),
            Command::Bench(command) => runtime()?.block_on(command.run()),
            Command::Config(command) => command.run(),
            Command::Player(command) => command.run(),
            Command::ApiKey(command) => command.run(),
            Command::Doctor(command) => runtime()?.block_on(command.run()),
            #[cfg(feature = "sim")]
            Command::Sim(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::Version(command) => runtime()?.block_on(command.run()),
        }
    }

    /// Whether a script reads the errors.
    pub(crate) fn json(&self) -> bool {
        match &self.command {
            Command::Dev(_) | Command::Node(_) => false,
            Command::Ecdsa(command) => command.output().json,
            Command::Keys(command) => command.output().json,
            Command::Bench(command) => command.output.json,
            Command::Config(command) => command.output().json,
            Command::Player(command) => command.output().json,
            Command::ApiKey(command) => command.output().json,
            Command::Doctor(command) => command.output.json,
            #[cfg(feature = "sim")]
            Command::Sim(command) => command.output.json,
            Command::Explain(command) => command.output.json,
            Command::Version(command) => command.output.json,
        }
    }
}

fn runtime() -> Result<Runtime, CommandError> {
    Runtime::new().map_err(|error| CommandError::Fault(format!("cannot start threads: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself() {
        let mut commands = vec![CommandLine::command()];
        let mut seen = 0;
        while let Some(mut command) = commands.pop() {
            let help = command.render_long_help().to_string();
            assert!(command.get_about().is_some(), "{} has no help:\n{help}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            commands.extend(command.get_subcommands().cloned());
            seen += 1;
        }
        assert!(seen >= 18, "{seen}");
    }

    #[test]
    fn the_commands_of_the_documentation_are_understood() {
        for line in [
            "tsm node",
            "tsm node --config a.toml",
            "tsm dev --once --dir x",
            "tsm player new --curve P-384 --json",
            "tsm api-key new --application demoapp",
            "tsm config check a.toml",
            "tsm ecdsa generate-key --node http://a --node http://b --threshold 1 --curve P-256 --dynamic 0=AAAA",
            "tsm ecdsa sign --node http://a,http://b --players 0,2 --key-id k --digest 00 --timeout 5",
            "tsm ecdsa sign --node http://a --key-id k --message-file m --session s --api-key-file f",
            "tsm ecdsa public-key --node http://a --key-id k --json",
            "tsm ecdsa verify --public-key MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEO0KjPr60+PleoF3QCrrmTyO0pA+DvQRDCL/cwtwnoYyH5eZ1Ld3CypqGAmKBngFixnegO/1MGAJPZQCeDd2D+g== --digest 00 --signature 00",
            "tsm bench --node http://a,http://b --players 0,2 --dynamic 0=AAAA --clients 8 --duration 30 --json",
            "tsm bench --node http://a,http://b --operation public-key --key-id k",
            #[cfg(feature = "sim")]
            "tsm sim --seed 7 --schedules 100 --nodes 4 --faults loss,crash,power-loss --workload mixed --json",
            "tsm keys list --node http://a",
            "tsm keys delete --node http://a --key-id k",
            "tsm doctor --config a.toml --json",
            "tsm explain session.disagreement",
            "tsm version",
            "tsm version --node http://a --json",
        ] {
            CommandLine::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_is_missing_or_contradictory_is_refused() {
        for line in [
            "tsm",
            "tsm ecdsa sign --node http://a --key-id k",
            "tsm ecdsa sign --node http://a --key-id k --digest 00 --message-file m",
            "tsm ecdsa sign --node http://a --key-id k --digest 0",
            "tsm ecdsa generate-key --node http://a",
            "tsm ecdsa generate-key --node http://a --threshold 1 --curve secp256r1",
            "tsm ecdsa generate-key --node http://a --threshold 1 --timeout 0",
            "tsm ecdsa verify --digest 00 --signature 00",
            "tsm ecdsa verify --public-key AAAA --digest 00 --signature 00",
            "tsm bench --node http://a --clients 0",
            "tsm bench --node http://a --operation verify",
            "tsm player new --curve secp256k1",
            "tsm sim --nodes 1",
            "tsm sim --schedules 0",
            "tsm sim --faults fire",
            "tsm explain no.such.code",
        ] {
            assert!(CommandLine::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
