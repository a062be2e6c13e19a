//! Reads aggregates as the KCL does, damage included.
//!
//! The rules are those of `AggregatorUtil.java` in awslabs/amazon-kinesis-client (KCL 2 and 3) and
//! of the Java protobuf runtime under it. The KCL reports none of them to its user, so they are
//! types here:
//!
//! | what is wrong | what the KCL delivers | here |
//! |---|---|---|
//! | no magic, too short, another MD5, no protobuf | the bytes, as a plain record | [`Decoded::Plain`] |
//! | a user record's key index or explicit hash key is no use | the user records before it | [`Decoded::Partial`] |
//! | the hash key of a user record is outside the shard | nothing | [`Aggregate::delivered_within`] |

use std::borrow::Cow;
use std::ops::RangeInclusive;

use ::md5::Digest;

use super::{DIGEST_LEN, MAGIC, hash_of_partition_key};

/// What the data of a Kinesis record is to the KCL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// An aggregate without damage.
    Aggregate(Aggregate<'a>),
    /// No aggregate: the KCL delivers the data as it is, which for a damaged aggregate means binary
    /// rubbish.
    Plain(PlainReason),
    /// An aggregate of which the KCL delivers the first user records; it logs the error and loses
    /// the others.
    Partial {
        /// The tables, and the user records before the error.
        aggregate: Aggregate<'a>,
        /// What is wrong with the user record that comes next.
        error: RecordError,
    },
}

/// Why data is no aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlainReason {
    /// It does not begin with [`MAGIC`]: a record that was never aggregated.
    #[error("it does not begin with the magic number")]
    NoMagic,
    /// It begins with [`MAGIC`], but no more than an MD5 follows: a truncated aggregate.
    #[error("nothing is between the magic number and the digest")]
    TooShort,
    /// The MD5 is another one: a truncated or damaged aggregate.
    #[error("the digest is not that of the content")]
    DigestMismatch,
    /// The MD5 is right but the content is no AggregatedRecord: written by a faulty producer.
    #[error("malformed protobuf at byte {offset}: {what}")]
    Malformed {
        /// Where in the data, magic included.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
}

/// Why a user record, and with it all that follow, cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The index of its partition key is not in the table.
    #[error("user record {}: partition key {index} of a table of {table_len}", record + 1)]
    PartitionKeyIndex {
        /// Which user record, from 1.
        record: usize,
        /// The index as it was written.
        index: u64,
        /// How many keys the table has.
        table_len: usize,
    },
    /// The index of its explicit hash key is not in the table.
    #[error("user record {}: explicit hash key {index} of a table of {table_len}", record + 1)]
    ExplicitHashKeyIndex {
        /// Which user record, from 1.
        record: usize,
        /// The index as it was written.
        index: u64,
        /// How many keys the table has.
        table_len: usize,
    },
    /// Its explicit hash key is not a decimal number.
    #[error("user record {}: `{text}` is not a hash key", record + 1)]
    ExplicitHashKey {
        /// Which user record, from 1.
        record: usize,
        /// The explicit hash key as it was written.
        text: String,
    },
}

/// A decoded aggregate. Its data lies in the bytes that it was decoded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate<'a> {
    // Borrowed from the data, but for bytes that are not UTF-8: Java replaces those.
    partition_keys: Vec<Cow<'a, str>>,
    explicit_hash_keys: Vec<Cow<'a, str>>,
    records: Vec<Indexed<'a>>,
}

impl<'a> Aggregate<'a> {
    /// The table of partition keys, in which one may stand more than once, or unused.
    pub fn partition_keys(&self) -> &[Cow<'a, str>] {
        &self.partition_keys
    }

    /// The table of explicit hash keys, likewise.
    pub fn explicit_hash_keys(&self) -> &[Cow<'a, str>] {
        &self.explicit_hash_keys
    }

    /// The user records in their order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = UserRecord<'_>> {
        self.records.iter().map(|record| UserRecord {
            partition_key: &self.partition_keys[record.partition_key],
            explicit_hash_key: record.explicit_hash_key.map(|index| self.explicit_hash_keys[index].as_ref()),
            data: record.data,
        })
    }

    /// Whether the KCL delivers the user records when the aggregate comes from the shard with this
    /// range of hash keys: a single one with a hash key outside the range, and it drops them all.
    pub fn delivered_within(&self, shard: &RangeInclusive<u128>) -> bool {
        self.records().all(|record| record.hash_key().is_some_and(|hash_key| shard.contains(&hash_key)))
    }
}

