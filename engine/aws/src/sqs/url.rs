//! The URL of a queue.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// The URL of a queue, as CreateQueue and the console tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueUrl {
    url: String,
    region: Option<String>,
}

/// Text that is no URL of a queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the URL of a queue: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME")]
pub struct QueueUrlError(String);

impl QueueUrl {
    /// The region in it; `None` for an endpoint that is not AWS's.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }
}

impl FromStr for QueueUrl {
    type Err = QueueUrlError;

    fn from_str(url: &str) -> Result<QueueUrl, QueueUrlError> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let parts = rest.map(|rest| rest.split('/').collect::<Vec<_>>());
        let Some([host, .., account, name]) = parts.as_deref() else { return Err(QueueUrlError(url.to_owned())) };
        // Source: CreateQueue in the API reference; a FIFO queue's ends with `.fifo`.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_queue = !account.is_empty()
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && (1..=80).contains(&name.len())
            && name.bytes().all(is_name)
            && !host.contains('@');
        if !is_queue {
            return Err(QueueUrlError(url.to_owned()));
        }
        // Also the older `REGION.queue.amazonaws.com`, and what ends in `amazonaws.com.cn`.
        let region = match host.split('.').collect::<Vec<_>>()[..] {
            ["sqs" | "sqs-fips", region, "amazonaws" | "api", ..] | [region, "queue", "amazonaws", ..] => {
                Some(region.to_owned())
            }
            _ => None,
        };
        Ok(QueueUrl { url: url.to_owned(), region })
    }
}

impl Display for QueueUrl {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_queue() {
        for (url, region) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/pixel-logs", Some("eu-west-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/a.fifo", Some("cn-north-1")),
            ("https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/a", Some("us-gov-west-1")),
            ("https://eu-west-1.queue.amazonaws.com/123456789012/a_B", Some("eu-west-1")),
            ("http://127.0.0.1:5000/123456789012/a", None),
        ] {
            let parsed: QueueUrl = url.parse().unwrap();
            assert_eq!((parsed.region(), parsed.to_string().as_str()), (region, url));
        }
        for url in [
            "",
            "pixel-logs",
            "arn:aws:sqs:eu-west-1:123456789012:pixel-logs",
            "https://sqs.eu-west-1.amazonaws.com/pixel-logs",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/",
            "https://sqs.eu-west-1.amazonaws.com/account/a",
            "https://key:secret@127.0.0.1/123456789012/a",
        ] {
            assert_eq!(url.parse::<QueueUrl>(), Err(QueueUrlError(url.to_owned())));
        }
    }
}
