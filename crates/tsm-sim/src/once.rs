//! Values that may appear in one session of one process only, as frames show them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use tsm_types::{Operation, SessionTag};

use crate::frames;

/// Whose a value is: session, player, and which of its processes.
pub(crate) type Owner = (SessionTag, u16, u64);

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Once {
    values: BTreeMap<(&'static str, Vec<u8>), Owner>,
    /// What one process told one peer in one round.
    messages: BTreeMap<(Owner, u16, u8, u8), u64>,
}

impl Once {
    /// Looks at a frame; says what is wrong with it.
    pub(crate) fn look(
        &mut self,
        operation: &Operation,
        owner: Owner,
        to: u16,
        bytes: &[u8],
    ) -> Option<String> {
        let (_, phase, round) = frames::round(bytes)?;
        let (body, player) = (&bytes[frames::BODY..], owner.1);
        match self.messages.entry((owner, to, phase, round)) {
            Entry::Vacant(first) => drop(first.insert(long_digest(bytes))),
            Entry::Occupied(first) if *first.get() != long_digest(bytes) => {
                return Some(format!(
                    "player {player} said two things to player {to} in round {phase}.{round}"
                ));
            }
            Entry::Occupied(_) => return None,
        }
        let twice = values(operation, phase, round, body).into_iter().find_map(|(name, value)| {
            let first = *self.values.entry((name, value)).or_insert(owner);
            (first != owner).then_some(name)
        })?;
        Some(format!("player {player} used the {twice} of one session in another"))
    }
}

/// The values of a message that are drawn for one session, by the formats of `docs/formats.md`.
fn values(operation: &Operation, phase: u8, round: u8, body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let part = |name, from: usize, length: usize| Some((name, body.get(from..from + length)?.to_vec()));
    let found = match (operation, phase, round) {
        (Operation::SignEcdsa { .. }, 1, 1) => {
            vec![part("commitment", 0, 32), part("fresh bytes", 32, 32), part("pair and nonce", 64, 64)]
        }
        (Operation::SignEcdsa { .. }, 1, 2) => {
            let echoed = body.first_chunk::<4>().map_or(0, |count| u32::from_le_bytes(*count) as usize);
            vec![part("nonce point", 4 + 32 * echoed + 32, 33)]
        }
        (Operation::GenerateKey { .. }, 1, 1) => vec![part("commitment", 0, 32), part("fresh bytes", 32, 32)],
        _ => Vec::new(),
    };
    found.into_iter().flatten().collect()
}

/// FNV-1a over the first and the last bytes.
fn long_digest(bytes: &[u8]) -> u64 {
    let last = bytes.len().saturating_sub(64).max(512.min(bytes.len()));
    let seen = bytes.iter().take(512).chain(&bytes[last..]);
    seen.fold(0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
