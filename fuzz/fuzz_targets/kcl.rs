//! Whatever the daemon writes, it is a message or an error, and records have sequence numbers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixel_engine::consume::kcl::messages::{Message, MessageReader};

fuzz_target!(|bytes: &[u8]| {
    let mut line = bytes.to_vec();
    let Ok(message) = MessageReader::default().read(&mut line) else { return };
    if let Message::ProcessRecords(records) = message {
        for record in records {
            assert!(record.sequence_number.bytes().all(|byte| byte.is_ascii_digit()));
        }
    }
});
