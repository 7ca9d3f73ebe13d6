//! Reading images, once each where they fit in memory.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use oxidet_vision::Image;
use oxidet_vision::image::decode;

use super::{DataError, Dataset};

/// Decoded images of a data set. Decoding takes most of a loader's time, so they are kept until [`ImageStore::BUDGET`] is
/// used up; later ones are decoded each time.
#[derive(Debug)]
pub struct ImageStore {
    images: Vec<OnceLock<Arc<Image>>>,
    used: AtomicUsize,
}

impl ImageStore {
    /// Bytes of pixels kept in memory.
    pub const BUDGET: usize = 1 << 30;

    /// An empty store for `dataset`.
    pub fn new(dataset: &Dataset) -> Self {
        let images = dataset.samples.iter().map(|_| OnceLock::new()).collect();
        Self { images, used: AtomicUsize::new(0) }
    }

    /// The image of a sample of the data set this store is for.
    ///
    /// # Errors
    /// When the file cannot be read or decoded.
    pub fn get(&self, dataset: &Dataset, sample: usize) -> Result<Arc<Image>, DataError> {
        if let Some(image) = self.images[sample].get() {
            return Ok(image.clone());
        }
        let image = Arc::new(read_image(&dataset.samples[sample].image)?);
        let bytes = image.data.len();
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= Self::BUDGET {
            let _ = self.images[sample].set(image.clone());
        } else {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(image)
    }
}

fn read_image(path: &Path) -> Result<Image, DataError> {
    let bytes = fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    decode(&bytes).map_err(|source| DataError::Image { path: path.to_owned(), source })
}
