//! Histograms.

use maud::{Markup, Render, html};

use super::{At, BELOW, Colour, LEFT, RIGHT, TOP, baseline, frame};
use crate::{Align, Table};

const HEIGHT: f64 = 220.0;

/// Upright bars of equal width, side by side.
pub struct Histogram {
    /// What the chart is called.
    pub title: String,
    /// What the bars divide.
    pub x_name: &'static str,
    /// What they count.
    pub counted: &'static str,
    /// Writes a bound of a bar.
    pub text: fn(f64) -> String,
    /// From where, to where, how many.
    pub bars: Vec<(f64, f64, f64)>,
}

impl Histogram {
    /// Every bar as a row.
    pub fn numbers(&self) -> Table {
        let table = Table::new(self.title.as_str()).column(self.x_name, Align::Number);
        let mut table = table.column(self.counted, Align::Number);
        for &(from, to, count) in &self.bars {
            table.push_row([html! { ((self.text)(from)) " to " ((self.text)(to)) }, html! { (count) }]);
        }
        table
    }
}

impl Render for Histogram {
    fn render(&self) -> Markup {
        let bottom = HEIGHT - BELOW;
        let most = self.bars.iter().map(|bar| bar.2).fold(f64::MIN_POSITIVE, f64::max);
        let width = (RIGHT - LEFT) / self.bars.len().max(1) as f64;
        let every = self.bars.len().div_ceil(10).max(1);
        let marks = html! {
            @for (place, &(from, to, count)) in self.bars.iter().enumerate() {
                @let (at, tall) = (LEFT + place as f64 * width, count / most * (bottom - TOP));
                rect x=(At(at)) y=(At(bottom - tall)) width=(At((width - 1.0).max(0.5))) height=(At(tall))
                    class=(Colour::Blue.class()) { title { ((self.text)(from)) " to " ((self.text)(to)) ": " (count) } }
                @if place % every == 0 {
                    text x=(At(at)) y=(bottom + 18.0) class="tick middle" { ((self.text)(from)) }
                }
            }
            (baseline(self.x_name, bottom))
        };
        frame(&self.title, HEIGHT, marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_bar_fills_the_height() {
        let chart = Histogram {
            title: "lines".to_owned(),
            x_name: "bytes",
            counted: "lines",
            text: |value| format!("{value}"),
            bars: vec![(0.0, 10.0, 2.0), (10.0, 20.0, 8.0)],
        };
        let svg = chart.render().into_string();
        assert!(svg.contains("y=\"12.0\" width=\"402.0\" height=\"164.0\""), "{svg}");
        assert!(svg.contains("height=\"41.0\"") && svg.contains("<title>10 to 20: 8</title>"), "{svg}");
        assert!(chart.numbers().render().into_string().contains("<th scope=\"row\">10 to 20</th><td>8</td>"));
    }
}
