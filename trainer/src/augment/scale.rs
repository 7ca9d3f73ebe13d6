//! Input sizes that change while training.

use rand::Rng;

/// The network's sides are multiples of this.
const STEP: usize = 32;

/// Draws an input size between 0.6 and 1.5 times `width` × `height`, all sides multiples of 32. The longer side is uniform over
/// its multiples; the other follows, so that objects keep their shape.
pub fn draw_size(width: usize, height: usize, rng: &mut impl Rng) -> (usize, usize) {
    let longer = width.max(height);
    let steps = longer as f64 / STEP as f64;
    let first = (0.6 * steps).round_ties_even().max(1.0);
    let last = ((1.5 * steps + 1.0).round_ties_even() - 1.0).max(first);
    let drawn = rng.random_range(first as usize..=last as usize) * STEP;
    let other = |side: usize| {
        let exact = side as f64 * drawn as f64 / longer as f64;
        ((exact / STEP as f64).round_ties_even() as usize).max(1) * STEP
    };
    (other(width), other(height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Purpose, rng};

    /// Ranges of the original's sequence loader.
    #[test]
    fn ranges_are_those_of_the_original() {
        let mut rng = rng(1, 0, 0, Purpose::Size);
        for (side, least, most) in [(384, 224, 576), (416, 256, 608), (960, 576, 1440), (1248, 736, 1888)] {
            let drawn: Vec<usize> = (0..3000).map(|_| draw_size(side, 32, &mut rng).0).collect();
            assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&least), Some(&most)), "{side}");
            assert!(drawn.iter().all(|side| side % 32 == 0));
        }
    }

    #[test]
    fn the_aspect_ratio_stays() {
        let mut rng = rng(1, 0, 0, Purpose::Size);
        for _ in 0..100 {
            let (w, h) = draw_size(1248, 384, &mut rng);
            assert!((h as f64 - w as f64 * 384.0 / 1248.0).abs() <= 16.0, "{w}x{h}");
            assert_eq!(draw_size(32, 32, &mut rng).0 % 32, 0);
        }
    }
}
