//! What AWS's failures mean: the one table that decides between trying again, slowing down, sending
//! less at a time, and giving up.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use pixel_engine_core::deliver::{Class, Failure};

/// The codes that AWS answers with, and those that are made up here for failures without one;
/// `deliver` has some more of its own. Sources: the error lists of PutRecordBatch, PutRecords and
/// ListShards in the API references, and the lists of common errors there.
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
    // Of SQS, for a KMS key too.
    ("RequestThrottled", Class::Throttled),
    ("InternalFailure", Class::Transient),
    ("InternalFailureException", Class::Transient),
    ("InternalServerError", Class::Transient),
    ("InternalError", Class::Transient),
    ("ServiceUnavailable", Class::Transient),
    ("RequestTimeout", Class::Transient),
    ("RequestTimeoutException", Class::Transient),
    // Of S3, for what goes wrong on the way: source: the list of error codes in its API reference.
    ("BadDigest", Class::Transient),
    ("XAmzContentChecksumMismatch", Class::Transient),
    ("IncompleteBody", Class::Transient),
    ("OperationAborted", Class::Transient),
    ("ConditionalRequestConflict", Class::Transient),
    // While a stream is being created or changed.
    ("ResourceInUseException", Class::Transient),
    (CODE_CONNECTION, Class::Transient),
    ("RequestEntityTooLarge", Class::TooLarge),
    ("RequestEntityTooLargeException", Class::TooLarge),
    ("RequestTooLarge", Class::TooLarge),
];

/// What may help, for failures that only a person can mend, and for a connection.
const ADVICE: &[(&str, &str)] = &[
    ("ResourceNotFoundException", "check the stream's name, the region and the account"),
    ("AWS.SimpleQueueService.NonExistentQueue", "check the queue's URL, the region and the account"),
    ("QueueDoesNotExist", "check the queue's URL, the region and the account"),
    ("AccessDeniedException", "the role or user needs that permission"),
    ("AccessDenied", "the role or user needs that permission"),
    ("KMSAccessDeniedException", "the role or user needs kms:GenerateDataKey on the stream's key"),
    ("KMSDisabledException", "look at the KMS key that the stream is encrypted with"),
    ("KMSInvalidStateException", "look at the KMS key that the stream is encrypted with"),
    ("KMSNotFoundException", "look at the KMS key that the stream is encrypted with"),
    ("KMSOptInRequired", "look at the KMS key that the stream is encrypted with"),
    ("UnrecognizedClientException", "the access key is unknown to AWS: check the credentials and the profile"),
    ("InvalidClientTokenId", "the access key is unknown to AWS: check the credentials and the profile"),
    ("ExpiredTokenException", "the session has ended: get new credentials"),
    ("ExpiredToken", "the session has ended: get new credentials"),
    ("MissingAuthenticationTokenException", "the request went out unsigned: check the credentials"),
    ("RequestTimeTooSkewed", "this machine's clock is wrong: set it"),
    ("InvalidAccessKeyId", "the access key is unknown to AWS: check the credentials and the profile"),
    ("NoSuchBucket", "check the bucket's name and the account"),
    ("PermanentRedirect", "set the region to the bucket's"),
    ("AuthorizationHeaderMalformed", "set the region to the bucket's"),
    ("IllegalLocationConstraintException", "set the region to the bucket's"),
    ("PreconditionFailed", "another object has that name: two runs must not write under the same names"),
    ("NoSuchKey", "the object was deleted since it was listed"),
    ("NoSuchUpload", "the upload was aborted from outside: a lifecycle rule may be too short"),
    ("KMS.DisabledException", "look at the KMS key that objects are encrypted with"),
    ("KMS.KMSInvalidStateException", "look at the KMS key that objects are encrypted with"),
    ("KMS.NotFoundException", "look at the KMS key that objects are encrypted with"),
    ("InvalidSourceException", "the delivery stream reads from a Kinesis stream: deliver to that with kinesis://"),
    (CODE_TLS, "check the endpoint's address, or trust its certificate with SSL_CERT_FILE"),
    (CODE_CONNECTION, "check the endpoint, the region and the network"),
    (CODE_CREDENTIALS, "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role"),
];

/// For these it depends on the message.
const SIGNATURE_CODES: &[&str] = &["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired"];

/// The connection cannot be made, or broke.
const CODE_CONNECTION: &str = "ConnectionFailed";
/// The certificate of the endpoint is not trusted.
const CODE_TLS: &str = "UntrustedCertificate";
/// There are no credentials, or they cannot be had.
const CODE_CREDENTIALS: &str = "NoCredentials";
/// The request cannot be made.
const CODE_REQUEST: &str = "InvalidRequest";

/// A record that a reply says has failed.
pub(super) fn of_record(code: &str, message: Option<&str>) -> Failure {
    // "InternalFailure": the record may have been written. Source: aws-kinesis documentation of
    // retries.
    failure(code, message.unwrap_or_default(), None).with_arrival_in_doubt(code == "InternalFailure")
}

