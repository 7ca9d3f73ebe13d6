//! Max-pooling, any window and stride; cells outside the map count as −∞. Of equal values the first in row order wins;
//! a NaN wins over every number.
//!
//! Work is split by maps. [`halving`] has the 2×2 windows that halve a map, [`doubling`] all others.

mod doubling;
mod halving;

use super::Store;
use super::simd::{Simd, dispatch};
use doubling::Planes;
use oxidet_graph::{MaxPool, Padding};
use rayon::prelude::*;

/// Sizes of one max-pooling. Made by [`Geometry::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    maps: usize,
    height: usize,
    width: usize,
    window: MaxPool,
}

/// Sizes that make no pooling.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a {0}×{0} pooling window with stride {1} and padding {2:?} does not fit a {3}×{4} map: it must be at most 256 wide, \
     larger than its padding and no larger than the padded map",
    window.kernel, window.stride, window.padding, height, width
)]
pub struct GeometryError {
    window: MaxPool,
    height: usize,
    width: usize,
}

impl Geometry {
    /// Pooling of `maps` (images · channels) maps of `height × width`.
    ///
    /// # Errors
    /// When a window would hold no cell of the map, or there is no window.
    pub fn new(maps: usize, height: usize, width: usize, window: &MaxPool) -> Result<Self, GeometryError> {
        let MaxPool { kernel, stride, padding: Padding { top, left, bottom, right } } = *window;
        let fits = (1..=256).contains(&kernel)
            && stride > 0
            && height > 0
            && width > 0
            && [top, left, bottom, right].iter().all(|pad| *pad < kernel)
            && height + top + bottom >= kernel
            && width + left + right >= kernel;
        if !fits {
            return Err(GeometryError { window: *window, height, width });
        }
        Ok(Self { maps, height, width, window: *window })
    }

    /// Rows of the output.
    pub fn out_height(&self) -> usize {
        (self.height + self.window.padding.top + self.window.padding.bottom - self.window.kernel)
            / self.window.stride
            + 1
    }

    /// Columns of the output.
    pub fn out_width(&self) -> usize {
        (self.width + self.window.padding.left + self.window.padding.right - self.window.kernel)
            / self.window.stride
            + 1
    }

    /// Whether every window is a 2×2 block of its own.
    fn halves(&self) -> bool {
        self.window == MaxPool { kernel: 2, stride: 2, padding: Padding::default() }
    }

    fn check(&self, input: usize, output: usize) {
        assert_eq!(input, self.maps * self.height * self.width, "input length of {self:?}");
        assert_eq!(output, self.maps * self.out_height() * self.out_width(), "output length of {self:?}");
    }
}

/// Writes the pooled maps to `output`, and to `winners` where in its window (row · kernel + column) each value was found.
///
/// # Panics
/// When a length does not fit `geometry`.
pub fn forward_into(geometry: &Geometry, input: &[f32], output: &mut [f32], winners: &mut [u16]) {
    geometry.check(input.len(), output.len());
    assert_eq!(winners.len(), output.len());
    let out_size = geometry.out_height() * geometry.out_width();
    let maps = input
        .par_chunks(geometry.height * geometry.width)
        .zip(output.par_chunks_mut(out_size))
        .zip(winners.par_chunks_mut(out_size));
    dispatch!(simd => {
        if geometry.halves() {
            maps.for_each(|((input, output), winners)| {
                simd.vectorize(
                    #[inline(always)]
                    || halving::forward_map(geometry.width, input, output, winners),
                );
            });
        } else {
            maps.for_each_init(
                || Planes::new(geometry),
                |planes, ((input, output), winners)| {
                    simd.vectorize(
                        #[inline(always)]
                        || planes.forward_map(geometry, input, output, winners),
                    );
                },
            );
        }
    });
}

/// Whether `value` displaces `best`, which comes before it: larger, or a NaN, which must not get lost.
#[inline(always)]
#[expect(clippy::eq_op, reason = "vectorises as one comparison, unlike is_nan")]
fn wins(value: f32, best: f32) -> bool {
    (value > best) | (value != value)
}

