//! Tells systemd how the pipelines are, where it wants to know: `NOTIFY_SOCKET` names its socket.

use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::watch::{State, Watches};

const INTERVAL: Duration = Duration::from_millis(100);

/// Says `READY=1` once every pipeline has begun, and `WATCHDOG=1` twice in each interval of the
/// watchdog unless a pipeline is stuck. Returns only where nobody wants to know more: it is meant for
/// a thread that ends with the program.
pub fn tell(watches: &Watches) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled().map(|interval| interval / 2);
    let (mut is_ready, mut fed_at) = (false, Instant::now());
    while !is_ready || watchdog.is_some() {
        let pipelines = watches.all();
        if !is_ready && pipelines.iter().all(|watch| matches!(watch.state(), State::Running | State::Ended)) {
            is_ready = true;
            say(NotifyState::Ready);
        }
        if watchdog.is_some_and(|interval| fed_at.elapsed() >= interval) {
            fed_at = Instant::now();
            match pipelines.iter().find(|watch| watch.is_stuck()) {
                Some(stuck) => tracing::error!("pipeline {}: it is stuck, as the watchdog is told", stuck.name),
                None => say(NotifyState::Watchdog),
            }
        }
        thread::sleep(INTERVAL);
    }
}

/// Says `STOPPING=1`.
pub fn stopping() {
    say(NotifyState::Stopping);
}

fn say(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("NOTIFY_SOCKET: {error}");
    }
}