/// No credentials can be had.
pub(super) fn no_credentials(message: String) -> Failure {
    failure(CODE_CREDENTIALS, message, None)
}

/// A member that AWS promises in every reply.
pub(super) fn answered(member: &str, value: &str) -> Result<String, Failure> {
    let missing = || Failure::malformed_reply(format!("the reply has no {member}"));
    told(value).map(str::to_owned).ok_or_else(missing)
}

/// What AWS answered, also where this version of the SDK does not know it.
pub(super) fn told(value: &str) -> Option<&str> {
    /// What the SDK puts in place of a member that is not there.
    const NOT_THERE: &str = "no value was set";
    (value != NOT_THERE).then_some(value)
}

/// The status of the reply, where there was one.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// What the SDK reports of a request.
pub(super) fn of_request<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = status(error);
    match error {
        SdkError::TimeoutError(_) => Failure::timeout("no reply in time").with_arrival_in_doubt(true),
        SdkError::DispatchFailure(cause) => match cause.as_connector_error() {
            Some(connector) if connector.is_timeout() => Failure::timeout("no connection in time"),
            Some(connector) => of_connection(connector),
            None => failure(CODE_CONNECTION, causes(error), None).with_arrival_in_doubt(true),
        },
        SdkError::ConstructionFailure(_) => {
            let message = causes(error);
            let is_credentials = message.to_ascii_lowercase().contains("credential");
            failure(if is_credentials { CODE_CREDENTIALS } else { CODE_REQUEST }, message, None)
        }
        SdkError::ServiceError(context) => {
            let error = context.err();
            // Behind the first line, a signature that does not match has the whole request as AWS
            // would have signed it, with the session token.
            let message = error.message().and_then(|message| message.lines().next()).unwrap_or_default();
            let status = status.unwrap_or_default();
            let without_code = format!("HTTP {status}");
            let code = error.code().unwrap_or(&without_code);
            let failure = failure(code, message, Some(status));
            // Whoever is told to slow down was turned away before anything was stored.
            let is_in_doubt = status >= 500 && failure.class() != Class::Throttled;
            failure.with_arrival_in_doubt(is_in_doubt)
        }
        SdkError::ResponseError(_) if status.is_some_and(|status| status >= 300) => {
            let code = format!("HTTP {}", status.unwrap_or_default());
            failure(&code, causes(error), status).with_arrival_in_doubt(true)
        }
        _ => Failure::malformed_reply(causes(error)),
    }
}

/// What an error says, and what its causes say that is new, in one line. (Their debug form, which
/// the SDK offers for this, fills a screen.)
pub(super) fn causes(error: &dyn Error) -> String {
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

fn of_connection(connector: &ConnectorError) -> Failure {
    let message = causes(connector);
    let lower = message.to_ascii_lowercase();
    if lower.contains("certificate") {
        failure(CODE_TLS, message, None)
    } else if lower.contains("credential") {
        failure(CODE_CREDENTIALS, message, None)
    } else {
        let is_before_the_request = lower.contains("tcp connect error") || lower.contains("dns error");
        failure(CODE_CONNECTION, message, None).with_arrival_in_doubt(!is_before_the_request)
    }
}

/// A failure with that code, which comes with the status of a reply or within one.
pub(super) fn failure(code: &str, message: impl Into<String>, status: Option<u16>) -> Failure {
    let message = message.into();
    let (class, advice) = (class(code, &message, status), advice(code, &message));
    Failure::new(class, code.to_owned(), message).with_advice(advice)
}

/// What a failure means.
fn class(code: &str, message: &str, status: Option<u16>) -> Class {
    // One code for many mistakes: "Records size exceeds 4 MB limit" is about the request as a
    // whole.
    if matches!(code, "InvalidArgumentException" | "ValidationException") && message.contains("size exceeds") {
        return Class::TooLarge;
    }
    if let Some((_, class)) = CLASSES.iter().find(|(known, _)| *known == code) {
        return *class;
    }
    match status {
        Some(413) => Class::TooLarge,
        Some(408) => Class::Transient,
        Some(429) => Class::Throttled,
        Some(500..) => Class::Transient,
        _ => Class::Permanent,
    }
}

/// What may help.
fn advice(code: &str, message: &str) -> Option<&'static str> {
    if SIGNATURE_CODES.contains(&code) {
        return Some(if message.contains("expired") || message.contains("not yet current") {
            "this machine's clock is wrong: set it"
        } else if message.contains("scoped to a valid region") {
            "the region is not the endpoint's: set AWS_REGION"
        } else {
            "the secret key is wrong"
        });
    }
    ADVICE.iter().find(|(known, _)| *known == code).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod documented;

#[cfg(test)]
mod tests {
    use super::*;

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
            (CODE_CONNECTION, "", None, Class::Transient),
            (CODE_TLS, "", None, Class::Permanent),
        ] {
            assert_eq!(failure(code, message, status).class(), class, "{code} {status:?}");
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
