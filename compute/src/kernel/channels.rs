//! Joining maps along the channel axis and taking channels out of them. Both move whole maps, so they are each other's
//! backward pass.

use super::Store;
use rayon::prelude::*;

/// Writes the channels of `parts` one after another, for every image. A part is `[N, channels, pixels]` with its number of
/// values an image (channels · pixels).
///
/// # Panics
/// When a length does not fit.
pub fn concat_into(parts: &[(&[f32], usize)], output: &mut [f32]) {
    let image: usize = parts.iter().map(|(_, size)| size).sum();
    assert!(image > 0, "a part at least");
    let mut start = 0;
    for (part, size) in parts {
        place_into(part, image, start, *size, output, Store::Replace);
        start += size;
    }
}

/// Stores `part`, `[N, len]`, as values `start .. start + len` of every image of `image` values, and leaves the others.
///
/// # Panics
/// When a length does not fit.
pub fn place_into(part: &[f32], image: usize, start: usize, len: usize, output: &mut [f32], store: Store) {
    check(output.len(), image, start, len, part.len());
    output
        .par_chunks_mut(image)
        .zip(part.par_chunks(len))
        .for_each(|(output, part)| store.put_all(&mut output[start..start + len], part));
}

/// Stores values `start .. start + len` of every image of `image` values in `output`: channels, when both are multiples of
/// a map's size.
///
/// # Panics
/// When a length does not fit.
pub fn slice_into(input: &[f32], image: usize, start: usize, len: usize, output: &mut [f32], store: Store) {
    check(input.len(), image, start, len, output.len());
    output
        .par_chunks_mut(len)
        .zip(input.par_chunks(image))
        .for_each(|(output, input)| store.put_all(output, &input[start..start + len]));
}

/// The backward pass of [`slice_into`]: the gradient of what was not taken is 0.
///
/// # Panics
/// When a length does not fit.
pub fn slice_backward_into(
    output_gradient: &[f32],
    image: usize,
    start: usize,
    len: usize,
    input_gradient: &mut [f32],
    store: Store,
) {
    place_into(output_gradient, image, start, len, input_gradient, store);
    if store == Store::Replace {
        input_gradient.par_chunks_mut(image).for_each(|input| {
            input[..start].fill(0.0);
            input[start + len..].fill(0.0);
        });
    }
}

fn check(whole: usize, image: usize, start: usize, len: usize, part: usize) {
    assert!(len > 0 && start + len <= image && whole.is_multiple_of(image), "a part of whole images");
    assert_eq!(whole / image * len, part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_a_concatenation_are_its_parts() {
        let a: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let b: Vec<f32> = (100..108).map(|v| v as f32).collect();
        let mut joined = vec![0.0; 20];
        concat_into(&[(&a, 6), (&b, 4)], &mut joined);
        assert_eq!(joined[4..8], [4.0, 5.0, 100.0, 101.0]);
        let mut part = vec![0.0; 8];
        slice_into(&joined, 10, 6, 4, &mut part, Store::Replace);
        assert_eq!(part, b);
        let mut gradient = vec![9.0; 20];
        slice_backward_into(&part, 10, 6, 4, &mut gradient, Store::Replace);
        assert!(gradient.iter().enumerate().all(|(i, g)| *g == if i % 10 < 6 { 0.0 } else { joined[i] }));
    }

    #[test]
    fn adding_leaves_what_was_there() {
        let mut whole = vec![1.0; 10];
        slice_backward_into(&[5.0, 6.0], 5, 2, 1, &mut whole, Store::Add);
        assert_eq!(whole, [1.0, 1.0, 6.0, 1.0, 1.0, 1.0, 1.0, 7.0, 1.0, 1.0]);
        let mut part = vec![10.0; 4];
        slice_into(&whole, 5, 1, 2, &mut part, Store::Add);
        assert_eq!(part, [11.0, 16.0, 11.0, 17.0]);
    }
}
