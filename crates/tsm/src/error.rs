//! Why a command failed, its exit code, and how people and scripts are told.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use tsm_sdk::{ErrorCode, Failure};
use tsm_server::config::ConfigProblem;
use tsm_types::api::Problem;
use tsm_types::error_code::Actor;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// Trouble of this program or this machine.
    Fault(String),
    /// The command line is refused, and what would be right.
    Refused { what: String, hint: String },
    /// A configuration file is refused, with everything that is wrong in it.
    Configuration { file: PathBuf, problems: Vec<ConfigProblem> },
    /// The nodes tell different things of what they should know alike.
    NodesDiffer(String),
    /// The doctor found something that keeps the node from its work; it has told what.
    Unwell { failed: usize },
    /// Calls failed, at least one.
    Calls(Vec<CallFailure>),
}

/// A call that failed.
#[derive(Clone, Debug)]
pub(crate) struct CallFailure {
    /// The node's URL, without a key. `None` for what failed before or after the calls.
    pub(crate) node: Option<String>,
    pub(crate) failure: Failure,
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        CommandError::Calls(vec![CallFailure { node: None, failure }])
    }
}

const FAULT: u8 = 1;
const REFUSED: u8 = 2;
const PLAYER: u8 = 3;
const NODE: u8 = 4;

/// The codes, for the help.
pub(crate) const EXIT_CODES: &str = "Exit codes:
  0  done
  1  trouble of this program or machine
  2  the command line, the request or a configuration file is refused
  3  a player is missing, disagrees or misbehaved
  4  a node cannot be reached, or cannot do its work";

impl CommandError {
    /// Refuses the command line.
    pub(crate) fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        CommandError::Refused { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit_status())
    }

    fn exit_status(&self) -> u8 {
        match self {
            CommandError::Fault(_) => FAULT,
            CommandError::Refused { .. } | CommandError::Configuration { .. } => REFUSED,
            CommandError::NodesDiffer(_) => PLAYER,
            CommandError::Unwell { .. } => NODE,
            CommandError::Calls(_) => match self.code().map(ErrorCode::actor) {
                Some(Actor::Caller) => REFUSED,
                Some(Actor::Player) => PLAYER,
                Some(Actor::Node) => NODE,
                None => FAULT,
            },
        }
    }

    /// The code of failed calls. Of several the likely cause decides: when one node refuses or is
    /// away, the others only notice that a player is missing.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        let CommandError::Calls(calls) = self else { return None };
        calls.iter().map(|call| call.failure.code).min_by_key(|code| likelihood(*code))
    }

    /// The error as JSON: `{"errors": [...]}`, each with `code`, `detail` and `hint` where it has them.
    pub(crate) fn json(&self) -> Value {
        let errors = match self {
            CommandError::Fault(detail) => vec![json!({ "detail": detail })],
            CommandError::Refused { what, hint } => vec![json!({ "detail": what, "hint": hint })],
            CommandError::Configuration { problems, .. } => problems.iter().map(config_problem).collect(),
            CommandError::NodesDiffer(detail) => vec![json!({ "detail": detail })],
            CommandError::Unwell { failed } => vec![json!({ "detail": unwell(*failed) })],
            CommandError::Calls(calls) => calls.iter().map(CallFailure::json).collect(),
        };
        json!({ "exit_code": self.exit_status(), "errors": errors })
    }
}

/// A problem of a configuration file as JSON.
pub(crate) fn config_problem(problem: &ConfigProblem) -> Value {
    json!({
        "code": problem.code.as_str(),
        "line": problem.line,
        "key": problem.key,
        "detail": problem.what,
        "hint": problem.hint,
    })
}

fn unwell(failed: usize) -> String {
    let checks = if failed == 1 { "1 check".to_owned() } else { format!("{failed} checks") };
    format!("{checks} failed; each says what to do")
}

/// The smaller, the likelier it is the cause of the others.
fn likelihood(code: ErrorCode) -> u8 {
    match code.actor() {
        Actor::Caller => 0,
        Actor::Node => 1,
        Actor::Player => 2,
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Fault(what) => write!(f, "error: {what}"),
            CommandError::Refused { what, hint } => write!(f, "error: {what}\n  hint: {hint}"),
            CommandError::Configuration { file, problems } => {
                let count = match problems.len() {
                    1 => "1 problem".to_owned(),
                    many => format!("{many} problems"),
                };
                write!(f, "error: {} cannot be used: {count}", file.display())?;
                problems.iter().try_for_each(|problem| write!(f, "\n{problem}"))
            }
            CommandError::NodesDiffer(what) => write!(
                f,
                "error: {what}\n  hint: At least one of these nodes is faulty or hostile; do not use the result."
            ),
            CommandError::Unwell { failed } => write!(f, "error: {}", unwell(*failed)),
            CommandError::Calls(calls) => write_calls(f, calls),
        }
    }
}

