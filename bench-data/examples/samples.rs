//! Rewrites the checked-in logs of `bench-data/samples`.

use std::path::Path;

use pixel_engine_bench_data::samples::SAMPLES;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    for sample in SAMPLES {
        std::fs::write(folder.join(sample.file), sample.generate())?;
        println!("{}: {} lines of {}, seed {}", sample.file, sample.lines, sample.shape, sample.seed);
    }
    Ok(())
}
