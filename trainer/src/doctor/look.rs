//! One look at each image file: does it decode, and what is it like.

use std::path::Path;

use oxidet_vision::Picture;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::fingerprint::Fingerprint;
use crate::data::{DataError, Sample};

/// Images between two reports of progress.
const STRIDE: usize = 64;

/// What is kept of an image.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// SHA-256 of the file.
    pub(super) digest: [u8; 32],
    /// Absent for images without contrast, which all look the same.
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) color: bool,
}

/// Looks at all images, in order.
///
/// # Errors
/// When one of them cannot be read or decoded.
pub(super) fn look_at(
    samples: &[Sample],
    depth: u8,
    listen: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Look>, DataError> {
    let mut looks = Vec::with_capacity(samples.len());
    for some in samples.chunks(STRIDE) {
        let seen: Vec<Result<Look, DataError>> =
            some.par_iter().map(|sample| Look::at(&sample.image, depth)).collect();
        for look in seen {
            looks.push(look?);
        }
        listen(looks.len(), samples.len());
    }
    Ok(looks)
}

impl Look {
    fn at(path: &Path, depth: u8) -> Result<Self, DataError> {
        let bytes =
            oxidet_files::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        let picture = Picture::decode(&bytes, depth)
            .map_err(|source| DataError::Image { path: path.to_owned(), source })?;
        let image = picture.to_viewable();
        Ok(Self {
            digest: Sha256::digest(&bytes).into(),
            fingerprint: Fingerprint::of(&image),
            color: image.channels == 3,
        })
    }
}
