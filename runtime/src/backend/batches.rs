//! Running any number of images on an engine that takes only some.

use oxidet_vision::{NetworkError, RawDetections};

use super::Signature;
use crate::Profile;

/// Batches that an engine takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    min: usize,
    max: usize,
}

impl Limits {
    /// Those of a model, and of the profile that its engine was built for.
    pub fn of(signature: &Signature, profile: Option<Profile>) -> Self {
        match (signature.batch, profile) {
            (Some(fixed), _) => Self { min: fixed, max: fixed },
            (None, Some(Profile { min, max, .. })) => Self { min, max },
            (None, None) => Self { min: 1, max: usize::MAX },
        }
    }
}

/// Runs `batch` images `[N, C, H, W]` in batches that the engine takes, the last one filled up with zeros where it is too small.
/// `run` is called with images, their number, and the place for what is detected.
///
/// # Errors
/// When `input` does not hold as many images, and what `run` says.
pub fn in_batches(
    signature: &Signature,
    limits: Limits,
    input: &[f32],
    batch: usize,
    out: &mut RawDetections,
    mut run: impl FnMut(&[f32], usize, &mut RawDetections) -> Result<(), String>,
) -> Result<(), NetworkError> {
    let Signature { channels, height, width, .. } = *signature;
    let len = channels * height * width;
    let failed = |what: String| NetworkError(what.into());
    if batch == 0 || input.len() != batch * len {
        return Err(failed(format!(
            "{} values for {batch} images of {channels}x{height}x{width}",
            input.len()
        )));
    }
    if (limits.min..=limits.max).contains(&batch) {
        return run(input, batch, out).map_err(failed);
    }
    let mut part = RawDetections::default();
    let mut padded = Vec::new();
    for (at, images) in input.chunks(limits.max.saturating_mul(len)).enumerate() {
        let count = images.len() / len;
        let images = if count < limits.min {
            padded.clear();
            padded.extend_from_slice(images);
            padded.resize(limits.min * len, 0.0);
            &padded
        } else {
            images
        };
        run(images, count.max(limits.min), &mut part).map_err(failed)?;
        if at == 0 {
            out.clear();
        }
        out.append(&part, count);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine whose one candidate of an image lies at the image's value.
    fn engine(images: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), String> {
        let boxes: Vec<f32> = images.iter().flat_map(|value| [*value; 4]).collect();
        out.set(batch, 1, &boxes, images).map_err(|error| error.to_string())
    }

    #[test]
    fn images_come_back_in_order_whatever_the_engine_takes() {
        let mut signature = Signature { channels: 1, height: 1, width: 1, batch: None, classes: 1 };
        let input: Vec<f32> = (1..=7).map(|value| value as f32).collect();
        let mut want = RawDetections::default();
        engine(&input, 7, &mut want).unwrap();
        for (fixed, profile, sizes) in [
            (None, None, vec![7]),
            (Some(3), None, vec![3, 3, 3]),
            (None, Some(Profile { min: 2, opt: 2, max: 3 }), vec![3, 3, 2]),
            (None, Some(Profile { min: 1, opt: 2, max: 4 }), vec![4, 3]),
            (None, Some(Profile { min: 9, opt: 9, max: 9 }), vec![9]),
        ] {
            signature.batch = fixed;
            let mut seen = Vec::new();
            let mut out = RawDetections::default();
            in_batches(
                &signature,
                Limits::of(&signature, profile),
                &input,
                7,
                &mut out,
                |images, batch, out| {
                    seen.push(batch);
                    engine(images, batch, out)
                },
            )
            .unwrap();
            assert_eq!((out, seen), (want.clone(), sizes));
        }
    }

    #[test]
    fn other_sizes_are_refused() {
        let signature = Signature { channels: 3, height: 2, width: 2, batch: None, classes: 1 };
        let limits = Limits::of(&signature, None);
        for (len, batch) in [(11, 1), (0, 0), (24, 1)] {
            let mut out = RawDetections::default();
            let input = vec![0.0; len];
            assert!(in_batches(&signature, limits, &input, batch, &mut out, engine).is_err());
        }
    }
}
