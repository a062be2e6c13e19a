//! Cuts a stream of JSON documents into single ones.

use std::io::{self, BufRead};

/// A document as it was written.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    /// The line that it begins on, from 1.
    line: usize,
    /// Where on that line, from 1.
    column: usize,
}

impl Document {
    /// The line and the column in the input of a place in the document; all are counted from 1.
    fn place(&self, line: usize, column: usize) -> (usize, usize) {
        (self.line + line - 1, if line == 1 { self.column + column - 1 } else { column })
    }

    /// What is wrong with it, and where.
    pub(super) fn explain(&self, error: &serde_json::Error) -> String {
        let (line, column) = self.place(error.line().max(1), error.column().max(1));
        let what = if error.is_eof() { "the JSON ends before it is complete" } else { "the text is not valid JSON" };
        format!("{what}: line {line}, column {column}")
    }

    /// What an array in it holds, one element after the other, for when the whole is damaged.
    pub(super) fn elements(&self) -> Option<Documents<&[u8]>> {
        let bracket = self.bytes.iter().position(|&byte| byte == b'[')?;
        let (before, elements) = self.bytes.split_at(bracket + 1);
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|&&byte| byte != b'\n').count();
        let (line, column) = self.place(line, column);
        Some(Documents { column, ..Documents::at_line(elements, line - 1) })
    }
}

/// The documents of an input: on a line each, several on a line, or over several lines.
///
/// A damaged document should not take those behind it along. Valid JSON has no newline inside a
/// string, and nobody begins a line with the brace of a member's value: there, a document ends,
/// complete or not.
pub(super) struct Documents<R> {
    input: R,
    line: Vec<u8>,
    /// The bytes of the line that were read.
    at: usize,
    /// The number of the line, and the column that it begins at.
    number: usize,
    column: usize,
}

/// Where in a document the next byte is.
#[derive(Default)]
struct Nesting {
    /// The brackets that are open.
    open: Vec<u8>,
    in_string: bool,
    is_escaped: bool,
    /// The last byte that was no blank.
    last: u8,
}

impl<R: BufRead> Documents<R> {
    pub(super) fn new(input: R) -> Documents<R> {
        Documents::at_line(input, 0)
    }

    /// Behind that many lines.
    fn at_line(input: R, number: usize) -> Documents<R> {
        Documents { input, line: Vec::new(), at: 0, number, column: 1 }
    }

    /// The next document, or what stands in its place.
    pub(super) fn next(&mut self) -> io::Result<Option<Document>> {
        loop {
            let rest = &self.line[self.at..];
            // Commas: elements of an array that is damaged elsewhere.
            if let Some(blanks) = rest.iter().position(|&byte| !is_blank(byte) && byte != b',') {
                self.at += blanks;
                break;
            }
            if !self.next_line()? {
                return Ok(None);
            }
        }
        let mut document = Document { bytes: Vec::new(), line: self.number, column: self.column + self.at };
        let mut nesting = Nesting::default();
        loop {
            let rest = &self.line[self.at..];
            let end = if self.at == 0 && nesting.is_broken_by(rest) { Some(0) } else { nesting.end(rest) };
            let len = end.unwrap_or(rest.len());
            document.bytes.extend_from_slice(&rest[..len]);
            self.at += len;
            if end.is_some() || !self.next_line()? {
                // Behind what is not complete; so that its end is where it was cut.
                document.bytes.truncate(document.bytes.trim_ascii_end().len());
                return Ok(Some(document));
            }
        }
    }

    fn next_line(&mut self) -> io::Result<bool> {
        if !self.line.is_empty() {
            self.column = 1;
        }
        self.line.clear();
        self.at = 0;
        let len = self.input.read_until(b'\n', &mut self.line)?;
        self.number += usize::from(len > 0);
        Ok(len > 0)
    }
}

impl Nesting {
    /// Whether the document cannot go on with this line.
    fn is_broken_by(&self, line: &[u8]) -> bool {
        let begins_value = matches!(line.first(), Some(b'{' | b'['));
        let may_begin_value = match self.open.last() {
            Some(b'[') => matches!(self.last, b'[' | b','),
            Some(_) => false,
            None => true,
        };
        begins_value && !may_begin_value
    }

