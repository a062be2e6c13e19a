//! What failed, and what that means to a sender.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Too fast: wait, send again, and send slower from now on.
    Throttled,
    /// It may work in a moment: wait and send again.
    Transient,
    /// The request is too large: send it in halves, and make the next ones smaller. A single record
    /// that is too large is as good as refused.
    TooLarge,
    /// It will not work until somebody changes something.
    Permanent,
}

/// Why a request failed, or a record within it.
///
/// ```
/// use pixel_engine_core::deliver::{Class, Failure};
///
/// let failure = Failure::new(Class::Permanent, "ResourceNotFoundException", "stream beacons not found")
///     .with_advice("check the stream's name");
/// assert_eq!(
///     failure.to_string(),
///     "ResourceNotFoundException: stream beacons not found (check the stream's name)"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    class: Class,
    code: Cow<'static, str>,
    message: String,
    advice: Option<&'static str>,
    call: Option<&'static str>,
    may_have_arrived: bool,
}

impl Failure {
    /// The code of [`Failure::timeout`].
    pub const TIMEOUT: &'static str = "Timeout";
    /// The code of [`Failure::malformed_reply`].
    pub const MALFORMED_REPLY: &'static str = "MalformedReply";
    /// The code when records were refused for good and the spool has no room for them.
    pub const SPOOL_FULL: &'static str = "SpoolFull";

    /// A failure with the service's name for it and what the service says, which may be empty.
    pub fn new(class: Class, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Failure {
        let (code, message) = (code.into(), message.into());
        Failure { class, code, message, advice: None, call: None, may_have_arrived: false }
    }

    /// No reply, and no more time to wait for one.
    pub fn timeout(message: impl Into<String>) -> Failure {
        Failure::new(Class::Transient, Failure::TIMEOUT, message)
    }

    /// A reply that is not what the service promises. What was sent may be stored all the same.
    pub fn malformed_reply(message: impl Into<String>) -> Failure {
        Failure::new(Class::Transient, Failure::MALFORMED_REPLY, message).with_arrival_in_doubt(true)
    }

    pub(super) fn spool_full() -> Failure {
        Failure::new(Class::Transient, Failure::SPOOL_FULL, "")
    }

    /// The same failure, with what may help.
    pub fn with_advice(self, advice: impl Into<Option<&'static str>>) -> Failure {
        Failure { advice: advice.into(), ..self }
    }

    /// The same failure; whether the service may have stored the records all the same.
    pub fn with_arrival_in_doubt(self, may_have_arrived: bool) -> Failure {
        Failure { may_have_arrived, ..self }
    }

    /// The same failure, of that call: its name as a permission, such as `kinesis:ListShards`.
    pub fn during(self, call: &'static str) -> Failure {
        Failure { call: Some(call), ..self }
    }

    /// What to do.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The service's name for it, or one of those that `docs/errors.md` lists for failures without
    /// one.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What the service says.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the service may have stored the records all the same: sent again, they may come
    /// twice.
    pub fn may_have_arrived(&self) -> bool {
        self.may_have_arrived
    }
}

impl Display for Failure {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if let Some(call) = self.call {
            write!(out, "{call}: ")?;
        }
        write!(out, "{}", self.code)?;
        if !self.message.is_empty() {
            write!(out, ": {}", self.message)?;
        }
        match self.advice {
            Some(advice) => write!(out, " ({advice})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_what_is_known() {
        let failure = |message: &str| Failure::new(Class::Transient, "X", message);
        assert_eq!(failure("").to_string(), "X");
        assert_eq!(failure("y").to_string(), "X: y");
        assert_eq!(failure("y").with_advice("do z").during("a:B").to_string(), "a:B: X: y (do z)");
    }
}
