//! The static players, and what their keys and addresses mean together.

use std::collections::BTreeMap;

use tsm_crypto::identity::IdentityPublicKey;
use tsm_types::{Address, AddressError};

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
        advise(section, index, own, problems);
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

/// The lower index dials: says where an address or a port is missing or of no use.
fn advise(section: &Found, index: u16, own: &Own<'_>, problems: &mut Problems) {
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
    match own.index {
        Some(own_index) if index < own_index && has_address => problems.warn(
            ProblemCode::AddressNotUsed,
            &section.place_of("Address"),
            format!("player {index} has the lower index and dials this node; the address is never used"),
            "nothing needs to be done; the line can be removed",
        ),
        Some(own_index) if index > own_index && !has_address => problems.warn(
            ProblemCode::NoAddress,
            &section.place,
            format!("player {index} has the higher index, so this node dials it, but knows no address"),
            "add its Address, or have callers give one in each session (dynamic addresses)",
        ),
        Some(_) | None => {}
    }
    if own.index.is_some_and(|own_index| index < own_index) && !own.listens {
        problems.warn(
            ProblemCode::NotListening,
            &section.place,
            format!("player {index} has the lower index and dials this node, which does not listen"),
            "add [MPCTCPServer] with a Port",
        );
    }
}

fn address(section: &Found, problems: &mut Problems) -> Option<Address> {
    let (text, place) = section.text("Address")?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            let (code, what) = describe(&error);
            let hint = "write host:port, or tcp://host:port, optionally with \
                        ?connectionPoolSize=6&connectionLifetime=5m";
            problems.error(code, &place, what, hint);
            None
        }
    }
}

/// In our own words: the error's own sentence quotes the value.
fn describe(error: &AddressError) -> (ProblemCode, &'static str) {
    let what = match error {
        AddressError::SchemeNotSupportedYet(_) => {
            return (
                ProblemCode::NotBuilt,
                "this scheme is known from the documentation, but not built yet in this version",
            );
        }
        AddressError::UnknownScheme(_) => "there is no such scheme",
        AddressError::Host(_) => "the part before the port is no host name or IP address",
        AddressError::NoPort(_) => "the port is missing",
        AddressError::Port(_) => "the port is not a number from 1 to 65535",
        AddressError::Brackets(_) => "an IPv6 address must stand in brackets: [::1]:9001",
        AddressError::Path(_) => "there is more than a host and a port",
        AddressError::Option(_) => {
            "there is no such option; known are connectionPoolSize and connectionLifetime"
        }
        AddressError::RepeatedOption(_) => "an option is given twice",
        AddressError::PoolSize(_) => "connectionPoolSize is not a number in its range",
        AddressError::Lifetime(_) => "connectionLifetime is not a duration in its range",
    };
    (ProblemCode::BadAddress, what)
}
