//! Names of streams: `firehose://NAME`, `kinesis://NAME`, or an ARN in place of the name.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::sink::limits::Api;

/// A stream to deliver to.
///
/// ```
/// use pixel_engine_core::config::Stream;
///
/// let stream: Stream = "firehose://arn:aws:firehose:eu-west-1:123456789012:deliverystream/beacons".parse()?;
/// assert_eq!((stream.name(), stream.region()), ("beacons", Some("eu-west-1")));
/// # Ok::<(), pixel_engine_core::config::StreamError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    api: Api,
    name: String,
    arn: Option<String>,
}

/// Text that names no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Another scheme, or none.
    #[error("not firehose://STREAM or kinesis://STREAM")]
    Scheme,
    /// A name that no stream can have: usually a character that is not allowed.
    #[error("`{name}` cannot be the name of a stream: 1 to {max_len} letters, digits, `_`, `.` and `-`")]
    Name {
        /// What stands there.
        name: String,
        /// The most characters. Source: `DeliveryStreamName` and `StreamName` in the service
        /// models.
        max_len: usize,
    },
    /// An ARN of something else: usually a stream of the other service.
    #[error("`{arn}` is not the ARN of a stream of this service: {form}")]
    Arn {
        /// What stands there.
        arn: String,
        /// How it should look.
        form: &'static str,
    },
}

impl Stream {
    /// The API that takes its records.
    pub fn api(&self) -> Api {
        self.api
    }

    /// The name without an ARN around it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ARN, if it was given.
    pub fn arn(&self) -> Option<&str> {
        self.arn.as_deref()
    }

    /// The region in the ARN.
    pub fn region(&self) -> Option<&str> {
        self.arn.as_deref().and_then(|arn| arn.split(':').nth(3))
    }
}

impl FromStr for Stream {
    type Err = StreamError;

    fn from_str(text: &str) -> Result<Stream, StreamError> {
        let (api, rest, max_len, form, service, resource) = if let Some(rest) = text.strip_prefix("firehose://") {
            let form = "arn:aws:firehose:REGION:ACCOUNT:deliverystream/NAME";
            (Api::PutRecordBatch, rest, 64, form, "firehose", "deliverystream/")
        } else if let Some(rest) = text.strip_prefix("kinesis://") {
            let form = "arn:aws:kinesis:REGION:ACCOUNT:stream/NAME";
            (Api::PutRecords, rest, 128, form, "kinesis", "stream/")
        } else {
            return Err(StreamError::Scheme);
        };
        let (name, arn) = if rest.starts_with("arn:") {
            let name = match rest.split(':').collect::<Vec<_>>()[..] {
                [_, _, found, region, _, name] if found == service && !region.is_empty() => name.strip_prefix(resource),
                _ => None,
            };
            let name = name.ok_or_else(|| StreamError::Arn { arn: rest.to_owned(), form })?;
            (name, Some(rest.to_owned()))
        } else {
            (rest, None)
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if !(1..=max_len).contains(&name.len()) || !name.bytes().all(is_name) {
            return Err(StreamError::Name { name: name.to_owned(), max_len });
        }
        Ok(Stream { api, name: name.to_owned(), arn })
    }
}

impl Display for Stream {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let scheme = match self.api {
            Api::PutRecordBatch => "firehose",
            Api::PutRecords => "kinesis",
        };
        write!(out, "{scheme}://{}", self.arn.as_deref().unwrap_or(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_stream() {
        for (text, name, region) in [
            ("firehose://a", "a", None),
            ("kinesis://a.b-c_D9", "a.b-c_D9", None),
            ("kinesis://arn:aws-cn:kinesis:cn-north-1:1:stream/s", "s", Some("cn-north-1")),
        ] {
            let stream: Stream = text.parse().unwrap();
            assert_eq!((stream.name(), stream.region()), (name, region), "{text}");
        }
    }

    #[test]
    fn what_does_not() {
        let long = format!("firehose://{}", "a".repeat(65));
        for (text, part) in [
            ("s3://bucket", "not firehose"),
            ("firehose://", "1 to 64"),
            (&long, "1 to 64"),
            ("kinesis://a/b", "`a/b`"),
            ("kinesis://arn:aws:firehose:eu-west-1:1:deliverystream/s", "arn:aws:kinesis:REGION"),
            ("firehose://arn:aws:firehose:eu-west-1:1:stream/s", "deliverystream/NAME"),
            ("firehose://arn:aws:firehose::1:deliverystream/s", "REGION"),
        ] {
            let error = text.parse::<Stream>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
