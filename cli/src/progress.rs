//! The progress bar of long work: on a terminal only.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use pixel_engine::run::Progress;

/// Does the work, and shows how far it is as long as it goes on. `total` is the size of all inputs
/// on disk.
pub(crate) fn shown<T>(progress: &Progress, total: Option<u64>, quiet: bool, work: impl FnOnce() -> T) -> T {
    if quiet || !io::stderr().is_terminal() {
        return work();
    }
    let bar = match total {
        Some(total) => ProgressBar::new(total)
            .with_style(style("{wide_bar} {percent:>3}%  {decimal_bytes} of {decimal_total_bytes}  {msg}  {eta} left")),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {decimal_bytes}  {msg}")),
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(progress, &bar, &done));
        let result = work();
        done.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        result
    })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is right")
}

fn watch(progress: &Progress, bar: &ProgressBar, done: &AtomicBool) {
    let begun = Instant::now();
    while !done.load(Ordering::Relaxed) {
        let seconds = begun.elapsed().as_secs_f64().max(1e-3);
        let lines = progress.lines_in.load(Ordering::Relaxed) as f64 / seconds;
        let megabytes = progress.bytes_in.load(Ordering::Relaxed) as f64 / 1e6 / seconds;
        bar.set_message(format!("{} lines/s  {megabytes:.0} MB/s", HumanCount(lines as u64)));
        bar.set_position(progress.bytes_read.load(Ordering::Relaxed));
        thread::park_timeout(Duration::from_millis(100));
    }
    bar.finish_and_clear();
}
