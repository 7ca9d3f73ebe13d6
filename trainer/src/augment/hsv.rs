//! Changes of hue, saturation and brightness in HSV space.
//!
//! Hue turns within [0°, 360°), saturation stays in [0, 1], values are clipped to the range of a pixel, and nothing is rounded
//! before the end.

use std::fmt;

use oxidet_vision::Image;
use oxidet_vision::image::Subpixel;
use rand::Rng;

use super::Augmentation;
use oxidet_compute::dispatch;
use oxidet_compute::kernel::simd::Simd;

/// Pixels recoloured side by side.
const BLOCK: usize = 64;

/// One change of colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorShift {
    /// Added to the hue, in degrees.
    hue: f32,
    /// Multiplies the saturation.
    saturation: f32,
    /// Multiplies the brightness.
    value: f32,
}

impl ColorShift {
    /// Hue uniform within ± `hue` · 180°. A factor is 1 + U(0, 1) · (max − 1), or with probability ½ the inverse of such.
    pub(super) fn draw(settings: &Augmentation, rng: &mut impl Rng) -> Self {
        let factor = |u: f64, most: f64, invert: bool| {
            let factor = 1.0 + u * (most - 1.0);
            if invert { 1.0 / factor } else { factor }
        };
        let (a, b): (f64, f64) = (rng.random(), rng.random());
        let saturation = factor(a, settings.saturation, rng.random());
        let value = factor(b, settings.exposure, rng.random());
        let hue = (2.0 * rng.random::<f64>() - 1.0) * settings.hue * 180.0;
        Self { hue: hue as f32, saturation: saturation as f32, value: value as f32 }
    }

    /// Recolours an image in place. In a gray image only brightness changes.
    pub(super) fn apply<S: Subpixel>(self, image: &mut Image<S>) {
        if self == (Self { hue: 0.0, saturation: 1.0, value: 1.0 }) {
            return;
        }
        let channels = image.channels;
        dispatch!(simd => simd.vectorize(
            #[inline(always)]
            || if channels == 3 { self.recolour(&mut image.data) } else { self.brighten(&mut image.data) },
        ));
    }

    #[inline(always)]
    fn brighten<S: Subpixel>(self, lumas: &mut [S]) {
        for luma in lumas {
            *luma = S::from_f32((luma.to_f32() * self.value).min(S::MAX));
        }
    }

