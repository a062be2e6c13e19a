//! What to say when not one line of an input could be shipped.

use pixel_engine::quarantine::{BadLine, Reason};

/// Asks whether this is a CloudFront log, says what was seen, and what to do.
pub(crate) fn only_bad_lines(first: &BadLine) -> String {
    format!("nothing could be shipped: is {} a CloudFront log? {}", first.origin.name, seen(first))
}

fn seen(first: &BadLine) -> String {
    if first.bytes.as_deref().is_some_and(holds_records) {
        return "It looks like an event or a request with records in it, which `pixel-engine decode` unpacks"
            .to_owned();
    }
    match &first.reason {
        Reason::NoTab { has_spaces: true } => {
            "Its columns seem to be separated by spaces: tabs are lost when a log is pasted, so use the file itself"
                .to_owned()
        }
        Reason::NoTab { .. } => "There is no tab in its first line, and tabs separate the columns of a log".to_owned(),
        Reason::Headerless(count) => format!(
            "It looks like a standard log without its header: name the {count} columns with --format standard --fields"
        ),
        Reason::NoHeader => {
            "It looks like a standard log without its header: name the columns with --fields".to_owned()
        }
        Reason::ColumnCount { found, nearest, .. } => {
            let nearest = nearest.map_or_else(String::new, |(name, count)| format!(" (nearest: {name} with {count})"));
            format!(
                "Its first line has {found} columns: if they are fields of a real-time log, \
                 name them with --fields{nearest}"
            )
        }
        reason => format!("Its first line: {reason}"),
    }
}

/// Whether this is JSON with the keys of the APIs and events that carry records.
fn holds_records(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let is_json = text.trim_start().starts_with(['{', '[']);
    is_json && ["\"Records\"", "\"records\"", "\"kinesis\"", "\"Data\""].into_iter().any(|key| text.contains(key))
}
