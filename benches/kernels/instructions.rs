//! How many instructions the hot kernels take: the same in every run, however busy the machine is.
//!
//! Valgrind's callgrind runs this program once for each kernel, with [`CHILD`] set, and counts only
//! what happens inside of [`measured`]. The counts are compared with those in `instructions.json`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use pixel_engine::kpl::md5::md5_many;
use pixel_engine::kpl::{DEFAULT_RECORD_SIZE, write_aggregate};
use pixel_engine::log::encode::JsonEncoder;
use pixel_engine::log::field::Field;
use pixel_engine::log::line::Line;
use pixel_engine::log::query::Query;
use pixel_engine::log::scan::{Positions, scan};
use pixel_engine::log::schema::Schema;
use pixel_engine::record::Record;
use pixel_engine::simd::{self, Isa};
use pixel_engine::sink::entry::append_entry;
use pixel_engine_core::encode::Scratch;
use pixel_engine_core::pack::Packed;
use pixel_engine_core::pack::lines::{DEFAULT_ALIGN, LinesPacker, MAX_RECORD_SIZE};
use pixel_engine_kernels::counts::{Comparison, Counts};
use pixel_engine_kernels::data::{self, Lines};
use pixel_engine_kernels::{EVERY_PATH, Mode, rustc};

/// Set for a child: the name of the kernel that it runs, or [`PATHS`].
const CHILD: &str = "PIXEL_ENGINE_BENCH_CHILD";
/// Asks a child for the paths that it has, which under valgrind are not all that the machine has.
const PATHS: &str = "paths";
const COUNTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");
/// The log that most of them run on.
const SHAPE: &str = "realtime-46";

/// One kernel: it runs once to fill caches of code and buffers, then once measured.
struct Kernel {
    name: &'static str,
    /// Whether it has a path for each instruction set.
    by_path: bool,
    run: fn(),
}

const KERNELS: [Kernel; 9] = [
    Kernel { name: "scan", by_path: true, run: run_scan },
    Kernel { name: "md5", by_path: true, run: run_md5 },
    Kernel { name: "fields", by_path: false, run: run_fields },
    Kernel { name: "query", by_path: false, run: run_query },
    Kernel { name: "block", by_path: false, run: run_block },
    Kernel { name: "json", by_path: false, run: run_json },
    Kernel { name: "pack", by_path: false, run: run_pack },
    Kernel { name: "kpl", by_path: false, run: run_kpl },
    Kernel { name: "entry", by_path: false, run: run_entry },
];

/// Callgrind counts from the entry of this function to its return.
#[inline(never)]
fn measured(work: &mut dyn FnMut() -> usize) -> usize {
    black_box(work())
}

fn count(mut work: impl FnMut() -> usize) {
    black_box(work());
    black_box(measured(&mut work));
}

/// Tabs and newlines of a block.
fn run_scan() {
    let block = data::block(data::log(SHAPE, 1 << 20));
    let mut positions = Positions::default();
    count(|| {
        scan(&block, &mut positions);
        positions.hits().len()
    });
}

/// The digests of 32 messages, in lanes.
fn run_md5() {
    let text = data::log(SHAPE, 32 * DEFAULT_RECORD_SIZE);
    let messages: Vec<&[u8]> = text.chunks_exact(DEFAULT_RECORD_SIZE).take(32).collect();
    count(|| md5_many(&messages).len());
}

/// Every field of every line of a scanned block.
fn run_fields() {
    let block = data::block(data::log(SHAPE, 1 << 20));
    let schema = Schema::preset(SHAPE).expect("the engine has this preset");
    let mut positions = Positions::default();
    scan(&block, &mut positions);
    count(|| {
        let lines = positions.lines().map(|(start, ends)| Line::new(&block, start, ends, &schema));
        lines.map(|line| line.columns().map(<[u8]>::len).sum::<usize>()).sum()
    });
}

/// Names and values of all queries as logged, decoded into one buffer.
fn run_query() {
    let lines = Lines::new(SHAPE, data::log(SHAPE, 2 << 20));
    let queries: Vec<&[u8]> = lines.iter().filter_map(|line| line.get(Field::CsUriQuery)).collect();
    let mut buffer = Vec::new();
    count(|| {
        let mut len = 0;
        for query in &queries {
            for parameter in Query::new(query) {
                buffer.clear();
                parameter.decode_name_into(&mut buffer);
                parameter.decode_value_into(&mut buffer);
                len += buffer.len();
            }
        }
        len
    });
}

/// A block as the pool takes it, for lines as they came: scan, match the schema, judge each line,
/// count.
fn run_block() {
    let mut blocks = data::blocks(&data::log(SHAPE, 2 << 20)).into_iter();
    let rules = data::raw_rules(MAX_RECORD_SIZE);
    let mut scratch = Scratch::default();
    count(|| {
        let block = blocks.next().expect("one block to begin with, one to measure");
        rules.encode(block, &mut scratch).block.line_count()
    });
}

/// A scanned block as JSON lines.
fn run_json() {
    let lines = Lines::new(SHAPE, data::block(data::log(SHAPE, 1 << 20)));
    let schema = Schema::preset(SHAPE).expect("the engine has this preset");
    let mut encoder = JsonEncoder::new(&schema, None);
    let mut out = Vec::new();
    count(|| {
        out.clear();
        lines.iter().for_each(|line| encoder.encode(&line, &mut out));
        out.len()
    });
}

