//! What a shop wants to know as text.

use std::fmt::{self, Formatter};

use indicatif::HumanCount as Count;
use pixel_engine::report::document::{ProductCounts, Shop};

use super::{NAME, cut, heading};

pub(super) fn shop(out: &mut Formatter<'_>, shop: &Shop) -> fmt::Result {
    heading(out, "Shop", "without bots; definitions below")?;
    let error = |percent: f64| if percent > 0.0 { format!(" ± {percent:.2} %") } else { String::new() };
    if let Some(carts) = &shop.abandoned_carts {
        writeln!(
            out,
            "  abandoned carts   {}{} of {} ({:.1} %)",
            Count(carts.abandoned),
            error(carts.error_percent),
            Count(carts.visitors),
            carts.percent
        )?;
    }
    let exits = &shop.front_page_exits;
    writeln!(
        out,
        "  front-page exits  {}{} of {} sessions ({:.1} %){}",
        Count(exits.exits),
        error(exits.error_percent),
        Count(exits.sessions),
        exits.percent,
        if exits.knows_all_pages { "" } else { ", at least: not all pages could be kept" }
    )?;
    writeln!(out, "  {:NAME$} {:>11} {:>9} {:>9} {:>9}  revenue", "", "views", "carts", "checkouts", "paid")?;
    counts(out, "(all products)", &shop.total)?;
    for product in &shop.products {
        counts(out, product.product.as_deref().unwrap_or("(none)"), &product.counts)?;
    }
    if shop.products_not_shown > 0 {
        counts(out, &format!("({} others)", Count(shop.products_not_shown)), &shop.not_shown)?;
    }
    if shop.other != ProductCounts::default() {
        counts(out, "(other)", &shop.other)?;
    }
    for definition in &shop.definitions {
        writeln!(out, "  {}: {}", definition.name, definition.definition)?;
    }
    for note in &shop.notes {
        writeln!(out, "  note: {note}")?;
    }
    Ok(())
}

fn counts(out: &mut Formatter<'_>, name: &str, counts: &ProductCounts) -> fmt::Result {
    let revenue = counts.revenue.iter().map(|revenue| match &revenue.currency {
        Some(currency) => format!("{} {currency}", revenue.amount),
        None => revenue.amount.clone(),
    });
    writeln!(
        out,
        "  {:NAME$} {:>11} {:>9} {:>9} {:>9}  {}",
        cut(name, NAME),
        Count(counts.views).to_string(),
        Count(counts.carts).to_string(),
        Count(counts.checkouts).to_string(),
        Count(counts.paid).to_string(),
        revenue.collect::<Vec<_>>().join(", ")
    )
}