/// One user record of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRecord<'a> {
    /// Its partition key.
    pub partition_key: &'a str,
    /// Its explicit hash key as it was written, when it has one.
    pub explicit_hash_key: Option<&'a str>,
    /// What the producer put in.
    pub data: &'a [u8],
}

impl UserRecord<'_> {
    /// The hash key that the KCL compares with the shard's: the explicit one, else that of the
    /// partition key. `None` for a number outside the 128-bit space, which is in no shard.
    pub fn hash_key(&self) -> Option<u128> {
        match self.explicit_hash_key {
            Some(text) => match parse_hash_key(text) {
                HashKey::InSpace(hash_key) => Some(hash_key),
                HashKey::OutOfSpace | HashKey::NotANumber => None,
            },
            None => Some(hash_of_partition_key(self.partition_key)),
        }
    }
}

/// Takes the data of a Kinesis record apart as the KCL would.
///
/// Never panics, and never copies a user record's data.
///
/// ```
/// use pixel_engine_kpl::{Decoded, PlainReason, decode};
///
/// assert_eq!(decode(b"1731699951\t203.0.113.9\n"), Decoded::Plain(PlainReason::NoMagic));
/// ```
pub fn decode(data: &[u8]) -> Decoded<'_> {
    let Some(rest) = data.strip_prefix(&MAGIC) else { return Decoded::Plain(PlainReason::NoMagic) };
    let Some((protobuf, digest)) = rest.split_last_chunk::<DIGEST_LEN>().filter(|(protobuf, _)| !protobuf.is_empty())
    else {
        return Decoded::Plain(PlainReason::TooShort);
    };
    if ::md5::Md5::digest(protobuf).as_slice() != digest {
        return Decoded::Plain(PlainReason::DigestMismatch);
    }
    match parse_aggregate(&data[..data.len() - DIGEST_LEN]) {
        Ok(parsed) => parsed.resolve(),
        Err(Malformed { offset, what }) => Decoded::Plain(PlainReason::Malformed { offset, what }),
    }
}

/// A user record whose indices are in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Indexed<'a> {
    partition_key: usize,
    explicit_hash_key: Option<usize>,
    data: &'a [u8],
}

/// The messages as they were written, nothing looked up.
#[derive(Default)]
struct Parsed<'a> {
    partition_keys: Vec<Cow<'a, str>>,
    explicit_hash_keys: Vec<Cow<'a, str>>,
    records: Vec<ParsedRecord<'a>>,
}

struct ParsedRecord<'a> {
    partition_key_index: u64,
    explicit_hash_key_index: Option<u64>,
    data: &'a [u8],
}

impl<'a> Parsed<'a> {
    /// Looks the keys up, in the KCL's order: the first thing that is wrong ends it.
    fn resolve(self) -> Decoded<'a> {
        let mut records = Vec::with_capacity(self.records.len());
        let mut error = None;
        for (number, record) in self.records.iter().enumerate() {
            match self.look_up(number, record) {
                Ok(indexed) => records.push(indexed),
                Err(found) => {
                    error = Some(found);
                    break;
                }
            }
        }
        let Parsed { partition_keys, explicit_hash_keys, .. } = self;
        let aggregate = Aggregate { partition_keys, explicit_hash_keys, records };
        match error {
            None => Decoded::Aggregate(aggregate),
            Some(error) => Decoded::Partial { aggregate, error },
        }
    }

    fn look_up(&self, number: usize, record: &ParsedRecord<'a>) -> Result<Indexed<'a>, RecordError> {
        let partition_key = java_index(record.partition_key_index, self.partition_keys.len()).ok_or(
            RecordError::PartitionKeyIndex {
                record: number + 1,
                index: record.partition_key_index,
                table_len: self.partition_keys.len(),
            },
        )?;
        let explicit_hash_key = match record.explicit_hash_key_index {
            None => None,
            Some(index) => {
                let table_len = self.explicit_hash_keys.len();
                let found = java_index(index, table_len).ok_or(RecordError::ExplicitHashKeyIndex {
                    record: number + 1,
                    index,
                    table_len,
                })?;
                let text = &self.explicit_hash_keys[found];
                if parse_hash_key(text) == HashKey::NotANumber {
                    return Err(RecordError::ExplicitHashKey { record: number + 1, text: text.to_string() });
                }
                Some(found)
            }
        };
        Ok(Indexed { partition_key, explicit_hash_key, data: record.data })
    }
}

