//! JPEG and PNG to pixels and back.
//!
//! Gray files stay gray, everything else becomes RGB. Alpha is dropped, not blended, and the orientation that EXIF asks for
//! is left alone, both as in the original: labels belong to the pixels as stored.

use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};

use image::codecs::jpeg::JpegEncoder;
use image::{ColorType, DynamicImage, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};

use super::{Image, ImageError, Subpixel, jpeg};

const MAX_SIDE: u32 = 32_768;
const MAX_PIXELS: u64 = 256_000_000;
/// Working memory a decoder may take: four bytes for each pixel allowed.
const MAX_ALLOC: u64 = 4 * MAX_PIXELS;

/// Reads a JPEG or PNG file of this depth; the content decides which of the two it is.
///
/// # Errors
/// [`ImageError`]. Size and depth are checked before memory is taken.
pub fn decode<S: Subpixel>(bytes: &[u8]) -> Result<Image<S>, ImageError> {
    guarded(|| decode_unguarded(bytes))
}

fn decode_unguarded<S: Subpixel>(bytes: &[u8]) -> Result<Image<S>, ImageError> {
    let decoder = open(bytes)?;
    let found = depth(decoder.color_type());
    if found != S::DEPTH {
        return Err(ImageError::Depth { found, wanted: S::DEPTH });
    }
    let image = if bytes.starts_with(jpeg::MAGIC) {
        jpeg::decode(bytes, decoder.dimensions(), decoder.color_type())?
    } else {
        DynamicImage::from_decoder(decoder).map_err(|error| damaged(&error))?
    };
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (channels, data) = match image {
        DynamicImage::ImageLuma8(gray) => (1, gray.into_raw()),
        DynamicImage::ImageLumaA8(_) => (1, image.into_luma8().into_raw()),
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA16(_) => {
            (1, bytemuck::pod_collect_to_vec(&image.into_luma16().into_raw()))
        }
        DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgba16(_) => {
            (3, bytemuck::pod_collect_to_vec(&image.into_rgb16().into_raw()))
        }
        _ => (3, image.into_rgb8().into_raw()),
    };
    Ok(Image { width, height, channels, data: S::from_bytes(data) })
}

/// What the head of an image file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bits per channel: 8 (also for fewer) or 16.
    pub depth: u8,
    /// Whether it has colours; a palette counts as such.
    pub color: bool,
}

/// Reads the head of an image file, of which some of the rest may be missing.
///
/// # Errors
/// [`ImageError`]
pub fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    guarded(|| {
        let decoder = open(bytes)?;
        let ((width, height), color) = (decoder.dimensions(), decoder.color_type());
        Ok(Header {
            width: width as usize,
            height: height as usize,
            depth: depth(color),
            color: color.has_color(),
        })
    })
}

/// What a decoder says, in one line.
fn damaged(error: &image::ImageError) -> ImageError {
    ImageError::Damaged(error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

fn depth(color: ColorType) -> u8 {
    if color.bytes_per_pixel() == 2 * color.channel_count() { 16 } else { 8 }
}

/// Runs a decoder. Those of other crates may panic on damage of a kind that nobody has thought of.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    panic::catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(ImageError::Damaged("its decoder gave up".into())))
}

/// What a file is that is no image for us, from its first bytes.
fn other_format(bytes: &[u8]) -> &'static str {
    let known: [(&[u8], &str); 9] = [
        (b"GIF8", "a GIF image"),
        (b"BM", "a BMP image"),
        (b"II*\0", "a TIFF image"),
        (b"MM\0*", "a TIFF image"),
        (b"%PDF", "a PDF document"),
        (b"version https://git-lfs", "a pointer of Git LFS, whose image was not downloaded (git lfs pull)"),
        (b"<", "a web page or XML"),
        (b"PK\x03\x04", "an archive"),
        (b"qoif", "a QOI image"),
    ];
    if bytes.is_empty() {
        return "an empty file";
    }
    match bytes.get(4..12) {
        Some(b"ftypheic" | b"ftypheix" | b"ftypmif1") => return "a HEIC image",
        Some(b"ftypavif") => return "an AVIF image",
        _ if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => return "a WebP image",
        _ => {}
    }
    known.iter().find(|(magic, _)| bytes.starts_with(magic)).map_or("something else", |(_, what)| what)
}

fn open(bytes: &[u8]) -> Result<impl ImageDecoder, ImageError> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|_| ImageError::UnknownFormat(other_format(bytes)))?;
    if !matches!(reader.format(), Some(ImageFormat::Jpeg | ImageFormat::Png)) {
        return Err(ImageError::UnknownFormat(other_format(bytes)));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| damaged(&error))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(ImageError::Empty);
    }
    let is_large = u64::from(width) * u64::from(height) > MAX_PIXELS || decoder.total_bytes() > MAX_ALLOC;
    if width > MAX_SIDE || height > MAX_SIDE || is_large {
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
pub fn encode_png<S: Subpixel>(image: &Image<S>) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    write(image, image::codecs::png::PngEncoder::new(&mut bytes))?;
    Ok(bytes)
}

