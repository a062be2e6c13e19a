//! The report for a terminal.

mod advertising;
mod blog;
mod reconcile;
mod shop;

use std::fmt::{self, Display, Formatter};

use indicatif::HumanCount as Count;
use pixel_engine::report::document::{Abnormal, FunnelReport, Moment, Series, Table};
use pixel_engine::report::{Document, Lines};

/// A document as text of at most some 100 columns.
pub(super) struct Text<'a>(pub(super) &'a Document);

/// The columns of prose.
const COLUMNS: usize = 96;
/// The columns of a name.
const NAME: usize = 44;
/// The columns of the longest bar.
const BAR: usize = 24;
/// So many hours are listed; more are shown by day.
const MAX_HOURS: usize = 48;

impl Display for Text<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Text(report) = self;
        let lines = &report.lines;
        if lines.bad > 0 {
            writeln!(out, "{} of {} lines could not be read:", Count(lines.bad), Count(lines.lines_in))?;
        }
        unread(out, lines)?;
        if lines.bad > 0 || !lines.unread_inputs.is_empty() {
            writeln!(out)?;
        }
        writeln!(out, "lines       {}", sum(lines))?;
        if let (Some(first), Some(last)) = (&report.first, &report.last) {
            writeln!(out, "from        {first}\nto          {last}  ({})", report.time_zone)?;
        }
        let beacons = &report.beacons;
        writeln!(out, "beacons     {}, {} of them from known bots", Count(beacons.beacons), Count(beacons.bots))?;
        if report.scale != 1.0 {
            writeln!(
                out,
                "            scaled by {}: the log holds {} % of the requests; visitors and sessions are not scaled",
                report.scale, report.settings.sampling
            )?;
        }
        let visitors = &report.visitors;
        let error = |percent: f64| if visitors.is_exact { String::new() } else { format!(" ± {percent:.2} %") };
        writeln!(
            out,
            "visitors    {}{}, and {} bots",
            Count(visitors.people),
            error(visitors.error_percent),
            Count(visitors.bots)
        )?;
        let sessions = &report.sessions;
        writeln!(
            out,
            "sessions    {}{}, {:.1} beacons and {:.0} s each; {} of one beacon",
            Count(sessions.sessions),
            error(sessions.error_percent),
            sessions.mean_beacons,
            sessions.mean_seconds,
            Count(sessions.of_one_beacon)
        )?;
        let (hours, days) = (&report.by_hour, &report.by_day);
        if !hours.rows.is_empty() && hours.rows.len() <= MAX_HOURS {
            series(out, "By hour", hours, |moment| moment.begin.get(..16).unwrap_or_default().replace('T', " "))?;
        } else if !days.rows.is_empty() {
            series(out, "By day", days, |moment| moment.begin.get(..10).unwrap_or_default().to_owned())?;
        }
        if let Some(report) = &report.funnel {
            funnel(out, report)?;
        }
        if let Some(report) = &report.advertising {
            advertising::advertising(out, report)?;
        }
        if let Some(report) = &report.reconciled {
            reconcile::reconciled(out, report)?;
        }
        if let Some(report) = &report.blog {
            blog::blog(out, report)?;
        }
        if let Some(report) = &report.shop {
            shop::shop(out, report)?;
        }
        for of_kind in report.tables.iter().filter(|table| !table.rows.is_empty()) {
            table(out, of_kind)?;
        }
        heading(out, "Time", "milliseconds; percentiles to 0.1 %")?;
        writeln!(out, "  {:20} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "mean", "p50", "p90", "p99", "p999", "max")?;
        for latency in &report.latency {
            writeln!(
                out,
                "  {:20} {:>9.1} {:>9} {:>9} {:>9} {:>9} {:>9}",
                latency.name, latency.mean, latency.p50, latency.p90, latency.p99, latency.p999, latency.max
            )?;
        }
        abnormal(out, &report.abnormal)?;
        if !report.recent.is_empty() {
            heading(out, "Recent events", "the latest by their own time")?;
            for event in &report.recent {
                writeln!(
                    out,
                    "  {}  {:10} {:3} {:3} {}",
                    event.time.as_deref().unwrap_or("-"),
                    cut(&event.event, 10),
                    cut(&event.status, 3),
                    cut(&event.country, 3),
                    cut(&event.page, NAME),
                )?;
            }
        }
        Ok(())
    }
}

/// What became of the lines of a log.
fn sum(lines: &Lines) -> String {
    let Lines { lines_in, counted, bad, filtered, .. } = lines;
    let [lines_in, counted, bad, filtered] = [lines_in, counted, bad, filtered].map(|count| Count(*count));
    format!("{lines_in} in = {counted} counted + {bad} bad + {filtered} filtered")
}

/// What could not be read of a log.
fn unread(out: &mut Formatter<'_>, lines: &Lines) -> fmt::Result {
    for (reason, bad) in &lines.bad_by_reason {
        writeln!(out, "  {:>12}  {reason}; the first: {}", Count(bad.count).to_string(), plain(&bad.first))?;
    }
    lines.unread_inputs.iter().try_for_each(|input| writeln!(out, "  not read to its end: {}", plain(input)))
}

