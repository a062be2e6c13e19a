//! What failed, and what that means: the one table that decides between trying again, slowing down, sending less
//! at a time, and giving up.

use std::fmt::{self, Display, Formatter};

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Too fast: wait, send again, and slower from now on.
    Throttled,
    /// It may work in a moment: wait and send again.
    Transient,
    /// The request is too large: send its halves.
    TooLarge,
    /// It will not work until somebody changes something.
    Permanent,
}

/// The codes that AWS answers with, and those that are made up here for failures without one. Sources: the error
/// lists of PutRecordBatch, PutRecords and ListShards in the API references, and the lists of common errors there.
const CLASSES: &[(&str, Class)] = &[
    ("ProvisionedThroughputExceededException", Class::Throttled),
    ("ServiceUnavailableException", Class::Throttled),
    ("ThrottlingException", Class::Throttled),
    ("ThrottledException", Class::Throttled),
    ("Throttling", Class::Throttled),
    ("TooManyRequestsException", Class::Throttled),
    ("RequestLimitExceeded", Class::Throttled),
    ("LimitExceededException", Class::Throttled),
    ("KMSThrottlingException", Class::Throttled),
    ("SlowDown", Class::Throttled),
    ("InternalFailure", Class::Transient),
    ("InternalFailureException", Class::Transient),
    ("InternalServerError", Class::Transient),
    ("InternalError", Class::Transient),
    ("ServiceUnavailable", Class::Transient),
    ("RequestTimeout", Class::Transient),
    ("RequestTimeoutException", Class::Transient),
    // While a stream is being created or changed.
    ("ResourceInUseException", Class::Transient),
    (CODE_TIMEOUT, Class::Transient),
    (CODE_CONNECTION, Class::Transient),
    (CODE_REPLY, Class::Transient),
    (CODE_SPOOL_FULL, Class::Transient),
    ("RequestEntityTooLarge", Class::TooLarge),
    ("RequestEntityTooLargeException", Class::TooLarge),
    ("RequestTooLarge", Class::TooLarge),
];

/// No reply within the time for a request.
pub(super) const CODE_TIMEOUT: &str = "Timeout";
/// The connection cannot be made, or broke.
pub(super) const CODE_CONNECTION: &str = "ConnectionFailed";
/// The reply is not what the API promises.
pub(super) const CODE_REPLY: &str = "MalformedReply";
/// The certificate of the endpoint is not trusted.
pub(super) const CODE_TLS: &str = "UntrustedCertificate";
/// There are no credentials, or they cannot be had.
pub(super) const CODE_CREDENTIALS: &str = "NoCredentials";
/// The request cannot be made.
pub(super) const CODE_REQUEST: &str = "InvalidRequest";

/// There was no room in the spool for records that the service refuses.
pub(super) const CODE_SPOOL_FULL: &str = "SpoolFull";

/// A failure of a request, or of a record within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// AWS's name, or one of the codes above.
    pub(super) code: String,
    /// What it says for people.
    pub(super) message: String,
    /// The status, where there was a reply.
    pub(super) status: Option<u16>,
    /// Whether the service may have stored the records all the same.
    pub(super) may_have_arrived: bool,
}

impl Failure {
    /// A record that a reply says has failed.
    pub(super) fn of_record(code: &str, message: Option<&str>) -> Failure {
        Failure {
            code: code.to_owned(),
            message: message.unwrap_or_default().to_owned(),
            status: None,
            // "InternalFailure": the record may have been written. Source: aws-kinesis documentation of retries.
            may_have_arrived: code == "InternalFailure",
        }
    }

    /// A reply that is not what the API promises.
    pub(super) fn malformed_reply(message: impl Into<String>) -> Failure {
        Failure { code: CODE_REPLY.to_owned(), message: message.into(), status: None, may_have_arrived: true }
    }

    /// No reply, and no more time to wait for one.
    pub(super) fn timeout(message: &str, may_have_arrived: bool) -> Failure {
        Failure { code: CODE_TIMEOUT.to_owned(), message: message.to_owned(), status: None, may_have_arrived }
    }

    /// What the SDK reports.
    pub(super) fn of_request<E>(error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let failure = |code: &str, message: String, may_have_arrived| Failure {
            code: code.to_owned(),
            message,
            status,
            may_have_arrived,
        };
        let whole = || causes(error);
        match error {
            SdkError::TimeoutError(_) => Failure::timeout("no reply in time", true),
            SdkError::DispatchFailure(cause) => match cause.as_connector_error() {
                Some(connector) if connector.is_timeout() => Failure::timeout("no connection in time", false),
                Some(connector) => of_connection(connector, failure),
                None => failure(CODE_CONNECTION, whole(), true),
            },
            SdkError::ConstructionFailure(_) => {
                let message = whole();
                let is_credentials = message.to_ascii_lowercase().contains("credential");
                failure(if is_credentials { CODE_CREDENTIALS } else { CODE_REQUEST }, message, false)
            }
            SdkError::ServiceError(context) => {
                let error = context.err();
                let status = status.unwrap_or_default();
                // Behind the first line, a signature that does not match has the whole request as AWS would have signed
                // it, with the session token.
                let message = error.message().and_then(|message| message.lines().next()).map(ToOwned::to_owned);
                match error.code() {
                    Some(code) => failure(code, message.unwrap_or_default(), status >= 500),
                    None => failure(&format!("HTTP {status}"), message.unwrap_or_default(), status >= 500),
                }
            }
            SdkError::ResponseError(_) if status.is_some_and(|status| status >= 300) => {
                failure(&format!("HTTP {}", status.unwrap_or_default()), whole(), true)
            }
            _ => failure(CODE_REPLY, whole(), true),
        }
    }

