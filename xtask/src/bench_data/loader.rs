//! Training batches: our loader with two workers against a Python loader with OpenCV in two processes.
//!
//! Two data sets are drawn for it, with images about as large on disk as photographs of their size.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use oxidet_proto::spec::{ClassMap, DataSource, DatasetConfig};
use oxidet_trainer::augment::Augmentation;
use oxidet_trainer::data::{
    BadImages, CacheBudget, Dataset, DatasetRequest, ImageStore, LoaderSettings, Split, TrainLoader,
    TrainingData, TrainingSettings,
};
use oxidet_vision::image::{encode_jpeg, encode_png};
use oxidet_vision::{Image, Preprocess};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Args, ask_peer, median, or_dash};

const IMAGES: usize = 96;
const BATCH: usize = 8;
const WORKERS: usize = 2;
/// Batches of a run: two passes.
const BATCHES: usize = 2 * IMAGES / BATCH;
const INPUT: usize = 416;
const SEED: u64 = 42;

/// A data set to draw.
struct Set {
    name: &'static str,
    width: usize,
    height: usize,
    objects: usize,
    /// Largest deviation of a pixel from its surroundings, in gray levels: decides the size of the files.
    noise: i32,
    extension: &'static str,
    encode: fn(&Image) -> Result<Vec<u8>>,
}

const SETS: [Set; 2] = [
    Set {
        name: "kitti",
        width: 1242,
        height: 375,
        objects: 8,
        noise: 6,
        extension: "png",
        encode: |image| Ok(encode_png(image)?),
    },
    Set {
        name: "bccd",
        width: 640,
        height: 480,
        objects: 13,
        noise: 4,
        extension: "jpg",
        encode: |image| Ok(encode_jpeg(image, 90)?),
    },
];

/// The result for one data set, in images a second.
#[derive(Serialize)]
pub struct Row {
    set: String,
    /// Mean size of a file.
    file_kb: f64,
    ours_ips: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_ips: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_version: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    version: String,
    ips: f64,
}

pub fn measure(args: &Args) -> Result<Vec<Row>> {
    println!("loader: batches of {BATCH} at {INPUT}x{INPUT}, {WORKERS} workers; images a second");
    println!("{:<18} {:>8} {:>8} {:>8} {:>6}", "set", "file kB", "ours", "peer", "ratio");
    let mut rows = Vec::new();
    for set in &SETS {
        for cached in [false, true] {
            rows.push(measure_set(args, set, cached)?);
        }
    }
    Ok(rows)
}

/// Both read every image for each use, or both keep decoded images in memory.
fn measure_set(args: &Args, set: &Set, cached: bool) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join(set.name);
    let bytes = draw(set, &data)?;
    let script = folder.path().join("loader.py");
    fs::write(&script, include_str!("../../peers/loader.py"))?;

    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        ours.push(run_ours(&data, cached)?);
        if let Some(python) = &args.peer {
            let mut arguments = vec![data.to_string_lossy().into_owned()];
            arguments.extend([
                "--batches".into(),
                BATCHES.to_string(),
                "--workers".into(),
                WORKERS.to_string(),
            ]);
            if cached {
                arguments.push("--cache".into());
            }
            peers.push(ask_peer::<Answer>(python, &script, &arguments)?);
        }
    }
    let ours_ips = median(ours);
    let peer_version = peers.first().map(|answer| answer.version.clone());
    let peer_ips = (!peers.is_empty()).then(|| median(peers.iter().map(|answer| answer.ips).collect()));
    let row = Row {
        set: if cached { format!("{}, in memory", set.name) } else { set.name.to_owned() },
        file_kb: bytes as f64 / 1e3 / IMAGES as f64,
        ours_ips,
        peer_ips,
        ratio: peer_ips.map(|peer| ours_ips / peer),
        peer_version,
    };
    println!(
        "{:<18} {:>8.0} {:>8.1} {:>8} {:>6}",
        row.set,
        row.file_kb,
        row.ours_ips,
        or_dash(row.peer_ips, 1),
        or_dash(row.ratio, 2)
    );
    Ok(row)
}

