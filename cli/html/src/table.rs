//! Tables.

use maud::{Markup, Render, html};

use crate::chart::Fill;

/// How the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Numbers, on the right.
    Number,
    /// Numbers that matter most, on the right and bold.
    Total,
    /// A few words, on the left and in one line.
    Text,
    /// A name of any length, such as an address, on the left; broken anywhere to fit.
    Name,
    /// Sentences, on the left and wrapped.
    Prose,
}

impl Align {
    fn class(self) -> Option<&'static str> {
        match self {
            Align::Number => None,
            Align::Total => Some("total"),
            Align::Text => Some("text"),
            Align::Name => Some("name"),
            Align::Prose => Some("prose"),
        }
    }
}

/// A table with a name, a header and rows. Its first column names the row.
pub struct Table {
    name: String,
    columns: Vec<(String, Align)>,
    rows: Vec<Row>,
    begins_group: bool,
}

struct Row {
    begins_group: bool,
    cells: Vec<Markup>,
}

impl Table {
    /// A table without columns and rows; screen readers say the name, others do not show it.
    pub fn new(name: impl Into<String>) -> Table {
        Table { name: name.into(), columns: Vec::new(), rows: Vec::new(), begins_group: false }
    }

    /// Adds a column.
    pub fn column(mut self, name: impl Into<String>, align: Align) -> Table {
        self.columns.push((name.into(), align));
        self
    }

    /// Adds columns of numbers.
    pub fn numbers<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Table {
        names.into_iter().fold(self, |table, name| table.column(name, Align::Number))
    }

    /// Adds a row, a cell for each column.
    ///
    /// # Panics
    /// When it has more or fewer cells than the table has columns.
    pub fn push_row(&mut self, cells: impl IntoIterator<Item = Markup>) {
        let cells: Vec<Markup> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.columns.len(), "a row of the table {} has a cell for each column", self.name);
        self.rows.push(Row { begins_group: std::mem::take(&mut self.begins_group), cells });
    }

    /// Lets a group begin with the next row: a rule is drawn above it.
    pub fn begin_group(&mut self) {
        self.begins_group = true;
    }
}

impl Render for Table {
    fn render(&self) -> Markup {
        html! {
            // What is wider than the screen scrolls sideways: by touch, mouse or keyboard.
            div.scroll tabindex="0" role="region" aria-label=(self.name) {
                table {
                    caption { (self.name) }
                    @if self.columns.iter().any(|(name, _)| !name.is_empty()) {
                        thead { (self.header()) }
                    }
                    tbody { @for row in &self.rows { (self.row(row)) } }
                }
            }
        }
    }
}

impl Table {
    fn header(&self) -> Markup {
        html! {
            tr { @for (name, align) in &self.columns { th scope="col" class=[align.class()] { (name) } } }
        }
    }

    fn row(&self, row: &Row) -> Markup {
        html! {
            tr class=[row.begins_group.then_some("ruled")] {
                @for (place, (cell, (_, align))) in row.cells.iter().zip(&self.columns).enumerate() {
                    @if place == 0 {
                        th scope="row" class=[align.class()] { (cell) }
                    } @else {
                        td class=[align.class()] { (cell) }
                    }
                }
            }
        }
    }
}

/// A cell with a bar behind its text: parts of the cell's width from 0 to 1, from left to right. The
/// numbers that it shows belong into cells beside it.
pub fn measured(text: impl Render, parts: impl IntoIterator<Item = (Fill, f64)>) -> Markup {
    html! {
        span.measured {
            (text)
            span aria-hidden="true" {
                @for (fill, part) in parts.into_iter().filter(|(_, part)| *part > 0.0) {
                    i class=(fill.class()) style={ "width:" (format!("{:.1}", part.min(1.0) * 100.0)) "%" } {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::Colour;

    #[test]
    fn a_bar_lies_behind_a_name() {
        let parts = [(Colour::Blue, 0.25), (Colour::Bad, 0.0), (Colour::Grey, 7.0)];
        let cell = measured("a < b", parts.map(|(colour, part)| (colour.into(), part))).into_string();
        let bars = "<i class=\"c1\" style=\"width:25.0%\"></i><i class=\"c5\" style=\"width:100.0%\"></i>";
        assert_eq!(cell, format!("<span class=\"measured\">a &lt; b<span aria-hidden=\"true\">{bars}</span></span>"));
    }

    #[test]
    fn rows_are_named_by_their_first_cell() {
        let mut table =
            Table::new("<costs>").column("design", Align::Text).numbers(["a & b"]).column("all", Align::Total);
        table.push_row([html! { "1a" }, html! { (1) }, html! { (2) }]);
        table.begin_group();
        table.push_row([html! { "2a" }, html! { (3) }, html! { (4) }]);
        let text = table.render().into_string();
        for part in [
            "role=\"region\" aria-label=\"&lt;costs&gt;\"",
            "<caption>&lt;costs&gt;</caption>",
            "<th scope=\"col\">a &amp; b</th>",
            "<tr><th scope=\"row\" class=\"text\">1a</th><td>1</td><td class=\"total\">2</td></tr>",
            "<tr class=\"ruled\"><th scope=\"row\" class=\"text\">2a</th>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    #[should_panic(expected = "a cell for each column")]
    fn a_row_that_is_too_short_is_refused() {
        Table::new("costs").numbers(["a", "b"]).push_row([html! { (1) }]);
    }
}
