//! Which provisional keys there are, by holder and by name.
//!
//! A peer that comes is asked for the certificates that it may have; what the other holders' phones
//! left behind must cost it nothing. The store alone is the truth: this is read from it once, and
//! changes with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tsm_protocols::Certificate;
use tsm_types::{ApplicationId, KeyId, PlayerKey};

/// Digest of a certificate.
pub(crate) type Digest = [u8; 32];

/// The provisional keys of one node.
#[derive(Default)]
pub(crate) struct Provisional {
    all: BTreeMap<Digest, (Name, Vec<PlayerKey>)>,
    by_holder: HashMap<PlayerKey, BTreeSet<Digest>>,
    /// Key generations that failed late may leave several under one name.
    by_name: HashMap<Name, BTreeSet<Digest>>,
    of_application: HashMap<ApplicationId, BTreeSet<Digest>>,
}

type Name = (ApplicationId, KeyId);

impl Provisional {
    pub(crate) fn insert(&mut self, application: &ApplicationId, certificate: &Certificate) {
        let digest = certificate.digest();
        let name = (application.clone(), certificate.key_id.clone());
        let holders: Vec<PlayerKey> = certificate.holders.iter().map(|(_, key)| key.clone()).collect();
        for holder in &holders {
            self.by_holder.entry(holder.clone()).or_default().insert(digest);
        }
        self.by_name.entry(name.clone()).or_default().insert(digest);
        self.of_application.entry(application.clone()).or_default().insert(digest);
        self.all.insert(digest, (name, holders));
    }

    pub(crate) fn remove(&mut self, digest: &Digest) {
        let Some((name, holders)) = self.all.remove(digest) else { return };
        for holder in &holders {
            remove(&mut self.by_holder, holder, digest);
        }
        remove(&mut self.of_application, &name.0, digest);
        remove(&mut self.by_name, &name, digest);
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.all.contains_key(digest)
    }

    pub(crate) fn of_holder(&self, holder: &PlayerKey) -> Vec<Digest> {
        self.by_holder.get(holder).into_iter().flatten().copied().collect()
    }

    /// How many keys of an application are provisional.
    pub(crate) fn count(&self, application: &ApplicationId) -> usize {
        self.of_application.get(application).map_or(0, BTreeSet::len)
    }

    pub(crate) fn of_name(&self, application: &ApplicationId, key_id: &KeyId) -> Vec<Digest> {
        let name = (application.clone(), key_id.clone());
        self.by_name.get(&name).into_iter().flatten().copied().collect()
    }
}

fn remove<K: std::hash::Hash + Eq>(map: &mut HashMap<K, BTreeSet<Digest>>, key: &K, digest: &Digest) {
    if let Some(digests) = map.get_mut(key) {
        digests.remove(digest);
        if digests.is_empty() {
            map.remove(key);
        }
    }
}
