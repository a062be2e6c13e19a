//! Beacons by the day on which they were read, so that what a process keeps does not grow with its
//! age.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use pixel_engine_core::observe::Observer;
use pixel_engine_core::progress::Progress;
use pixel_engine_log::line::Line;
use pixel_engine_report::document::Period;
use pixel_engine_report::{Beacons, Document, Lines, State, Tally};

use crate::config::ReportConfig;

/// An observer that counts the lines of each day by themselves, and forgets the oldest day when there
/// are too many.
///
/// A day begins when it does in the report's time zone, and a line is of the day on which it was read:
/// its own time may be anything, and none may push others out.
pub(super) struct Days {
    config: ReportConfig,
    progress: Arc<Progress>,
    /// When the latest day ends, in seconds since 1970.
    end: AtomicI64,
    /// The latest one comes last; there is always one.
    days: Mutex<VecDeque<Day>>,
}

/// What is counted of a day.
struct Day {
    begin: Timestamp,
    beacons: Arc<Beacons>,
    /// Lines of which nothing is counted, before this day.
    before: LeftOut,
}

/// Lines of a pipeline, since it began, that no observer sees.
#[derive(Clone, Copy)]
struct LeftOut {
    filtered: u64,
    duplicates: u64,
    bad: u64,
}

/// What one thread has counted, all of it of one day.
#[derive(Default)]
pub(super) struct DayTally {
    of: Option<Arc<Beacons>>,
    tally: Tally,
}

impl Days {
    pub(super) fn new(config: ReportConfig, progress: Arc<Progress>, now: Timestamp) -> Days {
        let days = Days { config, progress, end: AtomicI64::new(0), days: Mutex::default() };
        days.turn(now);
        days
    }

    pub(super) fn config(&self) -> &ReportConfig {
        &self.config
    }

    /// Begins a new day if it is time to; whether it did.
    pub(super) fn turn(&self, now: Timestamp) -> bool {
        if !self.is_over(now) {
            return false;
        }
        let mut days = self.days();
        if !self.is_over(now) {
            return false;
        }
        let zone = &self.config.view.zone;
        // Days of which nothing was read count, too: what is older than the days that are kept goes. So
        // does what a clock counted that was far ahead.
        let oldest = begin_of_day(now, zone, self.config.days.get() - 1);
        days.retain(|day| (oldest..=now).contains(&day.begin));
        let beacons = Beacons::new(self.config.definitions.clone(), Arc::clone(&self.config.agents));
        days.push_back(Day { begin: now, beacons: Arc::new(beacons), before: LeftOut::of(&self.progress) });
        self.end.store(end_of_day(now, zone).as_second(), Ordering::Release);
        true
    }

    /// Whether the latest day is over, or has not come: somebody has set the clock back.
    fn is_over(&self, now: Timestamp) -> bool {
        const TWO_DAYS: i64 = 2 * 24 * 60 * 60;
        let end = self.end.load(Ordering::Acquire);
        now.as_second() >= end || now.as_second() < end - TWO_DAYS
    }

    /// The report of all days that are kept, without what threads have not poured out.
    pub(super) fn document(&self, now: Timestamp) -> Document {
        let (begin, before, beacons) = {
            let days = self.days();
            let first = days.front().expect("there is always a day");
            (first.begin, first.before, days.iter().map(|day| Arc::clone(&day.beacons)).collect::<Vec<_>>())
        };
        let mut states = beacons.iter().map(|beacons| beacons.snapshot(Tally::default()));
        let first: State = states.next().expect("there is always a day");
        let state = states.fold(first, |mut state, day| {
            state.merge(day).expect("all days are counted by the same definitions");
            state
        });
        let (counted, left_out) = (state.lines_counted(), LeftOut::of(&self.progress).since(before));
        let lines = Lines {
            lines_in: counted + left_out.filtered + left_out.bad,
            counted,
            filtered: left_out.filtered,
            duplicates: left_out.duplicates,
            bad: left_out.bad,
            ..Lines::default()
        };
        let view = &self.config.view;
        let period = Period::new(begin, now, u64::from(self.config.days.get()), &view.zone);
        Document { period: Some(period), ..Document::new(&state.with_lines(lines), &self.config.agents, view) }
    }

