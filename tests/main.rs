//! End-to-end tests: through the binary, and against programs that others wrote.

/// The admin listener: health, metrics and the page; systemd; the log.
mod admin;
/// The live report there.
mod admin_report;
/// User agents, read as the code of the lists reads them.
mod agents;
/// AWS's pictures with real parts of others: a browser, streams, Lambda, the Kinesis Client Library, SQL.
mod architecture;
/// A real browser as the client of the pixel.
mod browser;
/// Faults of every kind and a producer that is killed again and again.
mod campaign;
/// A clock that jumps.
mod clock;
/// Few large Parquet files in place of many small ones, killed and run again.
mod compact;
/// What each record codec delivers, read by other people's programs.
mod compress;
/// What may hold a log: byte order marks, UTF-16, compressors, archives, bytes behind the end.
mod containers;
/// The arrows between crates, what the small ones do without, and licences.
mod crates;
/// Damaged and padded files, decompressed here and by other people's programs.
mod damage;
/// The shapes in which `decode` takes records.
mod decode;
/// `demo`: all of it in one process.
mod demo;
/// What is in `deploy/`.
mod deploy;
/// Completions and the manual.
mod docs;
/// `--dedup-window`: lines that come twice.
mod duplicates;
/// Delivery to emulators of AWS that others wrote.
mod emulators;
/// Inputs and outputs that cannot be used, and the exit codes.
mod errors;
/// Objects hold every line once, whenever the run is killed.
mod exactly_once;
/// The server that stands for AWS, against AWS's own SDK.
mod fake_aws;
/// What stands for Lambda: its Runtime API, with faults.
mod fake_lambda;
/// Delivery to Firehose.
mod firehose;
/// The generator as a command.
mod generate;
/// What is read: formats, compression, files, folders, globs, stdin.
mod ingest;
/// JSON in every shape that people hold it in.
mod json_shapes;
/// JSON lines as DuckDB reads them.
mod jsonl;
/// A child of the Kinesis Client Library's daemon.
mod kcl;
/// Delivery to Kinesis.
mod kinesis;
/// The `kpl` container, in both directions, with other people's code.
mod kpl;
/// Records of a Kinesis stream under Lambda, into aggregates.
mod lambda_aggregate;
/// The runtime of Lambda: every call of its API, and every fault.
mod lambda_runtime;
/// Firehose's data transformation, against `ingest` and under AWS's emulator.
mod lambda_transform;
/// The `lines` container: limits, alignment, billed bytes.
mod lines;
/// How long lines wait: `--linger`.
mod linger;
/// Every request id through the whole path: none lost, none twice.
mod loss;
/// What hands the records of a stream to Lambda functions.
mod mapping;
/// Peak memory, whatever the input's size.
mod memory;
/// `run` with sources on the network.
mod network;
/// Endpoints that are dead, slow or silent, and runs that are stopped meanwhile.
mod outage;
/// Parquet files, as other people's readers find them.
mod parquet;
/// Parquet files and what goes wrong: kills, full disks, bad lines.
mod parquet_faults;
/// The folders of Parquet files.
mod parquet_folders;
/// Other people's programs, and these held against each other.
mod peers;
/// Capacity planning: what each design needs and costs, and a day of it.
mod plan;
/// Its figures and its simulation against real runs.
mod plan_check;
/// Personal data: what becomes of it, and that it is nowhere else.
mod privacy;
/// Bad lines: reason, place, every byte.
mod quarantine;
/// Logs whose queries are encoded once.
mod query_encoding;
/// Compressed files that are decompressed before their turn.
mod read_ahead;
/// Reports against the truth, and against DuckDB.
mod report;
/// `report --html` and `--csv`: every number, escaped, readable by everyone.
mod report_page;
/// What reports are for: advertisements, blogs, shops, and real-time logs beside standard logs.
mod report_use;
/// `--resume`: stopped and killed runs that go on.
mod resume;
/// Objects in buckets.
mod s3;
/// Objects as inputs.
mod s3_read;
/// `schema`: what SQL is told of delivered files.
mod schema;
/// A stream of single lines, Lambda, a stream of aggregates: all of it on this machine.
mod second_picture;
/// What no output may ever hold.
mod secrets;
/// `--select` and `--match`.
mod select_match;
/// A network that breaks connections.
mod shaky_way;
/// A log shipper that others wrote, as a client.
mod shipper;
/// `run`: pipelines of a file that stay up.
mod sidecar;
/// The same output on every SIMD path.
mod simd;
/// Records that could not be delivered: kept, and shipped later.
mod spool;
/// The queries in `docs/sql`, against reports.
mod sql;
/// Objects that a queue tells of.
mod sqs;
/// Ctrl-C.
mod stop;
/// A folder for each test, the binary, and what it delivered.
mod support;
/// The tracking pixel as a template of CloudFormation.
mod template;
/// The script for pages, in a real browser.
mod web;
