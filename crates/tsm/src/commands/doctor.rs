//! `tsm doctor`: a configuration against the running world.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tsm_server::config;
use tsm_server::doctor::{self, Finding, Status};

use super::node::log_to_stderr;
use crate::error::CommandError;
use crate::output::OutputArgs;

/// Check a node's configuration against the running world
///
/// Ports, clock, database, message broker, and an echo with each configured player: its key, its clock, its
/// versions. Safe beside the running node: no link of it is touched and nothing is left behind. Every
/// finding says what to do. Exits with 2 if the file is refused, with 4 if a check fails; warnings do not
/// count.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The node's configuration file (docs/configuration.md)
    #[arg(long, value_name = "FILE", env = "CONFIG_FILE", default_value = "/config/config.toml")]
    config: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl Doctor {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        let config = config::load(&self.config)
            .map_err(|problems| CommandError::Configuration { file: self.config, problems })?;
        log_to_stderr("off");
        let player = config.player;
        let findings = doctor::examine(config).await;
        let failed = findings.iter().filter(|finding| finding.status == Status::Fail).count();
        let result = json!({ "player": player, "ok": failed == 0, "findings": findings });
        let text: Vec<String> = findings.iter().map(told).collect();
        self.output.print(&result, text.join("\n"))?;
        if failed == 0 { Ok(()) } else { Err(CommandError::Unwell { failed }) }
    }
}

fn told(finding: &Finding) -> String {
    let Finding { status, code, subject, found, advice } = finding;
    let advice = advice.as_ref().map(|advice| format!("\n      {advice}")).unwrap_or_default();
    format!(
        "{:<4}  {subject}: {found}{advice}{}",
        status.name(),
        match status {
            Status::Ok => String::new(),
            Status::Warn | Status::Fail => format!("\n      code: {code}"),
        }
    )
}
