//! Curves over common axes.

use maud::{Markup, PreEscaped, Render, html};

use super::axis::{Axis, Span};
use super::{At, BELOW, Colour, LEFT, RIGHT, TOP, baseline, frame};
use crate::{Align, Table};

/// Curves over common axes; a legend of the page or a heading names them.
pub struct Curves {
    /// What the chart is called.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The height of the chart, of which the width is 900.
    pub height: f64,
    /// The curves, the last on top.
    pub curves: Vec<Curve>,
}

/// A line through points.
pub struct Curve {
    /// Its colour.
    pub colour: Colour,
    /// What it is called.
    pub name: String,
    /// The points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Whether the ground below it is filled.
    pub filled: bool,
}

impl Curves {
    /// Every point as a row, with a column for each curve.
    pub fn numbers(&self) -> Table {
        let mut places: Vec<f64> = self.curves.iter().flat_map(|curve| &curve.points).map(|&(x, _)| x).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let table = Table::new(self.title.as_str()).column(self.x.name, Align::Number);
        let mut table = table.numbers(self.curves.iter().map(|curve| curve.name.as_str()));
        for place in places {
            let at = |curve: &Curve| {
                let point = curve.points.iter().find(|&&(x, _)| x == place);
                html! { @if let Some(&(_, y)) = point { ((self.y.text)(y)) } }
            };
            table.push_row([html! { ((self.x.text)(place)) }].into_iter().chain(self.curves.iter().map(at)));
        }
        table
    }

    /// The curves and the axes.
    fn marks(&self) -> Markup {
        let Curves { x, y, curves, .. } = self;
        let all = || curves.iter().flat_map(|curve| &curve.points);
        let across = Span::of(x.scale, all().map(|point| point.0), false);
        let up = Span::of(y.scale, all().map(|point| point.1), true);
        let bottom = self.height - BELOW;
        let place = |(a, b): (f64, f64)| (LEFT + across.part(a) * (RIGHT - LEFT), bottom - up.part(b) * (bottom - TOP));
        html! {
            @for tick in up.ticks() {
                @let (_, at) = place((across.least, tick));
                line x1=(LEFT) x2=(RIGHT) y1=(At(at)) y2=(At(at)) class="grid" {}
                text x=(LEFT - 8.0) y=(At(at + 4.0)) class="tick end" { ((y.text)(tick)) }
            }
            @for tick in across.ticks() {
                @let (at, _) = place((tick, up.least));
                line x1=(At(at)) x2=(At(at)) y1=(bottom) y2=(bottom + 4.0) class="axis" {}
                text x=(At(at)) y=(bottom + 18.0) class="tick middle" { ((x.text)(tick)) }
            }
            (baseline(x.name, bottom))
            @for curve in curves {
                @let points: Vec<(f64, f64)> = curve.points.iter().map(|&point| place(point)).collect();
                @let path = path(&points);
                @if let (true, Some(first), Some(last)) = (curve.filled, points.first(), points.last()) {
                    polygon points={ (At(first.0)) "," (At(bottom)) " " (path) " " (At(last.0)) "," (At(bottom)) }
                        class={ (curve.colour.class()) " ground" } {}
                }
                polyline points=(path) class={ (curve.colour.class()) " line" } {}
                // Something to point at: each point says what it is, where nothing is drawn.
                @for (&(at, on), &(a, b)) in points.iter().zip(&curve.points) {
                    circle cx=(At(at)) cy=(At(on)) r="5" class="hover" {
                        title { (curve.name) ": " ((y.text)(b)) " at " ((x.text)(a)) }
                    }
                }
            }
            @if !y.name.is_empty() {
                text x=(LEFT) y=(TOP - 1.0) class="tick" { (y.name) }
            }
        }
    }
}

impl Render for Curves {
    fn render(&self) -> Markup {
        frame(&self.title, self.height, self.marks())
    }
}

fn path(points: &[(f64, f64)]) -> Markup {
    let mut path = String::new();
    for (place, &(x, y)) in points.iter().enumerate() {
        if place > 0 {
            path.push(' ');
        }
        html! { (At(x)) "," (At(y)) }.render_to(&mut path);
    }
    PreEscaped(path)
}

#[cfg(test)]
mod tests {
    use super::super::Scale;
    use super::*;

    fn curves(curves: Vec<Curve>) -> Curves {
        let axis = |name| Axis { name, scale: Scale::Linear, text: |value| format!("{value}") };
        Curves { title: "delay".to_owned(), x: axis("hours"), y: axis(""), height: 200.0, curves }
    }

    fn curve(name: &str, points: &[(f64, f64)]) -> Curve {
        Curve { colour: Colour::Blue, name: name.to_owned(), points: points.to_vec(), filled: true }
    }

    #[test]
    fn a_curve_goes_from_edge_to_edge_and_each_point_says_what_it_is() {
        let svg = curves(vec![curve("a < b", &[(0.0, 0.0), (24.0, 100.0)])]).render().into_string();
        // From the lower left corner to the upper right one, but for a twentieth.
        assert!(svg.contains("<polyline points=\"74.0,156.0 880.0,18.9\" class=\"c1 line\">"), "{svg}");
        assert!(svg.contains("<polygon points=\"74.0,156.0 74.0,156.0 880.0,18.9 880.0,156.0\""), "{svg}");
        assert!(svg.contains("<title>a &lt; b: 100 at 24</title>"), "{svg}");
    }

    #[test]
    fn the_numbers_of_all_curves_are_in_one_table() {
        let chart = curves(vec![curve("one", &[(1.0, 5.0), (2.0, 6.0)]), curve("two", &[(2.0, 7.0)])]);
        let table = chart.numbers().render().into_string();
        assert!(table.contains("<th scope=\"row\">1</th><td>5</td><td></td>"), "{table}");
        assert!(table.contains("<th scope=\"row\">2</th><td>6</td><td>7</td>"), "{table}");
    }

    #[test]
    fn nothing_to_show_is_shown_as_nothing() {
        for chart in [curves(Vec::new()), curves(vec![curve("none", &[])])] {
            let svg = chart.render().into_string();
            assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("polygon"), "{svg}");
        }
    }
}
