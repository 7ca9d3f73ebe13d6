//! Telling images that look the same from others: a perceptual hash, confirmed on a thumbnail.
//!
//! The hash is the usual pHash: luma at 32×32, its 64 lowest frequencies (DCT-II), one bit each: above or below their median.
//! Scaling, recompression and brightness hardly change it. Scenes that are alike can share it (fields of cells, an empty
//! road), so that the thumbnails must agree as well.

use std::f32::consts::PI;

use oxidet_vision::Image;
use oxidet_vision::image::resize;

const SIDE: usize = 32;
const LOW: usize = 8;
/// Bits in which the hashes of near-duplicates may differ.
const DISTANCE: u32 = 6;
/// Least correlation of the thumbnails of near-duplicates.
const CORRELATION: f32 = 0.98;
/// Deviation of the luma, of 255, below which an image is flat.
const FLAT: f32 = 2.0;
/// What stands for 1 in a thumbnail; no value can be more.
const SCALE: f32 = 30_000.0;

/// What an image looks like.
#[derive(Clone, Debug)]
pub(super) struct Fingerprint {
    hash: u64,
    /// Luma, `[32, 32]`, with mean 0 and length 1, times [`SCALE`].
    thumbnail: Box<[i16]>,
}

impl Fingerprint {
    /// Of an image; none when it is flat.
    pub(super) fn of(image: &Image) -> Option<Self> {
        let small = resize(image, SIDE, SIDE);
        let luma: Vec<f32> = match small.channels {
            1 => small.data.iter().map(|v| f32::from(*v)).collect(),
            _ => {
                let pixels = small.data.as_chunks::<3>().0.iter();
                pixels
                    .map(|p| 0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2]))
                    .collect()
            }
        };
        let mean = luma.iter().sum::<f32>() / luma.len() as f32;
        let centred: Vec<f32> = luma.iter().map(|v| v - mean).collect();
        let length = centred.iter().map(|v| v * v).sum::<f32>().sqrt();
        if length < FLAT * SIDE as f32 {
            return None;
        }
        let thumbnail = centred.iter().map(|v| (v / length * SCALE) as i16).collect();
        Some(Self { hash: hash(&centred), thumbnail })
    }

    /// In how many bits the hashes differ, when the images look the same.
    pub(super) fn same(&self, other: &Self) -> Option<u32> {
        let distance = (self.hash ^ other.hash).count_ones();
        (distance <= DISTANCE && self.correlation(other) >= CORRELATION).then_some(distance)
    }

    fn correlation(&self, other: &Self) -> f32 {
        let product = self.thumbnail.iter().zip(&other.thumbnail).map(|(a, b)| i64::from(*a) * i64::from(*b));
        product.sum::<i64>() as f32 / (SCALE * SCALE)
    }
}

fn hash(luma: &[f32]) -> u64 {
    let basis: Vec<[f32; SIDE]> = (0..LOW)
        .map(|k| std::array::from_fn(|n| (PI / SIDE as f32 * (n as f32 + 0.5) * k as f32).cos()))
        .collect();
    // Frequencies of the rows, then of the columns of those.
    let rows: Vec<[f32; LOW]> = luma
        .chunks_exact(SIDE)
        .map(|row| std::array::from_fn(|k| row.iter().zip(&basis[k]).map(|(v, c)| v * c).sum()))
        .collect();
    let spectrum: Vec<f32> = (0..LOW * LOW)
        .map(|i| rows.iter().zip(&basis[i / LOW]).map(|(row, c)| row[i % LOW] * c).sum())
        .collect();
    let mut sorted = spectrum.clone();
    sorted.sort_by(f32::total_cmp);
    let median = f32::midpoint(sorted[31], sorted[32]);
    spectrum.iter().fold(0, |hash, v| hash << 1 | u64::from(*v > median))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxidet_vision::image::{decode, encode_jpeg};

    /// Soft blobs whose places depend on `seed`.
    fn scene(seed: usize) -> Image {
        let (width, height) = (160, 120);
        let pixel = |i: usize| {
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            let blob = |k: usize| {
                let (cx, cy) = ((seed * 53 + k * 47) % width, (seed * 31 + k * 71) % height);
                let far = (x - cx as f32).powi(2) + (y - cy as f32).powi(2);
                120.0 * (-far / 300.0).exp()
            };
            (40.0 + (0..5).map(blob).sum::<f32>()).min(255.0) as u8
        };
        Image { width, height, channels: 1, data: (0..width * height).map(pixel).collect() }
    }

    fn same(a: &Image, b: &Image) -> bool {
        Fingerprint::of(a).unwrap().same(&Fingerprint::of(b).unwrap()).is_some()
    }

    #[test]
    fn copies_are_recognised_and_others_are_not() {
        let image = scene(1);
        let recompressed: Image = decode(&encode_jpeg(&image, 50).unwrap()).unwrap();
        let mut brighter = image.clone();
        brighter.data.iter_mut().for_each(|v| *v = v.saturating_add(20));
        for copy in
            [&recompressed, &brighter, &resize(&image, 320, 240), &resize(&image, 100, 75), &image.to_color()]
        {
            assert!(same(&image, copy), "{}x{}", copy.width, copy.height);
        }
        for other in 2..40 {
            assert!(!same(&image, &scene(other)), "{other}");
        }
    }

    #[test]
    fn flat_images_have_no_fingerprint() {
        assert!(Fingerprint::of(&Image::filled(50, 40, &[9u8, 90, 200])).is_none());
        assert!(Fingerprint::of(&Image::filled(1, 1, &[7u8])).is_none());
    }
}
