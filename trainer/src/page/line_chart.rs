//! Curves, drawn as SVG.

use std::fmt::Write as _;

use super::escape;

/// Size of the plot in units of the drawing, and what is left around it for numbers.
const PLOT: (f64, f64) = (330.0, 210.0);
const LEFT: f64 = 48.0;
const BELOW: f64 = 38.0;
const ABOVE: f64 = 10.0;
const RIGHT: f64 = 16.0;
/// Lines of up to this many points show them.
const DOTTED: usize = 80;

/// A chart of lines over one pair of axes.
#[derive(Clone, Debug)]
pub(crate) struct LineChart<'a> {
    /// What it shows.
    pub(crate) title: &'a str,
    /// Horizontal.
    pub(crate) x: Axis<'a>,
    /// Vertical.
    pub(crate) y: Axis<'a>,
    /// Later lines lie above earlier ones.
    pub(crate) lines: Vec<Line>,
}

/// A line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Its name.
    pub(crate) name: String,
    /// What the legend adds to the name.
    pub(crate) note: String,
    /// A colour of CSS.
    pub(crate) colour: String,
    /// How much it stands out.
    pub(crate) weight: Weight,
    /// In order of x. Those outside the axes, or not finite, are left out.
    pub(crate) points: Vec<(f64, f64)>,
}

/// How much a line stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Thin, and not in the legend: one of too many.
    Quiet,
    /// As usual.
    Plain,
    /// Thick.
    Strong,
}

/// A range of numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis<'a> {
    title: &'a str,
    low: f64,
    high: f64,
    logarithmic: bool,
    /// Only whole numbers are written.
    whole: bool,
}

impl<'a> Axis<'a> {
    /// From `low` to `high`.
    pub(crate) fn new(title: &'a str, low: f64, high: f64) -> Self {
        // A single value lies in the middle.
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
        Self { title, low, high, logarithmic: false, whole: false }
    }

    /// Whole numbers from `low` to `high`.
    pub(crate) fn whole(title: &'a str, low: f64, high: f64) -> Self {
        Self { whole: true, ..Self::new(title, low, high) }
    }

    /// Around all values: logarithmic where positive ones differ by more than ten times, else from 0 where that is near.
    pub(crate) fn around(title: &'a str, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return Self::new(title, 0.0, 1.0);
        }
        if low > 0.0 && high > 10.0 * low {
            return Self { logarithmic: true, ..Self::new(title, low / 1.15, high * 1.15) };
        }
        let room = (high - low) * 0.06;
        let from = if low >= 0.0 && low < 0.6 * high { 0.0 } else { low - room };
        Self::new(title, from, high + room)
    }

    /// Where a value lies, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        if self.logarithmic {
            (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    fn holds(&self, value: f64) -> bool {
        value.is_finite() && value >= self.low && value <= self.high
    }

    /// Round numbers to write beside it.
    fn ticks(&self) -> Vec<f64> {
        let ticks = if self.logarithmic { self.logarithmic_ticks() } else { self.linear_ticks() };
        ticks.into_iter().filter(|tick| self.holds(*tick)).collect()
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let step = if self.whole { step.ceil().max(1.0) } else { step };
        let first = (self.low / step).ceil() as i64;
        (first..=first + 12).map(|i| i as f64 * step).collect()
    }

    fn logarithmic_ticks(&self) -> Vec<f64> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let digits: &[f64] = if last - first <= 4 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let step = ((last - first) / 8 + 1) as usize;
        (first..=last)
            .step_by(step)
            .flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)))
            .collect()
    }
}

