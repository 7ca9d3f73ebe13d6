//! Augmentation of training images.
//!
//! A [`Recipe`] says what becomes of a sample: which images, which part of each, flips, colours. It is drawn from random
//! numbers and image sizes alone, and then carried out, so that it can be shown to people beside the picture.
//!
//! The steps and distributions are those of the original's sequence loader: colour → vertical flip → horizontal flip → jitter,
//! or a crop for the tiles of a mosaic → clipping of boxes → resize. They are carried out in one resize followed by the
//! colours, which costs a pixel of the canvas once instead of several times. The original's defects (colours rounded to full
//! saturation, padding grown where it should shrink, slivers of objects kept as objects) are mended; `docs/differences.md`
//! lists them.

mod crop;
mod flip;
mod hsv;
mod jitter;
mod mosaic;
mod recipe;
mod scale;

use oxidet_proto::spec::AugmentationConfig;
use oxidet_vision::metrics::Truth;
use rand::Rng;

use crop::Crop;
use hsv::ColorShift;
use mosaic::Split;
pub use recipe::{Part, Place, Recipe};
pub use scale::draw_size;

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
    /// Largest movement of a crop edge as a share of the image; in a mosaic, the most that a crop leaves out.
    pub jitter: f64,
    /// Probability of a mosaic of four images.
    pub mosaic: f64,
    /// Smallest share of a mosaic's tile per axis, in (0, 0.5).
    pub mosaic_min_ratio: f64,
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
            mosaic: spec.mosaic_prob.into(),
            mosaic_min_ratio: spec.mosaic_min_ratio.into(),
        }
    }

    /// Draws what becomes of `sample`, an index into the data set's image `sizes` (width, height), on a canvas of `width` ×
    /// `height`. The other images of a mosaic are any of the data set's.
    pub fn draw(
        &self,
        sample: usize,
        sizes: &impl Fn(usize) -> (usize, usize),
        samples: usize,
        width: usize,
        height: usize,
        rng: &mut impl Rng,
    ) -> Recipe {
        let parts = if rng.random_bool(self.mosaic.clamp(0.0, 1.0)) {
            let split = Split::draw(width, height, self.mosaic_min_ratio, rng);
            let others = [(); 3].map(|()| rng.random_range(0..samples));
            let samples = [sample, others[0], others[1], others[2]];
            let tiles = samples.iter().zip(split.tiles(width, height));
            tiles.map(|(sample, place)| self.draw_part(*sample, sizes(*sample), place, true, rng)).collect()
        } else {
            let place = Place { left: 0, top: 0, width, height };
            vec![self.draw_part(sample, sizes(sample), place, false, rng)]
        };
        Recipe { width, height, parts }
    }

    fn draw_part(
        &self,
        sample: usize,
        (width, height): (usize, usize),
        place: Place,
        is_tile: bool,
        rng: &mut impl Rng,
    ) -> Part {
        let color = ColorShift::draw(self, rng);
        let flip_vertically = rng.random_bool(self.vertical_flip.clamp(0.0, 1.0));
        let flip_horizontally = rng.random_bool(self.horizontal_flip.clamp(0.0, 1.0));
        let aspect = place.width as f64 / place.height as f64;
        let crop = if is_tile {
            Crop::draw_inside(1.0 - self.jitter, width, height, aspect, rng)
        } else {
            jitter::draw(self.jitter, width, height, aspect, rng)
        };
        Part { sample, place, color, flip_vertically, flip_horizontally, crop }
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
    use oxidet_vision::{Image, NormBox};

    pub(super) const OFF: Augmentation = Augmentation {
        hue: 0.0,
        saturation: 1.0,
        exposure: 1.0,
        vertical_flip: 0.0,
        horizontal_flip: 0.0,
        jitter: 0.0,
        mosaic: 0.0,
        mosaic_min_ratio: 0.2,
    };

    fn truth(x1: f32, y1: f32, x2: f32, y2: f32) -> Truth {
        Truth { class: 0, difficult: false, bbox: NormBox { x1, y1, x2, y2 } }
    }

    #[test]
    fn with_everything_off_an_image_of_the_right_size_stays_as_it_is() {
        let data = (0..32 * 32 * 3).map(|i| (i * 31 % 251) as u8).collect();
        let image = Image { width: 32, height: 32, channels: 3, data };
        let recipe = OFF.draw(0, &|_| (32, 32), 1, 32, 32, &mut rng(1, 0, 0, Purpose::Augment));
        let inside = truth(0.1, 0.2, 0.5, 0.6);
        let out = recipe.render(&[(&image, &[inside, truth(0.2, 0.2, 0.2, 0.9)])]);
        assert_eq!(out, (image, vec![inside]));
    }

    /// A white rectangle on black: after augmentation the box must still be where the white is. The rectangles of a mosaic's
    /// tiles are told apart by their places.
    #[test]
    fn boxes_stay_on_their_objects() {
        for mosaic in [0.0, 1.0] {
            let all = Augmentation {
                hue: 0.1,
                saturation: 1.5,
                exposure: 1.5,
                vertical_flip: 0.5,
                horizontal_flip: 0.5,
                jitter: 0.3,
                mosaic,
                mosaic_min_ratio: 0.2,
            };
            let mut image = Image::filled(200, 120, &[0u8, 0, 0]);
            image.paste(&Image::filled(60, 30, &[255u8, 255, 255]), 40, 70);
            let object = [truth(0.2, 70.0 / 120.0, 0.5, 100.0 / 120.0)];
            let mut found = 0;
            for sample in 0..200 {
                let mut rng = rng(1, 0, sample, Purpose::Augment);
                let recipe = all.draw(0, &|_| (200, 120), 1, 128, 96, &mut rng);
                let sources = vec![(&image, &object[..]); recipe.parts.len()];
                let (out, truths) = recipe.render(&sources);
                for part in &recipe.parts {
                    // Padding has the image's mean, which is dark.
                    let bright = |x: usize, y: usize| out.data[(y * 128 + x) * 3] > 128;
                    let Place { left, top, width, height } = part.place;
                    let columns: Vec<usize> =
                        (left..left + width).filter(|x| (top..top + height).any(|y| bright(*x, y))).collect();
                    let rows: Vec<usize> =
                        (top..top + height).filter(|y| (left..left + width).any(|x| bright(x, *y))).collect();
                    let inside = |truth: &&Truth| {
                        let (x, y) =
                            ((truth.bbox.x1 + truth.bbox.x2) * 64.0, (truth.bbox.y1 + truth.bbox.y2) * 48.0);
                        (left as f32..(left + width) as f32).contains(&x)
                            && (top as f32..(top + height) as f32).contains(&y)
                    };
                    let Some(truth) = truths.iter().find(inside) else {
                        // A tenth of its area may be there and count as gone.
                        assert!(
                            columns.len() < 20 || rows.len() < 12,
                            "sample {sample}: an object lost its box"
                        );
                        continue;
                    };
                    found += 1;
                    let (Some(first_x), Some(last_x)) = (columns.first(), columns.last()) else { continue };
                    let want = [
                        *first_x as f32 / 128.0,
                        rows[0] as f32 / 96.0,
                        (*last_x + 1) as f32 / 128.0,
                        (rows[rows.len() - 1] + 1) as f32 / 96.0,
                    ];
                    let got = [truth.bbox.x1, truth.bbox.y1, truth.bbox.x2, truth.bbox.y2];
                    for (got, want) in got.iter().zip(want) {
                        assert!((got - want).abs() < 0.03, "sample {sample}: {truth:?} {want} {recipe:?}");
                    }
                }
            }
            assert!(found > 150, "{found} objects seen");
        }
    }

    #[test]
    fn mosaics_come_as_often_as_asked_and_fill_the_canvas() {
        let settings = Augmentation { mosaic: 0.5, jitter: 0.3, ..OFF };
        let mut mosaics = 0;
        for sample in 0..1000 {
            let mut rng = rng(3, 1, sample, Purpose::Augment);
            let recipe = settings.draw(7, &|_| (640, 480), 20, 416, 320, &mut rng);
            assert_eq!(recipe.parts[0].sample, 7, "the sample itself comes first");
            let area: usize = recipe.parts.iter().map(|part| part.place.width * part.place.height).sum();
            assert_eq!(area, 416 * 320);
            mosaics += usize::from(recipe.parts.len() == 4);
            for part in &recipe.parts {
                let smallest = if recipe.parts.len() == 4 { (83, 63) } else { (416, 320) };
                assert!(part.place.width >= smallest.0 && part.place.height >= smallest.1, "{recipe:?}");
            }
        }
        assert!((450..550).contains(&mosaics), "{mosaics}");
    }
}
