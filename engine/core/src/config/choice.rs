//! Settings that take one of a few names.

use crate::sink::limits::Counted;
use crate::source::Format;
use pixel_engine_log::query::QueryEncoding;

/// A setting that takes one of a few names. Files, variables and command lines use the same ones.
///
/// ```
/// use pixel_engine_core::config::{Choice, ContainerKind};
/// assert_eq!(ContainerKind::from_name("kpl"), Some(ContainerKind::Kpl));
/// assert_eq!(ContainerKind::Lines.name(), "lines");
/// ```
pub trait Choice: Copy + PartialEq + 'static {
    /// Each value, its name, and what it means in a few words for help texts.
    const CHOICES: &'static [(Self, &'static str, &'static str)];

    /// The name of this value.
    fn name(self) -> &'static str {
        let choice = Self::CHOICES.iter().find(|(value, ..)| *value == self);
        choice.expect("every value has a name").1
    }

    /// The value of that name.
    fn from_name(name: &str) -> Option<Self> {
        Self::CHOICES.iter().find(|(_, other, _)| *other == name).map(|&(value, ..)| value)
    }
}

/// What a line becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodingKind {
    /// The line as it came, or the selected values.
    #[default]
    Raw,
    /// A JSON object.
    Jsonl,
    /// Columns of Parquet files.
    Parquet,
}

/// How many times the queries in the log are percent-encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryEncodingKind {
    /// By the viewer and by CloudFront, as CloudFront's logs have them.
    #[default]
    Twice,
    /// By the viewer alone.
    Once,
    /// Told from the first queries of each input that show it.
    Auto,
}

impl QueryEncodingKind {
    /// The same for every input; `None` when each is to show it.
    pub fn known(self) -> Option<QueryEncoding> {
        match self {
            QueryEncodingKind::Twice => Some(QueryEncoding::Twice),
            QueryEncodingKind::Once => Some(QueryEncoding::Once),
            QueryEncodingKind::Auto => None,
        }
    }
}

/// The function that values are hashed with, each under a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashFunction {
    /// BLAKE3 in its keyed mode.
    #[default]
    Blake3,
    /// HMAC with SHA-256, which other programs have at hand.
    HmacSha256,
}

/// What records are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// Concatenated lines, for Firehose.
    Lines,
    /// One line, as CloudFront's real-time logs have it.
    Line,
    /// KPL aggregates, for Kinesis.
    Kpl,
}

/// What to do with a line that cannot be shipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadLine {
    /// Keep it in the quarantine.
    #[default]
    Quarantine,
    /// Deliver what stands before it, and stop.
    Fail,
    /// Leave it out; it is counted as filtered.
    Skip,
}

/// What to do when the spool has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Go on trying to deliver, and hold the input meanwhile.
    #[default]
    Block,
    /// End the run with an error.
    Stop,
}

/// How S3 encrypts an object that it stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerSideEncryption {
    /// With keys of S3's own, which is what S3 does when nothing is said.
    Aes256,
    /// With a key of KMS.
    AwsKms,
}

impl Choice for ServerSideEncryption {
    const CHOICES: &'static [(ServerSideEncryption, &'static str, &'static str)] = &[
        (ServerSideEncryption::Aes256, "AES256", "With keys of S3's own"),
        (ServerSideEncryption::AwsKms, "aws:kms", "With a key of KMS"),
    ];
}

impl Choice for Format {
    const CHOICES: &'static [(Format, &'static str, &'static str)] = &[
        (Format::Auto, "auto", "Told from the first line"),
        (Format::RealTime, "realtime", "Real-time logs: tab-separated, no header"),
        (Format::Standard, "standard", "Standard logs with `#Fields` headers"),
        (Format::Json, "json", "Standard logs v2 in JSON"),
    ];
}

impl Choice for QueryEncodingKind {
    const CHOICES: &'static [(QueryEncodingKind, &'static str, &'static str)] = &[
        (QueryEncodingKind::Twice, "twice", "By the viewer and by CloudFront"),
        (QueryEncodingKind::Once, "once", "By the viewer alone, as in older logs and those of other writers"),
        (QueryEncodingKind::Auto, "auto", "Told from the first queries of each input that show it"),
    ];
}

impl Choice for HashFunction {
    const CHOICES: &'static [(HashFunction, &'static str, &'static str)] = &[
        (HashFunction::Blake3, "blake3", "BLAKE3 in its keyed mode"),
        (HashFunction::HmacSha256, "hmac-sha256", "HMAC with SHA-256, which other programs have at hand"),
    ];
}

impl Choice for EncodingKind {
    const CHOICES: &'static [(EncodingKind, &'static str, &'static str)] = &[
        (EncodingKind::Raw, "raw", "As it came, or the selected fields separated by tabs"),
        (EncodingKind::Jsonl, "jsonl", "A JSON object with typed numbers and decoded query parameters"),
        (EncodingKind::Parquet, "parquet", "Typed columns of Parquet files, in folders by the hour of the event"),
    ];
}

impl Choice for ContainerKind {
    const CHOICES: &'static [(ContainerKind, &'static str, &'static str)] = &[
        (ContainerKind::Lines, "lines", "Lines one after the other"),
        (ContainerKind::Line, "line", "A single line, as CloudFront writes it"),
        (ContainerKind::Kpl, "kpl", "KPL aggregates"),
    ];
}

impl Choice for OnBadLine {
    const CHOICES: &'static [(OnBadLine, &'static str, &'static str)] = &[
        (OnBadLine::Quarantine, "quarantine", "Keep it in the quarantine file"),
        (OnBadLine::Fail, "fail", "Deliver what stands before it and exit with 1"),
        (OnBadLine::Skip, "skip", "Leave it out and count it as filtered"),
    ];
}

impl Choice for Counted {
    const CHOICES: &'static [(Counted, &'static str, &'static str)] = &[
        (Counted::Base64, "base64", "The JSON with its base64: the stricter reading"),
        (Counted::Data, "data", "The data of the records"),
    ];
}

impl Choice for WhenFull {
    const CHOICES: &'static [(WhenFull, &'static str, &'static str)] = &[
        (WhenFull::Block, "block", "Hold the input until there is room or the stream takes records again"),
        (WhenFull::Stop, "stop", "End the run with an error"),
    ];
}
