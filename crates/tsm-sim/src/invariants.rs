//! What must hold after every schedule, whatever went wrong in it.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256K1_SHA256_ASN1, UnparsedPublicKey};
use tsm_types::error_code::Actor;
use tsm_types::request::KeyInfo;
use tsm_types::{ErrorCode, Failure};

use crate::caller::{Answered, Outcome};
use crate::faults::Fired;
use crate::nodes;
use crate::plan::{Ask, SessionPlan};

/// What must hold after every schedule, in the order of `docs/laboratory.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Every caller had an answer before its deadline.
    Answered,
    /// Answers agree.
    Agreement,
    /// Parts of all signers join to a signature that verifies.
    Signatures,
    /// No honest player is accused.
    NobodyAccused,
    /// Each failure has a reason that what happened explains, and names whom it concerns.
    Reasons,
    /// Where nothing was lost no session fails.
    NothingLost,
    /// The network signs soon after faults have ended.
    Recovery,
    /// A key is at all nodes or at none, and signs if a caller was told of it.
    Keys,
    /// What is for one use was not used twice.
    Once,
    /// Nothing is left when everything has ended.
    NothingLeft,
    /// Nothing panicked.
    NoPanic,
}

impl Invariant {
    /// Every one, in the order of `docs/laboratory.md`.
    pub const ALL: [Invariant; 11] = [
        Invariant::Answered,
        Invariant::Agreement,
        Invariant::Signatures,
        Invariant::NobodyAccused,
        Invariant::Reasons,
        Invariant::NothingLost,
        Invariant::Recovery,
        Invariant::Keys,
        Invariant::Once,
        Invariant::NothingLeft,
        Invariant::NoPanic,
    ];

    /// Its number in `docs/laboratory.md`.
    pub fn number(self) -> usize {
        self as usize + 1
    }

    pub(crate) fn broken(self, what: impl Into<String>) -> Violation {
        Violation { invariant: self, what: what.into() }
    }
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What should have held.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant.number(), self.what)
    }
}

/// A session and what its callers were told.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) plan: SessionPlan,
    pub(crate) message: Vec<u8>,
    pub(crate) answers: Vec<Answered>,
}

/// What says of a player that it broke the protocol, or is another than it should be.
const ACCUSATIONS: [ErrorCode; 5] = [
    ErrorCode::MessageMalformed,
    ErrorCode::PlayerCheated,
    ErrorCode::Equivocation,
    ErrorCode::PairCompromised,
    ErrorCode::LinkWrongKey,
];

/// What is hashed and signed.
pub(crate) fn digest(message: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message).as_ref().to_vec()
}

/// Joins the parts of all signers and has a library that is not ours verify the signature.
pub(crate) fn signature_is_right(key: &KeyInfo, message: &[u8], parts: &[&[u8]]) -> Result<(), String> {
    let signature = nodes::join(&digest(message), parts.iter().copied())
        .map_err(|error| format!("the parts of a signature do not join: {error:?}"))?;
    // The last 65 bytes of a SubjectPublicKeyInfo are the uncompressed point.
    let point = &key.public_key[key.public_key.len() - 65..];
    UnparsedPublicKey::new(&ECDSA_P256K1_SHA256_ASN1, point)
        .verify(message, signature.der())
        .map_err(|_| "a signature does not verify".to_owned())
}

impl Session {
    /// What is wrong with what the callers were told.
    pub(crate) fn violations(&self, key: &KeyInfo, fired: &Fired) -> Vec<Violation> {
        let mut found = Vec::new();
        for answer in &self.answers {
            let wrong = match &answer.outcome {
                Outcome::Overdue => Some((Invariant::Answered, "got no answer by the deadline".to_owned())),
                Outcome::Failed(failure) => unfounded(failure, fired),
                Outcome::Signed(_)
                | Outcome::Key(_)
                | Outcome::Presigned(_)
                | Outcome::Lost
                | Outcome::HungUp => None,
            };
            found.extend(wrong.map(|(invariant, wrong)| {
                self.broken(invariant, format!("the caller of player {} {wrong}", answer.player))
            }));
            if let Some((used, twice)) = &answer.used {
                let gone = [ErrorCode::PresignatureNotFound, ErrorCode::PresignatureUsed];
                if *twice == Ok(()) || twice.is_err_and(|code| !gone.contains(&code)) {
                    let what = format!("a presignature was used for two digests: {twice:?}");
                    found.push(self.broken(Invariant::Once, what));
                }
                if used.as_ref().is_err_and(|code| !gone.contains(code)) {
                    let what = format!("a presignature could not be used: {used:?}");
                    found.push(self.broken(Invariant::Reasons, what));
                }
            }
        }
        found.extend(self.disagreements());
        found.extend(self.wrong_signatures(key));
        found
    }

