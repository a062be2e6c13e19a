//! Faults to order: what a network, a proxy and an overloaded service do to a client.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use fastrand::Rng;

use crate::action::Action;
use crate::lock;
use crate::refusal::Refusal;
use crate::reply::{Ending, Protocol, Reply};

/// What happens to one request.
///
/// A request that breaks a rule is refused for that, and leaves the fault to the next one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The reply comes later by so much.
    Delay(Duration),
    /// The request is refused with that error. Nothing is stored.
    Error {
        /// Of HTTP.
        status: u16,
        /// AWS's name of the error, in `__type`.
        code: String,
        /// Text for people.
        message: String,
    },
    /// The records at these positions fail and are not stored; the others are.
    FailRecords {
        /// Positions in the request, from 0. Those past its end count for nothing.
        indices: Vec<usize>,
        /// How they fail.
        failure: RecordFailure,
    },
    /// Status 200 with a body that is not JSON. The records are stored.
    Malformed,
    /// The reply never comes, the connection stays open.
    NeverReply {
        /// Whether the records are stored.
        stored: bool,
    },
    /// A page in HTML with status 503, as from a proxy in between. Nothing is stored.
    ProxyUnavailable,
    /// The connection is reset once the body was read.
    ResetAfterBody {
        /// Whether the records are stored, which the client cannot know.
        stored: bool,
    },
    /// The connection is reset when only the head was read. As the body names the stream, this
    /// meets the next request of the action, whichever stream it is for. Drawn by
    /// [`fail_requests`](crate::Stream::fail_requests) it is a reset after the body, without
    /// storing.
    ResetBeforeBody,
    /// The connection closes in the middle of the reply's body. The records are stored.
    Truncated,
    /// The last result is missing from the reply. The records are stored.
    WrongCount,
}

impl Fault {
    /// The request is refused with that error.
    pub fn error(status: u16, code: impl Into<String>, message: impl Into<String>) -> Fault {
        Fault::Error { status, code: code.into(), message: message.into() }
    }

    /// 500 `InternalFailure`.
    pub fn internal_failure() -> Fault {
        Fault::error(500, "InternalFailure", "The request processing has failed because of an unknown error.")
    }

    /// 400 `LimitExceededException`, as ListShards and the Describe calls answer when called too
    /// often.
    pub fn limit_exceeded() -> Fault {
        Fault::error(400, "LimitExceededException", "Rate exceeded.")
    }

    /// 400 `ProvisionedThroughputExceededException` for the whole request.
    pub fn provisioned_throughput_exceeded() -> Fault {
        Fault::error(400, "ProvisionedThroughputExceededException", "Rate exceeded.")
    }

    /// 503 `ServiceUnavailableException`, "Slow down."
    pub fn service_unavailable() -> Fault {
        Fault::error(503, "ServiceUnavailableException", "Slow down.")
    }

    /// 400 `ThrottlingException`.
    pub fn throttling() -> Fault {
        Fault::error(400, "ThrottlingException", "Rate exceeded")
    }

    /// Whether the request has no effect.
    pub(crate) fn prevents(&self) -> bool {
        matches!(
            self,
            Fault::Error { .. }
                | Fault::NeverReply { stored: false }
                | Fault::ProxyUnavailable
                | Fault::ResetAfterBody { stored: false }
                | Fault::ResetBeforeBody
        )
    }

    /// What becomes of the reply that there would have been.
    fn spoil(self, reply: Reply, protocol: Protocol) -> Reply {
        let unread = |ending| Reply { ending, receipt: None, ..Reply::json(Vec::new()) };
        match self {
            Fault::Delay(delay) => Reply { delay, ..reply },
            Fault::Error { status, code, message } => {
                Refusal { status, code: Cow::Owned(code), message, violation: false }.reply(protocol)
            }
            Fault::FailRecords { .. } => reply,
            Fault::Malformed => Reply { body: b"{\"FailedPutCount\": 0, and so".to_vec(), receipt: None, ..reply },
            Fault::NeverReply { .. } => unread(Ending::Silence),
            Fault::ProxyUnavailable => Reply {
                status: 503,
                content_type: "text/html",
                body: b"<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n\
                        </body></html>\n"
                    .to_vec(),
                error: Some(Cow::Borrowed("503 of a proxy")),
                ..unread(Ending::Sent)
            },
            Fault::ResetAfterBody { .. } | Fault::ResetBeforeBody => unread(Ending::Reset),
            Fault::Truncated => Reply { ending: Ending::Truncated, receipt: None, ..reply },
            Fault::WrongCount => Reply { receipt: None, ..reply },
        }
    }
}