fn write<S: Subpixel>(image: &Image<S>, encoder: impl ImageEncoder) -> Result<(), ImageError> {
    let color = match (S::DEPTH, image.channels) {
        (8, 1) => ColorType::L8,
        (8, _) => ColorType::Rgb8,
        (_, 1) => ColorType::L16,
        _ => ColorType::Rgb16,
    };
    encoder
        .write_image(S::as_bytes(&image.data), image.width as u32, image.height as u32, color.into())
        .map_err(ImageError::Encode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbaImage;

    fn gradient(channels: usize) -> Image {
        let data = (0..40 * 30 * channels).map(|i| (i * 7 / channels % 256) as u8).collect();
        Image { width: 40, height: 30, channels, data }
    }

    #[test]
    fn png_keeps_pixels_and_gray_stays_gray() {
        for channels in [1, 3] {
            let image = gradient(channels);
            let bytes = encode_png(&image).unwrap();
            assert_eq!(decode::<u8>(&bytes).unwrap(), image);
            assert_eq!(
                header(&bytes).unwrap(),
                Header { width: 40, height: 30, depth: 8, color: channels == 3 }
            );
            let jpeg = decode::<u8>(&encode_jpeg(&image, 95).unwrap()).unwrap();
            assert_eq!((jpeg.width, jpeg.height, jpeg.channels), (40, 30, channels));
        }
    }

    #[test]
    fn alpha_is_dropped_and_not_blended() {
        let transparent = RgbaImage::from_pixel(3, 2, image::Rgba([200, 100, 50, 0]));
        let mut bytes = Vec::new();
        transparent.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
        assert_eq!(decode::<u8>(&bytes).unwrap(), Image::filled(3, 2, &[200u8, 100, 50]));
    }

    #[test]
    fn sixteen_bits_are_kept_and_never_mistaken_for_eight() {
        for channels in [1, 3] {
            let data = (0..40 * 30 * channels).map(|i| (i * 977 % 65536) as u16).collect();
            let image = Image { width: 40, height: 30, channels, data };
            let bytes = encode_png(&image).unwrap();
            assert_eq!(decode::<u16>(&bytes).unwrap(), image);
            let found = Header { width: 40, height: 30, depth: 16, color: channels == 3 };
            assert_eq!(header(&bytes).unwrap(), found);
            assert!(matches!(decode::<u8>(&bytes), Err(ImageError::Depth { found: 16, wanted: 8 })));
            let eight = encode_png(&gradient(channels)).unwrap();
            assert!(matches!(decode::<u16>(&eight), Err(ImageError::Depth { found: 8, wanted: 16 })));
        }
    }

    #[test]
    fn a_size_bomb_is_refused_before_memory_is_taken() {
        let mut bytes = encode_png(&gradient(3)).unwrap();
        bytes[16..24].copy_from_slice(&[0, 0, 0x7f, 0xff, 0, 0, 0x7f, 0xff]);
        assert!(decode::<u8>(&bytes).is_err() && header(&bytes).is_err());
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        for bytes in [encode_png(&gradient(3)).unwrap(), encode_jpeg(&gradient(3), 80).unwrap()] {
            for end in 0..bytes.len() - 12 {
                assert!(decode::<u8>(&bytes[..end]).is_err(), "cut at {end} of {}", bytes.len());
            }
            for at in (0..bytes.len()).step_by(3) {
                let mut bad = bytes.clone();
                bad[at] ^= 0xa5;
                let _ = decode::<u8>(&bad);
            }
        }
        assert!(matches!(decode::<u8>(b"GIF89a"), Err(ImageError::UnknownFormat(_))));
        assert!(matches!(decode::<u8>(b""), Err(ImageError::UnknownFormat(_))));
    }

    /// A palette of four bytes, which makes the decoder panic.
    #[test]
    fn a_decoder_that_panics_is_an_error() {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut chunk = |kind: &[u8; 4], data: &[u8]| {
            bytes.extend((data.len() as u32).to_be_bytes());
            let body = [kind.as_slice(), data].concat();
            bytes.extend(&body);
            bytes.extend(crc(&body).to_be_bytes());
        };
        chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 3, 0, 0, 0]);
        chunk(b"PLTE", &[1, 2, 3, 4]);
        // One row: no filter, and the pixel is the second colour. Stored, not compressed.
        chunk(b"IDAT", &[0x78, 1, 1, 2, 0, 0xfd, 0xff, 0, 1, 0, 3, 0, 2]);
        chunk(b"IEND", &[]);
        panic::set_hook(Box::new(|_| {}));
        let result = decode::<u8>(&bytes);
        let _ = panic::take_hook();
        assert!(matches!(result, Err(ImageError::Damaged(_))), "{result:?}");
    }

    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
            })
        })
    }

    #[test]
    fn what_is_no_image_is_called_by_its_name() {
        for (bytes, what) in [
            (&b""[..], "empty"),
            (b"GIF89a", "GIF"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
            (b"\0\0\0\x18ftypheic", "HEIC"),
            (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
            (b"<!DOCTYPE html>", "web page"),
            (b"hello", "something else"),
        ] {
            let told = decode::<u8>(bytes).unwrap_err().to_string();
            assert!(told.contains(what), "{told}");
        }
    }
}
