//! What a caller asks of a node, and what it gets: valid values only.
//!
//! The bodies of the HTTP API become requests here and results become replies, in this one place.
//! Each rule that a body breaks has its own refusal, which names the field.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_crypto::CurveId;

use crate::address::{AddressError, Reach};
use crate::api::{ChainCodeReply, GenerateKeyBody, KeyReply, SessionBody, SignBody, SignReply};
use crate::duration;
use crate::error_code::ErrorCode;
use crate::failure::Failure;
use crate::ids::{KeyId, SessionId};
use crate::path::DerivationPath;
use crate::players::{MAX_PLAYERS, PlayerIndex, PlayerKey};
use crate::threshold::Threshold;

/// What the caller says of a session. Not yet a [`Session`](crate::Session): the node resolves
/// every player's public key first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// The caller's name for the run.
    pub id: SessionId,
    /// Who takes part: 2 to [`MAX_PLAYERS`] players.
    pub players: BTreeSet<PlayerIndex>,
    /// Public keys that the caller gives, each of one of `players`.
    pub dynamic_public_keys: BTreeMap<PlayerIndex, PlayerKey>,
    /// How players are reached, each of one of `players`. Not agreed: each node reaches others its way.
    pub dynamic_addresses: BTreeMap<PlayerIndex, Reach>,
    /// How long to wait for all players; shortens the node's own limit. Not zero.
    pub connect_timeout: Option<Duration>,
    /// How long the whole session may take; shortens the node's own limit. Not zero.
    pub session_timeout: Option<Duration>,
}

/// Make a key, shared among the session's players.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerateKey {
    /// The session.
    pub session: SessionRequest,
    /// Curve of the key.
    pub curve: CurveId,
    /// Security threshold t. [`Threshold::new`] takes it with this session's players.
    pub threshold: u64,
    /// The key's ID; without it the players draw one.
    pub key_id: Option<KeyId>,
}

/// Sign a digest with ECDSA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignEcdsa {
    /// The session. Its players are the signers.
    pub session: SessionRequest,
    /// The key.
    pub key_id: KeyId,
    /// Which key below it; empty is the key itself.
    pub path: DerivationPath,
    /// The digest: 32, 48 or 64 bytes. Which of them, the key's curve decides.
    pub digest: Vec<u8>,
}

/// What is public of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The key's ID, the same at all holders.
    pub key_id: KeyId,
    /// Its curve.
    pub curve: CurveId,
    /// Its security threshold.
    pub threshold: Threshold,
    /// DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// Who holds a share of it, ascending.
    pub holders: Vec<PlayerIndex>,
    /// What the caller should know although nothing failed.
    pub notices: Vec<String>,
}

/// One signer's result of [`SignEcdsa`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The [`PartialSignature`](tsm_crypto::ecdsa::PartialSignature), encoded.
    pub partial_signature: Vec<u8>,
    /// What the caller should know although nothing failed.
    pub notices: Vec<String>,
}

/// The chain code of a key. With the public key it shows all keys below, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ChainCode(pub [u8; 32]);

impl fmt::Debug for ChainCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<chain code>")
    }
}

impl TryFrom<SessionBody> for SessionRequest {
    type Error = Failure;

    fn try_from(body: SessionBody) -> Result<Self, Failure> {
        let players = players(&body.players)?;
        Ok(SessionRequest {
            id: SessionId::new(body.session_id)?,
            dynamic_public_keys: by_player(
                "dynamic_public_keys",
                &body.dynamic_public_keys,
                &players,
                |text| {
                    let der =
                        BASE64.decode(text).map_err(|_| "not standard base64 with padding".to_owned())?;
                    PlayerKey::from_der(&der).map_err(|error| error.to_string())
                },
            )?,
            dynamic_addresses: by_player("dynamic_addresses", &body.dynamic_addresses, &players, |text| {
                text.parse().map_err(|error: AddressError| error.to_string())
            })?,
            players,
            connect_timeout: timeout("connect_timeout", body.connect_timeout.as_deref())?,
            session_timeout: timeout("session_timeout", body.session_timeout.as_deref())?,
        })
    }
}

impl TryFrom<GenerateKeyBody> for GenerateKey {
    type Error = Failure;

