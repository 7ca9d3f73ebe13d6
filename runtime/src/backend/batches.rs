//! Running any number of images on an engine that takes only some, and on several at once.

use std::thread;

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

    /// Whether a batch can be run at once.
    pub fn hold(&self, batch: usize) -> bool {
        (self.min..=self.max).contains(&batch)
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
    let len = values_of_an_image(signature, input, batch)?;
    let failed = |what: String| NetworkError(what.into());
    if limits.hold(batch) {
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

/// Values of each image of a batch.
///
/// # Errors
/// When `input` does not hold `batch` images.
fn values_of_an_image(signature: &Signature, input: &[f32], batch: usize) -> Result<usize, NetworkError> {
    let Signature { channels, height, width, .. } = *signature;
    let len = channels * height * width;
    if batch == 0 || input.len() != batch * len {
        let what = format!("{} values for {batch} images of {channels}x{height}x{width}", input.len());
        return Err(NetworkError(what.into()));
    }
    Ok(len)
}

/// Runs a batch on several workers at the same time, each with a share of the images.
///
/// On a processor that beats one worker with all threads: threads that share a layer wait for each other at its end, whole images wait
/// for nothing. Each worker runs its share [`in_batches`].
///
/// # Errors
/// When `input` does not hold as many images, and those of `run`, of the first image that has one.
///
/// # Panics
/// Without workers.
pub fn side_by_side<W: Send>(
    workers: &mut [W],
    (signature, limits): (&Signature, Limits),
    input: &[f32],
    batch: usize,
    out: &mut RawDetections,
    run: impl Fn(&mut W, &[f32], usize, &mut RawDetections) -> Result<(), String> + Sync,
) -> Result<(), NetworkError> {
    let len = values_of_an_image(signature, input, batch)?;
    let share = batch.div_ceil(workers.len()).next_multiple_of(limits.min);
    let run_share = |worker: &mut W, input: &[f32], batch: usize, out: &mut RawDetections| {
        in_batches(signature, limits, input, batch, out, |images, batch, out| run(worker, images, batch, out))
    };
    if batch <= share {
        return run_share(&mut workers[0], input, batch, out);
    }
    let parts: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = workers
            .iter_mut()
            .zip(input.chunks(share * len))
            .map(|(worker, images)| {
                scope.spawn(|| {
                    let mut part = RawDetections::default();
                    run_share(worker, images, images.len() / len, &mut part).map(|()| part)
                })
            })
            .collect();
        let joined = started.into_iter().map(|thread| thread.join());
        joined.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    out.clear();
    for part in parts {
        let part = part?;
        out.append(&part, part.batch);
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
    fn several_workers_give_what_one_gives() {
        let mut signature = Signature { channels: 1, height: 1, width: 1, batch: None, classes: 1 };
        let input: Vec<f32> = (1..=7).map(|value| value as f32).collect();
        let mut want = RawDetections::default();
        engine(&input, 7, &mut want).unwrap();
        for (fixed, workers, shares) in
            [(None, 1, vec![7]), (None, 2, vec![4, 3]), (Some(3), 2, vec![6, 3]), (None, 9, vec![1; 7])]
        {
            signature.batch = fixed;
            let limits = Limits::of(&signature, None);
            let mut seen = vec![0; workers];
            let mut out = RawDetections::default();
            side_by_side(&mut seen, (&signature, limits), &input, 7, &mut out, |seen, images, batch, out| {
                *seen += batch;
                engine(images, batch, out)
            })
            .unwrap();
            seen.retain(|images| *images > 0);
            assert_eq!((out, seen), (want.clone(), shares), "{workers} workers");
        }
        let limits = Limits::of(&signature, None);
        let mut out = RawDetections::default();
        let failing =
            |worker: &mut i32, _: &[f32], _: usize, _: &mut RawDetections| Err(format!("worker {worker}"));
        signature.batch = None;
        let error =
            side_by_side(&mut [1, 2], (&signature, limits), &input, 7, &mut out, failing).unwrap_err();
        assert_eq!(error.to_string(), "worker 1");
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
