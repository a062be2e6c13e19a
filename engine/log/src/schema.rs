//! Which column of a line is which field.
//!
//! Real-time logs carry no header: the order is CloudFront's, and the fields are those the log
//! configuration chose. Records of the old and the new list overlap for hours after a change, so
//! several schemas can be accepted at once ([`Schemas`]); the column count tells them apart.
//! Standard logs name their columns in a `#Fields:` line ([`Schema::from_fields_header`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::field::{Field, json_name};

/// The two families of CloudFront logs; some fields mean different things in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogKind {
    /// Real-time logs: positional, `cs-host` is the viewer's Host header.
    RealTime,
    /// Standard logs, legacy and v2: `cs(Host)` is the distribution's domain.
    Standard,
}

/// One column of a schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// A field that this version knows.
    Known(Field),
    /// A column that it does not know: carried along as text under its own name.
    Unknown(Box<str>),
}

impl Column {
    /// The column of that name, as a header or a JSON key gives it: known or not, it is a column.
    pub fn from_name(name: &str) -> Column {
        Field::from_name(name).map_or_else(|| Column::Unknown(name.into()), Column::Known)
    }

    /// The column's name in the log.
    pub fn name(&self) -> &str {
        match self {
            Column::Known(field) => field.name(),
            Column::Unknown(name) => name,
        }
    }

    /// The column's key in JSON lines.
    pub fn json_name(&self) -> String {
        json_name(self.name())
    }
}

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A name that is not in CloudFront's list, usually a slip of the keyboard.
    #[error("unknown field `{name}`{}; write `+{name}` to accept it as a column that this version does not know", suggestion.map(|field| format!(", did you mean `{field}`?")).unwrap_or_default())]
    UnknownField {
        /// The name as it was given.
        name: String,
        /// The known field with the most similar name.
        suggestion: Option<Field>,
    },
    /// A field stands twice in one list.
    #[error("field `{0}` is listed twice")]
    Duplicate(String),
    /// The list names no field.
    #[error("the field list is empty")]
    Empty,
    /// Two accepted schemas have the same number of columns, so no line could be told apart.
    #[error("two schemas have {0} columns; accepted schemas are told apart by their column count")]
    SameCount(usize),
    /// More columns than a schema can have.
    #[error("{0} columns are more than the {max} that a schema can have", max = Schema::MAX_COLUMNS)]
    TooMany(usize),
}

/// An ordered list of columns.
#[derive(Clone, Debug)]
pub struct Schema {
    id: u64,
    kind: LogKind,
    columns: Box<[Column]>,
    position: [u8; Field::COUNT],
}

/// Equal are schemas of the same kind and columns; everything else follows from these.
impl PartialEq for Schema {
    fn eq(&self, other: &Schema) -> bool {
        self.kind == other.kind && self.columns == other.columns
    }
}

impl Eq for Schema {}

const ABSENT: u8 = u8::MAX;

/// A preset: its name, and what it is in a sentence.
pub struct Preset {
    /// The name that the setting `fields` takes.
    pub name: &'static str,
    /// One line for help texts.
    pub about: &'static str,
    columns: fn() -> Vec<Field>,
}

/// The field lists that CloudFront is known to deliver, by name.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "pixel-4",
        about: "the 4 fields of the aws-samples tracking pixel: timestamp c-ip cs-user-agent cs-uri-query",
        columns: || vec![Field::Timestamp, Field::CIp, Field::CsUserAgent, Field::CsUriQuery],
    },
    Preset {
        name: "realtime-40",
        about: "all fields of 2020: timestamp to cs-headers-count, no s-ip",
        columns: || real_time(Field::CsHeadersCount, |field| field != Field::SIp),
    },
    Preset {
        name: "realtime-43",
        about: "the 40 with origin-fbl, origin-lbl and asn",
        columns: || {
            real_time(Field::Asn, |field| {
                ![Field::SIp, Field::PrimaryDistributionId, Field::PrimaryDistributionDnsName].contains(&field)
            })
        },
    },
    Preset {
        name: "realtime-45",
        about: "the 43 with the two primary-distribution fields",
        columns: || real_time(Field::Asn, |field| field != Field::SIp),
    },
    Preset { name: "realtime-46", about: "the 45 with s-ip", columns: || real_time(Field::Asn, |_| true) },
    Preset {
        name: "realtime-69",
        about: "the full list: the 46 with CMCD, r-host, sr-reason, x-edge-mqcs, tenant and connection ids",
        columns: || real_time(Field::ConnectionId, |_| true),
    },
    Preset {
        name: "realtime-71",
        about: "the full list with viewer-request-log-data and viewer-response-log-data",
        columns: || real_time(Field::ViewerResponseLogData, |_| true),
    },
];

