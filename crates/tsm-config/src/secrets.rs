//! Values that are keys, hashes and passwords.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use tsm_crypto::identity::{IdentityKey, IdentityPublicKey};
use tsm_crypto::secret::Secret;
use zeroize::Zeroizing;

use super::Outside;
use super::document::Found;
use super::problem::{Place, ProblemCode, Problems};

/// The node's own key.
pub(super) fn private_key(player: &Found, problems: &mut Problems) -> Option<IdentityKey> {
    let (text, place) = player.text("PrivateKey")?;
    let der = base64(text, &place, problems)?;
    match IdentityKey::from_der(&der) {
        Ok(key) => Some(key),
        Err(_) => {
            let hint = if IdentityPublicKey::from_der(&der).is_ok() {
                "this is a public key; write the private key that belongs to it"
            } else {
                "write the base64 of a whole DER private key (SEC1 or PKCS#8) on P-256, P-384 or P-521, \
                 and nothing after it"
            };
            let what = "not a DER-encoded EC private key on P-256, P-384 or P-521";
            problems.error(ProblemCode::BadPrivateKey, &place, what, hint);
            None
        }
    }
}

/// Another player's key.
pub(super) fn public_key(player: &Found, problems: &mut Problems) -> Option<IdentityPublicKey> {
    let (text, place) = player.text("PublicKey")?;
    let der = base64(text, &place, problems)?;
    match IdentityPublicKey::from_der(&der) {
        Ok(key) => Some(key),
        Err(_) => {
            let hint = if IdentityKey::from_der(&der).is_ok() {
                "this is a PRIVATE key: its player must replace it, since it has left that player's hands"
            } else {
                "write the base64 of a whole DER SubjectPublicKeyInfo on P-256, P-384 or P-521, and nothing \
                 after it"
            };
            let what = "not a DER-encoded EC public key on P-256, P-384 or P-521";
            problems.error(ProblemCode::BadPublicKey, &place, what, hint);
            None
        }
    }
}

/// The hash of an API key.
pub(super) fn api_key(entry: &Found, problems: &mut Problems) -> Option<[u8; 32]> {
    let (text, place) = entry.text("APIKey")?;
    if text.starts_with('$') {
        problems.error(
            ProblemCode::NotBuilt,
            &place,
            "crypt strings are known from the documentation, but not built yet in this version",
            "write the base64 of the SHA-256 of a long random key",
        );
        return None;
    }
    let hash: Option<[u8; 32]> = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    let (what, hint) = match hash {
        Some(hash) if hash == <[u8; 32]>::from(Sha256::digest([])) => {
            ("this is the hash of an empty key", "choose a long random key and write the hash of that")
        }
        Some(hash) => return Some(hash),
        None => (
            "not the base64 of 32 bytes",
            "write the hash and not the key itself: printf %s \"$KEY\" | openssl dgst -sha256 -binary | base64",
        ),
    };
    problems.error(ProblemCode::BadApiKey, &place, what, hint);
    None
}

/// The password of the database's encryption, from the file or from one beside it.
pub(super) fn master_password(
    database: &Found,
    outside: &Outside<'_>,
    problems: &mut Problems,
) -> Option<Secret<String>> {
    const PASSWORD: &str = "EncryptorMasterPassword";
    const KEY_FILE: &str = "EncryptorKeyFile";
    // A value that was refused is there all the same: saying that it is missing would mislead.
    match (database.has(PASSWORD), database.has(KEY_FILE)) {
        (true, false) => database.text(PASSWORD).map(|(text, _)| Secret::new(text.to_owned())),
        (false, true) => {
            let (path, place) = database.text(KEY_FILE)?;
            key_file(Path::new(path), &place, outside, problems)
        }
        (true, true) => {
            problems.error(
                ProblemCode::Conflict,
                &database.place_of(KEY_FILE),
                format!("{PASSWORD} and {KEY_FILE} exclude each other"),
                "keep the one that the database was made with",
            );
            None
        }
        (false, false) => {
            problems.error(
                ProblemCode::Missing,
                &database.place_of(PASSWORD),
                format!("[Database] needs {PASSWORD} or {KEY_FILE}"),
                "write a long random password; without it the database cannot be read, so keep a copy of it",
            );
            None
        }
    }
}

fn key_file(
    path: &Path,
    place: &Place,
    outside: &Outside<'_>,
    problems: &mut Problems,
) -> Option<Secret<String>> {
    let mut refuse = |what: String, hint: &str| {
        problems.error(ProblemCode::BadKeyFile, place, what, hint);
        None
    };
    let content = match (outside.file)(path) {
        Ok(content) => content,
        // The kind alone: neither the path nor the system's sentence, which may hold it.
        Err(error) => {
            let hint = "check the path, and that the node's user may read the file";
            return refuse(format!("the key file cannot be read: {}", error.kind()), hint);
        }
    };
    let Ok(text) = std::str::from_utf8(&content) else {
        return refuse("the key file is not UTF-8 text".to_owned(), "write its content as base64 or hex");
    };
    let line = text.strip_suffix('\n').unwrap_or(text);
    let password = line.strip_suffix('\r').unwrap_or(line);
    if password.trim().is_empty() {
        return refuse("the key file is empty".to_owned(), "write a long random password into it");
    }
    Some(Secret::new(password.to_owned()))
}

fn base64(text: &str, place: &Place, problems: &mut Problems) -> Option<Zeroizing<Vec<u8>>> {
    match BASE64.decode(text) {
        Ok(bytes) => Some(Zeroizing::new(bytes)),
        Err(_) => {
            let hint = if text.contains("-----BEGIN") {
                "this is PEM: write only what stands between its BEGIN and END lines, without line breaks"
            } else {
                "write standard base64 with its padding, on one line, without blanks"
            };
            problems.error(ProblemCode::NotBase64, place, "not base64", hint);
            None
        }
    }
}
