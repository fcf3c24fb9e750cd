//! Every error that a caller can see: code, who must act, HTTP status, and what to do.

use std::fmt;

/// Who must act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The caller can repair it.
    Caller,
    /// A player misbehaved, disagreed or is away; it is named.
    Player,
    /// This node's own trouble; details are in its log only.
    Node,
}

/// What is safe to try again after an error. No failure of a session makes a key less safe, and a
/// fresh session ID is always safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request, with the same session ID if it has one.
    Same,
    /// The same request with a fresh session ID, at all players.
    Fresh,
    /// The same, when some time has passed.
    Later,
    /// As it is it would fail again.
    Repaired,
}

impl Retry {
    /// What a person is told.
    pub fn sentence(self) -> &'static str {
        match self {
            Retry::Same => {
                "The very same request may be sent again: one that has run gives its outcome, and nothing runs twice."
            }
            Retry::Fresh => {
                "Safe at once with a fresh session ID, given to the callers of all players. Under the old ID the same \
                 request only gives the same answer again."
            }
            Retry::Later => "Safe after a while; until then it would fail in the same way.",
            Retry::Repaired => {
                "Nothing was harmed, but as it is it would fail again: repair the cause first, then use a fresh \
                 session ID."
            }
        }
    }
}

impl Actor {
    /// What the caller of this node should do, and what the operators of nodes.
    pub fn parties(self) -> [(&'static str, &'static str); 2] {
        match self {
            Actor::Caller => [
                ("the caller", "acts, as said above; no other player needs to."),
                ("operators", "act only if the caller asks them to change a configuration."),
            ],
            Actor::Player => [
                (
                    "the callers",
                    "compare what they sent to their nodes and tell the named player's operator.",
                ),
                ("the named player's operator", "looks at that node, its log and its network."),
            ],
            Actor::Node => [
                ("the caller", "waits or turns to the operator of the node that answered, or did not."),
                ("that node's operator", "finds the particulars in its log, under the session ID."),
            ],
        }
    }
}

impl ErrorCode {
    /// The whole explanation, as people read it.
    pub fn page(self) -> String {
        let [(one, does), (other, also)] = self.actor().parties();
        format!(
            "{self} (HTTP {status})\n\n{title}\n\nUsual causes: {causes}\n\nWhat to do: {hint}\n  - {one}: {does}\n  \
             - {other}: {also}\n\nTrying again: {retry}",
            status = self.http_status(),
            title = self.title(),
            causes = self.causes(),
            hint = self.hint(),
            retry = self.retry().sentence(),
        )
    }
}

/// The whole catalogue as Markdown: `docs/errors.md`.
pub fn reference() -> String {
    let mut text = String::new();
    for code in ErrorCode::ALL {
        let [(one, does), (other, also)] = code.actor().parties();
        text += &format!(
            "### `{code}`\n\n{title} (HTTP {status})\n\n- **Usual causes.** {causes}\n- **What to do.** {hint}\n  - {one}: \
             {does}\n  - {other}: {also}\n- **Trying again.** {retry}\n\n",
            title = code.title(),
            status = code.http_status(),
            causes = code.causes(),
            hint = code.hint(),
            retry = code.retry().sentence(),
        );
    }
    text
}

