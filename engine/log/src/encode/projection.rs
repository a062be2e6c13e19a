use crate::line::Line;
use crate::schema::Schema;
use crate::select::{Place, Selection, Selector};

/// Writes the selected values of the lines of one schema, split by tabs, as the log has them; an
/// absent value is `-`, an empty one stays empty. `query.NAME` is the still encoded value of the
/// last parameter of that name.
///
/// A tab, newline or carriage return inside a value (values from JSON input can hold them) is
/// written `%09`, `%0A` or `%0D`, so that the columns stay columns.
#[derive(Clone, Debug)]
pub struct ProjectionEncoder {
    sources: Box<[Source]>,
}

#[derive(Clone, Debug)]
enum Source {
    Place(Place),
    Parameter(Box<[u8]>),
    Absent,
}

impl ProjectionEncoder {
    /// An encoder for lines of `schema`; what is selected and not in the schema is `-`.
    pub fn new(schema: &Schema, selection: &Selection) -> ProjectionEncoder {
        let source = |selector: &Selector| match (selector, selector.place(schema)) {
            (Selector::Query(name), _) => Source::Parameter(name.as_bytes().into()),
            (_, Some(place)) => Source::Place(place),
            (_, None) => Source::Absent,
        };
        ProjectionEncoder { sources: selection.selectors().iter().map(source).collect() }
    }

    /// Appends the values and a newline to `out`.
    pub fn encode(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        for (index, source) in self.sources.iter().enumerate() {
            if index > 0 {
                out.push(b'\t');
            }
            let text = match source {
                Source::Place(place) => place.text(line),
                Source::Parameter(name) => line
                    .query()
                    .and_then(|query| query.last_named(name))
                    .map(|parameter| parameter.value.unwrap_or_default()),
                Source::Absent => None,
            };
            append_value(text.unwrap_or(b"-"), out);
        }
        out.push(b'\n');
    }
}

#[inline]
fn append_value(text: &[u8], out: &mut Vec<u8>) {
    // No early exit: that way it is a handful of vector instructions.
    if text.iter().fold(false, |found, byte| found | matches!(byte, b'\t' | b'\n' | b'\r')) {
        append_escaped(text, out);
    } else {
        out.extend_from_slice(text);
    }
}

#[cold]
fn append_escaped(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'\t' => out.extend_from_slice(b"%09"),
            b'\n' => out.extend_from_slice(b"%0A"),
            b'\r' => out.extend_from_slice(b"%0D"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::with_values;
    use crate::schema::LogKind;

    fn projected(selection: &str, values: &[&[u8]]) -> String {
        let schema = Schema::parse(LogKind::RealTime, "timestamp cs-host cs-uri-stem cs-uri-query").unwrap();
        let encoder = ProjectionEncoder::new(&schema, &selection.parse().unwrap());
        let mut out = Vec::new();
        with_values(&schema, values, |line| encoder.encode(&line, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_stay_as_the_log_has_them_in_the_order_of_the_selection() {
        let values: [&[u8]; 4] = [b"1.5", b"a.example", b"/i?a=1", b"a=%2541&b=&a=%2542&c"];
        let selection = "query.a uri-path timestamp asn query.b query.c query.d viewer-host";
        assert_eq!(projected(selection, &values), "%2542\t/i\t1.5\t-\t\t\t-\ta.example\n");
    }

    #[test]
    fn absent_is_a_hyphen_and_empty_is_empty() {
        assert_eq!(projected("timestamp cs-host query.a", &[b"-", b"", b"-", b"-"]), "-\t\t-\n");
    }

    #[test]
    fn separators_inside_values_are_escaped() {
        let values: [&[u8]; 4] = [b"1", b"a\tb\r\nc", b"/", b"a=x\ty"];
        assert_eq!(projected("cs-host query.a", &values), "a%09b%0D%0Ac\tx%09y\n");
    }
}
