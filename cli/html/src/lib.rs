//! Pages with charts and tables: one file, no script, nothing from a network.
//!
//! A page follows the reader's system into light or dark, fits a phone, prints, and says in text
//! what its charts show: every chart has a name and, unless a table beside it has the same numbers,
//! a table of its own below it.
//!
//! - [`Page`] is the frame: the document with its style sheet.
//! - [`Table`] and [`facts`] are text in columns, [`cards`] are figures that stand out, and
//!   [`side_by_side`] sets what is narrow in two columns where there is room. [`contents`] leads to
//!   the headings of a long page.
//! - [`chart`] draws [`Bars`](chart::Bars), [`Columns`](chart::Columns), [`Curves`](chart::Curves)
//!   and a [`Histogram`](chart::Histogram) as inline SVG.
//!
//! The pages themselves are written with [`maud::html`], which escapes all text.
//!
//! ```
//! use maud::html;
//! use pixel_engine_html::{Align, Page, Table};
//!
//! let mut table = Table::new("Shards").column("design", Align::Text).numbers(["shards"]);
//! table.push_row([html! { "1a" }, html! { (20) }]);
//! let body = html! { h2 { "Shards" } (table) };
//! let page = Page { title: "Shards & more".to_owned(), body, footer: html! {} };
//! assert!(page.into_string().contains("<title>Shards &amp; more</title>"));
//! ```

pub mod chart;
mod table;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use table::{Align, Table, measured};

/// The style sheet of every page.
pub const STYLE: &str = include_str!("page.css");

/// A whole document.
pub struct Page {
    /// What the browser shows above the page.
    pub title: String,
    /// Everything but the footer.
    pub body: Markup,
    /// What stands below it in small print.
    pub footer: Markup,
}

impl Page {
    /// The text of the file.
    pub fn into_string(self) -> String {
        let Page { title, body, footer } = self;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main { (body) }
                    footer { (footer) }
                }
            }
        };
        page.into_string() + "\n"
    }
}

/// Names with what there is to say of each, below each other.
pub fn facts(facts: impl IntoIterator<Item = (String, String)>) -> Markup {
    html! {
        dl {
            @for (name, fact) in facts {
                dt { (name) }
                dd { (fact) }
            }
        }
    }
}

/// Links to the headings of a page, each of which has the [`anchor`] of its title as its id.
pub fn contents<'a>(titles: impl IntoIterator<Item = &'a str>) -> Markup {
    html! {
        nav aria-label="Contents" {
            @for title in titles { a href={ "#" (anchor(title)) } { (title) } }
        }
    }
}

/// A title as an id: `Where to go` is `where-to-go`.
pub fn anchor(title: &str) -> String {
    title.to_lowercase().split_whitespace().collect::<Vec<&str>>().join("-")
}

/// A figure that a page is read for.
pub struct Card {
    /// What it is a number of.
    pub name: String,
    /// The number.
    pub figure: String,
    /// How it was found, and how far it may be off.
    pub note: Markup,
}

/// Figures in large print, each in a frame.
pub fn cards(cards: impl IntoIterator<Item = Card>) -> Markup {
    html! {
        dl.cards {
            @for Card { name, figure, note } in cards {
                div {
                    dt { (name) }
                    dd.figure { (figure) }
                    dd.note { (note) }
                }
            }
        }
    }
}

/// Narrow parts of a page in two columns, or below each other where there is no room.
pub fn side_by_side(parts: impl IntoIterator<Item = Markup>) -> Markup {
    html! {
        div.side-by-side { @for part in parts { section { (part) } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_lead_to_anchors() {
        let links = contents(["Over time", "Bots"]).into_string();
        assert!(links.contains("<a href=\"#over-time\">Over time</a><a href=\"#bots\">Bots</a>"), "{links}");
        assert_eq!(anchor("Over time"), "over-time");
    }

    #[test]
    fn a_card_is_a_term_with_its_figure_and_its_note() {
        let card = |name: &str| Card { name: name.to_owned(), figure: "1,234".to_owned(), note: html! { "± 1 %" } };
        assert_eq!(
            cards([card("a & b")]).into_string(),
            "<dl class=\"cards\"><div><dt>a &amp; b</dt><dd class=\"figure\">1,234</dd>\
             <dd class=\"note\">± 1 %</dd></div></dl>"
        );
    }

    #[test]
    fn a_page_needs_nothing_else_and_escapes_its_text() {
        let page = Page {
            title: "<lines> & \"more\"".to_owned(),
            body: facts([("a<b".to_owned(), "c&d".to_owned())]),
            footer: html! { "e>f" },
        };
        let page = page.into_string();
        for absent in ["http", "<script", "<link", "<img", "@import", "url(", "<lines>"] {
            assert!(!page.contains(absent), "{absent}");
        }
        for part in
            ["<!DOCTYPE html>", "&lt;lines&gt; &amp; ", "<dt>a&lt;b</dt><dd>c&amp;d</dd>", "e&gt;f", "</html>\n"]
        {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
    }
}
