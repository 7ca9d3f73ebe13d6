//! Small pictures inside the page.

use std::path::Path;

use oxidet_vision::draw::{Label, draw_detections};
use oxidet_vision::image::{encode_jpeg, resize};
use oxidet_vision::{Image, PxBox};

use crate::data::{Object, read_picture};

/// Width and height a thumbnail fits into, in pixels.
const ROOM: (f64, f64) = (420.0, 315.0);
/// Width of the boxes' lines, in pixels.
const LINE: u8 = 3;
/// JPEG quality, 1 to 100.
const QUALITY: u8 = 80;

/// A small picture of an image.
#[derive(Clone, Debug)]
pub(crate) struct Thumbnail {
    image: Image,
    /// Its pixels per pixel of the image.
    scale: f32,
}

/// A thumbnail of an image file of `depth` bits per channel; nothing when it cannot be read.
pub(crate) fn thumbnail(path: &Path, depth: u8) -> Option<Thumbnail> {
    let image = read_picture(path, depth).ok()?.to_viewable().to_color();
    let (w, h) = (image.width as f64, image.height as f64);
    let scale = (ROOM.0 / w).min(ROOM.1 / h).min(4.0);
    let side = |pixels: f64| ((pixels * scale).round() as usize).max(1);
    Some(Thumbnail { image: resize(&image, side(w), side(h)), scale: scale as f32 })
}

impl Thumbnail {
    /// With boxes drawn into it, in pixels of the image.
    pub(crate) fn with_boxes(mut self, objects: &[Object]) -> Self {
        // The colour names the class. The page shows pictures smaller than they are, so that lines must be wide.
        let scale = self.scale;
        let labels = objects.iter().flat_map(|object| {
            let b = object.bbox;
            (0..LINE).map(move |inset| {
                let low = |v: f32| v * scale + f32::from(inset);
                let high = |v: f32| v * scale - f32::from(inset);
                let bbox = PxBox { x1: low(b.x1), y1: low(b.y1), x2: high(b.x2), y2: high(b.y2) };
                Label { bbox, class: object.class, text: String::new() }
            })
        });
        draw_detections(&mut self.image, &labels.collect::<Vec<_>>());
        self
    }

    /// As a `data:` address.
    pub(crate) fn uri(&self) -> Option<String> {
        let jpeg = encode_jpeg(&self.image, QUALITY).ok()?;
        Some(format!("data:image/jpeg;base64,{}", base64(&jpeg)))
    }
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(group.get(i).copied().unwrap_or(0)));
        for digit in 0..4 {
            let used = digit <= group.len();
            let value = (bits >> (18 - 6 * digit) & 63) as usize;
            out.push(if used { char::from(DIGITS[value]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 4648, section 10.
    #[test]
    fn base64_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
