//! Every section and key of the configuration file, in one table.
//!
//! The parser, the search for the nearest known name, the defaults and `docs/configuration.md` all
//! use this table; a new setting is a line here and the code that reads it. It is long because it is a table:
//! whatever our users may know from the documentation of the system that they come from has its
//! line, so that a file is refused for the right reason.

use std::time::Duration;

use super::Purpose;

/// A section of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// The dotted path; `N` stands for a player index.
    pub(super) path: &'static str,
    pub(super) form: Form,
    pub(super) status: Status,
    /// Whether a file without it is incomplete.
    pub(super) required: bool,
    pub(super) doc: &'static str,
    pub(super) settings: &'static [Setting],
}

/// How a section is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `[Section]`, once.
    Table,
    /// `[[Section]]`, any number of times.
    List,
}

/// A key of a section.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    pub(super) need: Need,
    pub(super) status: Status,
    pub(super) doc: &'static str,
}

/// The type of a value, with its bounds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text { max_bytes: usize },
    Integer { min: i64, max: i64 },
    Duration { min: Duration, max: Duration },
    Flag,
    List,
}

/// What happens when a key is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
    /// The value it has then, as it would be written.
    Default(&'static str),
}

/// Whether this version can do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Built,
    NotBuilt,
}

/// The section with this path, where the caller names it in the code.
pub(super) fn section(path: &str) -> &'static Section {
    SECTIONS.iter().find(|section| section.path == path).expect("the code names sections of the table only")
}

impl Section {
    /// The setting with this key, if the section has it.
    pub(super) fn setting(&self, key: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// Whether a node of this purpose uses the section.
    pub(super) fn is_for(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Serving => true,
            Purpose::Embedded => !SERVING_ONLY.contains(&self.path),
        }
    }

    /// The path with the brackets of its form.
    pub(super) fn header(&self) -> String {
        match self.form {
            Form::Table => format!("[{}]", self.path),
            Form::List => format!("[[{}]]", self.path),
        }
    }
}

/// The sections that serve SDKs and those who watch the node. A node inside an app is called by the app itself.
pub(super) const SERVING_ONLY: [&str; 6] = [
    "SDKServer",
    "Authentication.APIKeys",
    "ManagementServer",
    "ManagementServer.Metrics",
    "ManagementServer.APIKeys",
    "MetricsServer",
];

const KEY: Kind = Kind::Text { max_bytes: 4096 };
const TEXT: Kind = Kind::Text { max_bytes: 4096 };
const NAME: Kind = Kind::Text { max_bytes: 128 };
/// As long as an `ApplicationId` of `tsm-types` may be.
const APPLICATION: Kind = Kind::Text { max_bytes: 64 };
const IP: Kind = Kind::Text { max_bytes: 64 };
const PORT: Kind = Kind::Integer { min: 1, max: 65_535 };
/// `0` is none.
const PORT_OR_NONE: Kind = Kind::Integer { min: 0, max: 65_535 };
/// A whole chain.
const PEM: Kind = Kind::Text { max_bytes: 65_536 };
const INDEX: Kind = Kind::Integer { min: 0, max: 65_535 };
const SOME: Kind = Kind::Integer { min: 1, max: 1_000_000 };
const COUNT: Kind = Kind::Integer { min: 0, max: 1_000_000 };
const TIMEOUT: Kind = Kind::Duration { min: Duration::from_millis(100), max: HOUR };
/// Each message of a batch may have 64 KiB.
const BATCH: Kind = Kind::Integer { min: 1, max: 1000 };
const PERIOD: Kind = Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(24 * 3600) };
const HOUR: Duration = Duration::from_secs(3600);

const fn required(key: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting { key, kind, need: Need::Required, status: Status::Built, doc }
}

const fn optional(key: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting { key, kind, need: Need::Optional, status: Status::Built, doc }
}

const fn default(key: &'static str, kind: Kind, value: &'static str, doc: &'static str) -> Setting {
    Setting { key, kind, need: Need::Default(value), status: Status::Built, doc }
}

const fn later(key: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting { key, kind, need: Need::Optional, status: Status::NotBuilt, doc }
}

const fn table(path: &'static str, doc: &'static str, settings: &'static [Setting]) -> Section {
    Section { path, form: Form::Table, status: Status::Built, required: false, doc, settings }
}