/// The KCL casts an index to `int` before it looks it up: the upper 32 bits do not count.
fn java_index(index: u64, table_len: usize) -> Option<usize> {
    usize::try_from(index as u32 as i32).ok().filter(|&index| index < table_len)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HashKey {
    InSpace(u128),
    /// Negative, or 2^128 and more.
    OutOfSpace,
    NotANumber,
}

/// Java's `BigInteger(String)`: digits after an optional sign. (It takes the digits of other
/// scripts too, which no producer writes; they are not numbers here.)
fn parse_hash_key(text: &str) -> HashKey {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return HashKey::NotANumber;
    }
    match digits.parse() {
        Ok(0) => HashKey::InSpace(0),
        Ok(hash_key) if !text.starts_with('-') => HashKey::InSpace(hash_key),
        _ => HashKey::OutOfSpace,
    }
}

/// Where bytes are no protobuf, and why.
struct Malformed {
    offset: usize,
    what: &'static str,
}

/// The AggregatedRecord between the magic and the end of `data`.
fn parse_aggregate(data: &[u8]) -> Result<Parsed<'_>, Malformed> {
    let mut parsed = Parsed::default();
    let mut reader = Reader { bytes: data, position: MAGIC.len() };
    while let Some(tag) = reader.tag()? {
        match tag {
            Tag { field: 1, wire: Wire::Delimited } => parsed.partition_keys.push(reader.text()?),
            Tag { field: 2, wire: Wire::Delimited } => parsed.explicit_hash_keys.push(reader.text()?),
            Tag { field: 3, wire: Wire::Delimited } => parsed.records.push(parse_record(reader.delimited()?)?),
            unknown => reader.skip(unknown, 0)?,
        }
    }
    Ok(parsed)
}

fn parse_record(mut reader: Reader<'_>) -> Result<ParsedRecord<'_>, Malformed> {
    let start = reader.position;
    let (mut partition_key_index, mut explicit_hash_key_index, mut data) = (None, None, None);
    while let Some(tag) = reader.tag()? {
        match tag {
            Tag { field: 1, wire: Wire::Varint } => partition_key_index = Some(reader.varint()?),
            Tag { field: 2, wire: Wire::Varint } => explicit_hash_key_index = Some(reader.varint()?),
            Tag { field: 3, wire: Wire::Delimited } => data = Some(reader.delimited()?.remaining()),
            Tag { field: 4, wire: Wire::Delimited } => check_tag(reader.delimited()?)?,
            unknown => reader.skip(unknown, 1)?,
        }
    }
    match (partition_key_index, data) {
        (Some(partition_key_index), Some(data)) => {
            Ok(ParsedRecord { partition_key_index, explicit_hash_key_index, data })
        }
        (None, _) => Err(Malformed { offset: start, what: "a record without partition_key_index" }),
        (_, None) => Err(Malformed { offset: start, what: "a record without data" }),
    }
}

/// The KPL has never written tags, and the KCL does not deliver them: all that matters is whether
/// they parse.
fn check_tag(mut reader: Reader<'_>) -> Result<(), Malformed> {
    let start = reader.position;
    let mut has_key = false;
    while let Some(tag) = reader.tag()? {
        has_key |= tag == Tag { field: 1, wire: Wire::Delimited };
        reader.skip(tag, 2)?;
    }
    if has_key { Ok(()) } else { Err(Malformed { offset: start, what: "a tag without key" }) }
}

/// What a field begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag {
    field: u32,
    wire: Wire,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Varint,
    Fixed64,
    Delimited,
    GroupStart,
    GroupEnd,
    Fixed32,
}

/// How deep messages and groups may be nested: the limit of Java's `CodedInputStream`.
const MAX_DEPTH: usize = 100;

