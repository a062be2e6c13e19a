//! The report as one document: what `--json` writes, and what every other view shows.
//!
//! Its shape has a version, [`VERSION`]: fields may be added under the same one; when a field goes
//! or changes its meaning, the version does too. Counts of beacons are scaled when the log is a
//! sample of the requests; every number that is an estimate has its error beside it.

mod abnormal;
mod advertising;
mod blog;
mod period;
mod reconcile;
mod series;
mod shop;
mod tables;
mod visitors;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

pub use abnormal::{Abnormal, Event, Rule};
pub use advertising::{Advertising, AdvertisingCounts, AdvertisingRow, AdvertisingSum, Definition, Firings, IdWindow};
pub use blog::{Blog, Share, Shares};
pub use period::Period;
pub use reconcile::{Compared, ComparedHour, Reconciled};
pub use series::{Moment, Series};
pub use shop::{AbandonedCarts, FrontPageExits, Product, ProductCounts, Revenue, Shop};
pub use tables::{Row, Table};
pub use visitors::{FunnelReport, FunnelStep, Sessions, Visitors};

use crate::agent_reader::AgentReader;
use crate::latency;
use crate::settings::Defined;
use crate::state::{Lines, State};
use crate::top::Counts;

/// The version of the document's shape.
pub const VERSION: u32 = 1;

/// How a state is shown; none of it changes what was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The time zone of hours and days.
    pub zone: TimeZone,
    /// The most rows of a table.
    pub top: usize,
    /// The most recent events that are shown, at most 20.
    pub recent: usize,
    /// Whether to say what a blog wants to know.
    pub blog: bool,
}

impl Default for View {
    fn default() -> View {
        View { zone: TimeZone::UTC, top: 20, recent: 10, blog: false }
    }
}

/// The report.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// Always `pixel-engine report`.
    pub schema: &'static str,
    /// See [`VERSION`].
    pub version: u32,
    /// What became of the lines that were read; first, as everything rests on it.
    pub lines: Lines,
    /// When these lines were read, in a report that goes on with its pipeline; none in one of inputs
    /// that have an end.
    pub period: Option<Period>,
    /// What was counted.
    pub settings: Defined,
    /// The time zone of hours and days.
    pub time_zone: String,
    /// What counts of beacons were multiplied by, as the log holds only a part of the requests; 1
    /// for a log of all of them. Visitors, sessions and funnels cannot be scaled and are not.
    pub scale: f64,
    /// The times of the first and the last beacon, RFC 3339 in the time zone.
    pub first: Option<String>,
    /// The time of the last beacon.
    pub last: Option<String>,
    /// How many beacons.
    pub beacons: Beacons,
    /// Beacons and visitors by hour, gaps as zero; no rows for a log of more than 400 days.
    pub by_hour: Series,
    /// Beacons and visitors by day, gaps as zero.
    pub by_day: Series,
    /// Different visitors.
    pub visitors: Visitors,
    /// What they did without a longer pause.
    pub sessions: Sessions,
    /// The steps that visitors were asked to be followed along.
    pub funnel: Option<FunnelReport>,
    /// How often each name came: events, pages, referrers, browsers, countries and so on.
    pub tables: Vec<Table>,
    /// How long answers took.
    pub latency: Vec<Latency>,
    /// What is abnormal.
    pub abnormal: Abnormal,
    /// The latest events by their time, the latest first.
    pub recent: Vec<Event>,
    /// Advertisements, if they were counted.
    pub advertising: Option<Advertising>,
    /// What a standard log has and this log has not, if there was one.
    pub reconciled: Option<Reconciled>,
    /// What a blog wants to know, if it was asked for.
    pub blog: Option<Blog>,
    /// What a shop wants to know, if it was counted.
    pub shop: Option<Shop>,
}

/// A number of beacons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Beacons {
    /// All of them.
    pub beacons: u64,
    /// Those that known bots sent.
    pub bots: u64,
    /// Bytes of log.
    pub log_bytes: u64,
    /// Bytes sent to viewers, headers included.
    pub sc_bytes: u64,
    /// Bytes received from viewers.
    pub cs_bytes: u64,
}

