//! Horizontal bars as inline SVG: all that the page needs.

use std::fmt::Write;

use super::page::escaped;

const WIDTH: f64 = 720.0;
/// Room for the names on the left, and for the figure at the end of the longest bar.
const NAMES: f64 = 72.0;
const FIGURES: f64 = 190.0;
const BAR: f64 = 16.0;
const GAP: f64 = 14.0;
const LEGEND: f64 = 30.0;

/// Bars of one unit, in groups.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// What a bar of full width stands for, if none is longer.
    pub(super) full: f64,
    /// One for each bar of a group.
    pub(super) series: Vec<String>,
    pub(super) groups: Vec<Group<'a>>,
}

/// The bars that belong to one name.
pub(super) struct Group<'a> {
    pub(super) name: &'a str,
    /// A bar's length and what stands at its end; without a length there is only the text.
    pub(super) bars: Vec<(Option<f64>, String)>,
}

impl Chart<'_> {
    pub(super) fn to_svg(&self) -> String {
        let legend = if self.series.len() > 1 { LEGEND } else { 0.0 };
        let heights = self.groups.iter().map(|group| group.bars.len() as f64 * (BAR + 2.0) + GAP);
        let height = legend + heights.sum::<f64>();
        let values = self.groups.iter().flat_map(|group| group.bars.iter().filter_map(|(value, _)| *value));
        let longest = values.fold(self.full.max(f64::MIN_POSITIVE), f64::max);
        let mut svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n", escaped(self.title));
        if legend > 0.0 {
            let mut x = NAMES;
            for (index, name) in self.series.iter().enumerate() {
                let _ = writeln!(
                    svg,
                    "<rect class=\"bar\" x=\"{x}\" y=\"4\" width=\"12\" height=\"12\" rx=\"2\" {}/>\
                     <text x=\"{}\" y=\"14\">{}</text>",
                    self.shade(index),
                    x + 18.0,
                    escaped(name)
                );
                x += 44.0 + 7.0 * name.chars().count() as f64;
            }
        }
        let mut y = legend;
        for group in &self.groups {
            let middle = y + group.bars.len() as f64 * (BAR + 2.0) / 2.0 + 4.0;
            let _ = writeln!(svg, "<text class=\"name\" x=\"0\" y=\"{middle}\">{}</text>", escaped(group.name));
            for (index, (value, text)) in group.bars.iter().enumerate() {
                let width = value.map_or(0.0, |value| value / longest * (WIDTH - NAMES - FIGURES));
                let _ = writeln!(
                    svg,
                    "<rect class=\"bar\" x=\"{NAMES}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\" {}/>\
                     <text x=\"{:.1}\" y=\"{}\">{}</text>",
                    self.shade(index),
                    NAMES + width + 6.0,
                    y + 12.5,
                    escaped(text)
                );
                y += BAR + 2.0;
            }
            y += GAP;
        }
        svg + "</svg>\n"
    }

    /// The last series is the strongest.
    fn shade(&self, index: usize) -> String {
        let before = self.series.len().saturating_sub(1 + index) as f64;
        format!("fill-opacity=\"{:.2}\"", 1.0 - before * 0.6 / self.series.len().saturating_sub(1).max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width_and_what_has_no_length_has_no_bar() {
        let chart = Chart {
            title: "lines & more",
            full: 0.0,
            series: vec!["one".to_owned(), "all".to_owned()],
            groups: vec![
                Group { name: "raw", bars: vec![(Some(2.0), "2".to_owned()), (Some(4.0), "4".to_owned())] },
                Group { name: "kpl", bars: vec![(None, "-".to_owned()), (Some(1.0), "1".to_owned())] },
            ],
        };
        let svg = chart.to_svg();
        for width in ["229.0", "458.0", "0.0", "114.5"] {
            assert!(svg.contains(&format!("width=\"{width}\"")), "{width}: {svg}");
        }
        assert!(Chart { full: 8.0, ..chart }.to_svg().contains("width=\"57.2\""));
        assert!(svg.contains("lines &amp; more") && !svg.contains("NaN"));
        assert!(svg.contains("fill-opacity=\"0.40\"") && svg.contains("fill-opacity=\"1.00\""));
    }
}