/// Protobuf's wire format, read as Java reads it.
#[derive(Clone, Copy)]
struct Reader<'a> {
    /// Up to the end of the message, from the beginning of the data: positions are offsets in the
    /// data.
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn remaining(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    /// The next field's tag; `None` at the end of the message.
    fn tag(&mut self) -> Result<Option<Tag>, Malformed> {
        if self.remaining().is_empty() {
            return Ok(None);
        }
        let offset = self.position;
        // Java keeps the lower 32 bits of a varint wherever it wants an `int`, here and for
        // lengths.
        let tag = self.varint()? as u32;
        let wire = match tag & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Delimited,
            3 => Wire::GroupStart,
            4 => Wire::GroupEnd,
            5 => Wire::Fixed32,
            _ => return Err(Malformed { offset, what: "unknown wire type" }),
        };
        match tag >> 3 {
            0 => Err(Malformed { offset, what: "field number 0" }),
            field => Ok(Some(Tag { field, wire })),
        }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let offset = self.position;
        let mut value = 0;
        for (index, &byte) in self.remaining().iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte < 0x80 {
                self.position += index + 1;
                return Ok(value);
            }
        }
        let what = if self.remaining().len() < 10 { "truncated varint" } else { "varint of more than 10 bytes" };
        Err(Malformed { offset, what })
    }

    /// The content of a length-delimited field.
    fn delimited(&mut self) -> Result<Reader<'a>, Malformed> {
        let offset = self.position;
        let len = self.varint()? as u32 as i32;
        let Ok(len) = usize::try_from(len) else { return Err(Malformed { offset, what: "negative length" }) };
        let start = self.position;
        self.advance(offset, len)?;
        Ok(Reader { bytes: &self.bytes[..self.position], position: start })
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Malformed> {
        Ok(String::from_utf8_lossy(self.delimited()?.remaining()))
    }

    /// Passes over the content of a field that is of no interest, inside `depth` others.
    fn skip(&mut self, tag: Tag, depth: usize) -> Result<(), Malformed> {
        let offset = self.position;
        match tag.wire {
            Wire::Varint => self.varint().map(drop),
            Wire::Fixed64 => self.advance(offset, 8),
            Wire::Fixed32 => self.advance(offset, 4),
            Wire::Delimited => self.delimited().map(drop),
            Wire::GroupEnd => Err(Malformed { offset, what: "end of a group that did not begin" }),
            Wire::GroupStart if depth >= MAX_DEPTH => Err(Malformed { offset, what: "nested too deep" }),
            Wire::GroupStart => loop {
                match self.tag()? {
                    None => return Err(Malformed { offset, what: "group without end" }),
                    Some(Tag { field, wire: Wire::GroupEnd }) if field == tag.field => return Ok(()),
                    Some(inner) => self.skip(inner, depth + 1)?,
                }
            },
        }
    }

    fn advance(&mut self, offset: usize, len: usize) -> Result<(), Malformed> {
        if len > self.remaining().len() {
            return Err(Malformed { offset, what: "truncated field" });
        }
        self.position += len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{PartitionKey, seal, write_aggregate};
    use super::*;

    /// The whole hash key space.
    const EVERYWHERE: RangeInclusive<u128> = 0..=u128::MAX;

    fn sealed(protobuf: &[u8]) -> Vec<u8> {
        let mut data = [[&MAGIC[..], protobuf, &[0; DIGEST_LEN]].concat()];
        seal(&mut data);
        let [data] = data;
        data
    }

    fn three_records() -> Vec<u8> {
        let mut data = [Vec::new()];
        let key = PartitionKey { key: "9e37".to_owned(), explicit_hash_key: 1 << 100 };
        write_aggregate(&mut data[0], &key, [&b"first"[..], b"second", b"third"].into_iter());
        seal(&mut data);
        let [data] = data;
        data
    }

    fn contents<'a>(aggregate: &'a Aggregate<'_>) -> Vec<&'a [u8]> {
        aggregate.records().map(|record| record.data).collect()
    }

    /// The aggregate in the doctest of ex_kpl 0.2.0 (hex.pm): another producer's bytes.
    #[test]
    fn an_aggregate_of_ex_kpl() {
        let protobuf = b"\x0A\x0Dpartition_key\x1A\x08\x08\x00\x1A\x04data";
        let digest = 0xD036_99DA_5A22_2FA3_2108_AD1B_D955_A14E_u128.to_be_bytes();
        let data = [&MAGIC[..], protobuf, &digest].concat();
        let Decoded::Aggregate(aggregate) = decode(&data) else { panic!("{:?}", decode(&data)) };
        let record = UserRecord { partition_key: "partition_key", explicit_hash_key: None, data: b"data" };
        assert_eq!(aggregate.records().collect::<Vec<_>>(), [record]);
        assert!(aggregate.explicit_hash_keys().is_empty());
        let hash_key = hash_of_partition_key("partition_key");
        assert_eq!(record.hash_key(), Some(hash_key));
        assert!(aggregate.delivered_within(&(hash_key..=hash_key)));
        assert!(!aggregate.delivered_within(&(0..=hash_key - 1)));
        assert!(!aggregate.delivered_within(&(hash_key + 1..=u128::MAX)));
    }

    /// The KPL's own bytes: read, and written again from what was read.
    #[test]
    fn the_aggregate_of_the_lambda_event_of_kinesis_aggregation() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures/kpl-lambda-event.json");
        let Ok(event) = std::fs::read(path) else {
            eprintln!("skipped: {path} is not there");
            return;
        };
        let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
        let data = event["Records"][0]["kinesis"]["data"].as_str().unwrap();
        let data = base64_simd::STANDARD.decode_to_vec(data).unwrap();
        let Decoded::Aggregate(aggregate) = decode(&data) else { panic!("{:?}", decode(&data)) };

        assert_eq!(aggregate.partition_keys(), ["abc"]);
        assert_eq!(aggregate.explicit_hash_keys(), ["191415658344158766168031473277922803570"]);
        let alphabet: Vec<u8> = (b'a'..=b'z').collect();
        let backwards: Vec<u8> = alphabet.iter().rev().copied().collect();
        for (index, record) in aggregate.records().enumerate() {
            assert_eq!(record.data, if index % 2 == 0 { &alphabet } else { &backwards });
        }

        let explicit_hash_key = aggregate.records().next().unwrap().hash_key().unwrap();
        // The producer gave the MD5 of the partition key as the explicit hash key.
        assert_eq!(explicit_hash_key, hash_of_partition_key("abc"));
        let key = PartitionKey { key: "abc".to_owned(), explicit_hash_key };
        let mut again = [Vec::new()];
        write_aggregate(&mut again[0], &key, contents(&aggregate).into_iter());
        seal(&mut again);
        assert_eq!(again[0], data);
    }

    #[test]
    fn what_is_no_aggregate_is_plain() {
        let too_short = [&MAGIC[..], &[0; DIGEST_LEN]].concat();
        for (data, reason) in [
            (&b""[..], PlainReason::NoMagic),
            (b"\xF3\x89\x9A", PlainReason::NoMagic),
            (b"a line of a log\n", PlainReason::NoMagic),
            (&MAGIC, PlainReason::TooShort),
            (&too_short, PlainReason::TooShort),
        ] {
            assert_eq!(decode(data), Decoded::Plain(reason), "{data:?}");
        }
    }

    #[test]
    fn damage_anywhere_is_found() {
        let data = three_records();
        assert!(matches!(decode(&data), Decoded::Aggregate(_)));
        for len in 0..data.len() {
            let reason = match len {
                0..4 => PlainReason::NoMagic,
                4..=20 => PlainReason::TooShort,
                _ => PlainReason::DigestMismatch,
            };
            assert_eq!(decode(&data[..len]), Decoded::Plain(reason), "{len} bytes");
        }
        for bit in 0..8 * data.len() {
            let mut damaged = data.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let reason = if bit < 32 { PlainReason::NoMagic } else { PlainReason::DigestMismatch };
            assert_eq!(decode(&damaged), Decoded::Plain(reason), "bit {bit}");
        }
    }

    #[test]
    fn a_key_that_is_no_use_keeps_the_records_before_it() {
        let head = b"\x0A\x01k\x12\x017\x12\x04zero\x12\x00\x1A\x07\x08\x00\x10\x00\x1A\x01a";
        let bad_record: [(&[u8], RecordError); 5] = [
            (b"\x08\x01\x1A\x01b", RecordError::PartitionKeyIndex { record: 2, index: 1, table_len: 1 }),
            (b"\x08\x00\x10\x03\x1A\x01b", RecordError::ExplicitHashKeyIndex { record: 2, index: 3, table_len: 3 }),
            (b"\x08\x00\x10\x01\x1A\x01b", RecordError::ExplicitHashKey { record: 2, text: "zero".to_owned() }),
            (b"\x08\x00\x10\x02\x1A\x01b", RecordError::ExplicitHashKey { record: 2, text: String::new() }),
            // The upper bit of an `int`: Java's index is negative.
            (
                b"\x08\x80\x80\x80\x80\x08\x1A\x01b",
                RecordError::PartitionKeyIndex { record: 2, index: 1 << 31, table_len: 1 },
            ),
        ];
        for (record, expected) in bad_record {
            let last = b"\x1A\x07\x08\x00\x10\x00\x1A\x01c";
            let data = sealed(&[&head[..], &[0x1A, record.len() as u8], record, last].concat());
            let Decoded::Partial { aggregate, error } = decode(&data) else { panic!("{:?}", decode(&data)) };
            assert_eq!(error, expected);
            assert_eq!(contents(&aggregate), [b"a"]);
            assert!(aggregate.delivered_within(&(7..=7)));
            assert!(!aggregate.delivered_within(&(8..=9)));
        }
    }

    #[test]
    fn java_looks_at_the_lower_half_of_an_index() {
        // 2^32 as an `int` is 0.
        let data = sealed(b"\x0A\x01k\x1A\x0A\x08\x80\x80\x80\x80\x10\x1A\x02ab");
        let Decoded::Aggregate(aggregate) = decode(&data) else { panic!("{:?}", decode(&data)) };
        assert_eq!(aggregate.records().next().unwrap().partition_key, "k");
    }

    #[test]
    fn one_stray_hash_key_drops_the_aggregate() {
        let protobuf =
            b"\x0A\x01k\x12\x0210\x12\x0220\x1A\x07\x08\x00\x10\x00\x1A\x01a\x1A\x07\x08\x00\x10\x01\x1A\x01b";
        let data = sealed(protobuf);
        let Decoded::Aggregate(aggregate) = decode(&data) else { panic!("{:?}", decode(&data)) };
        assert_eq!(aggregate.records().map(|record| record.hash_key()).collect::<Vec<_>>(), [Some(10), Some(20)]);
        assert!(aggregate.delivered_within(&(10..=20)));
        assert!(!aggregate.delivered_within(&(10..=19)));
        assert!(!aggregate.delivered_within(&(11..=20)));
    }

    #[test]
    fn hash_keys_are_numbers_as_java_reads_them() {
        assert_eq!(parse_hash_key("340282366920938463463374607431768211455"), HashKey::InSpace(u128::MAX));
        assert_eq!(parse_hash_key("340282366920938463463374607431768211456"), HashKey::OutOfSpace);
        assert_eq!(parse_hash_key(&"9".repeat(60)), HashKey::OutOfSpace);
        assert_eq!(parse_hash_key("-1"), HashKey::OutOfSpace);
        assert_eq!(parse_hash_key("-0"), HashKey::InSpace(0));
        assert_eq!(parse_hash_key("+007"), HashKey::InSpace(7));
        for text in ["", "+", "-", "+-1", "1 ", "0x1", "1_0"] {
            assert_eq!(parse_hash_key(text), HashKey::NotANumber, "{text}");
        }
        let data = sealed(b"\x0A\x01k\x12\x02-1\x1A\x07\x08\x00\x10\x00\x1A\x01a");
        let Decoded::Aggregate(aggregate) = decode(&data) else { panic!("{:?}", decode(&data)) };
        assert_eq!(aggregate.records().next().unwrap().hash_key(), None);
        assert!(!aggregate.delivered_within(&EVERYWHERE));
    }

    #[test]
    fn fields_of_other_versions_are_passed_over() {
        let record = [
            &b"\x08\x05\x08\x00"[..],                    // An index that a later one replaces.
            b"\x22\x07\x0A\x02no\x12\x01v",              // A tag.
            b"\x0B\x13\x14\x08\x01\x0C",                 // Group 1, with the empty group 2 and a number in it.
            b"\x51\x01\x02\x03\x04\x05\x06\x07\x08",     // Field 10: 64 bits.
            b"\x55\x01\x02\x03\x04",                     // Field 10: 32 bits.
            b"\x12\x01x",                                // Field 2 with another wire type: no explicit hash key.
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", // See below.
        ]
        .concat();
        // The last one is no field but a tag of 0 in the lower 32 bits.
        let with = |record: &[u8]| {
            sealed(&[b"\x7A\x01?\x0A\x01k\x1A", &[record.len() as u8 + 6][..], record, b"\x1A\x04data"].concat())
        };
        let good = with(&record[..record.len() - 10]);
        let Decoded::Aggregate(aggregate) = decode(&good) else { panic!("{:?}", decode(&good)) };
        let expected = UserRecord { partition_key: "k", explicit_hash_key: None, data: b"data" };
        assert_eq!(aggregate.records().collect::<Vec<_>>(), [expected]);
        let bad = with(&record);
        assert!(
            matches!(decode(&bad), Decoded::Plain(PlainReason::Malformed { what: "field number 0", .. })),
            "{:?}",
            decode(&bad)
        );
    }

    #[test]
    fn a_partition_key_that_is_not_utf_8_is_replaced() {
        let data = sealed(b"\x0A\x02a\xFF\x1A\x05\x08\x00\x1A\x01d");
        let Decoded::Aggregate(aggregate) = decode(&data) else { panic!("{:?}", decode(&data)) };
        assert_eq!(aggregate.partition_keys(), ["a\u{FFFD}"]);
    }

    #[test]
    fn malformed_content_says_where_and_what() {
        let deep = [vec![0x7B; 101], vec![0x7C; 101]].concat();
        let cases: [(&[u8], usize, &str); 14] = [
            (b"\x0A", 5, "truncated varint"),
            (b"\x0A\x05four", 5, "truncated field"),
            (b"\x0A\x01k\x80", 7, "truncated varint"),
            (b"\x0A\xFF\xFF\xFF\xFF\x0F", 5, "negative length"),
            (b"\x78\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 5, "varint of more than 10 bytes"),
            (b"\x02\x00", 4, "field number 0"),
            (b"\x7E", 4, "unknown wire type"),
            (b"\x7F", 4, "unknown wire type"),
            (b"\x7C", 5, "end of a group that did not begin"),
            (b"\x7B\x08\x01", 5, "group without end"),
            (&deep, 105, "nested too deep"),
            (b"\x1A\x03\x1A\x01d", 6, "a record without partition_key_index"),
            (b"\x1A\x02\x08\x00", 6, "a record without data"),
            (b"\x1A\x0A\x08\x00\x1A\x01d\x22\x03\x12\x01v", 13, "a tag without key"),
        ];
        for (protobuf, offset, what) in cases {
            let data = sealed(protobuf);
            assert_eq!(decode(&data), Decoded::Plain(PlainReason::Malformed { offset, what }));
        }
        let allowed = sealed(&[vec![0x7B; 100], vec![0x7C; 100]].concat());
        assert!(matches!(decode(&allowed), Decoded::Aggregate(_)));
    }

    /// What must hold for any bytes.
    fn check_any(data: &[u8]) {
        let (aggregate, error) = match decode(data) {
            Decoded::Plain(PlainReason::Malformed { offset, .. }) => {
                assert!((MAGIC.len()..=data.len() - DIGEST_LEN).contains(&offset));
                return;
            }
            Decoded::Plain(_) => return,
            Decoded::Aggregate(aggregate) => (aggregate, None),
            Decoded::Partial { aggregate, error } => (aggregate, Some(error)),
        };
        if let Some(
            RecordError::PartitionKeyIndex { record, .. }
            | RecordError::ExplicitHashKeyIndex { record, .. }
            | RecordError::ExplicitHashKey { record, .. },
        ) = error
        {
            assert_eq!(record - 1, aggregate.records().len());
        }
        for record in aggregate.records() {
            assert!(data.as_ptr_range().contains(&record.data.as_ptr()));
            assert!(record.data.len() < data.len());
        }
        aggregate.delivered_within(&EVERYWHERE);
    }

    proptest! {
        #[test]
        fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            check_any(&data);
            check_any(&sealed(&data));
        }

        #[test]
        fn any_mix_of_the_format_s_own_bytes(
            protobuf in proptest::collection::vec(
                prop::sample::select(&[0_u8, 1, 2, 4, 6, 8, 0x0A, 0x0B, 0x0C, 0x10, 0x12, 0x1A, 0x22, b'7', 0x80][..]),
                1..40,
            ),
        ) {
            check_any(&sealed(&protobuf));
        }

        #[test]
        fn any_change_of_an_aggregate(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut data = three_records();
            for (index, byte) in changes {
                let index = index.index(data.len());
                data[index] = byte;
            }
            check_any(&data);
            check_any(&sealed(&data[MAGIC.len()..data.len() - DIGEST_LEN]));
        }
    }
}
