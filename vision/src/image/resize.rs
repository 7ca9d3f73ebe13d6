//! The one resize: bilinear between the four nearest pixels, pixel centres at half coordinates, no smoothing when an
//! image shrinks. It is OpenCV's `INTER_LINEAR`, which the original trains and evaluates with.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use super::{Image, Subpixel};

/// Resizes to `width` × `height` pixels.
///
/// # Panics
/// When either image has no pixels.
pub fn resize<S: Subpixel>(image: &Image<S>, width: usize, height: usize) -> Image<S> {
    if (width, height) == (image.width, image.height) {
        return image.clone();
    }
    resize_part(image, [0.0, 0.0, image.width as f64, image.height as f64], width, height)
}

/// Resizes the part `[left, top, width, height]` of an image, in pixels and fractions of them, to `width` × `height` pixels.
/// At its edges the part mixes with what is around it in the image.
///
/// # Panics
/// When the part reaches beyond the image, or when it or the target is empty.
pub fn resize_part<S: Subpixel>(
    image: &Image<S>,
    [left, top, part_width, part_height]: [f64; 4],
    width: usize,
    height: usize,
) -> Image<S> {
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Interpolation(FilterType::Bilinear))
        .use_alpha(false)
        .crop(left, top, part_width, part_height);
    let mut target = Image {
        width,
        height,
        channels: image.channels,
        data: vec![S::default(); width * height * image.channels],
    };
    match image.channels {
        1 => resize_pixels::<S, S::Gray>(image, &mut target, &options),
        _ => resize_pixels::<S, S::Color>(image, &mut target, &options),
    }
    target
}

/// For one kind of pixels: the resizer's entrance for any of them compiles them all, which takes minutes.
fn resize_pixels<S: Subpixel, P: PixelTrait>(
    source: &Image<S>,
    target: &mut Image<S>,
    options: &ResizeOptions,
) {
    let (width, height) = (target.width as u32, target.height as u32);
    let holds = "an image holds what its size says";
    let source =
        TypedImageRef::<P>::from_buffer(source.width as u32, source.height as u32, S::as_bytes(&source.data));
    let mut target =
        TypedImage::<P>::from_buffer(width, height, S::as_bytes_mut(&mut target.data)).expect(holds);
    Resizer::new()
        .resize_typed(&source.expect(holds), &mut target, options)
        .expect("the part is inside the image");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bilinear interpolation by its definition, in f64.
    fn reference(image: &Image, width: usize, height: usize) -> Vec<f64> {
        let tap = |out: usize, scale: f64, len: usize| {
            let at = ((out as f64 + 0.5) * scale - 0.5).clamp(0.0, len as f64 - 1.0);
            let low = at.floor() as usize;
            (low, (low + 1).min(len - 1), at - low as f64)
        };
        let mut out = Vec::new();
        for y in 0..height {
            let (y0, y1, fy) = tap(y, image.height as f64 / height as f64, image.height);
            for x in 0..width {
                let (x0, x1, fx) = tap(x, image.width as f64 / width as f64, image.width);
                for c in 0..image.channels {
                    let at = |y: usize, x: usize| {
                        f64::from(image.data[(y * image.width + x) * image.channels + c])
                    };
                    let top = at(y0, x0) * (1.0 - fx) + at(y0, x1) * fx;
                    let bottom = at(y1, x0) * (1.0 - fx) + at(y1, x1) * fx;
                    out.push(top * (1.0 - fy) + bottom * fy);
                }
            }
        }
        out
    }

    #[test]
    fn agrees_with_the_definition() {
        for (channels, from, to) in
            [(3, (7, 5), (16, 12)), (1, (40, 31), (13, 9)), (3, (33, 20), (32, 32)), (1, (1, 1), (3, 2))]
        {
            let data = (0..from.0 * from.1 * channels).map(|i| ((i * 2654435761) >> 7) as u8).collect();
            let image = Image { width: from.0, height: from.1, channels, data };
            let got = resize(&image, to.0, to.1);
            for (got, want) in got.data.iter().zip(reference(&image, to.0, to.1)) {
                assert!((f64::from(*got) - want).abs() <= 1.01, "{from:?} -> {to:?}: {got} {want}");
            }
        }
    }
    #[test]
    fn a_part_is_what_a_larger_resize_shows_there() {
        let data: Vec<u16> = (0..40 * 30).map(|i| ((i as u32 * 2654435761) >> 16) as u16).collect();
        let image = Image { width: 40, height: 30, channels: 1, data };
        let whole = resize(&image, 80, 90);
        let part = resize_part(&image, [10.0, 5.0, 20.0, 10.0], 40, 30);
        for y in 0..30 {
            for x in 0..40 {
                let (got, want) = (part.data[y * 40 + x], whole.data[(15 + y) * 80 + 20 + x]);
                assert!(got.abs_diff(want) <= 16, "{x} {y}: {got} {want}");
            }
        }
    }
}
