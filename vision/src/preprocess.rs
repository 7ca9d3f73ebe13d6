//! The preprocessing contract: how an image becomes the network's input, and how boxes come back.
//!
//! The same for training's validation, `evaluate`, `inference`, export checks and every runtime: the image is enlarged or
//! shrunk to fit the canvas with its aspect ratio kept (letterbox), centred, and the rest is filled with the image's own mean
//! colour. The tensor is `[C, H, W]`, blue–green–red or luma, values as in the file (0 … 255, or 0 … 65535 of 16-bit images)
//! minus a mean per channel; no scaling, no deviation.

use serde::{Deserialize, Serialize};

use crate::image::{Image, Picture, Subpixel, resize};
use crate::{NormBox, PxBox};

/// What a network's input expects. It travels in checkpoints, ONNX metadata and manifests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Canvas width in pixels.
    pub width: usize,
    /// Canvas height in pixels.
    pub height: usize,
    /// 3 (blue, green, red) or 1 (luma).
    pub channels: usize,
    /// Subtracted from each channel, in tensor order.
    pub mean: Vec<f32>,
    /// Bits per channel of the images it reads: 8 or 16.
    #[serde(default = "eight_bits")]
    pub depth: u8,
}

fn eight_bits() -> u8 {
    u8::DEPTH
}

impl Preprocess {
    /// The contract for 8-bit images with the default means: ImageNet's of the Caffe models, or their luma.
    ///
    /// # Panics
    /// When `channels` is neither 3 nor 1.
    pub fn new(width: usize, height: usize, channels: usize) -> Self {
        let mean = match channels {
            3 => vec![103.939, 116.779, 123.68],
            1 => vec![117.3786],
            _ => panic!("{channels} channels"),
        };
        Self { width, height, channels, mean, depth: u8::DEPTH }
    }

    /// The contract for gray images of 16 bits, with the default mean: that of 8-bit ones times 256.
    pub fn sixteen_bit(width: usize, height: usize) -> Self {
        Self { width, height, channels: 1, mean: vec![117.3786 * 256.0], depth: u16::DEPTH }
    }

    /// Floats of one image's tensor.
    pub fn tensor_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Letterboxes `picture` and writes its tensor `[C, H, W]` to `out`.
    ///
    /// # Panics
    /// When `out` has another length than [`Preprocess::tensor_len`].
    pub fn apply(&self, picture: &Picture, out: &mut [f32]) -> Letterbox {
        let (canvas, letterbox) = self.canvas(picture);
        self.normalise(&canvas, out);
        letterbox
    }

    /// Letterboxes `picture`: what the network reads, before it is made a tensor.
    pub fn canvas(&self, picture: &Picture) -> (Picture, Letterbox) {
        match picture {
            Picture::Eight(image) => self.letterbox(image),
            Picture::Sixteen(image) => self.letterbox(image),
        }
    }

    fn letterbox<S: Subpixel>(&self, image: &Image<S>) -> (Picture, Letterbox)
    where
        Picture: From<Image<S>>,
    {
        let letterbox = Letterbox::new(image.width, image.height, self.width, self.height);
        let mut canvas = Image::filled(self.width, self.height, &image.mean_pixel());
        let resized = resize(image, letterbox.width, letterbox.height);
        canvas.paste(&resized, letterbox.left as isize, letterbox.top as isize);
        (canvas.into(), letterbox)
    }

    /// Writes the tensor `[C, H, W]` of an image that has the canvas' size already.
    ///
    /// # Panics
    /// When the image or `out` has another size.
    pub fn normalise(&self, canvas: &Picture, out: &mut [f32]) {
        match canvas {
            Picture::Eight(canvas) => self.normalise_image(canvas, out),
            Picture::Sixteen(canvas) => self.normalise_image(canvas, out),
        }
    }