/// Tells every failure once, the likely causes first; nodes that say the same speak together.
fn write_calls(f: &mut fmt::Formatter<'_>, calls: &[CallFailure]) -> fmt::Result {
    let mut groups: Vec<(Vec<&str>, Failure)> = Vec::new();
    for call in calls {
        let failure = call.without_url();
        let node = call.node.as_deref();
        match groups.iter_mut().find(|(_, earlier)| *earlier == failure) {
            Some((nodes, _)) => nodes.extend(node),
            None => groups.push((node.into_iter().collect(), failure)),
        }
    }
    groups.sort_by_key(|(_, failure)| likelihood(failure.code));
    let mut hinted = Vec::new();
    for (place, (nodes, failure)) in groups.iter().enumerate() {
        if place > 0 {
            f.write_str("\n")?;
        }
        let nodes = if nodes.is_empty() { String::new() } else { format!("{}: ", nodes.join(", ")) };
        write!(f, "error: {nodes}{}", failure.detail)?;
        for concern in &failure.players {
            if !failure.detail.contains(&concern.note) {
                write!(f, "\n  player {}: {}", concern.player, concern.note)?;
            }
        }
        for difference in failure.differences.iter().map(ToString::to_string) {
            if !failure.detail.contains(&difference) {
                write!(f, "\n  {difference}")?;
            }
        }
        if !hinted.contains(&failure.code) {
            write!(f, "\n  hint: {}", failure.hint())?;
            hinted.push(failure.code);
        }
        write!(f, "\n  code: {}", failure.code)?;
    }
    Ok(())
}

impl CallFailure {
    /// The SDK begins a detail with the node's URL, which we tell ourselves.
    fn without_url(&self) -> Failure {
        let detail = self.node.as_ref().and_then(|url| {
            self.failure.detail.strip_prefix(url.as_str()).and_then(|rest| rest.strip_prefix(": "))
        });
        let mut failure = self.failure.clone();
        if let Some(detail) = detail {
            failure.detail = detail.to_owned();
        }
        failure
    }

    /// The problem document of the API, with the node.
    fn json(&self) -> Value {
        let mut problem = json!(Problem::from(&self.without_url()));
        if let Some(members) = problem.as_object_mut() {
            members.insert("node".to_owned(), json!(self.node));
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsm_sdk::PlayerIndex;

    fn call(node: &str, code: ErrorCode, detail: &str) -> CallFailure {
        let failure = Failure::new(code, format!("{node}: {detail}"));
        CallFailure { node: Some(node.to_owned()), failure }
    }

    #[test]
    fn the_likely_cause_decides_the_exit_code() {
        let missing = call("http://a", ErrorCode::SessionPlayersMissing, "player 1 did not come");
        let away = call("http://b", ErrorCode::NodeUnreachable, "no connection");
        let refused = call("http://c", ErrorCode::AuthenticationFailed, "not accepted");
        let status = |calls: &[&CallFailure]| {
            CommandError::Calls(calls.iter().map(|call| (*call).clone()).collect()).exit_status()
        };
        assert_eq!(status(&[&missing]), 3);
        assert_eq!(status(&[&missing, &away]), 4);
        assert_eq!(status(&[&missing, &away, &refused]), 2);
        assert_eq!(CommandError::Fault(String::new()).exit_status(), 1);
        assert_eq!(CommandError::refused("", "").exit_status(), 2);
        assert_eq!(CommandError::NodesDiffer(String::new()).exit_status(), 3);
    }

    #[test]
    fn nodes_that_say_the_same_speak_together_and_a_hint_is_given_once() {
        let code = ErrorCode::SessionPlayersMissing;
        let mut calls = vec![
            call("http://a", code, "player 1 did not come"),
            call("http://b", code, "player 1 did not come"),
            call("http://c", code, "players 0 and 1 did not come"),
        ];
        for call in &mut calls {
            call.failure.players.push(tsm_sdk::PlayerConcern {
                player: PlayerIndex(1),
                note: "no message of round 1".into(),
            });
        }
        let text = CommandError::Calls(calls).to_string();
        assert!(text.starts_with(
            "error: http://a, http://b: player 1 did not come\n  player 1: no message of round 1\n  hint: "
        ));
        assert_eq!(text.matches("hint:").count(), 1, "{text}");
        assert_eq!(text.matches("error:").count(), 2, "{text}");
        assert_eq!(text.matches("http://c").count(), 1, "{text}");
    }

    #[test]
    fn an_error_for_scripts_names_node_code_and_hint() {
        let error = CommandError::Calls(vec![call("http://a", ErrorCode::NodeUnreachable, "no connection")]);
        let value = error.json();
        assert_eq!(value["exit_code"], 4);
        let first = &value["errors"][0];
        assert_eq!(first["node"], "http://a");
        assert_eq!(first["code"], "node.unreachable");
        assert_eq!(first["detail"], "no connection");
        assert_eq!(first["hint"], ErrorCode::NodeUnreachable.hint());
    }
}
