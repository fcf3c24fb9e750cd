//! The names of inboxes at Redis, and what a player's user there must be allowed to do.

use std::fmt;

use tsm_crypto::identity::Fingerprint;

use super::super::Inbox;

/// The key of an inbox. The braces put all inboxes of one player into one slot of a cluster, so that
/// one command can read them.
pub fn key(inbox: &Inbox) -> String {
    match inbox {
        Inbox::Player(player) => format!("tsm:{{{}}}:player", Hex(&player.0)),
        Inbox::Node(player, node) => format!("tsm:{{{}}}:node:{}", Hex(&player.0), Hex(node)),
    }
}

/// The pattern of all keys that a player's nodes read.
pub fn own_keys(player: Fingerprint) -> String {
    format!("tsm:{{{}}}:*", Hex(&player.0))
}

/// The least rights of a player's user, as the rules of `ACL SETUSER <name>`: it can read and remove the
/// player's own inboxes, and append to those of all. The password is the operator's to add.
pub fn acl_rules(player: Fingerprint) -> String {
    format!(
        "resetkeys resetchannels -@all ~{} +xreadgroup +xgroup|create +xtrim +pexpire +unlink \
         (%W~tsm:* -@all +xadd)",
        own_keys(player)
    )
}

/// What [`acl_rules`] lacks for a cluster.
pub const CLUSTER_RULE: &str = "+cluster|slots";

/// What [`acl_rules`] lacks for a database other than 0.
pub const DATABASE_RULE: &str = "+select";

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_and_rights_are_those_of_the_documentation() {
        let text = include_str!("../../../../../../docs/brokers.md");
        let player = Fingerprint(std::array::from_fn(|at| at as u8));
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        assert_eq!(key(&Inbox::Player(player)), format!("tsm:{{{hex}}}:player"));
        assert_eq!(
            key(&Inbox::Node(player, [0xab; 16])),
            format!("tsm:{{{hex}}}:node:abababababababababababababababab")
        );
        for form in ["`tsm:{FINGERPRINT}:player`", "`tsm:{FINGERPRINT}:node:NUMBER`"] {
            assert!(text.contains(form), "{form}");
        }
        let rules = acl_rules(player).replace(hex, "FINGERPRINT");
        let line = format!("ACL SETUSER NAME on >PASSWORD {rules}\n");
        assert!(text.contains(&line), "{line}");
        assert!(text.contains(CLUSTER_RULE) && text.contains(DATABASE_RULE));
    }
}
