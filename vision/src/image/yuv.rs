//! Video frames: luma and colour differences, as ITU-R BT.601 defines them.

use super::Image;

/// Planes of a frame: Y of the frame's size, Cb and Cr of `chroma` columns and rows, which are fewer where pixels share a colour.
#[derive(Clone, Copy, Debug)]
pub struct Yuv<'a> {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Columns and rows of Cb and Cr; (0, 0) of gray.
    pub chroma: (usize, usize),
    /// Whether values run from 0 to 255; else luma runs from 16 to 235, and colours from 16 to 240.
    pub full_range: bool,
    /// Y, Cb, Cr, one after the other.
    pub planes: &'a [u8],
}

impl Yuv<'_> {
    /// The frame in red, green and blue, or as luma.
    ///
    /// # Panics
    /// When there are fewer bytes than the sizes say.
    pub fn to_image(&self) -> Image {
        let Self { width, height, chroma: (columns, rows), full_range, planes } = *self;
        let (luma, colour) = planes.split_at(width * height);
        let (offset, luma_scale, colour_scale) =
            if full_range { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
        let stretched = |y: u8| (f32::from(y) - offset) * luma_scale;
        if columns == 0 {
            let data = luma.iter().map(|y| to_byte(stretched(*y))).collect();
            return Image { width, height, channels: 1, data };
        }
        let (cb, cr) = colour.split_at(columns * rows);
        let (wide, high) = (width.div_ceil(columns), height.div_ceil(rows));
        let mut data = Vec::with_capacity(3 * width * height);
        for (row, line) in luma.chunks_exact(width).enumerate() {
            let first = row / high * columns;
            for (column, y) in line.iter().enumerate() {
                let at = first + column / wide;
                let [b, r] = [cb[at], cr[at]].map(|c| (f32::from(c) - 128.0) * colour_scale);
                let y = stretched(*y);
                data.extend([y + 1.402 * r, y - 0.344_136 * b - 0.714_136 * r, y + 1.772 * b].map(to_byte));
            }
        }
        Image { width, height, channels: 3, data }
    }
}

fn to_byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Colours of BT.601 as Pillow and ffmpeg convert them, in both ranges.
    #[test]
    fn colours_are_those_of_the_standard() {
        for (full_range, [y, cb, cr], rgb) in [
            (false, [16, 128, 128], [0, 0, 0]),
            (false, [235, 128, 128], [255, 255, 255]),
            (false, [81, 90, 240], [254, 0, 0]),
            (false, [145, 54, 34], [0, 255, 1]),
            (true, [76, 85, 255], [254, 0, 0]),
            (true, [150, 44, 21], [0, 255, 1]),
            (true, [29, 255, 107], [0, 0, 254]),
        ] {
            let yuv = Yuv { width: 1, height: 1, chroma: (1, 1), full_range, planes: &[y, cb, cr] };
            assert_eq!(yuv.to_image().data, rgb, "{y} {cb} {cr}");
        }
    }

    #[test]
    fn pixels_share_colours_also_at_odd_edges() {
        // 3 x 3 pixels, 2 x 2 colours: white luma, and a red that only the last colour has.
        let mut planes = vec![128; 9 + 4 + 4];
        planes[16] = 255;
        let image = Yuv { width: 3, height: 3, chroma: (2, 2), full_range: true, planes: &planes }.to_image();
        let red: Vec<bool> = image.data.chunks(3).map(|pixel| pixel[0] > pixel[1]).collect();
        assert_eq!(red, [false, false, false, false, false, false, false, false, true]);
        let gray =
            Yuv { width: 3, height: 3, chroma: (0, 0), full_range: false, planes: &planes[..9] }.to_image();
        assert_eq!((gray.channels, gray.data[0]), (1, 130));
    }
}