    fn try_from(body: GenerateKeyBody) -> Result<Self, Failure> {
        let session = SessionRequest::try_from(body.session)?;
        Threshold::new(body.threshold, session.players.len())?;
        let curve = CurveId::from_name(&body.curve).ok_or_else(|| {
            Failure::new(ErrorCode::CurveUnsupported, format!("`curve`: {}", excerpt(&body.curve)))
        })?;
        let key_id = body.key_id.filter(|id| !id.is_empty()).map(KeyId::new).transpose()?;
        Ok(GenerateKey { session, curve, threshold: body.threshold, key_id })
    }
}

impl TryFrom<SignBody> for SignEcdsa {
    type Error = Failure;

    fn try_from(body: SignBody) -> Result<Self, Failure> {
        Ok(SignEcdsa {
            session: SessionRequest::try_from(body.session)?,
            key_id: KeyId::new(body.key_id)?,
            path: DerivationPath::new(body.derivation_path)?,
            digest: digest(&body.digest)?,
        })
    }
}

impl From<KeyInfo> for KeyReply {
    fn from(key: KeyInfo) -> Self {
        KeyReply {
            key_id: key.key_id.to_string(),
            public_key: BASE64.encode(&key.public_key),
            curve: key.curve.name().to_owned(),
            threshold: key.threshold.value() as u64,
            signers_required: key.threshold.signers_required() as u64,
            players: key.holders.iter().map(|holder| holder.0).collect(),
            notices: key.notices,
        }
    }
}

impl TryFrom<KeyReply> for KeyInfo {
    type Error = Failure;

    /// Reads a node's reply. Refuses one that no node sends with [`ErrorCode::NodeReply`].
    fn try_from(reply: KeyReply) -> Result<Self, Failure> {
        let bad = |field: &str| {
            Failure::new(
                ErrorCode::NodeReply,
                format!("`{field}` of the reply is not what the API description says"),
            )
        };
        let holders: BTreeSet<PlayerIndex> = reply.players.iter().copied().map(PlayerIndex).collect();
        Ok(KeyInfo {
            key_id: KeyId::new(reply.key_id).map_err(|_| bad("key_id"))?,
            curve: CurveId::from_name(&reply.curve).ok_or_else(|| bad("curve"))?,
            threshold: Threshold::new(reply.threshold, holders.len()).map_err(|_| bad("threshold"))?,
            public_key: BASE64.decode(&reply.public_key).map_err(|_| bad("public_key"))?,
            holders: holders.into_iter().collect(),
            notices: reply.notices,
        })
    }
}

impl From<Signed> for SignReply {
    fn from(signed: Signed) -> Self {
        SignReply { partial_signature: BASE64.encode(&signed.partial_signature), notices: signed.notices }
    }
}

impl TryFrom<SignReply> for Signed {
    type Error = Failure;

    /// Reads a node's reply. Refuses one that no node sends with [`ErrorCode::NodeReply`].
    fn try_from(reply: SignReply) -> Result<Self, Failure> {
        let partial_signature = BASE64.decode(&reply.partial_signature).map_err(|_| {
            Failure::new(ErrorCode::NodeReply, "`partial_signature` of the reply is not base64")
        })?;
        Ok(Signed { partial_signature, notices: reply.notices })
    }
}

impl From<ChainCode> for ChainCodeReply {
    fn from(chain_code: ChainCode) -> Self {
        ChainCodeReply { chain_code: BASE64.encode(chain_code.0) }
    }
}

impl TryFrom<ChainCodeReply> for ChainCode {
    type Error = Failure;

    /// Reads a node's reply. Refuses one that no node sends with [`ErrorCode::NodeReply`].
    fn try_from(reply: ChainCodeReply) -> Result<Self, Failure> {
        let bytes = BASE64.decode(&reply.chain_code).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(ChainCode).ok_or_else(|| {
            Failure::new(ErrorCode::NodeReply, "`chain_code` of the reply is not base64 of 32 bytes")
        })
    }
}

pub(crate) fn players(indices: &[u16]) -> Result<BTreeSet<PlayerIndex>, Failure> {
    let mut players = BTreeSet::new();
    for index in indices.iter().copied().map(PlayerIndex) {
        if !players.insert(index) {
            let detail = format!("`players`: player {index} is named twice");
            return Err(Failure::new(ErrorCode::PlayersInvalid, detail).about(index, "named twice"));
        }
    }
    if players.len() < 2 || players.len() > MAX_PLAYERS {
        return Err(Failure::player_count(players.len()));
    }
    Ok(players)
}

