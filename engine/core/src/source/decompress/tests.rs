//! Members of gzip that are decompressed as a whole, against the same read piece by piece.

use std::io::Write;

use flate2::write::GzEncoder;
use flate2::{Compression as Level, GzBuilder};
use proptest::prelude::*;

use super::super::member::{MAX_TEXT_LEN, TRAILER_LEN};
use super::*;

/// What is given out before the end, and the error that ends it.
type Outcome = (Vec<u8>, Option<(io::ErrorKind, String, bool)>);

fn outcome(mut input: impl Read) -> Outcome {
    let mut text = Vec::new();
    let error = input.read_to_end(&mut text).err();
    (text, error.map(|error| (error.kind(), error.to_string(), is_about_trailing_bytes(&error))))
}

/// Gives at most so many bytes at a time, and then breaks off if it is to.
struct Trickle {
    bytes: Cursor<Vec<u8>>,
    most: usize,
    breaks: bool,
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.most.min(buffer.len());
        match self.bytes.read(&mut buffer[..most])? {
            0 if self.breaks => Err(io::Error::other("broken")),
            count => Ok(count),
        }
    }
}

/// As a file of that content is read.
fn whole(bytes: &[u8]) -> Decompressed {
    let len = bytes.len() as u64;
    Decompressed::new(Compression::Gzip, PeekReader::new(Cursor::new(bytes.to_vec())), Some(len))
}

/// As a pipe is read.
fn streamed(bytes: &[u8]) -> Decompressed {
    Decompressed::new(Compression::Gzip, PeekReader::new(Cursor::new(bytes.to_vec())), None)
}

/// All pieces of a file, the lengths that were asked for before, and the error.
fn pieces(bytes: &[u8]) -> (Outcome, Vec<usize>) {
    let asked = std::cell::RefCell::new(Vec::new());
    let mut input = whole(bytes);
    let mut text = Vec::new();
    let error = loop {
        match input.next_piece(|len| {
            asked.borrow_mut().push(len);
            // As a buffer that was used before.
            Ok(vec![b'x'; len])
        }) {
            Ok(piece) if piece.is_empty() => break None,
            Ok(piece) => text.extend_from_slice(&piece),
            Err(error) => break Some((error.kind(), error.to_string(), is_about_trailing_bytes(&error))),
        }
    };
    ((text, error), asked.into_inner())
}

fn gzip(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::new(level));
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Lines that are like those of a log, as far as compression goes.
fn log(len: usize, seed: u64) -> Vec<u8> {
    let mut random = seed;
    let mut text = Vec::with_capacity(len + 100);
    while text.len() < len {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (host, id) = (random >> 60, random >> 20);
        writeln!(text, "2026-01-05\t08:00:00\tFRA{host}\t{id:x}\t/pixel.gif?e=pv&id={}", id % 1000).unwrap();
    }
    text.truncate(len);
    text
}

fn assert_same(bytes: &[u8]) {
    let expected = outcome(streamed(bytes));
    // Not `assert_eq`, which would print the text.
    let assert = |found: &Outcome, how: &str| {
        assert_eq!(found.1, expected.1, "{how}");
        assert!(found.0 == expected.0, "{how}: {} bytes of {}", found.0.len(), expected.0.len());
    };
    assert(&outcome(whole(bytes)), "read");
    assert(&pieces(bytes).0, "pieces");
}

/// Whether all of it was decompressed by member: then nothing was asked for but the texts.
fn is_by_member(bytes: &[u8], texts: &[usize]) -> bool {
    pieces(bytes).1 == texts
}

#[test]
fn members_of_any_size_come_out_as_they_went_in() {
    for len in [1, 2, 100, 20_000, PIECE_LEN - 1, PIECE_LEN, PIECE_LEN + 1, 10_000_000, MAX_TEXT_LEN] {
        let text = log(len, 7);
        let bytes = gzip(&text, 6);
        assert!(is_by_member(&bytes, &[len]), "{len}");
        assert!(outcome(whole(&bytes)) == (text, None), "{len}");
    }
}

#[test]
fn what_is_too_large_is_read_piece_by_piece() {
    // More text than a member may have, and a bomb: three times what libdeflate is allowed, of zeros.
    for text in [log(2 * MAX_TEXT_LEN, 7), vec![0; MAX_TEXT_LEN + 1], vec![0; 3 * MAX_TEXT_LEN]] {
        let bytes = gzip(&text, 1);
        assert!(pieces(&bytes).1.iter().all(|&len| len == PIECE_LEN));
        assert_same(&bytes);
    }
    // More compressed bytes than are looked at; the member before it is small.
    let text: Vec<u8> =
        (0..MAX_MEMBER_LEN as u64 / 8 + 100).flat_map(|n| n.wrapping_mul(n | 1).to_le_bytes()).collect();
    let bytes = [gzip(b"a line\n", 6), gzip(&text, 0), gzip(b"another\n", 6)].concat();
    assert!(bytes.len() > MAX_MEMBER_LEN);
    assert_eq!(pieces(&bytes).1[..2], [7, PIECE_LEN]);
    assert_same(&bytes);
}

#[test]
fn a_file_of_many_members_is_read_by_member_wherever_the_buffer_ends() {
    let texts: Vec<Vec<u8>> = (0..60).map(|n| log(1_000_000 + 10_000 * n, n as u64)).collect();
    let bytes: Vec<u8> = texts.iter().flat_map(|text| gzip(text, 0)).collect();
    assert!(bytes.len() > 3 * MAX_MEMBER_LEN);
    let lens: Vec<usize> = texts.iter().map(Vec::len).collect();
    assert!(is_by_member(&bytes, &lens));
    assert_same(&bytes);
}