impl LineChart<'_> {
    /// The chart with its title and a legend, as HTML; nothing without points.
    pub(crate) fn figure(&self) -> String {
        if self.lines.iter().all(|line| line.points.is_empty()) {
            return String::new();
        }
        let legend: String = self
            .lines
            .iter()
            .filter(|line| line.weight != Weight::Quiet)
            .map(|line| {
                let (name, note) = (escape(&line.name), escape(&line.note));
                format!(
                    "<li><span class=\"dash\" style=\"background:{}\"></span>{name} <b>{note}</b></li>\n",
                    line.colour
                )
            })
            .collect();
        format!(
            "<figure class=\"chart\"><h3>{}</h3>\n{}<ul class=\"legend\">\n{legend}</ul></figure>\n",
            escape(self.title),
            self.svg()
        )
    }

    fn svg(&self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 {} {} {}\" role=\"img\" aria-label=\"{}\">\n\
             <rect class=\"ground\" x=\"{LEFT}\" y=\"0\" width=\"{}\" height=\"{}\" rx=\"4\"/>\n",
            -ABOVE,
            LEFT + PLOT.0 + RIGHT,
            ABOVE + PLOT.1 + BELOW,
            escape(self.title),
            PLOT.0,
            PLOT.1
        );
        for tick in self.y.ticks() {
            let y = self.y(tick);
            let _ = writeln!(
                svg,
                "<path class=\"grid-line\" d=\"M{LEFT} {y:.1}h{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                PLOT.0,
                LEFT - 7.0,
                y + 4.0,
                number(tick)
            );
        }
        for tick in self.x.ticks() {
            let x = self.x(tick);
            let _ = writeln!(
                svg,
                "<path class=\"grid-line\" d=\"M{x:.1} 0v{}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                PLOT.1,
                PLOT.1 + 16.0,
                number(tick)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            LEFT + PLOT.0 / 2.0,
            PLOT.1 + 33.0,
            escape(self.x.title)
        );
        if !self.y.title.is_empty() {
            let _ = writeln!(
                svg,
                "<text transform=\"translate(11 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
                PLOT.1 / 2.0,
                escape(self.y.title)
            );
        }
        self.lines.iter().for_each(|line| self.draw(line, &mut svg));
        svg + "</svg>\n"
    }

    fn draw(&self, line: &Line, svg: &mut String) {
        let inside = |(x, y): &&(f64, f64)| self.x.holds(*x) && self.y.holds(*y);
        let points: Vec<&(f64, f64)> = line.points.iter().filter(inside).collect();
        let path: Vec<String> =
            points.iter().map(|(x, y)| format!("{:.1} {:.1}", self.x(*x), self.y(*y))).collect();
        let class = match line.weight {
            Weight::Quiet => "curve quiet",
            Weight::Plain => "curve",
            Weight::Strong => "curve strong",
        };
        let name = escape(&line.name);
        let _ = writeln!(
            svg,
            "<polyline class=\"{class}\" style=\"stroke:{}\" points=\"{}\"><title>{name}</title></polyline>",
            line.colour,
            path.join(" ")
        );
        // Points that were measured one by one, few enough to be told apart.
        if !self.x.whole || points.len() > DOTTED || line.weight == Weight::Quiet {
            return;
        }
        for (x, y) in points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\" style=\"fill:{}\"><title>{name}, {} {}: {}</title></circle>",
                self.x(*x),
                self.y(*y),
                line.colour,
                escape(self.x.title),
                number(*x),
                number(*y)
            );
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.at(value) * PLOT.0
    }

    fn y(&self, value: f64) -> f64 {
        PLOT.1 - self.y.at(value) * PLOT.1
    }
}

/// Four digits that count.
pub(crate) fn number(value: f64) -> String {
    let power = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    if !(-3.0..6.0).contains(&power) {
        let text = format!("{value:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", trimmed(digits));
    }
    trimmed(&format!("{value:.*}", (3.0 - power).max(0.0) as usize)).to_owned()
}

/// Without zeros at the end of a fraction.
fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (1200.26, "1200"),
            (61.234, "61.23"),
            (0.00123456, "0.001235"),
            (4.0e-4, "4e-4"),
            (1.25e-7, "1.25e-7"),
            (2.0e6, "2e6"),
            (-30.0, "-30"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Axis::new("", 0.0, 1.0).ticks(), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(Axis::whole("", 1.0, 3.0).ticks(), [1.0, 2.0, 3.0]);
        assert_eq!(
            Axis::around("", [3.0, 900.0].into_iter()).ticks(),
            [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
        );
        assert_eq!(Axis::around("", [1e-9, 1.0].into_iter()).ticks().len(), 5);
        for values in
            [vec![], vec![f64::NAN], vec![4.0], vec![0.0, 0.0], vec![-3.0, 900.0], vec![1e300, 1.1e300]]
        {
            let axis = Axis::around("", values.into_iter());
            let ticks = axis.ticks();
            assert!(
                !ticks.is_empty() && ticks.iter().all(|tick| (0.0..=1.0).contains(&axis.at(*tick))),
                "{axis:?}"
            );
        }
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let points = vec![(1.0, 5.0), (2.0, f64::NAN), (3.0, 7.0)];
        let line = |points| Line {
            name: "<a>".into(),
            note: String::new(),
            colour: "red".into(),
            weight: Weight::Plain,
            points,
        };
        let chart = |points: Vec<(f64, f64)>| LineChart {
            title: "loss",
            x: Axis::whole("epoch", 1.0, 3.0),
            y: Axis::around("", points.iter().map(|p| p.1)),
            lines: vec![line(points)],
        };
        let html = chart(points).figure();
        assert!(!html.contains("NaN") && html.matches("<circle").count() == 2, "{html}");
        assert!(html.contains("&lt;a&gt;") && !html.contains("<a>"), "{html}");
        assert_eq!(chart(vec![]).figure(), "");
    }
}