const fn list(path: &'static str, doc: &'static str, settings: &'static [Setting]) -> Section {
    Section { form: Form::List, ..table(path, doc, settings) }
}

const fn needed(section: Section) -> Section {
    Section { required: true, ..section }
}

const fn not_built(section: Section) -> Section {
    Section { status: Status::NotBuilt, ..section }
}

/// All sections, in the order in which the documentation shows them.
pub(super) static SECTIONS: &[Section] = &[
    needed(table(
        "Player",
        "Who this node is.",
        &[
            required("Index", INDEX, "The player that this node is. Unique among all players."),
            required(
                "PrivateKey",
                KEY,
                "Base64 of the DER form of the player's EC private key (SEC1 or PKCS#8) on P-256, P-384 or P-521.",
            ),
            later(
                "ExportWhiteList",
                Kind::List,
                "Fingerprints of the wrapping keys under which keys may be exported.",
            ),
            later("Embedded", Kind::Flag, "Phone configuration of older versions."),
            later("Threshold", COUNT, "Phone configuration of older versions."),
        ],
    )),
    table(
        "Players.N",
        "A static player: one whose public key or address this node knows. `N` is the player's index. Players without a \
         section are dynamic: callers name their public keys. A node may list itself.",
        &[
            optional(
                "PublicKey",
                KEY,
                "Base64 of the DER SubjectPublicKeyInfo of the player's public key. Without it the player is dynamic.",
            ),
            optional(
                "Address",
                Kind::Text { max_bytes: 1024 },
                "How this node reaches the player: `host:port`, `tcp://host:port`, `ws://host:port/path` or \
                 `wss://host:port/path`, with the options `connectionPoolSize` and `connectionLifetime`, `broker://` for \
                 the message broker of this file, or `incoming` for a player that dials this node. Without a broker \
                 needed for players with a higher index than this node's; the others dial this node, and if they do \
                 not, are dialled at their address.",
            ),
        ],
    ),
    table(
        "MPCTCPServer",
        "Where other players reach this node directly. Without it, it only dials, and is reached through a message broker if it has one.",
        &[
            required("Port", PORT, "TCP port for other players."),
            default(
                "Address",
                IP,
                "0.0.0.0",
                "IP address to listen on; `0.0.0.0` is every interface, `::` also those of IPv6.",
            ),
        ],
    ),
    table(
        "MPCAMQPServer",
        "The message broker: RabbitMQ, or another one that speaks AMQP 0-9-1 (`docs/brokers.md`). Players without an address \
         are reached through it, and so is this node, which then needs no port. May stand beside `[MPCTCPServer]`.",
        &[
            required(
                "ServerURL",
                TEXT,
                "`amqp://user:password@host:port/vhost`, or `amqps://` for TLS. Port (5672, 5671) and virtual host (`/`) may \
                 be left out. `%` and two hexadecimal digits stand for a character such as `@`, `/` or `?` in a name or \
                 password. The password is a secret.",
            ),
            optional(
                "RootCAFile",
                TEXT,
                "PEM file with certificate authorities that are trusted for `amqps` besides those of the system.",
            ),
            optional("RootCABytes", PEM, "The same PEM text in this file."),
            default(
                "RetryDelay",
                TIMEOUT,
                "5s",
                "Wait after a connection that was lost or could not be made.",
            ),
            default(
                "ChannelPoolSize",
                Kind::Integer { min: 1, max: 64 },
                "2",
                "Channels that messages are sent through.",
            ),
            default(
                "PublisherConfirms",
                Kind::Flag,
                "false",
                "Wait until the broker has confirmed a message before the next one of the same link. Slower; nodes notice a \
                 lost message without it.",
            ),
            default(
                "PersistMessages",
                Kind::Flag,
                "false",
                "Have the broker write messages to its disk. Slower; links are made anew after a broker's end in any case.",
            ),
            default(
                "SkipSetup",
                Kind::Flag,
                "false",
                "The operator has made the queue and the exchange of every player (`tsm player id` names them), and all nodes \
                 of the broker say so. At most one node runs for a player.",
            ),
        ],
    ),
    table(
        "MPCRedisServer",
        "The message broker: Redis, 7 or later (`docs/brokers.md`). Players without an address are reached through it, and \
         so is this node, which then needs no port. May stand beside `[MPCTCPServer]`.",
        &[
            required(
                "ServerURL",
                TEXT,
                "`redis://user:password@host:port/database`, or `rediss://` for TLS. User and password, port (6379) and \
                 database (0) may be left out. `%` and two hexadecimal digits stand for a character such as `@`, `/` or `?` \
                 in a name or password. Both are secrets.",
            ),
            optional(
                "RootCAFile",
                TEXT,
                "PEM file with certificate authorities that are trusted for `rediss` besides those of the system.",
            ),
            optional("RootCABytes", PEM, "The same PEM text in this file."),
            default("SendBatchSize", BATCH, "20", "Most messages in one write."),
            default("ReceiveBatchSize", BATCH, "20", "Most messages taken from an inbox in one read."),
            default(
                "MaxMessageReceivers",
                BATCH,
                "30",
                "Without effect: one reader reads all inboxes of a node at once, which keeps their order.",
            ),
            default(
                "MaxSessions",
                Kind::Integer { min: 1, max: 1_000_000 },
                "10000",
                "Without effect: sessions share the links between their players. See `[Session]`.",
            ),
            default(
                "ExpireKeys",
                Kind::Flag,
                "false",
                "Redis forgets the inboxes of a node that is gone after a minute, instead of after an hour.",
            ),
            default(
                "ClusterMode",
                Kind::Flag,
                "false",
                "Redis is a cluster; `ServerURL` names any of its members.",
            ),
        ],
    ),
    table(
        "MPCDirectServer",
        "Where other players reach this node: over TCP, by WebSocket, or both. Instead of `[MPCTCPServer]` and \
         `[MPCWebSocketServer]`.",
        &[
            default("Port", PORT_OR_NONE, "0", "TCP port for other players; `0` is none."),
            default(
                "WSPort",
                PORT_OR_NONE,
                "0",
                "Port for WebSockets of other players: `wss` with a certificate, else `ws`. `0` is none.",
            ),
            default(
                "Address",
                IP,
                "0.0.0.0",
                "IP address to listen on; `0.0.0.0` is every interface, `::` also those of IPv6.",
            ),
            optional(
                "CertificateFile",
                TEXT,
                "PEM file with the certificate of `WSPort`, followed by those that vouch for it. TCP needs none.",
            ),
            optional("CertificateBytes", PEM, "The same PEM text in this file."),
            optional("CertificateKeyFile", TEXT, "PEM file with the private key of the certificate."),
            optional("CertificateKeyBytes", PEM, "The same PEM text in this file."),
            later("DisableMultiplexing", Kind::Flag, "One connection for each session."),
        ],
    ),
    table(
        "MPCWebSocketServer",
        "The older form of `[MPCDirectServer]` with a `WSPort`; may stand beside `[MPCTCPServer]`.",
        &[
            required("Port", PORT, "Port for WebSockets (`ws`) of other players."),
            default(
                "Address",
                IP,
                "0.0.0.0",
                "IP address to listen on; `0.0.0.0` is every interface, `::` also those of IPv6.",
            ),
        ],
    ),
    table(
        "MPCWebSocketClient",
        "Whom this node trusts when it dials `wss://`. Without it: the certificate authorities of the operating system.",
        &[
            optional(
                "RootCAFile",
                TEXT,
                "PEM file with certificate authorities that are trusted besides those of the system (on Android: instead).",
            ),
            optional("RootCABytes", PEM, "The same PEM text in this file."),
        ],
    ),
    needed(table(
        "SDKServer",
        "Where SDKs reach this node. A node inside an app has none.",
        &[
            required("Port", PORT, "HTTP port for SDKs."),
            default(
                "Address",
                IP,
                "0.0.0.0",
                "IP address to listen on; `0.0.0.0` is every interface, `::` also those of IPv6.",
            ),
        ],
    )),
    needed(table(
        "Database",
        "Where this node keeps its key shares.",
        &[
            required("DriverName", NAME, "`sqlite3`. (`postgres` and `mysql` are not built yet.)"),
            required("DataSourceName", TEXT, "For `sqlite3` the path of the database file."),
            optional(
                "EncryptorMasterPassword",
                TEXT,
                "The password that everything secret in the database is encrypted under. Either this or `EncryptorKeyFile`.",
            ),
            optional(
                "EncryptorKeyFile",
                TEXT,
                "A text file with that password, for example held by somebody else. A line break at its end does not count.",
            ),
            optional(
                "MaxOpenConns",
                Kind::Integer { min: 1, max: 10_000 },
                "Most connections to the database at a time.",
            ),
            optional(
                "MaxIdleConns",
                Kind::Integer { min: 0, max: 10_000 },
                "Most connections kept open without work.",
            ),
        ],
    )),
    table(
        "Authentication",
        "How SDKs log in.",
        &[
            later("TokenLifetime", PERIOD, "How long a login token is good for."),
            later("DynamicAPIKeys", Kind::Flag, "Accept API keys that the management API creates."),
        ],
    ),
    list(
        "Authentication.APIKeys",
        "An accepted API key. As many as you like; several may log in to one application.",
        &[
            required(
                "APIKey",
                Kind::Text { max_bytes: 256 },
                "Base64 of the SHA-256 of the key. (Crypt strings such as `$2a$...` are not built yet.)",
            ),
            required(
                "ApplicationID",
                APPLICATION,
                "The application that the key logs in to: visible ASCII characters without spaces. Keys belong to applications.",
            ),
        ],
    ),
    table(
        "DKLS23",
        "Enables ECDSA (DKLs23). With an empty header every built operation is on; with a `Features` section those that it \
         names. If `[DKLS19]` is there too, what either of them enables is on, and of numbers that both give the greater counts.",
        PROTOCOL,
    ),
    table("DKLS23.Features", "Operations, each off unless `true`.", FEATURES),
    table("DKLS19", "The older name of `[DKLS23]`: enables the same engine in the same way.", PROTOCOL),
    table("DKLS19.Features", "Operations, each off unless `true`.", FEATURES),
    table(
        "Session",
        "Bounds of one run of a protocol. A caller may ask for shorter times, never for longer ones.",
        &[
            default(
                "ConnectTimeout",
                TIMEOUT,
                "10s",
                "How long to wait for every player of a session to join.",
            ),
            default(
                "SessionTimeout",
                TIMEOUT,
                "60s",
                "How long a session may take in all. At least `ConnectTimeout`.",
            ),
            default(
                "DrainTimeout",
                Kind::Duration { min: Duration::ZERO, max: HOUR },
                "25s",
                "How long the sessions that run may still take once the node is asked to stop; new ones are refused. \
                 `0s` ends them at once.",
            ),
            default(
                "MaxSessions",
                Kind::Integer { min: 1, max: 100_000 },
                "1024",
                "Most sessions at a time, over all applications. More are refused, not queued.",
            ),
            default(
                "OutcomeLifetime",
                PERIOD,
                "10m",
                "How long the outcome of a session is kept for a caller who asks again because the reply was lost.",
            ),
            default(
                "RejectConflictingDynamicKeys",
                Kind::Flag,
                "false",
                "Refuse a session that gives another public key for a player than this file has, instead of ignoring it with a notice.",
            ),
        ],
    ),
    table(
        "Tenants",
        "What one *dynamic player* (a player whose public key is not in this file) may take of this node, so that one \
         tenant's trouble is nobody else's. Static players are not limited by it. `tsm explain` shows what is said where \
         a limit is met.",
        TENANTS,
    ),
    table(
        "ManagementServer",
        "Health and metrics on a port of their own (docs/operations.md).",
        &[
            required("Port", PORT, "HTTP port for those who watch the node."),
            default("Address", IP, "0.0.0.0", "IP address to listen on."),
        ],
    ),
    table(
        "ManagementServer.Metrics",
        "Metrics on that port.",
        &[default("Prometheus", Kind::Flag, "false", "Serve `/metrics` as Prometheus text.")],
    ),
    list(
        "ManagementServer.APIKeys",
        "Who may use that port. `/ping` needs no key.",
        &[
            required(
                "APIKey",
                Kind::Text { max_bytes: 256 },
                "Base64 of the SHA-256 of the key, as in `[[Authentication.APIKeys]]`, and none of those.",
            ),
            required(
                "Permissions",
                Kind::List,
                "What the key may do: `HEALTH` (`/health`), `METRICS` (`/metrics`), `TSMINFO` (`/info`). (`APIKEY` is not \
                 built yet.)",
            ),
        ],
    ),
    table(
        "MetricsServer",
        "The older way to metrics: a port without API keys that serves `/metrics` and `/ping` to whoever reaches it. \
         Either this or `[ManagementServer]`.",
        &[
            required("Port", PORT, "HTTP port."),
            default("Address", IP, "0.0.0.0", "IP address to listen on."),
            default(
                "Prometheus",
                Kind::Flag,
                "false",
                "Must be `true`: the other format of older versions is not built.",
            ),
        ],
    ),
    not_built(table(
        "TLSUserAuthentication",
        "Login with client certificates.",
        &[
            later("ClientCAFile", TEXT, "Accepted authorities, a file."),
            later("ClientCAList", TEXT, "The same, in the file."),
        ],
    )),
    not_built(list(
        "TLSUserAuthentication.Applications",
        "Which certificate fields make an application.",
        &[
            later("Issuer", Kind::List, "Fields of the issuer."),
            later("Subject", Kind::List, "Fields of the subject."),
        ],
    )),
    not_built(table(
        "MultiInstance",
        "Several nodes for one player.",
        &[
            later("Address", TEXT, "Where the others reach this one."),
            later("CleanupInterval", PERIOD, "Period of the clean-up."),
            later("CleanupProbability", COUNT, "Chance of a clean-up, in percent."),
        ],
    )),
    not_built(table("SEPH18S", "ECDSA with an honest majority.", &[])),
    not_built(table("SEPD19S", "Schnorr signatures.", &[])),
    not_built(table("ADN06", "RSA.", &[])),
    not_built(table("MRZ15", "AES and HMAC.", &[])),
];

