//! The images that ranges are measured on, as the network reads them.

use std::path::{Path, PathBuf};

use oxidet_proto::tensorfile::Tensorfile;
use oxidet_trainer::data::read_picture;
use oxidet_vision::Preprocess;
use rayon::prelude::*;

use crate::exit::Failure;
use crate::files;

/// Input tensors `[C, H, W]` by number.
pub enum Inputs {
    /// Made from image files.
    Images { paths: Vec<PathBuf>, preprocess: Preprocess },
    /// Made before.
    Tensorfile { file: Tensorfile, images: usize },
}

impl Inputs {
    /// The first `most` images of a tensorfile.
    pub fn open_tensorfile(path: &Path, preprocess: &Preprocess, most: usize) -> Result<Self, Failure> {
        let (reader, _) = files::open(path)?;
        let file = Tensorfile::open(&path.to_string_lossy(), reader)?;
        let [_, channels, height, width] = file.shape();
        let Preprocess { channels: c, height: h, width: w, .. } = *preprocess;
        if (channels, height, width) != (c, h, w) {
            return Err(Failure::data(format!(
                "{}: its images are {channels}x{height}x{width}, the network reads {c}x{h}x{w} (channels, height, width); \
                 make the file again with --cal_image_dir",
                path.display()
            )));
        }
        let images = most.min(file.images());
        Ok(Self::Tensorfile { file, images })
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
            Self::Tensorfile { file, .. } => Ok(file.image(at)?),
        }
    }

    /// All tensors in batches of `batch`, of which their number is a multiple.
    pub fn batches(&self, batch: usize) -> impl Iterator<Item = Result<Vec<f32>, Failure>> {
        (0..self.len() / batch).map(move |number| {
            let tensors = (number * batch..(number + 1) * batch).into_par_iter().map(|at| self.tensor(at));
            Ok(tensors.collect::<Result<Vec<_>, _>>()?.concat())
        })
    }
}
