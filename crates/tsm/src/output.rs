//! The one place that writes to standard output.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use crate::error::CommandError;

/// Who reads the result.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print the result as JSON to standard output, errors as JSON to standard error
    #[arg(long)]
    pub(crate) json: bool,
}

impl OutputArgs {
    /// Prints a result: its JSON form for scripts, `text` for people.
    pub(crate) fn print(self, result: &impl Serialize, text: impl AsRef<str>) -> Result<(), CommandError> {
        if !self.json {
            return line(text);
        }
        let json = serde_json::to_string(result)
            .map_err(|error| CommandError::Fault(format!("cannot write the result as JSON: {error}")))?;
        line(json)
    }
}

/// Writes text and a line break to standard output.
///
/// A reader that has gone away (`tsm explain | head -1`) is no error.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), CommandError> {
    match writeln!(io::stdout().lock(), "{}", text.as_ref()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::Fault(format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