/// How long something took, in milliseconds; percentiles are right to 0.1 %.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// The field.
    pub name: &'static str,
    /// What it measures.
    pub definition: &'static str,
    /// Beacons that have it.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// Half took no longer.
    pub p50: u64,
    /// Nine of ten took no longer.
    pub p90: u64,
    /// 95 of 100 took no longer.
    pub p95: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// 999 of 1,000 took no longer.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Document {
    /// The report of what was counted.
    pub fn new(state: &State, agents: &AgentReader, view: &View) -> Document {
        let scale = Scale(100.0 / state.defined.sampling);
        let totals = &state.totals;
        let time = |millis: i64| rfc3339(millis, &view.zone);
        let all = scale.counts(totals.beacons);
        let names = visitors::PageNames::of(state);
        let by_hour = series::by_hour(state, view, scale);
        let funnel = visitors::funnel(state, &names);
        Document {
            schema: "pixel-engine report",
            version: VERSION,
            lines: state.lines.clone(),
            period: None,
            settings: state.defined.clone(),
            time_zone: zone_name(&view.zone),
            scale: scale.0,
            first: totals.first.map(time),
            last: totals.last.map(time),
            beacons: Beacons {
                beacons: all.all,
                bots: all.bots,
                log_bytes: totals.line_bytes,
                sc_bytes: scale.count(totals.sc_bytes),
                cs_bytes: scale.count(totals.cs_bytes),
            },
            by_day: series::by_day(state, view, scale),
            visitors: visitors::visitors(state),
            sessions: visitors::sessions(state, &names, view),
            tables: tables::tables(state, agents, view, scale),
            latency: vec![
                latency(
                    "time-taken",
                    "from the last byte of the request to the last byte of the answer, as the edge measures it",
                    &state.time_taken,
                ),
                latency(
                    "time-to-first-byte",
                    "from the request to the first byte of the answer",
                    &state.time_to_first_byte,
                ),
            ],
            abnormal: abnormal::abnormal(state, &by_hour, view, scale),
            recent: state.recent.latest_first().take(view.recent).map(|event| Event::of(event, &view.zone)).collect(),
            advertising: advertising::advertising(state, view),
            reconciled: reconcile::reconciled(state, view),
            blog: view.blog.then(|| blog::blog(state, agents, view, scale)),
            shop: shop::shop(state, funnel.as_ref(), view),
            funnel,
            by_hour,
        }
    }

    /// The table of that name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

fn latency(name: &'static str, definition: &'static str, latency: &latency::Latency) -> Latency {
    let count = latency.count();
    Latency {
        name,
        definition,
        count,
        mean: if count == 0 { 0.0 } else { latency.sum() as f64 / count as f64 },
        p50: latency.quantile(0.5),
        p90: latency.quantile(0.9),
        p95: latency.quantile(0.95),
        p99: latency.quantile(0.99),
        p999: latency.quantile(0.999),
        max: latency.max(),
    }
}

/// What counts are multiplied by.
#[derive(Clone, Copy)]
struct Scale(f64);

impl Scale {
    fn count(self, count: u64) -> u64 {
        // A log of all requests keeps its numbers to the last digit.
        if self.0 == 1.0 { count } else { (count as f64 * self.0).round() as u64 }
    }

    fn counts(self, counts: Counts) -> Counts {
        Counts { all: self.count(counts.all), bots: self.count(counts.bots) }
    }
}

fn rfc3339(millis: i64, zone: &TimeZone) -> String {
    let Ok(time) = Timestamp::from_millisecond(millis) else { return String::new() };
    let format = if millis % 1_000 == 0 { "%Y-%m-%dT%H:%M:%S%:z" } else { "%Y-%m-%dT%H:%M:%S%.3f%:z" };
    time.to_zoned_datetime(zone.clone()).strftime(format).to_string()
}

fn zone_name(zone: &TimeZone) -> String {
    match zone.iana_name() {
        Some(name) => name.to_owned(),
        None => zone.to_fixed_offset().map_or_else(|_| "of this machine".to_owned(), |offset| offset.to_string()),
    }
}

/// A part of all, in percent.
fn percent(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 * 100.0 / all as f64 }
}
