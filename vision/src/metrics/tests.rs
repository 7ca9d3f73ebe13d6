//! Values that the original computed, and cases by hand.

use super::*;

/// Average precision of images given as objects and detections on the canvas.
struct MeanAveragePrecision(Metrics);

impl MeanAveragePrecision {
    fn new(classes: usize, iou_threshold: f32, mode: Mode) -> Self {
        Self(Metrics::new(classes, Settings { iou_threshold, mode, score_threshold: 0.5 }))
    }

    fn update(&mut self, truths: &[Truth], detections: &[Detection]) {
        self.0.update(Scene { truths, detections }, Scene { truths: &[], detections: &[] });
    }

    fn compute(&self) -> Report {
        self.0.compute()
    }
}

fn t(class: usize, difficult: bool, b: [f32; 4]) -> Truth {
    Truth { class, difficult, bbox: NormBox { x1: b[0], y1: b[1], x2: b[2], y2: b[3] } }
}

fn d(class: usize, score: f32, b: [f32; 4]) -> Detection {
    Detection { class, score, bbox: NormBox { x1: b[0], y1: b[1], x2: b[2], y2: b[3] } }
}

/// Three images whose average precision the original computed.
fn golden(mode: Mode) -> Report {
    let mut metric = MeanAveragePrecision::new(2, 0.5, mode);
    metric.update(
        &[
            t(0, false, [0.1, 0.1, 0.3, 0.3]),
            t(0, false, [0.5, 0.5, 0.9, 0.9]),
            t(1, false, [0.2, 0.6, 0.4, 0.8]),
        ],
        &[
            d(0, 0.9, [0.1, 0.1, 0.3, 0.3]),
            d(0, 0.8, [0.52, 0.5, 0.9, 0.9]),
            d(0, 0.7, [0.1, 0.12, 0.3, 0.3]),
            d(1, 0.6, [0.2, 0.6, 0.4, 0.79]),
        ],
    );
    metric.update(
        &[t(0, true, [0.0, 0.0, 0.5, 0.5]), t(0, false, [0.6, 0.1, 0.8, 0.4])],
        &[
            d(0, 0.95, [0.0, 0.0, 0.5, 0.5]),
            d(0, 0.4, [0.0, 0.02, 0.5, 0.5]),
            d(0, 0.3, [0.1, 0.6, 0.2, 0.8]),
        ],
    );
    metric.update(&[], &[d(1, 0.5, [0.1, 0.1, 0.2, 0.2])]);
    metric.compute()
}

#[test]
fn golden_values() {
    for (mode, first, mean) in [(Mode::Sample, 7.0 / 11.0, 0.81818), (Mode::Integrate, 2.0 / 3.0, 0.83333)] {
        let report = golden(mode);
        assert!((report.per_class[0].ap.unwrap() - first).abs() < 1e-9, "{report:?}");
        assert_eq!(report.per_class[1].ap, Some(1.0));
        assert!((report.map.unwrap() - mean).abs() < 1e-5);
    }
    let class = &golden(Mode::Sample).per_class[0];
    assert_eq!((class.truths, class.true_positives, class.false_positives), (3, 2, 2));
}

#[test]
fn a_class_without_objects_is_left_out_of_the_mean() {
    let mut metric = MeanAveragePrecision::new(3, 0.5, Mode::Sample);
    let place = [0.1, 0.1, 0.3, 0.3];
    metric.update(&[t(0, false, place), t(2, true, place)], &[d(0, 0.9, place), d(1, 0.9, place)]);
    let report = metric.compute();
    assert_eq!(report.per_class.iter().map(|class| class.ap).collect::<Vec<_>>(), [Some(1.0), None, None]);
    assert_eq!(report.map, Some(1.0));
    assert_eq!(MeanAveragePrecision::new(2, 0.5, Mode::Sample).compute().map, None);
}

