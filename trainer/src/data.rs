//! From files to batches: [`Dataset`] reads labels, [`TrainLoader`] and [`validation_batch`] make tensors of them.

mod base_path;
mod dataset;
mod error;
mod folders;
mod image_file;
mod images;
mod loader;
pub mod random;
mod records;
mod training;
mod validation;

use oxidet_vision::metrics::Truth;

pub use base_path::from_base_path;
pub use dataset::{BadImages, Dataset, DatasetRequest, Object, Sample, Skipped, Split, Summary};
pub use error::DataError;
pub(crate) use folders::{missing_labels, read_text, with_label_paths};
pub use image_file::{list_images, read_header, read_picture};
pub use images::{CacheBudget, ImageOptions, ImageStore};
pub use loader::{LoaderSettings, TrainLoader};
pub use random::epoch_order;
pub use records::record_files;
pub use training::{TrainingData, TrainingSettings};
pub use validation::validation_batch;

/// Images as the network reads them, with their objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[N, C, H, W]`, preprocessed.
    pub images: Vec<f32>,
    /// Width of the images, W.
    pub width: usize,
    /// Height of the images, H.
    pub height: usize,
    /// Per image, boxes in fractions of the canvas.
    pub truths: Vec<Vec<Truth>>,
    /// Per image, its index in the data set.
    pub samples: Vec<usize>,
}
