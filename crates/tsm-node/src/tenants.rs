//! What one tenant may take of a node (rule S-104).
//!
//! A tenant is a *dynamic player*: a public key that this node's configuration does not have. Static
//! players are the operator's own choice and are not limited here. What a tenant's links may cost is
//! in [`tsm_transport::Limits`], what its frames may cost in `waiting.rs`.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tsm_types::{ApplicationId, ErrorCode, Failure, PlayerIndex, PlayerKey, Players};

use crate::node::Inner;
use crate::settings::TenantLimits;

/// Who is a tenant, and what it may take.
pub(crate) struct Tenants {
    pub limits: TenantLimits,
    static_keys: HashSet<PlayerKey>,
    being_made: BeingMade<PlayerKey>,
    being_made_for: BeingMade<ApplicationId>,
}

impl Tenants {
    pub(crate) fn new(limits: TenantLimits, static_keys: HashSet<PlayerKey>) -> Self {
        let (being_made, being_made_for) = (BeingMade::default(), BeingMade::default());
        Tenants { limits, static_keys, being_made, being_made_for }
    }

    pub(crate) fn is_dynamic(&self, key: &PlayerKey) -> bool {
        !self.static_keys.contains(key)
    }

    /// The players of a session that are tenants here.
    pub(crate) fn of<'a>(
        &'a self,
        players: &'a Players,
        me: PlayerIndex,
    ) -> impl Iterator<Item = (PlayerIndex, &'a PlayerKey)> {
        players.iter().filter(move |(index, key)| *index != me && self.is_dynamic(key))
    }
}

/// Keys that are being made: places that are taken although nothing is stored yet.
struct BeingMade<K>(Mutex<HashMap<K, usize>>);

impl<K> Default for BeingMade<K> {
    fn default() -> Self {
        BeingMade(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> BeingMade<K> {
    fn take(&self, whose: &K) -> usize {
        let mut numbers = self.0.lock().expect("no holder of this lock panics");
        let number = numbers.entry(whose.clone()).or_default();
        *number += 1;
        *number
    }

    fn give_back(&self, whose: &K) {
        let mut numbers = self.0.lock().expect("no holder of this lock panics");
        if let Some(number) = numbers.get_mut(whose) {
            *number -= 1;
            if *number == 0 {
                numbers.remove(whose);
            }
        }
    }
}

/// Places for one key, taken from the application that asks for it and from every tenant that is to
/// hold it, until this is dropped.
pub(crate) struct KeyPlaces {
    node: Arc<Inner>,
    application: ApplicationId,
    tenants: Vec<PlayerKey>,
}

impl KeyPlaces {
    /// Takes a place from the application and from every tenant among the players, or refuses.
    pub(crate) async fn take(
        node: &Arc<Inner>,
        application: &ApplicationId,
        players: &Players,
    ) -> Result<KeyPlaces, Failure> {
        let being_made = node.tenants.being_made_for.take(application);
        let mut places =
            KeyPlaces { node: node.clone(), application: application.clone(), tenants: Vec::new() };
        if let Some(limit) = node.tenants.limits.keys_of_application
            && node.vault.keys_of(application).await? + being_made > limit
        {
            node.counters.refused(ErrorCode::ApplicationKeyLimit);
            let detail = format!("application {application} has {limit} keys at this node");
            return Err(Failure::new(ErrorCode::ApplicationKeyLimit, detail));
        }
        for (player, key) in node.tenants.of(players, node.known.me) {
            // Before what is stored is counted: so a key that is just being stored counts at least once.
            let being_made = node.tenants.being_made.take(key);
            places.tenants.push(key.clone());
            let limit = node.tenants.limits.keys;
            if node.vault.keys_held_by(key).await? + being_made <= limit {
                continue;
            }
            // A crash may have left something that counts and is not there.
            node.vault.settle(key).await?;
            if node.vault.keys_held_by(key).await? + being_made > limit {
                node.counters.refused(ErrorCode::TenantKeyLimit);
                return Err(refusal(ErrorCode::TenantKeyLimit, player, key, limit, "keys"));
            }
        }
        Ok(places)
    }

    /// Who the key counts for.
    pub(crate) fn tenants(&self) -> &[PlayerKey] {
        &self.tenants
    }
}

impl Drop for KeyPlaces {
    fn drop(&mut self) {
        self.tenants.iter().for_each(|key| self.node.tenants.being_made.give_back(key));
        self.node.tenants.being_made_for.give_back(&self.application);
    }
}

/// A tenant has as much of something as it may.
pub(crate) fn refusal(
    code: ErrorCode,
    player: PlayerIndex,
    key: &PlayerKey,
    limit: usize,
    of_what: &str,
) -> Failure {
    let fingerprint = key.fingerprint();
    let detail = format!(
        "player {player}, public key {fingerprint}, has {limit} {of_what} at this node: more a dynamic player may not have"
    );
    Failure::new(code, detail).about(player, fingerprint.to_string())
}