fn heading(out: &mut Formatter<'_>, title: &str, definition: &str) -> fmt::Result {
    writeln!(out, "\n{title}")?;
    textwrap::wrap(definition, COLUMNS).iter().try_for_each(|line| writeln!(out, "  {line}"))
}

fn series(out: &mut Formatter<'_>, title: &str, series: &Series, label: impl Fn(&Moment) -> String) -> fmt::Result {
    heading(out, title, &series.definition)?;
    writeln!(out, "  {:16} {:>13} {:>13} {:>13}", "", "beacons", "from bots", "visitors")?;
    let most = series.rows.iter().map(|moment| moment.beacons).max().unwrap_or(0);
    for moment in &series.rows {
        writeln!(
            out,
            "  {:16} {:>13} {:>13} {:>13}  {}",
            label(moment),
            Count(moment.beacons).to_string(),
            Count(moment.bots).to_string(),
            Count(moment.visitors).to_string(),
            bar(moment.beacons, most)
        )?;
    }
    Ok(())
}

fn table(out: &mut Formatter<'_>, table: &Table) -> fmt::Result {
    heading(out, table.title, &table.definition)?;
    // Tables of bots have nothing else, and others none.
    let tells_bots = table.rows.iter().any(|row| row.bots > 0 && row.bots < row.beacons);
    let of_bots = |text: String| if tells_bots { format!(" {text:>13}") } else { String::new() };
    writeln!(out, "  {:NAME$} {:>13}{} {:>6}", "", "beacons", of_bots("from bots".to_owned()), "%")?;
    let most = table.rows.first().map_or(0, |row| row.beacons);
    for row in &table.rows {
        writeln!(
            out,
            "  {:NAME$} {:>13}{} {:>6.1}  {}",
            cut(&row.name, NAME),
            Count(row.beacons).to_string(),
            of_bots(Count(row.bots).to_string()),
            row.percent,
            bar(row.beacons, most)
        )?;
    }
    let others = match table.names {
        Some(names) => format!("({} others)", Count(names - table.rows.len() as u64)),
        None => "(others)".to_owned(),
    };
    for (name, count) in [(&*others, table.others), ("(none)", table.without)] {
        if count > 0 {
            writeln!(out, "  {name:NAME$} {:>13}", Count(count).to_string())?;
        }
    }
    if table.error > 0 {
        writeln!(out, "  not all names could be kept: each count is right to ± {}", Count(table.error))?;
    }
    Ok(())
}

fn funnel(out: &mut Formatter<'_>, funnel: &FunnelReport) -> fmt::Result {
    heading(out, "Funnel", &funnel.definition)?;
    writeln!(
        out,
        "  {:NAME$} {:>13} {:>9} {:>9} {:>9} {:>9}",
        "", "visitors", "of first", "of last", "median s", "left"
    )?;
    for step in &funnel.steps {
        writeln!(
            out,
            "  {:NAME$} {:>13} {:>8.1}% {:>8.1}% {:>9.1} {:>9}",
            cut(&step.step, NAME),
            Count(step.visitors).to_string(),
            step.percent_of_first,
            step.percent_of_previous,
            step.median_seconds,
            Count(step.left).to_string()
        )?;
        for page in &step.left_on {
            writeln!(out, "    left on {:36} {:>13}", cut(&page.page, 36), Count(page.count).to_string())?;
        }
    }
    Ok(())
}

fn abnormal(out: &mut Formatter<'_>, abnormal: &Abnormal) -> fmt::Result {
    heading(out, "Abnormal", "what breaks a rule; rules that nothing breaks are in --json")?;
    for rule in abnormal.rules.iter().filter(|rule| rule.count > 0) {
        let percent = rule.percent.map_or(String::new(), |percent| format!("{percent:.2} %"));
        let about = format!("{}: {}", rule.name, rule.definition);
        for (index, line) in textwrap::wrap(&about, COLUMNS - 24).iter().enumerate() {
            match index {
                0 => writeln!(out, "  {:>13} {percent:>8}  {line}", Count(rule.count).to_string())?,
                _ => writeln!(out, "  {:>22}    {line}", "")?,
            }
        }
        for note in &rule.notes {
            writeln!(out, "  {:>22}    {}", "", plain(note))?;
        }
        if let Some(example) = rule.examples.first() {
            let time = example.time.as_deref().unwrap_or("-");
            let text = format!("{} {} {} {}", example.status, example.page, example.query, example.agent);
            writeln!(out, "  {:>22}    first at {time}: {}", "", cut(&text, 60))?;
        }
    }
    if abnormal.rules.iter().all(|rule| rule.count == 0) {
        writeln!(out, "  nothing")?;
    }
    Ok(())
}

fn bar(count: u64, most: u64) -> String {
    let eighths = if most == 0 { 0 } else { (count as f64 / most as f64 * (BAR * 8) as f64).round() as usize };
    let last = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + last
}

/// Names come from anyone: what would move the cursor or turn the text around is replaced.
pub(super) fn plain(text: &str) -> String {
    let is_plain =
        |letter: char| !letter.is_control() && !matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|letter| if is_plain(letter) { letter } else { '\u{fffd}' }).collect()
}

pub(super) fn cut(text: &str, columns: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= columns {
        return text;
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}
