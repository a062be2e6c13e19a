//! Two logs of the same requests as text.

use std::fmt::{self, Formatter};

use indicatif::HumanCount as Count;
use pixel_engine::report::document::{Compared, Reconciled};

use super::{heading, sum, unread};

/// So many hours are listed: those that miss most lines.
const MAX_HOURS: usize = 48;

pub(super) fn reconciled(out: &mut Formatter<'_>, reconciled: &Reconciled) -> fmt::Result {
    heading(out, "Reconciled", &reconciled.definition)?;
    writeln!(out, "  {}", reconciled.summary)?;
    if !reconciled.is_exact {
        writeln!(out, "  not all ids could be kept: numbers of ids are estimates from one of {}", reconciled.one_in)?;
    }
    writeln!(out, "  standard log: {}", sum(&reconciled.standard_log))?;
    unread(out, &reconciled.standard_log)?;
    writeln!(
        out,
        "  {:16} {:>13} {:>13} {:>13} {:>13} {:>13} {:>9}",
        "", "standard", "real-time", "in both", "only standard", "only real-t.", "missing"
    )?;
    compared(out, "(all hours)", &reconciled.total)?;
    let mut hours: Vec<_> = reconciled.by_hour.iter().collect();
    if hours.len() > MAX_HOURS {
        hours.sort_by_key(|hour| std::cmp::Reverse(hour.compared.only_standard));
        hours.truncate(MAX_HOURS);
        hours.sort_by_key(|hour| hour.begin_seconds);
    }
    for hour in &hours {
        compared(out, &hour.begin.get(..16).unwrap_or_default().replace('T', " "), &hour.compared)?;
    }
    if hours.len() < reconciled.by_hour.len() {
        writeln!(out, "  of {} hours these miss most; all are in --json", Count(reconciled.by_hour.len() as u64))?;
    }
    let total = &reconciled.total;
    writeln!(
        out,
        "  without an id: {} standard, {} real-time; outside of these hours: {} standard, {} real-time",
        Count(total.standard_without_id),
        Count(total.real_time_without_id),
        Count(reconciled.standard_lines_outside),
        Count(reconciled.real_time_lines_outside)
    )?;
    if let (Some(standard), Some(real_time)) = (reconciled.standard_doubled, reconciled.real_time_doubled) {
        writeln!(out, "  lines that came twice: {} standard, {} real-time", Count(standard), Count(real_time))?;
    }
    for note in &reconciled.notes {
        writeln!(out, "  note: {note}")?;
    }
    Ok(())
}

fn compared(out: &mut Formatter<'_>, name: &str, compared: &Compared) -> fmt::Result {
    writeln!(
        out,
        "  {name:16} {:>13} {:>13} {:>13} {:>13} {:>13} {:>7.3} %",
        Count(compared.standard_lines).to_string(),
        Count(compared.real_time_lines).to_string(),
        Count(compared.both).to_string(),
        Count(compared.only_standard).to_string(),
        Count(compared.only_real_time).to_string(),
        compared.missing_percent
    )
}