    /// Where the document ends in these bytes, which go up to the end of a line.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    b'\n' => return Some(at),
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => {
                        self.in_string = false;
                        self.last = byte;
                        if self.open.is_empty() {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            // A number, a literal, or no JSON at all.
            let is_bare = self.open.is_empty() && self.last != 0;
            if is_bare && (is_blank(byte) || matches!(byte, b',' | b'{' | b'[' | b'"')) {
                return Some(at);
            }
            match byte {
                b'{' | b'[' => self.open.push(byte),
                b'}' | b']' => {
                    self.open.pop();
                    if self.open.is_empty() {
                        return Some(at + 1);
                    }
                }
                b'"' => self.in_string = true,
                _ => {}
            }
            if !is_blank(byte) {
                self.last = byte;
            }
        }
        None
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn documents(text: &[u8]) -> Vec<Document> {
        let mut documents = Documents::new(text);
        std::iter::from_fn(|| documents.next().expect("bytes can be read")).collect()
    }

    fn texts(text: &str) -> Vec<String> {
        let documents = documents(text.as_bytes());
        documents.into_iter().map(|document| String::from_utf8(document.bytes).expect("as it was")).collect()
    }

    #[test]
    fn documents_end_where_they_are_complete() {
        for (text, wanted) in [
            ("{\"a\":1}{\"b\":2} [3]\n", &["{\"a\":1}", "{\"b\":2}", "[3]"][..]),
            ("{\"a\":\n  {}\n}\n\"x\"null 7\n", &["{\"a\":\n  {}\n}", "\"x\"", "null", "7"]),
            ("{\"a}\\\"{\":\"]\"}\n", &["{\"a}\\\"{\":\"]\"}"]),
            ("[\n{\"a\":1},\n{\"a\":2}\n]", &["[\n{\"a\":1},\n{\"a\":2}\n]"]),
            ("\n \n", &[]),
        ] {
            assert_eq!(texts(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_damaged_document_costs_only_itself() {
        for damaged in ["{\"a\":\"x", "{\"a\":", "{\"a\":1,", "{", "{\"a\"", "[1"] {
            let found = texts(&format!("{{\"a\":1}}\n{damaged}\n{{\"a\":2}}\n"));
            assert_eq!(found.len(), 3, "{damaged}: {found:?}");
            assert_eq!((&*found[0], found[1].trim_end(), &*found[2]), ("{\"a\":1}", damaged, "{\"a\":2}"));
        }
    }

    #[test]
    fn places_are_counted_from_1() {
        let text = b"{}\n  {\"a\":\n ?}\n[{}, {\"b\":\n!}]";
        let all = documents(text);
        let explain = |document: &Document| {
            document.explain(&serde_json::from_slice::<Value>(&document.bytes).expect_err("it is damaged"))
        };
        assert_eq!(explain(&all[1]), "the text is not valid JSON: line 3, column 2");
        let mut elements = all[2].elements().expect("an array");
        elements.next().expect("bytes can be read");
        let second = elements.next().expect("bytes can be read").expect("a second one");
        assert_eq!((second.line, second.column), (4, 6));
        assert_eq!(explain(&second), "the text is not valid JSON: line 5, column 1");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~\n{}\\[\\]\"\\\\]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c{\"]{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The documents are those that a parser finds, however they are written.
        #[test]
        fn documents_are_those_of_a_parser(
            values in prop::collection::vec((any_json(), any::<bool>(), prop_oneof![Just(" "), Just("\n"), Just("\r\n\n")]), 0..6),
        ) {
            let mut text = String::new();
            for (value, is_pretty, gap) in &values {
                text += &if *is_pretty { format!("{value:#}") } else { value.to_string() };
                text += gap;
            }
            let found: Vec<Value> =
                texts(&text).iter().map(|document| serde_json::from_str(document).expect("valid")).collect();
            prop_assert_eq!(found, values.into_iter().map(|(value, ..)| value).collect::<Vec<_>>());
        }
    }
}
