//! What the body of one record looks like: the line as it came, some of its values, a JSON object,
//! or a row of a table.

mod json;
mod projection;
pub mod row;

use crate::line::Line;
use crate::schema::Schema;
use crate::select::Selection;
use crate::table::Table;

pub use json::{JsonEncoder, json_keys};
pub use projection::ProjectionEncoder;
pub use row::RowEncoder;

/// The forms that a line can be written in; each but a row ends with a newline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// The line as it came.
    #[default]
    Raw,
    /// The selected values, split by tabs: see [`ProjectionEncoder`].
    Projection(Selection),
    /// A JSON object, of everything or of what is selected: see [`JsonEncoder`].
    Json(Option<Selection>),
    /// Values for the columns of a table: see [`row`].
    Rows(Table),
}

/// Writes lines of any schema in one encoding. What a schema needs is prepared when its first line
/// comes, so keep one encoder for each thread.
///
/// ```
/// use pixel_engine_log::encode::{Encoder, Encoding};
/// use pixel_engine_log::line::Line;
/// use pixel_engine_log::schema::{LogKind, Schema};
/// let schema = Schema::parse(LogKind::RealTime, "timestamp c-ip cs-uri-query").expect("known fields");
/// let line = Line::new(b"1.500\t-\te=pp&x=%2520\n", 0, &[5, 7, 20], &schema);
/// let mut out = Vec::new();
/// Encoder::new(Encoding::Json(None)).encode(&line, &mut out);
/// assert_eq!(out, b"{\"timestamp\":1.500,\"cs_uri_query\":\"e=pp&x=%2520\",\"query\":{\"e\":\"pp\",\"x\":\" \"}}\n");
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    encoding: Encoding,
    prepared: Vec<Prepared>,
    /// Which of them the line before used.
    current: usize,
}

#[derive(Clone, Debug)]
struct Prepared {
    schema: Schema,
    /// [`Schema::id`] of the last schema that was equal to this one.
    id: u64,
    writer: Writer,
}

#[derive(Clone, Debug)]
enum Writer {
    Projection(ProjectionEncoder),
    Json(Box<JsonEncoder>),
    Rows(Box<RowEncoder>),
}

/// More schemas than one program meets; standard logs bring their own, so there must be some bound.
const MAX_PREPARED: usize = 64;

impl Encoder {
    /// An encoder for that encoding.
    pub fn new(encoding: Encoding) -> Encoder {
        Encoder { encoding, prepared: Vec::new(), current: 0 }
    }

    /// The encoding that it writes.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// Appends the line to `out`.
    #[inline]
    pub fn encode(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        if self.encoding == Encoding::Raw {
            out.extend_from_slice(line.raw());
            out.push(b'\n');
            return;
        }
        let id = line.schema().id();
        if self.prepared.get(self.current).is_none_or(|prepared| prepared.id != id) {
            self.current = self.prepare(line.schema());
        }
        match &mut self.prepared[self.current].writer {
            Writer::Projection(encoder) => encoder.encode(line, out),
            Writer::Json(encoder) => encoder.encode(line, out),
            Writer::Rows(encoder) => encoder.encode(line, out),
        }
    }

    /// Where the schema's writer is; made if there is none.
    #[cold]
    fn prepare(&mut self, schema: &Schema) -> usize {
        let id = schema.id();
        let same = self.prepared.iter().position(|prepared| prepared.id == id);
        if let Some(index) = same.or_else(|| self.prepared.iter().position(|prepared| prepared.schema == *schema)) {
            self.prepared[index].id = id;
            return index;
        }
        let writer = match &self.encoding {
            Encoding::Json(selection) => Writer::Json(Box::new(JsonEncoder::new(schema, selection.as_ref()))),
            Encoding::Projection(selection) => Writer::Projection(ProjectionEncoder::new(schema, selection)),
            Encoding::Rows(table) => Writer::Rows(Box::new(RowEncoder::new(schema, table))),
            Encoding::Raw => unreachable!("raw lines are written without a writer"),
        };
        if self.prepared.len() == MAX_PREPARED {
            self.prepared.clear();
        }
        self.prepared.push(Prepared { schema: schema.clone(), id, writer });
        self.prepared.len() - 1
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::schema::LogKind;

    /// Calls `check` with a line of these values, which may hold tabs and newlines as values from
    /// JSON may.
    pub(crate) fn with_values<T>(schema: &Schema, values: &[&[u8]], check: impl FnOnce(Line<'_>) -> T) -> T {
        let mut bytes = b"before\n".to_vec();
        let start = bytes.len() as u32;
        let mut ends = Vec::new();
        for (index, value) in values.iter().enumerate() {
            bytes.extend_from_slice(value);
            ends.push(bytes.len() as u32);
            bytes.push(if index + 1 == values.len() { b'\n' } else { b'\t' });
        }
        check(Line::new(&bytes, start, &ends, schema))
    }

    fn schema(names: &str) -> Schema {
        Schema::parse(LogKind::RealTime, names).unwrap()
    }

    fn encoded(encoder: &mut Encoder, schema: &Schema, values: &[&[u8]]) -> String {
        let mut out = Vec::new();
        with_values(schema, values, |line| encoder.encode(&line, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn raw_lines_lose_only_the_carriage_return() {
        let mut encoder = Encoder::new(Encoding::Raw);
        assert_eq!(encoded(&mut encoder, &schema("timestamp c-ip"), &[b"1", b"-\r"]), "1\t-\n");
    }

    #[test]
    fn lines_of_several_schemas_may_interleave() {
        let mut encoder = Encoder::new(Encoding::Json(None));
        let (two, three) = (schema("timestamp c-ip"), schema("timestamp s-ip c-ip"));
        for _ in 0..3 {
            assert_eq!(encoded(&mut encoder, &two, &[b"1", b"x"]), "{\"timestamp\":1,\"c_ip\":\"x\"}\n");
            let of_three = encoded(&mut encoder, &three, &[b"1", b"y", b"x"]);
            assert_eq!(of_three, "{\"timestamp\":1,\"s_ip\":\"y\",\"c_ip\":\"x\"}\n");
        }
        assert_eq!(encoder.prepared.len(), 2);
    }

    #[test]
    fn equal_schemas_share_what_is_prepared_and_there_is_a_bound() {
        let mut encoder = Encoder::new(Encoding::Json(None));
        for _ in 0..3 {
            encoded(&mut encoder, &schema("timestamp c-ip"), &[b"1", b"x"]);
        }
        assert_eq!(encoder.prepared.len(), 1);
        for index in 0..100 {
            let schema = schema(&format!("timestamp +x{index}"));
            assert_eq!(
                encoded(&mut encoder, &schema, &[b"1", b"x"]),
                format!("{{\"timestamp\":1,\"x{index}\":\"x\"}}\n")
            );
        }
        assert!(encoder.prepared.len() <= MAX_PREPARED);
    }
}
