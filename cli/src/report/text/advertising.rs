//! Advertisements as text.

use std::fmt::{self, Formatter};

use indicatif::HumanCount as Count;
use pixel_engine::report::document::{Advertising, AdvertisingCounts};

use super::{cut, heading};

/// The columns of a placement's name.
const NAME: usize = 58;

pub(super) fn advertising(out: &mut Formatter<'_>, advertising: &Advertising) -> fmt::Result {
    heading(out, "Advertising", "gross = bots + data centres + duplicates + net, by campaign and publisher")?;
    counts(out, "(all)", &advertising.total)?;
    for row in &advertising.rows {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "(none)".to_owned());
        counts(out, &format!("{} at {}", name(&row.campaign), name(&row.publisher)), &row.counts)?;
    }
    let not_shown = &advertising.not_shown;
    if not_shown.placements > 0 {
        counts(out, &format!("({} others)", Count(not_shown.placements)), &not_shown.counts)?;
    }
    if advertising.other.steps().iter().any(|(_, firings)| firings.gross > 0) {
        counts(out, "(other)", &advertising.other)?;
    }
    for definition in &advertising.definitions {
        writeln!(out, "  {}: {}", definition.name, definition.definition)?;
    }
    let ids = &advertising.ids;
    writeln!(
        out,
        "  ids: {} of at most {} are kept, {} found no room",
        Count(ids.kept),
        Count(ids.max),
        Count(ids.forgotten)
    )?;
    for note in &advertising.notes {
        writeln!(out, "  note: {note}")?;
    }
    Ok(())
}

fn counts(out: &mut Formatter<'_>, name: &str, counts: &AdvertisingCounts) -> fmt::Result {
    writeln!(
        out,
        "  {}\n    {:12} {:>13} {:>13} {:>13} {:>13} {:>13}",
        cut(name, NAME),
        "",
        "gross",
        "bots",
        "data centres",
        "duplicates",
        "net"
    )?;
    for (step, firings) in counts.steps() {
        writeln!(
            out,
            "    {step:12} {:>13} {:>13} {:>13} {:>13} {:>13}",
            Count(firings.gross).to_string(),
            Count(firings.bots).to_string(),
            Count(firings.data_centres).to_string(),
            Count(firings.duplicates).to_string(),
            Count(firings.net).to_string()
        )?;
    }
    let rate = |percent: Option<f64>| percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.2} %"));
    writeln!(
        out,
        "    viewable {}, clicked {}, converted {} of the clicks",
        rate(counts.viewable_percent),
        rate(counts.click_percent),
        rate(counts.conversion_percent)
    )
}