fn real_time(last: Field, keep: impl Fn(Field) -> bool) -> Vec<Field> {
    Field::ALL.iter().copied().filter(|&field| field <= last && keep(field)).collect()
}

impl Schema {
    /// The most columns that a schema can have.
    pub const MAX_COLUMNS: usize = 254;

    /// A schema of these columns.
    ///
    /// # Errors
    /// An empty list, a column listed twice, or more than [`Schema::MAX_COLUMNS`].
    pub fn new(kind: LogKind, columns: Vec<Column>) -> Result<Schema, SchemaError> {
        if columns.is_empty() {
            return Err(SchemaError::Empty);
        }
        if columns.len() > Schema::MAX_COLUMNS {
            return Err(SchemaError::TooMany(columns.len()));
        }
        let mut position = [ABSENT; Field::COUNT];
        for (index, column) in columns.iter().enumerate() {
            if columns[..index].contains(column) {
                return Err(SchemaError::Duplicate(column.name().to_owned()));
            }
            if let Column::Known(field) = column {
                position[*field as usize] = index as u8;
            }
        }
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Schema { id, kind, columns: columns.into(), position })
    }

    /// A preset of real-time logs by its name, such as `realtime-46`.
    pub fn preset(name: &str) -> Option<Schema> {
        let preset = PRESETS.iter().find(|preset| preset.name == name)?;
        let columns = (preset.columns)().into_iter().map(Column::Known).collect();
        Some(Schema::new(LogKind::RealTime, columns).expect("presets list each field once"))
    }

    /// The preset whose column count is nearest to `count`, and its own count.
    pub fn nearest_preset(count: usize) -> (&'static str, usize) {
        let counts = PRESETS.iter().map(|preset| (preset.name, (preset.columns)().len()));
        counts.min_by_key(|(_, columns)| columns.abs_diff(count)).expect("there are presets")
    }

    /// A list of names split by commas or white space, in the order of the columns; `+name` accepts
    /// a column that this version does not know.
    ///
    /// ```
    /// use pixel_engine_log::{field::Field, schema::{LogKind, Schema}};
    /// let schema = Schema::parse(LogKind::RealTime, "timestamp c-ip cs-uri-query")?;
    /// assert_eq!(schema.position(Field::CsUriQuery), Some(2));
    /// # Ok::<(), pixel_engine_log::schema::SchemaError>(())
    /// ```
    ///
    /// # Errors
    /// An unknown name without `+`, and what [`Schema::new`] refuses.
    pub fn parse(kind: LogKind, list: &str) -> Result<Schema, SchemaError> {
        let names = list.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|name| !name.is_empty());
        let columns = names
            .map(|name| match (Field::from_name(name), name.strip_prefix('+')) {
                (Some(field), _) => Ok(Column::Known(field)),
                (None, Some(unknown)) => Ok(Column::from_name(unknown)),
                (None, None) => {
                    Err(SchemaError::UnknownField { name: name.to_owned(), suggestion: most_similar(name) })
                }
            })
            .collect::<Result<_, _>>()?;
        Schema::new(kind, columns)
    }

    /// The schema of a standard log's `#Fields:` line; its names are split by spaces or tabs.
    /// CloudFront adds columns over time, so an unknown name is a column like any other.
    ///
    /// # Errors
    /// A header without names, or with one twice.
    pub fn from_fields_header(line: &[u8]) -> Result<Schema, SchemaError> {
        let text = String::from_utf8_lossy(line);
        let names = text.strip_prefix("#Fields:").unwrap_or(&text).split_ascii_whitespace();
        Schema::new(LogKind::Standard, names.map(Column::from_name).collect())
    }

    /// A number that this schema shares with its clones alone, not with equal ones: what is
    /// prepared for a schema is found again by it without comparing columns for each line.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Which family of logs this describes.
    pub fn kind(&self) -> LogKind {
        self.kind
    }

    /// The columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Which column, from 0, holds the field.
    pub fn position(&self, field: Field) -> Option<usize> {
        match self.position[field as usize] {
            ABSENT => None,
            index => Some(usize::from(index)),
        }
    }
}

