//! Rows of figures, their tables, and the files in `benches/results`.
//!
//! The JSON file of a machine and day is what is kept; the Markdown file beside it is written anew
//! from it. A stage that runs again replaces its own rows.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::{self, Machine};
use crate::{EVERY_PATH, is_quick};

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// So many times the rival, at least.
    Times(f64),
    /// The figure itself, at least.
    AtLeast(f64),
    /// The figure itself, at most.
    AtMost(f64),
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Times(times) => write!(formatter, ">= {times}x"),
            Target::AtLeast(value) => write!(formatter, ">= {value}"),
            Target::AtMost(value) => write!(formatter, "<= {value}"),
        }
    }
}

/// One line of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The data and the work.
    pub what: String,
    /// The instruction set, or the variant of ours.
    pub path: String,
    /// What the figures are.
    pub unit: String,
    /// Our figure; of speeds, the best round's.
    pub ours: f64,
    /// Who is compared.
    pub rival: Option<String>,
    /// His figure.
    pub rival_value: Option<f64>,
    /// Of speeds, ours by the rival's.
    pub ratio: Option<f64>,
    /// The median over the rounds of the ratio in each.
    pub median_ratio: Option<f64>,
    /// What is to be reached.
    pub target: Option<Target>,
    /// Whether what was checked held.
    pub correct: bool,
    /// What was compared with the rival's output, or with the input.
    pub checked: String,
}

impl Row {
    /// A figure of a whole process, and that of a rival's.
    pub fn of(
        what: &str,
        unit: &str,
        ours: f64,
        rival: Option<(&str, f64)>,
        target: Option<Target>,
        checked: String,
    ) -> Row {
        Row {
            what: what.to_owned(),
            path: EVERY_PATH.to_owned(),
            unit: unit.to_owned(),
            ours,
            rival: rival.map(|rival| rival.0.to_owned()),
            rival_value: rival.map(|rival| rival.1),
            ratio: rival.map(|rival| ours / rival.1),
            median_ratio: None,
            target,
            correct: true,
            checked,
        }
    }

    /// Whether the target is reached, if there is one. What is wrong reaches nothing.
    pub fn reached(&self) -> Option<bool> {
        let holds = match self.target? {
            Target::Times(times) => self.ratio.is_some_and(|ratio| ratio >= times),
            Target::AtLeast(least) => self.ours >= least,
            Target::AtMost(most) => self.ours <= most,
        };
        Some(holds && self.correct)
    }

    fn cells(&self) -> [String; 9] {
        const INCORRECT: &str = "N/A = incorrect";
        let figure = |value: f64| match self.unit.as_str() {
            "billed/payload" => format!("{value:.4}"),
            "of the quota" | "of that without failures" | "of tries rejected" => format!("{value:.3} {}", self.unit),
            "MB" => format!("{value:.0} MB"),
            "GB/s" => format!("{value:.2}"),
            unit => format!("{value:.2} {unit}"),
        };
        let ratio = match (self.ratio, self.median_ratio) {
            (Some(ratio), Some(median)) => format!("{ratio:.2}x ({median:.2})"),
            (Some(ratio), None) => format!("{ratio:.2}x"),
            _ => String::new(),
        };
        [
            self.what.clone(),
            self.path.clone(),
            if self.correct { figure(self.ours) } else { INCORRECT.to_owned() },
            self.rival.clone().unwrap_or_default(),
            self.rival_value.map(figure).unwrap_or_default(),
            if self.correct { ratio } else { INCORRECT.to_owned() },
            self.target.map(|target| target.to_string()).unwrap_or_default(),
            self.reached().map_or("", |reached| if reached { "yes" } else { "NO" }).to_owned(),
            format!("{}{}", self.checked, if self.correct { "" } else { ": NO" }),
        ]
    }
}

const HEADER: [&str; 9] = ["what", "path", "ours", "rival", "rival's", "ratio (median)", "target", "reached", "same"];

/// The rows of one stage, of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StageResults {
    /// What the data is, and what is compared.
    pub(crate) about: String,
    pub(crate) time: String,
    /// At the stage's start: much above 0 and the machine was not quiet.
    pub(crate) load_average: Option<f64>,
    /// A smoke test: the figures mean little.
    pub(crate) quick: bool,
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
}

