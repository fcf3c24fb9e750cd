//! `tsm api-key`: how SDKs log in to a node.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use serde_json::json;
use sha2::{Digest, Sha256};
use tsm_crypto::Secret;
use tsm_types::ApplicationId;

use super::player::random;
use crate::error::CommandError;
use crate::output::OutputArgs;

/// Make API keys
#[derive(Debug, Subcommand)]
pub(crate) enum ApiKey {
    New(New),
}

/// Make an API key: the key for the caller, its hash for the node's configuration file
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The application that the key logs in to; keys belong to applications
    #[arg(long, value_name = "NAME", default_value = "demoapp", value_parser = application)]
    application: ApplicationId,
    #[command(flatten)]
    output: OutputArgs,
}

impl ApiKey {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        match self {
            ApiKey::New(command) => command.run(),
        }
    }

    pub(crate) fn output(&self) -> OutputArgs {
        match self {
            ApiKey::New(command) => command.output,
        }
    }
}

impl New {
    fn run(self) -> Result<(), CommandError> {
        let key = generate()?;
        let (key, hash, application) = (key.expose(), hash(key.expose()), self.application.as_str());
        let text = format!(
            "For the caller; it is shown only now:\n\n  {key}\n\n\
             For the node's configuration file:\n\n{}",
            section(&hash, application)
        );
        let result = json!({ "api_key": key, "sha256": hash, "application": application });
        self.output.print(&result, text)
    }
}

/// 32 random bytes, as 43 characters that need no escape in a URL.
pub(crate) fn generate() -> Result<Secret<String>, CommandError> {
    let mut bytes = Secret::new([0u8; 32]);
    random(bytes.expose_mut())?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes.expose())))
}

/// What the configuration has of a key.
pub(crate) fn hash(key: &str) -> String {
    BASE64.encode(Sha256::digest(key))
}

/// The section of the configuration file.
pub(crate) fn section(hash: &str, application: &str) -> String {
    // Visible ASCII is escaped in TOML as in Rust.
    format!("[[Authentication.APIKeys]]\n  APIKey = \"{hash}\"\n  ApplicationID = {application:?}")
}

fn application(text: &str) -> Result<ApplicationId, String> {
    ApplicationId::new(text).map_err(|failure| failure.detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_the_configuration_of_the_seed_has() {
        assert_eq!(hash("Node0LoginPassword"), "jbs3wZ2DAL44CQ9f4LvmEza/rS4k0xeCxB7tUXuiL5Y=");
    }

    #[test]
    fn a_key_is_long_fresh_and_fits_into_a_url() {
        let [one, other] = [generate().unwrap(), generate().unwrap()];
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 43);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
}
