//! The reader of aggregates never panics, and what it reads can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixel_engine::kpl::{Decoded, MAGIC, PartitionKey, decode, seal, write_aggregate};

fuzz_target!(|bytes: &[u8]| {
    let _ = decode(bytes);
    // With magic and digest around it, so that the protobuf reader gets its share.
    let mut framed = [[&MAGIC[..], bytes, &[0; 16]].concat()];
    seal(&mut framed);
    let (Decoded::Aggregate(aggregate) | Decoded::Partial { aggregate, .. }) = decode(&framed[0]) else { return };
    let data: Vec<&[u8]> = aggregate.records().map(|record| record.data).collect();
    let key = PartitionKey { key: "0000".to_owned(), explicit_hash_key: aggregate.records().len() as u128 };
    let mut again = [Vec::new()];
    write_aggregate(&mut again[0], &key, data.iter().copied());
    seal(&mut again);
    let Decoded::Aggregate(read) = decode(&again[0]) else { panic!("{:?}", decode(&again[0])) };
    assert_eq!(read.records().map(|record| record.data).collect::<Vec<_>>(), data);
    assert!(read.delivered_within(&(key.explicit_hash_key..=key.explicit_hash_key)));
});
