//! Clustering of box sizes: ours with all its restarts against one run of the original's algorithm in NumPy.

use std::time::Instant;

use anyhow::Result;
use oxidet_vision::{KmeansSettings, kmeans, mean_best_iou};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Args, ask_peer, median, or_dash};

const BOXES: usize = 100_000;
const CLUSTERS: usize = 9;
const SEED: u64 = 42;
/// Shapes that the boxes scatter around.
const SHAPES: usize = 40;

/// The result.
#[derive(Serialize)]
pub struct Row {
    boxes: usize,
    ours_ms: f64,
    ours_iou: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_iou: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_version: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    version: String,
    ms: Vec<f64>,
    mean_best_iou: Vec<f64>,
}

pub fn measure(args: &Args) -> Result<Row> {
    let boxes = boxes();
    let settings = KmeansSettings { clusters: CLUSTERS, max_steps: 10_000, restarts: 10, seed: SEED };
    let mut anchors = kmeans(&boxes, &settings)?;
    let mut times = Vec::new();
    // A run takes milliseconds, so that more of them cost nothing.
    for _ in 0..5 * args.runs {
        let start = Instant::now();
        anchors = kmeans(&boxes, &settings)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let ours_ms = median(times);
    let answer = match &args.peer {
        Some(python) => {
            let folder = tempfile::tempdir()?;
            let (script, file) = (folder.path().join("kmeans.py"), folder.path().join("boxes.f32"));
            std::fs::write(&script, include_str!("../../peers/kmeans.py"))?;
            let bytes: Vec<u8> =
                boxes.iter().flat_map(|(w, h)| [w.to_le_bytes(), h.to_le_bytes()]).flatten().collect();
            std::fs::write(&file, bytes)?;
            // Every run of the peer starts from other boxes, and takes as long as they let it.
            let runs = (2 * args.runs + 1).to_string();
            let file = file.to_string_lossy().into_owned();
            let arguments = [file, CLUSTERS.to_string(), SEED.to_string(), runs];
            Some(ask_peer::<Answer>(python, &script, &arguments)?)
        }
        None => None,
    };
    let peer_ms = answer.as_ref().map(|answer| median(answer.ms.clone()));
    let row = Row {
        boxes: BOXES,
        ours_ms,
        ours_iou: mean_best_iou(&boxes, &anchors),
        peer_ms,
        peer_iou: answer.as_ref().map(|answer| median(answer.mean_best_iou.clone())),
        ratio: peer_ms.map(|peer| peer / ours_ms),
        peer_version: answer.map(|answer| answer.version),
    };
    println!("k-means: {} boxes, {CLUSTERS} clusters", row.boxes);
    println!("{:>10} {:>8} {:>10} {:>8} {:>6}", "ours ms", "IoU", "peer ms", "IoU", "ratio");
    println!(
        "{:>10.1} {:>8.4} {:>10} {:>8} {:>6}",
        row.ours_ms,
        row.ours_iou,
        or_dash(row.peer_ms, 1),
        or_dash(row.peer_iou, 4),
        or_dash(row.ratio, 1)
    );
    Ok(row)
}

/// Sizes scattered around [`SHAPES`] shapes, as shares of an image.
fn boxes() -> Vec<(f32, f32)> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let between = |low: f64, high: f64, share: f64| low * (high / low).powf(share);
    let shapes: Vec<(f64, f64)> =
        (0..SHAPES).map(|_| (between(0.01, 0.6, rng.random()), between(0.01, 0.6, rng.random()))).collect();
    let mut near = |side: f64| {
        // The sum of four uniform numbers is bell-shaped.
        let bell: f64 = (0..4).map(|_| rng.random_range(-0.3..0.3)).sum();
        (side * bell.exp()).clamp(0.001, 1.0) as f32
    };
    (0..BOXES).map(|number| shapes[number % SHAPES]).map(|(w, h)| (near(w), near(h))).collect()
}
