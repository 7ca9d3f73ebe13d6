//! Augmentation of training images, in the order of the original's sequence loader:
//! colour → vertical flip → horizontal flip → jitter → clipping of boxes → resize.
//!
//! The distributions are the original's; its defects (colours rounded to full saturation, padding grown where it should shrink)
//! are not. `docs/differences.md` lists them.

mod flip;
mod hsv;
mod jitter;

use oxidet_proto::spec::AugmentationConfig;
use oxidet_vision::image::resize;
use oxidet_vision::metrics::Truth;
use oxidet_vision::{Image, NormBox};
use rand::Rng;

use hsv::ColorShift;
use jitter::Crop;

/// Boxes whose visible part is not larger than this share of the canvas, per axis, are dropped.
pub const MIN_SIDE: f32 = 0.001;

/// What may happen to a training image.
#[derive(Clone, Debug, PartialEq)]
pub struct Augmentation {
    /// Largest hue shift as a share of 180°.
    pub hue: f64,
    /// Largest saturation factor, at least 1.
    pub saturation: f64,
    /// Largest brightness factor, at least 1.
    pub exposure: f64,
    /// Probability of a vertical flip.
    pub vertical_flip: f64,
    /// Probability of a horizontal flip.
    pub horizontal_flip: f64,
    /// Largest movement of a crop edge as a share of the image.
    pub jitter: f64,
}

impl Augmentation {
    /// As the spec asks.
    pub fn from_spec(spec: &AugmentationConfig) -> Self {
        Self {
            hue: spec.hue.into(),
            saturation: spec.saturation.into(),
            exposure: spec.exposure.into(),
            vertical_flip: spec.vertical_flip.into(),
            horizontal_flip: spec.horizontal_flip.into(),
            jitter: spec.jitter.into(),
        }
    }

    /// Draws one variant of `image` at `width` × `height`, with what is left of its boxes (fractions of the image in,
    /// fractions of the canvas out).
    pub fn apply(
        &self,
        image: &Image,
        truths: &[Truth],
        width: usize,
        height: usize,
        rng: &mut impl Rng,
    ) -> (Image, Vec<Truth>) {
        let mut image = image.clone();
        ColorShift::draw(self, rng).apply(&mut image);
        let vertical = rng.random_bool(self.vertical_flip.clamp(0.0, 1.0));
        let horizontal = rng.random_bool(self.horizontal_flip.clamp(0.0, 1.0));
        if vertical {
            flip::vertically(&mut image);
        }
        if horizontal {
            flip::horizontally(&mut image);
        }
        let crop = Crop::draw(self.jitter, image.width, image.height, width as f64 / height as f64, rng);
        let canvas = resize(&crop.cut(&image), width, height);
        let move_box = |b: &NormBox| {
            let b = if vertical { flip::box_vertically(b) } else { *b };
            let b = if horizontal { flip::box_horizontally(&b) } else { b };
            crop.move_box(&b, image.width, image.height)
        };
        let moved = truths.iter().map(|truth| Truth { bbox: move_box(&truth.bbox), ..*truth });
        (canvas, visible(moved))
    }
}

/// Clips boxes to the canvas and drops those of which nothing worth learning is left.
pub fn visible(truths: impl Iterator<Item = Truth>) -> Vec<Truth> {
    truths
        .map(|truth| Truth { bbox: truth.bbox.clip(), ..truth })
        .filter(|truth| truth.bbox.width() > MIN_SIDE && truth.bbox.height() > MIN_SIDE)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Purpose, rng};

    #[test]
    fn with_everything_off_an_image_of_the_right_size_stays_as_it_is() {
        let off = Augmentation {
            hue: 0.0,
            saturation: 1.0,
            exposure: 1.0,
            vertical_flip: 0.0,
            horizontal_flip: 0.0,
            jitter: 0.0,
        };
        let data = (0..32 * 32 * 3).map(|i| (i * 31 % 251) as u8).collect();
        let image = Image { width: 32, height: 32, channels: 3, data };
        let truth = |x1, y1, x2, y2| Truth { class: 0, difficult: false, bbox: NormBox { x1, y1, x2, y2 } };
        let inside = truth(0.1, 0.2, 0.5, 0.6);
        let out = off.apply(
            &image,
            &[inside, truth(0.2, 0.2, 0.2, 0.9)],
            32,
            32,
            &mut rng(1, 0, 0, Purpose::Augment),
        );
        assert_eq!(out, (image, vec![inside]));
    }

    #[test]
    fn boxes_stay_on_their_objects() {
        // A white rectangle on black: after augmentation the box must still be where the white is.
        let all = Augmentation {
            hue: 0.1,
            saturation: 1.5,
            exposure: 1.5,
            vertical_flip: 0.5,
            horizontal_flip: 0.5,
            jitter: 0.3,
        };
        let mut image = Image::filled(200, 120, &[0, 0, 0]);
        image.paste(&Image::filled(60, 30, &[255, 255, 255]), 40, 70);
        let bbox = NormBox { x1: 0.2, y1: 70.0 / 120.0, x2: 0.5, y2: 100.0 / 120.0 };
        let truth = Truth { class: 0, difficult: false, bbox };
        for sample in 0..200 {
            let (out, truths) =
                all.apply(&image, &[truth], 128, 96, &mut rng(1, 0, sample, Purpose::Augment));
            // Padding has the image's mean, which is dark.
            let bright = |x: usize, y: usize| out.data[(y * 128 + x) * 3] > 128;
            let columns: Vec<usize> = (0..128).filter(|x| (0..96).any(|y| bright(*x, y))).collect();
            let rows: Vec<usize> = (0..96).filter(|y| (0..128).any(|x| bright(x, *y))).collect();
            let [truth] = truths[..] else {
                assert!(
                    columns.len() < 3 || rows.len() < 3,
                    "sample {sample}: the object is there, its box is not"
                );
                continue;
            };
            let (Some(left), Some(right)) = (columns.first(), columns.last()) else { continue };
            let (top, bottom) = (rows[0] as f32 / 96.0, (rows[rows.len() - 1] + 1) as f32 / 96.0);
            let (left, right) = (*left as f32 / 128.0, (*right + 1) as f32 / 128.0);
            for (got, want) in
                [(truth.bbox.x1, left), (truth.bbox.x2, right), (truth.bbox.y1, top), (truth.bbox.y2, bottom)]
            {
                assert!(
                    (got - want).abs() < 0.03,
                    "sample {sample}: {truth:?} {left} {top} {right} {bottom}"
                );
            }
        }
    }
}