/// Defines the catalogue in one table, so that no code lacks a status, a title or a hint.
macro_rules! catalogue {
    ($($variant:ident = $code:literal, $actor:ident, $status:literal, $title:literal, $hint:literal,
       $causes:literal, $retry:ident;)*) => {
        /// A stable, machine-readable reason. Its text is what APIs, logs, metrics and the command
        /// line use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $(#[doc = $title] $variant,)*
        }

        impl ErrorCode {
            /// The whole catalogue.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The stable code, for example `session.disagreement`.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $code,)* }
            }

            /// Who must act.
            pub fn actor(self) -> Actor {
                match self { $(ErrorCode::$variant => Actor::$actor,)* }
            }

            /// The HTTP status of a reply with this code.
            pub fn http_status(self) -> u16 {
                match self { $(ErrorCode::$variant => $status,)* }
            }

            /// What happened, in one sentence without particulars.
            pub fn title(self) -> &'static str {
                match self { $(ErrorCode::$variant => $title,)* }
            }

            /// What to do about it.
            pub fn hint(self) -> &'static str {
                match self { $(ErrorCode::$variant => $hint,)* }
            }

            /// What usually leads to it.
            pub fn causes(self) -> &'static str {
                match self { $(ErrorCode::$variant => $causes,)* }
            }

            /// What is safe to try again.
            pub fn retry(self) -> Retry {
                match self { $(ErrorCode::$variant => Retry::$retry,)* }
            }
        }
    };
}

