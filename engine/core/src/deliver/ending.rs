//! How much longer a delivery may go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::DeliverError;

/// Nothing more is sent; [`Ending::take_error`] says why.
#[derive(Debug)]
pub(super) struct Failed;

/// Whether there is still time to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The run was stopped: until then.
    Stopping(Instant),
    /// Something failed for good.
    Failed,
}

/// The state that all workers of a delivery share, and its first error.
#[derive(Debug)]
pub(super) struct Ending {
    state: watch::Sender<State>,
    error: Mutex<Option<DeliverError>>,
}

impl Ending {
    pub(super) fn new() -> Ending {
        Ending { state: watch::Sender::new(State::Running), error: Mutex::new(None) }
    }

    /// Ends everything; the first error is the one that counts.
    pub(super) fn fail(&self, error: DeliverError) -> Failed {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop_everything();
        Failed
    }

    /// Ends everything without an error to tell, as when a worker panics.
    pub(super) fn stop_everything(&self) {
        self.state.send_replace(State::Failed);
    }

    /// The first error, once.
    pub(super) fn take_error(&self) -> Option<DeliverError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Leaves that much time when `stop` is set.
    pub(super) async fn follow(&self, stop: &AtomicBool, grace: Duration) {
        is_set(stop).await;
        let until = Instant::now() + grace;
        self.state.send_if_modified(|state| {
            let is_running = *state == State::Running;
            if is_running {
                *state = State::Stopping(until);
            }
            is_running
        });
    }

    pub(super) fn is_running(&self) -> bool {
        *self.state.borrow() == State::Running
    }

    /// Whether there is time to wait for something.
    pub(super) fn may_wait(&self) -> bool {
        match *self.state.borrow() {
            State::Running => true,
            State::Stopping(until) => Instant::now() < until,
            State::Failed => false,
        }
    }

    /// After this, a record that may be tried until `given_up` is not tried again.
    pub(super) fn last_try(&self, given_up: Option<Instant>) -> Option<Instant> {
        match *self.state.borrow() {
            State::Running => given_up,
            State::Stopping(until) => Some(given_up.map_or(until, |given_up| given_up.min(until))),
            State::Failed => Some(Instant::now()),
        }
    }

    /// Waits until then, but no longer than the grace after a stop.
    pub(super) async fn wait(&self, until: Instant) -> Result<(), Failed> {
        let mut state = self.state.subscribe();
        loop {
            let until = match *state.borrow_and_update() {
                State::Running => until,
                State::Stopping(last) => until.min(last),
                State::Failed => return Err(Failed),
            };
            tokio::select! {
                () = sleep_until(until) => return Ok(()),
                _ = state.changed() => {}
            }
        }
    }

    /// Returns when the run is stopped; the end of the grace.
    pub(super) async fn stopped(&self) -> Instant {
        let mut state = self.state.subscribe();
        let stopping = state.wait_for(|state| matches!(state, State::Stopping(_))).await.map(|state| *state);
        match stopping {
            Ok(State::Stopping(until)) => until,
            // The sender is in `self`: it is there for as long as anyone waits.
            _ => std::future::pending().await,
        }
    }

    /// Returns when the grace after a stop is over.
    pub(super) async fn out_of_grace(&self) {
        let until = self.stopped().await;
        sleep_until(until).await;
    }

    /// Returns when something has failed for good.
    pub(super) async fn failed(&self) {
        // The sender is in `self`.
        let _ = self.state.subscribe().wait_for(|state| *state == State::Failed).await;
    }
}

/// Returns when the flag is set.
pub(super) async fn is_set(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(50)).await;
    }
}
