//! JPEG data to pixels: damage that the decoder notices is an error, where by default it goes on with gray. It does not notice data
//! that end early with an end-of-image marker behind them.

use image::{ColorType, DynamicImage, GrayImage, RgbImage};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use super::ImageError;

pub(super) const MAGIC: &[u8] = &[0xff, 0xd8];

/// Decodes a file whose head has been read: its size and what its pixels are.
pub(super) fn decode(
    bytes: &[u8],
    (width, height): (u32, u32),
    color: ColorType,
) -> Result<DynamicImage, ImageError> {
    check(bytes)?;
    let space = if color.has_color() { ColorSpace::RGB } else { ColorSpace::Luma };
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(space)
        .set_strict_mode(true)
        .set_max_width(width as usize)
        .set_max_height(height as usize);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().map_err(|error| ImageError::Damaged(error.to_string()))?;
    let image = if color.has_color() {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
    } else {
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8)
    };
    image.ok_or(ImageError::Truncated)
}

/// The components of a frame, as its header has them.
struct Frame {
    progressive: bool,
    /// Horizontal and vertical sampling factors.
    sampling: Vec<(u8, u8)>,
}

/// Whether a file reaches its end-of-image marker, which decoders do not mind, and is of a kind that is decoded rightly.
///
/// Walks the segments (ITU T.81, annex B): outside entropy-coded data each marker but `FFD0`–`FFD9` and `FF01` has a length;
/// inside, `FF00` is data and `FFD0`–`FFD7` restart it.
fn check(bytes: &[u8]) -> Result<(), ImageError> {
    let mut at = MAGIC.len();
    let (mut frame, mut scans) = (None::<Frame>, 0);
    while let Some(skip) =
        bytes.get(at..).and_then(|rest| rest.windows(2).position(|w| w[0] == 0xff && w[1] != 0xff))
    {
        at += skip + 2;
        let marker = bytes[at - 1];
        match marker {
            0xd9 => return Ok(()),
            0x00 | 0x01 | 0xd0..=0xd7 => continue,
            0xd8 => return Err(ImageError::Damaged("a second image begins inside of it".into())),
            _ => {}
        }
        let length = bytes.get(at..at + 2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])));
        let segment = length.and_then(|length| bytes.get(at + 2..at + length));
        let (Some(length), Some(segment)) = (length, segment) else { return Err(ImageError::Truncated) };
        at += length;
        match marker {
            0xc0..=0xc2 => frame = Some(Frame::read(marker, segment)),
            0xda => {
                scans += 1;
                if bytes[at..].starts_with(&[0xff, 0xd9]) {
                    return Err(ImageError::Truncated);
                }
                let components = segment.first().copied().unwrap_or_default();
                if let Some(frame) = frame.as_ref().filter(|_| scans == 1) {
                    frame.check(components.into())?;
                }
            }
            _ => {}
        }
    }
    Err(ImageError::Truncated)
}

impl Frame {
    fn read(marker: u8, segment: &[u8]) -> Self {
        let components = segment.get(6..).unwrap_or_default().chunks_exact(3);
        let sampling = components.map(|component| (component[1] >> 4, component[1] & 15)).collect();
        Self { progressive: marker == 0xc2, sampling }
    }

    /// Refuses what the decoder reads without complaint and wrongly.
    fn check(&self, in_first_scan: usize) -> Result<(), ImageError> {
        let subsampled = self.sampling.len() > 1 && self.sampling.iter().any(|&factors| factors != (1, 1));
        if subsampled && !self.progressive && in_first_scan < self.sampling.len() {
            return Err(ImageError::Unsupported(
                "a baseline JPEG in several scans, with fewer values for colour",
            ));
        }
        let first = self.sampling.first().copied().unwrap_or_default();
        if self.sampling.iter().any(|&(h, v)| h > first.0 || v > first.1) {
            return Err(ImageError::Unsupported("a JPEG with more values for colour than for brightness"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;
    use crate::image::codec::{decode as decode_any, encode_jpeg};

    fn picture() -> Vec<u8> {
        let data = (0..64 * 48 * 3).map(|i| (i * 37 % 251) as u8).collect();
        encode_jpeg(&Image { width: 64, height: 48, channels: 3, data }, 90).unwrap()
    }

    /// Where the entropy-coded data begins.
    fn scan(bytes: &[u8]) -> usize {
        let sos = bytes.windows(2).position(|w| w == [0xff, 0xda]).unwrap();
        sos + 2 + usize::from(u16::from_be_bytes([bytes[sos + 2], bytes[sos + 3]]))
    }

    #[test]
    fn what_is_missing_is_not_made_up() {
        let whole = picture();
        assert!(decode_any::<u8>(&whole).is_ok());
        let start = scan(&whole);
        let mut empty = whole[..start].to_vec();
        empty.extend([0xff, 0xd9]);
        assert!(decode_any::<u8>(&empty).is_err(), "no data");
        for kept in [0, 10, (whole.len() - start) / 2] {
            let mut cut = whole[..start + kept].to_vec();
            cut.extend(&whole);
            assert!(decode_any::<u8>(&cut).is_err(), "{kept} bytes of data and then the image again");
        }
    }

    #[test]
    fn frames_that_decode_to_something_else_are_refused() {
        let frame = |progressive, sampling: &[(u8, u8)]| Frame { progressive, sampling: sampling.to_vec() };
        for (frame, in_first_scan, good) in [
            (frame(false, &[(2, 2), (1, 1), (1, 1)]), 3, true),
            (frame(false, &[(2, 2), (1, 1), (1, 1)]), 1, false),
            (frame(true, &[(2, 2), (1, 1), (1, 1)]), 1, true),
            (frame(false, &[(1, 1), (1, 1), (1, 1)]), 1, true),
            (frame(false, &[(2, 2)]), 1, true),
            (frame(false, &[(1, 1), (2, 2), (1, 1)]), 3, false),
        ] {
            assert_eq!(frame.check(in_first_scan).is_ok(), good, "{:?} {in_first_scan}", frame.sampling);
        }
    }
}
