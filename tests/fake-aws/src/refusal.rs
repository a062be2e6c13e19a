//! What an action answers when it does not do what was asked.

use std::borrow::Cow;

use serde_json::json;

use crate::reply::{Protocol, Reply};

/// An error of AWS's: code, message and HTTP status.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    /// Whether the client sent what no client should, as against what may happen to any.
    pub(crate) violation: bool,
}

impl Refusal {
    /// An error with status 400, which is what nearly all of the services' errors have.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status: 400, code: Cow::Borrowed(code), message: message.into(), violation: false }
    }

    /// One that the client is to blame for.
    pub(crate) fn violation(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { violation: true, ..Refusal::new(code, message) }
    }

    pub(crate) fn status(self, status: u16) -> Refusal {
        Refusal { status, ..self }
    }

    pub(crate) fn reply(self, protocol: Protocol) -> Reply {
        match protocol {
            Protocol::Json => {
                // Written by the layers before the service, which spell the member with a capital.
                let message = match &*self.code {
                    "AccessDeniedException" | "SerializationException" => "Message",
                    _ => "message",
                };
                let body = json!({ "__type": self.code, message: self.message }).to_string().into_bytes();
                Reply { status: self.status, error: Some(self.code), ..Reply::json(body) }
            }
            Protocol::S3 => {
                let (code, status) = query_code(&self.code, self.status);
                let body = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{}</Message></Error>",
                    escaped(&self.message)
                );
                let reply = Reply { status, error: Some(Cow::Owned(code.to_owned())), ..Reply::xml(body) };
                Reply { content_type: "application/xml", ..reply }
            }
            Protocol::Query => {
                let (code, status) = query_code(&self.code, self.status);
                let kind = if status < 500 { "Sender" } else { "Receiver" };
                let message = escaped(&self.message);
                let body = format!(
                    "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    \
                     <Type>{kind}</Type>\n    <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n\
                     </ErrorResponse>\n"
                );
                Reply { status, error: Some(Cow::Owned(code.to_owned())), ..Reply::xml(body) }
            }
        }
    }
}

/// The query protocol has older names for the errors of authorization, and answers them with 403.
fn query_code(code: &str, status: u16) -> (&str, u16) {
    match code {
        "AccessDeniedException" => ("AccessDenied", 403),
        "ExpiredTokenException" => ("ExpiredToken", 403),
        "IncompleteSignatureException" => ("IncompleteSignature", 403),
        "InvalidSignatureException" => ("SignatureDoesNotMatch", 403),
        "MissingAuthenticationTokenException" => ("MissingAuthenticationToken", 403),
        "UnrecognizedClientException" => ("InvalidClientTokenId", 403),
        other => (other, status),
    }
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
