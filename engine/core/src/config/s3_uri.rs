//! S3 URIs: `s3://BUCKET/KEY`, as the AWS CLI and the console write them.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// A bucket with a key, or with what keys begin with.
///
/// ```
/// use pixel_engine_core::config::S3Uri;
///
/// let uri: S3Uri = "s3://logs/cloudfront/".parse()?;
/// assert_eq!((uri.bucket(), uri.key()), ("logs", "cloudfront/"));
/// assert_eq!("s3://logs".parse::<S3Uri>()?.to_string(), "s3://logs/");
/// # Ok::<(), pixel_engine_core::config::S3UriError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Uri {
    bucket: String,
    key: String,
}

/// Text that is no S3 URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum S3UriError {
    /// Another scheme, or none.
    #[error("not s3://BUCKET/PREFIX")]
    Scheme,
    /// A name that no bucket can have. Source: "General purpose buckets naming rules" in the user
    /// guide of S3; an alias of an access point has the same form.
    #[error("`{0}` cannot be the name of a bucket: 3 to 63 small letters, digits, `.` and `-`")]
    Bucket(String),
    /// S3 takes keys of 1,024 bytes of UTF-8.
    #[error("a prefix of {0} bytes: S3 takes keys of 1024, and something has to follow")]
    TooLong(usize),
}

/// The most bytes of a key.
const MAX_KEY_LEN: usize = 1_024;

impl S3Uri {
    /// The URI of that key in that bucket.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> S3Uri {
        S3Uri { bucket: bucket.into(), key: key.into() }
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key, or what keys begin with.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The same as a folder: what it holds begins behind a slash.
    #[must_use]
    pub fn into_folder(mut self) -> S3Uri {
        if !self.key.is_empty() && !self.key.ends_with('/') {
            self.key.push('/');
        }
        self
    }
}

impl Display for S3Uri {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "s3://{}/{}", self.bucket, self.key)
    }
}

impl FromStr for S3Uri {
    type Err = S3UriError;

    fn from_str(text: &str) -> Result<S3Uri, S3UriError> {
        let rest = text.strip_prefix("s3://").ok_or(S3UriError::Scheme)?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let is_at_ends = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_inside = |byte: u8| is_at_ends(byte) || matches!(byte, b'.' | b'-');
        let bytes = bucket.as_bytes();
        let is_name = (3..=63).contains(&bytes.len())
            && bytes.iter().copied().all(is_inside)
            && [bytes.first(), bytes.last()].into_iter().flatten().copied().all(is_at_ends);
        if !is_name {
            return Err(S3UriError::Bucket(bucket.to_owned()));
        }
        if key.len() >= MAX_KEY_LEN {
            return Err(S3UriError::TooLong(key.len()));
        }
        Ok(S3Uri::new(bucket, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_a_name_and_a_key_is_any_text() {
        let uri = |text: &str| text.parse::<S3Uri>();
        for (text, bucket, key) in [
            ("s3://abc", "abc", ""),
            ("s3://my-logs.2026/", "my-logs.2026", ""),
            ("s3://abc/a b/ü+%20//x", "abc", "a b/ü+%20//x"),
            ("s3://abc//x", "abc", "/x"),
        ] {
            assert_eq!(uri(text), Ok(S3Uri::new(bucket, key)), "{text}");
        }
        for text in ["s3://", "s3://ab", "s3://Abc/x", "s3://-abc", "s3://abc-/", "s3://a_b/c", "s3://arn:aws:s3:::b"] {
            assert!(matches!(uri(text), Err(S3UriError::Bucket(_))), "{text}");
        }
        assert_eq!(uri("dir:abc"), Err(S3UriError::Scheme));
        assert_eq!(uri(&format!("s3://abc/{}", "x".repeat(1_024))), Err(S3UriError::TooLong(1_024)));
        let folder = |text: &str| uri(text).map(|uri| uri.into_folder().to_string());
        assert_eq!(folder("s3://abc/x"), Ok("s3://abc/x/".to_owned()));
        assert_eq!(folder("s3://abc"), Ok("s3://abc/".to_owned()));
    }
}
