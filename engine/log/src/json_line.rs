//! Reads the JSON lines of standard logs v2 into the same [`Line`] that tab-separated logs give.
//!
//! AWS writes one object a line, every value a string. The keys of the line are its schema; it is
//! kept as long as the keys stay the same, which they do for a whole file. Parsing is simd-json's.

use std::sync::Arc;

use simd_json::{Buffers, Node, StaticNode, Tape};

use crate::line::Line;
use crate::schema::{Column, LogKind, Schema};

/// Reads one line after the other, with buffers that are used again.
#[derive(Default)]
pub struct JsonLineReader {
    text: Vec<u8>,
    buffers: Buffers,
    values: Vec<u8>,
    ends: Vec<u32>,
    keys: Vec<Box<str>>,
    schema: Option<Arc<Schema>>,
}

impl JsonLineReader {
    /// The schema of the last line read.
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.schema.as_ref()
    }

    /// A view of the line: columns in the order of its keys. `null` is an absent value.
    ///
    /// # Errors
    /// Not a JSON object, a key twice, or a value that is an object or an array; the text says
    /// which.
    pub fn read(&mut self, line: &[u8]) -> Result<Line<'_>, String> {
        self.text.clear();
        self.text.extend_from_slice(line);
        let tape =
            simd_json::to_tape_with_buffers(&mut self.text, &mut self.buffers).map_err(|error| error.to_string())?;
        let pairs = pairs_of(&tape)?;
        let same_keys =
            pairs.len() == self.keys.len() && pairs.iter().zip(&self.keys).all(|((key, _), own)| *key == &**own);
        if !same_keys || self.schema.is_none() {
            self.schema = None;
            self.keys = pairs.iter().map(|(key, _)| Box::from(*key)).collect();
            let columns = pairs.iter().map(|(key, _)| Column::from_name(key)).collect();
            let schema = Schema::new(LogKind::Standard, columns).map_err(|error| error.to_string())?;
            self.schema = Some(Arc::new(schema));
        }
        self.values.clear();
        self.ends.clear();
        for (key, value) in pairs {
            append_text(&mut self.values, value).map_err(|what| format!("the value of `{key}` is {what}"))?;
            self.ends.push(self.values.len() as u32);
            self.values.push(b'\t');
        }
        let schema = self.schema.as_deref().expect("it was set above");
        Ok(Line::new(&self.values, 0, &self.ends, schema))
    }
}

/// The keys of the object and their values' nodes.
fn pairs_of<'tape, 'input>(tape: &'tape Tape<'input>) -> Result<Vec<(&'input str, &'tape Node<'input>)>, String> {
    let Some((Node::Object { len, .. }, mut nodes)) = tape.0.split_first() else {
        return Err("it is no object".to_owned());
    };
    let mut pairs = Vec::with_capacity(*len);
    while let [Node::String(key), value, rest @ ..] = nodes {
        pairs.push((*key, value));
        let inside = match value {
            Node::Object { count, .. } | Node::Array { count, .. } => *count,
            _ => 0,
        };
        nodes = &rest[inside..];
    }
    Ok(pairs)
}

fn append_text(values: &mut Vec<u8>, value: &Node<'_>) -> Result<(), &'static str> {
    match value {
        Node::String(text) => values.extend_from_slice(text.as_bytes()),
        Node::Static(StaticNode::Null) => values.push(b'-'),
        Node::Static(number_or_bool) => values.extend_from_slice(number_or_bool.to_string().as_bytes()),
        Node::Object { .. } => return Err("an object"),
        Node::Array { .. } => return Err("an array"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;

    #[test]
    fn keys_are_columns_in_their_order() {
        let mut reader = JsonLineReader::default();
        let text = br#"{"date":"2024-11-15","cs(Host)":"d1.cloudfront.net","timestamp(ms)":"1731699951183","x-new":"a\tb","asn":null,"sc-bytes":7}"#;
        let line = reader.read(text).unwrap();
        assert_eq!(line.get(Field::Date), Some(&b"2024-11-15"[..]));
        assert_eq!(line.distribution_host(), Some(&b"d1.cloudfront.net"[..]));
        assert_eq!(line.get(Field::TimestampMs), Some(&b"1731699951183"[..]));
        assert_eq!(line.column(3), b"a\tb");
        assert_eq!(line.get(Field::Asn), None);
        assert_eq!(line.get(Field::ScBytes), Some(&b"7"[..]));
    }

    #[test]
    fn the_schema_is_kept_while_the_keys_are_the_same() {
        let mut reader = JsonLineReader::default();
        reader.read(br#"{"date":"1","time":"2"}"#).unwrap();
        let first = Arc::clone(reader.schema().unwrap());
        reader.read(br#"{"date":"3","time":"4"}"#).unwrap();
        assert!(Arc::ptr_eq(&first, reader.schema().unwrap()));
        reader.read(br#"{"time":"4","date":"3"}"#).unwrap();
        assert!(!Arc::ptr_eq(&first, reader.schema().unwrap()));
    }

    #[test]
    fn what_is_no_object_of_texts_is_refused() {
        let mut reader = JsonLineReader::default();
        for (text, wanted) in [
            (&b"[1]"[..], "no object"),
            (b"7", "no object"),
            (br#"{"date":{"a":1}}"#, "`date` is an object"),
            (br#"{"date":[1],"time":"x"}"#, "`date` is an array"),
            (br#"{"date":"1","date":"2"}"#, "twice"),
            (b"{}", "empty"),
        ] {
            let error = reader.read(text).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
        assert!(reader.read(br#"{"date":"1""#).is_err());
        assert!(reader.read(br#"{"date":"1"}"#).is_ok());
    }
}
