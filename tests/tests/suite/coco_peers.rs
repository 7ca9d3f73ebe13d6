//! COCO average precision: ours against that of pycocotools, on the files that `oxidet evaluate` writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oxidet_trainer::data::{Dataset, Sample};
use oxidet_trainer::evaluate::{Evaluated, coco_annotations, coco_detections};
use oxidet_vision::metrics::{Coco, CocoReport, Outcomes, Scene, Truth};
use oxidet_vision::{Detection, PxBox};
use serde_json::Value;

type Image = (Vec<Truth<PxBox>>, Vec<Detection<PxBox>>);

struct Case {
    name: String,
    classes: usize,
    images: Vec<Image>,
}

/// Numbers in [0, 1) from a linear congruential generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u32 << 24) as f32
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() * limit as f32) as usize
    }

    /// A box in 640 × 480 pixels on a grid of `step`; sides from nothing to large, so that every range of area occurs.
    fn place(&mut self, step: f32) -> PxBox {
        let side = 2f32.powf(self.next() * 8.5) - 1.0;
        let (w, h) = (side, side * (0.4 + self.next()));
        let (x, y) = (self.next() * 640.0, self.next() * 480.0);
        on_grid([x, y, x + w, y + h], step)
    }

    fn near(&mut self, b: &PxBox, step: f32) -> PxBox {
        let (w, h) = (0.3 * b.width(), 0.3 * b.height());
        let mut off = |side: f32| (self.next() - 0.5) * side;
        on_grid([b.x1 + off(w), b.y1 + off(h), b.x2 + off(w), b.y2 + off(h)], step)
    }
}

fn on_grid(corners: [f32; 4], step: f32) -> PxBox {
    let [x1, y1, x2, y2] = corners.map(|v| (v / step).round() * step);
    PxBox { x1, y1, x2: x2.max(x1), y2: y2.max(y1) }
}

struct Kind {
    classes: usize,
    images: usize,
    truths: usize,
    detections: usize,
    /// Share of objects that are difficult.
    difficult: f32,
    /// Distance of corners: whole pixels make overlaps that equal a threshold.
    step: f32,
    /// Different scores.
    scores: f32,
}

fn random_case(name: &str, seed: u64, kind: &Kind) -> Case {
    let mut random = Random(seed);
    let images = (0..kind.images).map(|_| {
        let truths: Vec<_> = (0..random.below(kind.truths + 1))
            .map(|_| Truth {
                class: random.below(kind.classes),
                difficult: random.next() < kind.difficult,
                bbox: random.place(kind.step),
            })
            .collect();
        let detections = (0..random.below(kind.detections + 1)).map(|_| {
            let (mut class, mut bbox) = (random.below(kind.classes), random.place(kind.step));
            if !truths.is_empty() && random.next() < 0.6 {
                let truth = &truths[random.below(truths.len())];
                bbox = random.near(&truth.bbox, kind.step);
                class = if random.next() < 0.8 { truth.class } else { class };
            }
            Detection { class, score: (random.next() * kind.scores).floor() / kind.scores, bbox }
        });
        let mut detections: Vec<_> = detections.collect();
        detections.sort_by(|a, b| b.score.total_cmp(&a.score));
        (truths, detections)
    });
    Case { name: name.into(), classes: kind.classes, images: images.collect() }
}