    /// Red, green and blue in turn.
    #[inline(always)]
    fn recolour<S: Subpixel>(self, values: &mut [S]) {
        let (blocks, rest) = values.as_chunks_mut::<3>().0.as_chunks_mut::<BLOCK>();
        for block in blocks {
            self.recolour_block(block);
        }
        let mut last = [[S::default(); 3]; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        self.recolour_block(&mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }

    /// By planes and in loops of known length, which the compiler turns into vectors.
    #[inline(always)]
    fn recolour_block<S: Subpixel>(self, pixels: &mut [[S; 3]; BLOCK]) {
        let (mut r, mut g, mut b) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        for i in 0..BLOCK {
            (r[i], g[i], b[i]) = (pixels[i][0].to_f32(), pixels[i][1].to_f32(), pixels[i][2].to_f32());
        }
        for i in 0..BLOCK {
            (r[i], g[i], b[i]) = self.recolour_pixel(r[i], g[i], b[i], S::MAX);
        }
        // Rounded by planes too: only the shuffling is left for single pixels.
        let mut planes = [[S::default(); BLOCK]; 3];
        for (rounded, plane) in planes.iter_mut().zip([&r, &g, &b]) {
            for i in 0..BLOCK {
                rounded[i] = S::from_f32(plane[i]);
            }
        }
        for i in 0..BLOCK {
            pixels[i] = [planes[0][i], planes[1][i], planes[2][i]];
        }
    }

    /// No branches: gray has no hue, which comes out as 0 / [`TINY`].
    #[inline(always)]
    fn recolour_pixel(self, r: f32, g: f32, b: f32, brightest: f32) -> (f32, f32, f32) {
        /// Stands for 0 in a denominator.
        const TINY: f32 = 1e-6;
        let (max, min) = (r.max(g).max(b), r.min(g).min(b));
        let range = max - min;
        let turn = 1.0 / range.max(TINY);
        // Hue in sixths of a turn.
        let hue = if max == r {
            (g - b) * turn
        } else if max == g {
            2.0 + (b - r) * turn
        } else {
            4.0 + (r - g) * turn
        };
        let hue = hue + self.hue / 60.0;
        let hue = if hue < 0.0 { hue + 6.0 } else { hue };
        let hue = if hue >= 6.0 { hue - 6.0 } else { hue };
        let value = (max * self.value).min(brightest);
        let saturation = (range / max.max(TINY) * self.saturation).min(1.0);
        // Each channel falls from `value` to `value · (1 − saturation)` over one sixth and rises over another.
        let channel = |offset: f32| {
            let k = hue + offset;
            let k = if k >= 6.0 { k - 6.0 } else { k };
            let fall = k.min(4.0 - k).clamp(0.0, 1.0);
            value * (1.0 - saturation * fall)
        };
        (channel(5.0), channel(3.0), channel(1.0))
    }
}

/// `hue +12°, saturation ×1.21, brightness ×0.83`
impl fmt::Display for ColorShift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hue, saturation, value } = self;
        write!(f, "hue {hue:+.0}°, saturation ×{saturation:.2}, brightness ×{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ColorShift = ColorShift { hue: 0.0, saturation: 1.0, value: 1.0 };
    fn recolour(shift: ColorShift, colour: [u8; 3]) -> [u8; 3] {
        let mut image = Image::filled(1, 1, &colour);
        shift.apply(&mut image);
        [image.data[0], image.data[1], image.data[2]]
    }

    const COLOURS: [[u8; 3]; 8] = [
        [200, 30, 30],
        [30, 200, 30],
        [30, 30, 200],
        [128, 128, 128],
        [150, 120, 110],
        [90, 160, 200],
        [0, 0, 0],
        [255, 0, 128],
    ];

    #[test]
    fn no_change_changes_nothing() {
        for colour in COLOURS {
            assert_eq!(recolour(NONE, colour), colour);
        }
    }

    #[test]
    fn known_colours() {
        for (shift, from, to) in [
            (ColorShift { hue: 120.0, ..NONE }, [200, 30, 30], [30, 200, 30]),
            (ColorShift { hue: -120.0, ..NONE }, [200, 30, 30], [30, 30, 200]),
            (ColorShift { hue: 60.0, ..NONE }, [255, 0, 0], [255, 255, 0]),
            (ColorShift { hue: 180.0, ..NONE }, [255, 0, 0], [0, 255, 255]),
            (ColorShift { saturation: 0.0, ..NONE }, [200, 30, 30], [200, 200, 200]),
            (ColorShift { saturation: 2.0, ..NONE }, [100, 80, 80], [100, 60, 60]),
            (ColorShift { saturation: 100.0, ..NONE }, [100, 80, 80], [100, 0, 0]),
            (ColorShift { value: 0.5, ..NONE }, [200, 100, 50], [100, 50, 25]),
            (ColorShift { value: 3.0, ..NONE }, [200, 50, 50], [255, 64, 64]),
            (ColorShift { hue: 77.0, value: 0.5, ..NONE }, [80, 80, 80], [40, 40, 40]),
        ] {
            assert_eq!(recolour(shift, from), to, "{shift:?} {from:?}");
        }
    }

    #[test]
    fn depths_and_block_sizes_agree() {
        let shift = ColorShift { hue: -50.0, saturation: 1.3, value: 0.7 };
        for pixels in [1, 63, 64, 65, 200] {
            let data: Vec<u8> = (0..pixels * 3).map(|i| (i * 89 % 256) as u8).collect();
            let mut eight = Image { width: pixels, height: 1, channels: 3, data };
            let data = eight.data.iter().map(|v| u16::from(*v) * 257).collect();
            let mut sixteen = Image::<u16> { width: pixels, height: 1, channels: 3, data };
            let one_by_one: Vec<u8> =
                eight.data.as_chunks::<3>().0.iter().flat_map(|c| recolour(shift, *c)).collect();
            shift.apply(&mut eight);
            shift.apply(&mut sixteen);
            assert_eq!(eight.data, one_by_one);
            let close = |(a, b): (&u8, &u16)| (f32::from(*a) * 257.0 - f32::from(*b)).abs() <= 129.0;
            assert!(eight.data.iter().zip(&sixteen.data).all(close));
        }
        let mut gray = Image::filled(3, 1, &[40_000u16]);
        ColorShift { hue: 0.0, saturation: 1.0, value: 2.0 }.apply(&mut gray);
        assert_eq!(gray.data, [65535; 3]);
    }

    #[test]
    fn opposite_turns_cancel() {
        for colour in COLOURS {
            let there = recolour(ColorShift { hue: 40.0, ..NONE }, colour);
            let back = recolour(ColorShift { hue: -40.0, ..NONE }, there);
            assert!(
                back.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 2),
                "{colour:?} {there:?} {back:?}"
            );
        }
    }

    #[test]
    fn factors_follow_the_documented_distribution() {
        let settings =
            Augmentation { hue: 0.1, saturation: 1.5, exposure: 2.0, ..crate::augment::tests::OFF };
        let mut rng = crate::data::random::rng(1, 2, 3, crate::data::random::Purpose::Augment);
        let draws: Vec<ColorShift> = (0..4000).map(|_| ColorShift::draw(&settings, &mut rng)).collect();
        let share =
            |test: &dyn Fn(&ColorShift) -> bool| draws.iter().filter(|d| test(d)).count() as f64 / 4000.0;
        assert_eq!(share(&|d| d.hue.abs() <= 18.0), 1.0);
        assert_eq!(share(&|d| (1.0 / 1.5..=1.5).contains(&d.saturation)), 1.0);
        assert!((share(&|d| d.value > 1.0) - 0.5).abs() < 0.04);
        assert!((share(&|d| d.value > 1.5) - 0.25).abs() < 0.04, "half of the enlarging factors exceed 1.5");
    }
}
