//! Counts of instructions, and their comparison with committed ones.
//!
//! Another compiler writes other instructions, and a machine with other instruction sets takes
//! other paths through the libraries. With either, the comparison is shown and fails nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// A count may be more than the committed one by this part of it.
const TOLERANCE: f64 = 0.03;

/// The counts of an architecture, and what they depend on beside the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The compiler.
    pub rustc: String,
    /// The valgrind.
    pub valgrind: String,
    /// The paths that valgrind offers, slowest first.
    pub paths: Vec<String>,
    /// By kernel and path.
    pub instructions: BTreeMap<String, u64>,
}

impl Counts {
    fn taken_with(&self) -> String {
        format!("{}, {}, {}", self.rustc, self.valgrind, self.paths.join(" and "))
    }
}

/// New counts beside the committed ones of the same architecture.
#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    committed: Option<&'a Counts>,
    now: &'a Counts,
}

/// How a count stands to the committed one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    /// By a part of the committed count that is tolerated.
    Within(f64),
    More(f64),
    Fewer(f64),
    /// Not committed yet.
    New,
    /// Committed, and not counted any more.
    Gone,
}

impl Change {
    fn of(committed: Option<u64>, now: Option<u64>) -> Change {
        match (committed, now) {
            (None, _) => Change::New,
            (_, None) => Change::Gone,
            (Some(committed), Some(now)) => match (now as f64 - committed as f64) / committed as f64 {
                part if part > TOLERANCE => Change::More(part),
                part if part < -TOLERANCE => Change::Fewer(part),
                part => Change::Within(part),
            },
        }
    }

    /// What is new or gone is not watched, so it counts like what got slower.
    fn is_failure(self) -> bool {
        matches!(self, Change::More(_) | Change::New | Change::Gone)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Within(part) => write!(formatter, "{:+.2} %", part * 100.0),
            Change::More(part) => write!(formatter, "{:+.2} %  MORE", part * 100.0),
            Change::Fewer(part) => write!(formatter, "{:+.2} %  fewer: --save keeps it so", part * 100.0),
            Change::New => formatter.write_str("NOT SAVED YET"),
            Change::Gone => formatter.write_str("NOT COUNTED ANY MORE"),
        }
    }
}

impl Comparison<'_> {
    /// Of the counts of now with those that were committed, if any were.
    pub fn new<'a>(committed: Option<&'a Counts>, now: &'a Counts) -> Comparison<'a> {
        Comparison { committed, now }
    }

    /// Whether the code has got slower, or a kernel is not watched.
    pub fn has_failed(&self) -> bool {
        self.is_conclusive() && self.rows().iter().any(|(.., change)| change.is_failure())
    }

    /// Whether a difference comes from the code that was compiled.
    fn is_conclusive(&self) -> bool {
        self.committed
            .is_some_and(|committed| (&committed.rustc, &committed.paths) == (&self.now.rustc, &self.now.paths))
    }

    /// Name, count of now, committed count.
    fn rows(&self) -> Vec<(&str, Option<u64>, Option<u64>, Change)> {
        let committed = self.committed.map(|committed| &committed.instructions);
        let names: BTreeSet<&String> =
            committed.into_iter().chain([&self.now.instructions]).flat_map(BTreeMap::keys).collect();
        names
            .into_iter()
            .map(|name| {
                let before = committed.and_then(|committed| committed.get(name).copied());
                let now = self.now.instructions.get(name).copied();
                (name.as_str(), now, before, Change::of(before, now))
            })
            .collect()
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        writeln!(formatter, "{:<14}  {:>12}  {:>12}  change", "kernel, path", "instructions", "committed")?;
        for (name, now, committed, change) in self.rows() {
            writeln!(formatter, "{name:<14}  {:>12}  {:>12}  {change}", number(now), number(committed))?;
        }
        if !self.is_conclusive() {
            let committed = self.committed.map_or_else(|| "none for this architecture".to_owned(), Counts::taken_with);
            write!(
                formatter,
                "\n  WARNING: the committed counts are of another compiler or machine, so this proves nothing.\n  \
                 committed: {committed}\n  here:      {}\n",
                self.now.taken_with()
            )?;
        }
        if self.has_failed() {
            write!(
                formatter,
                "\n  FAILED: over {:.0} % more instructions than committed, or a kernel that is not watched.\n  \
                 If that is wanted: cargo bench -p pixel-engine-kernels -- --save; say in the commit why.\n",
                TOLERANCE * 100.0
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: &[(&str, u64)]) -> Counts {
        Counts {
            rustc: "rustc 1".to_owned(),
            valgrind: "valgrind-3".to_owned(),
            paths: vec!["memchr".to_owned()],
            instructions: instructions.iter().map(|&(name, count)| (name.to_owned(), count)).collect(),
        }
    }

    fn has_failed(now: &Counts) -> bool {
        Comparison::new(Some(&counts(&[("json", 1_000)])), now).has_failed()
    }

    #[test]
    fn over_three_percent_more_fails_and_fewer_does_not() {
        for (count, failed) in [(1_000, false), (1_030, false), (1_031, true), (969, false), (1, false)] {
            assert_eq!(has_failed(&counts(&[("json", count)])), failed, "{count}");
        }
    }

    #[test]
    fn fewer_instructions_are_told() {
        let (before, now) = (counts(&[("json", 1_000)]), counts(&[("json", 969)]));
        assert!(Comparison::new(Some(&before), &now).to_string().contains("-3.10 %  fewer"));
    }

    #[test]
    fn what_is_not_watched_fails() {
        assert!(has_failed(&counts(&[])));
        assert!(has_failed(&counts(&[("json", 1_000), ("scan", 1)])));
    }

    #[test]
    fn another_compiler_or_machine_fails_nothing_and_says_so() {
        let slower = counts(&[("json", 2_000)]);
        assert!(has_failed(&slower));
        let others = [
            Counts { rustc: "rustc 2".to_owned(), ..slower.clone() },
            Counts { paths: vec!["memchr".to_owned(), "avx2".to_owned()], ..slower.clone() },
        ];
        let before = counts(&[("json", 1_000)]);
        for now in &others {
            let comparison = Comparison::new(Some(&before), now);
            assert!(!comparison.has_failed());
            assert!(comparison.to_string().contains("WARNING"));
        }
        let comparison = Comparison::new(None, &slower);
        assert!(!comparison.has_failed() && comparison.to_string().contains("none for this architecture"));
        // Another valgrind counts the same instructions.
        assert!(has_failed(&Counts { valgrind: "valgrind-4".to_owned(), ..slower.clone() }));
    }
}
