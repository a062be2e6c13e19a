//! The table at the end of `ingest`.

use std::fmt::{self, Display, Formatter};

use indicatif::HumanCount as Count;
use pixel_engine::pipeline::Summary;

/// The numbers of a run as people read them.
pub(crate) struct Table<'a>(pub(crate) &'a Summary);

impl Display for Table<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Table(summary) = self;
        write!(
            out,
            "lines     {} in = {} shipped + {} quarantined + {} filtered",
            Count(summary.lines_in),
            Count(summary.lines_shipped),
            Count(summary.lines_quarantined),
            Count(summary.lines_filtered),
        )?;
        if summary.lines_undelivered > 0 {
            write!(out, " + {} NOT DELIVERED", Count(summary.lines_undelivered))?;
        }
        writeln!(out)?;
        for (count, what) in [
            (summary.lines_skipped, "of the filtered were bad lines, skipped"),
            (summary.lines_header, "header lines beside them"),
            (summary.lines_empty, "empty lines beside them"),
        ] {
            if count > 0 {
                writeln!(out, "          {} {what}", Count(count))?;
            }
        }
        writeln!(
            out,
            "records   {} in {} requests, {} B of payload from {} B of log",
            Count(summary.records),
            Count(summary.requests),
            Count(summary.payload_bytes),
            Count(summary.bytes_in),
        )?;
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
        write!(
            out,
            "time      {:.2} s, {:.0} MB/s, {} lines/s, {} threads, scan {}",
            summary.elapsed_seconds,
            summary.megabytes_per_second,
            Count(summary.lines_per_second as u64),
            summary.threads,
            summary.simd,
        )
    }
}
