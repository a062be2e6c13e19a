//! MD5 of many messages in SIMD lanes, against one stream of the `md-5` crate.

use std::error::Error;

use md5::{Digest, Md5};
use pixel_engine::kpl::DEFAULT_RECORD_SIZE;
use pixel_engine::kpl::md5::md5_many_with;
use pixel_engine::simd::Isa;
use pixel_engine_benches::{Contest, Stage, data};

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(
        "md5",
        "messages of 51,200 B, so many at a time. The rival hashes them one after the other: one MD5 stream is a chain \
         of dependent instructions, whatever the instruction set.",
    );
    let text = data::log("realtime-46", 32 * DEFAULT_RECORD_SIZE);
    let messages: Vec<&[u8]> = text.chunks_exact(DEFAULT_RECORD_SIZE).take(32).collect();
    for count in [32, 16, 8, 1] {
        let messages = &messages[..count];
        let one_by_one = || messages.iter().map(|message| Md5::digest(message).into()).collect::<Vec<[u8; 16]>>();
        let same = Isa::available().all(|isa| md5_many_with(isa, messages) == one_by_one());
        let mut contest = Contest::new(format!("{count} messages"), count * DEFAULT_RECORD_SIZE);
        for isa in Isa::available() {
            contest = contest.ours(isa, move || md5_many_with(isa, messages));
        }
        stage.contest(contest.rival("md-5", one_by_one).checked("digests", same));
    }
    stage.finish()
}
