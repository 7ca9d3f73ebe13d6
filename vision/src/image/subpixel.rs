//! The two kinds of channel values.

use fast_image_resize::PixelTrait;
use fast_image_resize::pixels::{U8, U8x3, U16, U16x3};

use super::{Image, Picture};

/// A channel value of a pixel: `u8` or `u16`.
pub trait Subpixel: Copy + Default + PartialEq + Into<u32> + Send + Sync + sealed::Bytes + 'static {
    /// Bits.
    const DEPTH: u8;
    /// The brightest value.
    const MAX: f32;

    /// The value as it is.
    fn to_f32(self) -> f32;

    /// The nearest value, halves upwards; what is out of range becomes the nearest end of it.
    fn from_f32(value: f32) -> Self;

    /// The image of this depth in `picture`, if it is of this depth.
    fn view(picture: &Picture) -> Option<&Image<Self>>;
}

impl Subpixel for u8 {
    const DEPTH: u8 = 8;
    const MAX: f32 = 255.0;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.into()
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        round(value, <Self as Subpixel>::MAX) as Self
    }

    fn view(picture: &Picture) -> Option<&Image<Self>> {
        if let Picture::Eight(image) = picture { Some(image) } else { None }
    }
}

impl Subpixel for u16 {
    const DEPTH: u8 = 16;
    const MAX: f32 = 65535.0;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.into()
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        round(value, <Self as Subpixel>::MAX) as Self
    }

    fn view(picture: &Picture) -> Option<&Image<Self>> {
        if let Picture::Sixteen(image) = picture { Some(image) } else { None }
    }
}

/// `value` rounded, between 0 and `most`, which is below 2³¹; 0 when it is no number. Made for loops: compilers turn this into
/// vectors, and a checked cast not.
#[inline(always)]
#[expect(unsafe_code, reason = "the innermost loop of resizing: `as` would check again what is known")]
fn round(value: f32, most: f32) -> i32 {
    let inside = (value + 0.5).max(0.0).min(most);
    // SAFETY: `max` has made 0 of a NaN, and nothing is beyond `most`.
    unsafe { inside.to_int_unchecked() }
}

pub(super) mod sealed {
    use super::{PixelTrait, U8, U8x3, U16, U16x3};

    /// What codec and resize need to know of a [`Subpixel`](super::Subpixel).
    pub trait Bytes: Sized {
        /// How the resizer calls pixels of one channel.
        type Gray: PixelTrait;
        /// How the resizer calls pixels of three channels.
        type Color: PixelTrait;

        /// The values as bytes in the order of the machine.
        fn as_bytes(values: &[Self]) -> &[u8];
        /// The same, to write to.
        fn as_bytes_mut(values: &mut [Self]) -> &mut [u8];
        /// Values from bytes in the order of the machine.
        fn from_bytes(bytes: Vec<u8>) -> Vec<Self>;
    }

    impl Bytes for u8 {
        type Gray = U8;
        type Color = U8x3;

        fn as_bytes(values: &[Self]) -> &[u8] {
            values
        }

        fn as_bytes_mut(values: &mut [Self]) -> &mut [u8] {
            values
        }

        fn from_bytes(bytes: Vec<u8>) -> Vec<Self> {
            bytes
        }
    }

    impl Bytes for u16 {
        type Gray = U16;
        type Color = U16x3;

        fn as_bytes(values: &[Self]) -> &[u8] {
            bytemuck::cast_slice(values)
        }

        fn as_bytes_mut(values: &mut [Self]) -> &mut [u8] {
            bytemuck::cast_slice_mut(values)
        }

        fn from_bytes(bytes: Vec<u8>) -> Vec<Self> {
            bytemuck::pod_collect_to_vec(&bytes)
        }
    }
}
