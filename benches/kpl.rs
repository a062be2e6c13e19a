//! KPL aggregates with their MD5, against what one `md-5` stream can hash.

use std::error::Error;

use md5::{Digest, Md5};
use pixel_engine::kpl::{DEFAULT_RECORD_SIZE, DIGEST_LEN, Decoded, MAGIC, decode, seal_with, write_aggregate};
use pixel_engine::simd::Isa;
use pixel_engine_benches::data::{self, AggregateLines, Lines};
use pixel_engine_benches::{Contest, Stage};

const RIVAL: &str = "md-5 over the same aggregates";
/// What the pipeline hands to a worker at a time.
const GROUP: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(
        "kpl",
        "32 aggregates of 51,200 B at a time, as in the pipeline: framing every line, and the MD5 of each aggregate. \
         The rival only hashes what stands in the same aggregates, in one stream, and frames nothing. Speeds are of \
         aggregates.",
    );
    let shapes = [("realtime-46", "realtime-46", Some(5.0)), ("pixel-4", "pixel-4", None)];
    for (name, shape, target) in shapes {
        let lines = Lines::new(shape, data::log(shape, (GROUP + 1) * DEFAULT_RECORD_SIZE));
        let group = data::aggregates(&lines, GROUP);
        let mut sealed = vec![Vec::new(); GROUP];
        write(Isa::Memchr, &group, &mut sealed);
        let bytes = sealed.iter().map(Vec::len).sum();
        let mut same = sealed.iter().zip(&group).all(|(aggregate, (_, lines))| holds(aggregate, lines));
        let mut contest = Contest::new(name, bytes);
        for isa in Isa::available() {
            let mut aggregates = vec![Vec::new(); GROUP];
            write(isa, &group, &mut aggregates);
            same &= aggregates == sealed;
            let group = &group;
            contest = contest.ours(isa, move || write(isa, group, &mut aggregates));
            if let Some(times) = target
                && isa != Isa::Memchr
            {
                contest = contest.target(isa, RIVAL, times);
            }
        }
        let contest = contest
            .rival(RIVAL, || {
                sealed.iter().map(|aggregate| Md5::digest(message(aggregate))[0]).fold(0, u8::wrapping_add)
            })
            .checked("digests, and lines after decoding", same);
        stage.contest(contest);
    }
    stage.finish()
}

fn write(isa: Isa, group: &[AggregateLines<'_>], aggregates: &mut [Vec<u8>]) {
    for (aggregate, (key, lines)) in aggregates.iter_mut().zip(group) {
        aggregate.clear();
        write_aggregate(aggregate, key, lines.iter().copied());
    }
    seal_with(isa, aggregates);
}

/// What the MD5 at the end is the digest of.
fn message(aggregate: &[u8]) -> &[u8] {
    &aggregate[MAGIC.len()..aggregate.len() - DIGEST_LEN]
}

fn holds(aggregate: &[u8], lines: &[&[u8]]) -> bool {
    let digest = Md5::digest(message(aggregate));
    let Decoded::Aggregate(decoded) = decode(aggregate) else { return false };
    aggregate.ends_with(&digest)
        && aggregate.len() > DEFAULT_RECORD_SIZE - 2000
        && decoded.records().map(|record| record.data).eq(lines.iter().copied())
}
