//! Writes aggregates, and knows their size beforehand.

use super::{DIGEST_LEN, MAGIC, PartitionKey};
use crate::md5::md5_many_with;
use pixel_engine_simd::Isa;

/// Field 1 of an AggregatedRecord, length-delimited.
const PARTITION_KEY_TABLE: u8 = 0x0A;
/// Field 2 of an AggregatedRecord, length-delimited.
const EXPLICIT_HASH_KEY_TABLE: u8 = 0x12;
/// Field 3 of an AggregatedRecord, length-delimited.
const RECORDS: u8 = 0x1A;
/// What every record of ours begins with: partition_key_index 0, explicit_hash_key_index 0, and the
/// tag of the data. Both zeros are written: the first field is required, and without the second
/// there would be no explicit hash key.
const RECORD_HEAD: [u8; 5] = [0x08, 0x00, 0x10, 0x00, 0x1A];

/// The exact size of an aggregate while it fills: magic, protobuf and MD5, in bytes.
///
/// Kinesis counts the partition key as well: what [`AggregateSize::len_with`] gives, plus the key's
/// length, must not exceed the record size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregateSize {
    bytes: usize,
}

#[expect(clippy::len_without_is_empty, reason = "a size in bytes, which is never zero")]
impl AggregateSize {
    /// The size without user records.
    pub fn new(key: &PartitionKey) -> AggregateSize {
        let hash_key_digits = key.explicit_hash_key.checked_ilog10().map_or(1, |power| power as usize + 1);
        let tables = delimited_len(key.key.len()) + delimited_len(hash_key_digits);
        AggregateSize { bytes: MAGIC.len() + tables + DIGEST_LEN }
    }

    /// The size as it is.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// The size with one more user record of `data_len` bytes.
    #[inline]
    pub fn len_with(&self, data_len: usize) -> usize {
        self.bytes + delimited_len(record_len(data_len))
    }

    /// Adds a user record of `data_len` bytes.
    #[inline]
    pub fn push(&mut self, data_len: usize) {
        self.bytes = self.len_with(data_len);
    }
}

/// Appends an aggregate of `records`, all of which have `key`: magic, protobuf, and 16 zeros where
/// [`seal`] puts the MD5.
///
/// The records are walked twice: first for their lengths, so that `out` grows once at most, then
/// for their bytes.
pub fn write_aggregate<'a>(out: &mut Vec<u8>, key: &PartitionKey, records: impl Iterator<Item = &'a [u8]> + Clone) {
    let mut size = AggregateSize::new(key);
    records.clone().for_each(|record| size.push(record.len()));
    out.reserve(size.len());
    out.extend_from_slice(&MAGIC);
    write_delimited(out, PARTITION_KEY_TABLE, key.key.as_bytes());
    write_delimited(out, EXPLICIT_HASH_KEY_TABLE, key.explicit_hash_key_text().as_bytes());
    for record in records {
        out.push(RECORDS);
        write_varint(out, record_len(record.len()));
        out.extend_from_slice(&RECORD_HEAD);
        write_varint(out, record.len());
        out.extend_from_slice(record);
    }
    out.extend_from_slice(&[0; DIGEST_LEN]);
}

/// Writes the MD5 of each aggregate over its last 16 bytes.
///
/// The more aggregates a call has, the faster it is: see [`md5_many`](crate::md5::md5_many). From
/// 32 on, all lanes of the widest instruction set are busy.
///
/// # Panics
/// When one is shorter than magic and MD5 together: it was not written by [`write_aggregate`].
pub fn seal(aggregates: &mut [impl AsRef<[u8]> + AsMut<[u8]>]) {
    seal_with(Isa::chosen(), aggregates);
}

/// [`seal`] with the lanes of one instruction set; plain Rust where this machine does not have it.
///
/// # Panics
/// As [`seal`] does.
pub fn seal_with(isa: Isa, aggregates: &mut [impl AsRef<[u8]> + AsMut<[u8]>]) {
    let messages: Vec<&[u8]> = aggregates
        .iter()
        .map(|aggregate| {
            let bytes = aggregate.as_ref();
            &bytes[MAGIC.len()..bytes.len() - DIGEST_LEN]
        })
        .collect();
    let digests = md5_many_with(isa, &messages);
    for (aggregate, digest) in aggregates.iter_mut().zip(digests) {
        let trailer = aggregate.as_mut().last_chunk_mut().expect("longer than a digest, as was seen above");
        *trailer = digest;
    }
}

/// The length of a Record message with `data_len` bytes of data.
#[inline]
fn record_len(data_len: usize) -> usize {
    RECORD_HEAD.len() + varint_len(data_len) + data_len
}

/// The length of a field whose content has `len` bytes: tag, length, content.
#[inline]
fn delimited_len(len: usize) -> usize {
    1 + varint_len(len) + len
}

