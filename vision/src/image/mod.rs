//! Images in memory, colour or gray: 8 bits per channel, or 16 for networks that read gray images of that depth.

mod codec;
mod jpeg;
mod picture;
mod resize;
mod subpixel;
mod yuv;

pub use codec::{Header, decode, encode_jpeg, encode_png, header};
pub use picture::Picture;
pub use resize::{resize, resize_part};
pub use subpixel::Subpixel;
pub use yuv::Yuv;

/// An image, rows from the top, channels interleaved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<S = u8> {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 3 (red, green, blue) or 1 (luma).
    pub channels: usize,
    /// `[height, width, channels]`
    pub data: Vec<S>,
}

impl<S: Subpixel> Image<S> {
    /// An image of one colour; `pixel` has one value per channel.
    pub fn filled(width: usize, height: usize, pixel: &[S]) -> Self {
        Self { width, height, channels: pixel.len(), data: pixel.repeat(width * height) }
    }

    /// The mean of each channel over all pixels, in channel order.
    pub fn channel_means(&self) -> Vec<f64> {
        /// Values added up side by side: a multiple of the channels, and of the lanes of a vector.
        const BLOCK: usize = 48;
        let mut sums = [0u64; BLOCK];
        // Sums of 16-bit values over this many blocks fit 32 bits.
        for part in self.data.chunks(BLOCK << 15) {
            let mut part_sums = [0u32; BLOCK];
            let (blocks, rest) = part.as_chunks::<BLOCK>();
            for block in blocks {
                part_sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += (*value).into());
            }
            part_sums.iter_mut().zip(rest).for_each(|(sum, value)| *sum += (*value).into());
            sums.iter_mut().zip(part_sums).for_each(|(sum, part)| *sum += u64::from(part));
        }
        let pixels = (self.width * self.height).max(1) as f64;
        let channel = |c| sums.iter().skip(c).step_by(self.channels).sum::<u64>() as f64 / pixels;
        (0..self.channels).map(channel).collect()
    }

    /// The mean colour, rounded: what padding is filled with.
    pub fn mean_pixel(&self) -> Vec<S> {
        self.channel_means().iter().map(|mean| S::from_f32(mean.round_ties_even() as f32)).collect()
    }

    /// The same picture with red, green and blue.
    pub fn to_color(&self) -> Self {
        if self.channels == 3 {
            return self.clone();
        }
        let data = self.data.iter().flat_map(|luma| [*luma; 3]).collect();
        Self { channels: 3, data, ..*self }
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
    #[error("not a JPEG or PNG image but {0}; convert it, or take it out of the folder")]
    UnknownFormat(&'static str),
    /// Damaged, or of a kind the decoder does not know.
    #[error("the image is damaged or unsupported: {0}")]
    Damaged(String),
    /// A kind that is not decoded.
    #[error("the image is {0}, which cannot be read; save it again with another program")]
    Unsupported(&'static str),
    /// The file ends before the image does.
    #[error("the image is cut off: the file ends before the picture does")]
    Truncated,
    /// Not the depth that was asked for.
    #[error(
        "the image has {found} bits per channel where {wanted} are needed (output_depth in the spec's augmentation_config); \
         convert the image or change the spec"
    )]
    Depth {
        /// Bits per channel of the file.
        found: u8,
        /// Bits per channel that the network reads.
        wanted: u8,
    },
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
