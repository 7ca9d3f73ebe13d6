//! Where images come from, and how they become batches.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use oxidet_vision::{Letterbox, Picture, Preprocess};

use super::{Frames, Inference, InferenceError};

/// Images to look at.
pub enum Source {
    /// Image files, in this order.
    Files(Vec<PathBuf>),
    /// Frames of a stream.
    Frames(Frames),
}

/// Which image it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// A frame of a stream, counted from 0.
    Frame(usize),
}

impl Origin {
    /// Name of what is written about the image, without an extension: that of the file, or the frame's number in eight digits.
    pub fn stem(&self) -> String {
        match self {
            Self::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Frame(at) => format!("{at:08}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Frame(at) => write!(f, "frame {at}"),
        }
    }
}

impl Source {
    /// One image, or all of a folder (not searched deeper), sorted by name.
    ///
    /// # Errors
    /// When there are none, or two would share a label file.
    pub fn images(path: &Path) -> Result<Self, InferenceError> {
        let failed = |source| InferenceError::Io { path: path.to_owned(), source };
        let kind = fs::metadata(path).map_err(failed)?;
        if kind.is_file() {
            return Ok(Self::Files(vec![path.to_owned()]));
        }
        if !kind.is_dir() {
            return Err(InferenceError::NoFile { path: path.to_owned() });
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            if ["jpg", "jpeg", "png"].contains(&extension.as_str()) && path.is_file() {
                found.push(path);
            }
        }
        found.sort();
        if found.is_empty() {
            return Err(InferenceError::NoImages { path: path.to_owned() });
        }
        let mut stems = BTreeMap::new();
        for path in &found {
            if let Some(first) = stems.insert(Origin::File(path.clone()).stem(), path) {
                return Err(InferenceError::SameStem { first: first.clone(), second: path.clone() });
            }
        }
        Ok(Self::Files(found))
    }

    /// Number of images, where it is known.
    pub fn count(&self) -> Option<usize> {
        match self {
            Self::Files(paths) => Some(paths.len()),
            Self::Frames(_) => None,
        }
    }

    /// The source as batches of `size` images.
    pub(super) fn batches<'a>(
        self,
        preprocess: &'a Preprocess,
        inference: &Inference,
        keeps_pictures: bool,
    ) -> Batches<'a> {
        let source = match self {
            Self::Files(paths) => Inner::Files(paths),
            Self::Frames(frames) => Inner::Frames(Mutex::new((frames, 0))),
        };
        let Inference { batch_size, skip_bad_images, .. } = *inference;
        Batches { source, preprocess, size: batch_size.max(1), skip_bad_images, keeps_pictures }
    }
}

/// An image on its way through the network.
pub struct Item {
    pub origin: Origin,
    pub letterbox: Letterbox,
    /// The image, where it is to be drawn on.
    pub picture: Option<Picture>,
}

/// Images that the network sees together.
pub struct Batch {
    pub items: Vec<Item>,
    /// `[N, C, H, W]`
    pub tensor: Vec<f32>,
    /// What is wrong with images that are left out.
    pub skipped: Vec<InferenceError>,
}

/// A source, cut into batches.
pub struct Batches<'a> {
    source: Inner,
    preprocess: &'a Preprocess,
    size: usize,
    skip_bad_images: bool,
    keeps_pictures: bool,
}

enum Inner {
    Files(Vec<PathBuf>),
    Frames(Mutex<(Frames, usize)>),
}

impl Batches<'_> {
    /// How many threads can make batches at once.
    pub fn workers(&self, most: usize) -> usize {
        match &self.source {
            Inner::Files(paths) => paths.len().div_ceil(self.size).clamp(1, most.max(1)),
            Inner::Frames(_) => 1,
        }
    }

    /// Makes batch `index`; none beyond the last. Those of a stream can only be had in order.
    pub fn make(&self, index: usize) -> Option<Result<Batch, InferenceError>> {
        match &self.source {
            Inner::Files(paths) => {
                let paths = paths.chunks(self.size).nth(index)?;
                let images = paths.iter().map(|path| {
                    let picture = read(path, self.preprocess.depth)?;
                    Ok((Origin::File(path.clone()), picture))
                });
                Some(self.batch(images, self.skip_bad_images))
            }
            Inner::Frames(frames) => {
                let mut frames = frames.lock().expect("only one thread reads frames");
                let (frames, count) = &mut *frames;
                let images = frames.by_ref().take(self.size).map(|picture| {
                    *count += 1;
                    Ok((Origin::Frame(*count - 1), picture?))
                });
                let batch = self.batch(images, false);
                if matches!(&batch, Ok(batch) if batch.items.is_empty()) { None } else { Some(batch) }
            }
        }
    }

    fn batch(
        &self,
        images: impl Iterator<Item = Result<(Origin, Picture), InferenceError>>,
        skip_bad_images: bool,
    ) -> Result<Batch, InferenceError> {
        let len = self.preprocess.tensor_len();
        let tensor = Vec::with_capacity(self.size.min(64) * len);
        let mut batch = Batch { items: Vec::new(), tensor, skipped: Vec::new() };
        for image in images {
            let (origin, picture) = match image {
                Ok(image) => image,
                Err(error) if skip_bad_images => {
                    batch.skipped.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let start = batch.tensor.len();
            batch.tensor.resize(start + len, 0.0);
            let letterbox = self.preprocess.apply(&picture, &mut batch.tensor[start..]);
            let picture = self.keeps_pictures.then_some(picture);
            batch.items.push(Item { origin, letterbox, picture });
        }
        Ok(batch)
    }
}

/// Reads an image file.
pub fn read(path: &Path, depth: u8) -> Result<Picture, InferenceError> {
    let bytes =
        oxidet_files::read(path).map_err(|source| InferenceError::Io { path: path.to_owned(), source })?;
    Picture::decode(&bytes, depth).map_err(|source| InferenceError::Image { path: path.to_owned(), source })
}
