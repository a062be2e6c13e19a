//! What the user picks from a line by name: values to keep ([`Selection`]), and lines to keep
//! ([`Matcher`]).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use globset::GlobBuilder;
use regex::bytes::{Regex, RegexBuilder};

use crate::field::{Field, json_name};
use crate::line::Line;
use crate::schema::{Column, LogKind, Schema, most_similar};

/// One value of a line, by name.
///
/// ```
/// use pixel_engine_log::select::Selector;
/// use pixel_engine_log::field::Field;
/// assert_eq!("c-ip".parse(), Ok(Selector::Field(Field::CIp)));
/// assert_eq!("viewer-host".parse(), Ok(Selector::ViewerHost));
/// assert_eq!("query.utm_source".parse(), Ok(Selector::Query("utm_source".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Selector {
    /// A field under CloudFront's name.
    Field(Field),
    /// `+name`: a column that this version does not know, by the name it has in the schema.
    Unknown(Box<str>),
    /// `viewer-host`: the host that the viewer asked for, in both kinds of log; see
    /// [`Line::viewer_host`].
    ViewerHost,
    /// `distribution-host`: the distribution's domain, in both kinds of log; see
    /// [`Line::distribution_host`].
    DistributionHost,
    /// `uri-path`: the path without a query, in both kinds of log; see [`Line::uri_path`].
    UriPath,
    /// `query.NAME`: the last parameter of the query whose decoded name is NAME, in the same upper
    /// and lower case.
    Query(Box<str>),
}

const QUERY_PREFIX: &str = "query.";

const CANONICAL: [(&str, Selector); 3] = [
    ("viewer-host", Selector::ViewerHost),
    ("distribution-host", Selector::DistributionHost),
    ("uri-path", Selector::UriPath),
];

impl Selector {
    /// The text of the value as the log has it: still encoded, `None` when it is absent. A
    /// parameter without `=` is empty text.
    pub fn text<'a>(&self, line: &Line<'a>) -> Option<&'a [u8]> {
        match self {
            Selector::Query(name) => {
                let parameter = line.query()?.last_named(name.as_bytes())?;
                Some(parameter.value.unwrap_or_default())
            }
            _ => self.place(line.schema())?.text(line),
        }
    }

    /// As [`Selector::text`], but the value of a query's parameter is decoded.
    pub fn value<'a>(&self, line: &Line<'a>) -> Option<Cow<'a, [u8]>> {
        match self {
            Selector::Query(name) => {
                let parameter = line.query()?.last_named(name.as_bytes())?;
                Some(parameter.value_decoded().unwrap_or_default())
            }
            _ => self.text(line).map(Cow::Borrowed),
        }
    }

    /// Which column, from 0, is this value in lines of the schema; `None` when they do not have it,
    /// and for what is a part of a column: `uri-path` and `query.NAME`.
    pub fn column(&self, schema: &Schema) -> Option<usize> {
        match self.place(schema)? {
            Place::Column(column) => Some(column),
            Place::Path(_) => None,
        }
    }

    /// The key in JSON lines: `c_ip`, `viewer_host`; NAME for `query.NAME`, as it stands inside
    /// `query`.
    pub fn json_name(&self) -> String {
        match self {
            Selector::Field(field) => field.json_name(),
            Selector::Unknown(name) => json_name(name),
            Selector::Query(name) => name.to_string(),
            other => json_name(&other.to_string()),
        }
    }

    /// What a column of these values is called: as in JSON lines, and `query_NAME` for `query.NAME`.
    pub fn column_name(&self) -> String {
        match self {
            Selector::Query(name) => format!("query_{name}"),
            other => other.json_name(),
        }
    }

    /// Where the value lies in lines of the schema; `None` when they do not have it, and for
    /// `query.NAME`.
    pub(crate) fn place(&self, schema: &Schema) -> Option<Place> {
        let real_time = schema.kind() == LogKind::RealTime;
        let field = match self {
            Selector::Field(field) => *field,
            Selector::ViewerHost if real_time => Field::CsHost,
            Selector::ViewerHost => Field::XHostHeader,
            Selector::DistributionHost if real_time => Field::XHostHeader,
            Selector::DistributionHost => Field::CsHost,
            Selector::UriPath => return schema.position(Field::CsUriStem).map(Place::Path),
            Selector::Unknown(name) => {
                let is_it = |column: &Column| matches!(column, Column::Unknown(other) if other == name);
                return schema.columns().iter().position(is_it).map(Place::Column);
            }
            Selector::Query(_) => return None,
        };
        schema.position(field).map(Place::Column)
    }
}

