//! Max-pooling, any window and stride; cells outside the map count as −∞. Of equal values the first in row order wins.
//!
//! Rows and columns are taken apart: a first pass keeps, for every input row, the largest value of each window's columns;
//! a second pass keeps the largest of these over the window's rows. That is 2·k comparisons a cell instead of k², all of
//! them over neighbouring cells, which matters for the 13×13 windows of a pyramid-pooling block.

use super::Store;
use super::simd::{Simd, dispatch};
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
    let (map_size, out_size) =
        (geometry.height * geometry.width, geometry.out_height() * geometry.out_width());
    let across = geometry.height * geometry.out_width();
    dispatch!(simd => {
        output
            .par_chunks_mut(out_size)
            .zip(winners.par_chunks_mut(out_size))
            .zip(input.par_chunks(map_size))
            .for_each_init(
                || (vec![0.0; across], vec![0; across]),
                |(best, column), ((output, winners), input)| {
                    simd.vectorize(
                        #[inline(always)]
                        || {
                            pool_columns(geometry, input, best, column);
                            pool_rows(geometry, best, column, output, winners);
                        },
                    );
                },
            );
    });
}

/// Whether `value` displaces `best`: larger, or a NaN, which must not get lost.
#[inline(always)]
#[expect(clippy::eq_op, reason = "vectorises as one comparison, unlike is_nan")]
fn wins(value: f32, best: f32) -> bool {
    (value > best) | (value != value)
}

/// First pass: the largest value of every window's columns, in every row, and its column in the window.
#[inline(always)]
fn pool_columns(geometry: &Geometry, input: &[f32], best: &mut [f32], column: &mut [u16]) {
    let (out_width, stride) = (geometry.out_width(), geometry.window.stride);
    let left = geometry.window.padding.left;
    let rows = input.chunks(geometry.width);
    for ((row, best), column) in rows.zip(best.chunks_mut(out_width)).zip(column.chunks_mut(out_width)) {
        for (x, (best, column)) in best.iter_mut().zip(column.iter_mut()).enumerate() {
            let first = left.saturating_sub(x * stride);
            *best = row[x * stride + first - left];
            *column = first as u16;
        }
        for k in 0..geometry.window.kernel {
            // Outputs whose window has its column k inside the row.
            let from = left.saturating_sub(k).div_ceil(stride);
            let to = (geometry.width + left).saturating_sub(k).div_ceil(stride).min(out_width);
            if from >= to {
                continue;
            }
            let best = best[from..to].iter_mut().zip(&mut column[from..to]);
            let values = &row[from * stride + k - left..];
            if stride == 1 {
                for (value, (best, column)) in values.iter().zip(best) {
                    let wins = wins(*value, *best);
                    *best = if wins { *value } else { *best };
                    *column = if wins { k as u16 } else { *column };
                }
            } else {
                for (value, (best, column)) in values.iter().step_by(stride).zip(best) {
                    let wins = wins(*value, *best);
                    *best = if wins { *value } else { *best };
                    *column = if wins { k as u16 } else { *column };
                }
            }
        }
    }
}

