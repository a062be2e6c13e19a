//! The JSON of PutRecordBatch and PutRecords, written straight from the records.
//!
//! Base64 goes from the blocks that the lines came in into the request's body, at the speed of
//! memory. An SDK's own way copies each record into a blob, the blob into a string and the string
//! into the body.

use base64_simd::STANDARD;

use super::limits::Api;
use crate::record::Record;

/// Appends one entry of `Records`: the data, and where it has one, its partition key and explicit
/// hash key.
pub fn append_entry(out: &mut Vec<u8>, record: &Record) {
    out.extend_from_slice(b"{\"Data\":\"");
    append_base64(out, record.chunks());
    out.push(b'"');
    if let Some(key) = record.key() {
        // Ours are hexadecimal digits: nothing to escape.
        out.extend_from_slice(b",\"PartitionKey\":\"");
        out.extend_from_slice(key.key.as_bytes());
        out.extend_from_slice(b"\",\"ExplicitHashKey\":\"");
        out.extend_from_slice(key.explicit_hash_key_text().as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}

/// Appends the start of a request, up to its first entry; `stream` names the stream inside.
pub fn begin_request(out: &mut Vec<u8>, api: Api, stream: Option<&str>) {
    out.push(b'{');
    if let Some(stream) = stream {
        let name = match api {
            Api::PutRecordBatch => "DeliveryStreamName",
            Api::PutRecords if stream.starts_with("arn:") => "StreamARN",
            Api::PutRecords => "StreamName",
        };
        out.extend_from_slice(format!("\"{name}\":{},", serde_json::Value::from(stream)).as_bytes());
    }
    out.extend_from_slice(b"\"Records\":[");
}

/// Ends a request.
pub fn end_request(out: &mut Vec<u8>) {
    out.extend_from_slice(b"]}");
}

/// The base64 of all the chunks as if they were one: three bytes make four letters, so up to two
/// bytes of a chunk wait for the next one.
fn append_base64<'a>(out: &mut Vec<u8>, chunks: impl Iterator<Item = &'a [u8]>) {
    let mut waiting = [0_u8; 3];
    let mut held = 0;
    for mut chunk in chunks {
        while held > 0 && held < 3 && !chunk.is_empty() {
            waiting[held] = chunk[0];
            held += 1;
            chunk = &chunk[1..];
        }
        if held == 3 {
            STANDARD.encode_append(waiting, out);
            held = 0;
        }
        let whole = chunk.len() - chunk.len() % 3;
        STANDARD.encode_append(&chunk[..whole], out);
        for &byte in &chunk[whole..] {
            waiting[held] = byte;
            held += 1;
        }
    }
    STANDARD.encode_append(&waiting[..held], out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use pixel_engine_kpl::PartitionKey;

    #[test]
    fn entries_are_json_with_and_without_a_key() {
        let mut out = Vec::new();
        append_entry(&mut out, &Record::from_bytes(b"ab".to_vec(), 1, None, Vec::new()));
        assert_eq!(out, br#"{"Data":"YWI="}"#);
        out.clear();
        let key = PartitionKey { key: "00ff".to_owned(), explicit_hash_key: u128::MAX };
        append_entry(&mut out, &Record::from_bytes(Vec::new(), 1, Some(key), Vec::new()));
        let wanted = format!(r#"{{"Data":"","PartitionKey":"00ff","ExplicitHashKey":"{}"}}"#, u128::MAX);
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }

    #[test]
    fn a_request_names_its_stream() {
        for (api, stream, wanted) in [
            (Api::PutRecordBatch, Some("a"), r#"{"DeliveryStreamName":"a","Records":[]}"#),
            (Api::PutRecords, Some("a"), r#"{"StreamName":"a","Records":[]}"#),
            (Api::PutRecords, Some("arn:a"), r#"{"StreamARN":"arn:a","Records":[]}"#),
            (Api::PutRecords, None, r#"{"Records":[]}"#),
        ] {
            let mut out = Vec::new();
            begin_request(&mut out, api, stream);
            end_request(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), wanted);
        }
    }

    proptest! {
        #[test]
        fn chunks_make_the_base64_of_all_their_bytes(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..8),
        ) {
            let mut out = Vec::new();
            append_base64(&mut out, chunks.iter().map(Vec::as_slice));
            prop_assert_eq!(String::from_utf8(out).unwrap(), STANDARD.encode_to_string(chunks.concat()));
        }
    }
}
