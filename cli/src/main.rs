//! The program `pixel-engine`.

mod aws;
mod check;
mod compact;
mod completions;
mod decode;
mod demo;
mod generate;
mod ingest;
mod inputs;
mod kcl;
mod lambda;
mod log;
mod man;
mod only_bad_lines;
mod output;
mod plan;
mod progress;
mod report;
mod run;
mod schema;
mod settings;
mod ship;
mod summary;

use std::io;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use pixel_engine::simd::Isa;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Blocks are made on one thread and freed on another, which glibc's allocator does slowly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CloudFront logs into well-packed Firehose and Kinesis records, losing nothing
#[derive(Parser)]
#[command(name = "pixel-engine", version = version(), propagate_version = true, after_long_help = EXIT_CODES)]
struct Cli {
    /// How warnings and the log that PIXEL_ENGINE_LOG asks for are written to stderr
    #[arg(long, global = true, value_enum, default_value_t = log::LogFormat::Text)]
    log_format: log::LogFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Ingest(Box<ingest::Ingest>),
    Run(run::RunPipelines),
    Demo(demo::Demo),
    Lambda(lambda::Lambda),
    Kcl(Box<kcl::Kcl>),
    Ship(Box<ship::Ship>),
    Check(check::Check),
    Decode(decode::Decode),
    Generate(generate::Generate),
    Plan(Box<plan::Plan>),
    Report(Box<report::Report>),
    Schema(schema::Schema),
    Compact(Box<compact::Compact>),
    Completions(completions::Completions),
    Man(man::Man),
}

const EXIT_CODES: &str = "Exit codes:
  0    every line was shipped, quarantined or filtered;
       also when the reader of a pipe goes away
  1    an error, said on stderr; what was delivered before it stays delivered
  2    the command line, or the file of `run --config`, is wrong
  3    nothing is lost, but some lines could not be delivered and are in the spool,
       or `compact` left files alone that it could not carry over
  4    nothing is lost, but not one line could be shipped: probably no CloudFront log
  130  stopped by Ctrl-C or SIGTERM after finishing what was in flight;
       stderr says where

Environment:
  PIXEL_ENGINE_SIMD  forces a scan path: avx512, avx2, neon or memchr
  PIXEL_ENGINE_LOG   off, error, warn (default), info, debug or trace
  AWS_...            the standard AWS chain: region, profile, credentials, endpoint";

/// How a command ends.
enum Outcome {
    Done,
    Failed,
    /// Nothing is lost, but some is in the spool.
    Kept,
    /// There were lines, and all of them are bad.
    OnlyBadLines,
    /// The configuration file is wrong, as a command line may be.
    WrongConfig,
    Stopped,
}

fn main() -> ExitCode {
    let cli = log::before_start(Cli::parse);
    log::start(cli.log_format);
    let outcome = match cli.command {
        Command::Ingest(ingest) => ingest.run(),
        Command::Run(run) => run.run(),
        Command::Demo(demo) => demo.run(),
        Command::Lambda(lambda) => lambda.run(),
        Command::Kcl(kcl) => kcl.run(),
        Command::Ship(ship) => ship.run(),
        Command::Check(check) => check.run(),
        Command::Decode(decode) => decode.run(),
        Command::Generate(generate) => generate.run(),
        Command::Plan(plan) => plan.run(),
        Command::Report(report) => report.run(),
        Command::Schema(schema) => schema.run(),
        Command::Compact(compact) => compact.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    log::finish();
    match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::FAILURE,
        Outcome::Kept => ExitCode::from(3),
        Outcome::OnlyBadLines => ExitCode::from(4),
        Outcome::WrongConfig => ExitCode::from(2),
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

/// Set by the first Ctrl-C or SIGTERM; a second one ends the program at once.
fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
