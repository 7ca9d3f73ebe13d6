//! JPEG and PNG to pixels and back.
//!
//! Gray files stay gray, everything else becomes RGB. Alpha is dropped, not blended, and the orientation that EXIF asks for
//! is left alone, both as in the original: labels belong to the pixels as stored.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{ColorType, DynamicImage, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};

use super::{Image, ImageError};

const MAX_SIDE: u32 = 32_768;
const MAX_PIXELS: u64 = 256_000_000;
const JPEG_MAGIC: &[u8] = &[0xff, 0xd8];
/// Working memory a decoder may take: four bytes for each pixel allowed.
const MAX_ALLOC: u64 = 4 * MAX_PIXELS;

/// Reads a JPEG or PNG file; the content decides which.
///
/// # Errors
/// [`ImageError`]. Size is checked before memory is taken.
pub fn decode(bytes: &[u8]) -> Result<Image, ImageError> {
    let decoder = open(bytes)?;
    if bytes.starts_with(JPEG_MAGIC) && !jpeg_is_complete(bytes) {
        return Err(ImageError::Truncated);
    }
    match decoder.color_type() {
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            return Err(ImageError::SixteenBit);
        }
        _ => {}
    }
    let image = DynamicImage::from_decoder(decoder).map_err(ImageError::Decode)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (channels, data) = match image {
        DynamicImage::ImageLuma8(gray) => (1, gray.into_raw()),
        DynamicImage::ImageLumaA8(_) => (1, image.into_luma8().into_raw()),
        _ => (3, image.into_rgb8().into_raw()),
    };
    Ok(Image { width, height, channels, data })
}

/// Whether a JPEG file reaches its end-of-image marker. The decoder does not mind when it is missing and makes up the rest.
///
/// Walks the segments (ITU T.81, annex B): outside entropy-coded data each marker but `FFD0`–`FFD9` and `FF01` has a length;
/// inside, `FF00` is data and `FFD0`–`FFD7` restart it.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = JPEG_MAGIC.len();
    while let Some(skip) =
        bytes.get(at..).and_then(|rest| rest.windows(2).position(|w| w[0] == 0xff && w[1] != 0xff))
    {
        at += skip + 2;
        match bytes[at - 1] {
            0xd9 => return true,
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            _ => {
                let Some([high, low]) = bytes.get(at..at + 2) else { return false };
                at += usize::from(u16::from_be_bytes([*high, *low]));
            }
        }
    }
    false
}

/// Width and height in pixels, from the header alone.
///
/// # Errors
/// [`ImageError`]
pub fn dimensions(bytes: &[u8]) -> Result<(usize, usize), ImageError> {
    let (width, height) = open(bytes)?.dimensions();
    Ok((width as usize, height as usize))
}

fn open(bytes: &[u8]) -> Result<impl ImageDecoder, ImageError> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| ImageError::UnknownFormat)?;
    if !matches!(reader.format(), Some(ImageFormat::Jpeg | ImageFormat::Png)) {
        return Err(ImageError::UnknownFormat);
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(ImageError::Decode)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(ImageError::Empty);
    }
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        let max_megapixels = MAX_PIXELS / 1_000_000;
        return Err(ImageError::TooLarge { width, height, max: MAX_SIDE, max_megapixels });
    }
    Ok(decoder)
}

/// A JPEG file; `quality` is 1 to 100.
///
/// # Errors
/// [`ImageError::Encode`] when a side exceeds what JPEG can hold.
pub fn encode_jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    write(image, JpegEncoder::new_with_quality(&mut bytes, quality))?;
    Ok(bytes)
}

/// A PNG file.
///
/// # Errors
/// [`ImageError::Encode`]
pub fn encode_png(image: &Image) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    write(image, image::codecs::png::PngEncoder::new(&mut bytes))?;
    Ok(bytes)
}

fn write(image: &Image, encoder: impl ImageEncoder) -> Result<(), ImageError> {
    let color = if image.channels == 1 { ColorType::L8 } else { ColorType::Rgb8 };
    encoder
        .write_image(&image.data, image.width as u32, image.height as u32, color.into())
        .map_err(ImageError::Encode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ExtendedColorType, RgbaImage};

    fn gradient(channels: usize) -> Image {
        let data = (0..40 * 30 * channels).map(|i| (i * 7 / channels % 256) as u8).collect();
        Image { width: 40, height: 30, channels, data }
    }

    #[test]
    fn png_keeps_pixels_and_gray_stays_gray() {
        for channels in [1, 3] {
            let image = gradient(channels);
            let bytes = encode_png(&image).unwrap();
            assert_eq!(decode(&bytes).unwrap(), image);
            assert_eq!(dimensions(&bytes).unwrap(), (40, 30));
            let jpeg = decode(&encode_jpeg(&image, 95).unwrap()).unwrap();
            assert_eq!((jpeg.width, jpeg.height, jpeg.channels), (40, 30, channels));
        }
    }

    #[test]
    fn alpha_is_dropped_and_not_blended() {
        let transparent = RgbaImage::from_pixel(3, 2, image::Rgba([200, 100, 50, 0]));
        let mut bytes = Vec::new();
        transparent.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
        assert_eq!(decode(&bytes).unwrap(), Image::filled(3, 2, &[200, 100, 50]));
    }

    #[test]
    fn sixteen_bits_are_refused() {
        let mut bytes = Vec::new();
        image::codecs::png::PngEncoder::new(&mut bytes)
            .write_image(&[0; 12], 3, 2, ExtendedColorType::L16)
            .unwrap();
        assert!(matches!(decode(&bytes), Err(ImageError::SixteenBit)));
    }

    #[test]
    fn a_size_bomb_is_refused_before_memory_is_taken() {
        let mut bytes = encode_png(&gradient(3)).unwrap();
        bytes[16..24].copy_from_slice(&[0, 0, 0x7f, 0xff, 0, 0, 0x7f, 0xff]);
        assert!(decode(&bytes).is_err() && dimensions(&bytes).is_err());
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        for bytes in [encode_png(&gradient(3)).unwrap(), encode_jpeg(&gradient(3), 80).unwrap()] {
            for end in 0..bytes.len() - 12 {
                assert!(decode(&bytes[..end]).is_err(), "cut at {end} of {}", bytes.len());
            }
            for at in (0..bytes.len()).step_by(3) {
                let mut bad = bytes.clone();
                bad[at] ^= 0xa5;
                let _ = decode(&bad);
            }
        }
        assert!(matches!(decode(b"GIF89a"), Err(ImageError::UnknownFormat)));
        assert!(matches!(decode(b""), Err(ImageError::UnknownFormat)));
    }
}
