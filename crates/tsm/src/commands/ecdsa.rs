//! `tsm ecdsa`: keys and signatures, over the SDK.

mod chain_code;
mod generate_key;
mod presign;
mod public_key;
mod sign;
mod verify;

use clap::Subcommand;
use tsm_sdk::CurveId;

use crate::error::CommandError;
use crate::output::OutputArgs;

pub(crate) use generate_key::generate_key;
pub(crate) use presign::presign;
pub(crate) use sign::{key_info, sign, sign_with_presignature};

/// Make ECDSA keys, presignatures and signatures
#[derive(Debug, Subcommand)]
pub(crate) enum Ecdsa {
    GenerateKey(generate_key::GenerateKey),
    Presign(presign::Presign),
    Sign(sign::Sign),
    PublicKey(public_key::ShowPublicKey),
    ChainCode(chain_code::ShowChainCode),
    Verify(verify::Verify),
}

impl Ecdsa {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        match self {
            Ecdsa::GenerateKey(command) => command.run().await,
            Ecdsa::Presign(command) => command.run().await,
            Ecdsa::Sign(command) => command.run().await,
            Ecdsa::PublicKey(command) => command.run().await,
            Ecdsa::ChainCode(command) => command.run().await,
            Ecdsa::Verify(command) => command.run().await,
        }
    }

    pub(crate) fn output(&self) -> OutputArgs {
        match self {
            Ecdsa::GenerateKey(command) => command.output,
            Ecdsa::Presign(command) => command.output,
            Ecdsa::Sign(command) => command.output,
            Ecdsa::PublicKey(command) => command.output,
            Ecdsa::ChainCode(command) => command.output,
            Ecdsa::Verify(command) => command.output,
        }
    }
}

pub(crate) fn curve(name: &str) -> Result<CurveId, String> {
    CurveId::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = CurveId::ALL.iter().map(|curve| curve.name()).collect();
        format!("the curves are {}", names.join(", "))
    })
}