    fn normalise_image<S: Subpixel>(&self, canvas: &Image<S>, out: &mut [f32]) {
        assert_eq!((canvas.width, canvas.height), (self.width, self.height), "size of the canvas");
        assert_eq!(out.len(), self.tensor_len(), "length of the tensor");
        let pixels = self.width * self.height;
        match (self.channels, canvas.channels) {
            (3, 3) => {
                // The tensor runs blue, green, red; the image red, green, blue.
                let (blue, rest) = out.split_at_mut(pixels);
                let (green, red) = rest.split_at_mut(pixels);
                for (((pixel, b), g), r) in
                    canvas.data.as_chunks::<3>().0.iter().zip(blue).zip(green).zip(red)
                {
                    *b = pixel[2].to_f32() - self.mean[0];
                    *g = pixel[1].to_f32() - self.mean[1];
                    *r = pixel[0].to_f32() - self.mean[2];
                }
            }
            (3, _) => {
                for (plane, mean) in out.chunks_exact_mut(pixels).zip(&self.mean) {
                    for (value, luma) in plane.iter_mut().zip(&canvas.data) {
                        *value = luma.to_f32() - mean;
                    }
                }
            }
            (_, 3) => {
                for (value, pixel) in out.iter_mut().zip(canvas.data.as_chunks::<3>().0) {
                    let [r, g, b] = pixel.map(S::to_f32);
                    *value = 0.114 * b + 0.587 * g + 0.299 * r - self.mean[0];
                }
            }
            _ => {
                for (value, luma) in out.iter_mut().zip(&canvas.data) {
                    *value = luma.to_f32() - self.mean[0];
                }
            }
        }
    }

    /// The canvas that a tensor `[C, H, W]` was made from: [`normalise`](Self::normalise) backwards. For people to look at.
    ///
    /// # Panics
    /// When `tensor` has another length than [`Preprocess::tensor_len`].
    pub fn picture(&self, tensor: &[f32]) -> Picture {
        if self.depth == u16::DEPTH {
            self.denormalise::<u16>(tensor).into()
        } else {
            self.denormalise::<u8>(tensor).into()
        }
    }

    fn denormalise<S: Subpixel>(&self, tensor: &[f32]) -> Image<S> {
        assert_eq!(tensor.len(), self.tensor_len(), "length of the tensor");
        let (width, height, channels) = (self.width, self.height, self.channels);
        let pixels = width * height;
        // The tensor runs blue, green, red; the image red, green, blue.
        let value = |at: usize, c: usize| S::from_f32(tensor[c * pixels + at] + self.mean[c]);
        let data =
            (0..pixels).flat_map(|at| (0..channels).rev().map(move |c| (at, c))).map(|(at, c)| value(at, c));
        Image { width, height, channels, data: data.collect() }
    }
}

/// Where an image lies on the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letterbox {
    /// Width of the image on the canvas.
    pub width: usize,
    /// Height of the image on the canvas.
    pub height: usize,
    /// Canvas columns left of it.
    pub left: usize,
    /// Canvas rows above it.
    pub top: usize,
    /// Original (width, height).
    pub image: (usize, usize),
    /// Canvas (width, height).
    pub canvas: (usize, usize),
}

impl Letterbox {
    /// Fits an image of `width` × `height` into a canvas: as large as possible, centred.
    pub fn new(width: usize, height: usize, canvas_width: usize, canvas_height: usize) -> Self {
        let (w, h) = (width.max(1) as f64, height.max(1) as f64);
        let scale = (canvas_height as f64 / h).min(canvas_width as f64 / w);
        let side = |len: f64, limit: usize| ((len * scale).round_ties_even() as usize).clamp(1, limit);
        let (fit_w, fit_h) = (side(w, canvas_width), side(h, canvas_height));
        Self {
            width: fit_w,
            height: fit_h,
            left: (canvas_width - fit_w) / 2,
            top: (canvas_height - fit_h) / 2,
            image: (width, height),
            canvas: (canvas_width, canvas_height),
        }
    }

    /// From image pixels to fractions of the canvas.
    pub fn to_canvas(&self, b: &PxBox) -> NormBox {
        let x =
            |v: f32| (v / self.image.0 as f32 * self.width as f32 + self.left as f32) / self.canvas.0 as f32;
        let y =
            |v: f32| (v / self.image.1 as f32 * self.height as f32 + self.top as f32) / self.canvas.1 as f32;
        NormBox { x1: x(b.x1), y1: y(b.y1), x2: x(b.x2), y2: y(b.y2) }
    }

