//! The life of a message: its objects are read, it is kept from others meanwhile, and then it is
//! deleted, left to the queue, or made visible at once.

use std::time::{Duration, SystemTime};

use pixel_engine_aws::sqs::{Message, NewObject, Notification};
use pixel_engine_core::deliver::Stored;
use pixel_engine_core::source::Outcome;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::desk::{Desk, Standing};
use super::objects::{Job, Read};

/// A message is kept from others again after that part of the time for which it is.
const SHARE: u32 = 3;
/// After a try to do so that failed.
const RETRY: Duration = Duration::from_secs(5);
/// Before a message that was left to the queue is visible: twice as long after each time that it was
/// received, up to the other.
const FIRST_REST: Duration = Duration::from_secs(30);
const MAX_REST: Duration = Duration::from_secs(15 * 60);

/// What becomes of a message; of several objects, the greatest counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Everything in it is safe.
    Done,
    /// It cannot be read, or its object cannot: the queue's own policy decides.
    Left(String),
    /// The run was stopped, or failed, before everything was safe.
    Released,
}

impl Desk {
    /// Works on a message, which was asked for at that moment, until it is answered for.
    pub(super) async fn work_on(&self, message: Message, asked: Instant) {
        self.counts.messages_received.add(1);
        match self.take(&message.id, &message.receipt) {
            Standing::New => {}
            Standing::Held => {
                tracing::warn!("{}: message {} came again while it is worked on", self.name, message.id);
                return;
            }
            Standing::Done => return self.delete(&message.id, &message.receipt).await,
        }
        let sent = message.sent.unwrap_or_else(SystemTime::now);
        self.counts.hold(sent, &message.id);
        let verdict = tokio::select! {
            verdict = self.verdict(&message) => verdict,
            never = self.keep(&message, asked) => match never {},
        };
        self.answer(&message, verdict).await;
        self.counts.let_go(sent, &message.id);
    }

    /// Keeps the message from others again and again.
    async fn keep(&self, message: &Message, asked: Instant) -> std::convert::Infallible {
        let every = self.visibility / SHARE;
        let mut next = if self.is_short { asked } else { asked + every };
        loop {
            sleep_until(next).await;
            let Some(receipt) = self.receipt(&message.id) else { return std::future::pending().await };
            let now = Instant::now();
            next = now + every;
            if let Err(failure) = self.keep_for(&receipt, self.visibility).await {
                tracing::warn!("{}: message {}: {failure}; its lines may come twice", self.name, message.id);
                next = now + RETRY.min(every);
            }
        }
    }

    async fn verdict(&self, message: &Message) -> Verdict {
        let objects = match Notification::parse(&message.body) {
            Ok(Notification::Created(objects)) => objects,
            Ok(_) => {
                tracing::info!("{}: a test message of S3: notifications are set up", self.name);
                return Verdict::Done;
            }
            Err(error) => return Verdict::Left(error.to_string()),
        };
        let reading: Vec<_> = objects.into_iter().filter_map(|object| self.begin_reading(object)).collect();
        let mut verdict = Verdict::Done;
        for (event, read) in reading {
            let of_object = fate(read).await;
            if let (Some(event), true) = (event, of_object != Verdict::Done) {
                self.undo(&event);
            }
            verdict = verdict.max(of_object);
        }
        verdict
    }

    /// Has an object read, unless nobody wants it or it was read before. With what tells its event
    /// from every other.
    fn begin_reading(&self, object: NewObject) -> Option<(Option<String>, oneshot::Receiver<Read>)> {
        let NewObject { bucket, key, .. } = &object;
        let event = object.sequencer.as_ref().map(|sequencer| format!("{bucket}/{key}/{sequencer}"));
        if !self.wants(key) || event.as_ref().is_some_and(|event| !self.begin(event)) {
            tracing::debug!("s3://{bucket}/{key}: not wanted, or read before");
            self.counts.objects_skipped.add(1);
            return None;
        }
        let (told, read) = oneshot::channel();
        // When nobody takes it any more, `told` is dropped with it.
        let _ = self.jobs.send(Job { object, told });
        Some((event, read))
    }

    async fn answer(&self, message: &Message, verdict: Verdict) {
        let (name, id) = (&self.name, &message.id);
        let receipt = if verdict == Verdict::Done { self.finish(id) } else { self.let_go(id) };
        let receipt = receipt.expect("it is held while it is worked on");
        let rest = match &verdict {
            Verdict::Done => return self.delete(id, &receipt).await,
            Verdict::Left(reason) => {
                let times = message.receives;
                tracing::error!("{name}: message {id}, received {times} times: {reason}; it is left to the queue");
                self.counts.messages_failed.add(1);
                rest(times)
            }
            Verdict::Released => {
                self.counts.messages_released.add(1);
                Duration::ZERO
            }
        };
        let call = || self.keep_for(&receipt, rest);
        if let Err(error) = self.tries.make(Stored::Nothing, 0, call).await {
            tracing::warn!("{name}: message {id}: {error}; it is visible after its visibility timeout");
        }
    }
}

/// What becomes of the message for the sake of one object.
async fn fate(read: oneshot::Receiver<Read>) -> Verdict {
    match read.await {
        Ok(Read::HandedOver(completions)) => {
            for completion in completions {
                if let Outcome::Failed(_) = completion.await {
                    return Verdict::Released;
                }
            }
            Verdict::Done
        }
        Ok(Read::Gone) => Verdict::Done,
        Ok(Read::Refused(reason)) => Verdict::Left(reason),
        Err(_) => Verdict::Released,
    }
}

/// How long a message is left alone that was received so many times.
fn rest(receives: u32) -> Duration {
    FIRST_REST.saturating_mul(1 << receives.saturating_sub(1).min(16)).min(MAX_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_fails_again_rests_longer() {
        assert_eq!([0, 1, 2, 3, 5, 6, u32::MAX].map(|times| rest(times).as_secs()), [30, 30, 60, 120, 480, 900, 900]);
    }
}
