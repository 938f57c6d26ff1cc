//! One page and one table from the results in a directory.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use plotters::prelude::*;

use crate::results::{Comparison, Scenario, Sweep, Target};

const WIDTH: u32 = 860;
const HEIGHT: u32 = 380;
/// Distinguishable on white, also without seeing red and green (Okabe and Ito 2008).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
    RGBColor(120, 120, 120),
];
const CAVEATS: &[&str] = &[
    "One machine, one run. Compare within a table, where targets were interleaved; not across tables, days or machines.",
    "Generator and servers share the machine: on a virtual one its neighbours take part as well. CPU time per request is the steady figure, tail latencies are not.",
    "The servers do not do the same work: nginx and hyper run no guest, workerd runs JavaScript in a reused isolate.",
];

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {cause}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A file is not what it should be.
    #[error(
        "{path} is not understood: {cause}; make it with 'vyr bench compare --out' or 'vyr bench sweep --out'"
    )]
    Content {
        /// The file.
        path: String,
        /// Why.
        cause: serde_json::Error,
    },
    /// A plot could not be drawn.
    #[error("cannot draw a plot: {0}")]
    Plot(String),
}

/// Reads `compare.json` and `sweep*.json` in `dir`; writes `report.html` and `report.md` there and
/// returns their paths.
///
/// # Errors
/// When a file cannot be read, understood or written.
pub fn write(dir: &Path) -> Result<[PathBuf; 2], ReportError> {
    let comparison: Comparison = read(&dir.join("compare.json"))?;
    let mut sweeps = Vec::new();
    let entries = fs::read_dir(dir).map_err(|cause| file("read", dir, cause))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("sweep") && name.ends_with(".json") {
            sweeps.push((name, read::<Sweep>(&path)?));
        }
    }
    let outputs = [
        (dir.join("report.html"), page(&comparison, &sweeps)?),
        (dir.join("report.md"), tables(&comparison)),
    ];
    for (path, text) in &outputs {
        fs::write(path, text).map_err(|cause| file("write", path, cause))?;
    }
    Ok(outputs.map(|(path, _)| path))
}