/// Stores the gradient with respect to the input: each output's gradient goes to the cell its value came from.
///
/// # Panics
/// When a length does not fit `geometry`.
pub fn backward_into(
    geometry: &Geometry,
    winners: &[u16],
    output_gradient: &[f32],
    input_gradient: &mut [f32],
    store: Store,
) {
    geometry.check(input_gradient.len(), output_gradient.len());
    assert_eq!(winners.len(), output_gradient.len());
    let out_size = geometry.out_height() * geometry.out_width();
    let maps = input_gradient
        .par_chunks_mut(geometry.height * geometry.width)
        .zip(output_gradient.par_chunks(out_size))
        .zip(winners.par_chunks(out_size));
    if geometry.halves() {
        dispatch!(simd => maps.for_each(|((input_gradient, output_gradient), winners)| {
            simd.vectorize(
                #[inline(always)]
                || halving::backward_map(geometry.width, winners, output_gradient, input_gradient, store),
            );
        }));
        return;
    }
    let offsets = window_offsets(geometry);
    maps.for_each(|((input_gradient, output_gradient), winners)| {
        if store == Store::Replace {
            input_gradient.fill(0.0);
        }
        scatter(geometry, &offsets, winners, output_gradient, input_gradient);
    });
}

/// Where in the map every number of a window lies, from the window's first cell.
fn window_offsets(geometry: &Geometry) -> Vec<usize> {
    let kernel = geometry.window.kernel;
    (0..kernel * kernel).map(|k| k / kernel * geometry.width + k % kernel).collect()
}