/// Images a second of our loader, after one pass that is not counted.
fn run_ours(data: &Path, cached: bool) -> Result<f64> {
    let text = |part: &str| data.join(part).to_string_lossy().into_owned();
    let source = DataSource {
        image_directory_path: text("images"),
        label_directory_path: Some(text("labels")),
        ..DataSource::default()
    };
    let config = DatasetConfig { data_sources: vec![source], ..DatasetConfig::default() };
    let classes = ClassMap::new(&BTreeMap::from([("thing".to_owned(), "thing".to_owned())]));
    let request =
        DatasetRequest { config: &config, classes: &classes, depth: Some(8), bad_images: BadImages::Stop };
    let dataset = Arc::new(Dataset::open(&request, Split::Train)?);
    let store = ImageStore::new(&dataset, 8, CacheBudget::new(if cached { 1 << 30 } else { 0 }));
    let settings = TrainingSettings {
        seed: SEED,
        batch_size: BATCH,
        include_difficult: true,
        augmentation: Augmentation {
            hue: 0.1,
            saturation: 1.5,
            exposure: 1.5,
            vertical_flip: 0.5,
            horizontal_flip: 0.5,
            jitter: 0.3,
            mosaic: 0.5,
            mosaic_min_ratio: 0.2,
        },
        preprocess: Preprocess::new(INPUT, INPUT, 3),
        size_period: 0,
    };
    let epochs = 1 + BATCHES * BATCH / IMAGES;
    let data = TrainingData::new(dataset, store, settings);
    let mut loader = TrainLoader::new(data, epochs as u64, LoaderSettings { workers: WORKERS, queue: 0 }, 0);
    for _ in 0..IMAGES / BATCH {
        loader.next().context("the loader ended early")??;
    }
    let (start, mut images) = (Instant::now(), 0);
    for batch in loader {
        images += batch?.truths.len();
    }
    Ok(images as f64 / start.elapsed().as_secs_f64())
}

/// Writes the images and labels of a data set; returns the bytes of all images.
fn draw(set: &Set, data: &Path) -> Result<usize> {
    for part in ["images", "labels"] {
        fs::create_dir_all(data.join(part))?;
    }
    let sizes: Vec<usize> = (0..IMAGES)
        .into_par_iter()
        .map(|number| {
            let mut rng = ChaCha8Rng::seed_from_u64(SEED + number as u64);
            let (image, labels) = scene(set, &mut rng);
            let file = (set.encode)(&image)?;
            fs::write(data.join(format!("images/{number:03}.{}", set.extension)), &file)?;
            fs::write(data.join(format!("labels/{number:03}.txt")), labels)?;
            Ok(file.len())
        })
        .collect::<Result<_>>()?;
    Ok(sizes.iter().sum())
}

/// A soft background with soft blobs, a little noise on everything; and the label file of the blobs.
fn scene(set: &Set, rng: &mut ChaCha8Rng) -> (Image, String) {
    struct Blob {
        centre: (f32, f32),
        radius: (f32, f32),
        colour: [f32; 3],
    }
    let (width, height) = (set.width as f32, set.height as f32);
    let blobs: Vec<Blob> = (0..set.objects)
        .map(|_| Blob {
            centre: (rng.random_range(0.1..0.9) * width, rng.random_range(0.1..0.9) * height),
            radius: (rng.random_range(0.03..0.1) * width, rng.random_range(0.03..0.1) * height),
            colour: [(); 3].map(|()| rng.random_range(-110.0..110.0)),
        })
        .collect();
    let waves: [[f32; 3]; 3] = [(); 3].map(|()| [(); 3].map(|()| rng.random_range(0.2..4.0)));
    let mut data = Vec::with_capacity(set.width * set.height * 3);
    for y in 0..set.height {
        for x in 0..set.width {
            let (fx, fy) = (x as f32, y as f32);
            let mut pixel = waves.map(|[across, down, shift]| {
                128.0 + 60.0 * (across * fx / width * 3.0 + down * fy / height * 3.0 + shift).sin()
            });
            for blob in &blobs {
                let dx = (fx - blob.centre.0) / blob.radius.0;
                let dy = (fy - blob.centre.1) / blob.radius.1;
                let cover = 1.0 - (dx * dx + dy * dy);
                if cover > 0.0 {
                    for (value, colour) in pixel.iter_mut().zip(blob.colour) {
                        *value += colour * cover;
                    }
                }
            }
            // Sensors differ in light, and less in colour.
            let light = rng.random_range(-set.noise..=set.noise);
            data.extend(
                pixel.map(|value| (value as i32 + light + rng.random_range(-1..=1)).clamp(0, 255) as u8),
            );
        }
    }
    let line = |blob: &Blob| {
        let ((x, y), (rx, ry)) = (blob.centre, blob.radius);
        let (x1, y1) = ((x - rx).max(0.0), (y - ry).max(0.0));
        let (x2, y2) = ((x + rx).min(width), (y + ry).min(height));
        format!("thing 0 0 0 {x1:.2} {y1:.2} {x2:.2} {y2:.2} 0 0 0 0 0 0 0\n")
    };
    let labels = blobs.iter().map(line).collect();
    (Image { width: set.width, height: set.height, channels: 3, data }, labels)
}
