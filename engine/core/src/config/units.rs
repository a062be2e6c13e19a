//! How sizes and durations are written, everywhere: `5120`, `300MB`, `4GiB`; `250ms`, `30s`,
//! `1h 30m`.

use std::time::Duration;

use bytesize::ByteSize;

/// Text that is not a size or not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Not a size: usually a unit that does not exist.
    #[error("not a size; write bytes (5120) or a unit of 1,000 (300MB) or 1,024 (4GiB)")]
    Size,
    /// Not a duration: usually a number without its unit.
    #[error("not a duration; write numbers with their units: 250ms, 30s, 5m, 1h 30m")]
    Duration,
}

/// The bytes of a size: a number, which may have `_` between its digits, and a unit of 1,000 (`kB`,
/// `MB`, `GB`) or of 1,024 (`KiB`, `MiB`, `GiB`). Without a unit it is bytes.
///
/// ```
/// use pixel_engine_core::config::parse_size;
/// assert_eq!(parse_size("1_024_000"), Ok(1_024_000));
/// assert_eq!(parse_size("4GiB"), Ok(4 << 30));
/// ```
///
/// # Errors
/// Not a number, or an unknown unit.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    text.replace('_', "").parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| UnitError::Size)
}

/// A duration: numbers with their units (`ns`, `us`, `ms`, `s`, `m`, `h`, `d` and longer forms of
/// these such as `min` and `hours`), which add up. `0` needs no unit.
///
/// ```
/// use pixel_engine_core::config::parse_duration;
/// use std::time::Duration;
/// assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5_400)));
/// assert!(parse_duration("30").is_err(), "seconds, or minutes?");
/// ```
///
/// # Errors
/// A number without a unit, or an unknown unit.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|_| UnitError::Duration)
}

/// A duration as [`parse_duration`] reads it, without months and years, which have no fixed length:
/// `30d`, `1h 1ms`.
pub(super) fn format_duration(duration: Duration) -> String {
    let (seconds, nanoseconds) = (duration.as_secs(), u64::from(duration.subsec_nanos()));
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (nanoseconds / 1_000_000, "ms"),
        (nanoseconds / 1_000 % 1_000, "us"),
        (nanoseconds % 1_000, "ns"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_is_read_as_it_was_written(
            duration in prop_oneof![
                (0..u64::from(u32::MAX)).prop_map(Duration::from_secs),
                (0..u64::from(u32::MAX)).prop_map(Duration::from_nanos),
            ],
        ) {
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }

    #[test]
    fn durations_are_written_without_what_is_zero() {
        assert_eq!(format_duration(Duration::ZERO), "0s");
        assert_eq!(format_duration(Duration::from_millis(3_600_001)), "1h 1ms");
        assert_eq!(format_duration(Duration::from_secs(90 * 86_400)), "90d");
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("5120", 5_120),
            ("300MB", 300_000_000),
            ("20KiB", 20_480),
            ("1.5MiB", 1_572_864),
            ("10 GB", 10_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "much", "5XB", "-1", "5 5", "MiB"] {
            assert_eq!(parse_size(text), Err(UnitError::Size), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("1.5s", 1_500),
            ("5m", 300_000),
            ("5min", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("24h", 86_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "30", "-1s", "soon", "1 hour ago", "PT1S", "99999999999999999999s"] {
            assert_eq!(parse_duration(text), Err(UnitError::Duration), "{text}");
        }
    }
}
