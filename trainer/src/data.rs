//! From files to batches: [`Dataset`] reads labels, [`TrainLoader`] and [`validation_batch`] make tensors of them.

mod dataset;
mod images;
mod loader;
pub mod random;

pub use dataset::{DataError, Dataset, Object, Sample, Summary};
pub use images::ImageStore;
pub use loader::{Batch, LoaderSettings, TrainLoader, validation_batch};
