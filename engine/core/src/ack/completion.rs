//! What became of all that an inlet handed over, for whoever has to answer for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot::{self, error::TryRecvError};

use super::Acknowledged;

/// Resolves when the fate of every line of an [inlet](crate::source::Inlet) that has ended is
/// known. It can be awaited, on any runtime, or waited for.
///
/// An HTTP source answers only then, since what is merely in memory would be lost in a crash. A
/// consumer of a stream tells from the position of a failure which record to begin with the next
/// time.
#[derive(Debug)]
pub struct Completion {
    outcome: oneshot::Receiver<Outcome>,
}

/// What became of all the lines of an inlet. Filtered lines, and bad ones that the quarantine has,
/// are safe as well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Everything has arrived.
    Delivered,
    /// Nothing is lost, but some of it is kept in the spool.
    Kept,
    /// Not everything is safe, usually because the sink failed, and it never will be.
    Failed(Acknowledged),
}

impl Completion {
    pub(super) fn new() -> (oneshot::Sender<Outcome>, Completion) {
        let (sender, outcome) = oneshot::channel();
        (sender, Completion { outcome })
    }

    /// Waits for the outcome. A source must not wait for its own lines where no
    /// [linger](crate::config::Linger) is set: they may wait in turn for a record to fill up.
    ///
    /// # Panics
    /// On a thread that drives a tokio runtime: await the completion there.
    pub fn wait(self) -> Outcome {
        self.outcome.blocking_recv().unwrap_or_else(|_| nothing_known())
    }

    /// The outcome, if it is known already. It is told once.
    pub fn try_outcome(&mut self) -> Option<Outcome> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => Some(nothing_known()),
        }
    }
}

impl Future for Completion {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.outcome).poll(context).map(|outcome| outcome.unwrap_or_else(|_| nothing_known()))
    }
}

/// The run has gone without a word, in a panic: only what was safe before counts.
fn nothing_known() -> Outcome {
    Outcome::Failed(Acknowledged::default())
}
