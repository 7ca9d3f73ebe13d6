//! Drawn scenes: discs, boxes and triangles of all sizes and colours on textured backdrops, some half hidden.
//!
//! A scene is a function of its seed. Only the outline tells the classes apart; colour, texture, size and turn are drawn alike
//! for all.

use std::ops::Range;

use oxidet_vision::{Image, PxBox};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::backdrop;
use super::shape::Shape;

/// Class names, in class-id order.
pub const CLASSES: [&str; 3] = ["box", "disc", "triangle"];
/// Pixels per row of a scene.
pub const WIDTH: usize = 224;
/// Rows of a scene.
pub const HEIGHT: usize = 192;

/// Half the size of an object in pixels: from about one cell of stride 16 to more than half the picture.
const RADII: Range<f32> = 7.0..60.0;
/// Objects of a scene.
const OBJECTS: Range<usize> = 2..7;
/// Least share of an object that later ones leave visible.
const VISIBLE: f32 = 0.65;
/// Places tried for an object before the scene stays with fewer.
const TRIES: usize = 8;

/// A picture and what is in it.
pub struct Scene {
    pub image: Image,
    /// Class ids and boxes, in the order they were painted.
    pub objects: Vec<(usize, PxBox)>,
}

/// Draws the scene of a seed.
pub fn draw(seed: u64) -> Scene {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut scene = Scene { image: backdrop::draw(WIDTH, HEIGHT, &mut rng), objects: Vec::new() };
    // Which object each pixel shows, and how many pixels each object has in all.
    let mut shown: Vec<Option<usize>> = vec![None; WIDTH * HEIGHT];
    let mut areas: Vec<usize> = Vec::new();
    let wanted = rng.random_range(OBJECTS);
    for _ in 0..wanted * TRIES {
        if scene.objects.len() == wanted {
            break;
        }
        // Small objects are more common, as in real pictures.
        let radius = RADII.start * (RADII.end / RADII.start).powf(rng.random::<f32>());
        let class = rng.random_range(0..CLASSES.len());
        let shape = Shape::draw(class, radius, (WIDTH, HEIGHT), &mut rng);
        let mask: Vec<usize> = shape.pixels().filter(|at| shape.coverage(*at) >= 0.5).collect();
        let mut hidden = vec![0; areas.len()];
        for at in &mask {
            if let Some(object) = shown[*at] {
                hidden[object] += 1;
            }
        }
        let visible = |object: usize| shown.iter().filter(|shown| **shown == Some(object)).count();
        let hides_too_much = (0..areas.len())
            .any(|object| ((visible(object) - hidden[object]) as f32) < VISIBLE * areas[object] as f32);
        if hides_too_much {
            continue;
        }
        shape.paint(&mut scene.image);
        for at in &mask {
            shown[*at] = Some(areas.len());
        }
        areas.push(mask.len());
        scene.objects.push((class, bounds(&mask)));
    }
    scene
}

/// The smallest box around these pixels.
fn bounds(mask: &[usize]) -> PxBox {
    let sides = |part: fn(usize) -> usize| {
        let range = mask
            .iter()
            .map(|at| part(*at))
            .fold((usize::MAX, 0), |(low, high), v| (low.min(v), high.max(v + 1)));
        (range.0 as f32, range.1 as f32)
    };
    let ((x1, x2), (y1, y2)) = (sides(|at| at % WIDTH), sides(|at| at / WIDTH));
    PxBox { x1, y1, x2, y2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_is_a_function_of_its_seed() {
        assert_eq!(draw(3).image, draw(3).image);
        assert_ne!(draw(3).image, draw(4).image);
    }

    #[test]
    fn boxes_lie_in_the_picture_and_all_sizes_and_classes_occur() {
        let (mut classes, mut small, mut large) = ([0; 3], 0, 0);
        for seed in 0..60 {
            let scene = draw(seed);
            assert!(!scene.objects.is_empty());
            for (class, b) in scene.objects {
                classes[class] += 1;
                assert!(b.x1 >= 0.0 && b.y1 >= 0.0 && b.x2 <= WIDTH as f32 && b.y2 <= HEIGHT as f32, "{b:?}");
                assert!(b.width() > 6.0 && b.height() > 6.0, "{b:?}");
                small += usize::from(b.width() < 24.0);
                large += usize::from(b.width() > 80.0);
            }
        }
        assert!(
            classes.iter().all(|count| *count > 40) && small > 30 && large > 20,
            "{classes:?} {small} {large}"
        );
    }
}