/// Reads values that are given by player index, each of a player of the session.
fn by_player<T>(
    field: &str,
    values: &BTreeMap<String, String>,
    players: &BTreeSet<PlayerIndex>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<BTreeMap<PlayerIndex, T>, Failure> {
    values
        .iter()
        .map(|(index, value)| {
            // One index, one spelling: `01` beside `1` would be two values for one player.
            let player = index.parse().ok().map(PlayerIndex).filter(|player| player.to_string() == *index);
            let player = player.ok_or_else(|| {
                let rule = format!("{} is not a player index from 0 to 65535", excerpt(index));
                Failure::invalid_field(field, &rule)
            })?;
            let refuse = |rule: &str| {
                let failure = Failure::invalid_field(&format!("{field}.{player}"), rule);
                failure.about(player, format!("refused in `{field}`"))
            };
            if !players.contains(&player) {
                return Err(refuse("this player is not in `players`"));
            }
            Ok((player, read(value).map_err(|rule| refuse(&rule))?))
        })
        .collect()
}

fn timeout(field: &str, text: Option<&str>) -> Result<Option<Duration>, Failure> {
    let Some(text) = text else { return Ok(None) };
    match duration::parse(text) {
        Some(duration) if !duration.is_zero() => Ok(Some(duration)),
        Some(_) | None => Err(Failure::invalid_field(
            field,
            &format!("write a duration longer than zero, such as `1m30s` or `500ms`, not {}", excerpt(text)),
        )),
    }
}

pub(crate) fn digest(text: &str) -> Result<Vec<u8>, Failure> {
    let digest = BASE64
        .decode(text)
        .map_err(|_| Failure::invalid_field("digest", "not standard base64 with padding"))?;
    if !CurveId::ALL.iter().any(|curve| curve.digest_bytes() == digest.len()) {
        let detail = format!("`digest`: has {} bytes, which no curve signs", digest.len());
        return Err(Failure::new(ErrorCode::DigestInvalid, detail));
    }
    Ok(digest)
}

/// What a caller wrote, quoted and short enough for a sentence.
fn excerpt(text: &str) -> String {
    const MAX_CHARACTERS: usize = 40;
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::players::tests::key;

    fn body() -> SessionBody {
        SessionBody {
            session_id: "run1".into(),
            players: vec![2, 0, 1],
            dynamic_public_keys: [("2".to_owned(), BASE64.encode(key(2).der()))].into(),
            dynamic_addresses: [("2".to_owned(), "tcp://phone:9000".to_owned())].into(),
            connect_timeout: Some("1m30s".into()),
            session_timeout: None,
        }
    }

    #[test]
    fn a_valid_session_keeps_everything() {
        let request = SessionRequest::try_from(body()).unwrap();
        assert_eq!(request.players.iter().map(|player| player.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(request.dynamic_public_keys, [(PlayerIndex(2), key(2))].into());
        assert_eq!(
            request.dynamic_addresses,
            [(PlayerIndex(2), Reach::Dial(Address::new("phone", 9000)))].into()
        );
        assert_eq!(request.connect_timeout, Some(Duration::from_secs(90)));
        assert_eq!(request.session_timeout, None);
    }

    /// Changes a valid session, expects a refusal with `code` whose detail contains `words`.
    #[track_caller]
    fn refused(edit: impl FnOnce(&mut SessionBody), code: ErrorCode, words: &str) {
        let mut body = body();
        edit(&mut body);
        let failure = SessionRequest::try_from(body).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.detail.contains(words), "{failure}");
    }

    #[test]
    fn every_broken_rule_has_its_own_refusal() {
        use ErrorCode::{PlayersInvalid, RequestInvalidField};
        refused(|body| body.session_id.clear(), RequestInvalidField, "`session_id`");
        refused(|body| body.players = vec![1], PlayersInvalid, "names 1");
        refused(|body| body.players = (0..33).collect(), PlayersInvalid, "names 33");
        refused(|body| body.players.push(1), PlayersInvalid, "player 1 is named twice");
        refused(
            |body| body.players.retain(|player| *player != 2),
            RequestInvalidField,
            "`dynamic_public_keys.2`",
        );
        for index in ["02", "+2", "-1", "65536", "x", ""] {
            let entry = (index.to_owned(), BASE64.encode(key(2).der()));
            refused(|body| body.dynamic_public_keys.extend([entry]), RequestInvalidField, "player index");
        }
        let mut trailing = key(2).der().to_vec();
        trailing.push(0);
        let long = BASE64.encode(trailing);
        for (value, words) in [("?", "base64"), ("", "DER"), ("AAAA", "DER"), (long.as_str(), "DER")] {
            let entry = ("2".to_owned(), value.to_owned());
            refused(|body| body.dynamic_public_keys.extend([entry]), RequestInvalidField, words);
        }
        refused(|body| body.connect_timeout = Some("0s".into()), RequestInvalidField, "`connect_timeout`");
        refused(|body| body.session_timeout = Some("10".into()), RequestInvalidField, "`session_timeout`");
        // What was written is told, as far as it fits into a sentence.
        refused(|body| body.session_timeout = Some("10".into()), RequestInvalidField, "not \"10\"");
        let (long, told) = ("7".repeat(1000), format!("not \"{}\"...", "7".repeat(40)));
        refused(|body| body.session_timeout = Some(long), RequestInvalidField, &told);
    }

    #[test]
    fn as_many_players_as_a_session_may_have_are_read() {
        let most = SessionBody { players: (0..32).collect(), ..body() };
        assert_eq!(SessionRequest::try_from(most).unwrap().players.len(), MAX_PLAYERS);
    }

    #[test]
    fn s62_a_digest_is_base64_of_as_many_bytes_as_some_curve_signs() {
        for length in [32, 48, 64] {
            let bytes: Vec<u8> = (0..length).collect();
            assert_eq!(digest(&BASE64.encode(&bytes)), Ok(bytes));
        }
        for (text, code) in [
            (BASE64.encode([7; 31]), ErrorCode::DigestInvalid),
            (String::new(), ErrorCode::DigestInvalid),
            ("?".to_owned(), ErrorCode::RequestInvalidField),
        ] {
            assert_eq!(digest(&text).unwrap_err().code, code, "{text}");
        }
    }

    #[test]
    fn an_empty_key_id_is_none() {
        let body = |key_id: &str| GenerateKeyBody {
            session: body(),
            threshold: 1,
            curve: "P-256".into(),
            key_id: Some(key_id.into()),
        };
        assert_eq!(GenerateKey::try_from(body("")).unwrap().key_id, None);
        assert_eq!(GenerateKey::try_from(body("mine")).unwrap().key_id, Some(KeyId::new("mine").unwrap()));
        assert!(GenerateKey::try_from(body("not mine")).is_err());
    }

    #[test]
    fn s30_a_threshold_that_does_not_fit_the_players_is_refused_at_the_door() {
        for threshold in [0, 3, u64::MAX] {
            let body = GenerateKeyBody { session: body(), threshold, curve: "P-256".into(), key_id: None };
            assert_eq!(GenerateKey::try_from(body).unwrap_err().code, ErrorCode::ThresholdInvalid);
        }
    }

    #[test]
    fn replies_survive_the_way_through_the_api() {
        let info = KeyInfo {
            key_id: KeyId::new("key1").unwrap(),
            curve: CurveId::P384,
            threshold: Threshold::new(1, 3).unwrap(),
            public_key: vec![1, 2, 3],
            holders: vec![PlayerIndex(0), PlayerIndex(4), PlayerIndex(9)],
            notices: vec!["a notice".into()],
        };
        assert_eq!(KeyInfo::try_from(KeyReply::from(info.clone())), Ok(info));
        let signed = Signed { partial_signature: vec![7; 99], notices: vec![] };
        assert_eq!(Signed::try_from(SignReply::from(signed.clone())), Ok(signed));
        let chain_code = ChainCode([9; 32]);
        assert_eq!(ChainCode::try_from(ChainCodeReply::from(chain_code.clone())), Ok(chain_code));
        for bad in ["?", "", "AAAA"] {
            let reply = ChainCodeReply { chain_code: bad.to_owned() };
            assert_eq!(ChainCode::try_from(reply).unwrap_err().code, ErrorCode::NodeReply);
        }
    }
}
