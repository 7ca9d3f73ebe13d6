//! The objects of a scene.

use oxidet_vision::Image;
use rand::Rng;

use super::colour::{Colour, blend, hsv, mix};
use super::scene::CLASSES;

/// One object: its outline, and how it is painted.
pub struct Shape {
    outline: Outline,
    centre: (f32, f32),
    /// Half extents in pixels, before turning.
    half: (f32, f32),
    /// Cosine and sine of the turn.
    turn: (f32, f32),
    /// Width and height of the picture.
    canvas: (usize, usize),
    colours: [Colour; 2],
    texture: Texture,
    /// Pixels from one stripe, ring or field to the next.
    period: f32,
}

enum Outline {
    Box,
    Disc,
    Triangle,
}

#[derive(Clone, Copy)]
enum Texture {
    Plain,
    Stripes,
    Rings,
    Fields,
}

/// Width of the dark rim, as a share of the half extents.
const RIM: f32 = 0.13;
/// Pixels that the shadow falls to the right and down.
const SHADOW: (f32, f32) = (2.0, 3.0);

impl Shape {
    /// An object of a class, about `2 · radius` pixels wide, somewhere on the canvas and hardly cut by its border.
    pub fn draw(class: usize, radius: f32, canvas: (usize, usize), rng: &mut impl Rng) -> Self {
        let aspect = rng.random_range(0.75f32..1.33).sqrt();
        let angle: f32 = rng.random_range(-0.35..0.35);
        let mut along = |side: usize| rng.random_range(radius * 0.9..side as f32 - radius * 0.9);
        let centre = (along(canvas.0), along(canvas.1));
        let hue: f32 = rng.random();
        let other = hue + rng.random_range(-0.15..0.15);
        let mut vivid = |hue: f32| hsv(hue, rng.random_range(0.45..0.95), rng.random_range(0.45..1.0));
        let colours = [vivid(hue), vivid(other)];
        Self {
            outline: match CLASSES[class] {
                "box" => Outline::Box,
                "disc" => Outline::Disc,
                _ => Outline::Triangle,
            },
            centre,
            half: (radius * aspect, radius / aspect),
            turn: (angle.cos(), angle.sin()),
            canvas,
            colours,
            texture: [Texture::Plain, Texture::Stripes, Texture::Rings, Texture::Fields]
                [rng.random_range(0..4)],
            period: radius * rng.random_range(0.25..0.6) + 3.0,
        }
    }

    /// Pixels that the shape or its shadow may touch, as indices into the rows of the canvas.
    pub fn pixels(&self) -> impl Iterator<Item = usize> + use<> {
        let reach = self.half.0.hypot(self.half.1) + SHADOW.1 + 2.0;
        let range =
            |at: f32, side: usize| ((at - reach).max(0.0) as usize)..((at + reach) as usize + 1).min(side);
        let (width, xs) = (self.canvas.0, range(self.centre.0, self.canvas.0));
        range(self.centre.1, self.canvas.1).flat_map(move |y| xs.clone().map(move |x| y * width + x))
    }

    /// Share of a pixel that the shape covers.
    pub fn coverage(&self, at: usize) -> f32 {
        let (x, y) = self.local(at, (0.0, 0.0));
        (0.5 - self.outside(x, y)).clamp(0.0, 1.0)
    }

    /// Paints the object with its shadow.
    pub fn paint(&self, image: &mut Image) {
        for at in self.pixels() {
            let (x, y) = self.local(at, SHADOW);
            // The shadow's edge is three pixels soft.
            let shadow = (0.5 - self.outside(x, y) / 3.0).clamp(0.0, 1.0);
            blend(image, at, [0.0; 3], 0.35 * shadow);
            let share = self.coverage(at);
            if share > 0.0 {
                blend(image, at, self.surface(at), share);
            }
        }
    }

    /// Colour of the surface: texture, a rim that sets it off from a backdrop of its colour, and light from the top left.
    fn surface(&self, at: usize) -> Colour {
        let (x, y) = self.local(at, (0.0, 0.0));
        let wave = |v: f32| 0.5 + 0.5 * (v / self.period * std::f32::consts::TAU).sin();
        let share = match self.texture {
            Texture::Plain => 0.0,
            Texture::Stripes => wave(x + 0.5 * y),
            Texture::Rings => wave(x.hypot(y)),
            Texture::Fields => (wave(x) - 0.5) * (wave(y) - 0.5) * 2.0 + 0.5,
        };
        let rim = RIM * self.half.0.min(self.half.1);
        let shade = if self.outside(x, y) > -rim { 0.45 } else { 1.0 };
        let light = 1.0 - 0.12 * (x / self.half.0 + y / self.half.1);
        mix(self.colours[0], self.colours[1], share).map(|c| c * shade * light)
    }

    /// The middle of a pixel in the shape's own axes, once the shape is moved by `offset`.
    fn local(&self, at: usize, offset: (f32, f32)) -> (f32, f32) {
        let (x, y) = ((at % self.canvas.0) as f32 + 0.5, (at / self.canvas.0) as f32 + 0.5);
        let (dx, dy) = (x - self.centre.0 - offset.0, y - self.centre.1 - offset.1);
        (dx * self.turn.0 + dy * self.turn.1, dy * self.turn.0 - dx * self.turn.1)
    }

    /// Distance to the outline in pixels, negative inside; exact where edges are straight.
    fn outside(&self, x: f32, y: f32) -> f32 {
        let (w, h) = self.half;
        match self.outline {
            Outline::Box => (x.abs() - w).max(y.abs() - h),
            Outline::Disc => ((x / w).hypot(y / h) - 1.0) * w.min(h),
            // Apex up, base down.
            Outline::Triangle => (y - h).max((x.abs() * 2.0 * h - (y + h) * w) / (2.0 * h).hypot(w)),
        }
    }
}
