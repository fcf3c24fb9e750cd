//! What the callers of all nodes say of a session.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tsm_types::Failure;
use tsm_types::api::SessionBody;

/// The name of one run, the same at every node. Use a fresh one for every operation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(tsm_types::SessionId);

impl SessionId {
    /// A fresh session ID: 32 random bytes of the operating system, as 43 characters.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness, without which nothing here is safe.
    pub fn generate() -> Self {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).expect("the operating system has randomness");
        let id = tsm_types::SessionId::new(URL_SAFE_NO_PAD.encode(bytes));
        SessionId(id.expect("43 characters of base64 are a session ID"))
    }

    /// A session ID agreed elsewhere: 1 to 128 visible ASCII characters without spaces.
    pub fn new(id: impl Into<String>) -> Result<Self, Failure> {
        tsm_types::SessionId::new(id).map(SessionId)
    }

    /// The session ID as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<tsm_types::SessionId> for SessionId {
    fn from(id: tsm_types::SessionId) -> Self {
        SessionId(id)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What the callers of all nodes say of a session. Make it once and give it to every node.
///
/// It is sent as it is; the nodes say what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    session_id: SessionId,
    players: Vec<u16>,
    dynamic_public_keys: BTreeMap<u16, Vec<u8>>,
    dynamic_addresses: BTreeMap<u16, String>,
    connect_timeout: Option<Duration>,
    session_timeout: Option<Duration>,
}

impl SessionConfig {
    /// A session of the players with these indices.
    ///
    /// `dynamic_public_keys` has public keys (DER SubjectPublicKeyInfo) of players that not every
    /// node's configuration knows. A key in a node's configuration goes before the one given here.
    pub fn new(
        session_id: SessionId,
        players: impl IntoIterator<Item = u16>,
        dynamic_public_keys: BTreeMap<u16, Vec<u8>>,
    ) -> Self {
        SessionConfig {
            session_id,
            players: players.into_iter().collect(),
            dynamic_public_keys,
            dynamic_addresses: BTreeMap::new(),
            connect_timeout: None,
            session_timeout: None,
        }
    }

    /// A session of players 0 to `count` - 1, all of them in the nodes' configurations.
    pub fn new_static(session_id: SessionId, count: u16) -> Self {
        Self::new(session_id, 0..count, BTreeMap::new())
    }

    /// The same players under another session ID.
    #[must_use]
    pub fn with_session_id(self, session_id: SessionId) -> Self {
        SessionConfig { session_id, ..self }
    }

    /// How players are reached, for nodes whose configuration does not say: `tcp://host:port`, or
    /// `incoming` for a player that connects to the node.
    #[must_use]
    pub fn with_dynamic_addresses(self, dynamic_addresses: BTreeMap<u16, String>) -> Self {
        SessionConfig { dynamic_addresses, ..self }
    }

    /// How long to wait for all players. Shortens the node's own limit, never lengthens it.
    #[must_use]
    pub fn with_connect_timeout(self, timeout: Duration) -> Self {
        SessionConfig { connect_timeout: Some(timeout), ..self }
    }

    /// How long the whole session may take. Shortens the node's own limit, never lengthens it.
    #[must_use]
    pub fn with_session_timeout(self, timeout: Duration) -> Self {
        SessionConfig { session_timeout: Some(timeout), ..self }
    }

    /// The session's ID.
    pub fn session_id(&self) -> &SessionId {
        &self.session_id
    }

    pub(crate) fn players(&self) -> &[u16] {
        &self.players
    }

    pub(crate) fn session_timeout(&self) -> Option<Duration> {
        self.session_timeout
    }

    pub(crate) fn body(&self) -> SessionBody {
        SessionBody {
            session_id: self.session_id.to_string(),
            players: self.players.clone(),
            dynamic_public_keys: self
                .dynamic_public_keys
                .iter()
                .map(|(player, key)| (player.to_string(), BASE64.encode(key)))
                .collect(),
            dynamic_addresses: self
                .dynamic_addresses
                .iter()
                .map(|(player, address)| (player.to_string(), address.clone()))
                .collect(),
            connect_timeout: self.connect_timeout.map(write_duration),
            session_timeout: self.session_timeout.map(write_duration),
        }
    }
}

/// In nanoseconds: exact, and whole.
fn write_duration(duration: Duration) -> String {
    format!("{}ns", duration.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsm_types::request::SessionRequest;

    #[test]
    fn a_generated_session_id_is_fresh() {
        assert_ne!(SessionId::generate(), SessionId::generate());
        assert_eq!(SessionId::generate().as_str().len(), 43);
    }

    #[test]
    fn timeouts_arrive_as_they_were_given() {
        for timeout in [Duration::from_nanos(1), Duration::from_millis(1500), Duration::from_secs(90)] {
            let config = SessionConfig::new_static(SessionId::generate(), 3)
                .with_connect_timeout(timeout)
                .with_session_timeout(timeout);
            let request = SessionRequest::try_from(config.body()).unwrap();
            assert_eq!(request.connect_timeout, Some(timeout));
            assert_eq!(request.session_timeout, Some(timeout));
            assert_eq!(request.players.len(), 3);
        }
    }
}
