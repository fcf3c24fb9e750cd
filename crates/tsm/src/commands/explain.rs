//! `tsm explain`: a page of the catalogue of errors.

use clap::Args;
use serde_json::json;
use tsm_sdk::ErrorCode;
use tsm_types::error_code::Actor;

use crate::error::CommandError;
use crate::output::OutputArgs;

/// Explain an error code, or list them all
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The code, such as session.disagreement
    #[arg(value_parser = code)]
    code: Option<ErrorCode>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl Explain {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        match self.code {
            Some(code) => self.output.print(&entry(code), code.page()),
            None => {
                let entries: Vec<_> = ErrorCode::ALL.iter().copied().map(entry).collect();
                let width = ErrorCode::ALL.iter().map(|code| code.as_str().len()).max().unwrap_or(0);
                let lines =
                    ErrorCode::ALL.iter().map(|code| format!("{:width$}  {}", code.as_str(), code.title()));
                self.output.print(&json!({ "codes": entries }), lines.collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

fn code(text: &str) -> Result<ErrorCode, String> {
    ErrorCode::from_code(text).ok_or_else(|| "there is no such code; `tsm explain` lists all".to_owned())
}

fn entry(code: ErrorCode) -> serde_json::Value {
    let actor = match code.actor() {
        Actor::Caller => "caller",
        Actor::Player => "player",
        Actor::Node => "node",
    };
    json!({
        "code": code.as_str(),
        "title": code.title(),
        "actor": actor,
        "http_status": code.http_status(),
        "hint": code.hint(),
        "causes": code.causes(),
        "retry": code.retry().sentence(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_for_programs_has_what_the_page_has() {
        for code in ErrorCode::ALL.iter().copied() {
            let entry = entry(code);
            assert_eq!(entry["http_status"], code.http_status());
            for part in ["title", "hint", "causes", "retry"] {
                assert!(code.page().contains(entry[part].as_str().unwrap()), "{code}: {part}");
            }
        }
    }
}
