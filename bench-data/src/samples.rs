//! The small logs that are checked in under `bench-data/samples`, and what they are made from.

use crate::{Generator, Options};

/// A checked-in log.
pub struct Sample {
    /// Its file name in `bench-data/samples`.
    pub file: &'static str,
    /// The name of its [`Shape`](crate::Shape).
    pub shape: &'static str,
    /// Its seed.
    pub seed: u64,
    /// Its lines, without header lines.
    pub lines: u64,
}

/// Every checked-in log.
pub const SAMPLES: &[Sample] = &[
    Sample { file: "realtime-46.log", shape: "realtime-46", seed: 46, lines: 400 },
    Sample { file: "pixel-4.log", shape: "pixel-4", seed: 4, lines: 600 },
    Sample { file: "standard.log", shape: "standard", seed: 33, lines: 400 },
    Sample { file: "standard-v2.jsonl", shape: "standard-json", seed: 39, lines: 200 },
];

impl Sample {
    /// The bytes that the file must have.
    pub fn generate(&self) -> Vec<u8> {
        let shape = self.shape.parse().expect("samples name known shapes");
        let mut generator = Generator::new(Options::new(shape, self.seed));
        let mut out = Vec::new();
        generator.append_header(&mut out);
        generator.append_lines(&mut out, self.lines);
        out
    }
}