    /// What it means.
    pub(super) fn class(&self) -> Class {
        // One code for many mistakes: "Records size exceeds 4 MB limit" is about the request as a whole.
        let says_too_large = self.message.contains("size exceeds");
        if matches!(self.code.as_str(), "InvalidArgumentException" | "ValidationException") && says_too_large {
            return Class::TooLarge;
        }
        if let Some((_, class)) = CLASSES.iter().find(|(code, _)| *code == self.code) {
            return *class;
        }
        match self.status {
            Some(413) => Class::TooLarge,
            Some(408) => Class::Transient,
            Some(429) => Class::Throttled,
            Some(500..) => Class::Transient,
            _ => Class::Permanent,
        }
    }

    /// What may help, for failures that only a person can mend.
    pub(super) fn advice(&self) -> Option<&'static str> {
        Some(match self.code.as_str() {
            "ResourceNotFoundException" => "check the stream's name, the region and the account",
            "AccessDeniedException" | "AccessDenied" => "the role or user needs that permission",
            "KMSAccessDeniedException" => "the role or user needs kms:GenerateDataKey on the stream's key",
            "KMSDisabledException" | "KMSInvalidStateException" | "KMSNotFoundException" | "KMSOptInRequired" => {
                "look at the KMS key that the stream is encrypted with"
            }
            "UnrecognizedClientException" | "InvalidClientTokenId" => {
                "the access key is unknown to AWS: check the credentials and the profile"
            }
            "ExpiredTokenException" | "ExpiredToken" => "the session has ended: get new credentials",
            "MissingAuthenticationTokenException" => "the request went out unsigned: check the credentials",
            "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired" => {
                if self.message.contains("expired") || self.message.contains("not yet current") {
                    "this machine's clock is wrong: set it"
                } else if self.message.contains("scoped to a valid region") {
                    "the region is not the endpoint's: set AWS_REGION"
                } else {
                    "the secret key is wrong"
                }
            }
            "InvalidSourceException" => {
                "the delivery stream reads from a Kinesis stream: deliver to that with kinesis://"
            }
            CODE_TLS => "check the endpoint's address, or trust its certificate with SSL_CERT_FILE",
            CODE_CONNECTION => "check the endpoint, the region and the network",
            CODE_CREDENTIALS => "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role",
            _ => return None,
        })
    }
}

impl Display for Failure {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.code)?;
        if !self.message.is_empty() {
            write!(out, ": {}", self.message)?;
        }
        match self.advice() {
            Some(advice) => write!(out, " ({advice})"),
            None => Ok(()),
        }
    }
}

/// What an error says, and what its causes say that is new, in one line. (Their debug form, which the SDK offers for
/// this, fills a screen.)
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" | ");
        if !parts.iter().any(|before| before.contains(&part)) {
            parts.push(part);
        }
        next = error.source();
    }
    parts.join(": ")
}

fn of_connection(connector: &ConnectorError, failure: impl Fn(&str, String, bool) -> Failure) -> Failure {
    let message = causes(connector);
    let lower = message.to_ascii_lowercase();
    if lower.contains("certificate") {
        failure(CODE_TLS, message, false)
    } else if lower.contains("credential") {
        failure(CODE_CREDENTIALS, message, false)
    } else {
        failure(CODE_CONNECTION, message, !lower.contains("tcp connect error") && !lower.contains("dns error"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: &str, message: &str, status: Option<u16>) -> Failure {
        Failure { code: code.to_owned(), message: message.to_owned(), status, may_have_arrived: false }
    }

    #[test]
    fn every_failure_has_its_class() {
        for (code, message, status, class) in [
            ("ProvisionedThroughputExceededException", "Rate exceeded", Some(400), Class::Throttled),
            ("ServiceUnavailableException", "Slow down.", Some(503), Class::Throttled),
            ("InternalFailure", "", None, Class::Transient),
            ("InvalidArgumentException", "Records size exceeds 4 MB limit", Some(400), Class::TooLarge),
            ("InvalidArgumentException", "Invalid StreamName", Some(400), Class::Permanent),
            ("ResourceNotFoundException", "", Some(400), Class::Permanent),
            ("AccessDeniedException", "", Some(400), Class::Permanent),
            ("HTTP 503", "", Some(503), Class::Transient),
            ("HTTP 413", "", Some(413), Class::TooLarge),
            ("HTTP 429", "", Some(429), Class::Throttled),
            ("HTTP 404", "", Some(404), Class::Permanent),
            ("SomethingNew", "", Some(500), Class::Transient),
            ("SomethingNew", "", Some(400), Class::Permanent),
            ("SomethingNew", "", None, Class::Permanent),
            (CODE_TIMEOUT, "", None, Class::Transient),
            (CODE_TLS, "", None, Class::Permanent),
        ] {
            assert_eq!(failure(code, message, status).class(), class, "{code} {status:?}");
        }
    }

    #[test]
    fn every_code_is_in_the_documentation() {
        let page = include_str!("../../../docs/errors.md");
        let ours = [CODE_TLS, CODE_CREDENTIALS, CODE_REQUEST];
        for code in CLASSES.iter().map(|(code, _)| *code).chain(ours) {
            assert!(page.contains(&format!("`{code}`")), "{code} is not in docs/errors.md");
        }
    }

    #[test]
    fn a_failure_says_what_to_do() {
        let text = failure("InvalidSignatureException", "Signature expired: 1 is now earlier than 2", None).to_string();
        assert!(text.contains("clock"), "{text}");
        assert_eq!(failure("X", "y", None).to_string(), "X: y");
        assert_eq!(failure("X", "", None).to_string(), "X");
    }
}
