//! Tables of average precision.

use oxidet_vision::metrics::Report;

/// The table that the original prints: a line per class, then the mean.
pub fn average_precision(classes: &[String], report: &Report) -> String {
    let rule = "*".repeat(31);
    let mut lines = vec![rule.clone()];
    for (class, result) in classes.iter().zip(&report.per_class) {
        lines.push(format!("{class:<14}{:<6}{}", "AP", number(result.ap)));
    }
    lines.push(format!("{:<14}{:<6}{}", "", "mAP", number(report.map)));
    lines.push(rule);
    lines.join("\n")
}

/// Five decimals, or a dash for what is not defined.
pub fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.5}"))
}
