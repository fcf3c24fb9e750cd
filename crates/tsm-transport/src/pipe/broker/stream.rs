//! One pipe through a broker, as a stream of bytes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::PollSender;

use super::flow::{Inbound, Outbound, Verdict};
use super::message::{Content, MAX_BODY_BYTES, Message, NodeInbox, PipeId};
use super::multiplexer::{Letter, Multiplexer};
use super::{Inbox, Publishing};

/// How long a message may be missing while later ones are there: longer than any broker takes to
/// deliver two messages the wrong way round, shorter than callers wait for a session's players.
pub(super) const GAP_TIME: Duration = Duration::from_secs(2);

/// What the multiplexer and the stream of one pipe share.
pub(super) struct State {
    inbound: Inbound,
    outbound: Outbound,
    /// Of the dialler, until the pipe is accepted.
    accepted: Option<oneshot::Sender<NodeInbox>>,
    /// Why nothing more comes or goes.
    ended: Option<(io::ErrorKind, String)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl State {
    pub(super) fn new(accepted: Option<oneshot::Sender<NodeInbox>>) -> Self {
        State {
            inbound: Inbound::new(),
            outbound: Outbound::new(),
            accepted,
            ended: None,
            reader: None,
            writer: None,
        }
    }

    /// Returns whether somebody waited for it.
    pub(super) fn accept(&mut self, node: NodeInbox) -> bool {
        self.accepted.take().is_some_and(|accepted| accepted.send(node).is_ok())
    }

    pub(super) fn take(&mut self, number: u64, body: Option<Vec<u8>>) -> Verdict {
        let verdict = self.inbound.take(number, body);
        if verdict == Verdict::Taken {
            wake(&mut self.reader);
        }
        verdict
    }

    /// Returns whether it was news.
    pub(super) fn credit(&mut self, number: u64) -> bool {
        let news = self.outbound.credit(number);
        if news {
            wake(&mut self.writer);
        }
        news
    }

    /// What has arrived in order can still be read.
    pub(super) fn end(&mut self, kind: io::ErrorKind, why: String) {
        self.ended.get_or_insert((kind, why));
        self.accepted = None;
        wake(&mut self.reader);
        wake(&mut self.writer);
    }

    fn error(&self) -> Option<io::Error> {
        self.ended.as_ref().map(|(kind, why)| io::Error::new(*kind, why.clone()))
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// What the parts of one pipe find it by.
pub(super) type SharedState = Arc<Mutex<State>>;

pub(super) fn lock(state: &SharedState) -> MutexGuard<'_, State> {
    state.lock().expect("no holder of this lock panics")
}

/// A pipe whose other end is known. Dropping it tells the other end.
pub(super) struct BrokerStream {
    pub(super) id: PipeId,
    /// The node at the other end; for a dialler, once it is known.
    pub(super) to: Option<NodeInbox>,
    pub(super) state: SharedState,
    multiplexer: Arc<Multiplexer>,
    /// For what goes beside the stream: credit, and the end.
    letters: PollSender<Letter>,
    /// Written, not published; at most one body.
    buffer: Vec<u8>,
    publishing: Option<Publishing>,
    /// The missing number, and until when it may be missing.
    gap: Option<(u64, Pin<Box<Sleep>>)>,
    closed: bool,
}

impl BrokerStream {
    pub(super) fn new(
        id: PipeId,
        to: Option<NodeInbox>,
        state: SharedState,
        multiplexer: Arc<Multiplexer>,
        letters: PollSender<Letter>,
    ) -> Self {
        BrokerStream {
            id,
            to,
            state,
            multiplexer,
            letters,
            buffer: Vec::new(),
            publishing: None,
            gap: None,
            closed: false,
        }
    }

    fn letter(&self, content: Content) -> Option<Letter> {
        let to = Inbox::from(self.to?);
        Some(Letter { to, message: Message { pipe: self.id, content }.encode() })
    }

    /// Publishes what was written, as far as there is credit; ready when nothing is left.
    fn poll_publish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(publishing) = &mut self.publishing {
                let outcome = ready!(publishing.as_mut().poll(context));
                self.publishing = None;
                if let Err(error) = outcome {
                    lock(&self.state).end(io::ErrorKind::BrokenPipe, error.to_string());
                }
            }
            let mut state = lock(&self.state);
            if let Some(error) = state.error() {
                return Poll::Ready(Err(error));
            }
            if self.buffer.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if !state.outbound.may_send() {
                state.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            let number = state.outbound.send(self.buffer.len());
            drop(state);
            let body = std::mem::take(&mut self.buffer);
            self.publish(Content::Data(number, body));
        }
    }

    fn publish(&mut self, content: Content) {
        if let Some(Letter { to, message }) = self.letter(content) {
            self.publishing = Some(self.multiplexer.broker.publish(to, message));
        }
    }

    /// Gives credit if it is due and there is room for the letter; the next read tries again.
    fn give_credit(&mut self, context: &mut Context<'_>) {
        let Some(number) = lock(&self.state).inbound.credit_due() else { return };
        if let Poll::Ready(Ok(())) = self.letters.poll_reserve(context)
            && let Some(letter) = self.letter(Content::Credit(number))
            && self.letters.send_item(letter).is_ok()
        {
            lock(&self.state).inbound.credit_given();
        }
    }

    /// Ready when a message has been missing for too long.
    fn poll_gap(&mut self, context: &mut Context<'_>, gap: Option<u64>) -> Poll<()> {
        let Some(missing) = gap else {
            self.gap = None;
            return Poll::Pending;
        };
        let (number, sleep) = self.gap.get_or_insert_with(|| (missing, Box::pin(sleep(GAP_TIME))));
        if *number != missing {
            (*number, *sleep) = (missing, Box::pin(tokio::time::sleep(GAP_TIME)));
        }
        sleep.as_mut().poll(context)
    }
}

impl AsyncRead for BrokerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let any = lock(&this.state).inbound.read(out);
        this.give_credit(context);
        if any {
            return Poll::Ready(Ok(()));
        }
        let gap = {
            let mut state = lock(&this.state);
            // Something may have come since.
            if state.inbound.read(out) || state.inbound.is_at_end() {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = state.error() {
                return Poll::Ready(Err(error));
            }
            state.reader = Some(context.waker().clone());
            state.inbound.gap()
        };
        ready!(this.poll_gap(context, gap));
        let mut state = lock(&this.state);
        state.end(io::ErrorKind::BrokenPipe, "the broker lost a message".to_owned());
        Poll::Ready(state.error().map_or(Ok(()), Err))
    }
}

impl AsyncWrite for BrokerStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.buffer.len() >= MAX_BODY_BYTES {
            ready!(this.poll_publish(context))?;
        }
        let length = bytes.len().min(MAX_BODY_BYTES - this.buffer.len());
        this.buffer.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_publish(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_publish(context))?;
        if !this.closed {
            this.closed = true;
            let number = lock(&this.state).outbound.send(0);
            this.publish(Content::Close(number));
        }
        this.poll_publish(context)
    }
}

impl Drop for BrokerStream {
    fn drop(&mut self) {
        self.multiplexer.forget(self.id);
        if self.closed {
            return;
        }
        // The last words are often why: an alert of TLS, say. If there is no room for them the other
        // end finds out by its own timeouts.
        let last_words = std::mem::take(&mut self.buffer);
        let mut state = lock(&self.state);
        let number = (!last_words.is_empty() && state.outbound.may_send())
            .then(|| state.outbound.send(last_words.len()));
        drop(state);
        let data = number.and_then(|number| self.letter(Content::Data(number, last_words)));
        if let Some(letters) = self.letters.get_ref() {
            data.into_iter().chain(self.letter(Content::Reset)).for_each(|letter| {
                drop(letters.try_send(letter));
            });
        }
    }
}
