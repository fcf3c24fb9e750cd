//! `tsm player`: a player's identity.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tsm_crypto::{IdentityKey, Secret};

use crate::error::CommandError;
use crate::output::OutputArgs;

/// Make a player's identity
#[derive(Debug, Subcommand)]
pub(crate) enum Player {
    New(New),
}

/// Make a player's key pair and print it as the configuration needs it
///
/// PrivateKey belongs into [Player] of the node's own file; PublicKey into [Players.N] of other
/// nodes' files, or with each session (`--dynamic`).
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The curve
    #[arg(long, value_enum, default_value_t = IdentityCurve::P256)]
    curve: IdentityCurve,
    #[command(flatten)]
    output: OutputArgs,
}

/// The curves of players' keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IdentityCurve {
    #[value(name = "P-256")]
    P256,
    #[value(name = "P-384")]
    P384,
    #[value(name = "P-521")]
    P521,
}

impl Player {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        match self {
            Player::New(command) => command.run(),
        }
    }

    pub(crate) fn output(&self) -> OutputArgs {
        match self {
            Player::New(command) => command.output,
        }
    }
}

impl New {
    fn run(self) -> Result<(), CommandError> {
        let key = generate(self.curve)?;
        let private_key = BASE64.encode(key.der().expose());
        let public_key = BASE64.encode(key.public().der());
        let fingerprint = key.public().fingerprint().to_string();
        let text = format!(
            "# Secret: [Player] of this node's own configuration file.\n\
             PrivateKey = \"{private_key}\"\n\
             # Public: [Players.N] of other nodes' files, or with each session. Fingerprint {fingerprint}.\n\
             PublicKey = \"{public_key}\""
        );
        let result =
            json!({ "private_key": private_key, "public_key": public_key, "fingerprint": fingerprint });
        self.output.print(&result, text)
    }
}

/// A fresh key on the curve.
pub(crate) fn generate(curve: IdentityCurve) -> Result<IdentityKey, CommandError> {
    /// Draws scalars until one is below the group order. `$top` keeps the excess bits of the first
    /// byte away, so that this is soon.
    macro_rules! fresh {
        ($module:ident, $bytes:literal, $top:literal) => {{
            let mut scalar = Secret::new([0u8; $bytes]);
            loop {
                random(scalar.expose_mut())?;
                if let Some(first) = scalar.expose_mut().first_mut() {
                    *first &= $top;
                }
                if let Ok(secret) = $module::SecretKey::from_slice(scalar.expose()) {
                    break secret.to_sec1_der().expect("a valid key always encodes");
                }
            }
        }};
    }
    let der = match curve {
        IdentityCurve::P256 => fresh!(p256, 32, 0xff),
        IdentityCurve::P384 => fresh!(p384, 48, 0xff),
        IdentityCurve::P521 => fresh!(p521, 66, 0x01),
    };
    Ok(IdentityKey::from_der(&der).expect("a fresh key is well formed"))
}

/// Fills `bytes` with randomness of the operating system.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), CommandError> {
    getrandom::fill(bytes)
        .map_err(|error| CommandError::Fault(format!("the operating system gives no random bytes: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_is_readable_and_fresh() {
        for curve in IdentityCurve::value_variants() {
            let [one, other] = [generate(*curve).unwrap(), generate(*curve).unwrap()];
            assert_ne!(one.public(), other.public());
            let again = IdentityKey::from_der(one.der().expose()).unwrap();
            assert_eq!(again.public(), one.public());
        }
    }
}
