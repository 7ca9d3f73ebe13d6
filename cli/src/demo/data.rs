//! The demo's data set on disk: JPEG pictures and KITTI labels.

use std::path::Path;

use oxidet_proto::kitti::{self, Object};
use oxidet_vision::image::encode_jpeg;
use rayon::prelude::*;

use super::scene::{self, CLASSES, Scene};
use crate::exit::Failure;
use crate::files;

/// Pictures to learn from.
pub const TRAIN: u64 = 200;
/// Pictures to measure on.
pub const VALIDATION: u64 = 50;
/// JPEG quality, 1 to 100.
const QUALITY: u8 = 92;

/// Draws the training and validation parts into `dir`.
pub fn write(dir: &Path, seed: u64) -> Result<(), Failure> {
    // Every picture has a seed of its own, whatever the number of pictures.
    let first = seed.wrapping_mul(1 << 32);
    write_part(&dir.join("train"), first, TRAIN)?;
    write_part(&dir.join("val"), first.wrapping_add(1 << 31), VALIDATION)
}

fn write_part(dir: &Path, first_seed: u64, count: u64) -> Result<(), Failure> {
    (0..count).into_par_iter().try_for_each(|number| {
        let scene = scene::draw(first_seed.wrapping_add(number));
        let jpeg = encode_jpeg(&scene.image, QUALITY).map_err(|error| Failure::bug(error.to_string()))?;
        let labels = labels(&scene)?;
        files::write(&dir.join(format!("images/{number:03}.jpg")), &jpeg)?;
        files::write(&dir.join(format!("labels/{number:03}.txt")), labels.as_bytes())
    })
}

fn labels(scene: &Scene) -> Result<String, Failure> {
    let objects: Vec<Object> = scene
        .objects
        .iter()
        .map(|(class, b)| Object {
            class: CLASSES[*class].into(),
            bbox: [b.x1, b.y1, b.x2, b.y2],
            truncation: 0.0,
            occlusion: 0,
            alpha: 0.0,
            dimensions: [0.0; 3],
            location: [0.0; 3],
            rotation_y: 0.0,
            score: None,
            line: 0,
        })
        .collect();
    kitti::write(&objects).map_err(|error| Failure::bug(error.to_string()))
}
