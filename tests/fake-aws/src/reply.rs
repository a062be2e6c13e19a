//! A reply, and what becomes of it on its way to the client.

use std::borrow::Cow;
use std::time::Duration;

use crate::records::Receipt;

/// How a service speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    /// AWS JSON 1.1: Firehose and Kinesis.
    Json,
    /// Form in, XML out: STS.
    Query,
    /// Any bytes in, any bytes or XML out: S3.
    S3,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    /// The reply to HEAD: the body is not sent.
    pub(crate) head_only: bool,
    pub(crate) body: Vec<u8>,
    /// The error's code, if it is one.
    pub(crate) error: Option<Cow<'static, str>>,
    pub(crate) delay: Duration,
    pub(crate) ending: Ending,
    /// What a client that reads this reply knows to be stored.
    pub(crate) receipt: Option<Receipt>,
}

/// What is done with a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    Sent,
    /// The head announces the whole body, the connection closes in the middle of it.
    Truncated,
    /// The connection is reset instead.
    Reset,
    /// Nothing is sent, the connection stays open.
    Silence,
}

impl Reply {
    pub(crate) fn json(body: Vec<u8>) -> Reply {
        Reply {
            status: 200,
            content_type: "application/x-amz-json-1.1",
            headers: Vec::new(),
            head_only: false,
            body,
            error: None,
            delay: Duration::ZERO,
            ending: Ending::Sent,
            receipt: None,
        }
    }

    pub(crate) fn xml(body: String) -> Reply {
        Reply { content_type: "text/xml", ..Reply::json(body.into_bytes()) }
    }
}
