//! What becomes of a training sample, and its carrying out.

use std::fmt;

use oxidet_vision::image::Subpixel;
use oxidet_vision::metrics::Truth;
use oxidet_vision::{Image, NormBox};

use super::crop::Crop;
use super::hsv::ColorShift;
use super::{flip, visible};

/// Boxes of which a crop leaves less than this share of their area are dropped: a sliver cannot be told from anything else.
const MIN_VISIBLE: f32 = 0.1;

/// How a canvas is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Width of the canvas in pixels.
    pub width: usize,
    /// Height of the canvas in pixels.
    pub height: usize,
    /// One part that fills the canvas, or the four tiles of a mosaic.
    pub parts: Vec<Part>,
}

/// What one image adds to a canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Index of the image in its data set.
    pub sample: usize,
    /// Where it goes.
    pub place: Place,
    pub(super) color: ColorShift,
    pub(super) flip_vertically: bool,
    pub(super) flip_horizontally: bool,
    /// The part of the (flipped) image that is seen.
    pub(super) crop: Crop,
}

/// A rectangle of a canvas, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Columns left of it.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Recipe {
    /// Makes the canvas, given image and objects of each part, and what is left of the objects. Boxes are fractions of their
    /// image before and fractions of the canvas after.
    ///
    /// # Panics
    /// When there is not an image for each part, all with the same number of channels.
    pub fn render<S: Subpixel>(&self, sources: &[(&Image<S>, &[Truth])]) -> (Image<S>, Vec<Truth>) {
        assert_eq!(sources.len(), self.parts.len(), "an image for each part");
        if let ([part], [(image, truths)]) = (&self.parts[..], sources) {
            return (part.render(image), part.place_boxes(image, truths, self.width, self.height));
        }
        let channels = sources.iter().map(|(image, _)| image.channels).max().unwrap_or(3);
        let mut canvas = Image::filled(self.width, self.height, &vec![S::default(); channels]);
        let mut seen = Vec::new();
        for (part, (image, truths)) in self.parts.iter().zip(sources) {
            let tile = part.render(image);
            // Gray and coloured images may meet in one mosaic.
            let tile = if channels > tile.channels { tile.to_color() } else { tile };
            canvas.paste(&tile, part.place.left as isize, part.place.top as isize);
            seen.extend(part.place_boxes(image, truths, self.width, self.height));
        }
        (canvas, visible(seen.into_iter()))
    }
}

impl Part {
    fn render<S: Subpixel>(&self, image: &Image<S>) -> Image<S> {
        // Cutting the mirrored part and mirroring the result is the same as cutting the mirrored image.
        let crop =
            self.crop.mirrored(image.width, image.height, self.flip_vertically, self.flip_horizontally);
        let mut tile = crop.resize(image, self.place.width, self.place.height);
        if self.flip_vertically {
            flip::vertically(&mut tile);
        }
        if self.flip_horizontally {
            flip::horizontally(&mut tile);
        }
        self.color.apply(&mut tile);
        tile
    }

    fn place_boxes<S>(
        &self,
        image: &Image<S>,
        truths: &[Truth],
        canvas_width: usize,
        canvas_height: usize,
    ) -> Vec<Truth> {
        let move_box = |b: NormBox| {
            let b = if self.flip_vertically { flip::box_vertically(&b) } else { b };
            let b = if self.flip_horizontally { flip::box_horizontally(&b) } else { b };
            self.crop.move_box(&b, image.width, image.height)
        };
        let area = |b: &NormBox| b.width() * b.height();
        let moved = truths.iter().map(|truth| Truth { bbox: move_box(truth.bbox.clip()), ..*truth });
        let enough = moved.filter(|truth| area(&truth.bbox.clip()) >= MIN_VISIBLE * area(&truth.bbox));
        let mut placed = visible(enough);
        for truth in &mut placed {
            let Place { left, top, width, height } = self.place;
            let x = |v: f32| (v * width as f32 + left as f32) / canvas_width as f32;
            let y = |v: f32| (v * height as f32 + top as f32) / canvas_height as f32;
            let b = truth.bbox;
            truth.bbox = NormBox { x1: x(b.x1), y1: y(b.y1), x2: x(b.x2), y2: y(b.y2) };
        }
        placed
    }
}

/// `hue +12°, saturation ×1.21, brightness ×0.83, flipped left-right, 300x280 pixels from (-12, 8)`
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.color)?;
        if self.flip_vertically {
            write!(f, ", flipped upside down")?;
        }
        if self.flip_horizontally {
            write!(f, ", flipped left-right")?;
        }
        write!(f, ", {}", self.crop)
    }
}