fn cases() -> Vec<Case> {
    let plain =
        Kind { classes: 3, images: 40, truths: 12, detections: 30, difficult: 0.0, step: 0.01, scores: 1e6 };
    let mut cases = vec![
        random_case("plain", 1, &plain),
        random_case("many classes", 2, &Kind { classes: 60, ..plain }),
        random_case("crowds", 3, &Kind { difficult: 0.3, ..plain }),
        random_case("whole pixels and equal scores", 4, &Kind { step: 1.0, scores: 4.0, ..plain }),
        random_case("coarse boxes and crowds", 5, &Kind { step: 16.0, difficult: 0.2, scores: 8.0, ..plain }),
        random_case("more than 100 detections", 6, &Kind { classes: 1, images: 6, detections: 400, ..plain }),
        random_case("no detections", 7, &Kind { detections: 0, ..plain }),
        random_case("no objects", 8, &Kind { truths: 0, ..plain }),
        random_case("difficult objects only", 9, &Kind { difficult: 1.1, ..plain }),
        random_case("one image", 10, &Kind { images: 1, ..plain }),
    ];
    for seed in 100..130 {
        let kind =
            Kind { images: 8, truths: 6, detections: 12, difficult: 0.15, step: 4.0, scores: 16.0, ..plain };
        cases.push(random_case("small", seed, &kind));
    }
    let object = |bbox| Truth { class: 0, difficult: false, bbox };
    let square = PxBox { x1: 0.0, y1: 0.0, x2: 32.0, y2: 32.0 };
    let found = |bbox| Detection { class: 0, score: 0.5, bbox };
    let point = PxBox { x1: 7.0, y1: 7.0, x2: 7.0, y2: 7.0 };
    // Areas on the borders of the ranges, overlaps of exactly 0.5 and 0.75, and boxes without area.
    let cut = |y2: f32| PxBox { y2, ..square };
    cases.push(Case {
        name: "borders".into(),
        classes: 2,
        images: vec![
            (vec![object(square)], vec![found(cut(16.0)), found(cut(24.0)), found(square)]),
            (vec![object(PxBox { x1: 0.0, y1: 0.0, x2: 96.0, y2: 96.0 })], vec![found(square)]),
            (vec![object(point), object(square)], vec![found(point), found(cut(24.0))]),
            (vec![object(square), object(square)], vec![found(square), found(square), found(square)]),
            (vec![], vec![]),
        ],
    });
    cases
}

fn measure(case: &Case, dir: &Path) -> CocoReport {
    let mut coco = Coco::new(case.classes);
    let mut dataset =
        Dataset { classes: (0..case.classes).map(|c| format!("class {c}")).collect(), ..Dataset::default() };
    let mut images = Vec::new();
    for (sample, (truths, detections)) in case.images.iter().enumerate() {
        coco.update(Scene { truths, detections });
        dataset.samples.push(Sample {
            image: format!("{sample}.png").into(),
            width: 640,
            height: 480,
            objects: vec![],
        });
        let (truths, detections) = (truths.clone(), detections.clone());
        let outcomes = Outcomes { truths: vec![], detections: vec![] };
        images.push(Evaluated { sample, truths, detections, outcomes });
    }
    let files =
        [("truths.json", coco_annotations(&dataset, &images)), ("detections.json", coco_detections(&images))];
    fs::create_dir_all(dir).expect("the folder is temporary");
    for (name, text) in files {
        fs::write(dir.join(name), text).expect("the folder is temporary");
    }
    coco.compute()
}

#[test]
#[cfg_attr(not(peers), ignore = "set OXIDET_PEERS_PYTHON to a Python with pycocotools")]
fn coco_average_precision_is_that_of_pycocotools() {
    let temp = tempfile::tempdir().unwrap();
    let cases = cases();
    let dirs: Vec<PathBuf> = (0..cases.len()).map(|number| temp.path().join(number.to_string())).collect();
    let ours: Vec<CocoReport> = cases.iter().zip(&dirs).map(|(case, dir)| measure(case, dir)).collect();
    let python = std::env::var("OXIDET_PEERS_PYTHON").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/peers/coco_eval.py");
    let output = Command::new(python).arg(script).args(&dirs).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();

    let mut known = 0;
    for ((case, ours), theirs) in cases.iter().zip(&ours).zip(theirs["folders"].as_array().unwrap()) {
        let mut same = |what: &str, ours: Option<f64>, theirs: &Value| {
            known += usize::from(ours.is_some());
            let (ours, theirs) = (ours.unwrap_or(-1.0), theirs.as_f64().unwrap());
            assert!((ours - theirs).abs() < 1e-9, "{}: {what} is {ours}, {theirs} of pycocotools", case.name);
        };
        for (index, (name, value)) in ours.statistics().into_iter().enumerate() {
            same(name, value, &theirs["statistics"][index]);
        }
        for (id, class) in ours.per_class.iter().enumerate() {
            for (index, value) in [class.ap, class.ap50, class.ap75].into_iter().enumerate() {
                same(&format!("class {id}"), value, &theirs["per_class"][id][index]);
            }
        }
    }
    assert!(known > 500, "{known} numbers");
}
