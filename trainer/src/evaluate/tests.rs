//! What is written of an evaluation, for two classes whose names need care.

use oxidet_vision::draw::class_colour;
use oxidet_vision::metrics::{Fate, Metrics, Mode, Outcomes, Report, Scene, Settings, Truth};
use oxidet_vision::{Detection, NormBox, PxBox};
use serde_json::{Value, json};

use super::*;

fn classes() -> [String; 2] {
    ["cat, \"tabby\"".into(), "<dog>".into()]
}

fn norm(b: [f32; 4]) -> NormBox {
    NormBox { x1: b[0], y1: b[1], x2: b[2], y2: b[3] }
}

/// One object of the first class found twice, at 0.9 and 0.2; none of the second, but a detection at 0.4.
fn report() -> Report {
    let settings = Settings { iou_threshold: 0.5, mode: Mode::Integrate, score_threshold: 0.3 };
    let mut metrics = Metrics::new(2, settings);
    let (here, there) = (norm([0.1, 0.1, 0.4, 0.4]), norm([0.6, 0.6, 0.9, 0.9]));
    let found = |class, score, bbox| Detection { class, score, bbox };
    metrics.update(
        Scene {
            truths: &[Truth { class: 0, difficult: false, bbox: here }],
            detections: &[found(0, 0.9, here), found(1, 0.4, there), found(0, 0.2, here)],
        },
        Scene { truths: &[], detections: &[] },
    );
    metrics.compute()
}

#[test]
fn json_has_everything_and_null_for_what_is_not_defined() {
    let json = results_json(&classes(), &report());
    assert_eq!((&json["map"], &json["mode"], &json["iou"]), (&json!(1.0), &json!("integrate"), &json!(0.5)));
    assert_eq!(json["coco"]["ap50"], Value::Null);
    let [first, second] = &json["classes"].as_array().unwrap()[..] else { panic!("{json:#}") };
    assert_eq!(
        (&first["name"], &first["ap"], &first["detections"]),
        (&json!("cat, \"tabby\""), &json!(1.0), &json!(2))
    );
    assert_eq!(first["best_f1"], json!({ "threshold": 0.9, "precision": 1.0, "recall": 1.0, "f1": 1.0 }));
    let counts = json!({ "true_positives": 1, "false_positives": 0, "false_negatives": 0 });
    assert_eq!(first["at_score_threshold"], counts, "0.2 is below the threshold");
    assert_eq!(first["pr_curve"]["score"][100], 0.9);
    assert_eq!((&second["ap"], &second["best_f1"]), (&Value::Null, &Value::Null));
    let matrix = &json["confusion_matrix"];
    assert_eq!(matrix["score_threshold"], 0.3);
    assert_eq!(matrix["labels"], json!(["cat, \"tabby\"", "<dog>", "background"]));
    assert_eq!(matrix["counts"], json!([[1, 0, 0], [0, 0, 0], [0, 1, 0]]));
}

#[test]
fn tables_quote_names() {
    let csv = pr_curve_csv(&classes(), &report());
    let cat = "\"cat, \"\"tabby\"\"\"";
    assert_eq!(
        csv,
        format!("class,score,recall,precision\n{cat},0.9,1.000000,1.000000\n{cat},0.2,1.000000,0.500000\n"),
        "a class without objects has no curve"
    );
    let csv = confusion_csv(&classes(), &report().confusion);
    assert_eq!(
        csv,
        format!("object \\ detected as,{cat},<dog>,background\n{cat},1,0,0\n<dog>,0,0,0\nbackground,0,1,0\n")
    );
}

