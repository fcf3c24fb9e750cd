//! The names of queues, and the rights that a player needs for them.

use std::fmt;

use tsm_crypto::identity::Fingerprint;

use crate::pipe::broker::Inbox;

/// How inboxes are named at the broker.
#[derive(Clone, Copy)]
pub(super) struct Names {
    /// One queue for each player, made by the operator; it is the inbox of the player's node, too.
    pub(super) fixed: bool,
}

impl Names {
    pub(super) fn queue(self, inbox: &Inbox) -> String {
        match inbox {
            Inbox::Node(player, _) if self.fixed => format!("tsm.{}", Inbox::Player(*player)),
            Inbox::Node(..) | Inbox::Player(_) => format!("tsm.{inbox}"),
        }
    }

    /// The exchange that a player publishes to; the default one if it is empty.
    #[cfg_attr(not(feature = "amqp"), expect(dead_code, reason = "nothing is published"))]
    pub(super) fn exchange(self, player: &Fingerprint) -> String {
        if self.fixed { format!("tsm.from.{}", hex(player)) } else { String::new() }
    }
}

/// A player's names at an AMQP broker, and the least rights with which it can put messages into the
/// inboxes of others, and read its own only. The expressions are for `rabbitmqctl set_permissions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The player's queue.
    pub queue: String,
    /// What the names of the queues of its running nodes begin with, or nothing where there are none.
    pub node_queues: Option<String>,
    /// The exchange that it publishes to; empty for the default exchange.
    pub exchange: String,
    /// What it may create and delete.
    pub configure: String,
    /// Where it may publish.
    pub write: String,
    /// What it may read.
    pub read: String,
}

impl Rights {
    /// Of a player whose nodes make their queues themselves.
    pub fn of(player: &Fingerprint) -> Self {
        let own = format!(r"^tsm\.(player\.{0}|node\.{0}\.[0-9a-f]{{32}})$", hex(player));
        Rights {
            queue: Names { fixed: false }.queue(&Inbox::Player(*player)),
            node_queues: Some(format!("tsm.node.{}.", hex(player))),
            exchange: String::new(),
            configure: own.clone(),
            write: r"^amq\.default$".to_owned(),
            read: own,
        }
    }

    /// Of a player whose queue and exchange the operator makes (`SkipSetup`).
    pub fn without_setup(player: &Fingerprint) -> Self {
        Rights {
            queue: Names { fixed: true }.queue(&Inbox::Player(*player)),
            node_queues: None,
            exchange: format!("tsm.from.{}", hex(player)),
            configure: "^$".to_owned(),
            write: format!(r"^tsm\.from\.{}$", hex(player)),
            read: format!(r"^tsm\.player\.{}$", hex(player)),
        }
    }
}

fn hex(player: &Fingerprint) -> impl fmt::Display {
    fmt::from_fn(|f| player.0.iter().try_for_each(|byte| write!(f, "{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_documentation() {
        let player = Fingerprint([0xab; 32]);
        let (made, fixed) = (Names { fixed: false }, Names { fixed: true });
        let hex = "ab".repeat(32);
        assert_eq!(made.queue(&Inbox::Player(player)), format!("tsm.player.{hex}"));
        assert_eq!(made.queue(&Inbox::Node(player, [1; 16])), format!("tsm.node.{hex}.{}", "01".repeat(16)));
        assert_eq!(fixed.queue(&Inbox::Player(player)), format!("tsm.player.{hex}"));
        assert_eq!(fixed.queue(&Inbox::Node(player, [1; 16])), format!("tsm.player.{hex}"));
        let rights = Rights::of(&player);
        assert_eq!(rights.configure, format!(r"^tsm\.(player\.{hex}|node\.{hex}\.[0-9a-f]{{32}})$"));
        assert_eq!((rights.write.as_str(), rights.read), (r"^amq\.default$", rights.configure));
        let rights = Rights::without_setup(&player);
        assert_eq!(rights.exchange, format!("tsm.from.{hex}"));
        assert_eq!(rights.configure, "^$");
    }
}
