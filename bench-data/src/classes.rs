//! Data for benchmarks of one property: lines of 46 columns that no viewer would produce.
//!
//! Each function returns whole lines, at least `bytes` long together and at most one line longer,
//! the same in every run.

use crate::query::QueryStyle;
use crate::random::Draw;
use crate::{Generator, Options};

const COLUMNS: usize = 46;
const SEED: u64 = 46;

/// Columns of 1 or 2 digits: as many tabs as a log can have, for scanners that pay for each
/// position.
pub fn dense_tabs(bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 3 * COLUMNS);
    let mut line = 0;
    while out.len() < bytes {
        let mut draw = Draw::new(SEED, line);
        line += 1;
        for column in 0..COLUMNS {
            let number = draw.word();
            out.push(b'0' + (number % 10) as u8);
            if number >> 32 & 1 == 1 {
                out.push(b'0' + (number >> 8 & 7) as u8);
            }
            out.push(if column + 1 == COLUMNS { b'\n' } else { b'\t' });
        }
    }
    out
}

/// Every column absent: lines of 46 `-`, the shortest that a schema has.
pub fn all_absent(bytes: usize) -> Vec<u8> {
    let line = [b"-\t".repeat(COLUMNS - 1), b"-\n".to_vec()].concat();
    line.repeat(bytes.div_ceil(line.len()))
}

/// URLs of 2 to 7 KB, twice in each line: long runs without a tab.
pub fn long_urls(bytes: usize) -> Vec<u8> {
    generated(bytes, QueryStyle::LongUrl)
}

/// Queries of 60 to 120 short parameters, encoded and not, for what looks at each parameter.
pub fn query_heavy(bytes: usize) -> Vec<u8> {
    generated(bytes, QueryStyle::ManyParameters)
}

fn generated(bytes: usize, style: QueryStyle) -> Vec<u8> {
    let shape = "realtime-46".parse().expect("the engine has this preset");
    let mut out = Vec::new();
    Generator::with_style(Options::new(shape, SEED), style).append_bytes(&mut out, bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_whole_lines_of_46_columns() {
        for class in [dense_tabs, all_absent, long_urls, query_heavy] {
            let data = class(200_000);
            assert!((200_000..220_000).contains(&data.len()));
            assert!(data == class(200_000));
            let lines = data.strip_suffix(b"\n").unwrap().split(|&byte| byte == b'\n');
            assert!(lines.into_iter().all(|line| line.split(|&byte| byte == b'\t').count() == COLUMNS));
            assert!(class(0).is_empty());
        }
    }

    #[test]
    fn classes_are_what_they_are_called() {
        let mean = |data: Vec<u8>| data.len() / data.iter().filter(|&&byte| byte == b'\n').count();
        assert!((100..120).contains(&mean(dense_tabs(100_000))));
        assert_eq!(mean(all_absent(100_000)), 92);
        assert!((7000..12_000).contains(&mean(long_urls(2_000_000))));
        let heavy = query_heavy(500_000);
        let ampersands = heavy.iter().filter(|&&byte| byte == b'&').count();
        let lines = heavy.iter().filter(|&&byte| byte == b'\n').count();
        // The query stands in two columns, and a few requests have none.
        assert!((120..200).contains(&(ampersands / lines)));
    }
}
