//! Reading images, once each where they fit in memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use oxidet_vision::Picture;

use super::image_file::read_picture;
use super::{BadImages, DataError, Dataset};

/// How images are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageOptions {
    /// What happens to those that cannot be read.
    pub bad_images: BadImages,
    /// Bytes of decoded images that are kept in memory.
    pub cache_bytes: usize,
}

impl Default for ImageOptions {
    /// Bad images are errors; 512 MiB are kept.
    fn default() -> Self {
        Self { bad_images: BadImages::Stop, cache_bytes: 512 << 20 }
    }
}

/// Memory for decoded images, shared by the data sets of a run.
#[derive(Debug)]
pub struct CacheBudget {
    left: AtomicUsize,
}

impl CacheBudget {
    /// Room for `bytes` of pixels.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes) })
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Decoded images of a data set. Decoding takes most of a loader's time, so they are kept until the budget is used up; later
/// ones are decoded each time.
#[derive(Debug)]
pub struct ImageStore {
    pictures: Vec<OnceLock<Arc<Picture>>>,
    budget: Arc<CacheBudget>,
    depth: u8,
}

impl ImageStore {
    /// An empty store for `dataset`, whose images have `depth` bits per channel.
    pub fn new(dataset: &Dataset, depth: u8, budget: Arc<CacheBudget>) -> Self {
        let pictures = dataset.samples.iter().map(|_| OnceLock::new()).collect();
        Self { pictures, budget, depth }
    }

    /// The image of a sample of the data set this store is for.
    ///
    /// # Errors
    /// When the file cannot be read or decoded.
    pub fn get(&self, dataset: &Dataset, sample: usize) -> Result<Arc<Picture>, DataError> {
        let place = &self.pictures[sample];
        if let Some(picture) = place.get() {
            return Ok(picture.clone());
        }
        let picture = Arc::new(read_picture(&dataset.samples[sample].image, self.depth)?);
        if self.budget.take(picture.bytes()) {
            // Two threads may meet here with the same image; what one of them took too much is small and never missed.
            let _ = place.set(picture.clone());
        }
        Ok(picture)
    }
}
