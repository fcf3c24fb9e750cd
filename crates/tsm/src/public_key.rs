//! A key as people and scripts are shown it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use tsm_sdk::{GeneratedKey, PublicKey};
use tsm_types::DerivationPath;

use crate::error::CommandError;
use crate::nodes::NodeClient;

/// Everything public of a key.
#[derive(Debug, Serialize)]
pub(crate) struct KeyResult {
    key_id: String,
    /// Which key below it the public key is: `m` is the key itself.
    path: String,
    curve: &'static str,
    /// Security threshold t.
    threshold: usize,
    /// t + 1.
    signers_required: usize,
    /// The holders.
    players: Vec<u16>,
    public_key: PublicKeyForms,
    notices: Vec<String>,
}

/// The forms of a public key.
#[derive(Debug, Serialize)]
struct PublicKeyForms {
    /// DER SubjectPublicKeyInfo, base64.
    spki: String,
    /// SEC1, hex.
    compressed: String,
    /// SEC1, hex.
    uncompressed: String,
}

impl KeyResult {
    pub(crate) fn new(key: &GeneratedKey, path: &DerivationPath, notices: Vec<String>) -> Self {
        KeyResult {
            key_id: key.key_id.clone(),
            path: path.to_string(),
            curve: key.public_key.curve().name(),
            threshold: key.threshold,
            signers_required: key.signers_required,
            players: key.players.clone(),
            public_key: PublicKeyForms {
                spki: spki(&key.public_key),
                compressed: hex::encode(key.public_key.sec1_compressed()),
                uncompressed: hex::encode(key.public_key.sec1_uncompressed()),
            },
            notices,
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "key ID       {}\npath         {}\ncurve        {}\nholders      {}\npublic key   {}\ncompressed   {}\nuncompressed {}",
            self.key_id,
            self.path,
            self.curve,
            holders(self.players.as_slice(), self.signers_required, self.threshold),
            self.public_key.spki,
            self.public_key.compressed,
            self.public_key.uncompressed,
        );
        for notice in &self.notices {
            text.push_str("\nnotice       ");
            text.push_str(notice);
        }
        text
    }
}

/// Base64 of the DER SubjectPublicKeyInfo.
pub(crate) fn spki(key: &PublicKey) -> String {
    BASE64.encode(key.der())
}

/// "players 0, 1, 2; 2 of 3 must sign (security threshold 1)"
pub(crate) fn holders(players: &[u16], signers_required: usize, threshold: usize) -> String {
    let count = players.len();
    format!("{}; {signers_required} of {count} must sign (security threshold {threshold})", named(players))
}

/// "players 0, 1, 2"
pub(crate) fn named(players: &[u16]) -> String {
    let players: Vec<String> = players.iter().map(u16::to_string).collect();
    format!("players {}", players.join(", "))
}

/// The key that every node tells of, and each node's notices. Refuses nodes that tell of different ones.
pub(crate) fn agreed(
    replies: Vec<(NodeClient, GeneratedKey)>,
) -> Result<(GeneratedKey, Vec<String>), CommandError> {
    let mut replies = replies.into_iter();
    let (first, mut key) =
        replies.next().ok_or_else(|| CommandError::Fault("no node was called".to_owned()))?;
    let notice = |node: &NodeClient, notices: &[String]| -> Vec<String> {
        notices.iter().map(|notice| format!("{}: {notice}", node.url)).collect()
    };
    let mut notices = notice(&first, &key.notices);
    key.notices.clear();
    for (node, mut other) in replies {
        notices.extend(notice(&node, &other.notices));
        other.notices.clear();
        if other != key {
            let what = format!(
                "{} and {} tell of different keys: {} {:?} and {} {:?}",
                first.url, node.url, key.key_id, key.public_key, other.key_id, other.public_key
            );
            return Err(CommandError::NodesDiffer(what));
        }
    }
    Ok((key, notices))
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::pkcs8::EncodePublicKey;

    fn key(secret: u8) -> GeneratedKey {
        let secret = p256::SecretKey::from_slice(&[secret; 32]).unwrap();
        let der = secret.public_key().to_public_key_der().unwrap();
        GeneratedKey {
            key_id: "k".into(),
            public_key: PublicKey::from_der(der.as_bytes()).unwrap(),
            threshold: 1,
            signers_required: 2,
            players: vec![0, 1, 2],
            notices: vec!["mind".into()],
        }
    }

    fn node(url: &str) -> NodeClient {
        NodeClient::new(url.to_owned(), "key").unwrap()
    }

    #[test]
    fn a_key_for_scripts_has_a_fixed_shape() {
        let value = serde_json::to_value(KeyResult::new(&key(1), &"m/44".parse().unwrap(), vec!["n".into()]))
            .unwrap();
        assert_eq!((&value["key_id"], &value["path"]), (&"k".into(), &"m/44".into()));
        assert_eq!(value["curve"], "P-256");
        assert_eq!((&value["threshold"], &value["signers_required"]), (&1.into(), &2.into()));
        assert_eq!(value["players"], serde_json::json!([0, 1, 2]));
        assert_eq!(value["notices"], serde_json::json!(["n"]));
        assert_eq!(value["public_key"]["compressed"].as_str().map(str::len), Some(66));
        assert_eq!(value["public_key"]["uncompressed"].as_str().map(str::len), Some(130));
        assert!(value["public_key"]["spki"].as_str().unwrap().starts_with("MFkwEwYHKoZIzj0CAQYI"));
    }

    #[test]
    fn people_are_told_how_many_must_sign() {
        let text = KeyResult::new(&key(1), &DerivationPath::ROOT, Vec::new()).text();
        assert!(text.contains("players 0, 1, 2; 2 of 3 must sign (security threshold 1)"), "{text}");
    }

    #[test]
    fn nodes_that_tell_of_different_keys_are_not_believed() {
        let same = agreed(vec![(node("http://a"), key(1)), (node("http://b"), key(1))]).unwrap();
        assert_eq!(same.1, ["http://a: mind", "http://b: mind"]);
        let error = agreed(vec![(node("http://a"), key(1)), (node("http://b"), key(2))]).unwrap_err();
        assert!(matches!(&error, CommandError::NodesDiffer(what) if what.contains("http://b")), "{error}");
    }
}
