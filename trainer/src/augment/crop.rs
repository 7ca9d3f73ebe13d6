//! A rectangle of an image that fills a canvas or a tile of it.

use std::fmt;

use oxidet_vision::image::{Subpixel, resize_part};
use oxidet_vision::{Image, NormBox};
use rand::Rng;

/// A rectangle of an image, in pixels; parts outside the image are padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crop {
    pub(super) left: isize,
    pub(super) top: isize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Crop {
    /// Draws a rectangle of `aspect` (width / height) inside the image, at a random place. Its side along which the image is
    /// the shorter one is at least `smallest` of the image's, uniformly.
    pub(super) fn draw_inside(
        smallest: f64,
        width: usize,
        height: usize,
        aspect: f64,
        rng: &mut impl Rng,
    ) -> Self {
        let share = smallest + rng.random::<f64>() * (1.0 - smallest);
        let (width_inside, height_inside) = size_inside(share, width, height, aspect);
        Self {
            top: rng.random_range(0..=height - height_inside) as isize,
            left: rng.random_range(0..=width - width_inside) as isize,
            width: width_inside,
            height: height_inside,
        }
    }

    /// The rectangle in the mirrored image.
    pub(super) fn mirrored(self, width: usize, height: usize, vertically: bool, horizontally: bool) -> Self {
        let mirror = |at: isize, len: usize, whole: usize| whole as isize - at - len as isize;
        Self {
            left: if horizontally { mirror(self.left, self.width, width) } else { self.left },
            top: if vertically { mirror(self.top, self.height, height) } else { self.top },
            ..self
        }
    }

    /// What is in the rectangle, stretched to `width` × `height`; padding has the image's mean colour.
    pub(super) fn resize<S: Subpixel>(&self, image: &Image<S>, width: usize, height: usize) -> Image<S> {
        let across = Overlap::new(self.left, self.width, image.width, width);
        let down = Overlap::new(self.top, self.height, image.height, height);
        let part = [across.from, down.from, across.source_len, down.source_len];
        if across.len == width && down.len == height {
            return resize_part(image, part, width, height);
        }
        let mut canvas = Image::filled(width, height, &image.mean_pixel());
        if across.len > 0 && down.len > 0 {
            let seen = resize_part(image, part, across.len, down.len);
            canvas.paste(&seen, across.first as isize, down.first as isize);
        }
        canvas
    }

    /// A box in fractions of an image of `width` × `height` as fractions of the crop.
    pub(super) fn move_box(&self, b: &NormBox, width: usize, height: usize) -> NormBox {
        let x = |v: f32| (v * width as f32 - self.left as f32) / self.width as f32;
        let y = |v: f32| (v * height as f32 - self.top as f32) / self.height as f32;
        NormBox { x1: x(b.x1), y1: y(b.y1), x2: x(b.x2), y2: y(b.y2) }
    }
}

/// Width and height of [`Crop::draw_inside`].
fn size_inside(share: f64, width: usize, height: usize, aspect: f64) -> (usize, usize) {
    let (w, h) = (width as f64, height as f64);
    let side = |len: f64, most: usize| (len.round_ties_even() as usize).clamp(1, most);
    if w / h > aspect {
        let inside = side(h * share, height);
        (side(inside as f64 * aspect, width), inside)
    } else {
        let inside = side(w * share, width);
        (inside, side(inside as f64 / aspect, height))
    }
}

/// Along one axis: which pixels of the canvas lie wholly on the image, and which stretch of the image they show.
struct Overlap {
    first: usize,
    len: usize,
    from: f64,
    source_len: f64,
}

impl Overlap {
    fn new(start: isize, crop_len: usize, image_len: usize, canvas_len: usize) -> Self {
        let scale = crop_len as f64 / canvas_len as f64;
        let on_canvas = |at: f64| (at - start as f64) / scale;
        // A hair of tolerance, so that rounding does not cost a whole pixel.
        let first = (on_canvas(0.0) - 1e-6).ceil().clamp(0.0, canvas_len as f64) as usize;
        let end =
            (on_canvas(image_len as f64) + 1e-6).floor().clamp(first as f64, canvas_len as f64) as usize;
        let in_image = |pixel: usize| (start as f64 + pixel as f64 * scale).clamp(0.0, image_len as f64);
        Self { first, len: end - first, from: in_image(first), source_len: in_image(end) - in_image(first) }
    }
}

/// `300x280 pixels from (-12, 8)`
impl fmt::Display for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} pixels from ({}, {})", self.width, self.height, self.left, self.top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Purpose, rng};

    /// Computed by the original.
    #[test]
    fn inner_crops_have_their_golden_sizes() {
        let bbox = NormBox { x1: 0.1, y1: 0.2, x2: 0.5, y2: 0.6 };
        for ((w, h), aspect, u, (top, left), size, want) in [
            ((640, 480), 1.0, 0.5, (20, 100), (408, 408), [-0.08824, 0.18627, 0.53922, 0.65686]),
            ((480, 640), 2.0, 0.25, (100, 30), (372, 186), [0.04839, 0.15054, 0.56452, 1.52688]),
        ] {
            let (width, height) = size_inside(0.7 + u * 0.3, w, h, aspect);
            assert_eq!((width, height), size);
            let moved = Crop { left, top, width, height }.move_box(&bbox, w, h);
            for (got, want) in [moved.x1, moved.y1, moved.x2, moved.y2].iter().zip(want) {
                assert!((got - want).abs() < 1e-5, "{moved:?}");
            }
        }
    }

    #[test]
    fn inner_crops_stay_inside() {
        let mut rng = rng(5, 0, 0, Purpose::Augment);
        for (w, h, aspect) in [(50, 3, 1.3), (3, 50, 0.2), (1, 1, 5.0), (640, 480, 0.5)] {
            for _ in 0..500 {
                let crop = Crop::draw_inside(0.0, w, h, aspect, &mut rng);
                assert!(crop.width > 0 && crop.height > 0 && crop.left >= 0 && crop.top >= 0);
                assert!(crop.left as usize + crop.width <= w && crop.top as usize + crop.height <= h);
            }
        }
    }

    #[test]
    fn padding_is_the_mean_and_the_rest_is_the_image() {
        let mut image = Image::filled(4, 2, &[10u8, 20, 30]);
        image.data[..3].copy_from_slice(&[90, 20, 30]);
        let out = Crop { left: -2, top: 0, width: 8, height: 4 }.resize(&image, 8, 4);
        assert_eq!(out.data[..3], [20, 20, 30], "the mean of red is (7 · 10 + 90) / 8");
        assert_eq!(out.data[6..9], [90, 20, 30], "the image begins in the third column");
        assert_eq!(out.data[(2 * 8 + 3) * 3..][..3], [20, 20, 30], "below is padding");
        let nothing = Crop { left: 9, top: 9, width: 3, height: 3 }.resize(&image, 2, 2);
        assert_eq!(nothing, Image::filled(2, 2, &[20, 20, 30]));
    }
}
