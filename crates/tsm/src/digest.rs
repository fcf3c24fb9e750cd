//! What is signed: a digest, or a file that is hashed to one.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use sha2::{Digest, Sha256, Sha384, Sha512};
use tsm_sdk::CurveId;

use crate::error::CommandError;

/// What is signed.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct DigestArgs {
    /// The digest in hex: 32 bytes on secp256k1 and P-256, 48 on P-384, 64 on P-521
    #[arg(long, value_name = "HEX", value_parser = hex_bytes)]
    digest: Option<HexBytes>,
    /// A file to hash: with SHA-256 on secp256k1 and P-256, SHA-384 on P-384, SHA-512 on P-521
    #[arg(long, value_name = "FILE")]
    message_file: Option<PathBuf>,
}

/// Bytes, in hex on the command line.
pub(crate) type HexBytes = Box<[u8]>;

/// Reads hex, with or without `0x`.
pub(crate) fn hex_bytes(text: &str) -> Result<HexBytes, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode(digits).map(Vec::into_boxed_slice).map_err(|error| format!("not hex: {error}"))
}

impl DigestArgs {
    /// The digest for a key on this curve. What was given as a digest is taken as it is.
    pub(crate) fn digest(&self, curve: CurveId) -> Result<Vec<u8>, CommandError> {
        match (&self.digest, &self.message_file) {
            (Some(digest), _) => Ok(digest.to_vec()),
            (None, Some(file)) => hash(file, curve).map_err(|error| {
                let what = format!("{}: {error}", file.display());
                CommandError::refused(what, "--message-file names the file to hash and sign.")
            }),
            (None, None) => Err(CommandError::refused("nothing to sign", "Give --digest or --message-file.")),
        }
    }
}

fn hash(path: &Path, curve: CurveId) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    match curve {
        CurveId::Secp256k1 | CurveId::P256 => hash_with::<Sha256>(file),
        CurveId::P384 => hash_with::<Sha384>(file),
        CurveId::P521 => hash_with::<Sha512>(file),
    }
}

fn hash_with<D: Digest>(mut file: File) -> io::Result<Vec<u8>> {
    let mut hash = D::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().to_vec()),
            length => hash.update(buffer.split_at(length).0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_as_its_curve_demands() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let arguments = DigestArgs { digest: None, message_file: Some(file.path().to_owned()) };
        for curve in CurveId::ALL {
            assert_eq!(arguments.digest(curve).unwrap().len(), curve.digest_bytes());
        }
        assert!(hex::encode(arguments.digest(CurveId::P256).unwrap()).starts_with("ba7816bf8f01cfea"));
    }

    #[test]
    fn hex_may_begin_with_0x() {
        assert_eq!(hex_bytes("0xff00").as_deref(), Ok([255, 0].as_slice()));
        assert!(hex_bytes("f").is_err());
        assert!(hex_bytes("zz").is_err());
    }
}
