//! A log to Parquet by arrow-rs: see lake.rs. Arguments: the log, the file, the log's fields.

use std::error::Error;
use std::fs::{self, File};
use std::io::BufReader;
use std::sync::Arc;
use std::time::Instant;

use arrow_csv::ReaderBuilder;
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use regex::Regex;

fn data_type(field: &str) -> DataType {
    match field {
        "sc-status" | "sc-bytes" | "cs-bytes" | "sc-content-len" | "sc-range-start" | "sc-range-end" | "c-port"
        | "cs-headers-count" | "asn" => DataType::Int64,
        "timestamp" | "time-to-first-byte" | "time-taken" | "origin-fbl" | "origin-lbl" => DataType::Float64,
        _ => DataType::Utf8,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (log, path) = (arguments.next().ok_or("no log")?, arguments.next().ok_or("no file")?);
    let fields: Vec<Field> = arguments.map(|name| Field::new(&name, data_type(&name), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let begun = Instant::now();
    let reader = ReaderBuilder::new(Arc::clone(&schema))
        .with_delimiter(b'\t')
        .with_quote(0)
        .with_null_regex(Regex::new("^-$")?)
        .with_batch_size(8_192)
        .build(BufReader::with_capacity(1 << 20, File::open(log)?))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(File::create(&path)?, schema, Some(properties))?;
    let mut rows = 0;
    for batch in reader {
        let batch = batch?;
        rows += batch.num_rows();
        writer.write(&batch)?;
    }
    writer.close()?;
    let (seconds, bytes) = (begun.elapsed().as_secs_f64(), fs::metadata(&path)?.len());
    println!("{{\"rows\": {rows}, \"bytes\": {bytes}, \"seconds\": {seconds}}}");
    Ok(())
}