/// Second pass: the largest of the first pass's values over every window's rows.
#[inline(always)]
fn pool_rows(geometry: &Geometry, best: &[f32], column: &[u16], output: &mut [f32], winners: &mut [u16]) {
    let (out_width, kernel) = (geometry.out_width(), geometry.window.kernel);
    let top = geometry.window.padding.top;
    let outputs = output.chunks_mut(out_width).zip(winners.chunks_mut(out_width));
    for (y, (output, winners)) in outputs.enumerate() {
        let start = y * geometry.window.stride;
        let first = top.saturating_sub(start);
        let last = kernel.min(geometry.height + top - start);
        for k in first..last {
            let row = (start + k - top) * out_width..(start + k - top + 1) * out_width;
            let candidates = best[row.clone()].iter().zip(&column[row]);
            let place = (k * kernel) as u16;
            if k == first {
                for ((value, column), (output, winner)) in
                    candidates.zip(output.iter_mut().zip(winners.iter_mut()))
                {
                    *output = *value;
                    *winner = place + column;
                }
            } else {
                for ((value, column), (output, winner)) in
                    candidates.zip(output.iter_mut().zip(winners.iter_mut()))
                {
                    let wins = wins(*value, *output);
                    *output = if wins { *value } else { *output };
                    *winner = if wins { place + column } else { *winner };
                }
            }
        }
    }
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
    let MaxPool { kernel, stride, padding } = geometry.window;
    let (width, out_width) = (geometry.width, geometry.out_width());
    // Where in the map a winner lies, from the window's first cell.
    let offsets: Vec<usize> = (0..kernel * kernel).map(|k| k / kernel * width + k % kernel).collect();
    let margin = padding.top * width + padding.left;
    let out_size = geometry.out_height() * out_width;
    input_gradient
        .par_chunks_mut(geometry.height * width)
        .zip(output_gradient.par_chunks(out_size))
        .zip(winners.par_chunks(out_size))
        .for_each(|((input_gradient, output_gradient), winners)| {
            if store == Store::Replace {
                input_gradient.fill(0.0);
            }
            for (y, (gradients, winners)) in
                output_gradient.chunks(out_width).zip(winners.chunks(out_width)).enumerate()
            {
                for (x, (gradient, winner)) in gradients.iter().zip(winners).enumerate() {
                    let start = y * stride * width + x * stride;
                    input_gradient[start + offsets[usize::from(*winner)] - margin] += gradient;
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::simd::forced::on_every_level;
    use crate::kernel::testing::{on_thread_counts, values};

    fn windows() -> Vec<MaxPool> {
        let mut windows = Vec::new();
        for (kernel, stride, pad) in [
            (2, 2, 0),
            (3, 1, 1),
            (3, 2, 1),
            (5, 1, 2),
            (9, 1, 4),
            (13, 1, 6),
            (1, 1, 0),
            (4, 3, 2),
            (2, 3, 1),
        ] {
            windows.push(MaxPool { kernel, stride, padding: Padding::all(pad) });
        }
        windows.push(MaxPool {
            kernel: 3,
            stride: 2,
            padding: Padding { top: 0, left: 1, bottom: 2, right: 0 },
        });
        windows
    }

    /// Window by window, row by row, strictly larger wins.
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
                            if best.is_none_or(|best| input[at] > input[best]) {
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
                for (maps, height, width) in [(1, 1, 1), (3, 5, 7), (2, 13, 13), (2, 8, 21), (1, 2, 40)] {
                    let Ok(geometry) = Geometry::new(maps, height, width, &window) else { continue };
                    // Few different values, so that ties are common.
                    let input: Vec<f32> =
                        values(1, maps * height * width).iter().map(|v| (v * 4.0).round()).collect();
                    let out_len = maps * geometry.out_height() * geometry.out_width();
                    let gradient = values(2, out_len);
                    let (want, want_gradient) = reference(&geometry, &input, &gradient);
                    let (mut output, mut winners) = (vec![9.0; out_len], vec![9; out_len]);
                    forward_into(&geometry, &input, &mut output, &mut winners);
                    assert_eq!(output, want, "{level} {geometry:?}");
                    let mut input_gradient = vec![9.0; input.len()];
                    backward_into(&geometry, &winners, &gradient, &mut input_gradient, Store::Replace);
                    for (got, want) in input_gradient.iter().zip(&want_gradient) {
                        assert!((f64::from(*got) - want).abs() < 1e-5, "{level} {geometry:?}: {got} {want}");
                    }
                }
            }
        });
    }

    #[test]
    fn borders_do_not_count_and_nan_stays() {
        let window = MaxPool { kernel: 3, stride: 1, padding: Padding::all(1) };
        let geometry = Geometry::new(1, 1, 3, &window).unwrap();
        let (mut output, mut winners) = ([0.0; 3], [0; 3]);
        forward_into(&geometry, &[-5.0, -2.0, -3.0], &mut output, &mut winners);
        assert_eq!(output, [-2.0; 3]);
        forward_into(&geometry, &[-5.0, f32::NAN, -3.0], &mut output, &mut winners);
        assert!(output.iter().all(|v| v.is_nan()));
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
        let window = MaxPool { kernel: 5, stride: 1, padding: Padding::all(2) };
        let geometry = Geometry::new(12, 13, 9, &window).unwrap();
        let input = values(3, 12 * 13 * 9);
        on_thread_counts(|| {
            let (mut output, mut winners) = (vec![0.0; input.len()], vec![0; input.len()]);
            forward_into(&geometry, &input, &mut output, &mut winners);
            let mut gradient = vec![0.0; input.len()];
            backward_into(&geometry, &winners, &input, &mut gradient, Store::Replace);
            [output, gradient].concat()
        });
    }
}
