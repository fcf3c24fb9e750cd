//! `tsm ecdsa verify`

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use serde_json::json;
use tsm_sdk::{PublicKey, ecdsa};

use crate::digest::{DigestArgs, HexBytes, hex_bytes};
use crate::error::CommandError;
use crate::output::OutputArgs;

/// Verify a signature; needs no node
///
/// Exits with 2 if the signature is not valid.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The public key: base64 of its DER SubjectPublicKeyInfo
    #[arg(long, value_name = "BASE64", value_parser = public_key)]
    public_key: PublicKey,
    #[command(flatten)]
    digest: DigestArgs,
    /// The signature in hex: DER, or r and s one after the other
    #[arg(long, value_name = "HEX", value_parser = hex_bytes)]
    signature: HexBytes,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl Verify {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        let curve = self.public_key.curve();
        let digest = self.digest.digest(curve)?;
        ecdsa::verify(self.public_key.der(), &digest, &self.signature)?;
        self.output.print(&json!({ "valid": true, "curve": curve.name() }), format!("valid, on {curve}"))
    }
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    let der = BASE64.decode(text).map_err(|error| format!("not base64: {error}"))?;
    PublicKey::from_der(&der).map_err(|failure| failure.detail)
}