#[inline]
fn varint_len(value: usize) -> usize {
    // One byte for each 7 bits, and one for zero.
    (value | 1).ilog2() as usize / 7 + 1
}

fn write_delimited(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    write_varint(out, content.len());
    out.extend_from_slice(content);
}

#[inline]
fn write_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use ::md5::Digest;
    use proptest::prelude::*;

    use super::super::{Decoded, HashKeys, SharedShardMap, decode};
    use super::*;

    fn key(key: &str, explicit_hash_key: u128) -> PartitionKey {
        PartitionKey { key: key.to_owned(), explicit_hash_key }
    }

    fn written(key: &PartitionKey, records: &[&[u8]]) -> Vec<u8> {
        let mut aggregates = [Vec::new()];
        write_aggregate(&mut aggregates[0], key, records.iter().copied());
        seal(&mut aggregates);
        let [aggregate] = aggregates;
        aggregate
    }

    #[test]
    fn the_bytes_of_a_small_aggregate() {
        let aggregate = written(&key("9e37", 42), &[b"data", b""]);
        let protobuf = [
            &b"\x0A\x049e37\x12\x0242"[..],
            b"\x1A\x0A\x08\x00\x10\x00\x1A\x04data",
            b"\x1A\x06\x08\x00\x10\x00\x1A\x00",
        ]
        .concat();
        let digest = ::md5::Md5::digest(&protobuf);
        assert_eq!(aggregate, [&MAGIC[..], &protobuf, &digest].concat());
    }

    #[test]
    fn the_size_is_exact_around_the_borders_of_varints() {
        let borders = [0, 1, 119, 120, 121, 122, 127, 128, 129, 16_374, 16_376, 16_383, 16_384, 2_097_143, 2_097_152];
        let data = vec![b'x'; 2_097_160];
        let long_key = "k".repeat(130);
        for hash_key in [0, 9, 10, 99, 100, u128::MAX / 10, u128::MAX] {
            for key in [key("a", hash_key), key(&long_key, hash_key)] {
                let mut size = AggregateSize::new(&key);
                let mut records: Vec<&[u8]> = Vec::new();
                assert_eq!(size.len(), written(&key, &records).len());
                for len in borders.into_iter().flat_map(|border: usize| border.saturating_sub(2)..border + 3).take(40) {
                    assert_eq!(size.len_with(len), written(&key, &[&records[..], &[&data[..len]]].concat()).len());
                    if len < 20_000 {
                        records.push(&data[..len]);
                        size.push(len);
                    }
                }
            }
        }
    }

    #[test]
    fn aggregates_share_a_buffer() {
        let mut arena = Vec::new();
        write_aggregate(&mut arena, &key("0000", 0), [&b"one"[..], b"two"].into_iter());
        let border = arena.len();
        write_aggregate(&mut arena, &key("ffff", u128::MAX), [&b"three"[..]].into_iter());
        let (first, second) = arena.split_at_mut(border);
        seal(&mut [&mut *first, &mut *second]);
        assert_eq!(first, written(&key("0000", 0), &[b"one", b"two"]));
        assert_eq!(second, written(&key("ffff", u128::MAX), &[b"three"]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            start in any::<u128>(),
            contents in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20), 0..40,
            ),
        ) {
            let mut hash_keys = HashKeys::new(start, SharedShardMap::default());
            let keys: Vec<PartitionKey> = contents.iter().map(|_| hash_keys.next_key()).collect();
            let mut aggregates: Vec<Vec<u8>> = Vec::new();
            for (key, records) in keys.iter().zip(&contents) {
                let mut aggregate = Vec::new();
                write_aggregate(&mut aggregate, key, records.iter().map(Vec::as_slice));
                let mut size = AggregateSize::new(key);
                records.iter().for_each(|record| size.push(record.len()));
                prop_assert_eq!(aggregate.len(), size.len());
                aggregates.push(aggregate);
            }
            seal(&mut aggregates);
            for ((key, records), bytes) in keys.iter().zip(&contents).zip(&aggregates) {
                let Decoded::Aggregate(aggregate) = decode(bytes) else { panic!("{:?}", decode(bytes)) };
                let explicit_hash_key = key.explicit_hash_key_text();
                prop_assert_eq!(aggregate.partition_keys(), [key.key.as_str()]);
                prop_assert_eq!(aggregate.records().len(), records.len());
                for (record, data) in aggregate.records().zip(records) {
                    prop_assert_eq!(record.partition_key, &key.key);
                    prop_assert_eq!(record.explicit_hash_key, Some(explicit_hash_key.as_str()));
                    prop_assert_eq!(record.hash_key(), Some(key.explicit_hash_key));
                    prop_assert_eq!(record.data, data.as_slice());
                }
                let shard = key.explicit_hash_key..=key.explicit_hash_key;
                prop_assert!(aggregate.delivered_within(&shard));
            }
        }
    }
}
