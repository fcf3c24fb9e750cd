//! Presignatures of one process: made, taken once, remembered for who asks again
//! (docs/spec/presigning.md 6; rules S-56, S-57, S-59, S-116, S-117).
//!
//! Everything is behind one lock. [`Pool::take`] moves a presignature out and makes the partial
//! signature of it while it holds the lock, so that there is no moment at which somebody else could
//! see it: it is unused, or it is used for one tuple and its bytes are there.
//!
//! Generic, so that a model test can try every order of callers with values that count their uses
//! (`tests/presignature_pool.rs`): `S` is what is used once, `P` what is public of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tsm_types::presignatures::PresignatureSet;
use tsm_types::{ApplicationId, ErrorCode, Failure, KeyId, PlayerIndex, PresignatureId};

use super::sync::Mutex;

/// Uses that are remembered at most; the oldest goes first. Forgetting one is safe: its
/// presignature is gone.
const MAX_USES: usize = 16 * 1024;

/// Whose presignatures: an application's, of one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner {
    pub(crate) application: ApplicationId,
    pub(crate) key_id: KeyId,
}

/// Exactly who signs, ascending.
pub(crate) type SignerSet = Vec<PlayerIndex>;

pub(crate) struct Pool<S, P> {
    /// Most presignatures in the making and held, together.
    limit: usize,
    /// How long a use is remembered.
    memory: Duration,
    inner: Mutex<Inner<S, P>>,
}

struct Inner<S, P> {
    held: HashMap<PresignatureId, Held<S, P>>,
    /// Oldest first. Everything here is held, and everything held is here.
    queues: BTreeMap<Owner, BTreeMap<SignerSet, VecDeque<PresignatureId>>>,
    in_the_making: usize,
    /// Made and used so far.
    made: u64,
    used: u64,
    uses: HashMap<PresignatureId, Use<P>>,
    uses_by_age: VecDeque<(Instant, PresignatureId)>,
}

struct Held<S, P> {
    owner: Owner,
    signers: SignerSet,
    public: P,
    secret: S,
}

/// What was made of a presignature that is no more.
struct Use<P> {
    owner: Owner,
    public: P,
    tuple: [u8; 32],
    partial: Vec<u8>,
}

/// What a pool has and had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Unused now.
    pub(crate) held: u64,
    /// Being made now.
    pub(crate) in_the_making: u64,
    /// Made so far.
    pub(crate) made: u64,
    /// Used so far.
    pub(crate) used: u64,
}

/// Room for presignatures that are being made. Dropping it gives the room back.
pub(crate) struct Reservation<S, P> {
    pool: Arc<Pool<S, P>>,
    count: usize,
}

impl<S, P: Clone> Pool<S, P> {
    pub(crate) fn new(limit: usize, memory: Duration) -> Self {
        let inner = Inner {
            held: HashMap::new(),
            queues: BTreeMap::new(),
            in_the_making: 0,
            made: 0,
            used: 0,
            uses: HashMap::new(),
            uses_by_age: VecDeque::new(),
        };
        Pool { limit, memory, inner: Mutex::new(inner) }
    }

    /// Makes room for `count` more, or says why there is none.
    pub(crate) fn reserve(self: &Arc<Self>, count: usize) -> Result<Reservation<S, P>, Failure> {
        let mut inner = self.lock();
        let (making, held) = (inner.in_the_making, inner.held.len());
        if making + held + count > self.limit {
            let detail = format!(
                "{held} presignatures are held and {making} in the making; with {count} more it would be above {}",
                self.limit
            );
            return Err(Failure::new(ErrorCode::PresignatureLimit, detail));
        }
        inner.in_the_making += count;
        Ok(Reservation { pool: self.clone(), count })
    }

    /// The presignature to use, and what is public of it: the named one, used or not, or the oldest
    /// unused one of the signers.
    pub(crate) fn find(
        &self,
        owner: &Owner,
        id: Option<PresignatureId>,
        signers: Option<&SignerSet>,
    ) -> Result<(PresignatureId, P), Failure> {
        let mut inner = self.lock();
        inner.forget_old_uses(self.memory);
        let id = match id {
            Some(id) => id,
            None => inner.oldest(owner, signers)?,
        };
        let used = || inner.uses.get(&id).filter(|used| used.owner == *owner).map(|used| &used.public);
        let held = inner.held.get(&id).filter(|held| held.owner == *owner).map(|held| &held.public);
        let public = held.or_else(used).ok_or_else(|| not_found(id))?;
        Ok((id, public.clone()))
    }

    /// Takes a presignature for `tuple` and makes its partial signature, or gives the bytes that were
    /// made for the same tuple before.
    pub(crate) fn take(
        &self,
        owner: &Owner,
        id: PresignatureId,
        tuple: &[u8; 32],
        make: impl FnOnce(S) -> Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        let mut inner = self.lock();
        if let Some(used) = inner.uses.get(&id).filter(|used| used.owner == *owner) {
            if used.tuple != *tuple {
                let detail = format!("presignature {id} was used for another digest or path");
                return Err(Failure::new(ErrorCode::PresignatureUsed, detail));
            }
            return Ok(used.partial.clone());
        }
        if inner.held.get(&id).is_none_or(|held| held.owner != *owner) {
            return Err(not_found(id));
        }
        // From here on it is nowhere but in this function, whatever happens.
        let Held { public, secret, .. } = inner.remove(&id).ok_or_else(|| not_found(id))?;
        let partial = make(secret);
        inner.used += 1;
        inner.remember(id, Use { owner: owner.clone(), public, tuple: *tuple, partial: partial.clone() });
        Ok(partial)
    }

