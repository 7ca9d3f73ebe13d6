//! Images in memory: 8 bits per channel, colour or gray.

mod codec;
mod resize;

pub use codec::{decode, dimensions, encode_jpeg, encode_png};
pub use resize::resize;

/// An 8-bit image, rows from the top, channels interleaved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 3 (red, green, blue) or 1 (luma).
    pub channels: usize,
    /// `[height, width, channels]`
    pub data: Vec<u8>,
}

impl Image {
    /// An image of one colour; `pixel` has one value per channel.
    pub fn filled(width: usize, height: usize, pixel: &[u8]) -> Self {
        Self { width, height, channels: pixel.len(), data: pixel.repeat(width * height) }
    }

    /// The mean of each channel over all pixels, in channel order.
    pub fn channel_means(&self) -> Vec<f64> {
        let mut sums = vec![0u64; self.channels];
        for pixel in self.data.chunks_exact(self.channels) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += u64::from(*value);
            }
        }
        sums.iter().map(|sum| *sum as f64 / (self.width * self.height).max(1) as f64).collect()
    }

    /// Copies `from` into this image with its top left corner at (`left`, `top`); what falls outside is left out.
    ///
    /// # Panics
    /// When the numbers of channels differ.
    pub fn paste(&mut self, from: &Self, left: isize, top: isize) {
        assert_eq!(self.channels, from.channels, "channels of the pasted image");
        let (first, last) = (left.max(0), (left + from.width as isize).min(self.width as isize));
        if first >= last {
            return;
        }
        let len = (last - first) as usize * self.channels;
        for row in top.max(0)..(top + from.height as isize).min(self.height as isize) {
            let to = (row as usize * self.width + first as usize) * self.channels;
            let at = ((row - top) as usize * from.width + (first - left) as usize) * self.channels;
            self.data[to..to + len].copy_from_slice(&from.data[at..at + len]);
        }
    }
}

/// An image that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Not a JPEG or PNG file.
    #[error("not a JPEG or PNG image; convert it, or take it out of the folder")]
    UnknownFormat,
    /// Damaged, or of a kind the decoder does not know.
    #[error("the image is damaged or unsupported: {0}")]
    Decode(#[source] image::ImageError),
    /// The file ends before the image does.
    #[error("the image is cut off: the file ends before the picture does")]
    Truncated,
    /// 16 bits per channel.
    #[error("the image has 16 bits per channel; this version reads 8-bit images")]
    SixteenBit,
    /// Larger than anything a network is fed with.
    #[error(
        "the image is {width}x{height} pixels; at most {max} a side and {max_megapixels} megapixels are read"
    )]
    TooLarge {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Most pixels a side.
        max: u32,
        /// Most pixels in all, in millions.
        max_megapixels: u64,
    },
    /// No pixels.
    #[error("the image has no pixels")]
    Empty,
    /// Writing failed.
    #[error("the image cannot be encoded: {0}")]
    Encode(#[source] image::ImageError),
}