#[test]
fn recall_levels_are_exact() {
    // 3 of 10 objects found, all correct: recall 0.3 reaches the levels 0, 0.1, 0.2 and 0.3.
    let mut metric = MeanAveragePrecision::new(1, 0.5, Mode::Sample);
    let place = |i: usize| [0.1 * i as f32, 0.0, 0.1 * i as f32 + 0.05, 0.1];
    let truths: Vec<Truth> = (0..10).map(|i| t(0, false, place(i))).collect();
    let found: Vec<Detection> = (0..3).map(|i| d(0, 0.9, place(i))).collect();
    metric.update(&truths, &found);
    assert_eq!(metric.compute().map, Some(4.0 / 11.0));
}

#[test]
fn a_difficult_object_does_not_take_a_second_detection_from_its_neighbour() {
    let mut metric = MeanAveragePrecision::new(1, 0.5, Mode::Sample);
    let (hard, plain) = ([0.0, 0.0, 0.5, 0.5], [0.0, 0.1, 0.5, 0.6]);
    metric.update(
        &[t(0, true, hard), t(0, false, plain)],
        &[d(0, 0.9, hard), d(0, 0.8, [0.0, 0.02, 0.5, 0.52])],
    );
    assert_eq!(metric.compute().per_class[0].true_positives, 1);
}

