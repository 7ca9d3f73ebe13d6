//! Tables of average precision.

use oxidet_vision::metrics::Report;

/// The table that the original prints, a line per class and then the mean, with the best F1 of each class beside it and what
/// COCO says below.
pub fn average_precision(classes: &[String], report: &Report) -> String {
    let rule = "*".repeat(31);
    let longest = classes.iter().map(|class| class.chars().count()).max().unwrap_or(0);
    let width = (longest + 2).max(14);
    let mut lines = vec![rule.clone()];
    for (class, result) in classes.iter().zip(&report.per_class) {
        let best = result.best_f1.map_or(String::new(), |best| {
            // Rounded down, so that the score given keeps what was counted.
            let score = (f64::from(best.threshold) * 1e3).floor() / 1e3;
            format!("   F1 {:.3} at score {score:.3}", best.f1)
        });
        lines.push(format!("{class:<width$}{:<6}{:<7}{best}", "AP", number(result.ap)).trim_end().to_owned());
    }
    lines.push(format!("{:<width$}{:<6}{}", "", "mAP", number(report.map)));
    lines.push(rule);
    let coco = &report.coco;
    let values = [("AP50", coco.ap50), ("AP75", coco.ap75), ("AP50:95", coco.ap)];
    let values = values.map(|(name, value)| format!("{name} {}", number(value)));
    lines.push(format!("COCO: {}", values.join(", ")));
    lines.join("\n")
}

/// Five decimals, or a dash for what is not defined.
pub fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.5}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxidet_vision::metrics::{Metrics, Mode, Scene, Settings, Truth};
    use oxidet_vision::{Detection, NormBox, PxBox};

    #[test]
    fn a_class_a_line_then_the_mean_then_coco() {
        let settings = Settings { iou_threshold: 0.5, mode: Mode::Sample, score_threshold: 0.5 };
        let mut metrics = Metrics::new(2, settings);
        let canvas = NormBox { x1: 0.25, y1: 0.25, x2: 0.5, y2: 0.5 };
        let pixels = PxBox { x1: 100.0, y1: 100.0, x2: 200.0, y2: 200.0 };
        metrics.update(
            Scene {
                truths: &[Truth { class: 0, difficult: false, bbox: canvas }],
                detections: &[Detection { class: 0, score: 0.6789, bbox: canvas }],
            },
            Scene {
                truths: &[Truth { class: 0, difficult: false, bbox: pixels }],
                detections: &[Detection { class: 0, score: 0.6789, bbox: pixels }],
            },
        );
        let report = metrics.compute();
        let table = average_precision(&["cell".into(), "something long".into()], &report);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[1..],
            [
                "cell            AP    1.00000   F1 1.000 at score 0.678",
                "something long  AP    -",
                "                mAP   1.00000",
                "*******************************",
                "COCO: AP50 1.00000, AP75 1.00000, AP50:95 1.00000",
            ]
        );
        let table = average_precision(&["cell".into(), "dish".into()], &report);
        assert_eq!(table.lines().nth(3), Some("              mAP   1.00000"), "the original's columns");
    }
}
