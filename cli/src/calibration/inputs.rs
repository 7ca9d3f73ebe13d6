//! The images that ranges are measured on, as the network reads them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use oxidet_proto::tensorfile::Tensorfile;
use oxidet_trainer::data::read_picture;
use oxidet_vision::Preprocess;

use crate::exit::Failure;
use crate::files;

/// Input tensors `[C, H, W]` by number.
pub enum Inputs {
    /// Made from image files.
    Images { paths: Vec<PathBuf>, preprocess: Preprocess },
    /// Made before, and kept in batches.
    Tensorfile { file: Tensorfile, images: usize, last: Mutex<Option<(usize, Vec<f32>)>> },
}

impl Inputs {
    /// The first `most` images of a tensorfile.
    pub fn open_tensorfile(path: &Path, preprocess: &Preprocess, most: usize) -> Result<Self, Failure> {
        let (reader, _) = files::open(path)?;
        let file = Tensorfile::open(&path.to_string_lossy(), reader)
            .map_err(|error| Failure::data(error.to_string()))?;
        let [batch, channels, height, width] = file.shape();
        let Preprocess { channels: c, height: h, width: w, .. } = *preprocess;
        if (channels, height, width) != (c, h, w) {
            return Err(Failure::data(format!(
                "{}: its images are {channels}x{height}x{width}, the network reads {c}x{h}x{w} (channels, height, width); \
                 make the file again with --cal_image_dir",
                path.display()
            )));
        }
        let images = most.min(batch * file.count());
        Ok(Self::Tensorfile { file, images, last: Mutex::new(None) })
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Images { paths, .. } => paths.len(),
            Self::Tensorfile { images, .. } => *images,
        }
    }

    pub fn tensor(&self, at: usize) -> Result<Vec<f32>, Failure> {
        match self {
            Self::Images { paths, preprocess } => {
                let picture = read_picture(&paths[at], preprocess.depth)?;
                let mut tensor = vec![0.0; preprocess.tensor_len()];
                preprocess.apply(&picture, &mut tensor);
                Ok(tensor)
            }
            Self::Tensorfile { file, last, .. } => {
                let [batch, channels, height, width] = file.shape();
                let len = channels * height * width;
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                let batch_of = |kept: &Option<(usize, Vec<f32>)>| kept.as_ref().map(|(number, _)| *number);
                if batch_of(&last) != Some(at / batch) {
                    let values = file.read(at / batch).map_err(|error| Failure::data(error.to_string()))?;
                    *last = Some((at / batch, values));
                }
                let values = last.as_ref().map_or(&[][..], |(_, values)| values);
                Ok(values[at % batch * len..][..len].to_vec())
            }
        }
    }

    /// The tensors in batches of `batch`, the last of them left out where it is not full.
    pub fn batches(&self, batch: usize) -> impl Iterator<Item = Result<Vec<f32>, Failure>> {
        (0..self.len() / batch).map(move |number| {
            let tensors = (0..batch).map(|image| self.tensor(number * batch + image));
            Ok(tensors.collect::<Result<Vec<_>, _>>()?.concat())
        })
    }
}