    /// Unused presignatures by signer set.
    pub(crate) fn count(&self, owner: &Owner) -> Vec<PresignatureSet> {
        let inner = self.lock();
        let sets = inner.queues.get(owner).into_iter().flatten();
        sets.map(|(signers, queue)| PresignatureSet { players: signers.clone(), count: queue.len() as u64 })
            .collect()
    }

    /// Deletes all of an owner's, and what is remembered of used ones. Returns how many were unused.
    pub(crate) fn delete(&self, owner: &Owner) -> usize {
        let mut inner = self.lock();
        let ids: Vec<PresignatureId> =
            inner.queues.remove(owner).into_iter().flatten().flat_map(|(_, queue)| queue).collect();
        for id in &ids {
            inner.held.remove(id);
        }
        inner.uses.retain(|_, used| used.owner != *owner);
        ids.len()
    }
}

impl<S, P> Pool<S, P> {
    pub(crate) fn counts(&self) -> Counts {
        let inner = self.lock();
        Counts {
            held: inner.held.len() as u64,
            in_the_making: inner.in_the_making as u64,
            made: inner.made,
            used: inner.used,
        }
    }

    /// A lock that a panic has poisoned is as good as any: what was taken is gone before something
    /// is made of it.
    fn lock(&self) -> impl std::ops::DerefMut<Target = Inner<S, P>> + '_ {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<S, P: Clone> Reservation<S, P> {
    /// Puts what was made into the pool, in this order, for these signers. Of theirs that are there
    /// already, those that are not `usable` any more go.
    pub(crate) fn fill(
        self,
        owner: &Owner,
        signers: &SignerSet,
        made: impl IntoIterator<Item = (PresignatureId, P, S)>,
        usable: impl Fn(&P) -> bool,
    ) {
        let mut inner = self.pool.lock();
        for id in inner.queue(owner, signers) {
            if inner.held.get(&id).is_some_and(|held| !usable(&held.public)) {
                inner.remove(&id);
            }
        }
        for (id, public, secret) in made.into_iter().take(self.count) {
            let held = Held { owner: owner.clone(), signers: signers.clone(), public, secret };
            // An identifier is a hash over everybody's fresh bytes: there is none twice.
            if !inner.uses.contains_key(&id) && inner.held.insert(id, held).is_none() {
                inner.made += 1;
                let sets = inner.queues.entry(owner.clone()).or_default();
                sets.entry(signers.clone()).or_default().push_back(id);
            }
        }
        drop(inner);
    }
}

impl<S, P> Drop for Reservation<S, P> {
    fn drop(&mut self) {
        self.pool.lock().in_the_making -= self.count;
    }
}

impl<S, P> Inner<S, P> {
    fn oldest(&self, owner: &Owner, signers: Option<&SignerSet>) -> Result<PresignatureId, Failure> {
        let none = || {
            let detail = format!("no presignature of key {} is held for these signers", owner.key_id);
            Failure::new(ErrorCode::PresignatureNotFound, detail)
        };
        let sets = self.queues.get(owner).ok_or_else(none)?;
        let queue = match signers {
            Some(signers) => sets.get(signers),
            None if sets.len() > 1 => {
                let rule = format!(
                    "presignatures of {} sets of signers are held: name the players, or the presignature",
                    sets.len()
                );
                return Err(Failure::invalid_field("players", &rule));
            }
            None => sets.values().next(),
        };
        queue.and_then(|queue| queue.front()).copied().ok_or_else(none)
    }

    /// The unused ones of a set of signers, oldest first.
    fn queue(&self, owner: &Owner, signers: &SignerSet) -> Vec<PresignatureId> {
        let queue = self.queues.get(owner).and_then(|sets| sets.get(signers));
        queue.into_iter().flatten().copied().collect()
    }

    fn remove(&mut self, id: &PresignatureId) -> Option<Held<S, P>> {
        let held = self.held.remove(id)?;
        if let Some(sets) = self.queues.get_mut(&held.owner) {
            if let Some(queue) = sets.get_mut(&held.signers) {
                // Mostly the first: the oldest is used first.
                if let Some(place) = queue.iter().position(|queued| queued == id) {
                    queue.remove(place);
                }
                if queue.is_empty() {
                    sets.remove(&held.signers);
                }
            }
            if sets.is_empty() {
                self.queues.remove(&held.owner);
            }
        }
        Some(held)
    }

    fn remember(&mut self, id: PresignatureId, used: Use<P>) {
        self.uses.insert(id, used);
        self.uses_by_age.push_back((Instant::now(), id));
        if self.uses_by_age.len() > MAX_USES {
            self.forget_oldest_use();
        }
    }

    fn forget_old_uses(&mut self, memory: Duration) {
        while self.uses_by_age.front().is_some_and(|(since, _)| since.elapsed() >= memory) {
            self.forget_oldest_use();
        }
    }

    fn forget_oldest_use(&mut self) {
        if let Some((_, id)) = self.uses_by_age.pop_front() {
            self.uses.remove(&id);
        }
    }
}

fn not_found(id: PresignatureId) -> Failure {
    Failure::new(
        ErrorCode::PresignatureNotFound,
        format!(
            "presignature {id} is not held: it was never made here, was used some time ago, or went with a restart"
        ),
    )
}
