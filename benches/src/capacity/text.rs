//! The capacity as two tables for a terminal of 110 columns.

use super::{Capacity, Filled, VariantCapacity};

/// In the place of every figure of a variant whose output was wrong.
pub(super) const INCORRECT: &str = "N/A = incorrect";

/// What the columns of the first table mean.
pub(super) fn about_speed(cores: usize) -> [String; 3] {
    [
        "one core: by seconds of CPU time of all threads, with one worker thread. What to multiply by cores."
            .to_owned(),
        "threads: by the clock, with so many workers; reader, packer and writer have threads of their own.".to_owned(),
        format!("x: the speed with {cores} threads by the speed with one."),
    ]
}

/// What the columns of the second table mean.
pub(super) const ABOUT_FILLING: [&str; 5] = [
    "What is in brackets is reached first. Signing, TLS and network are not in here: `ship` measures them.",
    "Kinesis shards: provisioned, 1 MiB/s and 1,000 records/s. One a line: uncompressed, a record for each line.",
    "Lines/s of a shard: how many lines a second fit into one shard; a load by this is the shards it needs.",
    "Firehose quotas: Direct PUT of one stream in a large region, 5 MiB/s, 2,000 requests/s, 500,000 records/s.",
    "kpl has none: Firehose takes aggregates apart when they come from Kinesis, not by Direct PUT.",
];

impl Capacity {
    /// Both tables, with a line for each column's meaning.
    pub fn to_text(&self) -> String {
        let cores = self.machine.cores;
        let mut lines = vec![
            format!("capacity of this machine: {}, {cores} cores", self.machine.cpu),
            self.data.clone(),
            String::new(),
            format!("{:<8}{:^21}{:^21}{:^21}", "", "one core", "1 thread", format!("{cores} threads")),
            format!("{:<8}{}{:>7}   same", "variant", format!("{:>12}{:>9}", "lines/s", "MB/s").repeat(3), "x"),
        ];
        lines.extend(self.variants.iter().map(speed));
        lines.push(String::new());
        lines.extend(about_speed(cores).map(|about| format!("  {about}")));
        lines.extend([
            String::new(),
            "what one core fills".to_owned(),
            format!("{:<8}{:>11}{:^36}{:^22}{:>20}", "", "", "Kinesis shards", "lines/s of a shard", "Firehose quotas"),
            format!(
                "{:<8}{:>11}{:>18}{:>18}{:>11}{:>11}{:>20}   same",
                "variant", "B a record", "one a line", "packed", "one a line", "packed", "packed"
            ),
        ]);
        lines.extend(self.variants.iter().map(filling));
        lines.push(String::new());
        lines.extend(ABOUT_FILLING.map(|about| format!("  {about}")));
        if self.quick {
            lines.push("  A quick run: the figures mean little.".to_owned());
        }
        lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
    }
}

fn speed(variant: &VariantCapacity) -> String {
    let VariantCapacity { name, one_core, by_threads, checked, .. } = variant;
    if !variant.correct {
        return format!("{name:<8}{INCORRECT:>21}{:>49}   {checked}: NO", "");
    }
    let rates = [*one_core, by_threads[0].rate, variant.all_cores().rate];
    let rates =
        rates.map(|rate| format!("{:>12}{:>9}", grouped(rate.lines_per_second), grouped(rate.megabytes_per_second)));
    format!("{name:<8}{}{:>7.2}   {checked}", rates.concat(), variant.all_cores().scaling)
}

fn filling(variant: &VariantCapacity) -> String {
    let VariantCapacity { name, shards_unpacked, shards_packed, firehose_quotas, .. } = variant;
    if !variant.correct {
        return format!("{name:<8}{INCORRECT:>29}{:>60}   NO", "");
    }
    format!(
        "{name:<8}{:>11}{:>18}{:>18}{:>11}{:>11}{:>20}   yes",
        grouped(variant.record_bytes),
        filled(*shards_unpacked),
        filled(*shards_packed),
        grouped(variant.lines_per_shard_unpacked),
        grouped(variant.lines_per_shard_packed),
        firehose_quotas.map_or_else(|| "-".to_owned(), filled),
    )
}

pub(super) fn filled(filled: Filled) -> String {
    format!("{} ({})", grouped(filled.count), filled.limited_by.name())
}

/// Whole, with commas; with one decimal below 100.
pub(super) fn grouped(value: f64) -> String {
    if value < 99.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::capacity;
    use super::*;

    #[test]
    fn figures_are_readable() {
        let cases = [(0.04, "0.0"), (12.34, "12.3"), (99.96, "100"), (999.6, "1,000"), (1_234_567.0, "1,234,567")];
        for (value, text) in cases {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn the_tables_are_narrow_and_hide_what_is_wrong() {
        let text = capacity().to_text();
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
        assert!(text.contains("3,000 (records)") && text.contains("2,861 (bytes)"), "{text}");
        let bad: Vec<&str> = text.lines().filter(|line| line.starts_with("<bad>")).collect();
        assert_eq!(bad.len(), 2);
        assert!(bad.iter().all(|line| line.contains(INCORRECT) && line.ends_with("NO")), "{text}");
    }
}
