//! A call that is made until it goes well: a request that is about one thing, and not about many
//! records of which some may have got through.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::{FIRST_WAIT, max_wait};
use super::counts::Counts;
use super::ending::Ending;
use super::open::PATIENCE;
use super::{Class, DeliverError, Failure, Options};
use crate::sink::statistics::Shipping;

/// Makes calls, and counts them, by the rules that hold for records too: the same waits between two
/// tries, the same end, and the grace once the run is stopped.
pub struct Tries {
    ending: Arc<Ending>,
    counts: Counts,
    give_up_after: Option<Duration>,
    /// Follows the flag that stops the run; ends when this is dropped.
    _stop: JoinSet<()>,
}

/// What a call was for, to be counted when it has gone well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A whole object: by itself, or put together of its parts.
    Object,
    /// A part of an object.
    Part,
    /// Nothing of the kind.
    Nothing,
}

impl Tries {
    /// Calls with these options. Must be called on the tokio runtime that they are made on.
    pub fn new(options: Options) -> Tries {
        let ending = Arc::new(Ending::new());
        let mut stop = JoinSet::new();
        let (following, Options { config, progress, stop: flag, .. }) = (Arc::clone(&ending), options);
        stop.spawn(async move { following.follow(&flag, config.grace).await });
        Tries { ending, counts: Counts::new(progress), give_up_after: config.give_up_after, _stop: stop }
    }

    /// Makes a call that stores nothing, at a start that must not be kept waiting for more than 15 s.
    ///
    /// # Errors
    /// As for [`Tries::make`].
    pub async fn ask<T, F>(&self, call: impl Fn() -> F) -> Result<T, DeliverError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let time = self.give_up_after.map_or(PATIENCE, |time| time.min(PATIENCE));
        self.make_for(Some(time), Stored::Nothing, 0, call).await
    }

    /// Makes the call, which sends that many bytes, until it goes well.
    ///
    /// # Errors
    /// It was refused for good, or tried for as long as it may be.
    pub async fn make<T, F>(&self, stored: Stored, bytes: usize, call: impl Fn() -> F) -> Result<T, DeliverError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.make_for(self.give_up_after, stored, bytes, call).await
    }

    async fn make_for<T, F>(
        &self,
        give_up_after: Option<Duration>,
        stored: Stored,
        bytes: usize,
        call: impl Fn() -> F,
    ) -> Result<T, DeliverError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            let sent = Instant::now();
            let reply = tokio::select! {
                reply = call() => reply,
                () = self.ending.out_of_grace() => {
                    Err(Failure::timeout("stopped before there was a reply").with_arrival_in_doubt(true))
                }
            };
            self.counts.sent(bytes as u64, sent.elapsed(), failures > 0);
            let failure = match reply {
                Ok(reply) => {
                    self.counts.went_well(stored);
                    return Ok(reply);
                }
                Err(failure) => failure,
            };
            self.counts.request_failed(&failure, 0);
            failures += 1;
            if matches!(failure.class(), Class::Permanent | Class::TooLarge) {
                return Err(DeliverError::Refused(failure));
            }
            let last = self.ending.last_try(give_up_after.map(|time| begun + time));
            let left = last.map_or(Duration::MAX, |last| last.saturating_duration_since(Instant::now()));
            if left < FIRST_WAIT {
                return Err(DeliverError::GivenUp { tried: begun.elapsed(), failure });
            }
            // With time for another try after the wait.
            let wait = max_wait(failures).mul_f64(fastrand::f64()).min(left / 2);
            let is_running = self.ending.is_running();
            tokio::select! {
                _ = self.ending.wait(Instant::now() + wait) => {}
                // What time is left begins with a try.
                _ = self.ending.stopped(), if is_running => {}
            }
        }
    }

    /// How they went.
    pub fn shipping(&self) -> Shipping {
        self.counts.shipping()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::deliver::backoff;
    use crate::sink::limits::Api;

    fn tries(change: impl FnOnce(&mut Options)) -> Tries {
        let mut options = Options::new(Api::PutRecordBatch);
        change(&mut options);
        Tries::new(options)
    }

    /// Fails so many times with that class.
    async fn fails(tries: &Tries, times: u32, class: Class) -> (Result<u32, DeliverError>, u32) {
        let made = AtomicU32::new(0);
        let call = || async {
            let before = made.fetch_add(1, Ordering::Relaxed);
            if before < times { Err(Failure::new(class, "X", "y")) } else { Ok(before) }
        };
        let outcome = tries.make(Stored::Part, 10, call).await;
        (outcome, made.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_made_until_it_goes_well() {
        let tries = tries(|_| ());
        let begun = Instant::now();
        for class in [Class::Transient, Class::Throttled] {
            assert!(matches!(fails(&tries, 20, class).await, (Ok(20), 21)));
        }
        let longest: Duration = (1..=20).map(backoff::max_wait).sum();
        assert!(begun.elapsed() <= 2 * longest + Duration::from_millis(40), "{:?}", begun.elapsed());
        let shipping = tries.shipping();
        assert_eq!((shipping.requests, shipping.requests_retried, shipping.throttles), (42, 40, 20));
        assert_eq!((shipping.bytes_sent, shipping.parts, shipping.objects), (420, 2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_it_and_so_does_time() {
        let refused = fails(&tries(|_| ()), 9, Class::Permanent).await;
        assert!(matches!(refused, (Err(DeliverError::Refused(_)), 1)), "{refused:?}");
        let time = Duration::from_secs(30);
        let begun = Instant::now();
        let given_up =
            fails(&tries(|options| options.config.give_up_after = Some(time)), 9_999, Class::Transient).await;
        assert!(matches!(given_up, (Err(DeliverError::GivenUp { .. }), 4..)), "{given_up:?}");
        assert!((time - Duration::from_secs(1)..=time).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_leaves_the_grace_even_for_a_call_without_a_reply() {
        let stop = Arc::new(AtomicBool::new(false));
        let tries = tries(|options| options.stop = Arc::clone(&stop));
        let begun = Instant::now();
        let never = async { tries.make(Stored::Nothing, 0, std::future::pending::<Result<(), Failure>>).await };
        let later = async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            stop.store(true, Ordering::Relaxed);
        };
        let (outcome, ()) = tokio::join!(never, later);
        assert!(matches!(outcome, Err(DeliverError::GivenUp { .. })), "{outcome:?}");
        assert_eq!(begun.elapsed().as_secs(), 110);
    }
}
