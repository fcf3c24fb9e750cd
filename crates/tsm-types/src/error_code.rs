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

/// Defines the catalogue in one table, so that no code lacks a status, a title or a hint.
macro_rules! catalogue {
    ($($variant:ident = $code:literal, $actor:ident, $status:literal, $title:literal, $hint:literal;)*) => {
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
        }
    };
}

catalogue! {
    // The caller can repair these.
    RequestMalformed = "request.malformed", Caller, 400, "The request is not readable.",
        "Compare the request with the API description; the detail names the place.";
    RequestInvalidField = "request.invalid_field", Caller, 422, "A field of the request is not allowed as it is.",
        "Correct the named field; the detail states its rule.";
    RequestTooLarge = "request.too_large", Caller, 413, "The request is larger than any valid one.",
        "Send one operation per request.";
    RequestUnknownRoute = "request.unknown_route", Caller, 404, "There is no such path.",
        "Compare the path and the version in it with the API description.";
    RequestMethodNotAllowed = "request.method_not_allowed", Caller, 405, "This path does not take this method.",
        "Use the method that the API description gives for the path.";
    AuthenticationFailed = "authentication.failed", Caller, 401, "The API key is missing or not accepted by this node.",
        "Every node has its own API keys: check that this key belongs to this node's URL.";
    OperationDisabled = "operation.disabled", Caller, 403, "This node's configuration does not enable the operation.",
        "Ask the node's operator to enable it under [DKLS23.Features].";
    KeyNotFound = "key.not_found", Caller, 404, "This node holds no share of a key with this ID for this application.",
        "Check the key ID with `list_keys` at this node, and that you are logged in to the application that made it.";
    KeyExists = "key.exists", Caller, 409, "A key with this ID already exists.",
        "Choose another key ID or leave it empty.";
    KeyNotActive = "key.not_active", Caller, 409, "The key's holders have not all confirmed it yet.",
        "The node fetches the missing confirmation when another holder can be reached; try again shortly.";
    KeyOtherHolder = "key.other_holder", Caller, 409, "A player of this session is not the holder of the key under its index.",
        "Give the public key that the holder had when the key was made; the detail shows both fingerprints.";
    PlayersInvalid = "players.invalid", Caller, 422, "The list of players is not possible.",
        "A session names 2 to 32 different players, this node among them.";
    PlayersUnknownKey = "players.unknown_key", Caller, 422, "No public key is known for a player.",
        "Give its public key with the session (`dynamic_public_keys`), or add a [Players.N] section with PublicKey to this node's configuration.";
    PlayersDuplicateKey = "players.duplicate_key", Caller, 422, "Two players have the same public key.",
        "Every player has a key of its own: check `dynamic_public_keys` and the configuration.";
    PlayersConflictingKey = "players.conflicting_key", Caller, 422, "The session gives another public key for a player than this node's configuration has.",
        "Leave the key out of `dynamic_public_keys` or correct it; this node's configuration sets RejectConflictingDynamicKeys.";
    PlayersOwnKey = "players.own_key", Caller, 422, "The session names another public key for this node than it has.",
        "Use the public key that belongs to the private key in this node's configuration.";
    PlayersNoAddress = "players.no_address", Caller, 422, "This node would have to connect to a player whose address it does not know.",
        "With direct links the player of lower index connects: give the player's address with the session (`dynamic_addresses`), or add [Players.N] Address to this node's configuration.";
    PlayersAddressUnusable = "players.address_unusable", Caller, 422, "This node cannot use the address of a player.",
        "Give the player another address, or have the node's operator add what the detail names to its configuration.";
    ThresholdInvalid = "threshold.invalid", Caller, 422, "The threshold does not fit the number of players.",
        "A security threshold t is at least 1 and below the number of players; t + 1 players must sign.";
    CurveUnsupported = "curve.unsupported", Caller, 422, "The curve is not supported.",
        "Supported are secp256k1, P-256, P-384 and P-521.";
    DigestInvalid = "digest.invalid", Caller, 422, "The digest cannot be signed on this key's curve.",
        "Hash the message first: 32 bytes for secp256k1 and P-256, 48 for P-384, 64 for P-521, and not zero modulo the group order.";
    PathInvalid = "path.invalid", Caller, 422, "The derivation path is not possible.",
        "A path has at most 50 steps, each a number below 2147483648, and is written `m/44/0/1`; `m` is the key itself.";
    PathHardened = "path.hardened", Caller, 422, "A step of the derivation path is hardened.",
        "Hardened steps hash the whole private key, which nobody has. Use steps below 2147483648, without `'` or `h`; to keep branches apart as hardened steps do, make a key for each.";
    PathTooShort = "path.too_short", Caller, 422, "The derivation path is shorter than this node allows.",
        "This node's configuration sets MinChainPathLength: only keys that many steps or more below the key are used.";
    PathNoKey = "path.no_key", Caller, 422, "There is no key at a step of the derivation path.",
        "Take the next number for this step, as BIP 32 says. It happens to nobody by chance.";
    SignersTooFew = "signers.too_few", Caller, 422, "Too few players for a signature with this key.",
        "Name at least threshold + 1 of the key's holders.";
    PresignatureNotFound = "presignature.not_found", Caller, 404, "This node holds no such presignature for this application.",
        "Presignatures live in the node's memory: a restart or `delete_presignatures` removes them. Generate new ones, or name one that every signer holds.";
    PresignatureUsed = "presignature.used", Caller, 409, "This presignature was used for another digest or path.",
        "A presignature makes one signature only: take another one for this digest. Nothing was signed.";
    PresignatureLimit = "presignature.limit", Caller, 429, "This node makes or holds as many presignatures as it may.",
        "Ask for fewer at a time, use or delete some, or ask the node's operator to raise PresigGenRequestLimit or PresigGenGlobalLimit.";
    SessionConflict = "session.conflict", Caller, 409, "This session ID was already used with other parameters.",
        "Use a fresh session ID for every operation; repeat one only to repeat the very same request.";
    SessionLimit = "session.limit", Caller, 429, "This node runs as many sessions as it may.",
        "Wait for running sessions to end, then try again with a fresh session ID.";
    PartialsInvalid = "partials.invalid", Caller, 422, "The partial signatures do not belong together.",
        "Pass exactly one partial signature of every signer of one session, or of one presignature.";
    SignatureInvalid = "signature.invalid", Caller, 422, "The signature does not verify.",
        "Nothing was returned. If the partial signatures came from the nodes unaltered, one signer's part is wrong: sign again with other signers.";

    // A player is away, disagrees or misbehaves.
    SessionDisagreement = "session.disagreement", Player, 409, "The players were not asked for the same thing.",
        "Compare the named fields in the calls to the nodes; nothing secret was touched, and a fresh session ID may be used at once.";
    SessionPlayersMissing = "session.players_missing", Player, 504, "Not every player came to the session in time.",
        "Check that each missing player's node runs and that its own caller made the same call with the same session ID.";
    SessionTimeout = "session.timeout", Player, 504, "The session did not finish in time.",
        "The named players were silent; look at their nodes, then try again with a fresh session ID.";
    SessionCancelled = "session.cancelled", Player, 409, "A caller left the session.",
        "The named player's caller hung up; try again with a fresh session ID.";
    SessionRefused = "session.refused", Player, 409, "A player's node refused the session.",
        "The named player's own caller received the reason; repair it there and use a fresh session ID.";
    LinkLost = "link.lost", Player, 502, "The link to a player broke and did not come back.",
        "Check the named player's node and the network; then try again with a fresh session ID.";
    LinkWrongKey = "link.wrong_key", Player, 502, "A player's address is answered with another public key.",
        "Compare the fingerprints: either the address belongs to another node, or the public key given for the player is wrong.";
    PlayerRestarted = "player.restarted", Player, 502, "A player's node restarted during the session.",
        "Try again with a fresh session ID.";
    PlayerStopping = "player.stopping", Player, 503, "A player's node is shutting down.",
        "Try again with a fresh session ID when the node is back.";
    PlayerFault = "player.fault", Player, 502, "A player's node had trouble of its own.",
        "Look at the named player's log, then try again with a fresh session ID.";
    MessageMalformed = "message.malformed", Player, 409, "A player sent a message that no honest node sends.",
        "Check that all nodes run compatible versions; if they do, the named player's node is faulty.";
    PlayerCheated = "player.cheated", Player, 409, "A player's message failed a check of the protocol.",
        "The named player's node is faulty or hostile; the key is safe, no signature was made.";
    Equivocation = "player.equivocated", Player, 409, "Players received different versions of one broadcast.",
        "One of the named players, or a node between, is faulty or hostile; the key is safe.";
    PairCompromised = "pair.compromised", Player, 409, "A secret-dependent check between two players failed.",
        "The pair's state was destroyed and is made anew at the next session; repeated failures mean that the named player is hostile.";
    PairRenewed = "pair.renewed", Player, 409, "The state shared with a player was being renewed.",
        "Try again with a fresh session ID.";
    ResultInconsistent = "result.inconsistent", Player, 409, "The players' contributions do not fit the key, and nobody can be named.",
        "Try again with another set of signers; if it repeats with one set only, a member of that set is faulty.";

    // This node's own trouble.
    StoreUnavailable = "store.unavailable", Node, 503, "The node's database cannot be used.",
        "The operator finds the cause in the node's log (disk full, locked, unreachable); nothing was lost.";
    StoreCorrupt = "store.corrupt", Node, 500, "A record of the node's database does not open.",
        "The operator finds the record in the node's log; restore the database from a backup.";
    NodeStopping = "node.stopping", Node, 503, "This node is shutting down.",
        "Try again when it is back.";
    NodeFault = "node.fault", Node, 500, "This node had trouble of its own.",
        "The operator finds the cause in the node's log, under the session ID.";

    // What an SDK sees by itself.
    NodeUnreachable = "node.unreachable", Node, 503, "The node cannot be reached.",
        "Check the node's URL and that the node runs.";
    NodeReply = "node.reply", Node, 502, "The node's reply is not readable.",
        "Check that the URL is a node's SDK address and that SDK and node versions fit.";
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
}
