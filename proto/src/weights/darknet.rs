//! Darknet's `.weights`: a header, then the numbers of every layer in the order of its cfg file.
//!
//! | bytes | what |
//! |---|---|
//! | 3 × `i32` | major, minor, revision |
//! | `u64`, before version 0.2 `u32` | images seen in training |
//! | `f32` … | for each convolution: bias or beta; with batch normalisation gamma, mean, variance; kernel `[out, in, k, k]` |
//!
//! All little-endian (`load_weights_upto` and `load_convolutional_weights` in Darknet's `parser.c`).

use super::element::Element;
use super::{Format, WeightsError};

/// The numbers of a file, without the knowledge which layers they are of.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Images seen in training.
    pub seen: u64,
    /// Everything after the header.
    pub values: Vec<f32>,
}

/// Whether a file begins with a version of Darknet there has been.
pub fn is_darknet(bytes: &[u8]) -> bool {
    header(bytes).is_some()
}

/// Images seen, and what follows the header.
fn header(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (words, _) = bytes.as_chunks::<4>();
    let [major, minor, revision, seen, ..] = words else { return None };
    let (major, minor, revision) =
        (i32::from_le_bytes(*major), i32::from_le_bytes(*minor), i32::from_le_bytes(*revision));
    // 0.1.0 and 0.2.x are all there have been.
    if major != 0 || !(1..=2).contains(&minor) || !(0..=5).contains(&revision) {
        return None;
    }
    if minor >= 2 {
        let seen = bytes.get(12..)?.first_chunk()?;
        Some((u64::from_le_bytes(*seen), bytes.get(20..)?))
    } else {
        Some((u64::from(u32::from_le_bytes(*seen)), bytes.get(16..)?))
    }
}

/// Reads header and numbers.
///
/// # Errors
/// [`WeightsError::Damaged`]
pub fn read(bytes: &[u8]) -> Result<Weights, WeightsError> {
    let damaged = |what| WeightsError::damaged(Format::Darknet, what);
    let (seen, body) = header(bytes).ok_or_else(|| damaged("there is no header"))?;
    if body.is_empty() || body.len() % 4 != 0 {
        return Err(damaged("its length is not a whole number of values"));
    }
    let values = Element::F32.decode(body).ok_or_else(|| damaged("it holds no numbers"))?;
    Ok(Weights { seen, values })
}