    /// From fractions of the canvas to image pixels, clipped to the image.
    pub fn to_image(&self, b: &NormBox) -> PxBox {
        let x =
            |v: f32| (v * self.canvas.0 as f32 - self.left as f32) / self.width as f32 * self.image.0 as f32;
        let y =
            |v: f32| (v * self.canvas.1 as f32 - self.top as f32) / self.height as f32 * self.image.1 as f32;
        PxBox { x1: x(b.x1), y1: y(b.y1), x2: x(b.x2), y2: y(b.y2) }.clip(self.image.0, self.image.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values computed by the original.
    #[test]
    fn letterbox_golden_values() {
        for ((w, h), (cw, ch), (fw, fh), (left, top), want) in [
            ((1242, 375), (1248, 384), (1248, 377), (0, 3), [0.1, 0.204167, 0.5, 0.596875]),
            ((640, 480), (416, 416), (416, 312), (0, 52), [0.1, 0.275, 0.5, 0.575]),
            ((375, 500), (1248, 384), (288, 384), (480, 0), [0.407692, 0.2, 0.5, 0.6]),
        ] {
            let letterbox = Letterbox::new(w, h, cw, ch);
            assert_eq!((letterbox.width, letterbox.height), (fw, fh));
            assert_eq!((letterbox.left, letterbox.top), (left, top));
            let (w, h) = (w as f32, h as f32);
            let px = PxBox { x1: 0.1 * w, y1: 0.2 * h, x2: 0.5 * w, y2: 0.6 * h };
            let norm = letterbox.to_canvas(&px);
            for (got, want) in [norm.x1, norm.y1, norm.x2, norm.y2].iter().zip(want) {
                assert!((got - want).abs() < 1e-6, "{norm:?}");
            }
            let back = letterbox.to_image(&norm);
            assert!((back.x1 - px.x1).abs() < 1e-2 && (back.y2 - px.y2).abs() < 1e-2, "{back:?} {px:?}");
        }
    }

    #[test]
    fn boxes_in_the_padding_are_clipped_to_the_image() {
        let letterbox = Letterbox::new(640, 480, 416, 416);
        let back = letterbox.to_image(&NormBox { x1: 0.0, y1: 0.0, x2: 1.0, y2: 1.0 });
        assert_eq!(back, PxBox { x1: 0.0, y1: 0.0, x2: 640.0, y2: 480.0 });
    }

    #[test]
    fn the_tensor_is_bgr_minus_mean_and_padding_is_the_image_mean() {
        let mut image = Image::filled(4, 2, &[10u8, 20, 30]);
        image.data[..3].copy_from_slice(&[90, 20, 30]);
        let preprocess = Preprocess::new(4, 4, 3);
        let mut out = vec![0.0; preprocess.tensor_len()];
        preprocess.apply(&image.into(), &mut out);
        assert_eq!(out[0], 30.0 - 103.939, "blue comes first; the padding has the mean of blue");
        assert_eq!(out[16], 20.0 - 116.779);
        assert_eq!(out[32], 20.0 - 123.68, "the mean of red is (7 · 10 + 90) / 8");
        assert_eq!(out[32 + 4], 90.0 - 123.68, "the image begins in the second row");
    }

    #[test]
    fn a_tensor_turns_back_into_its_picture() {
        let values = |len: usize| (0..len).map(|i| i * 37 % 256);
        let color = Image { width: 5, height: 3, channels: 3, data: values(45).map(|v| v as u8).collect() };
        let gray = Image { width: 5, height: 3, channels: 1, data: values(15).map(|v| v as u8).collect() };
        let data = values(15).map(|v| v as u16 * 257).collect();
        let deep = Image { width: 5, height: 3, channels: 1, data };
        for (preprocess, picture) in [
            (Preprocess::new(5, 3, 3), Picture::from(color)),
            (Preprocess::new(5, 3, 1), gray.into()),
            (Preprocess::sixteen_bit(5, 3), deep.into()),
        ] {
            let mut tensor = vec![0.0; preprocess.tensor_len()];
            preprocess.normalise(&picture, &mut tensor);
            assert_eq!(preprocess.picture(&tensor), picture);
        }
    }

    #[test]
    fn gray_and_colour_feed_each_other() {
        let gray = Image::filled(2, 2, &[50u8]);
        let mut out = [0.0; 12];
        Preprocess::new(2, 2, 3).normalise(&gray.into(), &mut out);
        assert_eq!([out[0], out[4], out[8]], [50.0 - 103.939, 50.0 - 116.779, 50.0 - 123.68]);
        let mut out = [0.0; 4];
        Preprocess::new(2, 2, 1).normalise(&Image::filled(2, 2, &[100u8, 150, 200]).into(), &mut out);
        let want = 0.114 * 200.0 + 0.587 * 150.0 + 0.299 * 100.0 - 117.3786;
        assert!((out[3] - want).abs() < 1e-4, "{out:?}");
    }
}
