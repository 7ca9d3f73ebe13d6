//! Batches for validation.

use std::ops::Range;

use oxidet_vision::Preprocess;
use oxidet_vision::metrics::Truth;
use rayon::prelude::*;

use super::{Batch, DataError, Dataset, ImageStore};
use crate::augment::visible;

/// The samples `from..to` as validation sees them: letterboxed, boxes clipped to the canvas, difficult objects kept and marked.
///
/// # Errors
/// When an image cannot be read.
pub fn validation_batch(
    dataset: &Dataset,
    store: &ImageStore,
    preprocess: &Preprocess,
    samples: Range<usize>,
) -> Result<Batch, DataError> {
    let len = preprocess.tensor_len();
    let mut images = vec![0.0; samples.len() * len];
    let truths = images
        .par_chunks_exact_mut(len)
        .zip(samples.clone())
        .map(|(tensor, index)| {
            let sample = &dataset.samples[index];
            let letterbox = preprocess.apply(&*store.get(dataset, index)?, tensor);
            let truths = sample.objects.iter().map(|object| Truth {
                class: object.class,
                difficult: object.difficult,
                bbox: letterbox.to_canvas(&object.bbox),
            });
            Ok(visible(truths))
        })
        .collect::<Result<_, DataError>>()?;
    let Preprocess { width, height, .. } = *preprocess;
    Ok(Batch { images, width, height, truths, samples: samples.collect() })
}
