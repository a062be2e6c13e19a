//! What the hot kernels run on in benchmarks, and how many instructions they take.
//!
//! The counts are a crate of their own, so that they can be taken without building rivals and SDKs:
//! `cargo bench -p pixel-engine-kernels -- --check`.

pub mod counts;
pub mod data;

use std::process::Command;

/// The path of code that does not choose one at run time.
pub const EVERY_PATH: &str = "every";

/// What a benchmark was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `cargo bench`.
    Measure,
    /// `cargo test --benches` and the like: every contestant once.
    Test,
    /// `cargo bench -- --list`: criterion prints names.
    List,
}

impl Mode {
    /// As the arguments of this process say.
    pub fn of_arguments() -> Mode {
        let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
        match () {
            () if has("--list") => Mode::List,
            () if has("--bench") && !has("--test") => Mode::Measure,
            () => Mode::Test,
        }
    }
}

/// The compiler, as it names itself.
pub fn rustc() -> String {
    said_by("rustc", &["--version"])
}

/// What a program prints when it is started here, without spaces around it.
pub fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { "unknown".to_owned() } else { text }
}
