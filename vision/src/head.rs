//! The geometry of a detection head: its stride, anchors and grid.

use serde::{Deserialize, Serialize};

/// How the map of one head turns into boxes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Input pixels per cell.
    pub stride: usize,
    /// Anchor (width, height) relative to the input size. Their order is the channel layout.
    pub anchors: Vec<(f32, f32)>,
    /// By how much a predicted centre may leave its cell, in cells, both sides together. Darknet's `scale_x_y` is
    /// `1 + grid_xy_extend`.
    pub grid_xy_extend: f32,
}

impl Head {
    /// Rows and columns of the grid for an input of `height` × `width` pixels.
    pub fn grid(&self, height: usize, width: usize) -> (usize, usize) {
        (height / self.stride, width / self.stride)
    }

    /// Boxes this head predicts for an input of `height` × `width` pixels.
    pub fn boxes(&self, height: usize, width: usize) -> usize {
        let (rows, columns) = self.grid(height, width);
        rows * columns * self.anchors.len()
    }
}
