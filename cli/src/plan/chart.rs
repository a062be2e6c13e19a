//! Charts as inline SVG. Colours are classes of the page, so that they follow its scheme; what a mark stands for is in
//! its `<title>`, which browsers show under the pointer.

use std::fmt::Write;

use super::html::escaped;

const WIDTH: f64 = 900.0;
/// Where the plot of a chart with axes lies.
const LEFT: f64 = 74.0;
const RIGHT: f64 = 880.0;
const TOP: f64 = 12.0;

/// A part of a bar: its class, its length, what it says.
pub(super) struct Part {
    pub(super) class: &'static str,
    pub(super) length: f64,
    pub(super) title: String,
}

/// A horizontal bar of parts, with a label at either end.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) parts: Vec<Part>,
    pub(super) end: String,
}

/// Horizontal bars, from one origin.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    const ROW: f64 = 30.0;
    const LABEL: f64 = 262.0;
    const END: f64 = 130.0;
    let length = |bar: &Bar| bar.parts.iter().map(|part| part.length).sum::<f64>();
    let longest = bars.iter().map(length).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LABEL - END) / longest;
    let mut out = begin(title, ROW * bars.len() as f64 + 6.0);
    for (row, bar) in bars.iter().enumerate() {
        let top = row as f64 * ROW + 5.0;
        let middle = top + 15.0;
        _ = write!(out, r#"<text x="{}" y="{middle}" class="label end">{}</text>"#, LABEL - 10.0, escaped(&bar.label));
        let mut x = LABEL;
        for part in bar.parts.iter().filter(|part| part.length > 0.0) {
            let width = part.length * scale;
            // A hair of the ground keeps neighbours apart.
            let drawn = if width > 2.0 { width - 1.0 } else { width };
            _ = write!(
                out,
                r#"<rect x="{x:.1}" y="{top}" width="{drawn:.1}" height="21" rx="1.5" class="{}"><title>{}</title></rect>"#,
                part.class,
                escaped(&part.title)
            );
            x += width;
        }
        _ = write!(out, r#"<text x="{:.1}" y="{middle}" class="value">{}</text>"#, x + 7.0, escaped(&bar.end));
    }
    out + "</svg>"
}

/// How an axis counts.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// By powers of ten.
    Logarithmic,
}

/// An axis: what it is called, how it counts, how its ticks are written.
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) scale: Scale,
    pub(super) text: fn(f64) -> String,
}

/// A line through points.
pub(super) struct Curve {
    pub(super) class: &'static str,
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Whether the ground below it is filled.
    pub(super) filled: bool,
}

