//! Finding every tab and newline, against a loop over `memchr2_iter`.

use std::error::Error;

use pixel_engine::scan::{Positions, scan_with};
use pixel_engine::simd::Isa;
use pixel_engine_bench_data::classes;
use pixel_engine_benches::{Contest, Stage, data};

const COLLECTING: &str = "memchr2_iter into a Vec<u32>";
const SUMMING: &str = "memchr2_iter, positions summed";

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(
        "scan",
        "positions of all tabs and newlines of one block of 1 MiB, in cache. Ours also notes where lines end, whether \
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
    stage.finish()
}

fn same_positions(block: &[u8]) -> bool {
    let expected: Vec<u32> = memchr::memchr2_iter(b'\t', b'\n', block).map(|at| at as u32).collect();
    Isa::available().all(|isa| {
        let mut positions = Positions::default();
        scan_with(isa, block, &mut positions);
        positions.hits() == expected
    })
}
