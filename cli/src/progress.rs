//! The progress bar of long work: on a terminal only.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use pixel_engine::deliver::DrainProgress;
use pixel_engine::lake::compact;
use pixel_engine::progress::Progress;

const OF_BYTES: &str = "{wide_bar} {percent:>3}%  {decimal_bytes} of {decimal_total_bytes}  {msg}  {eta} left";

/// Does the work of a run, and shows how far it is as long as it goes on. `total` is the size of
/// all inputs on disk.
pub(crate) fn of_run<T>(progress: &Progress, total: Option<u64>, quiet: bool, work: impl FnOnce() -> T) -> T {
    let bar = || match total {
        Some(total) => ProgressBar::new(total).with_style(style(OF_BYTES)),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {decimal_bytes}  {msg}")),
    };
    let update = |bar: &ProgressBar, seconds: f64| {
        let lines = progress.lines_in.get() as f64 / seconds;
        let megabytes = progress.bytes_in.get() as f64 / 1e6 / seconds;
        bar.set_message(format!("{} lines/s  {megabytes:.0} MB/s", HumanCount(lines as u64)));
        bar.set_position(progress.bytes_read.load(Ordering::Relaxed));
    };
    shown(bar, update, quiet, work)
}

/// Does the work of sending a spool with that many batches and bytes, and shows how far it is.
pub(crate) fn of_drain<T>(
    progress: &DrainProgress,
    batches: u64,
    bytes: u64,
    quiet: bool,
    work: impl FnOnce() -> T,
) -> T {
    let bar = || ProgressBar::new(bytes).with_style(style(OF_BYTES));
    let update = |bar: &ProgressBar, seconds: f64| {
        let done = progress.bytes.load(Ordering::Relaxed);
        let count = HumanCount(progress.batches.load(Ordering::Relaxed));
        let megabytes = done as f64 / 1e6 / seconds;
        bar.set_message(format!("{count} of {} batches  {megabytes:.0} MB/s", HumanCount(batches)));
        bar.set_position(done);
    };
    shown(bar, update, quiet, work)
}

/// Does the work of a compaction, and shows how far it is.
pub(crate) fn of_compaction<T>(progress: &compact::Progress, quiet: bool, work: impl FnOnce() -> T) -> T {
    let bar = || ProgressBar::new(0).with_style(style(OF_BYTES));
    let update = |bar: &ProgressBar, seconds: f64| {
        let done = progress.bytes_done.load(Ordering::Relaxed);
        let folders = HumanCount(progress.folders_done.load(Ordering::Relaxed));
        bar.set_message(format!("{folders} folders  {:.0} MB/s", done as f64 / 1e6 / seconds));
        bar.set_length(progress.bytes_total.load(Ordering::Relaxed));
        bar.set_position(done);
    };
    shown(bar, update, quiet, work)
}

fn shown<T>(
    bar: impl FnOnce() -> ProgressBar,
    update: impl Fn(&ProgressBar, f64) + Send,
    quiet: bool,
    work: impl FnOnce() -> T,
) -> T {
    if quiet || !io::stderr().is_terminal() {
        return work();
    }
    let bar = bar();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&bar, update, &done));
        let result = work();
        done.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        result
    })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is right")
}

fn watch(bar: &ProgressBar, update: impl Fn(&ProgressBar, f64), done: &AtomicBool) {
    let begun = Instant::now();
    while !done.load(Ordering::Relaxed) {
        update(bar, begun.elapsed().as_secs_f64().max(1e-3));
        thread::park_timeout(Duration::from_millis(100));
    }
    bar.finish_and_clear();
}
