//! Finding every tab and newline, against a loop over `memchr2_iter`.

use std::error::Error;
use std::hint::black_box;
use std::rc::Rc;

use pixel_engine::log::scan::{Positions, scan_with};
use pixel_engine::simd::Isa;
use pixel_engine_bench_data::classes;
use pixel_engine_benches::{Contest, Stage, data, is_quick};

const COLLECTING: &str = "memchr2_iter into a Vec<u32>";
const SUMMING: &str = "memchr2_iter, positions summed";

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(
        "scan",
        "positions of all tabs and newlines of one block of 1 MiB, in cache; in the last \
         rows, of several blocks one after the other. Ours also notes where lines end, whether \
         there is a NUL and whether all is ASCII; the rivals do not. The first rival keeps the positions as ours does, \
         the second one only adds them up, so that nothing is stored.",
    );
    let size = 1 << 20;
    let blocks = [
        ("realtime-46", data::log("realtime-46", size)),
        ("pixel-4", data::log("pixel-4", size)),
        ("dense tabs", classes::dense_tabs(size)),
        ("all absent", classes::all_absent(size)),
        ("long URLs", classes::long_urls(size)),
        ("tiny lines", b"1\t2\n".repeat(size / 4)),
    ];
    for (name, lines) in blocks {
        let block = data::block(lines);
        let mut collected = Vec::new();
        let mut contest = Contest::new(name, block.len());
        for isa in Isa::available() {
            let mut positions = Positions::default();
            let block = &block;
            contest = contest.ours(isa, move || {
                scan_with(isa, block, &mut positions);
                positions.hits().len()
            });
        }
        let same = same_positions(&block);
        contest = contest
            .rival(COLLECTING, || {
                collected.clear();
                collected.extend(memchr::memchr2_iter(b'\t', b'\n', &block).map(|at| at as u32));
                collected.len()
            })
            .rival(SUMMING, || memchr::memchr2_iter(b'\t', b'\n', &block).sum::<usize>())
            .checked("positions", same);
        if name == "realtime-46" {
            for rival in [COLLECTING, SUMMING] {
                contest = contest.target(Isa::Avx512, rival, 6.0).target(Isa::Avx2, rival, 4.0);
            }
        }
        stage.contest(contest);
    }
    stage.contest(many_blocks("realtime-46, 8 blocks in turn", 8 << 20));
    stage.contest(many_blocks("realtime-46, 64 blocks in turn", if is_quick() { 16 << 20 } else { 64 << 20 }));
    stage.note(
        "One block again and again lets the branch predictor learn where its hits are, which a path with branches on \
         the data gains by (avx2, not avx512): several blocks in turn are nearer to real use. 8 MiB usually stay in a \
         cache; 64 MiB usually come from memory, whose speed then counts too.",
    );
    stage.finish()
}

/// Block after block of a longer log.
fn many_blocks<'a>(name: &str, bytes: usize) -> Contest<'a> {
    let log = data::log("realtime-46", bytes);
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut rest = log.as_slice();
    while !rest.is_empty() {
        let block = data::block(rest[..rest.len().min(1 << 20)].to_vec());
        rest = &rest[block.len()..];
        blocks.push(block);
    }
    let same = blocks.iter().all(|block| same_positions(block));
    let blocks = Rc::new(blocks);
    let mut contest = Contest::new(name, log.len());
    for isa in Isa::available() {
        let (blocks, mut positions) = (Rc::clone(&blocks), Positions::default());
        contest = contest.ours(isa, move || {
            for block in blocks.iter() {
                scan_with(isa, block, &mut positions);
                black_box(positions.hits());
            }
        });
    }
    let mut collected = Vec::new();
    contest
        .rival(COLLECTING, move || {
            for block in blocks.iter() {
                collected.clear();
                collected.extend(memchr::memchr2_iter(b'\t', b'\n', block).map(|at| at as u32));
                black_box(&collected);
            }
        })
        .target(Isa::Avx512, COLLECTING, 6.0)
        .target(Isa::Avx2, COLLECTING, 4.0)
        .checked("positions", same)
}

fn same_positions(block: &[u8]) -> bool {
    let expected: Vec<u32> = memchr::memchr2_iter(b'\t', b'\n', block).map(|at| at as u32).collect();
    Isa::available().all(|isa| {
        let mut positions = Positions::default();
        scan_with(isa, block, &mut positions);
        positions.hits() == expected
    })
}
