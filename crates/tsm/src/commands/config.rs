//! `tsm config`: a node's configuration file.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use tsm_server::config::{self, NodeConfig};

use crate::error::{CommandError, config_problem};
use crate::output::OutputArgs;

/// Check configuration files
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    Check(Check),
}

/// Tell everything that is wrong with a configuration file, at once
///
/// Starts nothing and opens no database. Exits with 2 if a node would refuse the file.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

impl Config {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        match self {
            Config::Check(command) => command.run(),
        }
    }

    pub(crate) fn output(&self) -> OutputArgs {
        match self {
            Config::Check(command) => command.output,
        }
    }
}

impl Check {
    fn run(self) -> Result<(), CommandError> {
        match config::load(&self.file) {
            Ok(config) => {
                let warnings: Vec<_> = config.warnings.iter().map(config_problem).collect();
                let result = json!({ "player": config.player, "warnings": warnings });
                self.output.print(&result, summary(&self.file.display().to_string(), &config))
            }
            Err(problems) => Err(CommandError::Configuration { file: self.file, problems }),
        }
    }
}

fn summary(file: &str, config: &NodeConfig) -> String {
    let mut text = format!("{file}: good, for player {}", config.player);
    for warning in &config.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_a_node_would_refuse_is_refused_with_every_problem() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[Player]\nIndex = -1\n[SDKServer]\nPorrt = 1\n").unwrap();
        let check = Check { file: file.path().to_owned(), output: OutputArgs { json: false } };
        let error = check.run().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("Player.Index") && text.contains("did you mean"), "{text}");
        assert!(error.json()["errors"].as_array().unwrap().len() >= 3, "{text}");
    }
}
