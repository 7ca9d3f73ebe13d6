//! Detecting objects in image files: the `inference` verb.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use oxidet_proto::kitti::{WriteError, write_detection};
use oxidet_vision::draw::{Label, draw_detections};
use oxidet_vision::image::{encode_jpeg, encode_png};
use oxidet_vision::{
    Image, ImageError, Network, NetworkError, NmsConfig, Picture, Preprocess, PxBox, RawDetections,
};

/// An object found in an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Class id.
    pub class: usize,
    /// Confidence in [0, 1].
    pub score: f32,
    /// Where, in pixels of the image and inside it.
    pub bbox: PxBox,
}

/// Detects objects in images of any size, best first per image.
///
/// # Errors
/// When the network fails.
pub fn detect(
    network: &mut dyn Network,
    preprocess: &Preprocess,
    nms: &NmsConfig,
    images: &[Picture],
) -> Result<Vec<Vec<Found>>, NetworkError> {
    let mut input = vec![0.0; images.len() * preprocess.tensor_len()];
    let letterboxes: Vec<_> = images
        .iter()
        .zip(input.chunks_exact_mut(preprocess.tensor_len()))
        .map(|(image, tensor)| preprocess.apply(image, tensor))
        .collect();
    let mut raw = RawDetections::default();
    network.run(&input, images.len(), &mut raw)?;
    let found = letterboxes.iter().enumerate().map(|(image, letterbox)| {
        let detections = raw.suppress(image, nms).into_iter();
        detections
            .map(|d| Found { class: d.class, score: d.score, bbox: letterbox.to_image(&d.bbox) })
            .collect()
    });
    Ok(found.collect())
}

/// Settings of a run over image files.
#[derive(Clone, Debug, PartialEq)]
pub struct Inference {
    /// What the network reads.
    pub preprocess: Preprocess,
    /// Suppression.
    pub nms: NmsConfig,
    /// Detections below this score are left out.
    pub threshold: f32,
    /// Class names by id.
    pub classes: Vec<String>,
    /// Images per batch.
    pub batch_size: usize,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InferenceSummary {
    /// Images.
    pub images: usize,
    /// Objects found.
    pub detections: usize,
}

/// What stops a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// A file or folder.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An image cannot be read or written.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ImageError,
    },
    /// No images.
    #[error("{}: no images (jpg, jpeg, png) in this folder", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// Two images would share a label file.
    #[error("{} and {} have the same name but for the extension and would share one label file", first.display(), second.display())]
    SameStem {
        /// An image.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// A class name that KITTI cannot hold.
    #[error(transparent)]
    Label(#[from] WriteError),
    /// The network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl Inference {
    /// Detects in one image or in every image of a folder. Writes `labels/<name>.txt` (KITTI with score) and
    /// `images_annotated/<name>.<ext>` below `results_dir`. `progress` hears how many images are done, of how many.
    ///
    /// # Errors
    /// [`InferenceError`] names the file.
    pub fn run(
        &self,
        network: &mut dyn Network,
        input: &Path,
        results_dir: &Path,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<InferenceSummary, InferenceError> {
        let paths = images(input)?;
        let (labels, annotated) = (results_dir.join("labels"), results_dir.join("images_annotated"));
        for dir in [&labels, &annotated] {
            fs::create_dir_all(dir).map_err(|source| InferenceError::Io { path: dir.clone(), source })?;
        }
        let mut summary = InferenceSummary::default();
        for batch in paths.chunks(self.batch_size.max(1)) {
            let depth = self.preprocess.depth;
            let images = batch.iter().map(|path| read(path, depth)).collect::<Result<Vec<Picture>, _>>()?;
            let found = detect(network, &self.preprocess, &self.nms, &images)?;
            for ((path, image), found) in batch.iter().zip(&images).zip(found) {
                let found: Vec<Found> =
                    found.into_iter().filter(|found| found.score >= self.threshold).collect();
                summary.images += 1;
                summary.detections += found.len();
                self.write(path, image.to_viewable().to_color(), &found, &labels, &annotated)?;
            }
            progress(summary.images, paths.len());
        }
        Ok(summary)
    }

    fn write(
        &self,
        path: &Path,
        mut image: Image,
        found: &[Found],
        labels: &Path,
        annotated: &Path,
    ) -> Result<(), InferenceError> {
        let mut text = String::new();
        for found in found {
            let b = found.bbox;
            text += &write_detection(&self.classes[found.class], [b.x1, b.y1, b.x2, b.y2], found.score)?;
        }
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(".txt");
        save(&labels.join(name), text.as_bytes())?;

        // Best last, so that it is painted over the others.
        let drawn: Vec<Label> = found
            .iter()
            .rev()
            .map(|found| Label {
                bbox: found.bbox,
                class: found.class,
                text: format!("{} {:.2}", self.classes[found.class], found.score),
            })
            .collect();
        draw_detections(&mut image, &drawn);
        let is_png = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        let bytes = if is_png { encode_png(&image) } else { encode_jpeg(&image, 95) };
        let bytes = bytes.map_err(|source| InferenceError::Image { path: path.to_owned(), source })?;
        save(&annotated.join(path.file_name().unwrap_or_default()), &bytes)
    }
}

/// The images to look at, sorted by name.
fn images(input: &Path) -> Result<Vec<PathBuf>, InferenceError> {
    let failed = |source| InferenceError::Io { path: input.to_owned(), source };
    if !fs::metadata(input).map_err(failed)?.is_dir() {
        return Ok(vec![input.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(input).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if ["jpg", "jpeg", "png"].contains(&extension.as_str()) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(InferenceError::NoImages { path: input.to_owned() });
    }
    for pair in found.windows(2) {
        if pair[0].file_stem() == pair[1].file_stem() {
            return Err(InferenceError::SameStem { first: pair[0].clone(), second: pair[1].clone() });
        }
    }
    Ok(found)
}

fn read(path: &Path, depth: u8) -> Result<Picture, InferenceError> {
    let bytes = fs::read(path).map_err(|source| InferenceError::Io { path: path.to_owned(), source })?;
    Picture::decode(&bytes, depth).map_err(|source| InferenceError::Image { path: path.to_owned(), source })
}

/// Writes a file whole or not at all.
fn save(path: &Path, bytes: &[u8]) -> Result<(), InferenceError> {
    let write = || {
        let mut builder = tempfile::Builder::new();
        // Temporary files are private by default; a result is as readable as the user's umask allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source: io::Error| InferenceError::Io { path: path.to_owned(), source })
}
