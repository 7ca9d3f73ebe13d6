//! YOLO's jitter: a random crop that may reach beyond the image.

use rand::Rng;

use super::crop::Crop;

/// Draws the movement of the four edges, each uniform within ± `jitter` of the side, for a canvas of `aspect` (width /
/// height).
pub(super) fn draw(jitter: f64, width: usize, height: usize, aspect: f64, rng: &mut impl Rng) -> Crop {
    let mut edge = || (2.0 * rng.random::<f64>() - 1.0) * jitter;
    let [left, top, right, bottom] = [edge(), edge(), edge(), edge()];
    from_edges([left, top, right, bottom], width, height, aspect)
}

/// The crop whose edges move inwards by these shares of the image (left, top, right, bottom; negative is outwards), changed
/// towards the canvas' aspect: padding is taken back where the image is too long, and added where it is too short.
fn from_edges(edges: [f64; 4], width: usize, height: usize, aspect: f64) -> Crop {
    let [left, top, right, bottom] = edges.map(|edge| edge.min(0.8));
    let limit = |a: f64, b: f64| if a + b > 0.8 { (a.min(0.4), b.min(0.4)) } else { (a, b) };
    let (left, right) = limit(left, right);
    let (top, bottom) = limit(top, bottom);
    let (w, h) = (width as f64, height as f64);
    let (mut x, mut y) = ([left * w, right * w], [top * h, bottom * h]);
    if w / h > aspect {
        let left_over = take_back(&mut x, w - h * aspect);
        y = y.map(|edge| edge - left_over / aspect / 2.0);
    } else {
        let left_over = take_back(&mut y, h - w / aspect);
        x = x.map(|edge| edge - left_over * aspect / 2.0);
    }
    let side = |len: f64, edges: [f64; 2]| (len - edges[0] - edges[1]).round_ties_even().max(1.0) as usize;
    Crop {
        left: x[0].round_ties_even() as isize,
        top: y[0].round_ties_even() as isize,
        width: side(w, x),
        height: side(h, y),
    }
}

/// Moves two opposite edges with padding inwards, both alike first, until `excess` pixels are gone or no padding is left.
/// Returns what remains of `excess`.
fn take_back(edges: &mut [f64; 2], mut excess: f64) -> f64 {
    let both = edges.iter().map(|edge| -edge.min(0.0)).fold(excess / 2.0, f64::min);
    for edge in edges.iter_mut() {
        *edge += both;
        excess -= both;
    }
    for edge in edges.iter_mut() {
        if *edge < 0.0 && excess > 0.0 {
            let step = excess.min(-*edge);
            *edge += step;
            excess -= step;
        }
    }
    excess.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxidet_vision::NormBox;

    /// Computed by the original; the last row by hand, where the original lets the padding grow.
    #[test]
    fn golden_values() {
        for (image, edges, size, bbox) in [
            ((640, 480), [0.24, -0.18, -0.06, 0.12], (486, 630), [-0.18519, 0.38571, 0.34156, 0.69048]),
            ((640, 480), [-0.24, -0.18, -0.12, -0.24], (710, 682), [0.18873, 0.26686, 0.5493, 0.54839]),
            ((480, 640), [-0.24, -0.18, -0.12, -0.12], (653, 672), [0.24962, 0.2381, 0.54364, 0.61905]),
            ((480, 640), [0.24, 0.12, -0.06, -0.18], (438, 563), [-0.10274, 0.09059, 0.33562, 0.54529]),
        ] {
            let crop = from_edges(edges, image.0, image.1, 1.0);
            assert_eq!((crop.width, crop.height), size, "{edges:?}");
            let moved = crop.move_box(&NormBox { x1: 0.1, y1: 0.2, x2: 0.5, y2: 0.6 }, image.0, image.1);
            for (got, want) in [moved.x1, moved.y1, moved.x2, moved.y2].iter().zip(bbox) {
                assert!((got - want).abs() < 1e-5, "{edges:?}: {moved:?}");
            }
        }
    }

    #[test]
    fn no_crop_is_so_deep_that_nothing_is_left() {
        let mut rng = crate::data::random::rng(5, 0, 0, crate::data::random::Purpose::Augment);
        for _ in 0..2000 {
            let crop = draw(1.0, 50, 3, 1.3, &mut rng);
            assert!(crop.width > 0 && crop.height > 0);
        }
    }
}