#[test]
fn the_area_is_that_under_the_envelope() {
    // Precision rises with recall: 1/2 at the first object, 2/3 at both.
    let mut metric = MeanAveragePrecision::new(1, 0.5, Mode::Integrate);
    let place = |i: usize| [0.2 * i as f32, 0.0, 0.2 * i as f32 + 0.1, 0.1];
    let truths = [t(0, false, place(0)), t(0, false, place(1))];
    metric.update(&truths, &[d(0, 0.7, place(1)), d(0, 0.9, place(3)), d(0, 0.8, place(0))]);
    assert!((metric.compute().map.unwrap() - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn a_score_of_zero_finds_only_what_it_covers() {
    let mut metric = MeanAveragePrecision::new(1, 0.5, Mode::Integrate);
    metric.update(&[t(0, false, [0.1, 0.1, 0.3, 0.3])], &[d(0, 0.0, [0.6, 0.6, 0.7, 0.7])]);
    assert_eq!(metric.compute().map, Some(0.0));
}

#[test]
fn the_curve_and_the_matrix_of_the_golden_images() {
    let report = golden(Mode::Sample);
    let class = &report.per_class[0];
    // 0.95 covers a difficult object and counts nowhere, 0.4 does so too.
    let points: Vec<(f32, f64)> = class.curve.iter().map(|point| (point.score, point.precision)).collect();
    assert_eq!(points, [(0.9, 1.0), (0.8, 1.0), (0.7, 2.0 / 3.0), (0.3, 0.5)]);
    let best = class.best_f1.unwrap();
    assert_eq!((best.threshold, best.precision, best.recall), (0.8, 1.0, 2.0 / 3.0));
    // From 0.5 on: two found and one twice; of three objects one missed. The other class has a detection in an empty image.
    let matrix: Vec<&[usize]> = report.confusion.rows().collect();
    assert_eq!(matrix, [[2, 0, 1], [0, 1, 0], [1, 1, 0]]);
    let counts = Counts { true_positives: 2, false_positives: 1, false_negatives: 1 };
    assert_eq!(report.confusion.of_class(0), counts);
}

/// A matrix of two classes, scores from 0.5 and overlaps from 0.5 on.
fn confusion(truths: &[Truth], detections: &[Detection]) -> Vec<Vec<usize>> {
    let mut matrix = ConfusionMatrix::new(2, 0.5, 0.5);
    matrix.update(Scene { truths, detections });
    matrix.rows().map(<[usize]>::to_vec).collect()
}

#[test]
fn who_is_taken_for_whom() {
    let place = [0.1, 0.1, 0.3, 0.3];
    let near = [0.1, 0.1, 0.3, 0.29];
    let truths = [t(0, false, place)];
    for (what, detections, want) in [
        ("found", vec![d(0, 0.5, near)], [[1, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ("taken for the other class", vec![d(1, 0.9, near)], [[0, 1, 0], [0, 0, 0], [0, 0, 0]]),
        ("too unsure", vec![d(0, 0.49, place)], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
        (
            "the right class goes first",
            vec![d(1, 0.9, place), d(0, 0.6, near)],
            [[1, 0, 0], [0, 0, 0], [0, 1, 0]],
        ),
        ("twice", vec![d(0, 0.9, near), d(0, 0.6, near)], [[1, 0, 0], [0, 0, 0], [1, 0, 0]]),
        ("elsewhere", vec![d(1, 0.9, [0.6, 0.6, 0.9, 0.9])], [[0, 0, 1], [0, 0, 0], [0, 1, 0]]),
    ] {
        assert_eq!(confusion(&truths, &detections), want, "{what}");
    }
    let difficult = [t(0, true, place)];
    let detections = [d(0, 0.9, near), d(0, 0.8, near), d(1, 0.7, near), d(1, 0.7, [0.6, 0.6, 0.9, 0.9])];
    assert_eq!(confusion(&difficult, &detections), [[0, 0, 0], [0, 0, 0], [0, 1, 0]]);
    assert_eq!(confusion(&difficult, &[]), [[0; 3]; 3]);
}

#[test]
fn outcomes_name_the_partners() {
    let (here, there) = ([0.1, 0.1, 0.3, 0.3], [0.6, 0.6, 0.9, 0.9]);
    let truths = [t(0, false, here), t(1, false, there), t(1, true, [0.4, 0.4, 0.5, 0.5])];
    let detections = [d(1, 0.9, here), d(1, 0.8, there), d(0, 0.7, [0.0, 0.6, 0.1, 0.9]), d(0, 0.1, here)];
    let outcomes = Outcomes::of(Scene { truths: &truths, detections: &detections }, 0.5, 0.5);
    assert_eq!(outcomes.truths, [Fate::Confused(0), Fate::Right(1), Fate::Ignored]);
    let want = [Fate::Confused(0), Fate::Right(1), Fate::Alone, Fate::BelowThreshold];
    assert_eq!(outcomes.detections, want);
}

fn px(b: [f32; 4]) -> PxBox {
    PxBox { x1: b[0], y1: b[1], x2: b[2], y2: b[3] }
}

#[test]
fn coco_by_hand() {
    // Two objects of 50 × 100 and 20 × 20 pixels. The first is found at IoU 0.8, the second not, and something is false.
    let mut coco = Coco::new(2);
    let truth = |b| Truth { class: 0, difficult: false, bbox: px(b) };
    let found = |score, b| Detection { class: 0, score, bbox: px(b) };
    coco.update(Scene {
        truths: &[truth([0.0, 0.0, 50.0, 100.0]), truth([200.0, 200.0, 220.0, 220.0])],
        detections: &[found(0.6, [0.0, 0.0, 50.0, 80.0]), found(0.9, [300.0, 0.0, 350.0, 100.0])],
    });
    let report = coco.compute();
    // Precision 1/2 at the 51 recall levels up to 0.5; IoU 0.8 passes 7 of 10 thresholds.
    let at_most = 0.5 * 51.0 / 101.0;
    let close = |got: Option<f64>, want: f64| assert!((got.unwrap() - want).abs() < 1e-12, "{got:?} {want}");
    close(report.ap50, at_most);
    close(report.ap75, at_most);
    close(report.ap, 0.7 * at_most);
    close(report.ap_small, 0.0);
    close(report.ap_medium, 0.35);
    close(report.ar1, 0.0);
    close(report.ar10, 0.35);
    close(report.ar_medium, 0.7);
    assert_eq!((report.ap_large, report.per_class[1].ap), (None, None), "there is nothing to find");
    assert_eq!(report.per_class[0].ap, report.ap);
}

#[test]
fn coco_looks_at_the_hundred_best_of_a_class() {
    let object = px([0.0, 0.0, 10.0, 10.0]);
    let far = px([50.0, 0.0, 60.0, 10.0]);
    for (better, want) in [(99, 0.01), (100, 0.0)] {
        let mut coco = Coco::new(1);
        let mut detections = vec![Detection { class: 0, score: 0.9, bbox: far }; better];
        detections.push(Detection { class: 0, score: 0.1, bbox: object });
        coco.update(Scene {
            truths: &[Truth { class: 0, difficult: false, bbox: object }],
            detections: &detections,
        });
        assert!((coco.compute().ap50.unwrap() - want).abs() < 1e-12, "{better}");
    }
}