static TENANTS: &[Setting] = &[
    default(
        "MaxConnections",
        Kind::Integer { min: 1, max: 10_000 },
        "32",
        "Most connections of one dynamic player. It needs twice its `connectionPoolSize`.",
    ),
    default("MaxSessions", SOME, "256", "Most sessions in flight of one dynamic player."),
    optional(
        "MaxSessionsPerApplication",
        SOME,
        "Most sessions in flight of one application. If left out, `[Session] MaxSessions` is the only limit.",
    ),
    default(
        "MaxKeys",
        SOME,
        "1000",
        "Most keys that one dynamic player holds together with this node, those that are not confirmed by all their \
         holders among them. Deleting this node's key share gives the place back.",
    ),
    optional(
        "MaxKeysPerApplication",
        Kind::Integer { min: 1, max: 1_000_000_000 },
        "Most keys of one application at this node, those that are not confirmed by all their holders among them. If \
         left out, only the disk is the limit.",
    ),
    default(
        "MaxFailedHandshakes",
        COUNT,
        "120",
        "Most connections of one source (an IPv4 address, or an IPv6 /64 network) that may come to nothing within a \
         minute. Beyond it the source is not listened to. `0`: no limit, for a node behind a proxy that hides addresses.",
    ),
    default("BlockTime", PERIOD, "60s", "For how long a source is not listened to."),
    default(
        "IdleLinkTime",
        PERIOD,
        "60s",
        "How long links to a dynamic player stay after its last session, for the next one.",
    ),
    default(
        "MaxIdleLinks",
        COUNT,
        "10000",
        "Most dynamic players whose links stay so at a time; the longest idle give way. Some 30 kB each.",
    ),
    default(
        "MaxParkedLinks",
        COUNT,
        "1024",
        "Most links at a time whose keys no session names yet; those of the busiest source give way.",
    ),
    default("MaxParkedLinksPerSource", COUNT, "64", "Most of them from one source."),
    default("ParkedLinkTime", PERIOD, "30s", "How long such a link waits for a session that names its key."),
    default(
        "MaxPairs",
        SOME,
        "16384",
        "Most players with which this node keeps state for signatures at a time, some 75 kB each. Those that have left \
         make room.",
    ),
    default(
        "PairIdleTime",
        PERIOD,
        "10m",
        "How long that state stays after the last session with a player whose links are down. The next session makes \
         it anew in some 25 ms.",
    ),
];

