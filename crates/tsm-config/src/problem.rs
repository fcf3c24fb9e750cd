//! What is said about a configuration file: for people with line and advice, for programs with a code.

use std::collections::BTreeSet;
use std::fmt;

/// One thing that is wrong in a configuration file or, among the warnings, worth saying.
///
/// Its texts never quote a value of the file: any of them may be a secret in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The kind of problem, stable across versions.
    pub code: ProblemCode,
    /// The line in the file, from 1. `None` where something is missing from the file as a whole.
    pub line: Option<usize>,
    /// The path of the key or section, such as `Players.2.PublicKey`. Empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{} [{}]\n  hint: {}", self.what, self.code, self.hint)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// The kinds of problem, each with a stable code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProblemCode { $($(#[$doc])* $variant,)* }

        impl ProblemCode {
            /// Every kind.
            pub const ALL: &'static [ProblemCode] = &[$(ProblemCode::$variant,)*];

            /// The stable code.
            pub fn as_str(self) -> &'static str {
                match self { $(ProblemCode::$variant => $code,)* }
            }
        }
    };
}

codes! {
    /// The file cannot be read.
    Unreadable = "config.unreadable",
    /// Not TOML.
    Syntax = "config.syntax",
    /// A key that no section of this name has.
    UnknownKey = "config.unknown_key",
    /// A section that does not exist.
    UnknownSection = "config.unknown_section",
    /// Known from the documentation, but this version cannot do it.
    NotBuilt = "config.not_built",
    /// A key or section that a node cannot do without.
    Missing = "config.missing",
    /// A value of another type than the key has.
    WrongType = "config.wrong_type",
    /// A value that says nothing.
    Empty = "config.empty",
    /// More bytes than the key may have.
    TooLong = "config.too_long",
    /// A number or duration outside its range.
    OutOfRange = "config.out_of_range",
    /// Not a duration such as `1m30s`.
    BadDuration = "config.bad_duration",
    /// Not an IP address to listen on.
    BadListenAddress = "config.bad_listen_address",
    /// Not an address of a player.
    BadAddress = "config.bad_address",
    /// Not standard base64.
    NotBase64 = "config.not_base64",
    /// Not a private key on one of the three curves.
    BadPrivateKey = "config.bad_private_key",
    /// Not a public key on one of the three curves.
    BadPublicKey = "config.bad_public_key",
    /// Two players with one public key.
    DuplicatePublicKey = "config.duplicate_public_key",
    /// This node's own public key is listed for another player.
    OwnPublicKey = "config.own_public_key",
    /// This node lists itself, with a key that is not its own.
    NotOwnPublicKey = "config.not_own_public_key",
    /// Not an API key hash.
    BadApiKey = "config.bad_api_key",
    /// One API key for two applications.
    SharedApiKey = "config.shared_api_key",
    /// A name with characters that it may not have.
    BadName = "config.bad_name",
    /// A word that is not one of the choices.
    UnknownChoice = "config.unknown_choice",
    /// Two settings that exclude each other.
    Conflict = "config.conflict",
    /// A `{{ ... }}` template that cannot be replaced.
    BadTemplate = "config.bad_template",
    /// An environment variable that a template names is not set.
    UnsetVariable = "config.unset_variable",
    /// The encryptor key file cannot be used.
    BadKeyFile = "config.bad_key_file",

    /// Warning: nobody can log in.
    NoApiKeys = "config.no_api_keys",
    /// Warning: a player to dial without an address.
    NoAddress = "config.no_address",
    /// Warning: a player section that says nothing.
    EmptyPlayer = "config.empty_player",
    /// Warning: players that would have to dial this node, which does not listen.
    NotListening = "config.not_listening",
    /// Warning: a section that a node inside an app does not use.
    NotUsed = "config.not_used",
    /// Warning: no operation is enabled.
    NothingEnabled = "config.nothing_enabled",
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Collects problems while a file is read, so that all are told at once.
#[derive(Default)]
pub(super) struct Problems {
    pub(super) errors: Vec<ConfigProblem>,
    pub(super) warnings: Vec<ConfigProblem>,
    meant: BTreeSet<String>,
}

impl Problems {
    /// Notes what keeps the node from starting.
    pub(super) fn error(&mut self, code: ProblemCode, place: &Place, what: impl Into<String>, hint: &str) {
        self.errors.push(place.problem(code, what.into(), hint));
    }

    /// Remembers that an unknown name was probably meant to be `key`, which is then not missing too.
    pub(super) fn meant(&mut self, key: &str) {
        self.meant.insert(key.to_owned());
    }

    /// Errors and warnings, each in the order of the file, the file as a whole last.
    pub(super) fn finish(mut self) -> (Vec<ConfigProblem>, Vec<ConfigProblem>) {
        self.errors.retain(|error| error.code != ProblemCode::Missing || !self.meant.contains(&error.key));
        self.forget_what_follows_from_syntax();
        for problems in [&mut self.errors, &mut self.warnings] {
            problems.sort_by_key(|problem| (problem.line.unwrap_or(usize::MAX), problem.key.clone()));
        }
        (self.errors, self.warnings)
    }

    /// A line that could not be read is not a missing key, and what the TOML reader made of its
    /// pieces is not an unknown one.
    fn forget_what_follows_from_syntax(&mut self) {
        let is_syntax = |error: &ConfigProblem| error.code == ProblemCode::Syntax;
        let broken: BTreeSet<_> =
            self.errors.iter().filter(|error| is_syntax(error)).map(|error| error.line).collect();
        if broken.is_empty() {
            return;
        }
        self.errors.retain(|error| {
            let follows = [ProblemCode::Missing, ProblemCode::UnknownKey, ProblemCode::UnknownSection];
            is_syntax(error) || !(follows.contains(&error.code) || broken.contains(&error.line))
        });
    }

    /// Notes what is worth saying.
    pub(super) fn warn(&mut self, code: ProblemCode, place: &Place, what: impl Into<String>, hint: &str) {
        self.warnings.push(place.problem(code, what.into(), hint));
    }
}

/// Where in the file something stands.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) line: Option<usize>,
    pub(super) key: String,
}

impl Place {
    pub(super) fn new(line: usize, key: impl Into<String>) -> Self {
        Place { line: Some(line), key: key.into() }
    }

    /// A place that the file does not have.
    pub(super) fn nowhere(key: impl Into<String>) -> Self {
        Place { line: None, key: key.into() }
    }

    fn problem(&self, code: ProblemCode, what: String, hint: &str) -> ConfigProblem {
        ConfigProblem { code, line: self.line, key: self.key.clone(), what, hint: hint.to_owned() }
    }
}
