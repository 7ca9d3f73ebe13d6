//! Windows of any size and stride. The largest of 2·n neighbours is the larger of two results for n neighbours, n cells
//! apart, so a window of 13 columns takes 4 comparisons a cell: 2, 4, 8 and, overlapping, 13. Rows follow in the same way.
//! (The sparse table of range-minimum queries, of which only the last line is kept.)
//!
//! The map lies in a padded plane, so a window is found for every cell of one long row, with nothing special at borders.

use super::{Geometry, wins};
use oxidet_graph::{MaxPool, Padding};
use std::ops::Range;

/// For every cell of a padded map, the largest value of the window that starts there and its number in the window.
struct Plane {
    values: Vec<f32>,
    /// As wide as the values: beside u16, LLVM makes code for AVX2 that takes four times as long.
    numbers: Vec<u32>,
}

impl Plane {
    fn new(len: usize) -> Self {
        Self { values: vec![0.0; len], numbers: vec![0; len] }
    }

    /// Makes `cells` padding.
    #[inline(always)]
    fn clear(&mut self, cells: Range<usize>) {
        self.values[cells.clone()].fill(f32::NEG_INFINITY);
        self.numbers[cells].fill(0);
    }
}

/// Memory of one map's pooling: each widening of the windows goes from one plane to the other.
pub(super) struct Planes {
    /// Cells from one row to the next: a row and the padding it shares with the next one.
    pitch: usize,
    plane: Plane,
    next: Plane,
}

impl Planes {
    pub(super) fn new(geometry: &Geometry) -> Self {
        let Padding { top, left, bottom, right } = geometry.window.padding;
        let pitch = geometry.width + left.max(right);
        let len = (top + geometry.height + bottom) * pitch + left.min(right);
        Self { pitch, plane: Plane::new(len), next: Plane::new(len) }
    }

    /// Pools one map.
    #[inline(always)]
    pub(super) fn forward_map(
        &mut self,
        geometry: &Geometry,
        input: &[f32],
        output: &mut [f32],
        winners: &mut [u16],
    ) {
        let MaxPool { kernel, stride, padding } = geometry.window;
        let (pitch, width, len) = (self.pitch, geometry.width, self.plane.values.len());
        self.plane.clear(0..len);
        for (y, row) in input.chunks_exact(width).enumerate() {
            let start = (padding.top + y) * pitch + padding.left;
            self.plane.values[start..start + width].copy_from_slice(row);
        }
        // Columns, of the map's own rows; after them the windows of the rows above and below are still all padding.
        let rows = padding.top * pitch..(len - padding.bottom * pitch);
        let end = self.widen(rows.clone(), kernel, 1, 1);
        self.plane.clear(0..rows.start);
        self.plane.clear(end..len);
        self.widen(0..len, kernel, pitch, kernel as u32);

        let out_width = geometry.out_width();
        let outputs = output.chunks_exact_mut(out_width).zip(winners.chunks_exact_mut(out_width));
        for (y, (output, winners)) in outputs.enumerate() {
            let start = y * stride * pitch;
            let row = start..start + (out_width - 1) * stride + 1;
            let (values, numbers) = (&self.plane.values[row.clone()], &self.plane.numbers[row]);
            if stride == 1 {
                output.copy_from_slice(values);
                winners.iter_mut().zip(numbers).for_each(|(winner, number)| *winner = *number as u16);
            } else {
                let cells = values.iter().zip(numbers).step_by(stride);
                for ((output, winner), (value, number)) in output.iter_mut().zip(winners).zip(cells) {
                    *output = *value;
                    *winner = *number as u16;
                }
            }
        }
        if padding != Padding::default() {
            keep_off_padding(geometry, output, winners);
        }
    }

    /// Widens the windows of `cells` from 1 to `kernel` cells that are `pitch` apart and whose numbers are `step` apart.
    /// Returns where the cells end whose whole window lies in `cells`.
    #[inline(always)]
    fn widen(&mut self, cells: Range<usize>, kernel: usize, pitch: usize, step: u32) -> usize {
        let Range { start, mut end } = cells;
        let mut reach = 1;
        while reach < kernel {
            let shift = reach.min(kernel - reach);
            let far = start + shift * pitch..end;
            end -= shift * pitch;
            let next = self.next.values[start..end].iter_mut().zip(&mut self.next.numbers[start..end]);
            let near = self.plane.values[start..end].iter().zip(&self.plane.numbers[start..end]);
            let far = self.plane.values[far.clone()].iter().zip(&self.plane.numbers[far]);
            let step = shift as u32 * step;
            for ((best, number), ((a, a_number), (b, b_number))) in next.zip(near.zip(far)) {
                let wins = wins(*b, *a);
                *best = if wins { *b } else { *a };
                *number = if wins { b_number + step } else { *a_number };
            }
            std::mem::swap(&mut self.plane, &mut self.next);
            reach += shift;
        }
        end
    }
}

/// Padding is −∞ and comes first in row order, so it stands for a window without anything larger: such a window's winner
/// is its first cell in the map.
#[inline(always)]
fn keep_off_padding(geometry: &Geometry, output: &[f32], winners: &mut [u16]) {
    if !output.iter().fold(false, |any, value| any | (*value == f32::NEG_INFINITY)) {
        return;
    }
    let MaxPool { kernel, stride, padding } = geometry.window;
    let out_width = geometry.out_width();
    for (i, (value, winner)) in output.iter().zip(winners).enumerate() {
        if *value == f32::NEG_INFINITY {
            let row = padding.top.saturating_sub(i / out_width * stride);
            let column = padding.left.saturating_sub(i % out_width * stride);
            *winner = (row * kernel + column) as u16;
        }
    }
}