    /// Those of today.
    fn latest(&self) -> Arc<Beacons> {
        Arc::clone(&self.days().back().expect("there is always a day").beacons)
    }

    fn days(&self) -> MutexGuard<'_, VecDeque<Day>> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Days {
    type Tally = DayTally;

    fn observe(&self, line: &Line<'_>, text: &[u8], tally: &mut DayTally) {
        tally.of.get_or_insert_with(|| self.latest()).observe(line, text, &mut tally.tally);
    }

    fn end_block(&self, tally: &mut DayTally) {
        let Some(beacons) = &tally.of else { return };
        beacons.end_block(&mut tally.tally);
        if !Arc::ptr_eq(beacons, &self.latest()) {
            // Its day is over, and it must not keep it.
            self.merge(&mut DayTally::default(), std::mem::take(tally));
        }
    }

    fn merge(&self, _into: &mut DayTally, from: DayTally) {
        if let Some(beacons) = &from.of {
            beacons.merge(&mut Tally::default(), from.tally);
        }
    }
}

impl LeftOut {
    fn of(progress: &Progress) -> LeftOut {
        let Progress { lines_filtered, lines_duplicate, lines_quarantined, .. } = progress;
        LeftOut { filtered: lines_filtered.get(), duplicates: lines_duplicate.get(), bad: lines_quarantined.get() }
    }

    fn since(self, before: LeftOut) -> LeftOut {
        LeftOut {
            filtered: self.filtered - before.filtered,
            duplicates: self.duplicates - before.duplicates,
            bad: self.bad - before.bad,
        }
    }
}

/// When the day began so many days before that of `now`.
fn begin_of_day(now: Timestamp, zone: &TimeZone, days_before: u8) -> Timestamp {
    let now = now.to_zoned_datetime(zone.clone());
    let day = now.checked_sub(i64::from(days_before).days()).and_then(|day| day.start_of_day());
    day.map_or(Timestamp::MIN, |day| day.timestamp())
}