static PROTOCOL: &[Setting] = &[
    default(
        MIN_CHAIN_PATH_LENGTH,
        Kind::Integer { min: 0, max: 50 },
        "0",
        "Least length of a derivation path, in steps: shorter ones are refused for signatures, public keys and chain codes. \
         From 1 on, the key itself is not used.",
    ),
    default(
        BIP32_CACHE_SIZE,
        Kind::Integer { min: 0, max: 1_000_000 },
        "1024",
        "Derived public keys kept in memory, over all applications. 0 keeps none.",
    ),
    default(
        PRESIGNATURES_PER_REQUEST,
        Kind::Integer { min: 1, max: 100 },
        "100",
        "Most presignatures in a request.",
    ),
    default(
        PRESIGNATURES_IN_ALL,
        Kind::Integer { min: 0, max: 1_000_000 },
        "5000",
        "Most presignatures that this node makes and holds at a time. They are in memory only, less than a kilobyte each. \
         If `[DKLS19]` and `[DKLS23]` both say something, the smaller number counts.",
    ),
    later("DeactivatedPlayersCache", NAME, "Where excluded players are remembered."),
];

/// The features that are built, as `[DKLS23.Features]` names them.
pub(super) const GENERATE_KEY: &str = "GenerateKey";
pub(super) const SIGN: &str = "Sign";
pub(super) const PUBLIC_KEY: &str = "PublicKey";
pub(super) const GENERATE_PRESIGNATURES: &str = "GeneratePresignatures";
pub(super) const SIGN_WITH_PRESIGNATURE: &str = "SignWithPresignature";

