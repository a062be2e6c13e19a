//! What the figures were taken on.

use std::fs;
use std::io;
use std::thread;

use jiff::Timestamp;
use pixel_engine::simd::Isa;
use pixel_engine_kernels::{rustc, said_by};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The machine and the versions of everything that was compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) commit: String,
    pub(crate) paths: Vec<String>,
    pub(crate) chosen: String,
    pub(crate) versions: Vec<String>,
}

const RIVALS: [&str; 12] = [
    "criterion",
    "csv",
    "flate2",
    "form_urlencoded",
    "libdeflate-sys",
    "md-5",
    "memchr",
    "percent-encoding",
    "serde_json",
    "simd-csv",
    "zlib-rs",
    "zstd-sys",
];

/// CPU time of this process so far, all threads, in seconds.
pub fn cpu_seconds() -> f64 {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9
}

impl Machine {
    pub(crate) fn this() -> io::Result<Machine> {
        Ok(Machine {
            cpu: cpu(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cores: thread::available_parallelism()?.get(),
            kernel: said_by("uname", &["-sr"]),
            rustc: rustc(),
            commit: said_by("git", &["describe", "--always", "--dirty"]),
            paths: Isa::available().map(|isa| isa.to_string()).collect(),
            chosen: Isa::chosen().to_string(),
            versions: RIVALS.iter().filter_map(|name| version(name)).collect(),
        })
    }

    /// The CPU as part of a file's name.
    pub(crate) fn slug(&self) -> String {
        let words: Vec<String> = self
            .cpu
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        words.join("-")
    }
}

/// Virtual machines hide the model's name, so the numbers of family and model are given too.
fn cpu(info: &str) -> String {
    let value = |key: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
        Some(line.split_once(':')?.1.trim())
    };
    match (value("model name"), value("cpu family"), value("model")) {
        (Some(name), Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        (Some(name), ..) => name.to_owned(),
        _ => match (value("CPU implementer"), value("CPU part")) {
            (Some(implementer), Some(part)) => {
                format!("{} implementer {implementer} part {part}", std::env::consts::ARCH)
            }
            _ => std::env::consts::ARCH.to_owned(),
        },
    }
}

/// `name version`, as Cargo.lock has it.
fn version(name: &str) -> Option<String> {
    let lock = include_str!("../../Cargo.lock");
    let (_, entry) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(format!("{name} {}", entry.split('"').next()?))
}

/// The first of the three load averages, where the system tells.
pub(crate) fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

pub(crate) fn today() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}

pub(crate) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_has_a_name() {
        let info = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\ncpu family\t: 25\n";
        assert_eq!(cpu(info), "AMD EPYC (family 25, model 17)");
        assert_eq!(cpu(""), std::env::consts::ARCH);
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(RIVALS.iter().all(|name| version(name).is_some()));
        assert_eq!(version("no-such-crate"), None);
    }

    #[test]
    fn a_slug_is_a_file_name() {
        let machine = Machine { cpu: "AMD EPYC (family 25, model 17)".to_owned(), ..Machine::this().unwrap() };
        assert_eq!(machine.slug(), "amd-epyc-family-25-model-17");
    }
}