/// Curves over common axes. Each is named at its end, or in the legend of the page.
pub(super) fn curves(title: &str, x: &Axis, y: &Axis, height: f64, curves: &[Curve]) -> String {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let across = Span::of(x.scale, all().map(|point| point.0), false);
    let up = Span::of(y.scale, all().map(|point| point.1), true);
    let bottom = height - 44.0;
    let place = |(a, b): (f64, f64)| (LEFT + across.part(a) * (RIGHT - LEFT), bottom - up.part(b) * (bottom - TOP));
    let mut out = begin(title, height);
    for tick in up.ticks() {
        let (_, at) = place((across.least, tick));
        _ = write!(out, r#"<line x1="{LEFT}" x2="{RIGHT}" y1="{at:.1}" y2="{at:.1}" class="grid"/>"#);
        _ = write!(out, r#"<text x="{}" y="{:.1}" class="tick end">{}</text>"#, LEFT - 8.0, at + 4.0, (y.text)(tick));
    }
    for tick in across.ticks() {
        let (at, _) = place((tick, up.least));
        _ = write!(out, r#"<line x1="{at:.1}" x2="{at:.1}" y1="{bottom}" y2="{}" class="axis"/>"#, bottom + 4.0);
        _ = write!(out, r#"<text x="{at:.1}" y="{}" class="tick middle">{}</text>"#, bottom + 18.0, (x.text)(tick));
    }
    _ = write!(out, r#"<line x1="{LEFT}" x2="{RIGHT}" y1="{bottom}" y2="{bottom}" class="axis"/>"#);
    _ = write!(
        out,
        r#"<text x="{}" y="{}" class="tick middle">{}</text>"#,
        (LEFT + RIGHT) / 2.0,
        height - 6.0,
        escaped(x.name)
    );
    for curve in curves {
        let path: Vec<String> = curve
            .points
            .iter()
            .map(|&point| {
                let (x, y) = place(point);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let (Some(first), Some(last)) = (curve.points.first(), curve.points.last()) else { continue };
        if curve.filled {
            let (from, to) = (place((first.0, up.least)), place((last.0, up.least)));
            _ = write!(
                out,
                r#"<polygon points="{:.1},{:.1} {} {:.1},{:.1}" class="{} ground"/>"#,
                from.0,
                from.1,
                path.join(" "),
                to.0,
                to.1,
                curve.class
            );
        }
        _ = write!(out, r#"<polyline points="{}" class="{} line"/>"#, path.join(" "), curve.class);
        // Something to point at: every point has what it says, where nothing is drawn.
        for &point in &curve.points {
            let (at, on) = place(point);
            _ = write!(
                out,
                r#"<circle cx="{at:.1}" cy="{on:.1}" r="5" class="hover"><title>{}: {} at {}</title></circle>"#,
                escaped(&curve.name),
                (y.text)(point.1),
                (x.text)(point.0)
            );
        }
    }
    _ = write!(out, r#"<text x="{LEFT}" y="{}" class="tick">{}</text>"#, TOP - 1.0, escaped(y.name));
    out + "</svg>"
}

/// Upright bars of a histogram: from, to, count.
pub(super) fn histogram(
    title: &str,
    x_name: &'static str,
    text: fn(f64) -> String,
    bars: &[(f64, f64, f64)],
) -> String {
    const HEIGHT: f64 = 220.0;
    let bottom = HEIGHT - 44.0;
    let most = bars.iter().map(|bar| bar.2).fold(f64::MIN_POSITIVE, f64::max);
    let width = (RIGHT - LEFT) / bars.len().max(1) as f64;
    let every = bars.len().div_ceil(10).max(1);
    let mut out = begin(title, HEIGHT);
    for (place, &(from, to, count)) in bars.iter().enumerate() {
        let (at, tall) = (LEFT + place as f64 * width, count / most * (bottom - TOP));
        _ = write!(
            out,
            r#"<rect x="{at:.1}" y="{:.1}" width="{:.1}" height="{tall:.1}" class="c1"><title>{} to {}: {count}</title></rect>"#,
            bottom - tall,
            (width - 1.0).max(0.5),
            text(from),
            text(to),
        );
        if place % every == 0 {
            _ = write!(out, r#"<text x="{at:.1}" y="{}" class="tick middle">{}</text>"#, bottom + 18.0, text(from));
        }
    }
    _ = write!(out, r#"<line x1="{LEFT}" x2="{RIGHT}" y1="{bottom}" y2="{bottom}" class="axis"/>"#);
    _ = write!(
        out,
        r#"<text x="{}" y="{}" class="tick middle">{}</text>"#,
        (LEFT + RIGHT) / 2.0,
        HEIGHT - 6.0,
        escaped(x_name)
    );
    out + "</svg>"
}

fn begin(title: &str, height: f64) -> String {
    let title = escaped(title);
    format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">"#)
}

/// What an axis shows.
struct Span {
    scale: Scale,
    least: f64,
    most: f64,
}

impl Span {
    /// Around the values. From 0 for linear axes that go up; to whole powers of ten for logarithmic ones that do.
    fn of(scale: Scale, values: impl Iterator<Item = f64>, up: bool) -> Span {
        let (least, most) = values
            .filter(|&value| scale == Scale::Linear || value > 0.0)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
        if least > most {
            return Span { scale, least: 0.1, most: 1.0 };
        }
        match (scale, up) {
            (Scale::Linear, true) => Span { scale, least: 0.0, most: (most * 1.05).max(1e-9) },
            (Scale::Logarithmic, true) => {
                let (least, most) = (10_f64.powf(least.log10().floor()), 10_f64.powf(most.log10().ceil()));
                Span { scale, least, most: most.max(least * 10.0) }
            }
            (_, false) => Span { scale, least, most: if most > least { most } else { least + 1.0 } },
        }
    }

    /// Where a value lies, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.least) / (self.most - self.least),
            Scale::Logarithmic => (value.max(self.least) / self.least).ln() / (self.most / self.least).ln(),
        };
        part.clamp(0.0, 1.0)
    }

    /// Round values, about six.
    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Logarithmic => {
                let powers = self.least.log10().ceil() as i32..=self.most.log10().floor() as i32;
                powers.map(|power| 10_f64.powi(power)).collect()
            }
            Scale::Linear => {
                let rough = (self.most - self.least) / 6.0;
                let power = 10_f64.powf(rough.log10().floor());
                let step =
                    [1.0, 2.0, 4.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|&step| step >= rough);
                let step = step.unwrap_or(10.0 * power);
                let first = (self.least / step).ceil() as i64;
                (first..).map(|tick| tick as f64 * step).take_while(|&tick| tick <= self.most).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let of = |scale, values: &[f64], up| Span::of(scale, values.iter().copied(), up);
        assert_eq!(of(Scale::Linear, &[1.0, 9.0], true).ticks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(of(Scale::Linear, &[0.0, 24.0], false).ticks(), [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0]);
        assert_eq!(of(Scale::Logarithmic, &[30.0, 7_000.0], true).ticks(), [10.0, 100.0, 1_000.0, 10_000.0]);
        for values in [&[][..], &[0.0], &[5.0, 5.0], &[1e-9, 1e12]] {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let span = of(scale, values, true);
                assert!(span.ticks().len() < 30 && span.ticks().iter().all(|tick| tick.is_finite()), "{values:?}");
                assert!(values.iter().all(|&value| (0.0..=1.0).contains(&span.part(value))));
            }
        }
    }

    #[test]
    fn text_cannot_leave_its_element() {
        let bar = Bar { label: "<b>&".to_owned(), parts: Vec::new(), end: "\"x\"".to_owned() };
        let svg = bars("a \"title\"", &[bar]);
        assert!(svg.contains("&lt;b&gt;&amp;") && svg.contains("a &quot;title&quot;") && !svg.contains("<b>"));
    }
}
