//! The program `pixel-engine`.

mod completions;
mod decode;
mod generate;
mod ingest;
mod man;
mod output;
mod progress;
mod size;
mod summary;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use pixel_engine::simd::Isa;

/// Blocks are made on one thread and freed on another, which glibc's allocator does slowly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CloudFront logs into well-packed Firehose and Kinesis records, losing nothing
#[derive(Parser)]
#[command(name = "pixel-engine", version = version(), propagate_version = true, after_long_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Ingest(Box<ingest::Ingest>),
    Decode(decode::Decode),
    Generate(generate::Generate),
    Completions(completions::Completions),
    Man(man::Man),
}

const EXIT_CODES: &str = "Exit codes:
  0    every line was shipped, quarantined or filtered;
       also when the reader of a pipe goes away
  1    an error, said on stderr; what was delivered before it stays delivered
  2    the command line is wrong
  130  stopped by Ctrl-C or SIGTERM after finishing what was in flight;
       stderr says where

Environment:
  PIXEL_ENGINE_SIMD  forces a scan path: avx512, avx2, neon or memchr
  PIXEL_ENGINE_LOG   log filter, such as debug (default: warn)";

/// How a command ends.
enum Outcome {
    Done,
    Failed,
    Stopped,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PIXEL_ENGINE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
    let outcome = match Cli::parse().command {
        Command::Ingest(ingest) => ingest.run(),
        Command::Decode(decode) => decode.run(),
        Command::Generate(generate) => generate.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::FAILURE,
        Outcome::Stopped => ExitCode::from(130),
    }
}

/// Ends the program as clap does for a wrong command line, with the usage of that command.
fn usage_error(command: &str, message: &str) -> ! {
    let mut program = Cli::command();
    program.build();
    let command = program.find_subcommand_mut(command).expect("each command names itself");
    command.error(ErrorKind::ValueValidation, message).exit()
}

/// Names the scan path, so that a report of a speed or a fault says which kernel it was.
fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let available: Vec<&str> = Isa::available().map(Isa::name).collect();
        format!("{} (scan: {}; available: {})", env!("CARGO_PKG_VERSION"), Isa::chosen(), available.join(", "))
    })
}
