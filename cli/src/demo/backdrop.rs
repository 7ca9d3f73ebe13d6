//! What is behind the objects: two muted colours in smooth noise, grain, and scratches that are no objects.

use oxidet_vision::Image;
use rand::Rng;

use super::colour::{Colour, blend, hsv, mix};

/// Noise octaves: pixels per lattice cell, and share of the whole.
const OCTAVES: [(f32, f32); 4] = [(56.0, 0.45), (26.0, 0.28), (12.0, 0.17), (5.0, 0.1)];
/// Largest deviation of a pixel from the noise, in levels.
const GRAIN: f32 = 7.0;

/// Draws a backdrop.
pub fn draw(width: usize, height: usize, rng: &mut impl Rng) -> Image {
    let (hue, value): (f32, f32) = (rng.random(), rng.random_range(0.35..0.75));
    let mut muted = |hue: f32, value: f32| hsv(hue, rng.random_range(0.1..0.45), value);
    let colours = [muted(hue, value), muted(hue + 0.12, value + 0.22)];
    let octaves = OCTAVES.map(|(cell, share)| (Lattice::draw(width, height, cell, rng), share));
    let mut data = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let noise: f32 = octaves.iter().map(|(lattice, share)| share * lattice.at(x, y)).sum();
            // Sums of octaves crowd around the middle; this spreads them again.
            let share = (0.5 + 2.0 * (noise - 0.5)).clamp(0.0, 1.0);
            let grain = rng.random_range(-GRAIN..GRAIN);
            data.extend(mix(colours[0], colours[1], share).map(|c| (c + grain).clamp(0.0, 255.0) as u8));
        }
    }
    let mut image = Image { width, height, channels: 3, data };
    for _ in 0..rng.random_range(1..5) {
        scratch(&mut image, rng);
    }
    image
}

/// Random values on a coarse grid, smooth in between.
struct Lattice {
    cell: f32,
    columns: usize,
    values: Vec<f32>,
}

impl Lattice {
    fn draw(width: usize, height: usize, cell: f32, rng: &mut impl Rng) -> Self {
        let points = |side: usize| (side as f32 / cell) as usize + 2;
        let (columns, rows) = (points(width), points(height));
        Self { cell, columns, values: (0..columns * rows).map(|_| rng.random()).collect() }
    }

    fn at(&self, x: usize, y: usize) -> f32 {
        let place = |v: usize| {
            let (whole, part) = ((v as f32 / self.cell).floor(), (v as f32 / self.cell).fract());
            (whole as usize, part * part * (3.0 - 2.0 * part))
        };
        let ((column, u), (row, v)) = (place(x), place(y));
        let value = |dx: usize, dy: usize| self.values[(row + dy) * self.columns + column + dx];
        let (top, bottom) =
            (value(0, 0) * (1.0 - u) + value(1, 0) * u, value(0, 1) * (1.0 - u) + value(1, 1) * u);
        top * (1.0 - v) + bottom * v
    }
}

/// A thin curved line.
fn scratch(image: &mut Image, rng: &mut impl Rng) {
    let paint: Colour = hsv(rng.random(), 0.4, rng.random_range(0.2..1.0));
    let (mut x, mut y) =
        (rng.random_range(0.0..image.width as f32), rng.random_range(0.0..image.height as f32));
    let mut angle: f32 = rng.random_range(0.0..std::f32::consts::TAU);
    let bend = rng.random_range(-0.02..0.02);
    for _ in 0..rng.random_range(60..220) {
        angle += bend;
        (x, y) = (x + 0.5 * angle.cos(), y + 0.5 * angle.sin());
        // Each of the four pixels around the point gets its share.
        for (column, u) in [(x.floor(), 1.0 - x.fract()), (x.floor() + 1.0, x.fract())] {
            for (row, v) in [(y.floor(), 1.0 - y.fract()), (y.floor() + 1.0, y.fract())] {
                if (0.0..image.width as f32).contains(&column) && (0.0..image.height as f32).contains(&row) {
                    blend(image, row as usize * image.width + column as usize, paint, 0.6 * u * v);
                }
            }
        }
    }
}