/// What becomes of a reply under a fault, if there is one.
pub(crate) fn spoil(fault: Option<Fault>, reply: Reply, protocol: Protocol) -> Reply {
    match fault {
        Some(fault) => fault.spoil(reply, protocol),
        None => reply,
    }
}

/// How a record fails within a request that succeeds. It is not stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecordFailure {
    /// `InternalFailure`.
    Internal,
    /// For good, with a code that the documentation has for requests alone:
    /// `InvalidKMSResourceException` of Firehose, `KMSDisabledException` of Kinesis.
    Refused,
    /// `ServiceUnavailableException` of Firehose, `ProvisionedThroughputExceededException` of
    /// Kinesis.
    Throttled,
}

/// The faults that wait, and those that come at random.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    queues: HashMap<Action, VecDeque<Fault>>,
    requests: Option<(Chance, Vec<Fault>)>,
    records: Option<Chance>,
}

#[derive(Debug)]
struct Chance {
    fraction: f64,
    random: Rng,
}

impl Chance {
    fn new(fraction: f64, seed: u64) -> Option<Chance> {
        assert!((0.0..=1.0).contains(&fraction), "{fraction} is no fraction: it lies between 0 and 1");
        (fraction > 0.0).then(|| Chance { fraction, random: Rng::with_seed(seed) })
    }

    fn strikes(&mut self) -> bool {
        self.random.f64() < self.fraction
    }
}

impl Faults {
    pub(crate) fn push(&self, action: Action, fault: Fault) {
        lock(&self.plan).queues.entry(action).or_default().push_back(fault);
    }

    pub(crate) fn fail_requests(&self, fraction: f64, seed: u64, faults: &[Fault]) {
        assert!(!faults.is_empty(), "no faults to draw from");
        lock(&self.plan).requests = Chance::new(fraction, seed).map(|chance| (chance, faults.to_vec()));
    }

    pub(crate) fn fail_records(&self, fraction: f64, seed: u64) {
        lock(&self.plan).records = Chance::new(fraction, seed);
    }

    /// The fault that the next request of that action meets.
    pub(crate) fn next(&self, action: Action) -> Option<Fault> {
        let mut plan = lock(&self.plan);
        if let Some(fault) = plan.queues.get_mut(&action).and_then(VecDeque::pop_front) {
            return Some(fault);
        }
        let (chance, faults) = plan.requests.as_mut().filter(|_| action.carries_data())?;
        chance.strikes().then(|| faults[chance.random.usize(..faults.len())].clone())
    }

    /// How the records of a request of so many fail, those that do.
    pub(crate) fn failing_records(&self, count: usize, fault: Option<&Fault>) -> Vec<Option<RecordFailure>> {
        let mut failures = vec![None; count];
        if let Some(Chance { fraction, random }) = &mut lock(&self.plan).records {
            for failure in &mut failures {
                if random.f64() < *fraction {
                    *failure = Some(if random.bool() { RecordFailure::Throttled } else { RecordFailure::Internal });
                }
            }
        }
        if let Some(Fault::FailRecords { indices, failure }) = fault {
            for &index in indices.iter().filter(|&&index| index < count) {
                failures[index] = Some(*failure);
            }
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_fail_as_often_as_told_and_the_same_way_for_a_seed() {
        let draw = |seed| {
            let faults = Faults::default();
            faults.fail_records(0.2, seed);
            (0..20).flat_map(|_| faults.failing_records(500, None)).collect::<Vec<_>>()
        };
        let failed = draw(1).iter().flatten().count();
        assert!((1800..2200).contains(&failed), "{failed} of 10,000");
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn queued_faults_come_in_order_before_the_random_ones() {
        let faults = Faults::default();
        faults.fail_requests(1.0, 7, &[Fault::Malformed]);
        faults.push(Action::PutRecords, Fault::Truncated);
        faults.push(Action::PutRecords, Fault::WrongCount);
        assert!(matches!(faults.next(Action::PutRecords), Some(Fault::Truncated)));
        assert!(matches!(faults.next(Action::PutRecords), Some(Fault::WrongCount)));
        assert!(matches!(faults.next(Action::PutRecords), Some(Fault::Malformed)));
        assert!(faults.next(Action::ListShards).is_none());
    }
}