catalogue! {
    // The caller can repair these.
    RequestMalformed = "request.malformed", Caller, 400, "The request is not readable.",
        "Compare the request with the API description; the detail names the place.",
        "The body is not JSON, is cut off, or was written for another version of the API.", Repaired;
    RequestInvalidField = "request.invalid_field", Caller, 422, "A field of the request is not allowed as it is.",
        "Correct the named field; the detail states its rule.",
        "A value out of its range, a field of another type, a public key that is not on P-256, P-384 or P-521, or a key for a player that the session does not name.", Repaired;
    RequestTooLarge = "request.too_large", Caller, 413, "The request is larger than any valid one.",
        "Send one operation per request.",
        "Several operations in one request, or a message where its digest belongs.", Repaired;
    RequestUnknownRoute = "request.unknown_route", Caller, 404, "There is no such path.",
        "Compare the path and the version in it with the API description.",
        "A mistyped path, another API version, or the URL of something else than a node.", Repaired;
    RequestMethodNotAllowed = "request.method_not_allowed", Caller, 405, "This path does not take this method.",
        "Use the method that the API description gives for the path.",
        "GET where the API takes POST, or the other way round.", Repaired;
    AuthenticationFailed = "authentication.failed", Caller, 401, "The API key is missing or not accepted by this node.",
        "Every node has its own API keys: check that this key belongs to this node's URL.",
        "No Authorization header, a key of another node, the hash of the key instead of the key, or a key that the operator has removed.", Repaired;
    AuthenticationForbidden = "authentication.forbidden", Caller, 403, "The API key is accepted, but not for this.",
        "Add the missing permission to the key's [[ManagementServer.APIKeys]], or use another key.",
        "A management key without the permission for this path.", Repaired;
    OperationDisabled = "operation.disabled", Caller, 403, "This node's configuration does not enable the operation.",
        "Ask the node's operator to enable it under [DKLS23.Features].",
        "The node's [DKLS23.Features] does not name the operation.", Repaired;
    KeyNotFound = "key.not_found", Caller, 404, "This node holds no share of a key with this ID for this application.",
        "Check the key ID with `list_keys` at this node, and that you are logged in to the application that made it.",
        "A mistyped key ID, another application's key, a key of other nodes, or a share that was deleted here.", Repaired;
    KeyExists = "key.exists", Caller, 409, "A key with this ID already exists.",
        "Choose another key ID or leave it empty.",
        "A key ID of the caller's own that an earlier key generation already used.", Repaired;
    KeyNotActive = "key.not_active", Caller, 409, "The key's holders have not all confirmed it yet.",
        "The node fetches the missing confirmation when another holder can be reached; try again shortly.",
        "A node was down or cut off in the last moment of the key generation.", Same;
    KeyOtherHolder = "key.other_holder", Caller, 409, "A player of this session is not the holder of the key under its index.",
        "Give the public key that the holder had when the key was made; the detail shows both fingerprints.",
        "The application gave the public key of another user's node, the node of that player was set up anew with another key, or somebody tries a key that is not theirs.", Repaired;
    PlayersInvalid = "players.invalid", Caller, 422, "The list of players is not possible.",
        "A session names 2 to 32 different players, this node among them.",
        "Fewer than 2 or more than 32 players, or a call that was sent to the node of a player that does not take part.", Repaired;
    PlayersUnknownKey = "players.unknown_key", Caller, 422, "No public key is known for a player.",
        "Give its public key with the session (`dynamic_public_keys`), or add a [Players.N] section with PublicKey to this node's configuration.",
        "The player is not in this node's configuration, and the session gives no public key for it.", Repaired;
    PlayersDuplicateKey = "players.duplicate_key", Caller, 422, "Two players have the same public key.",
        "Every player has a key of its own: check `dynamic_public_keys` and the configuration.",
        "The same public key was given for two players, or is given for one and configured for another.", Repaired;
    PlayersConflictingKey = "players.conflicting_key", Caller, 422, "The session gives another public key for a player than this node's configuration has.",
        "Leave the key out of `dynamic_public_keys` or correct it; this node's configuration sets RejectConflictingDynamicKeys.",
        "An old key in the application's table, or one in the node's configuration that the player has replaced.", Repaired;
    PlayersOwnKey = "players.own_key", Caller, 422, "The session names another public key for this node than it has.",
        "Use the public key that belongs to the private key in this node's configuration.",
        "The application has another public key for this node, for example of before it was set up anew.", Repaired;
    PlayersNoAddress = "players.no_address", Caller, 422, "This node would have to connect to a player whose address it does not know.",
        "With direct links the player of lower index connects: give the player's address with the session (`dynamic_addresses`), or add [Players.N] Address to this node's configuration.",
        "A dynamic player with a higher index than this node, which has to connect to it, without `dynamic_addresses`.", Repaired;
    PlayersAddressUnusable = "players.address_unusable", Caller, 422, "This node cannot use the address of a player.",
        "Give the player another address, or have the node's operator add what the detail names to its configuration.",
        "An address that goes through a message broker, at a node whose configuration has none.", Repaired;
    ThresholdInvalid = "threshold.invalid", Caller, 422, "The threshold does not fit the number of players.",
        "A security threshold t is at least 1 and below the number of players; t + 1 players must sign.",
        "The number of signers was given instead of the security threshold, or it was raised to the number of players.", Repaired;
    CurveUnsupported = "curve.unsupported", Caller, 422, "The curve is not supported.",
        "Supported are secp256k1, P-256, P-384 and P-521.",
        "A curve of another engine, or a mistyped name.", Repaired;
    DigestInvalid = "digest.invalid", Caller, 422, "The digest cannot be signed on this key's curve.",
        "Hash the message first: 32 bytes for secp256k1 and P-256, 48 for P-384, 64 for P-521, and not zero modulo the group order.",
        "A message instead of its digest, or a digest of another hash than the curve takes.", Repaired;
    PathInvalid = "path.invalid", Caller, 422, "The derivation path is not possible.",
        "A path has at most 50 steps, each a number below 2147483648, and is written `m/44/0/1`; `m` is the key itself.",
        "A path in another notation, or with more steps than any wallet uses.", Repaired;
    PathHardened = "path.hardened", Caller, 422, "A step of the derivation path is hardened.",
        "Hardened steps hash the whole private key, which nobody has. Use steps below 2147483648, without `'` or `h`; to keep branches apart as hardened steps do, make a key for each.",
        "A path of an ordinary wallet, such as m/44'/0'/0', whose first steps are hardened.", Repaired;
    PathTooShort = "path.too_short", Caller, 422, "The derivation path is shorter than this node allows.",
        "This node's configuration sets MinChainPathLength: only keys that many steps or more below the key are used.",
        "The key itself, or an account, was asked for at a node that only serves keys further below.", Repaired;
    PathNoKey = "path.no_key", Caller, 422, "There is no key at a step of the derivation path.",
        "Take the next number for this step, as BIP 32 says. It happens to nobody by chance.",
        "A step that was searched for, with more hashes than anybody can compute.", Repaired;
    SignersTooFew = "signers.too_few", Caller, 422, "Too few players for a signature with this key.",
        "Name at least threshold + 1 of the key's holders.",
        "The security threshold was taken for the number of signers: one more must sign.", Repaired;
    PresignatureNotFound = "presignature.not_found", Caller, 404, "This node holds no such presignature for this application.",
        "Presignatures live in the node's memory: a restart or `delete_presignatures` removes them. Generate new ones, or name one that every signer holds.",
        "The node was started again, the pool is empty, the presignature was used long ago, or it was made with other signers.", Repaired;
    PresignatureUsed = "presignature.used", Caller, 409, "This presignature was used for another digest or path.",
        "A presignature makes one signature only: take another one for this digest. Nothing was signed.",
        "Two callers took the same presignature, or a caller that lost count used one again.", Repaired;
    PresignatureLimit = "presignature.limit", Caller, 429, "This node makes or holds as many presignatures as it may.",
        "Ask for fewer at a time, use or delete some, or ask the node's operator to raise PresigGenRequestLimit or PresigGenGlobalLimit.",
        "A pool that is filled faster than it is used, or one request for more than the node makes at once.", Fresh;
    SessionConflict = "session.conflict", Caller, 409, "This session ID was already used with other parameters.",
        "Use a fresh session ID for every operation; repeat one only to repeat the very same request.",
        "A session ID that was reused for another operation, or after a restart of the caller.", Fresh;
    SessionLimit = "session.limit", Caller, 429, "This node runs as many sessions as it may.",
        "Wait for running sessions to end, then try again with a fresh session ID.",
        "More requests at once than the node is configured for, or sessions that wait for players who do not come.", Fresh;
    ApplicationSessionLimit = "application.session_limit", Caller, 429, "This application has as many sessions in flight at this node as it may.",
        "Wait for its running sessions to end, then try again with a fresh session ID; the operator sets [Tenants] MaxSessionsPerApplication.",
        "One application asks for more at once than its share of the node.", Fresh;
    ApplicationKeyLimit = "application.key_limit", Caller, 429, "This application has as many keys at this node as it may.",
        "Delete key shares that are no longer needed at this node, or ask its operator to raise [Tenants] MaxKeysPerApplication.",
        "More customers under one application than the operator planned for, or keys that are made and never deleted.", Repaired;
    PartialsInvalid = "partials.invalid", Caller, 422, "The partial signatures do not belong together.",
        "Pass exactly one partial signature of every signer of one session, or of one presignature.",
        "Partial signatures of different sessions, one of them twice, or one missing.", Repaired;
    SignatureInvalid = "signature.invalid", Caller, 422, "The signature does not verify.",
        "Nothing was returned. If the partial signatures came from the nodes unaltered, one signer's part is wrong: sign again with other signers.",
        "A signer's part was altered or is wrong.", Fresh;

    // A player is away, disagrees or misbehaves.
    SessionDisagreement = "session.disagreement", Player, 409, "The players were not asked for the same thing.",
        "Compare the named fields in the calls to the nodes; nothing secret was touched, and a fresh session ID may be used at once.",
        "Two callers gave different parameters: digest, key, players, or a player's public key. For keys the error shows each side's fingerprint.", Repaired;
    SessionPlayersMissing = "session.players_missing", Player, 504, "Not every player came to the session in time.",
        "Check that each missing player's node runs and that its own caller made the same call with the same session ID.",
        "A node is down or unreachable, its caller made no call or another one, or it is known here under another public key; the notes say which.", Fresh;
    SessionTimeout = "session.timeout", Player, 504, "The session did not finish in time.",
        "The named players were silent; look at their nodes, then try again with a fresh session ID.",
        "A player went silent in the middle: a slow machine, a broken network, or an app that was suspended.", Fresh;
    SessionCancelled = "session.cancelled", Player, 409, "A caller left the session.",
        "The named player's caller hung up; try again with a fresh session ID.",
        "A caller closed its connection or gave up: its own timeout may be shorter than the session's.", Fresh;
    SessionRefused = "session.refused", Player, 409, "A player's node refused the session.",
        "The named player's own caller received the reason; repair it there and use a fresh session ID.",
        "The named player's caller asked for something that its node does not do; its own reply says what.", Repaired;
    LinkLost = "link.lost", Player, 502, "The link to a player broke and did not come back.",
        "Check the named player's node and the network; then try again with a fresh session ID.",
        "A network that changed, a node that crashed, or a phone that lost its connection.", Fresh;
    LinkWrongKey = "link.wrong_key", Player, 502, "A player's address is answered with another public key.",
        "Compare the fingerprints: either the address belongs to another node, or the public key given for the player is wrong.",
        "Two addresses were swapped, the node was set up anew with another key, or somebody stands in between.", Repaired;
    PlayerRestarted = "player.restarted", Player, 502, "A player's node restarted during the session.",
        "Try again with a fresh session ID.",
        "The node was updated, crashed, or is run twice with the same key.", Fresh;
    PlayerStopping = "player.stopping", Player, 503, "A player's node is stopping and takes no new sessions.",
        "Try again with a fresh session ID: at once with other players, or with the named one when its node is back.",
        "The node's operator stops or updates it, or the app is being closed.", Fresh;
    PlayerFault = "player.fault", Player, 502, "A player's node had trouble of its own.",
        "Look at the named player's log, then try again with a fresh session ID.",
        "The node's database or machine; its own log says what.", Fresh;
    MessageMalformed = "message.malformed", Player, 409, "A player sent a message that no honest node sends.",
        "Check that all nodes run compatible versions; if they do, the named player's node is faulty.",
        "Different versions, or a node that was tampered with.", Repaired;
    PlayerCheated = "player.cheated", Player, 409, "A player's message failed a check of the protocol.",
        "The named player's node is faulty or hostile; the key is safe, no signature was made.",
        "A fault in the named player's machine or program, or an attack by it.", Fresh;
    Equivocation = "player.equivocated", Player, 409, "Players received different versions of one broadcast.",
        "One of the named players, or a node between, is faulty or hostile; the key is safe.",
        "A fault or an attack by one of the named players.", Fresh;
    PairCompromised = "pair.compromised", Player, 409, "A secret-dependent check between two players failed.",
        "The pair's state was destroyed and is made anew at the next session; repeated failures mean that the named player is hostile.",
        "A fault in a machine's memory, or an attack by the named player.", Fresh;
    PairRenewed = "pair.renewed", Player, 409, "The state shared with a player was being renewed.",
        "Try again with a fresh session ID.",
        "A session that began while the state between two nodes was replaced after a failure.", Fresh;
    TenantSessionLimit = "tenant.session_limit", Player, 429, "A dynamic player has as many sessions in flight at a node as it may.",
        "Wait for the named player's running sessions to end, then try again with a fresh session ID; the node's operator sets [Tenants] MaxSessions.",
        "One user's node is asked for many things at once, or its sessions wait for a caller that does not come.", Fresh;
    TenantKeyLimit = "tenant.key_limit", Player, 429, "A dynamic player holds as many keys at a node as it may.",
        "Delete key shares of the named player that are no longer needed at this node, or ask its operator to raise [Tenants] MaxKeys.",
        "A user with very many keys, or key generations that broke off in their last moment again and again.", Repaired;
    TenantPairLimit = "tenant.pair_limit", Player, 503, "A node keeps state with as many players as it may.",
        "Try again later with a fresh session ID: state with players that have left makes room; the node's operator sets [Tenants] MaxPairs.",
        "More players sign within a minute or two than the node is configured for.", Fresh;
    TenantLinkLimit = "tenant.link_limit", Player, 429, "A player holds as many connections to a node as it may.",
        "Lower connectionPoolSize in the named player's address of this node, or raise [Tenants] MaxConnections at the node.",
        "A pool of connections larger than the node takes, or a node that is run many times with the same key.", Repaired;
    HandshakeLimit = "link.handshake_limit", Player, 429, "Too many connections from one source came to nothing.",
        "See what runs at the source; the node listens to it again after a while; its operator sets [Tenants] MaxFailedHandshakes.",
        "A scanner, a health check that speaks no TLS, nodes of another version, or many users behind one address; seen in the node's log and at the dialling side only.", Later;
    ResultInconsistent = "result.inconsistent", Player, 409, "The players' contributions do not fit the key, and nobody can be named.",
        "Try again with another set of signers; if it repeats with one set only, a member of that set is faulty.",
        "A signer used another share than the key's, by a fault or on purpose.", Fresh;

    // This node's own trouble.
    StoreUnavailable = "store.unavailable", Node, 503, "The node's database cannot be used.",
        "The operator finds the cause in the node's log (disk full, locked, unreachable); nothing was lost.",
        "A full disk, a lost volume, or a database that another program has locked.", Same;
    StoreCorrupt = "store.corrupt", Node, 500, "A record of the node's database does not open.",
        "The operator finds the record in the node's log; restore the database from a backup.",
        "A damaged disk, a record that was altered, or a database that was put together from two backups.", Repaired;
    NodeStopping = "node.stopping", Node, 503, "This node is stopping and takes no new sessions.",
        "Try again with a fresh session ID: at once with players that do without this node, or when it is back.",
        "The operator stops or updates the node, or the app is being closed.", Fresh;
    NodeFault = "node.fault", Node, 500, "This node had trouble of its own.",
        "The operator finds the cause in the node's log, under the session ID.",
        "A fault of this node's machine or program.", Fresh;

    // What an SDK sees by itself.
    NodeUnreachable = "node.unreachable", Node, 503, "The node cannot be reached.",
        "Check the node's URL and that the node runs.",
        "A wrong URL, a node that does not run, or a network in between.", Same;
    NodeReply = "node.reply", Node, 502, "The node's reply is not readable.",
        "Check that the URL is a node's SDK address and that SDK and node versions fit.",
        "The URL of something else than a node's SDK port, a proxy that answers itself, or versions that do not fit.", Same;
}

