//! Keeps what is said again and again from filling the log: the first of a kind stands at once, then
//! one line an interval says how many more there were.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Between two lines of a kind.
const INTERVAL: Duration = Duration::from_secs(10);
/// Between two looks at which lines are due.
const TICK: Duration = Duration::from_secs(1);
/// More kinds than that are not told apart: memory stays bounded, and all of them are written.
const MAX_KINDS: usize = 1_000;
/// The target of the lines that say how many more there were.
const TARGET: &str = "pixel_engine::repeats";

/// Warnings and errors that were written lately, by kind. Two of the same place in the program are
/// of one kind when they differ only in words with digits: counts, ids, times.
#[derive(Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<HashMap<(Identifier, String), Kind>>>);

struct Kind {
    level: Level,
    written_at: Instant,
    more: u64,
    /// The last of them.
    message: String,
}

impl Repeats {
    /// Writes what is due from here on, on a thread of its own.
    pub(super) fn start(&self) {
        let repeats = self.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(TICK);
                repeats.write_due(Instant::now());
            }
        });
    }

    /// Writes what has not been written yet.
    pub(super) fn finish(&self) {
        self.write_due(Instant::now() + INTERVAL);
    }

    fn write_due(&self, now: Instant) {
        for Kind { level, more, message, .. } in self.take_due(now) {
            match level {
                Level::ERROR => tracing::error!(target: TARGET, more, "{more} more like this: {message}"),
                _ => tracing::warn!(target: TARGET, more, "{more} more like this: {message}"),
            }
        }
    }

    fn take_due(&self, now: Instant) -> Vec<Kind> {
        let mut due = Vec::new();
        self.lock().retain(|_, kind| {
            if now.saturating_duration_since(kind.written_at) < INTERVAL {
                return true;
            }
            let Kind { level, more, ref mut message, .. } = *kind;
            if more > 0 {
                due.push(Kind { level, written_at: now, more, message: std::mem::take(message) });
                (kind.written_at, kind.more) = (now, 0);
            }
            more > 0
        });
        due
    }

    /// Whether to write it now.
    fn admit(&self, place: Identifier, level: Level, message: String, now: Instant) -> bool {
        let mut kinds = self.lock();
        let has_room = kinds.len() < MAX_KINDS;
        match kinds.get_mut(&(place.clone(), without_digits(&message))) {
            Some(kind) => {
                kind.more += 1;
                kind.message = message;
                false
            }
            None => {
                if has_room {
                    let key = (place, without_digits(&message));
                    kinds.insert(key, Kind { level, written_at: now, more: 0, message });
                }
                true
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Identifier, String), Kind>> {
        // Every change under the lock is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Who asks for more wants all of it.
        if *metadata.level() > Level::WARN || metadata.target() == TARGET {
            return true;
        }
        let mut message = Message::default();
        event.record(&mut message);
        self.admit(metadata.callsite(), *metadata.level(), message.0, Instant::now())
    }
}

/// The message with what stands beside it.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let gap = if self.0.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "message" => write!(self.0, "{gap}{value:?}"),
            name => write!(self.0, "{gap}{name}={value:?}"),
        };
    }
}

fn without_digits(message: &str) -> String {
    let words = message.split(' ').map(|word| if word.contains(|it: char| it.is_ascii_digit()) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::prelude::*;

    use super::*;

    /// Messages that got through.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> tracing_subscriber::Layer<S> for Written {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut message = Message::default();
            event.record(&mut message);
            self.0.lock().unwrap().push(message.0);
        }
    }

    #[test]
    fn the_first_of_a_kind_stands_at_once_and_the_rest_are_counted() {
        let (repeats, written) = (Repeats::default(), Written::default());
        let subscriber = tracing_subscriber::registry().with(written.clone().with_filter(repeats.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..5 {
                tracing::warn!("a request with {number} records failed: Timeout");
                tracing::info!("all of this: {number}");
            }
            tracing::warn!("a request with 5 records failed: Throttled");
            assert!(repeats.take_due(Instant::now()).is_empty(), "nothing is due yet");
            repeats.finish();
            repeats.finish();
        });
        let written: Vec<String> =
            written.0.lock().unwrap().iter().filter(|it| !it.contains("all of")).cloned().collect();
        assert_eq!(
            written,
            [
                "a request with 0 records failed: Timeout",
                "a request with 5 records failed: Throttled",
                "4 more like this: a request with 4 records failed: Timeout more=4",
            ]
        );
    }

    #[test]
    fn what_stops_is_forgotten() {
        let repeats = Repeats::default();
        let subscriber = tracing_subscriber::registry().with(Written::default().with_filter(repeats.clone()));
        tracing::subscriber::with_default(subscriber, || tracing::error!("once"));
        assert_eq!(repeats.lock().len(), 1);
        assert!(repeats.take_due(Instant::now() + INTERVAL).is_empty());
        assert_eq!(repeats.lock().len(), 0);
    }
}