    fn broken(&self, invariant: Invariant, what: impl fmt::Display) -> Violation {
        invariant.broken(format!("{}: {what}", self.id))
    }

    /// Whoever was told of success was told the same.
    fn disagreements(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut differ = |what: String| found.push(self.broken(Invariant::Agreement, what));
        let keys: Vec<&KeyInfo> = self.keys().collect();
        if keys.windows(2).any(|two| two[0] != two[1]) {
            differ(format!("callers have different keys: {keys:?}"));
        }
        // The same process gives the same answer again.
        let mut first: BTreeMap<(u16, u64), String> = BTreeMap::new();
        for answer in &self.answers {
            let success = match &answer.outcome {
                Outcome::Signed(part) => format!("{part:?}"),
                Outcome::Key(key) => format!("{key:?}"),
                Outcome::Presigned(ids) => format!("{ids:?}"),
                Outcome::Failed(_) | Outcome::Lost | Outcome::HungUp | Outcome::Overdue => continue,
            };
            let place = first.entry((answer.player, answer.process)).or_insert_with(|| success.clone());
            if *place != success {
                differ(format!("player {} gave two answers", answer.player));
            }
        }
        let presigned = self.answers.iter().filter_map(|answer| match &answer.outcome {
            Outcome::Presigned(ids) => Some(ids),
            _ => None,
        });
        let presigned: Vec<_> = presigned.collect();
        if presigned.windows(2).any(|two| two[0] != two[1]) {
            differ("signers have different presignatures".to_owned());
        }
        found
    }

    /// Keys that callers were told of.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &KeyInfo> {
        self.answers.iter().filter_map(|answer| match &answer.outcome {
            Outcome::Key(key) => Some(key),
            _ => None,
        })
    }

    /// Where every signer has a part, the parts make a signature.
    fn wrong_signatures(&self, key: &KeyInfo) -> Option<Violation> {
        let mut parts: BTreeMap<u16, &[u8]> = BTreeMap::new();
        for answer in &self.answers {
            match (&answer.outcome, &answer.used) {
                (Outcome::Signed(part), _) | (_, Some((Ok(part), _))) => {
                    parts.insert(answer.player, part);
                }
                _ => {}
            }
        }
        if self.plan.ask == Ask::Generate || parts.len() < self.plan.players.len() {
            return None;
        }
        let parts: Vec<&[u8]> = parts.into_values().collect();
        let wrong = signature_is_right(key, &self.message, &parts).err()?;
        Some(self.broken(Invariant::Signatures, wrong))
    }
}

/// What is wrong with a reason, all players being honest. What accuses somebody, refuses what was in
/// order, or admits a defect, is explained by no fault.
fn unfounded(failure: &Failure, fired: &Fired) -> Option<(Invariant, String)> {
    let told = format!("was told {}: {failure}", failure.code);
    if ACCUSATIONS.contains(&failure.code) {
        return Some((Invariant::NobodyAccused, format!("{told}, and all nodes are honest")));
    }
    if fired.kinds().all(|fault| fault.explains().is_empty()) {
        return Some((Invariant::NothingLost, format!("{told}, and nothing was lost")));
    }
    if !fired.kinds().any(|fault| fault.explains().contains(&failure.code)) {
        return Some((Invariant::Reasons, format!("{told}, which nothing that happened explains")));
    }
    let nameless = failure.code.actor() == Actor::Player && failure.players.is_empty();
    nameless.then(|| (Invariant::Reasons, format!("{told}, which names nobody")))
}