fn file(action: &'static str, path: &Path, cause: std::io::Error) -> ReportError {
    ReportError::File {
        action,
        path: path.display().to_string(),
        cause,
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ReportError> {
    let bytes = fs::read(path).map_err(|cause| file("read", path, cause))?;
    serde_json::from_slice(&bytes).map_err(|cause| ReportError::Content {
        path: path.display().to_string(),
        cause,
    })
}

/// A column's heading and what a target has in it.
type Column = (&'static str, fn(&Target) -> Option<String>);

/// The columns of a scenario's table.
const COLUMNS: [Column; 11] = [
    ("CPU µs/request", |target| {
        one_digit(target.cpu_us_per_request)
    }),
    ("peak/s", |target| whole(target.peak_rps)),
    ("offered/s", |target| whole(target.offered_rps)),
    ("p50 µs", |target| one_digit(target.p50_us)),
    ("p90 µs", |target| one_digit(target.p90_us)),
    ("p99 µs", |target| one_digit(target.p99_us)),
    ("p99.9 µs", |target| one_digit(target.p999_us)),
    ("p99.99 µs", |target| one_digit(target.p9999_us)),
    ("max µs", |target| one_digit(target.max_us)),
    ("errors", |target| {
        target.errors.map(|count| count.to_string())
    }),
    ("memory MiB", |target| {
        one_digit(target.rss_bytes.map(|bytes| bytes as f64 / 1_048_576.0))
    }),
];

fn one_digit(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{value:.1}"))
}

fn whole(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{value:.0}"))
}

fn remarks(target: &Target) -> String {
    let missing = target
        .missing
        .iter()
        .map(|reason| format!("missing: {reason}"));
    let void = target.void.iter().chain(&target.void_tail);
    let void = void.map(|reason| format!("void: {reason}"));
    let figures = target
        .figures
        .iter()
        .map(|(name, value)| format!("{name} {value:.3}"));
    missing
        .chain(void)
        .chain(figures)
        .collect::<Vec<_>>()
        .join("; ")
}

fn failed(scenario: &Scenario) -> String {
    let reason = scenario.failed.iter();
    reason.map(|reason| format!("Failed: {reason}\n")).collect()
}

fn tables(comparison: &Comparison) -> String {
    let mut text = String::from("# Measured\n\n");
    for caveat in CAVEATS {
        let _ = writeln!(text, "- {caveat}");
    }
    let _ = writeln!(text, "\nMade by `{}`.\n", comparison.command);
    for (name, value) in &comparison.host {
        let _ = writeln!(text, "- {name}: {value}");
    }
    text.push_str("\n| | figure | bar | |\n|---|---:|---:|---|\n");
    for ratio in &comparison.ratios {
        let value = ratio
            .value
            .map_or("missing or void".into(), |value| format!("{value:.3}"));
        let met = match ratio.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        let _ = writeln!(
            text,
            "| {} | {value} | {} {} | {met} |",
            ratio.what, ratio.relation, ratio.bar
        );
    }
    for scenario in &comparison.scenarios {
        let _ = write!(
            text,
            "\n## {}\n{}\n{}\n| target |",
            scenario.name,
            scenario.description,
            failed(scenario)
        );
        for (heading, _) in COLUMNS {
            let _ = write!(text, " {heading} |");
        }
        text.push_str(" |\n|---|");
        text.push_str(&"---:|".repeat(COLUMNS.len()));
        text.push_str("---|\n");
        for target in &scenario.targets {
            let _ = write!(text, "| {} |", target.name);
            for (_, cell) in COLUMNS {
                let _ = write!(text, " {} |", cell(target).unwrap_or_default());
            }
            let _ = writeln!(text, " {} |", remarks(target));
        }
    }
    text
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
table{border-collapse:collapse;display:block;overflow-x:auto;margin:1rem 0}th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}\
th:first-child,td:first-child,td.text{text-align:left}td.text{white-space:normal}.missed{color:#b00020;font-weight:600}\
figure{margin:1.5rem 0;overflow-x:auto}svg{max-width:100%;height:auto;background:#fff}\
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}th,td{border-color:#444}.missed{color:#ff8a80}}";

fn page(comparison: &Comparison, sweeps: &[(String, Sweep)]) -> Result<String, ReportError> {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>VYR measured</title><style>{STYLE}</style><h1>VYR measured</h1><h2>Caveats</h2><ul>"
    );
    for caveat in CAVEATS {
        let _ = write!(html, "<li>{caveat}</li>");
    }
    let _ = write!(
        html,
        "</ul><p>Made by <code>{}</code> on:</p><ul>",
        escape(&comparison.command)
    );
    for (name, value) in &comparison.host {
        let _ = write!(html, "<li>{}: {}</li>", escape(name), escape(value));
    }
    html.push_str("</ul><h2>What VYR promises</h2><table><tr><th>what</th><th>figure</th><th>bar</th><th></th></tr>");
    for ratio in &comparison.ratios {
        let value = ratio
            .value
            .map_or("missing or void".into(), |value| format!("{value:.3}"));
        let met = match ratio.met {
            Some(true) => "<td>met</td>",
            Some(false) => "<td class=\"missed\">missed</td>",
            None => "<td></td>",
        };
        let _ = write!(
            html,
            "<tr><td class=\"text\">{}</td><td>{value}</td><td>{} {}</td>{met}</tr>",
            escape(&ratio.what),
            escape(&ratio.relation),
            ratio.bar
        );
    }
    html.push_str("</table>");
    for scenario in &comparison.scenarios {
        write_scenario(&mut html, scenario)?;
    }
    for (name, sweep) in sweeps {
        let _ = write!(
            html,
            "<h2>Latency by rate: {}</h2><p>{}</p>",
            escape(&sweep.url),
            escape(name)
        );
        html.push_str(&figure(&by_rate(sweep)?));
    }
    html.push_str("</html>\n");
    Ok(html)
}

fn write_scenario(html: &mut String, scenario: &Scenario) -> Result<(), ReportError> {
    let _ = write!(
        html,
        "<h2>{}</h2><p>{}</p><p>{}</p><table><tr><th>target</th>",
        escape(&scenario.name),
        escape(&scenario.description),
        escape(&failed(scenario))
    );
    for (heading, _) in COLUMNS {
        let _ = write!(html, "<th>{heading}</th>");
    }
    html.push_str("<th></th></tr>");
    for target in &scenario.targets {
        let _ = write!(html, "<tr><td>{}</td>", escape(&target.name));
        for (_, cell) in COLUMNS {
            let _ = write!(html, "<td>{}</td>", cell(target).unwrap_or_default());
        }
        let _ = write!(
            html,
            "<td class=\"text\">{}</td></tr>",
            escape(&remarks(target))
        );
    }
    html.push_str("</table>");
    let costs: Vec<(&str, f64)> = scenario
        .targets
        .iter()
        .filter_map(|target| Some((target.name.as_str(), target.cpu_us_per_request?)))
        .collect();
    if costs.len() > 1 {
        html.push_str(&figure(&bars(&costs)?));
    }
    if scenario
        .targets
        .iter()
        .any(|target| !target.percentiles.is_empty())
    {
        html.push_str(&figure(&by_percentile(scenario)?));
    }
    Ok(())
}

fn figure(svg: &str) -> String {
    format!("<figure>{svg}</figure>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn plot_error(error: impl std::fmt::Display) -> ReportError {
    ReportError::Plot(error.to_string())
}

/// CPU time per request, one bar a target.
fn bars(costs: &[(&str, f64)]) -> Result<String, ReportError> {
    let mut svg = String::new();
    let height = 60 + 30 * u32::try_from(costs.len()).unwrap_or(1);
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let max = costs.iter().map(|(_, cost)| *cost).fold(0.0, f64::max) * 1.15;
        let mut chart = ChartBuilder::on(&root)
            .caption("CPU time per request, µs", ("sans-serif", 16))
            .margin(8)
            .set_label_area_size(LabelAreaPosition::Left, 170)
            .build_cartesian_2d(0.0..max, 0..costs.len())
            .map_err(plot_error)?;
        let label = |row: usize| costs.len().checked_sub(row + 1);
        for row in 0..costs.len() {
            let Some((name, cost)) = label(row).map(|at| costs[at]) else {
                continue;
            };
            let bar = Rectangle::new([(0.0, row), (cost, row + 1)], COLOURS[0].filled());
            let mut bar = bar;
            bar.set_margin(4, 4, 0, 0);
            chart.draw_series([bar]).map_err(plot_error)?;
            let (x, y) = chart.backend_coord(&(cost, row));
            let style = ("sans-serif", 13).into_font().color(&BLACK);
            root.draw(&Text::new(
                format!("{cost:.1}"),
                (x + 5, y - 21),
                style.clone(),
            ))
            .map_err(plot_error)?;
            root.draw(&Text::new(name.to_owned(), (8, y - 21), style))
                .map_err(plot_error)?;
        }
        root.present().map_err(plot_error)?;
    }
    Ok(svg)
}

/// Latency by percentile, on the axis that HdrHistogram's plots have: 1/(1-p), logarithmic.
fn by_percentile(scenario: &Scenario) -> Result<String, ReportError> {
    let lines: Vec<(&str, Vec<(f64, f64)>)> = scenario
        .targets
        .iter()
        .filter(|target| !target.percentiles.is_empty())
        .map(|target| {
            let points = target.percentiles.iter();
            let points =
                points.map(|[percentile, us]| (1.0 / (1.0 - percentile / 100.0), us.max(1.0)));
            (target.name.as_str(), points.collect())
        })
        .collect();
    let label = |x: &f64| {
        let percentile = 100.0 - 100.0 / x;
        format!("{percentile:.4}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
            + " %"
    };
    plot(
        "Response time by percentile, µs",
        "percentile",
        &lines,
        &label,
    )
}

/// Latency by offered rate.
fn by_rate(sweep: &Sweep) -> Result<String, ReportError> {
    let line = |pick: fn(&crate::results::Point) -> f64| {
        let points = sweep.points.iter().filter(|point| !point.void);
        points
            .map(|point| (point.offered_rps, pick(point).max(1.0)))
            .collect()
    };
    let lines: Vec<(&str, Vec<(f64, f64)>)> = vec![
        ("p50", line(|point| point.p50_us)),
        ("p99", line(|point| point.p99_us)),
        ("p99.9", line(|point| point.p999_us)),
    ];
    plot(
        "Response time by rate, µs",
        "offered requests per second",
        &lines,
        &|x| format!("{x:.0}"),
    )
}

fn plot(
    caption: &str,
    x_name: &str,
    lines: &[(&str, Vec<(f64, f64)>)],
    x_label: &dyn Fn(&f64) -> String,
) -> Result<String, ReportError> {
    let all = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let range = |pick: fn((f64, f64)) -> f64| {
        let low = all().map(pick).fold(f64::INFINITY, f64::min);
        let high = all().map(pick).fold(0.0, f64::max);
        if low.is_finite() && low > 0.0 {
            (low, (high * 1.1).max(low * 2.0))
        } else {
            (1.0, 2.0)
        }
    };
    let (x, y) = (range(|point| point.0), range(|point| point.1));
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .caption(caption, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())
            .map_err(plot_error)?;
        chart
            .configure_mesh()
            .x_desc(x_name)
            .x_label_formatter(&x_label)
            .y_label_formatter(&|us| format!("{us:.0}"))
            .light_line_style(WHITE.mix(0.0))
            .draw()
            .map_err(plot_error)?;
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let series = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
            chart
                .draw_series(series)
                .map_err(plot_error)?
                .label(*name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .draw()
            .map_err(plot_error)?;
        root.present().map_err(plot_error)?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Point, Ratio};

    fn example() -> Comparison {
        let target = |name: &str, factor: f64| Target {
            name: name.into(),
            cpu_us_per_request: Some(10.0 * factor),
            p50_us: Some(100.0 * factor),
            percentiles: vec![
                [0.0, 50.0 * factor],
                [50.0, 100.0 * factor],
                [99.0, 400.0 * factor],
            ],
            ..Target::default()
        };
        let mut void = target("late <b>", 2.0);
        void.void = Some("the generator was late".into());
        Comparison {
            command: "vyr bench compare".into(),
            scenarios: vec![Scenario {
                name: "hello".into(),
                description: "made up for this test".into(),
                failed: Some("a part of it".into()),
                targets: vec![
                    target("vyr-fresh", 1.0),
                    void,
                    Target::missing("workerd", "not installed".into()),
                ],
            }],
            ratios: vec![
                Ratio::at_most("one ÷ other", Some(0.7), 0.5),
                Ratio::at_most("one ÷ missing", None, 0.5),
            ],
            ..Comparison::default()
        }
    }

    #[test]
    fn the_page_has_caveats_before_figures_and_every_target() {
        let dir = tempfile::tempdir().expect("a directory");
        let json = serde_json::to_vec(&example()).expect("JSON");
        fs::write(dir.path().join("compare.json"), json).expect("write");
        let sweep = Sweep {
            url: "127.0.0.1/run/hello".into(),
            points: [1000.0, 2000.0]
                .map(|offered_rps| Point {
                    offered_rps,
                    achieved_rps: offered_rps,
                    p50_us: 50.0,
                    p99_us: 90.0,
                    p999_us: 200.0,
                    max_us: 400.0,
                    errors: 0,
                    void: false,
                })
                .into(),
            ..Sweep::default()
        };
        let json = serde_json::to_vec(&sweep).expect("JSON");
        fs::write(dir.path().join("sweep-hello.json"), json).expect("write");
        let [html, markdown] = write(dir.path()).expect("a report");
        let html = fs::read_to_string(html).expect("the page");
        let caveat = html.find(CAVEATS[0]).expect("a caveat");
        assert!(caveat < html.find("0.700").expect("the ratio"));
        assert_eq!(html.matches("<svg").count(), 3, "bars, percentiles, rates");
        for part in [
            "vyr-fresh",
            "late &lt;b&gt;",
            "missing: not installed",
            "void: the generator",
            "missing or void",
            "Failed: a part of it",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert_eq!(html.matches(">missed<").count(), 1, "of two ratios");
        assert!(!html.contains("<b>"));
        let markdown = fs::read_to_string(markdown).expect("the table");
        assert!(markdown.contains("| vyr-fresh | 10.0 |"), "{markdown}");
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let error = write(dir.path()).expect_err("nothing is there").to_string();
        assert!(error.contains("compare.json"), "{error}");
        fs::write(dir.path().join("compare.json"), b"{").expect("write");
        let error = write(dir.path()).expect_err("half a file").to_string();
        assert!(
            error.contains("compare.json") && error.contains("bench compare"),
            "{error}"
        );
    }
}
