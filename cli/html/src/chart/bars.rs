//! Horizontal bars.

use maud::{Markup, PreEscaped, Render, html};

use super::{At, Fill, WIDTH, frame};

const BAR: f64 = 19.0;
/// Between the bars of a group, and between groups.
const BETWEEN_BARS: f64 = 2.0;
const BETWEEN_GROUPS: f64 = 9.0;
/// About what a letter takes, and what keeps text from the bars.
const LETTER: f64 = 7.4;
const AROUND_TEXT: f64 = 16.0;

/// Horizontal bars of one unit, in groups, from one origin.
pub struct Bars {
    /// What the chart is called.
    pub title: String,
    /// The length that fills the width, unless a bar is longer.
    pub full: f64,
    /// The groups, from top to bottom.
    pub groups: Vec<Group>,
}

/// The bars that belong to one name.
pub struct Group {
    /// What stands on the left.
    pub name: String,
    /// The bars, from top to bottom.
    pub bars: Vec<Bar>,
}

/// A bar of parts, with text at its end; without parts there is only the text.
pub struct Bar {
    /// The parts, from left to right.
    pub parts: Vec<Part>,
    /// The text.
    pub end: String,
}

/// A part of a bar.
pub struct Part {
    /// Its colour.
    pub fill: Fill,
    /// Its length, in the unit of the chart.
    pub len: f64,
    /// What it stands for.
    pub title: String,
}

impl Bar {
    fn len(&self) -> f64 {
        self.parts.iter().map(|part| part.len).sum()
    }
}

impl Render for Bars {
    fn render(&self) -> Markup {
        let bars = || self.groups.iter().flat_map(|group| &group.bars);
        let left = room(self.groups.iter().map(|group| group.name.as_str()));
        let right = room(bars().map(|bar| bar.end.as_str()));
        let longest = bars().map(Bar::len).fold(self.full.max(f64::MIN_POSITIVE), f64::max);
        let scale = (WIDTH - left - right).max(0.0) / longest;
        let tall = |group: &Group| group.bars.len() as f64 * (BAR + BETWEEN_BARS) - BETWEEN_BARS;
        let mut marks = String::new();
        let mut top = 4.0;
        for group in &self.groups {
            let middle = top + tall(group) / 2.0 + 4.5;
            html! { text x=(At(left - 10.0)) y=(At(middle)) class="end" { (group.name) } }.render_to(&mut marks);
            for bar in &group.bars {
                draw(bar, left, top, scale).render_to(&mut marks);
                top += BAR + BETWEEN_BARS;
            }
            top += BETWEEN_GROUPS - BETWEEN_BARS;
        }
        frame(&self.title, top, PreEscaped(marks))
    }
}

fn draw(bar: &Bar, left: f64, top: f64, scale: f64) -> Markup {
    let mut end = left;
    let parts: Vec<(f64, f64, &Part)> = bar
        .parts
        .iter()
        .filter(|part| part.len > 0.0)
        .map(|part| {
            let (begin, width) = (end, part.len * scale);
            end += width;
            // A hair of the ground keeps neighbours apart.
            (begin, if width > 2.0 && bar.parts.len() > 1 { width - 1.0 } else { width }, part)
        })
        .collect();
    html! {
        @for (begin, width, part) in parts {
            rect x=(At(begin)) y=(At(top)) width=(At(width)) height=(BAR) rx="1.5" class=(part.fill.colour.class())
                fill-opacity=[part.fill.opacity.map(|opacity| format!("{opacity:.2}"))] { title { (part.title) } }
        }
        text x=(At(end + 7.0)) y=(At(top + BAR / 2.0 + 4.5)) { (bar.end) }
    }
}

/// What the longest of these texts takes.
fn room<'a>(texts: impl Iterator<Item = &'a str>) -> f64 {
    texts.map(|text| text.chars().count()).max().unwrap_or(0) as f64 * LETTER + AROUND_TEXT
}

#[cfg(test)]
mod tests {
    use super::super::Colour;
    use super::*;

    fn bar(lengths: &[f64], end: &str) -> Bar {
        let part = |(place, &len): (usize, &f64)| Part {
            fill: Fill::shade(Colour::Blue, place, lengths.len()),
            len,
            title: "a < b".to_owned(),
        };
        Bar { parts: lengths.iter().enumerate().map(part).collect(), end: end.to_owned() }
    }

    fn group(name: &str, bars: Vec<Bar>) -> Group {
        Group { name: name.to_owned(), bars }
    }

    #[test]
    fn the_longest_bar_fills_the_width_and_what_has_no_length_has_no_bar() {
        let mut chart = Bars {
            title: "lines & more".to_owned(),
            full: 0.0,
            groups: vec![
                group("raw", vec![bar(&[2.0], "2"), bar(&[4.0], "4")]),
                group("kpl", vec![bar(&[], "-"), bar(&[1.0], "1"), bar(&[0.0], "0")]),
            ],
        };
        let svg = chart.render().into_string();
        // Of the 900 units, names of three letters take 38.2 and figures of one 23.4.
        for width in ["419.2", "838.4", "209.6"] {
            assert_eq!(svg.matches(&format!("width=\"{width}\"")).count(), 1, "{width}: {svg}");
        }
        assert_eq!(svg.matches("<rect").count(), 3);
        chart.full = 8.0;
        assert!(chart.render().into_string().contains("width=\"104.8\""));
        assert!(svg.contains("aria-label=\"lines &amp; more\"") && !svg.contains("NaN"));
    }

    #[test]
    fn the_parts_of_a_bar_follow_each_other() {
        let groups = vec![group("raw", vec![bar(&[1.0, 3.0], "4")])];
        let svg = Bars { title: "costs".to_owned(), full: 0.0, groups }.render().into_string();
        assert!(svg.contains("<rect x=\"38.2\" y=\"4.0\" width=\"208.6\""), "{svg}");
        assert!(svg.contains("fill-opacity=\"0.40\""), "{svg}");
        assert!(
            svg.contains("<rect x=\"247.8\" y=\"4.0\" width=\"627.8\" height=\"19\" rx=\"1.5\" class=\"c1\">"),
            "{svg}"
        );
    }

    #[test]
    fn text_cannot_leave_its_element() {
        let groups = vec![group("<b>&", vec![bar(&[1.0], "<i>")])];
        let svg = Bars { title: "a \"title\"".to_owned(), full: 0.0, groups }.render().into_string();
        for escaped in ["&lt;b&gt;&amp;", "&lt;i&gt;", "a &quot;title&quot;", "<title>a &lt; b</title>"] {
            assert!(svg.contains(escaped), "{escaped}: {svg}");
        }
    }

    #[test]
    fn a_chart_of_nothing_is_a_chart() {
        let svg = Bars { title: "none".to_owned(), full: 0.0, groups: Vec::new() }.render().into_string();
        assert!(svg.contains("<svg") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