/// What a line has in that column.
impl From<&Column> for Selector {
    fn from(column: &Column) -> Selector {
        match column {
            Column::Known(field) => Selector::Field(*field),
            Column::Unknown(name) => Selector::Unknown(name.clone()),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Field(field) => formatter.write_str(field.name()),
            Selector::Unknown(name) => write!(formatter, "+{name}"),
            Selector::Query(name) => write!(formatter, "{QUERY_PREFIX}{name}"),
            canonical => {
                let (name, _) = CANONICAL
                    .iter()
                    .find(|(_, other)| other == canonical)
                    .expect("all variants without data are canonical names");
                formatter.write_str(name)
            }
        }
    }
}

impl FromStr for Selector {
    type Err = SelectError;

    fn from_str(name: &str) -> Result<Selector, SelectError> {
        if let Some(parameter) = name.strip_prefix(QUERY_PREFIX) {
            return match parameter {
                "" => Err(SelectError::EmptyParameter),
                _ => Ok(Selector::Query(parameter.into())),
            };
        }
        if let Some(field) = Field::from_name(name) {
            return Ok(Selector::Field(field));
        }
        let wanted = json_name(name);
        if let Some((_, selector)) = CANONICAL.iter().find(|(canonical, _)| json_name(canonical) == wanted) {
            return Ok(selector.clone());
        }
        match name.strip_prefix('+') {
            Some(known) if Field::from_name(known).is_some() => known.parse(),
            Some(unknown) if !unknown.is_empty() => Ok(Selector::Unknown(unknown.into())),
            _ => Err(SelectError::UnknownField { name: name.to_owned(), suggestion: most_similar(name) }),
        }
    }
}

/// Where a value lies in the lines of one schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A whole column.
    Column(usize),
    /// A column up to its first `?`.
    Path(usize),
}

impl Place {
    /// The text there; `None` when it is `-`.
    #[inline]
    pub(crate) fn text<'a>(self, line: &Line<'a>) -> Option<&'a [u8]> {
        let (Place::Column(column) | Place::Path(column)) = self;
        let text = line.column(column);
        if text == b"-" {
            return None;
        }
        match self {
            Place::Column(_) => Some(text),
            Place::Path(_) => Some(memchr::memchr(b'?', text).map_or(text, |at| &text[..at])),
        }
    }
}

/// Why a selection or a filter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// A name that is neither a field nor one of ours, usually a slip of the keyboard.
    #[error("unknown field `{name}`{}; fields have CloudFront's names, or are viewer-host, distribution-host, uri-path or query.NAME", suggestion.map(|field| format!(", did you mean `{field}`?")).unwrap_or_default())]
    UnknownField {
        /// The name as it was given.
        name: String,
        /// The known field with the most similar name.
        suggestion: Option<Field>,
    },
    /// `query.` without a parameter's name.
    #[error("`query.` needs the name of a parameter, such as `query.utm_source`")]
    EmptyParameter,
    /// A selection names something twice.
    #[error("`{0}` is selected twice")]
    Duplicate(String),
    /// A selection names nothing.
    #[error("the selection is empty")]
    Empty,
    /// A filter without `=`, usually a glob whose field was forgotten.
    #[error("`{0}` is not of the form FIELD=GLOB")]
    NoEquals(String),
    /// A filter whose right side is no glob, usually for an open bracket or brace.
    #[error("`{glob}` is not a glob: {reason}")]
    Glob {
        /// The glob as it was given.
        glob: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The values to keep of each line, in their order; at least one, none twice.
///
/// ```
/// use pixel_engine_log::select::Selection;
/// let selection: Selection = "timestamp, uri-path query.e".parse()?;
/// assert_eq!(selection.selectors().len(), 3);
/// # Ok::<(), pixel_engine_log::select::SelectError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    selectors: Box<[Selector]>,
}

