//! The one binary of OpenTSM: a node, a development network, and a command line over the SDK.
//!
//! Thin: whatever a command does, a library can do. The help is the commands' doc comments.
//!
//! | module | what it is |
//! |---|---|
//! | `commands` | the command line, and a file for each command |
//! | `nodes`, `node_url` | the nodes that a command talks to, and their API keys |
//! | `session`, `digest`, `path`, `public_key` | arguments that several commands share |
//! | `error` | why a command failed, its exit code, how it is told |
//! | `output`, `progress` | the one place that writes to standard output; the line while one waits |

mod commands;
mod digest;
mod error;
mod node_url;
mod nodes;
mod output;
mod path;
mod progress;
mod public_key;
mod session;

use std::process::ExitCode;

use clap::Parser;

/// Gives memory back to the operating system when many phones have left; the C library's keeps it.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let line = commands::CommandLine::parse();
    let json = line.json();
    match line.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if json {
                eprintln!("{}", error.json());
            } else {
                eprintln!("{error}");
            }
            error.exit_code()
        }
    }
}
