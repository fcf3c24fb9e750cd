//! The static players, and what their keys and addresses mean together.

use std::collections::BTreeMap;

use tsm_crypto::identity::IdentityPublicKey;
use tsm_types::address::Place as DialledAt;
use tsm_types::{Address, AddressError, Reach};

use super::StaticPlayer;
use super::document::{Document, Found};
use super::problem::{Place, ProblemCode, Problems};
use super::secrets;

/// This node, as far as the file says who it is.
pub(super) struct Own<'a> {
    pub(super) index: Option<u16>,
    pub(super) key: Option<&'a IdentityPublicKey>,
    pub(super) listens: bool,
}

/// Reads every `[Players.N]`. This node's own section is checked and left out.
pub(super) fn players(
    document: &Document,
    own: &Own<'_>,
    problems: &mut Problems,
) -> BTreeMap<u16, StaticPlayer> {
    let mut players = BTreeMap::new();
    let mut holders: BTreeMap<IdentityPublicKey, u16> = BTreeMap::new();
    for section in document.all("Players.N") {
        let Some(index) = section.player else { continue };
        let public_key = secrets::public_key(section, problems);
        let player = StaticPlayer { address: address(section, problems), public_key };
        let place = section.place_of("PublicKey");
        if own.index == Some(index) {
            check_self(&player, own, &place, problems);
            continue;
        }
        if let Some(key) = &player.public_key {
            check_key(key, index, own, &mut holders, &place, problems);
        }
        advise(section, index, player.address.as_ref(), own, problems);
        players.insert(index, player);
    }
    players
}

fn check_self(player: &StaticPlayer, own: &Own<'_>, place: &Place, problems: &mut Problems) {
    let (Some(listed), Some(key)) = (&player.public_key, own.key) else { return };
    if listed != key {
        problems.error(
            ProblemCode::NotOwnPublicKey,
            place,
            "this node lists itself with a public key that does not belong to its PrivateKey",
            "write the public key of this node's own PrivateKey, or remove the section",
        );
    }
}

fn check_key(
    key: &IdentityPublicKey,
    index: u16,
    own: &Own<'_>,
    holders: &mut BTreeMap<IdentityPublicKey, u16>,
    place: &Place,
    problems: &mut Problems,
) {
    if own.key == Some(key) {
        problems.error(
            ProblemCode::OwnPublicKey,
            place,
            format!("player {index} is listed with this node's own public key"),
            "write that player's key; check Index and PrivateKey if this file is that player's",
        );
    }
    match holders.get(key) {
        Some(first) => problems.error(
            ProblemCode::DuplicatePublicKey,
            place,
            format!("players {first} and {index} have the same public key"),
            "every player has a key of its own: ask the operators for theirs",
        ),
        None => {
            holders.insert(key.clone(), index);
        }
    }
}

/// The lower index dials, unless its address for the other is `incoming`: says where an address or a port is missing or of no use.
fn advise(section: &Found, index: u16, reach: Option<&Reach>, own: &Own<'_>, problems: &mut Problems) {
    let (has_address, has_key) = (section.has("Address"), section.has("PublicKey"));
    if !has_address && !has_key {
        problems.warn(
            ProblemCode::EmptyPlayer,
            &section.place,
            "the section says nothing: the player is as dynamic as without it",
            "add its PublicKey and Address, or remove the section",
        );
        return;
    }
    if own.index.is_some_and(|own_index| index > own_index) && !has_address {
        problems.warn(
            ProblemCode::NoAddress,
            &section.place,
            format!("player {index} has the higher index, so this node dials it, but knows no address"),
            "add its Address (`incoming` if that player dials this node), or have callers give one in each session \
             (dynamic addresses)",
        );
    }
    let waits = match reach {
        Some(Reach::Incoming) => true,
        Some(Reach::Dial(_)) => false,
        None => !has_address && own.index.is_some_and(|own_index| index < own_index),
    };
    if waits && !own.listens {
        problems.warn(
            ProblemCode::NotListening,
            &section.place,
            format!("player {index} dials this node, which does not listen"),
            "add [MPCTCPServer] with a Port, or the Address of that player",
        );
    }
}

fn address(section: &Found, problems: &mut Problems) -> Option<Reach> {
    let (text, place) = section.text("Address")?;
    let (code, what) = match text.parse() {
        Ok(Reach::Dial(Address { place: DialledAt::WebSocket { .. } | DialledAt::Broker, .. })) => NOT_BUILT,
        Ok(reach) => return Some(reach),
        Err(error) => describe(&error),
    };
    let hint = "write host:port, or tcp://host:port, optionally with ?connectionPoolSize=6&connectionLifetime=5m, or \
                incoming for a player that dials this node";
    problems.error(code, &place, what, hint);
    None
}

const NOT_BUILT: (ProblemCode, &str) =
    (ProblemCode::NotBuilt, "this scheme is known from the documentation, but not built yet in this version");

/// In our own words: the error's own sentence quotes the value.
fn describe(error: &AddressError) -> (ProblemCode, &'static str) {
    let what = match error {
        AddressError::SchemeNotSupportedYet(_) => return NOT_BUILT,
        AddressError::UnknownScheme(_) => "there is no such scheme",
        AddressError::Host(_) => "the part before the port is no host name or IP address",
        AddressError::NoPort(_) => "the port is missing",
        AddressError::Port(_) => "the port is not a number from 1 to 65535",
        AddressError::Brackets(_) => "an IPv6 address must stand in brackets: [::1]:9001",
        AddressError::Path(_) => "there is more than a host and a port, or not a path",
        AddressError::NamedBroker(_) => "there is something after broker://",
        AddressError::Option(_) => {
            "there is no such option; known are connectionPoolSize and connectionLifetime"
        }
        AddressError::RepeatedOption(_) => "an option is given twice",
        AddressError::PoolSize(_) => "connectionPoolSize is not a number in its range",
        AddressError::Lifetime(_) => "connectionLifetime is not a duration in its range",
    };
    (ProblemCode::BadAddress, what)
}
