//! What must hold after every schedule, whatever went wrong in it.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ECDSA_P256K1_SHA256_ASN1, UnparsedPublicKey};
use tsm_types::error_code::Actor;
use tsm_types::request::KeyInfo;
use tsm_types::{ErrorCode, Failure};

use crate::caller::{Answered, Outcome};
use crate::faults::Fired;
use crate::nodes;
use crate::plan::{Ask, SessionPlan};

/// A session and what its callers were told.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) plan: SessionPlan,
    pub(crate) message: Vec<u8>,
    pub(crate) answers: Vec<Answered>,
}

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
    pub(crate) fn violations(&self, key: &KeyInfo, fired: &Fired) -> Vec<String> {
        let mut found = Vec::new();
        for answer in &self.answers {
            let wrong = match &answer.outcome {
                Outcome::Overdue => Some("got no answer by the deadline".to_owned()),
                Outcome::Failed(failure) => unfounded(failure, fired),
                Outcome::Signed(_)
                | Outcome::Key(_)
                | Outcome::Presigned(_)
                | Outcome::Lost
                | Outcome::HungUp => None,
            };
            found.extend(
                wrong.map(|wrong| format!("{}: the caller of player {} {wrong}", self.id, answer.player)),
            );
            if let Some((used, twice)) = &answer.used {
                let gone = [ErrorCode::PresignatureNotFound, ErrorCode::PresignatureUsed];
                if *twice == Ok(()) || twice.is_err_and(|code| !gone.contains(&code)) {
                    found.push(format!("{}: a presignature was used for two digests: {twice:?}", self.id));
                }
                if used.as_ref().is_err_and(|code| !gone.contains(code)) {
                    found.push(format!("{}: a presignature could not be used: {used:?}", self.id));
                }
            }
        }
        found.extend(self.disagreements());
        found.extend(self.wrong_signatures(key));
        found
    }

    /// Whoever was told of success was told the same.
    fn disagreements(&self) -> Vec<String> {
        let mut found = Vec::new();
        let keys: Vec<&KeyInfo> = self.keys().collect();
        if keys.windows(2).any(|two| two[0] != two[1]) {
            found.push(format!("{}: callers have different keys: {keys:?}", self.id));
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
                found.push(format!("{}: player {} gave two answers", self.id, answer.player));
            }
        }
        let presigned = self.answers.iter().filter_map(|answer| match &answer.outcome {
            Outcome::Presigned(ids) => Some(ids),
            _ => None,
        });
        let presigned: Vec<_> = presigned.collect();
        if presigned.windows(2).any(|two| two[0] != two[1]) {
            found.push(format!("{}: signers have different presignatures", self.id));
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
    fn wrong_signatures(&self, key: &KeyInfo) -> Option<String> {
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
        signature_is_right(key, &self.message, &parts).err().map(|wrong| format!("{}: {wrong}", self.id))
    }
}

/// What is wrong with a reason, all players being honest. What accuses somebody, refuses what was in
/// order, or admits a defect, is explained by no fault.
fn unfounded(failure: &Failure, fired: &Fired) -> Option<String> {
    if !fired.kinds().any(|fault| fault.explains().contains(&failure.code)) {
        return Some(format!("was told {}: {failure}, which nothing that happened explains", failure.code));
    }
    let nameless = failure.code.actor() == Actor::Player && failure.players.is_empty();
    nameless.then(|| format!("was told {}: {failure}, which names nobody", failure.code))
}
