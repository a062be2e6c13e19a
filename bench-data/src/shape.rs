//! Which log is generated: its format and its columns.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use pixel_engine::log::schema::{LogKind, PRESETS, Schema, SchemaError};

/// The names of the 33 columns of a legacy standard log, as its `#Fields:` line spells them.
pub const STANDARD_FIELDS: &str = "date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status \
     cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header \
     cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol ssl-cipher x-edge-response-result-type \
     cs-protocol-version fle-status fle-encrypted-fields c-port time-to-first-byte x-edge-detailed-result-type \
     sc-content-type sc-content-len sc-range-start sc-range-end";

/// The keys that standard logs v2 can have besides [`STANDARD_FIELDS`].
pub const STANDARD_V2_FIELDS: &str = "timestamp(ms) origin-fbl origin-lbl asn c-country cache-behavior-path-pattern";

/// The format and the columns of a log.
///
/// Its text form is what [`str::parse`] takes: a preset (`realtime-46`), `standard`,
/// `standard-json`, or a list of real-time columns (`timestamp,c-ip,+new-column`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Real-time logs with these columns, no header. A column that the engine does not know gets
    /// text.
    RealTime(Arc<Schema>),
    /// Legacy standard logs: [`STANDARD_FIELDS`], tabs, two header lines.
    Standard,
    /// Standard logs v2 as Firehose delivers them: an object a line, every value a string, `-` for
    /// absent ones; the keys are [`STANDARD_FIELDS`] and [`STANDARD_V2_FIELDS`].
    StandardV2Json,
}

impl Shape {
    /// The columns, or for JSON the keys, in the order in which they are written.
    pub fn schema(&self) -> Arc<Schema> {
        match self {
            Shape::RealTime(schema) => Arc::clone(schema),
            Shape::Standard | Shape::StandardV2Json => {
                let names = self.standard_names().collect::<Vec<_>>().join(" ");
                let schema = Schema::parse(LogKind::Standard, &names);
                Arc::new(schema.expect("the engine knows every field of standard logs"))
            }
        }
    }

    /// The names of standard logs as CloudFront spells them, which the engine's own names do not
    /// keep.
    pub(crate) fn standard_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let more = if *self == Shape::StandardV2Json { STANDARD_V2_FIELDS } else { "" };
        STANDARD_FIELDS.split_ascii_whitespace().chain(more.split_ascii_whitespace())
    }
}

impl FromStr for Shape {
    type Err = ShapeError;

    /// # Errors
    /// A name that is none of the shapes', or a list of columns that [`Schema::parse`] refuses.
    fn from_str(text: &str) -> Result<Shape, ShapeError> {
        match text {
            "standard" => Ok(Shape::Standard),
            "standard-json" => Ok(Shape::StandardV2Json),
            list if list.contains([',', ' ']) => Ok(Shape::RealTime(Arc::new(Schema::parse(LogKind::RealTime, list)?))),
            name => match Schema::preset(name) {
                Some(schema) => Ok(Shape::RealTime(Arc::new(schema))),
                None => Err(ShapeError::Unknown(name.to_owned())),
            },
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = match self {
            Shape::Standard => return formatter.write_str("standard"),
            Shape::StandardV2Json => return formatter.write_str("standard-json"),
            Shape::RealTime(schema) => schema,
        };
        match PRESETS.iter().find(|preset| Schema::preset(preset.name).as_ref() == Some(&**schema)) {
            Some(preset) => formatter.write_str(preset.name),
            None => write!(formatter, "{} columns", schema.columns().len()),
        }
    }
}

/// Why a text names no shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// Neither a preset, nor `standard`, nor `standard-json`; usually a slip of the keyboard.
    #[error("unknown shape `{0}`; known are {names}, standard, standard-json and a list of columns split by commas",
        names = PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", "))]
    Unknown(String),
    /// The list of columns does not make a schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_shapes_and_back() {
        for name in PRESETS.iter().map(|preset| preset.name).chain(["standard", "standard-json"]) {
            assert_eq!(name.parse::<Shape>().unwrap().to_string(), name);
        }
        assert_eq!("timestamp,c-ip,+new".parse::<Shape>().unwrap().schema().columns().len(), 3);
        assert!("realtime-47".parse::<Shape>().unwrap_err().to_string().contains("realtime-46, realtime-69"));
        assert!(matches!("timestamp,nonsense".parse::<Shape>(), Err(ShapeError::Schema(_))));
    }

    #[test]
    fn standard_logs_have_33_columns_and_39_keys() {
        assert_eq!(Shape::Standard.schema().columns().len(), 33);
        assert_eq!(Shape::StandardV2Json.schema().columns().len(), 39);
    }
}
