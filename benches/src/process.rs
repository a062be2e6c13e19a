//! Whole processes, timed from their start to their end as a user would, with the most memory that
//! each had.

use std::error::Error;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a process took.
pub struct Took {
    /// From its start to its end.
    pub seconds: f64,
    /// The most memory that it was seen to have.
    pub peak_bytes: u64,
    /// What it printed.
    pub output: Vec<u8>,
}

/// Runs a process to its end.
///
/// # Errors
/// It cannot be started, or it fails.
pub fn run(mut command: Command) -> Result<Took, Box<dyn Error>> {
    let begun = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let watching = thread::spawn(move || peak_memory(&status));
    let output = Child::wait_with_output(child)?;
    let seconds = begun.elapsed().as_secs_f64();
    let peak_bytes = watching.join().unwrap_or_default();
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok(Took { seconds, peak_bytes, output: output.stdout })
}

/// The most memory of a process, looked at until it has gone.
fn peak_memory(status: &str) -> u64 {
    let mut peak = 0;
    while let Ok(text) = fs::read_to_string(status) {
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
        let Some(kilobytes) = line.and_then(|number| number.trim().parse::<u64>().ok()) else { break };
        peak = peak.max(1_024 * kilobytes);
        thread::sleep(Duration::from_millis(2));
    }
    peak
}

/// The best of some runs.
///
/// # Errors
/// Those of [`run`].
pub fn best(rounds: usize, command: impl Fn() -> Result<Command, Box<dyn Error>>) -> Result<Took, Box<dyn Error>> {
    let mut best = run(command()?)?;
    for _ in 1..rounds {
        let took = run(command()?)?;
        if took.seconds < best.seconds {
            best = took;
        }
    }
    Ok(best)
}