/// When the day ends that `now` is in.
fn end_of_day(now: Timestamp, zone: &TimeZone) -> Timestamp {
    let day = now.to_zoned_datetime(zone.clone()).tomorrow().and_then(|day| day.start_of_day());
    day.map_or(Timestamp::MAX, |day| day.timestamp())
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use pixel_engine_core::config::Settings;
    use pixel_engine_core::observe::Observed;
    use pixel_engine_core::quarantine::Quarantine;
    use pixel_engine_core::run::Run;
    use pixel_engine_core::sink::null::Null;
    use pixel_engine_core::source::{Closed, Feed, Source};

    use super::*;
    use crate::config::FileConfig;

    const TEXT: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n[pipeline.a]\nsource = { type = \"stdin\" }\n\
                        [pipeline.a.report]\ntime_zone = \"Europe/Zurich\"\n";

    /// Beacons of visitors of these numbers.
    struct Visits(std::ops::Range<u32>);

    impl Source for Visits {
        fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
            let mut inlet = feed.open("visits");
            for visitor in self.0 {
                inlet.push(format!("1767600000.5\t203.0.113.1\tMozilla/5.0%20(X11)\te=view&uid={visitor}\n"))?;
            }
            inlet.push("no line\n")?;
            inlet.end()?;
            Ok(())
        }
    }

    fn days(now: &str) -> Arc<Observed<Days>> {
        let config = FileConfig::parse("run.toml", TEXT, []).unwrap().pipelines.remove(0).report.unwrap();
        Arc::new(Observed::new(Days::new(config, Arc::default(), time(now))))
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn read(days: &Arc<Observed<Days>>, visitors: std::ops::Range<u32>) {
        let settings = Settings { matches: vec!["query.uid=*[0-8]".to_owned()], ..Settings::default() };
        let config = settings.validate().unwrap();
        let (mut sink, mut quarantine) = (Null::new(config.api()), Quarantine::new("/dev/null"));
        Run::new(&config)
            .source(Visits(visitors))
            .observer(Arc::clone(days) as _)
            .progress(Arc::clone(&days.observer().progress))
            .to(&mut sink, &mut quarantine);
    }

    fn document(days: &Observed<Days>, now: &str) -> Document {
        days.observer().turn(time(now));
        drop(days.take());
        days.observer().document(time(now))
    }

    /// Beacons, visitors, and lines in, filtered and bad.
    fn numbers(document: &Document) -> [u64; 5] {
        let Lines { lines_in, filtered, bad, .. } = document.lines;
        [document.beacons.beacons, document.visitors.people, lines_in, filtered, bad]
    }

    fn kept(days: &Observed<Days>) -> Vec<Weak<Beacons>> {
        days.observer().days().iter().map(|day| Arc::downgrade(&day.beacons)).collect()
    }

    #[test]
    fn the_day_before_is_kept_and_no_more() {
        let days = days("2026-11-29T10:00:00Z");
        read(&days, 0..10);
        assert_eq!(numbers(&document(&days, "2026-11-29T22:59:59Z")), [9, 9, 11, 1, 1]);
        // Midnight in Zurich.
        let both = document(&days, "2026-11-29T23:00:00Z");
        assert_eq!(numbers(&both), [9, 9, 11, 1, 1]);
        let period = both.period.unwrap();
        assert_eq!((&*period.begin, &*period.end), ("2026-11-29T11:00:00+01:00", "2026-11-30T00:00:00+01:00"));
        assert_eq!(period.definition, "lines that were read today and the day before, by days of Europe/Zurich");
        // Half of them are visitors of the day before, too.
        read(&days, 5..15);
        assert_eq!(numbers(&document(&days, "2026-11-30T10:00:00Z")), [18, 14, 22, 2, 2]);
        let first = kept(&days)[0].clone();
        let last = document(&days, "2026-11-30T23:00:00Z");
        assert_eq!(numbers(&last), [9, 9, 11, 1, 1]);
        assert_eq!(last.period.unwrap().begin, "2026-11-30T00:00:00+01:00");
        assert!(first.upgrade().is_none(), "the first day takes no memory");
        assert_eq!(numbers(&document(&days, "2027-03-01T00:00:00Z")), [0; 5]);
        assert_eq!(kept(&days).len(), 1);
    }

    #[test]
    fn a_day_on_which_nobody_looks_ends_all_the_same() {
        let days = days("2026-01-01T00:00:00Z");
        for day in 0..100 {
            days.observer().turn(time("2026-01-01T00:00:00Z") + (24 * day).hours());
            // What the threads of the last day hold is handed over by the first block of the next.
            read(&days, 0..10);
            assert!(kept(&days).len() <= 2);
        }
        let first = kept(&days)[0].clone();
        days.observer().turn(time("2026-06-01T00:00:00Z"));
        drop(days.take());
        assert!(first.upgrade().is_none() && kept(&days).len() == 1);
    }

    #[test]
    fn a_block_that_goes_on_after_midnight_is_of_its_day() {
        let days = days("2026-11-29T22:59:59Z");
        let observer = days.observer();
        let mut tally = DayTally { of: Some(observer.latest()), ..DayTally::default() };
        let first = Arc::downgrade(&observer.latest());
        observer.turn(time("2026-11-29T23:00:00Z"));
        observer.end_block(&mut tally);
        assert!(tally.of.is_none(), "it is handed over");
        observer.turn(time("2026-12-02T00:00:00Z"));
        assert!(first.upgrade().is_none());
    }

    #[test]
    fn a_clock_that_was_ahead_stops_nothing() {
        let days = days("2026-11-29T10:00:00Z");
        read(&days, 0..10);
        assert_eq!(numbers(&document(&days, "2031-01-01T00:00:00Z")), [0; 5]);
        assert_eq!(numbers(&document(&days, "2026-11-29T11:00:00Z")), [0; 5], "the clock is right again");
        read(&days, 0..10);
        assert_eq!(document(&days, "2026-11-30T11:00:00Z").beacons.beacons, 9);
        assert_eq!(document(&days, "2026-12-01T11:00:00Z").beacons.beacons, 0);
        // A second back, as clocks are corrected, changes nothing.
        read(&days, 0..10);
        assert_eq!(document(&days, "2026-12-01T10:59:59Z").beacons.beacons, 9);
        assert_eq!(kept(&days).len(), 2);
    }
}
