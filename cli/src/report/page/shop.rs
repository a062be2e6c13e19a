//! A shop: carts that were left, who left by the front page, and what products bring.

use indicatif::HumanCount as Count;
use maud::{Markup, html};
use pixel_engine::report::document::{Product, ProductCounts, Revenue, Shop};
use pixel_engine_html::{Align, Card, Table, cards};

use super::tables::named;
use super::{counted, definition, definitions, notes};

/// A name in the table, and what was counted under it.
type Named<'a> = (Markup, &'a ProductCounts);

pub(super) fn shop<'a>(shop: &'a Shop, top: usize) -> Markup {
    let (shown, more) = shop.products.split_at(top.min(shop.products.len()));
    let name = |name: &Option<String>| match name {
        Some(name) => html! { (name) },
        None => html! { em { "none" } },
    };
    let row = |of: &'a Product| -> Named<'a> { (name(&of.product), &of.counts) };
    let (mut first, mut rest): (Vec<Named>, Vec<Named>) =
        (shown.iter().map(row).collect(), more.iter().map(row).collect());
    // What has no row of its own comes behind all that have one.
    let last = if rest.is_empty() { &mut first } else { &mut rest };
    last.extend(sums(shop));
    html! {
        p {
            "Without bots: " (counted(shop.total.bots, "event of theirs is", "events of theirs are"))
            " in no number. Never scaled."
        }
        (cards(figures(shop)))
        h3 { "Products" }
        p.note {
            (definition(&shop.definitions, "products"))
            " The most orders first; the bar shows them."
        }
        (products("Products", Some(&shop.total), &first))
        @if !rest.is_empty() {
            details {
                summary { "The others: " (more.len()) " more" }
                (products("Other products", None, &rest))
            }
        }
        (definitions(&shop.definitions, &["abandoned_carts", "front_page_exits", "products", "revenue"]))
        (notes(&shop.notes))
    }
}

fn figures(shop: &Shop) -> Vec<Card> {
    let error = |percent: f64| if percent > 0.0 { format!(" ± {percent:.2} %") } else { String::new() };
    let card = |name: &str, figure: String, note: Markup| Card { name: name.to_owned(), figure, note };
    let define = |name: &str| definition(&shop.definitions, name);
    let mut cards = Vec::new();
    if let Some(carts) = &shop.abandoned_carts {
        let note = html! {
            (Count(carts.abandoned)) (error(carts.error_percent)) " of " (counted(carts.visitors, "visitor", "visitors")) ". "
            (define("abandoned_carts"))
        };
        cards.push(card("Abandoned carts", format!("{:.1} %", carts.percent), note));
    }
    let exits = &shop.front_page_exits;
    let note = html! {
        (Count(exits.exits)) (error(exits.error_percent)) " of " (counted(exits.sessions, "session", "sessions"))
        @if !exits.knows_all_pages { ", at least: not all pages could be kept" }
        ". " (define("front_page_exits"))
    };
    cards.push(card("Front-page exits", format!("{:.1} %", exits.percent), note));
    let sums = amounts(&shop.total);
    let figure = if sums.is_empty() { "none".to_owned() } else { sums.join(", ") };
    let note = html! { "From " (counted(shop.total.paid, "order", "orders")) ". " (define("revenue")) };
    cards.push(card("Revenue", figure, note));
    cards
}

/// `12.90 EUR` for each currency.
fn amounts(counts: &ProductCounts) -> Vec<String> {
    let amount = |revenue: &Revenue| match &revenue.currency {
        Some(currency) => format!("{} {currency}", revenue.amount),
        None => revenue.amount.clone(),
    };
    counts.revenue.iter().map(amount).collect()
}

/// What has no row of its own.
fn sums(shop: &Shop) -> Vec<Named<'_>> {
    let mut sums = Vec::new();
    if shop.products_not_shown > 0 {
        sums.push((html! { em { (Count(shop.products_not_shown)) " others" } }, &shop.not_shown));
    }
    if shop.other != ProductCounts::default() {
        sums.push((html! { em { "other" } }, &shop.other));
    }
    sums
}

fn products(name: &str, total: Option<&ProductCounts>, rows: &[Named]) -> Table {
    let table = Table::new(name).column("product", Align::Name).numbers(["views", "carts", "checkouts", "paid"]);
    let mut table = table.column("revenue", Align::Total);
    let most = rows.iter().map(|(_, counts)| counts.paid).max().unwrap_or(0);
    if let Some(total) = total {
        table.push_row(row(html! { "all products" }, total));
        table.begin_group();
    }
    for (name, counts) in rows {
        table.push_row(row(named(name, counts.paid, 0, most), counts));
    }
    table
}

fn row(name: Markup, counts: &ProductCounts) -> [Markup; 6] {
    let count = |count: u64| html! { (Count(count)) };
    let [views, carts, checkouts, paid] = [counts.views, counts.carts, counts.checkouts, counts.paid].map(count);
    [name, views, carts, checkouts, paid, html! { @for amount in amounts(counts) { div { (amount) } } }]
}
