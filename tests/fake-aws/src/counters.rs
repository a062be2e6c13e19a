//! What the server saw.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::action::Action;
use crate::lock;

/// What the server saw since it started.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Requests by action, refused ones and those with a fault included.
    pub requests: BTreeMap<Action, u64>,
    /// Bytes of requests on the wire, heads included.
    pub bytes_received: u64,
    /// Records stored.
    pub records_accepted: u64,
    /// Records that failed within a request that succeeded.
    pub records_failed: u64,
    /// Requests refused, by the error's code.
    pub request_errors: BTreeMap<String, u64>,
    /// Records that failed, by the error's code.
    pub record_errors: BTreeMap<String, u64>,
    /// What the client sent that AWS would never take from anyone, in words: a limit exceeded, bad
    /// base64, a bad key, a signature of the wrong form. The first 1,000 of them.
    pub violations: Vec<String>,
}

impl Counters {
    /// Requests and records refused with an error that tells a client to slow down.
    pub fn throttles(&self) -> u64 {
        let codes = [
            "LimitExceededException",
            "ProvisionedThroughputExceededException",
            "ServiceUnavailableException",
            "ThrottlingException",
        ];
        let count = |errors: &BTreeMap<String, u64>| codes.iter().filter_map(|&code| errors.get(code)).sum::<u64>();
        count(&self.request_errors) + count(&self.record_errors)
    }

    /// Requests of one action.
    pub fn requests_of(&self, action: Action) -> u64 {
        self.requests.get(&action).copied().unwrap_or(0)
    }
}

/// The counters as they count.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counters: Mutex<Counters>,
}

impl Tally {
    const VIOLATIONS_KEPT: usize = 1000;

    pub(crate) fn snapshot(&self) -> Counters {
        lock(&self.counters).clone()
    }

    pub(crate) fn connection(&self) {
        lock(&self.counters).connections += 1;
    }

    pub(crate) fn received(&self, bytes: u64) {
        lock(&self.counters).bytes_received += bytes;
    }

    pub(crate) fn request(&self, action: Action) {
        *lock(&self.counters).requests.entry(action).or_default() += 1;
    }

    pub(crate) fn request_error(&self, code: &str) {
        *lock(&self.counters).request_errors.entry(code.to_owned()).or_default() += 1;
    }

    pub(crate) fn violation(&self, text: String) {
        let violations = &mut lock(&self.counters).violations;
        if violations.len() < Self::VIOLATIONS_KEPT {
            violations.push(text);
        }
    }

    /// The records of one request: how many were stored, and the errors' codes of those that were
    /// not.
    pub(crate) fn records(&self, accepted: usize, failed: impl Iterator<Item = &'static str>) {
        let mut counters = lock(&self.counters);
        counters.records_accepted += accepted as u64;
        for code in failed {
            counters.records_failed += 1;
            *counters.record_errors.entry(code.to_owned()).or_default() += 1;
        }
    }
}