pub(super) const PRESIGNATURES_PER_REQUEST: &str = "PresigGenRequestLimit";
pub(super) const PRESIGNATURES_IN_ALL: &str = "PresigGenGlobalLimit";
pub(super) const CHAIN_CODE: &str = "ChainCode";

pub(super) const MIN_CHAIN_PATH_LENGTH: &str = "MinChainPathLength";
pub(super) const BIP32_CACHE_SIZE: &str = "Bip32CacheSize";

static FEATURES: &[Setting] = &[
    default(GENERATE_KEY, Kind::Flag, "false", "Generate keys."),
    default(SIGN, Kind::Flag, "false", "Sign a digest."),
    default(PUBLIC_KEY, Kind::Flag, "false", "Show public keys."),
    default(GENERATE_PRESIGNATURES, Kind::Flag, "false", "Make presignatures."),
    default(SIGN_WITH_PRESIGNATURE, Kind::Flag, "false", "Sign with a presignature."),
    default(
        CHAIN_CODE,
        Kind::Flag,
        "false",
        "Show chain codes. Who has one and the public key sees all keys below it.",
    ),
    later("GenerateRecoveryData", Kind::Flag, "Make recovery data."),
    later("Reshare", Kind::Flag, "Renew key shares."),
    later("CopyKey", Kind::Flag, "Copy a key to other players."),
    later("BackupKeyShare", Kind::Flag, "Back up a key share (older name)."),
    later("RestoreKeyShare", Kind::Flag, "Restore a key share (older name)."),
    later("ExportKeyShare", Kind::Flag, "Export a key share."),
    later("ImportKeyShare", Kind::Flag, "Import a key share."),
    later("ExportKeyShares", Kind::Flag, "Export a key (older name)."),
    later("ImportKeyShares", Kind::Flag, "Import a key (older name)."),
    later("ExportKey", Kind::Flag, "Export a key."),
    later("ImportKey", Kind::Flag, "Import a key."),
    later("BIP32GenerateSeed", Kind::Flag, "Generate a BIP32 seed."),
    later("BIP32DeriveFromSeed", Kind::Flag, "Derive a key from a seed."),
    later("BIP32DeriveFromKey", Kind::Flag, "Derive a key from a key."),
    later("BIP32ConvertKey", Kind::Flag, "Turn a BIP32 key into an ECDSA key."),
    later("BIP32ExportSeed", Kind::Flag, "Export a seed."),
    later("BIP32ImportSeed", Kind::Flag, "Import a seed."),
    later("BIP32Info", Kind::Flag, "Show what a BIP32 key is."),
];
