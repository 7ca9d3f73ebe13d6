//! An image of a depth that is known at run time only.

use super::{Image, ImageError, Subpixel, decode};

/// An image of either depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// 8 bits per channel.
    Eight(Image<u8>),
    /// 16 bits per channel.
    Sixteen(Image<u16>),
}

impl Picture {
    /// Reads a JPEG or PNG file of `depth` bits per channel (16, or else 8).
    ///
    /// # Errors
    /// [`ImageError`], also when the file has another depth.
    pub fn decode(bytes: &[u8], depth: u8) -> Result<Self, ImageError> {
        Ok(if depth == u16::DEPTH { Self::Sixteen(decode(bytes)?) } else { Self::Eight(decode(bytes)?) })
    }

    /// Pixels per row, and rows.
    pub fn size(&self) -> (usize, usize) {
        match self {
            Self::Eight(image) => (image.width, image.height),
            Self::Sixteen(image) => (image.width, image.height),
        }
    }

    /// Bytes of its pixels.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Eight(image) => image.data.len(),
            Self::Sixteen(image) => 2 * image.data.len(),
        }
    }

    /// The image as people want to see it: 8 bits per channel; of 16 bits, the range between the darkest and the brightest
    /// value, since sensors rarely use all of it.
    pub fn to_viewable(&self) -> Image {
        match self {
            Self::Eight(image) => image.clone(),
            Self::Sixteen(Image { width, height, channels, data }) => {
                let (low, high) =
                    data.iter().fold((u16::MAX, 0), |(low, high), v| (low.min(*v), high.max(*v)));
                let scale = 255.0 / f32::from(high.saturating_sub(low).max(1));
                let data = data.iter().map(|v| u8::from_f32(f32::from(v - low) * scale)).collect();
                Image { width: *width, height: *height, channels: *channels, data }
            }
        }
    }
}

impl From<Image> for Picture {
    fn from(image: Image) -> Self {
        Self::Eight(image)
    }
}

impl From<Image<u16>> for Picture {
    fn from(image: Image<u16>) -> Self {
        Self::Sixteen(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_are_stretched_for_the_eye() {
        let dim = Image { width: 3, height: 1, channels: 1, data: vec![1000u16, 1100, 1200] };
        let seen = Picture::from(dim).to_viewable();
        assert_eq!(seen.data, [0, 128, 255]);
        let flat = Picture::from(Image::filled(2, 2, &[700u16]));
        assert_eq!(flat.to_viewable().data, [0; 4]);
        assert_eq!(flat.bytes(), 8);
    }
}
