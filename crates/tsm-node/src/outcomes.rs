//! One run for one request: a caller that asks again gets the same answer.
//!
//! A run belongs to (application, session ID). The same request joins the running one or gets the
//! kept outcome; another request under the same ID is a conflict. When the last caller leaves a
//! running one, it is cancelled.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tsm_types::presignatures::Presigned;
use tsm_types::request::{KeyInfo, Signed};
use tsm_types::{ApplicationId, ErrorCode, Failure, SessionId, SessionTag};

use crate::node::Inner;

/// Outcomes that are kept at most; the oldest goes first.
const MAX_OUTCOMES: usize = 16 * 1024;

/// What a session gave its caller.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Key(KeyInfo),
    Signed(Signed),
    Presigned(Presigned),
}

type Answer = Result<Outcome, Failure>;

/// Outcomes of one node, running and kept.
#[derive(Default)]
pub(crate) struct Outcomes(Arc<Mutex<Runs>>);

/// A run's name.
type Place = (ApplicationId, SessionId);

#[derive(Default)]
struct Runs {
    runs: HashMap<Place, Run>,
    /// Those that have ended, oldest first: so that no call looks at the runs of others.
    ended: VecDeque<(Instant, Place)>,
}

struct Run {
    tag: SessionTag,
    answer: watch::Receiver<Option<Answer>>,
    /// Held by the callers that wait; gone when the last of them left.
    callers: Weak<DropGuard>,
}

impl Runs {
    /// The run of this name, if it is of the same request.
    fn find(&self, place: &Place, tag: SessionTag) -> Result<Option<&Run>, Failure> {
        let run = self.runs.get(place);
        if run.is_some_and(|run| run.tag != tag) {
            let detail = format!("session ID {} belongs to another request of this application", place.1);
            return Err(Failure::new(ErrorCode::SessionConflict, detail));
        }
        Ok(run)
    }

    /// Forgets what has been kept for `lifetime`, and the oldest beyond the limit.
    fn expire(&mut self, lifetime: Duration) {
        while let Some((since, _)) = self.ended.front()
            && (since.elapsed() >= lifetime || self.ended.len() > MAX_OUTCOMES)
        {
            if let Some((_, place)) = self.ended.pop_front() {
                self.runs.remove(&place);
            }
        }
    }
}

/// Keeps the outcome from when the run's task ends, however it ends.
struct Keep {
    runs: Arc<Mutex<Runs>>,
    place: Option<Place>,
}

impl Drop for Keep {
    fn drop(&mut self) {
        let ended = self.place.take().map(|place| (Instant::now(), place));
        lock(&self.runs).ended.extend(ended);
    }
}

impl Outcomes {
    /// Gives the outcome of the run with this ID, starting it with `work` if it is new.
    pub(crate) async fn once<W>(
        &self,
        node: &Arc<Inner>,
        application: &ApplicationId,
        id: &SessionId,
        tag: SessionTag,
        work: W,
    ) -> Answer
    where
        W: Future<Output = Answer> + Send + 'static,
    {
        let (mut answer, _stay) = self.join_or_start(node, application, id, tag, work)?;
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().expect("waited for it"),
            Err(_) => Err(Failure::new(ErrorCode::NodeFault, "the session ended without an answer")),
        }
    }

    #[expect(clippy::type_complexity, reason = "two handles on one run")]
    fn join_or_start<W>(
        &self,
        node: &Arc<Inner>,
        application: &ApplicationId,
        id: &SessionId,
        tag: SessionTag,
        work: W,
    ) -> Result<(watch::Receiver<Option<Answer>>, Option<Arc<DropGuard>>), Failure>
    where
        W: Future<Output = Answer> + Send + 'static,
    {
        let mut runs = lock(&self.0);
        runs.expire(node.settings.outcome_lifetime);
        let place = (application.clone(), id.clone());
        if let Some(run) = runs.find(&place, tag)? {
            return Ok((run.answer.clone(), run.callers.upgrade()));
        }
        let cancelled = CancellationToken::new();
        let callers = Arc::new(cancelled.clone().drop_guard());
        let (sender, answer) = watch::channel(None);
        let run = Run { tag, answer: answer.clone(), callers: Arc::downgrade(&callers) };
        runs.runs.insert(place.clone(), run);
        // A runtime that is ending drops the task at once, and that takes the lock.
        drop(runs);
        let (keep, me) = (Keep { runs: self.0.clone(), place: Some(place) }, node.known.me);
        node.runs.spawn(async move {
            let _keep = keep;
            let result = tokio::select! {
                biased;
                result = work => result,
                // Dropping the work ends the session at all players.
                () = cancelled.cancelled() => {
                    let detail = "the caller of this node left the session before it had ended";
                    Err(Failure::new(ErrorCode::SessionCancelled, detail).about(me, "its caller left"))
                }
            };
            sender.send_replace(Some(result));
        });
        Ok((answer, Some(callers)))
    }

    /// Forgets what is too old. To be called now and then, so that a quiet node's memory falls.
    pub(crate) fn expire(&self, lifetime: Duration) {
        lock(&self.0).expire(lifetime);
    }
}