impl Selection {
    /// A selection of these.
    ///
    /// # Errors
    /// An empty list, or a selector listed twice.
    pub fn new(selectors: Vec<Selector>) -> Result<Selection, SelectError> {
        if selectors.is_empty() {
            return Err(SelectError::Empty);
        }
        for (index, selector) in selectors.iter().enumerate() {
            if selectors[..index].contains(selector) {
                return Err(SelectError::Duplicate(selector.to_string()));
            }
        }
        Ok(Selection { selectors: selectors.into() })
    }

    /// What is selected, in order.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }
}

impl FromStr for Selection {
    type Err = SelectError;

    /// A list of names split by commas or white space.
    fn from_str(list: &str) -> Result<Selection, SelectError> {
        let names = list.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|name| !name.is_empty());
        Selection::new(names.map(str::parse).collect::<Result<_, _>>()?)
    }
}

/// Conditions on a line, `FIELD=GLOB` each, that must all hold; none at all holds for every line.
///
/// A glob is matched with the whole text of the value as the log has it; `query.NAME` with the
/// decoded value of the last parameter of that name. An absent value is `-`. `*` and `?` also match
/// `/`; `[ab]`, `[!ab]`, `{one,two}` and `\` before a special character are what they are in
/// shells. A clone for each thread is quicker than one that is shared.
///
/// ```
/// use pixel_engine_log::select::Matcher;
/// let matcher = Matcher::new(["sc-status=2*", "query.url=https://*"])?;
/// assert!(Matcher::new(["sc-status"]).is_err());
/// # Ok::<(), pixel_engine_log::select::SelectError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    conditions: Vec<(Selector, Regex)>,
}

impl Matcher {
    /// A matcher of all these conditions.
    ///
    /// # Errors
    /// A condition without `=`, an unknown field, or what is not a glob.
    pub fn new<'a>(conditions: impl IntoIterator<Item = &'a str>) -> Result<Matcher, SelectError> {
        let conditions = conditions.into_iter().map(condition).collect::<Result<_, _>>()?;
        Ok(Matcher { conditions })
    }

    /// Whether there is no condition.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether all conditions hold for the line.
    pub fn matches(&self, line: &Line<'_>) -> bool {
        self.conditions.iter().all(|(selector, regex)| regex.is_match(selector.value(line).as_deref().unwrap_or(b"-")))
    }
}