#[test]
fn headers_of_every_kind_are_read() {
    let text = log(3_000, 1);
    let builder = || GzBuilder::new().mtime(1_700_000_000);
    let of = |builder: GzBuilder| {
        let mut encoder = builder.write(Vec::new(), Level::new(6));
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap()
    };
    let all = builder().filename("a name").comment("a comment").extra(*b"AB\x02\x00xy");
    for bytes in [of(builder().filename("E1.2026-01-05-08.gz")), of(builder().comment("c")), of(all)] {
        assert!(is_by_member(&bytes, &[text.len()]));
        assert_same(&bytes);
        for len in 0..60 {
            assert_same(&bytes[..len]);
        }
    }
    let mut checked = of(builder());
    // A checksum of the header that is wrong is damage.
    checked[3] |= 1 << 1;
    checked.splice(10..10, [1, 2]);
    assert!(outcome(whole(&checked)).1.is_some());
    assert_same(&checked);
}

#[test]
fn damage_in_any_byte_is_told_as_ever() {
    let bytes = [gzip(&log(600, 1), 6), gzip(&log(400, 2), 6)].concat();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            assert_same(&damaged);
        }
    }
}

#[test]
fn a_cut_at_any_byte_is_told_as_ever() {
    let bytes = [gzip(&log(600, 1), 6), gzip(b"", 6), gzip(&log(400, 2), 6)].concat();
    for len in 0..bytes.len() {
        assert_same(&bytes[..len]);
    }
}

#[test]
fn the_same_member_twice_is_two() {
    let text = log(5_000, 3);
    let bytes = gzip(&text, 6).repeat(3);
    assert!(is_by_member(&bytes, &[text.len(); 3]));
    assert_eq!(outcome(whole(&bytes)), (text.repeat(3), None));
    // With padding between them, the second is not seen to begin where the first ends.
    let padded = [gzip(&text, 6), vec![0; 5], gzip(&text, 6)].concat();
    assert_same(&padded);
    // Nor is one that has another's trailer behind it.
    let trailer = padded[padded.len() - TRAILER_LEN..].to_vec();
    assert_same(&[gzip(&text, 6), trailer].concat());
}

#[test]
fn a_wrong_length_in_the_trailer_is_damage() {
    let text = log(5_000, 3);
    for wrong in [0, 1, 4_999, 5_001, 60_000_000, MAX_TEXT_LEN as u32, u32::MAX] {
        let mut bytes = gzip(&text, 6);
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&wrong.to_le_bytes());
        let (given, error) = outcome(whole(&bytes));
        assert!(given == text && error.is_some(), "{wrong}");
        assert_same(&bytes);
        assert_same(&[bytes, gzip(&text, 6)].concat());
    }
}

#[test]
fn bytes_around_the_trailer_are_damage() {
    let text = log(5_000, 3);
    let bytes = gzip(&text, 6);
    let (data, trailer) = bytes.split_at(bytes.len() - TRAILER_LEN);
    for between in [&b"x"[..], &[0; 4], &[0xff; 8], trailer, &trailer[4..], &trailer[..4]] {
        assert_same(&[data, between, trailer].concat());
        assert_same(&[data, trailer, between].concat());
        assert_same(&[data, trailer, between, trailer].concat());
        assert_same(&[data, between, trailer, &bytes[..]].concat());
    }
}

#[test]
fn an_input_that_breaks_off_gives_what_came_before() {
    let bytes = [gzip(&log(300_000, 1), 6), gzip(&log(300_000, 2), 6)].concat();
    for cut in [10, 1_000, bytes.len() / 2, bytes.len() - 1, bytes.len()] {
        let open = |len| {
            let trickle = Trickle { bytes: Cursor::new(bytes[..cut].to_vec()), most: 4_000, breaks: true };
            Decompressed::new(Compression::Gzip, PeekReader::new(trickle), len)
        };
        let found = outcome(open(Some(bytes.len() as u64)));
        assert_eq!(found.1.as_ref().map(|error| error.1.as_str()), Some("broken"));
        assert!(found == outcome(open(None)), "{cut}");
    }
}

#[test]
fn memory_that_is_refused_ends_reading() {
    let mut input = whole(&gzip(b"lines", 6));
    let error = input.next_piece(|_| Err(io::Error::other("no"))).unwrap_err();
    assert_eq!(error.to_string(), "no");
}

/// What stands in a file.
#[derive(Clone, Debug)]
enum Part {
    Member { text: Vec<u8>, level: u32 },
    Zeros(usize),
    Bytes(Vec<u8>),
}

fn part() -> impl Strategy<Value = Part> {
    let text = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..3_000),
        (0..200_000_usize, any::<u64>()).prop_map(|(len, seed)| log(len, seed)),
        (0..100_000_usize).prop_map(|len| vec![b'a'; len]),
    ];
    prop_oneof![
        8 => (text, 0..=9_u32).prop_map(|(text, level)| Part::Member { text, level }),
        1 => (0..20_usize).prop_map(Part::Zeros),
        1 => proptest::collection::vec(any::<u8>(), 0..30).prop_map(Part::Bytes),
    ]
}

proptest! {
    #[test]
    fn any_file_is_read_the_same_by_member_and_piece_by_piece(
        parts in proptest::collection::vec(part(), 1..6),
        damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Member { text, level } => bytes.extend(gzip(&text, level)),
                Part::Zeros(len) => bytes.resize(bytes.len() + len, 0),
                Part::Bytes(more) => bytes.extend(more),
            }
        }
        prop_assume!(!bytes.is_empty());
        if let Some((at, flip)) = damage {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        if let Some(len) = cut {
            bytes.truncate(len.index(bytes.len()));
        }
        assert_same(&bytes);
    }
}
