//! The table at the end of `ingest`.

use std::fmt::{self, Display, Formatter};

use indicatif::HumanCount as Count;
use pixel_engine::run::Summary;
use pixel_engine::sink::statistics::Shipping;

/// What became of the lines of a run, as a sum.
pub(crate) struct LinesSum<'a>(pub(crate) &'a Summary);

impl Display for LinesSum<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let LinesSum(summary) = self;
        write!(
            out,
            "{} shipped + {} quarantined + {} filtered",
            Count(summary.lines_shipped),
            Count(summary.lines_quarantined),
            Count(summary.lines_filtered),
        )?;
        if summary.lines_spooled > 0 {
            write!(out, " + {} IN THE SPOOL", Count(summary.lines_spooled))?;
        }
        if summary.lines_undelivered > 0 {
            write!(out, " + {} NOT DELIVERED", Count(summary.lines_undelivered))?;
        }
        Ok(())
    }
}

/// The numbers of a run as people read them.
pub(crate) struct Table<'a>(pub(crate) &'a Summary);

impl Display for Table<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Table(summary) = self;
        writeln!(out, "lines     {} in = {}", Count(summary.lines_in), LinesSum(summary))?;
        for (count, what) in [(summary.lines_duplicate, "as duplicates"), (summary.lines_skipped, "skipped as bad")] {
            if count > 0 {
                writeln!(out, "          {} of the filtered {what}", counted(count, "line"))?;
            }
        }
        for (count, what) in [(summary.lines_header, "header line"), (summary.lines_empty, "empty line")] {
            if count > 0 {
                writeln!(out, "          {} beside them", counted(count, what))?;
            }
        }
        let payload = summary.files.map_or(summary.payload_bytes, |files| files.bytes);
        let of = if summary.files.is_some() { "files" } else { "payload" };
        writeln!(out, "bytes     {} of log, {} of {of}", Count(summary.bytes_in), Count(payload))?;
        match summary.files {
            Some(files) => {
                let (count, groups) = (counted(files.files, "file"), counted(files.row_groups, "row group"));
                let ratio = summary.bytes_in as f64 / files.bytes.max(1) as f64;
                writeln!(out, "files     {count}, {groups}, {ratio:.1} bytes of log to a byte")?;
            }
            None => writeln!(out, "records   {} in {}", Count(summary.records), counted(summary.requests, "request"))?,
        }
        if let Some(encodings) = &summary.query_encoding {
            writeln!(
                out,
                "queries   encoded once in {}, twice in {}, undecided in {}",
                counted(encodings.inputs_once, "input"),
                Count(encodings.inputs_twice),
                Count(encodings.inputs_undecided),
            )?;
        }
        if let Some(shipping) = &summary.shipping {
            write!(out, "{}", ShippingTable(shipping))?;
        }
        if summary.files.is_none() {
            write!(out, "{}", BilledTable(summary))?;
        }
        write!(
            out,
            "time      {:.2} s, {:.0} MB/s, {} lines/s, {}, scan {}",
            summary.elapsed_seconds,
            summary.megabytes_per_second,
            Count(summary.lines_per_second as u64),
            counted(summary.threads as u64, "thread"),
            summary.simd,
        )
    }
}

/// What the records are billed, and what they would be as single lines.
struct BilledTable<'a>(&'a Summary);

impl Display for BilledTable<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let BilledTable(summary) = self;
        writeln!(out, "billed bytes                  packed     one line a record       ratio")?;
        for (name, packed, unpacked) in [
            ("Firehose", summary.billed_bytes_firehose, summary.billed_bytes_unpacked),
            (
                "Kinesis provisioned",
                summary.billed_bytes_kinesis_provisioned,
                summary.billed_bytes_kinesis_provisioned_unpacked,
            ),
            (
                "Kinesis on-demand",
                summary.billed_bytes_kinesis_on_demand,
                summary.billed_bytes_kinesis_on_demand_unpacked,
            ),
        ] {
            let ratio = if packed == 0 { "-".to_owned() } else { format!("{:.1}", unpacked as f64 / packed as f64) };
            let (packed, unpacked) = (Count(packed).to_string(), Count(unpacked).to_string());
            writeln!(out, "  {name:<19} {packed:>18} {unpacked:>21} {ratio:>11}")?;
        }
        Ok(())
    }
}

/// How shipping went.
pub(crate) struct ShippingTable<'a>(pub(crate) &'a Shipping);

impl Display for ShippingTable<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let ShippingTable(shipping) = self;
        writeln!(
            out,
            "shipping  {}, {} of them retries, {}; {} B sent",
            counted(shipping.requests, "request"),
            Count(shipping.requests_retried),
            counted(shipping.throttles, "throttle"),
            Count(shipping.bytes_sent),
        )?;
        if shipping.objects > 0 {
            writeln!(out, "          {}, {}", counted(shipping.objects, "object"), counted(shipping.parts, "part"))?;
        }
        writeln!(
            out,
            "latency   p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            shipping.latency_p50_ms, shipping.latency_p99_ms, shipping.latency_max_ms
        )?;
        for (failed, what) in [(&shipping.requests_failed, "request"), (&shipping.records_failed, "record")] {
            for (code, &count) in failed {
                writeln!(out, "          {} failed: {code}", counted(count, what))?;
            }
        }
        for (count, what) in [
            (shipping.records_spooled, "kept in the spool"),
            (shipping.records_possibly_duplicated, "sent again that may have arrived before: duplicates are possible"),
            (shipping.records_in_other_shard, "in another shard than expected: the stream was resharded"),
        ] {
            if count > 0 {
                writeln!(out, "          {} {what}", counted(count, "record"))?;
            }
        }
        Ok(())
    }
}

/// `1 request`, `2 requests`.
fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", Count(count), if count == 1 { "" } else { "s" })
}
