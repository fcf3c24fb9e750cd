//! `tsm player`: a player's identity.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tsm_crypto::identity::Fingerprint;
use tsm_crypto::{IdentityKey, IdentityPublicKey, Secret};
use tsm_transport::broker::amqp::Rights;
use zeroize::Zeroizing;

use crate::error::CommandError;
use crate::output::OutputArgs;

/// Make a player's identity, and show what follows from it
#[derive(Debug, Subcommand)]
pub(crate) enum Player {
    New(New),
    Id(Id),
}

/// Show a player's fingerprint, and its names and least rights at a message broker
///
/// With the rights a player can put messages into the inboxes of all others, and read its own only
/// (docs/brokers.md).
#[derive(Debug, Args)]
pub(crate) struct Id {
    /// The player's public key: base64 of the DER form, as [Players.N] has it
    #[arg(required_unless_present = "private_key_file", conflicts_with = "private_key_file")]
    public_key: Option<String>,
    /// A file with the player's private key: base64 of the DER form, as [Player] has it, or the DER form
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<PathBuf>,
    /// For nodes with SkipSetup, whose queue and exchange the operator makes
    #[arg(long)]
    skip_setup: bool,
    #[command(flatten)]
    output: OutputArgs,
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
            Player::Id(command) => command.run(),
        }
    }

    pub(crate) fn output(&self) -> OutputArgs {
        match self {
            Player::New(command) => command.output,
            Player::Id(command) => command.output,
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

impl Id {
    fn run(self) -> Result<(), CommandError> {
        let fingerprint = self.fingerprint()?;
        let rights =
            if self.skip_setup { Rights::without_setup(&fingerprint) } else { Rights::of(&fingerprint) };
        let full: String = fingerprint.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let Rights { queue, node_queues, exchange, configure, write, read } = &rights;
        let nodes = node_queues.as_ref().map_or_else(
            || "none: the player's queue is its node's, too".to_owned(),
            |begin| format!("{begin}* (one for each running node)"),
        );
        let shown = if exchange.is_empty() { "the default exchange" } else { exchange };
        let text = format!(
            "fingerprint  {full}\n\
             queue        {queue}\n\
             node queues  {nodes}\n\
             exchange     {shown}\n\
             rights       rabbitmqctl set_permissions -p VHOST USER \\\n    \
             '{configure}' \\\n    '{write}' \\\n    '{read}'"
        );
        let result = json!({
            "fingerprint": full, "queue": queue, "node_queue_prefix": node_queues, "exchange": exchange,
            "permissions": { "configure": configure, "write": write, "read": read },
        });
        self.output.print(&result, text)
    }

    fn fingerprint(&self) -> Result<Fingerprint, CommandError> {
        let hint = "give base64 of the DER form of a key on P-256, P-384 or P-521, without line breaks";
        let Some(file) = &self.private_key_file else {
            let text = self.public_key.as_deref().unwrap_or_default();
            let key = BASE64.decode(text.trim()).ok().and_then(|der| IdentityPublicKey::from_der(&der).ok());
            let key = key.ok_or_else(|| CommandError::refused("this is no public key of a player", hint))?;
            return Ok(key.fingerprint());
        };
        let bytes = std::fs::read(file).map(Zeroizing::new);
        let bytes = bytes.map_err(|error| {
            CommandError::refused(format!("{}: {error}", file.display()), "check the path of the key file")
        })?;
        let text = std::str::from_utf8(&bytes).ok();
        let der = text.and_then(|text| BASE64.decode(text.trim()).ok()).map(Zeroizing::new);
        let key = IdentityKey::from_der(der.as_ref().unwrap_or(&bytes));
        let what = format!("{}: this is no private key of a player", file.display());
        Ok(key.map_err(|_| CommandError::refused(what, hint))?.public().fingerprint())
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

    #[test]
    fn a_players_names_follow_from_either_of_its_keys() {
        let key = generate(IdentityCurve::P384).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let output = OutputArgs { json: true };
        let of = |public_key: Option<String>, private_key_file: Option<PathBuf>| {
            Id { public_key, private_key_file, skip_setup: false, output }.fingerprint()
        };
        let expected = key.public().fingerprint();
        assert_eq!(of(Some(BASE64.encode(key.public().der())), None).unwrap(), expected);
        for content in [key.der().expose().to_vec(), BASE64.encode(key.der().expose()).into_bytes()] {
            std::fs::write(file.path(), content).unwrap();
            assert_eq!(of(None, Some(file.path().to_owned())).unwrap(), expected);
        }
        std::fs::write(file.path(), "hunter2").unwrap();
        let refused = of(None, Some(file.path().to_owned())).unwrap_err();
        assert!(matches!(&refused, CommandError::Refused { what, .. } if !what.contains("hunter2")));
        assert!(matches!(of(Some("????".into()), None), Err(CommandError::Refused { .. })));
    }
}
