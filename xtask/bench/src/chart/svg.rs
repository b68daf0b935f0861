//! Bar charts as SVG text: panels in columns, in each a bar for each row. No program is needed to draw them; colours follow the reader's
//! light or dark scheme.

use std::fmt::Write as _;

/// A chart.
pub struct Chart {
    pub title: String,
    /// What it stands beside: the command, the kernel, the day.
    pub source: String,
    pub columns: usize,
    pub panels: Vec<Panel>,
}

/// Bars on one axis.
pub struct Panel {
    pub title: String,
    pub axis: Axis,
    /// A line across all bars.
    pub reference: Option<f64>,
    pub bars: Vec<Bar>,
}

/// How long a bar is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// As long as the value, from zero.
    Linear,
    /// By the logarithm, where values differ by orders of magnitude.
    Logarithmic,
}

/// A value with its range.
pub struct Bar {
    pub label: String,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// What is written beside it.
    pub text: String,
    pub tone: Tone,
    /// Marks at what it should be.
    pub limits: Vec<f64>,
}

/// Which colour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// kube-proxy, two modes.
    Other,
    Another,
    /// This project, two modes.
    Own,
    OwnToo,
}

const LABEL: f64 = 300.0;
const BAR: f64 = 200.0;
const FIGURE: f64 = 70.0;
const GAP: f64 = 24.0;
const ROW: f64 = 18.0;
const HEAD: f64 = 34.0;
const TOP: f64 = 66.0;
const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}.t{font-size:17px;font-weight:600}.s{font-size:11px;fill:#59636e}.h{font-weight:600}\
.bg{fill:#fff}.other{fill:#d4a72c}.another{fill:#e16f24}.own{fill:#0969da}.owntoo{fill:#54aeff}\
.r{stroke:#1f2328;stroke-dasharray:3 3}.e{stroke:#1f2328;opacity:.6}.m{stroke:#1a7f37;stroke-width:2}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}.bg{fill:#0d1117}.other{fill:#bb8009}.another{fill:#db6d28}\
.own{fill:#388bfd}.owntoo{fill:#79c0ff}.r,.e{stroke:#e6edf3}.m{stroke:#3fb950}}";

impl Chart {
    /// The file's text.
    pub fn draw(&self) -> String {
        let column = LABEL + BAR + FIGURE + GAP;
        let columns = self.columns.clamp(1, self.panels.len().max(1));
        let mut body = String::new();
        let mut y = TOP;
        for panels in self.panels.chunks(columns) {
            for (index, panel) in panels.iter().enumerate() {
                panel.draw(GAP + index as f64 * column, y, &mut body);
            }
            let rows = panels.iter().map(|panel| panel.bars.len()).max();
            y += HEAD + ROW * rows.unwrap_or(0) as f64 + GAP;
        }
        let width = GAP + columns as f64 * column;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {y}\" width=\"{width}\" height=\"{y}\" role=\"img\">\
             <title>{title}</title><style>{STYLE}</style><rect class=\"bg\" width=\"{width}\" height=\"{y}\"/>\n\
             <text class=\"t\" x=\"{GAP}\" y=\"30\">{title}</text>\n<text class=\"s\" x=\"{GAP}\" y=\"49\">{source}</text>\n{body}</svg>\n",
            title = escaped(&self.title),
            source = escaped(&self.source),
        )
    }
}

impl Panel {
    fn draw(&self, x: f64, y: f64, out: &mut String) {
        let _ = writeln!(
            out,
            "<text class=\"h\" x=\"{x}\" y=\"{}\">{}</text>",
            y + 14.0,
            escaped(&self.title)
        );
        let scale = self.scale();
        let zero = x + LABEL;
        let at = |value: f64| round(zero + BAR * scale(value));
        for (index, bar) in self.bars.iter().enumerate() {
            let top = y + HEAD - 8.0 + ROW * index as f64;
            let middle = top + ROW / 2.0;
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{}\" x=\"{zero}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\
                 <line class=\"e\" x1=\"{}\" x2=\"{}\" y1=\"{middle}\" y2=\"{middle}\"/>\
                 <text x=\"{}\" y=\"{}\">{}</text>",
                zero - 6.0,
                middle + 4.0,
                escaped(&bar.label),
                bar.tone.class(),
                top + 2.0,
                round(at(bar.value) - zero),
                ROW - 4.0,
                at(bar.low),
                at(bar.high),
                zero + BAR + 8.0,
                middle + 4.0,
                escaped(&bar.text),
            );
            for limit in &bar.limits {
                let _ = writeln!(
                    out,
                    "<line class=\"m\" x1=\"{0}\" x2=\"{0}\" y1=\"{1}\" y2=\"{2}\"/>",
                    at(*limit),
                    top + 1.0,
                    top + ROW - 1.0
                );
            }
        }
        if let Some(reference) = self.reference {
            let top = y + HEAD - 8.0;
            let _ = writeln!(
                out,
                "<line class=\"r\" x1=\"{0}\" x2=\"{0}\" y1=\"{top}\" y2=\"{1}\"/>",
                at(reference),
                top + ROW * self.bars.len() as f64
            );
        }
    }

    /// From a value to a share of the bar's room.
    fn scale(&self) -> impl Fn(f64) -> f64 + use<> {
        let values = || {
            let of = |bar: &Bar| [bar.value, bar.low, bar.high];
            let limits = self.bars.iter().flat_map(|bar| bar.limits.iter().copied());
            let bars = self.bars.iter().flat_map(of);
            bars.chain(limits).chain(self.reference)
        };
        let most = values().fold(f64::MIN_POSITIVE, f64::max);
        let positive = values().filter(|value| *value > 0.0);
        let least = positive.fold(most, f64::min) / 2.0;
        let axis = self.axis;
        move |value| {
            let share = match axis {
                Axis::Linear => value / most,
                Axis::Logarithmic => (value.max(least) / least).ln() / (most / least).ln(),
            };
            share.clamp(0.0, 1.0)
        }
    }
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Other => "other",
            Tone::Another => "another",
            Tone::Own => "own",
            Tone::OwnToo => "owntoo",
        }
    }
}

