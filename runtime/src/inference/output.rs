//! What is written of an image: a label file, and the image with boxes drawn on it.

use std::fs;
use std::path::{Path, PathBuf};

use oxidet_proto::kitti::write_detection;
use oxidet_vision::draw::{Label, draw_detections};
use oxidet_vision::image::{encode_jpeg, encode_png};
use oxidet_vision::{Image, Picture};

use super::{Detected, InferenceError, Origin};

/// JPEG quality of drawn pictures, 1 to 100.
const QUALITY: u8 = 95;

/// Folders for what is written; what has none is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// For label files, KITTI with a score.
    pub labels: Option<PathBuf>,
    /// For drawn pictures: PNG of PNG files, else JPEG.
    pub pictures: Option<PathBuf>,
}

impl Outputs {
    /// Both, in the folders of `results_dir` where the original puts them.
    pub fn below(results_dir: &Path) -> Self {
        let below = |name: &str| Some(results_dir.join(name));
        Self { labels: below("labels"), pictures: below("images_annotated") }
    }

    /// Makes the folders.
    pub(super) fn prepare(&self) -> Result<(), InferenceError> {
        for dir in self.labels.iter().chain(&self.pictures) {
            fs::create_dir_all(dir).map_err(|source| InferenceError::Write { path: dir.clone(), source })?;
        }
        Ok(())
    }

    /// Writes what was found in one image.
    pub(super) fn write(
        &self,
        detected: &Detected,
        picture: Option<Picture>,
        classes: &[String],
    ) -> Result<(), InferenceError> {
        let stem = detected.origin.stem();
        if let Some(dir) = &self.labels {
            let mut text = String::new();
            for found in &detected.found {
                let b = found.bbox;
                text += &write_detection(&classes[found.class], [b.x1, b.y1, b.x2, b.y2], found.score)?;
            }
            save(&dir.join(format!("{stem}.txt")), text.as_bytes())?;
        }
        if let (Some(dir), Some(picture)) = (&self.pictures, picture) {
            let path = dir.join(match &detected.origin {
                Origin::File(path) => path.file_name().unwrap_or_default().to_owned(),
                Origin::Frame(_) => format!("{stem}.jpg").into(),
            });
            let image = drawn(picture.to_viewable().to_color(), detected, classes);
            let is_png = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
            let bytes = if is_png { encode_png(&image) } else { encode_jpeg(&image, QUALITY) };
            save(&path, &bytes.map_err(|source| InferenceError::Image { path: path.clone(), source })?)?;
        }
        Ok(())
    }
}

fn drawn(mut image: Image, detected: &Detected, classes: &[String]) -> Image {
    // Best last, so that it is painted over the others.
    let label = |class: usize, score: f32| format!("{} {score:.2}", classes[class]);
    let found = detected.found.iter().rev();
    let labels: Vec<Label> =
        found.map(|d| Label { bbox: d.bbox, class: d.class, text: label(d.class, d.score) }).collect();
    draw_detections(&mut image, &labels);
    image
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), InferenceError> {
    oxidet_files::write_unsynced(path, bytes)
        .map_err(|source| InferenceError::Write { path: path.to_owned(), source })
}
