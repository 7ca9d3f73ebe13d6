//! Colours of a scene: red, green, blue, each 0 to 255.

use oxidet_vision::Image;

pub type Colour = [f32; 3];

/// From hue (in turns, any number), saturation and value in [0, 1].
pub fn hsv(hue: f32, saturation: f32, value: f32) -> Colour {
    [5.0f32, 3.0, 1.0].map(|offset| {
        let k = (offset + hue.rem_euclid(1.0) * 6.0) % 6.0;
        255.0 * value.clamp(0.0, 1.0) * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    })
}

/// `a` at share 0, `b` at share 1.
pub fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * share)
}

/// Paints a pixel, given by its index into the rows, with `share` of a colour.
pub fn blend(image: &mut Image, at: usize, paint: Colour, share: f32) {
    for (old, new) in image.data[at * 3..at * 3 + 3].iter_mut().zip(paint) {
        *old = (f32::from(*old) + (new - f32::from(*old)) * share).round().clamp(0.0, 255.0) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primary_colours() {
        for (turn, want) in
            [(0.0, [255.0, 0.0, 0.0]), (1.0 / 3.0, [0.0, 255.0, 0.0]), (-1.0 / 3.0, [0.0, 0.0, 255.0])]
        {
            let got = hsv(turn, 1.0, 1.0);
            assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-3), "{turn}: {got:?}");
        }
        assert_eq!(hsv(0.7, 0.0, 0.5), [127.5; 3]);
    }
}
