//! Time of COCO average precision, next to that of pycocotools on the same boxes.
//!
//! The boxes are drawn: as many images, objects and classes as COCO's validation set has, or as asked for. Ours is timed from boxes in
//! memory to the report; pycocotools in `evaluate` and `accumulate`, without reading and indexing.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use oxidet_trainer::data::{Dataset, Sample};
use oxidet_trainer::evaluate::{Evaluated, coco_annotations, coco_detections};
use oxidet_vision::metrics::{Coco, CocoReport, Outcomes, Scene, Truth};
use oxidet_vision::{Detection, PxBox};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::bench_data::{ask_peer, median};

/// Measures COCO average precision.
#[derive(clap::Args)]
pub struct Args {
    /// Images
    #[arg(long, default_value_t = 5000)]
    images: usize,
    /// Detections in each
    #[arg(long, default_value_t = 100)]
    detections: usize,
    /// Classes
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    classes: u16,
    /// A Python with pycocotools, to do the same with
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// Runs of ours; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Writes the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Results {
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Comparison>,
}

#[derive(Serialize)]
struct Comparison {
    version: String,
    ms: f64,
    faster_by: f64,
    /// Largest difference of the twelve statistics and of the average precisions of each class.
    largest_difference: f64,
}

/// What the peer says.
#[derive(Deserialize)]
struct Answer {
    version: String,
    folders: Vec<Folder>,
}

#[derive(Deserialize)]
struct Folder {
    statistics: Vec<f64>,
    per_class: Vec<[f64; 3]>,
    ms: f64,
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    let images = draw(args);
    let objects: usize = images.iter().map(|image| image.truths.len()).sum();
    let detections: usize = images.iter().map(|image| image.detections.len()).sum();
    println!("{} images, {objects} objects, {detections} detections, {} classes", images.len(), args.classes);

    let mut times = Vec::new();
    let mut report = None;
    for _ in 0..args.runs {
        let start = Instant::now();
        let mut coco = Coco::new(args.classes.into());
        for image in &images {
            coco.update(Scene { truths: &image.truths, detections: &image.detections });
        }
        report = Some(coco.compute());
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    let report = report.expect("there is at least one run");
    let mut results = Results { ms: median(times), peer: None };
    println!("oxidet       {:9.1} ms   AP50:95 {:.9}", results.ms, report.ap.unwrap_or(-1.0));

    if let Some(python) = &args.peer {
        let dir = tempfile::tempdir()?;
        let dataset = dataset(args);
        std::fs::write(dir.path().join("truths.json"), coco_annotations(&dataset, &images))?;
        std::fs::write(dir.path().join("detections.json"), coco_detections(&images))?;
        let script = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/coco_eval.py"));
        let answer: Answer = ask_peer(python, &script, &[dir.path().display().to_string()])?;
        let folder = answer.folders.first().context("the peer measured nothing")?;
        let comparison = Comparison {
            version: answer.version,
            ms: folder.ms,
            faster_by: folder.ms / results.ms,
            largest_difference: largest_difference(&report, folder),
        };
        println!(
            "pycocotools  {:9.1} ms   AP50:95 {:.9}   {}",
            folder.ms, folder.statistics[0], comparison.version
        );
        println!(
            "faster by {:.0}; largest difference of all numbers {:.1e}",
            comparison.faster_by, comparison.largest_difference
        );
        ensure!(comparison.largest_difference < 1e-6, "the numbers differ");
        results.peer = Some(comparison);
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&results)?)
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn largest_difference(report: &CocoReport, theirs: &Folder) -> f64 {
    let statistics = report.statistics().map(|(_, value)| value);
    let classes = report.per_class.iter().flat_map(|class| [class.ap, class.ap50, class.ap75]);
    let ours = statistics.into_iter().chain(classes).map(|value| value.unwrap_or(-1.0));
    let theirs = theirs.statistics.iter().chain(theirs.per_class.iter().flatten());
    ours.zip(theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f64::max)
}

fn dataset(args: &Args) -> Dataset {
    let sample = |number| Sample {
        image: format!("{number:012}.jpg").into(),
        width: 640,
        height: 480,
        objects: vec![],
    };
    Dataset {
        samples: (0..args.images).map(sample).collect(),
        classes: (0..args.classes).map(|class| format!("class {class}")).collect(),
        ..Dataset::default()
    }
}

/// Images with 7 objects on average. One object in 50 is difficult; half of the detections are near an object.
fn draw(args: &Args) -> Vec<Evaluated> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // Some classes are frequent, most are rare.
    let class = |rng: &mut ChaCha8Rng| {
        let share = rng.random::<f32>().powi(3);
        ((share * f32::from(args.classes)) as usize).min(usize::from(args.classes) - 1)
    };
    let mut images = Vec::new();
    for sample in 0..args.images {
        let truths: Vec<Truth<PxBox>> = (0..rng.random_range(0..=14))
            .map(|_| {
                let side = 8.0 * 2f32.powf(rng.random_range(0.0..5.5));
                let (w, h) = (side * rng.random_range(0.6..1.6), side);
                let (x, y) = (rng.random_range(0.0..600.0), rng.random_range(0.0..440.0));
                let bbox = PxBox { x1: x, y1: y, x2: x + w, y2: y + h }.clip(640, 480);
                Truth { class: class(&mut rng), difficult: rng.random_bool(0.02), bbox }
            })
            .collect();
        let mut detections: Vec<Detection<PxBox>> = (0..args.detections)
            .map(|_| {
                let near = !truths.is_empty() && rng.random_bool(0.5);
                let (class, b, blur, score) = if near {
                    let truth = truths[rng.random_range(0..truths.len())];
                    (truth.class, truth.bbox, 0.2, rng.random::<f32>())
                } else {
                    let (x, y) = (rng.random_range(0.0..540.0), rng.random_range(0.0..380.0));
                    let b = PxBox { x1: x, y1: y, x2: x + 90.0, y2: y + 90.0 };
                    (class(&mut rng), b, 0.6, 0.7 * rng.random::<f32>())
                };
                let mut off = |side: f32| side * blur * rng.random_range(-1.0..1.0);
                let (x1, x2) = (b.x1 + off(b.width()), b.x2 + off(b.width()));
                let (y1, y2) = (b.y1 + off(b.height()), b.y2 + off(b.height()));
                let bbox = PxBox { x1: x1.min(x2), y1: y1.min(y2), x2: x1.max(x2), y2: y1.max(y2) };
                Detection { class, score, bbox: bbox.clip(640, 480) }
            })
            .collect();
        detections.sort_by(|a, b| b.score.total_cmp(&a.score));
        let outcomes = Outcomes { truths: vec![], detections: vec![] };
        images.push(Evaluated { sample, truths, detections, outcomes });
    }
    images
}