/// The field whose name shares the most letter pairs with `name`, if that is at least half of them.
pub(crate) fn most_similar(name: &str) -> Option<Field> {
    let wanted = json_name(name);
    let scored = Field::ALL.iter().map(|field| (strsim::sorensen_dice(&wanted, &field.json_name()), *field));
    scored.max_by(|one, other| one.0.total_cmp(&other.0)).filter(|&(score, _)| score >= 0.5).map(|(_, field)| field)
}

/// The schemas that are accepted at once, told apart by their column count.
#[derive(Clone, Debug, Default)]
pub struct Schemas {
    by_count: Vec<Option<Arc<Schema>>>,
}

impl Schemas {
    /// Accepts all of these.
    ///
    /// # Errors
    /// Two with the same number of columns.
    pub fn new(schemas: impl IntoIterator<Item = Schema>) -> Result<Schemas, SchemaError> {
        let mut by_count: Vec<Option<Arc<Schema>>> = Vec::new();
        for schema in schemas {
            let count = schema.columns().len();
            if by_count.len() <= count {
                by_count.resize(count + 1, None);
            }
            match &by_count[count] {
                Some(other) if **other != schema => return Err(SchemaError::SameCount(count)),
                _ => by_count[count] = Some(Arc::new(schema)),
            }
        }
        Ok(Schemas { by_count })
    }

    /// Every preset of real-time logs: what is accepted when the user names none.
    pub fn all_presets() -> Schemas {
        let presets = PRESETS.iter().filter_map(|preset| Schema::preset(preset.name));
        Schemas::new(presets).expect("presets differ in their column count")
    }

    /// The schema of lines with that many columns.
    #[inline]
    pub fn with_columns(&self, count: usize) -> Option<&Arc<Schema>> {
        self.by_count.get(count)?.as_ref()
    }

    /// The accepted schemas by rising column count.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.by_count.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_the_columns_that_their_names_say() {
        for preset in PRESETS {
            let columns = preset.name.rsplit('-').next().unwrap().parse::<usize>().unwrap();
            assert_eq!(Schema::preset(preset.name).unwrap().columns().len(), columns, "{}", preset.name);
        }
    }

    #[test]
    fn the_nearest_preset_is_that_of_the_nearest_count() {
        for (count, nearest) in [(0, 4), (15, 4), (39, 40), (40, 40), (44, 43), (47, 46), (200, 71)] {
            assert_eq!(Schema::nearest_preset(count).1, nearest, "{count}");
        }
        assert_eq!(Schema::nearest_preset(46).0, "realtime-46");
    }

    #[test]
    fn s_ip_shifts_what_follows() {
        let old = Schema::preset("realtime-45").unwrap();
        let new = Schema::preset("realtime-46").unwrap();
        assert_eq!(old.position(Field::CsUriQuery), Some(19));
        assert_eq!(new.position(Field::CsUriQuery), Some(20));
        assert_eq!(old.position(Field::SIp), None);
    }

    #[test]
    fn an_unknown_name_gets_a_suggestion() {
        let error = Schema::parse(LogKind::RealTime, "timestamp,cs-uri-qurey").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown field `cs-uri-qurey`, did you mean `cs-uri-query`?; \
             write `+cs-uri-qurey` to accept it as a column that this version does not know"
        );
        let error = Schema::parse(LogKind::RealTime, "zzzz").unwrap_err();
        assert_eq!(error, SchemaError::UnknownField { name: "zzzz".to_owned(), suggestion: None });
        let accepted = Schema::parse(LogKind::RealTime, "timestamp +brand-new").unwrap();
        assert_eq!(accepted.columns()[1], Column::Unknown("brand-new".into()));
    }

    #[test]
    fn a_fields_header_may_use_spaces_or_tabs_and_name_new_columns() {
        let spaces = Schema::from_fields_header(b"#Fields: date time cs(User-Agent) x-new").unwrap();
        let tabs = Schema::from_fields_header(b"#Fields:\tdate\ttime\tcs(User-Agent)\tx-new\r").unwrap();
        assert_eq!(spaces, tabs);
        assert_eq!(spaces.position(Field::CsUserAgent), Some(2));
        assert_eq!(spaces.columns()[3].json_name(), "x_new");
    }

    #[test]
    fn schemas_are_told_apart_by_count_alone() {
        let two = |list| Schema::parse(LogKind::RealTime, list).unwrap();
        assert!(Schemas::new([two("timestamp c-ip"), two("timestamp asn")]).is_err());
        assert!(Schemas::new([two("timestamp c-ip"), two("timestamp c-ip")]).is_ok());
        assert_eq!(Schemas::all_presets().iter().count(), PRESETS.len());
    }
}