/// To a tenth of a pixel.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(axis: Axis, values: &[f64]) -> Panel {
        let bar = |value: &f64| Bar {
            label: "a < b".to_owned(),
            value: *value,
            low: *value,
            high: *value,
            text: value.to_string(),
            tone: Tone::Own,
            limits: vec![],
        };
        Panel {
            title: "x".to_owned(),
            axis,
            reference: None,
            bars: values.iter().map(bar).collect(),
        }
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let scale = panel(Axis::Linear, &[1.0, 4.0]).scale();
        assert_eq!([scale(0.0), scale(1.0), scale(4.0)], [0.0, 0.25, 1.0]);
        let scale = panel(Axis::Logarithmic, &[2.0, 16.0]).scale();
        let shares = [scale(1.0), scale(4.0), scale(16.0), scale(0.0)];
        for (share, expected) in shares.into_iter().zip([0.0, 0.5, 1.0, 0.0]) {
            assert!((share - expected).abs() < 1e-9, "{shares:?}");
        }
    }

    #[test]
    fn text_is_escaped_and_every_bar_is_drawn() {
        let chart = Chart {
            title: "t & u".to_owned(),
            source: "s".to_owned(),
            columns: 2,
            panels: vec![
                panel(Axis::Linear, &[1.0, 2.0]),
                panel(Axis::Linear, &[0.0]),
            ],
        };
        let text = chart.draw();
        assert_eq!(text.matches("class=\"own\"").count(), 3);
        assert!(
            text.contains("t &amp; u") && text.contains("a &lt; b"),
            "{text}"
        );
        assert!(!text.contains("NaN"), "{text}");
    }
}
