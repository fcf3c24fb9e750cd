//! Players: an index and a proven public key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::failure::Failure;

/// A player's identity public key.
pub use tsm_crypto::IdentityPublicKey as PlayerKey;

/// More players than this in one session are refused: messages and work grow with their square.
pub const MAX_PLAYERS: usize = 32;

/// A player's place in a session: the index that configurations and callers use. May be 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct PlayerIndex(pub u16);

impl fmt::Display for PlayerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for PlayerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.0)
    }
}

/// The players of a session by index: two to [`MAX_PLAYERS`], no key twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Players(BTreeMap<PlayerIndex, PlayerKey>);

impl Players {
    /// Checks the number of players and that no two share a key.
    pub fn new(players: BTreeMap<PlayerIndex, PlayerKey>) -> Result<Self, Failure> {
        if players.len() < 2 || players.len() > MAX_PLAYERS {
            return Err(Failure::player_count(players.len()));
        }
        let mut owners = BTreeMap::new();
        for (index, key) in &players {
            if let Some(other) = owners.insert(key, *index) {
                return Err(Failure::same_key_twice(other, *index, key));
            }
        }
        Ok(Players(players))
    }

    /// Number of players.
    #[expect(clippy::len_without_is_empty, reason = "there are always at least two players")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Indices and keys, by ascending index.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (PlayerIndex, &PlayerKey)> {
        self.0.iter().map(|(index, key)| (*index, key))
    }

    /// Indices, ascending.
    pub fn indices(&self) -> impl ExactSizeIterator<Item = PlayerIndex> {
        self.0.keys().copied()
    }

    /// The key of a player, if it takes part.
    pub fn key(&self, index: PlayerIndex) -> Option<&PlayerKey> {
        self.0.get(&index)
    }

    /// The index of the player with this key, if it takes part.
    pub fn index_of(&self, key: &PlayerKey) -> Option<PlayerIndex> {
        self.iter().find(|(_, candidate)| *candidate == key).map(|(index, _)| index)
    }

    /// Everybody but `me`, ascending.
    pub fn peers_of(&self, me: PlayerIndex) -> BTreeSet<PlayerIndex> {
        self.indices().filter(|index| *index != me).collect()
    }

    /// Share number of a player: its place among the players, from 1. Never 0 and never twice,
    /// whatever the indices are (rule S-21).
    pub fn share_number(&self, index: PlayerIndex) -> Option<u64> {
        self.indices().zip(1..).find(|(candidate, _)| *candidate == index).map(|(_, number)| number)
    }
}

impl BorshSerialize for Players {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        BorshSerialize::serialize(&self.0, writer)
    }
}

impl BorshDeserialize for Players {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let players = BTreeMap::deserialize_reader(reader)?;
        Players::new(players).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "invalid players"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tsm_crypto::IdentityKey;
    use tsm_crypto::hedged::test_rng;

    pub(crate) fn key(seed: u64) -> PlayerKey {
        IdentityKey::generate(&mut test_rng(seed)).public().clone()
    }

    pub(crate) fn players(indices: &[u16]) -> Players {
        Players::new(indices.iter().map(|i| (PlayerIndex(*i), key(u64::from(*i)))).collect()).unwrap()
    }

    #[test]
    fn the_same_key_for_two_players_is_refused() {
        let twice = [(PlayerIndex(0), key(1)), (PlayerIndex(1), key(1))].into();
        assert_eq!(Players::new(twice).unwrap_err().code, crate::ErrorCode::PlayersDuplicateKey);
    }

    #[test]
    fn one_player_is_not_a_session() {
        assert!(Players::new([(PlayerIndex(0), key(1))].into()).is_err());
    }

    #[test]
    fn thirty_two_players_are_a_session_and_one_more_is_too_many() {
        let of = |count: u16| Players::new((0..count).map(|i| (PlayerIndex(i), key(u64::from(i)))).collect());
        assert_eq!(of(32).unwrap().len(), 32);
        assert_eq!(of(33).unwrap_err().code, crate::ErrorCode::PlayersInvalid);
    }

    #[test]
    fn a_player_is_found_by_its_key_and_all_others_are_its_peers() {
        let players = players(&[0, 5, 9]);
        assert_eq!(players.index_of(&key(5)), Some(PlayerIndex(5)));
        assert_eq!(players.index_of(&key(1)), None);
        assert_eq!(players.peers_of(PlayerIndex(5)), [PlayerIndex(0), PlayerIndex(9)].into());
    }

    #[test]
    fn s21_share_numbers_start_at_one_even_for_player_zero() {
        let players = players(&[0, 5, 9]);
        assert_eq!(players.share_number(PlayerIndex(0)), Some(1));
        assert_eq!(players.share_number(PlayerIndex(9)), Some(3));
        assert_eq!(players.share_number(PlayerIndex(1)), None);
    }
}
