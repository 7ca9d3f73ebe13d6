//! Changes of hue, saturation and brightness in HSV space.
//!
//! Hue turns within [0°, 360°), saturation stays in [0, 1], values are clipped to the range of a pixel, and nothing is rounded
//! before the end.

use oxidet_vision::Image;
use rand::Rng;

use super::Augmentation;

/// One change of colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ColorShift {
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
    pub(super) fn apply(self, image: &mut Image) {
        if self == (Self { hue: 0.0, saturation: 1.0, value: 1.0 }) {
            return;
        }
        match image.channels {
            3 => {
                for pixel in image.data.as_chunks_mut::<3>().0 {
                    *pixel = self.recolour(*pixel);
                }
            }
            _ => {
                for luma in &mut image.data {
                    *luma = (f32::from(*luma) * self.value).round() as u8;
                }
            }
        }
    }

    fn recolour(self, [r, g, b]: [u8; 3]) -> [u8; 3] {
        let (max, min) = (r.max(g).max(b), r.min(g).min(b));
        let value = (f32::from(max) * self.value).min(255.0);
        if max == min {
            return [(value + 0.5) as u8; 3];
        }
        let range = f32::from(max - min);
        let difference = |a: u8, b: u8| (f32::from(a) - f32::from(b)) / range;
        // Hue in sixths of a turn.
        let hue = if max == r {
            difference(g, b)
        } else if max == g {
            2.0 + difference(b, r)
        } else {
            4.0 + difference(r, g)
        };
        let hue = (hue + self.hue / 60.0).rem_euclid(6.0);
        let saturation = (range / f32::from(max) * self.saturation).min(1.0);
        // Each channel falls from `value` to `value · (1 − saturation)` over one sixth and rises over another.
        let channel = |offset: f32| {
            let k = (hue + offset) % 6.0;
            let fall = k.min(4.0 - k).clamp(0.0, 1.0);
            (value * (1.0 - saturation * fall) + 0.5) as u8
        };
        [channel(5.0), channel(3.0), channel(1.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ColorShift = ColorShift { hue: 0.0, saturation: 1.0, value: 1.0 };
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
            assert_eq!(NONE.recolour(colour), colour);
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
            assert_eq!(shift.recolour(from), to, "{shift:?} {from:?}");
        }
    }

    #[test]
    fn opposite_turns_cancel() {
        for colour in COLOURS {
            let there = ColorShift { hue: 40.0, ..NONE }.recolour(colour);
            let back = ColorShift { hue: -40.0, ..NONE }.recolour(there);
            assert!(
                back.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 2),
                "{colour:?} {there:?} {back:?}"
            );
        }
    }

    #[test]
    fn factors_follow_the_documented_distribution() {
        let settings = Augmentation {
            hue: 0.1,
            saturation: 1.5,
            exposure: 2.0,
            vertical_flip: 0.0,
            horizontal_flip: 0.0,
            jitter: 0.0,
        };
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
