//! Whatever Lambda brings, it is answered or refused: as an event of Firehose's transformation, and
//! as a record of a stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixel_engine::consume::batch::{Batch, Part};
use pixel_engine::consume::lambda::transform::Transform;
use pixel_engine::source::Format;

fuzz_target!(|bytes: &[u8]| {
    let mut transform = Transform::from_variables([]).expect("nothing has to be set");
    if let Ok(reply) = transform.transform(bytes) {
        let reply: serde_json::Value = serde_json::from_slice(&reply).expect("a reply is JSON");
        let event: serde_json::Value = serde_json::from_slice(bytes).expect("it was read");
        let count = |of: &serde_json::Value| of["records"].as_array().map(Vec::len);
        assert_eq!(count(&reply), count(&event), "each record is answered once");
    }
    let mut batch = Batch::new(Format::Auto);
    let mut last = batch.end();
    for record in bytes.split(|&byte| byte == 0xff) {
        batch.add(record);
        assert!(batch.end() >= last);
        last = batch.end();
    }
    for part in batch.parts() {
        let Part::Lines(text) = part else { continue };
        assert!(text.lines.is_empty() || text.lines.ends_with(b"\n"));
    }
});
