//! Charts as inline SVG.
//!
//! A chart draws itself on a plane 900 units wide, about a pixel each on a desktop. Colours are
//! classes of the style sheet, so that they follow its scheme. What a mark stands for is in its
//! `<title>`, which browsers show under the pointer.

mod axis;
mod bars;
mod columns;
mod curves;
mod histogram;

use maud::{Markup, Render, html};

pub use axis::{Axis, Scale};
pub use bars::{Bar, Bars, Group, Part};
pub use columns::{Column, Columns};
pub use curves::{Curve, Curves};
pub use histogram::Histogram;

use crate::Table;

const WIDTH: f64 = 900.0;
/// Where the plot of a chart with axes lies.
const LEFT: f64 = 74.0;
const RIGHT: f64 = 880.0;
const TOP: f64 = 12.0;
/// Below the plot: the ticks and the name of its horizontal axis.
const BELOW: f64 = 44.0;

/// The colours of marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Colour {
    /// Blue, the first choice.
    Blue,
    /// Orange.
    Orange,
    /// Green.
    Green,
    /// Magenta.
    Magenta,
    /// Grey.
    Grey,
    /// Violet.
    Violet,
    /// Red: something is wrong.
    Bad,
}

impl Colour {
    fn class(self) -> &'static str {
        match self {
            Colour::Blue => "c1",
            Colour::Orange => "c2",
            Colour::Green => "c3",
            Colour::Magenta => "c4",
            Colour::Grey => "c5",
            Colour::Violet => "c6",
            Colour::Bad => "bad",
        }
    }
}

/// A colour, in full or in a lighter shade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fill {
    colour: Colour,
    opacity: Option<f64>,
}

impl From<Colour> for Fill {
    fn from(colour: Colour) -> Fill {
        Fill { colour, opacity: None }
    }
}

impl Fill {
    /// The shade of one of several marks that stand for more and more of the same, from 0 up; the
    /// last is the strongest.
    pub fn shade(colour: Colour, place: usize, of: usize) -> Fill {
        let steps = of.saturating_sub(1);
        let before = steps.saturating_sub(place) as f64;
        Fill { colour, opacity: (before > 0.0).then(|| 1.0 - before * 0.6 / steps as f64) }
    }

    pub(crate) fn class(self) -> &'static str {
        self.colour.class()
    }
}

/// What colours stand for.
pub fn legend<'a>(entries: impl IntoIterator<Item = (Fill, &'a str)>) -> Markup {
    html! {
        div.legend {
            @for (fill, name) in entries {
                span {
                    @let opacity = fill.opacity.map(|opacity| format!("opacity:{opacity:.2}"));
                    i.{ "swatch " (fill.colour.class()) } style=[opacity] {}
                    (name)
                }
            }
        }
    }
}

/// A chart with the table of its numbers below it, folded away.
pub fn with_numbers(chart: impl Render, numbers: &Table) -> Markup {
    html! {
        (chart)
        details {
            summary { "The numbers" }
            (numbers)
        }
    }
}

/// The frame of a chart: what is in it is drawn, what it is called is said. It scrolls sideways
/// like a wide table.
fn frame(title: &str, height: f64, marks: Markup) -> Markup {
    let view = format!("0 0 {WIDTH} {height}");
    html! {
        div.scroll tabindex="0" role="img" aria-label=(title) { svg viewBox=(view) aria-hidden="true" { (marks) } }
    }
}

/// The horizontal axis of a plot that ends at `bottom`, with its name.
fn baseline(name: &str, bottom: f64) -> Markup {
    html! {
        line x1=(LEFT) x2=(RIGHT) y1=(bottom) y2=(bottom) class="axis" {}
        text x=((LEFT + RIGHT) / 2.0) y=(bottom + BELOW - 6.0) class="tick middle" { (name) }
    }
}

/// A place in a chart, to a tenth of a unit.
struct At(f64);

impl Render for At {
    fn render_to(&self, buffer: &mut String) {
        use std::fmt::Write;
        write!(buffer, "{:.1}", self.0).expect("text can be written to memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_end_at_the_full_colour() {
        let opacities =
            |of: usize| (0..of).map(|place| Fill::shade(Colour::Blue, place, of).opacity).collect::<Vec<_>>();
        assert_eq!(opacities(1), [None]);
        assert_eq!(opacities(2), [Some(0.4), None]);
        assert_eq!(opacities(3), [Some(0.4), Some(0.7), None]);
    }

    #[test]
    fn a_legend_has_the_colours_of_the_marks() {
        let legend = legend([(Fill::shade(Colour::Blue, 0, 2), "a < b"), (Colour::Orange.into(), "c")]).into_string();
        assert!(legend.contains("<i class=\"swatch c1\" style=\"opacity:0.40\"></i>a &lt; b"), "{legend}");
        assert!(legend.contains("<i class=\"swatch c2\"></i>c"), "{legend}");
    }
}
