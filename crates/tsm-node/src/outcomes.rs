//! One run for one request: a caller that asks again gets the same answer.
//!
//! A run belongs to (application, session ID). The same request joins the running one or gets the
//! kept outcome; another request under the same ID is a conflict. When the last caller leaves a
//! running one, it is cancelled.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, Weak};

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
pub(crate) struct Outcomes(Mutex<HashMap<(ApplicationId, SessionId), Run>>);

struct Run {
    tag: SessionTag,
    answer: watch::Receiver<Option<Answer>>,
    /// Held by the callers that wait; gone when the last of them left.
    callers: Weak<DropGuard>,
    started: Instant,
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
        let mut runs = self.0.lock().expect("no holder of this lock panics");
        let lifetime = node.settings.outcome_lifetime;
        runs.retain(|_, run| run.answer.borrow().is_none() || run.started.elapsed() < lifetime);
        if let Some(run) = runs.get(&(application.clone(), id.clone())) {
            if run.tag != tag {
                let detail = format!("session ID {id} belongs to another request of this application");
                return Err(Failure::new(ErrorCode::SessionConflict, detail));
            }
            return Ok((run.answer.clone(), run.callers.upgrade()));
        }
        if runs.len() >= MAX_OUTCOMES {
            let kept = runs.iter().filter(|(_, run)| run.answer.borrow().is_some());
            if let Some(oldest) = kept.min_by_key(|(_, run)| run.started).map(|(place, _)| place.clone()) {
                runs.remove(&oldest);
            }
        }
        let cancelled = CancellationToken::new();
        let callers = Arc::new(cancelled.clone().drop_guard());
        let (sender, answer) = watch::channel(None);
        node.tasks.spawn(async move {
            let result = tokio::select! {
                biased;
                result = work => result,
                // Dropping the work ends the session at all players.
                () = cancelled.cancelled() => Err(Failure::new(ErrorCode::SessionCancelled, "the caller left")),
            };
            sender.send_replace(Some(result));
        });
        let run =
            Run { tag, answer: answer.clone(), callers: Arc::downgrade(&callers), started: Instant::now() };
        runs.insert((application.clone(), id.clone()), run);
        Ok((answer, Some(callers)))
    }
}
