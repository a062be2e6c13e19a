//! Lines of a shape: the columns in their order, between tabs or as an object of JSON.

use pixel_engine::log::field::Field;
use pixel_engine::log::schema::Column;

use crate::columns::{Dialect, LineParts, push_unknown};
use crate::random::Draw;
use crate::shape::{STANDARD_FIELDS, Shape};

/// Writes the lines of one shape.
pub(crate) struct LineWriter {
    dialect: Dialect,
    columns: Vec<Option<Field>>,
    /// What stands before each value of a JSON line, and after the last; empty for lines of
    /// columns.
    json_keys: Vec<Box<[u8]>>,
}

impl LineWriter {
    pub(crate) fn new(shape: &Shape) -> LineWriter {
        let schema = shape.schema();
        let columns = schema.columns().iter().map(|column| match column {
            Column::Known(field) => Some(*field),
            Column::Unknown(_) => None,
        });
        let columns = columns.collect();
        let mut json_keys = Vec::new();
        let dialect = match shape {
            Shape::RealTime(_) => Dialect::RealTime,
            Shape::Standard => Dialect::Standard,
            Shape::StandardV2Json => {
                for (index, name) in shape.standard_names().enumerate() {
                    let open = if index == 0 { "{\"" } else { "\",\"" };
                    json_keys.push(format!("{open}{name}\":\"").into_bytes().into());
                }
                Dialect::StandardV2
            }
        };
        LineWriter { dialect, columns, json_keys }
    }

    pub(crate) fn is_json(&self) -> bool {
        !self.json_keys.is_empty()
    }

    /// Appends the two header lines of a legacy standard log; nothing for the other shapes, which
    /// have none.
    pub(crate) fn append_header(&self, out: &mut Vec<u8>) {
        if self.dialect == Dialect::Standard {
            out.extend_from_slice(b"#Version: 1.0\n#Fields: ");
            out.extend_from_slice(STANDARD_FIELDS.as_bytes());
            out.push(b'\n');
        }
    }

    /// Appends one line with its newline.
    pub(crate) fn append(&self, out: &mut Vec<u8>, parts: &LineParts<'_>, draw: &mut Draw) {
        let push_column = |out: &mut Vec<u8>, column: Option<Field>, draw: &mut Draw| match column {
            Some(field) => parts.push_field(out, self.dialect, field, draw),
            None => push_unknown(out, draw),
        };
        if self.json_keys.is_empty() {
            for &column in &self.columns {
                push_column(out, column, draw);
                out.push(b'\t');
            }
            out.pop();
            out.push(b'\n');
        } else {
            // Values are encoded by CloudFront's table, so nothing in them needs an escape of JSON.
            for (key, &column) in self.json_keys.iter().zip(&self.columns) {
                out.extend_from_slice(key);
                push_column(out, column, draw);
            }
            out.extend_from_slice(b"\"}\n");
        }
    }
}