impl ErrorCode {
    /// The code with this text.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|candidate| candidate.as_str() == code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_found_by_their_text() {
        let texts: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
        assert!(ErrorCode::ALL.iter().all(|code| ErrorCode::from_code(code.as_str()) == Some(*code)));
    }

    #[test]
    fn every_code_says_what_happened_and_what_to_do() {
        for code in ErrorCode::ALL {
            assert!(code.title().ends_with('.') && code.hint().ends_with('.'), "{code}");
            assert!((400..600).contains(&code.http_status()), "{code}");
        }
    }

    #[test]
    fn every_page_has_all_its_parts_and_no_two_codes_share_one() {
        let mut causes = BTreeSet::new();
        for code in ErrorCode::ALL.iter().copied() {
            assert!(code.causes().ends_with('.') && code.causes().len() > 20, "{code}");
            assert!(causes.insert(code.causes()), "{code} has the causes of another code");
            let page = code.page();
            let parties = code.actor().parties().map(|(who, _)| who);
            let parts = [code.as_str(), code.title(), code.causes(), code.hint(), code.retry().sentence()];
            for part in parts.into_iter().chain(parties) {
                assert!(page.contains(part), "{code}: {part}");
            }
        }
    }

    #[test]
    fn the_page_of_errors_is_the_catalogue() {
        const BEGIN: &str = "<!-- errors -->\n";
        const END: &str = "<!-- /errors -->";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (listed, after) = rest.split_once(END).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", reference())).unwrap();
            return;
        }
        assert_eq!(listed, reference(), "renew it with UPDATE_DOCS=1");
    }
}