/// Cutting small records, of which there are many.
fn run_pack() {
    const RECORD_SIZE: usize = 5_120;
    let blocks = data::encoded_blocks(&data::log(SHAPE, 8 << 20), RECORD_SIZE);
    count(|| {
        let mut packer = LinesPacker::new(RECORD_SIZE, RECORD_SIZE);
        let mut len = 0;
        let mut emit = |packed: Packed| len += packed.lines.byte_len();
        blocks.iter().for_each(|(block, token)| packer.add(block, token, &mut emit));
        packer.flush(&mut emit);
        len
    });
}

/// Framing every line of 32 aggregates; the digests are in `md5`.
fn run_kpl() {
    let lines = Lines::new("pixel-4", data::log("pixel-4", 33 * DEFAULT_RECORD_SIZE));
    let aggregates = data::aggregates(&lines, 32);
    let mut out = Vec::new();
    count(|| {
        out.clear();
        aggregates.iter().for_each(|(key, lines)| write_aggregate(&mut out, key, lines.iter().copied()));
        out.len()
    });
}

/// Base64 of full records into the JSON of a request.
fn run_entry() {
    let blocks = data::encoded_blocks(&data::log(SHAPE, 2 << 20), MAX_RECORD_SIZE);
    let mut packer = LinesPacker::new(MAX_RECORD_SIZE, DEFAULT_ALIGN);
    let mut records = Vec::new();
    let mut emit = |packed: Packed| records.push(Record::from_lines(packed));
    blocks.iter().for_each(|(block, token)| packer.add(block, token, &mut emit));
    packer.flush(&mut emit);
    let mut out = Vec::new();
    count(|| {
        out.clear();
        records.iter().for_each(|record| append_entry(&mut out, record));
        out.len()
    });
}

/// Counts everything.
fn counts(valgrind: String) -> Result<Counts, Box<dyn Error>> {
    let output = under_valgrind(&["--tool=none", "--quiet"], PATHS, None)?;
    let paths: Vec<String> = output.split_whitespace().map(str::to_owned).collect();
    let mut instructions = BTreeMap::new();
    for kernel in KERNELS {
        let forced: Vec<Option<&str>> =
            if kernel.by_path { paths.iter().map(|path| Some(path.as_str())).collect() } else { vec![None] };
        for path in forced {
            let name = format!("{} {}", kernel.name, path.unwrap_or(EVERY_PATH));
            instructions.insert(name, instructions_of(kernel.name, path)?);
        }
    }
    Ok(Counts { rustc: rustc(), valgrind, paths, instructions })
}

fn instructions_of(kernel: &str, path: Option<&str>) -> Result<u64, Box<dyn Error>> {
    let file = tempfile::NamedTempFile::new()?;
    let out = format!("--callgrind-out-file={}", file.path().display());
    under_valgrind(&["--tool=callgrind", "--quiet", "--toggle-collect=*instructions*measured*", &out], kernel, path)?;
    let profile = fs::read_to_string(file.path())?;
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    match total.map(|total| total.trim().parse()) {
        Some(Ok(count)) if count > 0 => Ok(count),
        _ => Err(format!("{kernel}: callgrind counted nothing inside of `measured`").into()),
    }
}

/// Runs this program as a child under valgrind: what it prints.
fn under_valgrind(options: &[&str], child: &str, path: Option<&str>) -> Result<String, Box<dyn Error>> {
    let mut command = Command::new("valgrind");
    command.args(options).arg(std::env::current_exe()?).env(CHILD, child).env_remove(simd::VARIABLE);
    if let Some(path) = path {
        command.env(simd::VARIABLE, path);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("valgrind, {child}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if let Ok(child) = std::env::var(CHILD) {
        run_child(&child)?;
        return Ok(ExitCode::SUCCESS);
    }
    match Mode::of_arguments() {
        Mode::Measure => watch(),
        Mode::Test => {
            KERNELS.iter().for_each(|kernel| (kernel.run)());
            Ok(ExitCode::SUCCESS)
        }
        Mode::List => Ok(ExitCode::SUCCESS),
    }
}

fn run_child(name: &str) -> Result<(), Box<dyn Error>> {
    if name == PATHS {
        Isa::available().for_each(|isa| println!("{isa}"));
        return Ok(());
    }
    let kernel = KERNELS.iter().find(|kernel| kernel.name == name).ok_or("no such kernel")?;
    (kernel.run)();
    Ok(())
}

/// Counts, compares, and does what the arguments say about it.
fn watch() -> Result<ExitCode, Box<dyn Error>> {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let (check, save) = (has("--check"), has("--save"));
    println!("\ninstructions: of one pass over the same data, counted by callgrind\n");
    let valgrind = match Command::new("valgrind").arg("--version").output() {
        Ok(output) => String::from_utf8(output.stdout)?.trim().to_owned(),
        Err(_) if check || save => return Err("no valgrind here: install the package `valgrind`".into()),
        Err(_) => {
            println!("  not counted: no valgrind here\n");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let now = counts(valgrind)?;
    let mut committed: BTreeMap<String, Counts> = serde_json::from_slice(&fs::read(COUNTS)?)?;
    let architecture = std::env::consts::ARCH;
    let comparison = Comparison::new(committed.get(architecture), &now);
    println!("{comparison}");
    if save {
        committed.insert(architecture.to_owned(), now);
        fs::write(COUNTS, serde_json::to_string_pretty(&committed)? + "\n")?;
        println!("  saved to {COUNTS}\n");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if check && comparison.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