/// Adds each gradient of one map to the cell its value came from.
fn scatter(
    geometry: &Geometry,
    offsets: &[usize],
    winners: &[u16],
    output_gradient: &[f32],
    input_gradient: &mut [f32],
) {
    let MaxPool { stride, padding, .. } = geometry.window;
    let (width, out_width) = (geometry.width, geometry.out_width());
    let margin = padding.top * width + padding.left;
    let rows = output_gradient.chunks_exact(out_width).zip(winners.chunks_exact(out_width));
    for (y, (gradients, winners)) in rows.enumerate() {
        for (x, (gradient, winner)) in gradients.iter().zip(winners).enumerate() {
            let start = y * stride * width + x * stride;
            input_gradient[start + offsets[usize::from(*winner)] - margin] += gradient;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::simd::forced::on_every_level;
    use crate::kernel::testing::{on_thread_counts, values};

    fn windows() -> Vec<MaxPool> {
        let mut windows = Vec::new();
        for (kernel, stride, pad) in [
            (1, 1, 0),
            (2, 1, 0),
            (2, 2, 0),
            (2, 2, 1),
            (2, 3, 1),
            (3, 1, 1),
            (3, 2, 1),
            (4, 1, 3),
            (4, 3, 2),
            (5, 1, 2),
            (9, 1, 4),
            (13, 1, 6),
        ] {
            windows.push(MaxPool { kernel, stride, padding: Padding::all(pad) });
        }
        for (kernel, stride, padding) in [
            (3, 2, Padding { top: 0, left: 1, bottom: 2, right: 0 }),
            (4, 1, Padding { top: 3, left: 0, bottom: 1, right: 2 }),
            (7, 1, Padding { top: 0, left: 6, bottom: 5, right: 1 }),
        ] {
            windows.push(MaxPool { kernel, stride, padding });
        }
        windows
    }

    /// Values with many ties; with windows of −∞ only; with NaN.
    fn inputs(len: usize) -> [Vec<f32>; 3] {
        let ties: Vec<f32> = values(1, len).iter().map(|v| (v * 4.0).round()).collect();
        let low = ties.iter().map(|v| if *v < 3.0 { f32::NEG_INFINITY } else { *v }).collect();
        let nan =
            values(3, len).iter().map(|v| if *v > 0.9 { f32::NAN } else { (v * 4.0).round() }).collect();
        [ties, low, nan]
    }

    /// Window by window, row by row: only a larger value wins, or a NaN.
    fn reference(geometry: &Geometry, input: &[f32], gradient: &[f32]) -> (Vec<f32>, Vec<f64>) {
        let MaxPool { kernel, stride, padding } = geometry.window;
        let (height, width) = (geometry.height, geometry.width);
        let mut output = Vec::new();
        let mut input_gradient = vec![0.0; input.len()];
        for map in 0..geometry.maps {
            for y in 0..geometry.out_height() {
                for x in 0..geometry.out_width() {
                    let mut best: Option<usize> = None;
                    for k in 0..kernel * kernel {
                        let row = (y * stride + k / kernel).wrapping_sub(padding.top);
                        let column = (x * stride + k % kernel).wrapping_sub(padding.left);
                        if row < height && column < width {
                            let at = (map * height + row) * width + column;
                            if best.is_none_or(|best| input[at] > input[best] || input[at].is_nan()) {
                                best = Some(at);
                            }
                        }
                    }
                    let best = best.expect("a window holds a cell");
                    input_gradient[best] += f64::from(gradient[output.len()]);
                    output.push(input[best]);
                }
            }
        }
        (output, input_gradient)
    }

    #[test]
    fn every_window_matches_the_definition() {
        on_every_level(|level| {
            for window in windows() {
                for (maps, height, width) in
                    [(1, 1, 1), (3, 5, 7), (2, 13, 13), (2, 8, 21), (1, 2, 40), (2, 67, 1), (1, 9, 36)]
                {
                    let Ok(geometry) = Geometry::new(maps, height, width, &window) else { continue };
                    for input in inputs(maps * height * width) {
                        matches_the_definition(level, &geometry, &input);
                    }
                }
            }
        });
    }

    fn matches_the_definition(level: &str, geometry: &Geometry, input: &[f32]) {
        let out_len = geometry.maps * geometry.out_height() * geometry.out_width();
        let gradient = values(2, out_len);
        let (want, want_gradient) = reference(geometry, input, &gradient);
        let (mut output, mut winners) = (vec![9.0; out_len], vec![9; out_len]);
        forward_into(geometry, input, &mut output, &mut winners);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&output), bits(&want), "{level} {geometry:?}: {output:?} {want:?}");
        let mut input_gradient = vec![9.0; input.len()];
        for (store, times) in [(Store::Replace, 1.0), (Store::Add, 2.0)] {
            backward_into(geometry, &winners, &gradient, &mut input_gradient, store);
            for (got, want) in input_gradient.iter().zip(&want_gradient) {
                let error = (f64::from(*got) - times * want).abs();
                assert!(error < 1e-5, "{level} {geometry:?} {store:?}: {got} {want}");
            }
        }
    }

    #[test]
    fn sizes_without_windows_are_refused() {
        for (kernel, stride, pad, side) in
            [(0, 1, 0, 4), (2, 0, 0, 4), (3, 1, 3, 4), (5, 1, 0, 4), (2, 2, 0, 0)]
        {
            let window = MaxPool { kernel, stride, padding: Padding::all(pad) };
            assert!(Geometry::new(1, side, side, &window).is_err(), "{window:?}");
        }
    }

    #[test]
    fn threads_do_not_change_results() {
        for (kernel, stride, pad) in [(5, 1, 2), (2, 2, 0)] {
            let window = MaxPool { kernel, stride, padding: Padding::all(pad) };
            let geometry = Geometry::new(12, 13, 9, &window).unwrap();
            let input = values(3, 12 * 13 * 9);
            on_thread_counts(|| {
                let out_len = 12 * geometry.out_height() * geometry.out_width();
                let (mut output, mut winners) = (vec![0.0; out_len], vec![0; out_len]);
                forward_into(&geometry, &input, &mut output, &mut winners);
                let mut gradient = vec![0.0; input.len()];
                backward_into(&geometry, &winners, &output, &mut gradient, Store::Replace);
                [output, gradient].concat()
            });
        }
    }
}
