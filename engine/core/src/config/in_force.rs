//! What holds of a setting that nobody gave.

use super::{Choice, Config, Container, ContainerKind, EncodingKind, Key, Linger, RateLimit, Target};
use crate::sink::limits::Api;
use pixel_engine_log::encode::Encoding;

use super::units::format_duration;

impl Config {
    /// The value of a setting that has one whether it was given or not, as it stands in a file.
    /// `None` for a setting without a default, and for one that has no effect here.
    ///
    /// ```
    /// use pixel_engine_core::config::{Key, Settings};
    ///
    /// let config = Settings { to: Some("kinesis://hits".to_owned()), ..Settings::default() }.validate()?;
    /// assert_eq!(config.in_force(Key::RecordSize).as_deref(), Some("51200"));
    /// assert_eq!(config.in_force(Key::Linger).as_deref(), Some("\"1s for a pipe, none for files\""));
    /// assert_eq!(config.in_force(Key::Align), None);
    /// # Ok::<(), pixel_engine_core::config::ConfigError>(())
    /// ```
    pub fn in_force(&self, key: Key) -> Option<String> {
        let quoted = |text: &str| Some(format!("{text:?}"));
        let number = |number: usize| Some(number.to_string());
        let delivery = self.target.stream().map(|_| &self.delivery);
        let (is_s3, is_dir) = (matches!(self.target, Target::S3(_)), matches!(self.target, Target::Dir(_)));
        match key {
            Key::Format => quoted(self.format.name()),
            Key::QueryEncoding => quoted(self.query_encoding.name()),
            Key::OnBadLine => quoted(self.on_bad_line.name()),
            Key::Quarantine => quoted(&self.quarantine.to_string()),
            Key::Encode => quoted(match self.encoding {
                Encoding::Json(_) => EncodingKind::Jsonl.name(),
                Encoding::Rows(_) => EncodingKind::Parquet.name(),
                Encoding::Raw | Encoding::Projection(_) => EncodingKind::Raw.name(),
            }),
            Key::To => quoted(&self.target.to_string()),
            Key::Container => match self.container {
                Container::Lines { single: true, .. } => quoted(ContainerKind::Line.name()),
                Container::Lines { .. } => quoted(ContainerKind::Lines.name()),
                Container::Kpl { .. } => quoted(ContainerKind::Kpl.name()),
                Container::Parquet { .. } => None,
            },
            Key::RecordSize => match self.container {
                Container::Lines { record_size, .. } | Container::Kpl { record_size, .. } => number(record_size),
                Container::Parquet { .. } => None,
            },
            Key::Align => match self.container {
                Container::Lines { align, single: false, .. } => number(align.get()),
                Container::Lines { .. } | Container::Kpl { .. } | Container::Parquet { .. } => None,
            },
            Key::Reorder => match self.container {
                Container::Lines { reorder, single: false, .. } => Some(reorder.to_string()),
                Container::Lines { .. } | Container::Kpl { .. } | Container::Parquet { .. } => None,
            },
            Key::Compress => match self.container {
                Container::Lines { codec, .. } | Container::Parquet { codec, .. } => quoted(&codec.to_string()),
                Container::Kpl { .. } => None,
            },
            Key::MaskIp => Some(self.treatment.as_ref().is_some_and(|it| it.mask_ip).to_string()),
            Key::Linger => match self.linger {
                Linger::BySource => {
                    quoted(&format!("{} for a pipe, none for files", format_duration(Linger::DEFAULT_FOR_PIPE)))
                }
                Linger::Never => quoted("none"),
                Linger::After(time) => quoted(&format_duration(time)),
            },
            Key::Threads => number(self.threads.get()),
            Key::Concurrency if delivery.is_some() || is_s3 => number(self.delivery.concurrency.get()),
            Key::RequestSize => number(delivery?.request_size),
            Key::CountRequestSize if self.api() == Api::PutRecordBatch => quoted(delivery?.counted.name()),
            Key::RateLimit => match delivery?.rate_limit {
                RateLimit::Auto => None,
                RateLimit::None => quoted("none"),
                RateLimit::BytesPerSecond(bytes) => Some(bytes.to_string()),
            },
            Key::Grace if delivery.is_some() || is_s3 => quoted(&format_duration(self.delivery.grace)),
            Key::RequestTimeout if delivery.is_some() || is_s3 => {
                quoted(&format_duration(self.connection.request_timeout))
            }
            Key::BufferingInterval if is_s3 || is_dir => quoted(&format_duration(self.objects.buffering_interval)),
            Key::Sse => quoted(self.objects.sse?.name()),
            Key::SpoolSize => Some(self.spool.as_ref()?.size.to_string()),
            Key::SpoolFull => quoted(self.spool.as_ref()?.when_full.name()),
            _ => None,
        }
    }
}
