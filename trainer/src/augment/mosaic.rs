//! Four images in one.

use rand::Rng;

use super::recipe::Place;

/// Where the four tiles of a mosaic meet, in pixels of the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    x: usize,
    y: usize,
}

impl Split {
    /// Uniform among the places that give each tile at least `min_ratio` of the canvas along both axes.
    pub(super) fn draw(width: usize, height: usize, min_ratio: f64, rng: &mut impl Rng) -> Self {
        let mut at = |len: usize| {
            let len = len as f64;
            // Rounding may put one past the other when there is next to no room.
            let first = (len * min_ratio).floor().max(1.0) as usize;
            let last = ((len * (1.0 - min_ratio)).floor() as usize).max(first);
            rng.random_range(first..=last)
        };
        let y = at(height);
        Self { x: at(width), y }
    }

    /// Top left, top right, bottom left, bottom right.
    pub(super) fn tiles(self, width: usize, height: usize) -> [Place; 4] {
        let Self { x, y } = self;
        let place = |left, top, width, height| Place { left, top, width, height };
        [
            place(0, 0, x, y),
            place(x, 0, width - x, y),
            place(0, y, x, height - y),
            place(x, y, width - x, height - y),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Purpose, rng};

    #[test]
    fn borders_reach_both_ends_of_their_range() {
        let mut rng = rng(1, 0, 0, Purpose::Augment);
        let splits: Vec<Split> = (0..5000).map(|_| Split::draw(96, 32, 0.2, &mut rng)).collect();
        let range = |of: fn(&Split) -> usize| (splits.iter().map(of).min(), splits.iter().map(of).max());
        assert_eq!(range(|split| split.x), (Some(19), Some(76)));
        assert_eq!(range(|split| split.y), (Some(6), Some(25)));
    }
}