fn condition(text: &str) -> Result<(Selector, Regex), SelectError> {
    let (name, glob) = text.split_once('=').ok_or_else(|| SelectError::NoEquals(text.to_owned()))?;
    let selector = name.trim().parse()?;
    let refused = |reason: String| SelectError::Glob { glob: glob.to_owned(), reason };
    let parsed = GlobBuilder::new(glob)
        .literal_separator(false)
        .backslash_escape(true)
        .empty_alternates(true)
        .build()
        .map_err(|error| refused(error.kind().to_string()))?;
    // A decoded value may hold newlines, which `*` must match.
    let regex = RegexBuilder::new(parsed.regex())
        .dot_matches_new_line(true)
        .build()
        .map_err(|error| refused(error.to_string()))?;
    Ok((selector, regex))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::tests::with_line;

    const NAMES: &str = "timestamp c-ip cs-host cs-uri-stem sc-status cs-uri-query x-host-header +new-one";
    const TEXT: &str = "1.5\t-\ta.example\t/p/i?x\t200\te=pp&u=http%253A%252F%252Fb&e=x%250Ay&flag\td1\tn\n";

    fn text(kind: LogKind, name: &str) -> Option<String> {
        let selector: Selector = name.parse().unwrap();
        with_line(kind, NAMES, TEXT, |line| selector.text(&line).map(|text| String::from_utf8(text.to_vec()).unwrap()))
    }

    fn matches(conditions: &[&str]) -> bool {
        let matcher = Matcher::new(conditions.iter().copied()).unwrap();
        with_line(LogKind::RealTime, NAMES, TEXT, |line| matcher.matches(&line))
    }

    #[test]
    fn selectors_give_the_text_of_the_log() {
        let real_time = |name| text(LogKind::RealTime, name);
        assert_eq!(real_time("timestamp").as_deref(), Some("1.5"));
        assert_eq!(real_time("c-ip"), None);
        assert_eq!(real_time("asn"), None);
        assert_eq!(real_time("uri-path").as_deref(), Some("/p/i"));
        assert_eq!(real_time("+new-one").as_deref(), Some("n"));
        assert_eq!(real_time("query.u").as_deref(), Some("http%253A%252F%252Fb"));
        assert_eq!(real_time("query.e").as_deref(), Some("x%250Ay"));
        assert_eq!(real_time("query.flag").as_deref(), Some(""));
        assert_eq!(real_time("query.E"), None);
    }

    #[test]
    fn canonical_hosts_depend_on_the_kind_of_log() {
        assert_eq!(text(LogKind::RealTime, "viewer-host").as_deref(), Some("a.example"));
        assert_eq!(text(LogKind::RealTime, "distribution-host").as_deref(), Some("d1"));
        assert_eq!(text(LogKind::Standard, "viewer_host").as_deref(), Some("d1"));
        assert_eq!(text(LogKind::Standard, "distribution-host").as_deref(), Some("a.example"));
    }

    #[test]
    fn names_are_written_as_they_are_read() {
        for name in ["c-ip", "viewer-host", "distribution-host", "uri-path", "query.A.b", "+new-one"] {
            assert_eq!(name.parse::<Selector>().unwrap().to_string(), name);
        }
        assert_eq!("+c-ip".parse(), Ok(Selector::Field(Field::CIp)));
    }

    #[test]
    fn selections_are_checked() {
        let selection = |list: &str| list.parse::<Selection>();
        assert_eq!(selection(" ,"), Err(SelectError::Empty));
        assert_eq!(selection("c-ip,c_ip"), Err(SelectError::Duplicate("c-ip".into())));
        assert_eq!(selection("query."), Err(SelectError::EmptyParameter));
        assert_eq!(
            selection("c-ip cs-uri-qurey").unwrap_err().to_string(),
            "unknown field `cs-uri-qurey`, did you mean `cs-uri-query`?; fields have CloudFront's names, \
             or are viewer-host, distribution-host, uri-path or query.NAME"
        );
    }

    #[test]
    fn all_conditions_must_hold() {
        assert!(matches(&[]));
        assert!(matches(&["sc-status=2*", "cs-uri-stem=/p*", "cs-host=a.exampl?"]));
        assert!(!matches(&["sc-status=2*", "cs-host=b*"]));
        assert!(matches(&["cs-host={a,b}.example", "sc-status=[23]00"]));
    }

    #[test]
    fn a_glob_spans_the_whole_value_and_slashes() {
        assert!(!matches(&["cs-host=example"]));
        assert!(matches(&["cs-uri-stem=*?x"]));
        assert!(matches(&["cs-uri-stem=/p/i\\?x"]));
        assert!(!matches(&["uri-path=*x"]));
    }

    #[test]
    fn absent_is_a_hyphen_and_parameters_are_decoded() {
        assert!(matches(&["c-ip=-", "asn=-", "query.none=-", "query.flag="]));
        assert!(matches(&["query.u=http://b"]));
        assert!(matches(&["query.e=x*y"]));
        assert!(!matches(&["query.e=pp"]));
    }

    #[test]
    fn bad_conditions_are_refused() {
        assert_eq!(Matcher::new(["c-ip"]).unwrap_err(), SelectError::NoEquals("c-ip".into()));
        assert!(matches!(Matcher::new(["c-ip=[a"]), Err(SelectError::Glob { .. })));
        assert!(matches!(Matcher::new(["c-pi=1"]), Err(SelectError::UnknownField { .. })));
    }
}
