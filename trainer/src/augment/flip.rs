//! Mirroring an image and its boxes.

use oxidet_vision::image::Subpixel;
use oxidet_vision::{Image, NormBox};

/// Mirrors top and bottom.
pub(super) fn vertically<S: Subpixel>(image: &mut Image<S>) {
    let row = image.width * image.channels;
    let (top, bottom) = image.data.split_at_mut(image.height / 2 * row);
    for (a, b) in top.chunks_exact_mut(row).zip(bottom.chunks_exact_mut(row).rev()) {
        a.swap_with_slice(b);
    }
}

/// Mirrors left and right.
pub(super) fn horizontally<S: Subpixel>(image: &mut Image<S>) {
    for row in image.data.chunks_exact_mut(image.width * image.channels) {
        match image.channels {
            3 => row.as_chunks_mut::<3>().0.reverse(),
            _ => row.reverse(),
        }
    }
}

pub(super) fn box_vertically(b: &NormBox) -> NormBox {
    NormBox { y1: 1.0 - b.y2, y2: 1.0 - b.y1, ..*b }
}

pub(super) fn box_horizontally(b: &NormBox) -> NormBox {
    NormBox { x1: 1.0 - b.x2, x2: 1.0 - b.x1, ..*b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_swap_places() {
        let mut gray = Image { width: 3, height: 3, channels: 1, data: (1u8..=9).collect() };
        vertically(&mut gray);
        assert_eq!(gray.data, [7, 8, 9, 4, 5, 6, 1, 2, 3]);
        let mut colour = Image { width: 2, height: 1, channels: 3, data: (1u16..=6).collect() };
        horizontally(&mut colour);
        assert_eq!(colour.data, [4, 5, 6, 1, 2, 3]);
    }
}