#[test]
fn the_picture_has_the_curve_in_the_colour_of_its_class() {
    let red = |image: &oxidet_vision::Image| {
        let colour = class_colour(0);
        image.data.chunks(3).filter(|pixel| **pixel == colour).count()
    };
    let picture = pr_picture(&classes(), &report());
    // The curve runs along the top and down the right; it is two pixels wide.
    assert!(red(&picture) > 900, "{}", red(&picture));
    let nothing = Metrics::new(0, Settings { iou_threshold: 0.5, mode: Mode::Sample, score_threshold: 0.3 });
    assert_eq!(red(&pr_picture(&[], &nothing.compute())), 0);
    let many: Vec<String> = (0..90).map(|class| format!("a class with a long name {class}")).collect();
    let mut metrics =
        Metrics::new(90, Settings { iou_threshold: 0.5, mode: Mode::Sample, score_threshold: 0.3 });
    let truths: Vec<Truth> =
        (0..90).map(|class| Truth { class, difficult: false, bbox: norm([0.1, 0.1, 0.4, 0.4]) }).collect();
    metrics.update(Scene { truths: &truths, detections: &[] }, Scene { truths: &[], detections: &[] });
    assert!(pr_picture(&many, &metrics.compute()).width > picture.width, "the legend has room");
}

fn px(x1: f32) -> PxBox {
    PxBox { x1, y1: 0.0, x2: x1 + 10.0, y2: 10.0 }
}

fn evaluated(sample: usize, truths: &[(usize, Fate)], detections: &[(usize, f32, Fate)]) -> Evaluated {
    Evaluated {
        sample,
        truths: truths
            .iter()
            .map(|(class, _)| Truth { class: *class, difficult: false, bbox: px(5.0) })
            .collect(),
        detections: detections
            .iter()
            .map(|(class, score, _)| Detection { class: *class, score: *score, bbox: px(5.0) })
            .collect(),
        outcomes: Outcomes {
            truths: truths.iter().map(|(_, fate)| *fate).collect(),
            detections: detections.iter().map(|(_, _, fate)| *fate).collect(),
        },
    }
}

#[test]
fn the_worst_images_come_first() {
    let images = [
        evaluated(0, &[(0, Fate::Right(0))], &[(0, 0.9, Fate::Right(0)), (1, 0.1, Fate::BelowThreshold)]),
        evaluated(1, &[(0, Fate::Alone)], &[]),
        evaluated(2, &[(0, Fate::Confused(0))], &[(1, 0.8, Fate::Confused(0))]),
        evaluated(3, &[(0, Fate::Ignored)], &[(0, 0.7, Fate::Alone), (1, 0.6, Fate::Ignored)]),
        evaluated(4, &[(0, Fate::Alone), (0, Fate::Alone), (1, Fate::Alone)], &[]),
    ];
    let worst = Mistakes::worst(&images, 10);
    let said: Vec<(usize, String)> = worst
        .iter()
        .map(|mistakes| (mistakes.sample(), mistakes.summary(&["cat".into(), "dog".into()])))
        .collect();
    let want = [
        (4, "missed: 2 cat, 1 dog"),
        (2, "confused: 1 cat as dog"),
        (1, "missed: 1 cat"),
        (3, "nothing there: 1 cat"),
    ];
    assert_eq!(said, want.map(|(sample, text)| (sample, text.to_owned())));
    assert_eq!(Mistakes::worst(&images, 2).len(), 2);
}

#[test]
fn names_are_text_on_the_page() {
    let shown =
        Shown { file: "001_a&b.jpg".into(), name: "a&b.jpg".into(), summary: "missed: 1 <dog>".into() };
    let page = mistakes_page("<model>", &classes(), &report().confusion, &[shown]);
    assert!(page.contains("&lt;model&gt;") && page.contains("missed: 1 &lt;dog&gt;"), "{page}");
    assert!(page.contains("<a href=\"001_a&amp;b.jpg\">"), "{page}");
    assert!(!page.contains("<dog>") && !page.contains("<model>"), "{page}");
}

#[test]
fn coco_files_count_from_one_and_have_every_digit() {
    let image = evaluated(0, &[(1, Fate::Alone)], &[(1, 0.1, Fate::BelowThreshold)]);
    let json: Value = serde_json::from_str(&coco_detections(std::slice::from_ref(&image))).unwrap();
    let score = f64::from(0.1f32);
    assert_eq!(
        json,
        json!([{ "image_id": 1, "category_id": 2, "bbox": [5.0, 0.0, 10.0, 10.0], "score": score }])
    );
    assert_eq!(coco_detections(&[]).trim(), "[\n\n]");
}