fn lock(runs: &Mutex<Runs>) -> MutexGuard<'_, Runs> {
    runs.lock().expect("no holder of this lock panics")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(600);

    fn place(number: usize) -> Place {
        (ApplicationId::new("app").unwrap(), SessionId::new(format!("run-{number}")).unwrap())
    }

    fn start(runs: &mut Runs, number: usize) {
        let run = Run { tag: SessionTag([0; 32]), answer: watch::channel(None).1, callers: Weak::new() };
        runs.runs.insert(place(number), run);
    }

    fn end(runs: &mut Runs, number: usize) {
        start(runs, number);
        runs.ended.push_back((Instant::now(), place(number)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_is_kept_for_its_lifetime_and_a_running_one_until_it_ends() {
        let mut runs = Runs::default();
        start(&mut runs, 0);
        end(&mut runs, 1);
        tokio::time::advance(LIFETIME - Duration::from_millis(1)).await;
        end(&mut runs, 2);
        runs.expire(LIFETIME);
        assert_eq!((runs.runs.len(), runs.ended.len()), (3, 2));
        tokio::time::advance(Duration::from_millis(1)).await;
        runs.expire(LIFETIME);
        assert!(!runs.runs.contains_key(&place(1)));
        assert_eq!((runs.runs.len(), runs.ended.len()), (2, 1));
    }

    #[test]
    fn the_same_request_finds_its_run_and_another_is_a_conflict() {
        let mut runs = Runs::default();
        start(&mut runs, 0);
        assert!(runs.find(&place(0), SessionTag([0; 32])).unwrap().is_some());
        assert!(runs.find(&place(1), SessionTag([0; 32])).unwrap().is_none());
        let conflict = runs.find(&place(0), SessionTag([1; 32])).err().unwrap();
        assert_eq!(conflict.code, ErrorCode::SessionConflict);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_whose_task_ends_is_forgotten_in_time_however_it_ended() {
        let outcomes = Outcomes::default();
        start(&mut lock(&outcomes.0), 0);
        drop(Keep { runs: outcomes.0.clone(), place: Some(place(0)) });
        assert_eq!(lock(&outcomes.0).ended.len(), 1);
        tokio::time::advance(LIFETIME).await;
        outcomes.expire(LIFETIME);
        assert!(lock(&outcomes.0).runs.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn s105_of_16384_outcomes_the_oldest_gives_way() {
        let mut runs = Runs::default();
        for number in 0..16_384 {
            end(&mut runs, number);
            runs.expire(LIFETIME);
        }
        assert!(runs.runs.contains_key(&place(0)), "all have room");
        end(&mut runs, 16_384);
        runs.expire(LIFETIME);
        assert!(!runs.runs.contains_key(&place(0)) && runs.runs.contains_key(&place(16_384)));
        assert_eq!((runs.runs.len(), runs.ended.len()), (16_384, 16_384));
    }
}
