//! The time that a report covers which goes on with its pipeline.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{rfc3339, zone_name};

/// When lines were read. Their own times may be earlier.
#[derive(Clone, Debug, Serialize)]
pub struct Period {
    /// Which lines are counted.
    pub definition: String,
    /// From when on lines were counted, RFC 3339 in the report's time zone.
    pub begin: String,
    /// When the report was made.
    pub end: String,
    /// How many days are kept, the one that goes on included.
    pub days: u64,
}

impl Period {
    /// From then to then, for a report that keeps so many days of that zone.
    pub fn new(begin: Timestamp, end: Timestamp, days: u64, zone: &TimeZone) -> Period {
        let before = match days {
            1 => String::new(),
            2 => " and the day before".to_owned(),
            days => format!(" and the {} days before", days - 1),
        };
        Period {
            definition: format!("lines that were read today{before}, by days of {}", zone_name(zone)),
            begin: rfc3339(begin.as_second() * 1_000, zone),
            end: rfc3339(end.as_second() * 1_000, zone),
            days,
        }
    }
}
