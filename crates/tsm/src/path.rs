//! Which key below a key.

use clap::Args;
use tsm_types::{DerivationPath, Failure};

/// Which key below a key.
#[derive(Debug, Args)]
pub(crate) struct PathArgs {
    /// Which key below it, such as m/44/0/1: BIP 32 on secp256k1, without hardened steps [default: the
    /// key itself]
    #[arg(long, value_name = "PATH", default_value = "m", hide_default_value = true, value_parser = path)]
    pub(crate) path: DerivationPath,
}

fn path(text: &str) -> Result<DerivationPath, String> {
    text.parse().map_err(|failure: Failure| {
        let detail = failure.detail.trim_start_matches("`derivation_path`: ");
        format!("{detail}\n{}", failure.hint())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1_s89_a_hardened_step_is_refused_and_told_what_to_do() {
        assert_eq!(path("m/44/0").unwrap().to_string(), "m/44/0");
        let told = path("m/44'/0").unwrap_err();
        for words in ["44'", "private key", "nobody has", "make a key for each"] {
            assert!(told.contains(words), "{told}");
        }
    }
}
