//! Keys below a key, remembered (`Bip32CacheSize`).
//!
//! A path of many steps takes a point multiplication each; the parents of addresses are asked for
//! again and again. What is kept follows from a certificate and a path, and is no secret.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use tsm_protocols::{Certificate, DerivedKey};
use tsm_types::{DerivationPath, ErrorCode, Failure};

use crate::compute::Urgency;
use crate::node::Inner;

/// Derived keys of one node, the least recently used one going first.
pub(crate) struct DerivedKeys {
    most: usize,
    kept: Mutex<Kept>,
}

/// A certificate's digest, and steps below its key.
type Name = ([u8; 32], Vec<u32>);

#[derive(Default)]
struct Kept {
    keys: HashMap<Name, (Arc<DerivedKey>, u64)>,
    /// By when they were used.
    order: BTreeMap<u64, Name>,
    uses: u64,
}

impl DerivedKeys {
    /// Keeps at most this many keys, over all applications; 0 keeps none.
    pub(crate) fn new(most: usize) -> Self {
        DerivedKeys { most, kept: Mutex::default() }
    }

    /// The longest part of the way to the key that is known.
    fn nearest(&self, certificate: [u8; 32], path: &[u32]) -> Option<Arc<DerivedKey>> {
        let mut kept = self.kept.lock().expect("no holder of this lock panics");
        (1..=path.len()).rev().find_map(|steps| kept.touch(&(certificate, path.get(..steps)?.to_vec())))
    }

    fn keep(&self, key: Arc<DerivedKey>) {
        if self.most == 0 {
            return;
        }
        let mut kept = self.kept.lock().expect("no holder of this lock panics");
        let name = (*key.certificate(), key.path().to_vec());
        if kept.touch(&name).is_some() {
            return;
        }
        while kept.keys.len() >= self.most
            && let Some((_, oldest)) = kept.order.pop_first()
        {
            kept.keys.remove(&oldest);
        }
        kept.uses += 1;
        let now = kept.uses;
        kept.order.insert(now, name.clone());
        kept.keys.insert(name, (key, now));
    }
}

impl Kept {
    fn touch(&mut self, name: &Name) -> Option<Arc<DerivedKey>> {
        let (key, used) = self.keys.get_mut(name)?;
        self.order.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.order.insert(self.uses, name.clone());
        Some(key.clone())
    }
}

/// D2: refuses a path that is shorter than the configuration allows (rule S-93). Before the share
/// is read and before anybody is spoken to.
pub(crate) fn long_enough(node: &Inner, path: &DerivationPath) -> Result<(), Failure> {
    let least = node.settings.min_chain_path_length;
    if path.len() >= least {
        return Ok(());
    }
    let detail =
        format!("`derivation_path`: {path} has {} steps; at this node it has at least {least}", path.len());
    Err(Failure::new(ErrorCode::PathTooShort, detail))
}

/// The key at a path below a certificate's key.
pub(crate) async fn derive(
    node: &Arc<Inner>,
    certificate: &Certificate,
    path: &DerivationPath,
) -> Result<Arc<DerivedKey>, Failure> {
    if path.is_empty() {
        return Ok(Arc::new(DerivedKey::root(certificate)));
    }
    let nearest = node.derived.nearest(certificate.digest(), path);
    let mut key = match nearest {
        Some(key) if key.path().len() == path.len() => return Ok(key),
        Some(key) => key,
        None => Arc::new(DerivedKey::root(certificate)),
    };
    let steps = path.get(key.path().len()..).unwrap_or_default().to_vec();
    let made = node.compute.run(Urgency::Now, b"derivation".to_vec(), move |_| {
        let mut made = Vec::new();
        for step in steps {
            key = Arc::new(key.child(step)?);
            made.push(key.clone());
        }
        Ok::<_, Failure>(made)
    });
    let made = made.await??;
    made.iter().for_each(|key| node.derived.keep(key.clone()));
    made.last().cloned().ok_or_else(|| Failure::new(ErrorCode::NodeFault, "a path without a last step"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> DerivedKey {
        DerivedKey::root(&crate::wire::tests::certificate().certificate)
    }

    fn at(path: &[u32]) -> Arc<DerivedKey> {
        Arc::new(path.iter().fold(root(), |key, step| key.child(*step).unwrap()))
    }

    fn found(keys: &DerivedKeys, path: &[u32]) -> Option<Vec<u32>> {
        keys.nearest(*root().certificate(), path).map(|key| key.path().to_vec())
    }

    #[test]
    fn the_nearest_known_key_of_the_same_certificate_is_found() {
        let keys = DerivedKeys::new(10);
        for path in [&[1][..], &[1, 2], &[4, 5, 6]] {
            keys.keep(at(path));
        }
        assert_eq!(found(&keys, &[1, 2]), Some(vec![1, 2]));
        assert_eq!(found(&keys, &[1, 2, 3, 4]), Some(vec![1, 2]));
        assert_eq!(found(&keys, &[1, 3]), Some(vec![1]));
        assert_eq!(found(&keys, &[2, 1]), None);
        assert_eq!(found(&keys, &[4, 5]), None);
        assert_eq!(found(&keys, &[]), None);
        assert!(keys.nearest([9; 32], &[1, 2]).is_none(), "another certificate");
        let same = keys.nearest(*root().certificate(), &[1, 2]).unwrap();
        assert_eq!(same.public_key(), at(&[1, 2]).public_key());
    }

    #[test]
    fn s105_no_more_keys_are_kept_than_configured_and_the_longest_unused_goes_first() {
        let keys = DerivedKeys::new(3);
        for step in 0..3 {
            keys.keep(at(&[step]));
        }
        assert_eq!(found(&keys, &[0]), Some(vec![0]));
        keys.keep(at(&[3]));
        assert_eq!(found(&keys, &[1]), None, "the one that was used longest ago");
        for kept in [0, 2, 3] {
            assert_eq!(found(&keys, &[kept]), Some(vec![kept]));
        }
        for step in 10..40 {
            keys.keep(at(&[step]));
            keys.keep(at(&[step]));
            let kept = keys.kept.lock().unwrap();
            assert_eq!((kept.keys.len(), kept.order.len()), (3, 3));
        }
    }

    #[test]
    fn a_size_of_zero_keeps_nothing() {
        let keys = DerivedKeys::new(0);
        keys.keep(at(&[1]));
        assert_eq!(found(&keys, &[1]), None);
    }
}
