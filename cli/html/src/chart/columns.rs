//! Upright bars of counts, side by side.

use maud::{Markup, PreEscaped, Render, html};

use super::axis::{Scale, Span};
use super::{At, BELOW, Fill, LEFT, RIGHT, TOP, baseline, frame};
use crate::{Align, Table};

/// Upright bars of equal width, each of the same parts: counts by hour, say.
pub struct Columns {
    /// What the chart is called.
    pub title: String,
    /// What the columns divide.
    pub x_name: &'static str,
    /// What a column is made of, from below: how it is filled, and what it counts.
    pub parts: Vec<(Fill, &'static str)>,
    /// Writes a count.
    pub text: fn(u64) -> String,
    /// The height of the chart, of which the width is 900.
    pub height: f64,
    /// The columns, from left to right.
    pub columns: Vec<Column>,
}

/// One column.
pub struct Column {
    /// What it stands for.
    pub name: String,
    /// What stands below it; room for all is the caller's business.
    pub tick: Option<String>,
    /// A count for each part.
    pub counts: Vec<u64>,
}

impl Columns {
    /// Every column as a row, with a column for each part.
    pub fn numbers(&self) -> Table {
        let table = Table::new(format!("{}, the numbers", self.title)).column(self.x_name, Align::Text);
        let mut table = table.numbers(self.parts.iter().map(|(_, name)| *name));
        for Column { name, counts, .. } in &self.columns {
            let counts = counts.iter().map(|&count| html! { ((self.text)(count)) });
            table.push_row([html! { (name) }].into_iter().chain(counts));
        }
        table
    }

    fn column(&self, column: &Column, at: f64, width: f64, up: &Span) -> Markup {
        let bottom = self.height - BELOW;
        // A hair of the ground between them, unless they are hairs themselves.
        let drawn = if width > 4.0 { width - 1.0 } else { width };
        let mut below = 0;
        let mut marks = String::new();
        for (&(fill, name), &count) in self.parts.iter().zip(&column.counts).filter(|(_, count)| **count > 0) {
            let place = |count: u64| bottom - up.part(count as f64) * (bottom - TOP);
            let (from, to) = (place(below), place(below + count));
            let opacity = fill.opacity.map(|opacity| format!("{opacity:.2}"));
            let mark = html! {
                rect x=(At(at)) y=(At(to)) width=(At(drawn)) height=(At(from - to)) class=(fill.class())
                    fill-opacity=[opacity] { title { (column.name) ": " ((self.text)(count)) " " (name) } }
            };
            mark.render_to(&mut marks);
            below += count;
        }
        PreEscaped(marks)
    }
}

impl Render for Columns {
    fn render(&self) -> Markup {
        let bottom = self.height - BELOW;
        let most = self.columns.iter().map(|column| column.counts.iter().sum::<u64>()).max().unwrap_or(0);
        let up = Span::of(Scale::Linear, [most as f64].into_iter(), true);
        let width = (RIGHT - LEFT) / self.columns.len().max(1) as f64;
        let marks = html! {
            // There is no half of a count.
            @for tick in up.ticks().into_iter().filter(|tick| tick.fract() == 0.0) {
                @let at = bottom - up.part(tick) * (bottom - TOP);
                line x1=(LEFT) x2=(RIGHT) y1=(At(at)) y2=(At(at)) class="grid" {}
                text x=(LEFT - 8.0) y=(At(at + 4.0)) class="tick end" { ((self.text)(tick as u64)) }
            }
            @for (place, column) in self.columns.iter().enumerate() {
                @let at = LEFT + place as f64 * width;
                (self.column(column, at, width, &up))
                @if let Some(tick) = &column.tick {
                    line x1=(At(at)) x2=(At(at)) y1=(bottom) y2=(bottom + 4.0) class="axis" {}
                    text x=(At(at)) y=(bottom + 18.0) class="tick middle" { (tick) }
                }
            }
            (baseline(self.x_name, bottom))
        };
        frame(&self.title, self.height, marks)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Colour;
    use super::*;

    fn columns(counts: &[[u64; 2]]) -> Columns {
        let column = |(place, counts): (usize, &[u64; 2])| Column {
            name: format!("<{place}>"),
            tick: (place == 0).then(|| "first".to_owned()),
            counts: counts.to_vec(),
        };
        Columns {
            title: "beacons".to_owned(),
            x_name: "hour",
            parts: vec![(Colour::Blue.into(), "of people"), (Colour::Grey.into(), "of bots")],
            text: |count| count.to_string(),
            height: 200.0,
            columns: counts.iter().enumerate().map(column).collect(),
        }
    }

    #[test]
    fn parts_stand_on_each_other() {
        let svg = columns(&[[10, 10], [5, 0]]).render().into_string();
        // Up to 21, a twentieth more than the highest, on 144 units: 68.6 for each ten.
        let people = "x=\"74.0\" y=\"87.4\" width=\"402.0\" height=\"68.6\" class=\"c1\"";
        let bots = "x=\"74.0\" y=\"18.9\" width=\"402.0\" height=\"68.6\" class=\"c5\"";
        assert!(svg.contains(people) && svg.contains(bots), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 3, "what is nothing is not drawn");
        assert!(svg.contains("<title>&lt;1&gt;: 5 of people</title>"), "{svg}");
        assert_eq!(svg.matches("first").count(), 1);
    }

    #[test]
    fn ticks_are_whole() {
        let svg = columns(&[[1, 1]]).render().into_string();
        let ticks: Vec<&str> = svg.split("class=\"tick end\">").skip(1).map(|rest| &rest[..2]).collect();
        assert_eq!(ticks, ["0<", "2<"], "{svg}");
    }

    #[test]
    fn the_numbers_have_a_row_for_each_column() {
        let table = columns(&[[10, 20]]).numbers().render().into_string();
        assert!(table.contains("&lt;0&gt;</th><td>10</td><td>20</td>"), "{table}");
    }

    #[test]
    fn nothing_is_a_chart_too() {
        let svg = columns(&[]).render().into_string();
        assert!(svg.contains("<svg") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