impl StageResults {
    pub(crate) fn new(about: &str) -> StageResults {
        StageResults {
            about: about.to_owned(),
            time: machine::now(),
            load_average: machine::load_average(),
            quick: is_quick(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The table for a terminal.
    pub(crate) fn to_text(&self, name: &str) -> String {
        let cells: Vec<[String; 9]> = self.rows.iter().map(Row::cells).collect();
        let widths: [usize; 9] = std::array::from_fn(|column| {
            cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(HEADER[column].len())
        });
        let line = |row: &[String; 9]| {
            let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut lines = vec![format!("{name}: {}", self.about), line(&HEADER.map(str::to_owned))];
        lines.extend(cells.iter().map(line));
        lines.extend(self.notes.iter().map(|note| format!("  {note}")));
        if self.quick {
            lines.push("  a quick run: the figures mean little".to_owned());
        }
        lines.join("\n")
    }

    fn to_markdown(&self, name: &str) -> String {
        let mut text = format!("## {name}\n\n{}\n\n", self.about);
        let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        text += &row(&HEADER.map(str::to_owned));
        text += &row(&HEADER.map(|_| "---".to_owned()));
        self.rows.iter().for_each(|cells| text += &row(&cells.cells().map(|cell| cell.replace('|', "\\|"))));
        text.push('\n');
        self.notes.iter().for_each(|note| text += &format!("- {note}\n"));
        let quick = if self.quick { " **Quick run: the figures mean little.**" } else { "" };
        let load = self.load_average.map_or_else(|| "unknown".to_owned(), |load| load.to_string());
        text + &format!("- Run at {}, load average before it {load}.{quick}\n", self.time)
    }
}

/// What a file in `benches/results` holds.
#[derive(Serialize, Deserialize)]
struct Record {
    machine: Machine,
    stages: BTreeMap<String, StageResults>,
}

impl Record {
    fn to_markdown(&self) -> String {
        let Machine { cpu, cores, kernel, rustc, commit, paths, chosen, versions } = &self.machine;
        let mut text = format!(
            "# {cpu}\n\n\
             | | |\n|---|---|\n\
             | CPU | {cpu}, {cores} cores |\n\
             | kernel | {kernel} |\n\
             | compiler | {rustc} |\n\
             | commit | {commit} |\n\
             | paths | {} (chosen: {chosen}) |\n\
             | rivals | {} |\n\n",
            paths.join(", "),
            versions.join(", "),
        );
        text += "Speeds are GB/s, 10^9 bytes of input a second, of the best round; the ratio is that of the best \
                 rounds, and in brackets the median of the ratios round by round. `same` says what of the output was \
                 compared with the rival's; a row where it differs counts for nothing. How this is measured: \
                 [README](../README.md).\n";
        for (name, stage) in &self.stages {
            let _ = write!(text, "\n{}", stage.to_markdown(name));
        }
        text
    }
}

/// `benches/results`.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

/// Adds the stage to the record of this machine and day; the Markdown file's path.
pub(crate) fn record(name: &str, results: StageResults) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    let machine = Machine::this()?;
    let stem = format!("{}-{}", machine.slug(), machine::today());
    let json = folder.join(format!("{stem}.json"));
    let mut stages = match fs::read(&json) {
        Ok(bytes) => serde_json::from_slice::<Record>(&bytes)?.stages,
        Err(_) => BTreeMap::new(),
    };
    stages.insert(name.to_owned(), results);
    let record = Record { machine, stages };
    fs::write(&json, serde_json::to_string_pretty(&record)? + "\n")?;
    let markdown = json.with_extension("md");
    fs::write(&markdown, record.to_markdown())?;
    Ok(markdown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(target: Option<Target>, correct: bool) -> Row {
        Row {
            what: "lines".to_owned(),
            path: "avx2".to_owned(),
            unit: "GB/s".to_owned(),
            ours: 12.0,
            rival: Some("other".to_owned()),
            rival_value: Some(4.0),
            ratio: Some(3.0),
            median_ratio: Some(2.9),
            target,
            correct,
            checked: "bytes".to_owned(),
        }
    }

    #[test]
    fn targets_are_judged_by_ratio_or_figure_and_only_when_correct() {
        let reached = |target, correct| row(Some(target), correct).reached();
        assert_eq!(reached(Target::Times(3.0), true), Some(true));
        assert_eq!(reached(Target::Times(3.1), true), Some(false));
        assert_eq!(reached(Target::AtLeast(12.0), true), Some(true));
        assert_eq!(reached(Target::AtMost(11.9), true), Some(false));
        assert_eq!(reached(Target::Times(3.0), false), Some(false));
        assert_eq!(row(None, true).reached(), None);
    }

    #[test]
    fn tables_show_every_column() {
        let mut results = StageResults::new("some data");
        results.rows = vec![row(Some(Target::Times(3.0)), true), row(None, false)];
        let text = results.to_text("scan");
        assert!(text.contains("lines  avx2  12.00            other  4.00     3.00x (2.90)"), "{text}");
        assert!(text.contains("N/A = incorrect"));
        assert!(results.to_markdown("scan").contains("| lines | avx2 | 12.00 | other | 4.00 | 3.00x (2.90) | >= 3x |"));
    }
}
