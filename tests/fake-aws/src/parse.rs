//! From a request's body to checked values, in the order in which the services check: the JSON and
//! its types, then every constraint of the service model, all failures in one message.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::Range;

use serde::Deserialize;

use crate::refusal::Refusal;

/// Borrowed from the body where nothing in it is escaped.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// The members of a request.
pub(crate) fn members<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::violation("SerializationException", error.to_string()))
}

/// The constraints that a request fails.
#[derive(Debug, Default)]
pub(crate) struct Constraints {
    failed: Vec<String>,
}

impl Constraints {
    /// AWS stops there.
    const LISTED: usize = 10;

    pub(crate) fn require(&mut self, holds: bool, member: impl Display, constraint: impl Display) {
        self.note(holds, "Value", member, constraint);
    }

    pub(crate) fn require_member(&mut self, is_there: bool, member: impl Display) {
        self.note(is_there, "Value null", member, "Member must not be null");
    }

    fn note(&mut self, holds: bool, value: &str, member: impl Display, constraint: impl Display) {
        if !holds && self.failed.len() < Self::LISTED {
            self.failed.push(format!("{value} at '{member}' failed to satisfy constraint: {constraint}"));
        }
    }

    pub(crate) fn check_len(&mut self, len: usize, allowed: Range<usize>, member: impl Display) {
        let Range { start: least, end } = allowed;
        let most = end - 1;
        let constraint = |bound, number| format!("Member must have length {bound} than or equal to {number}");
        self.require(len >= least, &member, constraint("greater", least));
        self.require(len <= most, &member, constraint("less", most));
    }

    /// A name of letters, digits, `_`, `.` and `-`.
    pub(crate) fn name(&mut self, name: &str, longest: usize, member: &str) {
        let pattern = "[a-zA-Z0-9_.-]+";
        let matches = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        self.require(matches, member, format_args!("Member must satisfy regular expression pattern: {pattern}"));
        self.check_len(name.len(), 1..longest + 1, member);
    }

    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match self.failed.as_slice() {
            [] => Ok(()),
            failed => {
                let errors = if failed.len() == 1 { "error" } else { "errors" };
                let message = format!("{} validation {errors} detected: {}", failed.len(), failed.join("; "));
                Err(Refusal::violation("ValidationException", message))
            }
        }
    }
}

/// The records of a request, base64 removed, one after the other. Reused from request to request.
#[derive(Debug, Default)]
pub(crate) struct Blobs {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

impl Blobs {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ranges.clear();
    }

    /// Decodes one more. What is not base64 to the letter, padding included, is refused.
    pub(crate) fn push(&mut self, base64: &str) -> Result<(), Refusal> {
        let start = self.bytes.len();
        base64_simd::STANDARD.decode_append(base64, &mut self.bytes).map_err(|_| {
            let start: String = base64.chars().take(40).collect();
            Refusal::violation("SerializationException", format!("'{start}' can not be converted to a Blob"))
        })?;
        self.ranges.push(start..self.bytes.len());
        Ok(())
    }

    /// Stands for one that the request does not have.
    pub(crate) fn push_none(&mut self) {
        self.ranges.push(self.bytes.len()..self.bytes.len());
    }

    pub(crate) fn total(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.ranges.iter().map(|range| &self.bytes[range.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_taken_to_the_letter() {
        let mut blobs = Blobs::default();
        for good in ["", "YQ==", "YWI=", "YWJj"] {
            assert!(blobs.push(good).is_ok(), "{good}");
        }
        for bad in ["Y", "YQ", "YQ=", "YR==", "YWJj\n", "YW Jj", "YQ==YQ==", "_-8="] {
            assert!(blobs.push(bad).is_err(), "{bad}");
        }
        assert_eq!(blobs.iter().collect::<Vec<_>>(), [&b""[..], b"a", b"ab", b"abc"]);
    }

    #[test]
    fn all_constraints_that_fail_are_told_at_once() {
        let mut constraints = Constraints::default();
        constraints.require_member(false, "records");
        constraints.check_len(0, 1..129, "streamName");
        let refusal = constraints.finish().expect_err("two constraints fail");
        assert_eq!(
            refusal.message,
            "2 validation errors detected: Value null at 'records' failed to satisfy constraint: Member must not be \
             null; Value at 'streamName' failed to satisfy constraint: Member must have length greater than or equal \
             to 1"
        );
    }
}
