//! Frames of a video that comes through a pipe, as YUV4MPEG2 or as bare pixels.

use std::io::{self, BufRead, Read};

use oxidet_proto::y4m::{self, Header, Y4mError};
use oxidet_vision::image::Yuv;
use oxidet_vision::{Image, Picture};

/// What the frames of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFormat {
    /// YUV4MPEG2, which says all about itself.
    Y4m,
    /// Bare pixels, row by row, nothing between frames.
    Raw {
        /// Pixels per row.
        width: usize,
        /// Rows.
        height: usize,
        /// What a pixel is.
        pixel: PixelFormat,
    },
}

/// What a pixel of a bare frame is; the names are ffmpeg's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// Red, green, blue.
    Rgb24,
    /// Blue, green, red.
    Bgr24,
    /// Luma.
    Gray,
    /// Luma of 16 bits, the lower byte first.
    Gray16le,
}

impl PixelFormat {
    /// All, by name.
    pub const ALL: [(&str, Self); 4] =
        [("rgb24", Self::Rgb24), ("bgr24", Self::Bgr24), ("gray", Self::Gray), ("gray16le", Self::Gray16le)];

    fn bytes(self) -> usize {
        match self {
            Self::Rgb24 | Self::Bgr24 => 3,
            Self::Gray => 1,
            Self::Gray16le => 2,
        }
    }
}

/// A stream that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A header or a frame line.
    #[error(transparent)]
    Y4m(#[from] Y4mError),
    /// The stream ends within a frame.
    #[error("the stream ends in the middle of frame {0}: it was cut off, or its frames have another size")]
    CutOff(usize),
    /// Gray values of another depth than the network reads.
    #[error("the frames have {found} bits per channel where the network reads {wanted}")]
    Depth {
        /// Bits of the frames.
        found: u8,
        /// Bits that the network reads.
        wanted: u8,
    },
}

/// The frames of a stream, one after the other.
pub struct Frames {
    reader: Box<dyn BufRead + Send>,
    format: FrameFormat,
    header: Option<Header>,
    buffer: Vec<u8>,
    count: usize,
}

impl Frames {
    /// Frames out of `reader`.
    ///
    /// # Errors
    /// When it is no stream of that format, or its frames have another depth than `depth` bits per channel.
    pub fn new(
        mut reader: Box<dyn BufRead + Send>,
        format: FrameFormat,
        depth: u8,
    ) -> Result<Self, FrameError> {
        let header = match format {
            FrameFormat::Y4m => Some(Header::parse(&line(&mut reader)?.unwrap_or_default())?),
            FrameFormat::Raw { .. } => None,
        };
        let is_deep = matches!(format, FrameFormat::Raw { pixel: PixelFormat::Gray16le, .. });
        let found = if is_deep { 16 } else { 8 };
        if found != depth {
            return Err(FrameError::Depth { found, wanted: depth });
        }
        Ok(Self { reader, format, header, buffer: Vec::new(), count: 0 })
    }

    /// The next frame; `None` at the end.
    fn read(&mut self) -> Result<Option<Picture>, FrameError> {
        let len = match (self.format, self.header) {
            (FrameFormat::Raw { width, height, pixel }, _) => width * height * pixel.bytes(),
            (FrameFormat::Y4m, header) => {
                let Some(line) = line(&mut self.reader)? else { return Ok(None) };
                y4m::check_frame_line(&line)?;
                header.map_or(0, |header| header.frame_len())
            }
        };
        self.buffer.clear();
        self.reader.by_ref().take(len as u64).read_to_end(&mut self.buffer)?;
        if self.buffer.is_empty() && self.header.is_none() {
            return Ok(None);
        }
        if self.buffer.len() < len {
            return Err(FrameError::CutOff(self.count));
        }
        self.count += 1;
        Ok(Some(self.picture()))
    }

    /// The frame in the buffer.
    fn picture(&self) -> Picture {
        if let Some(header) = &self.header {
            let Header { width, height, full_range, .. } = *header;
            let yuv = Yuv { width, height, chroma: header.chroma_size(), full_range, planes: &self.buffer };
            return yuv.to_image().into();
        }
        let FrameFormat::Raw { width, height, pixel } = self.format else {
            unreachable!("a stream without header is raw")
        };
        let mut data = self.buffer.clone();
        match pixel {
            PixelFormat::Gray16le => {
                let (pairs, _) = data.as_chunks::<2>();
                let data = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
                return Image { width, height, channels: 1, data }.into();
            }
            PixelFormat::Bgr24 => data.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2)),
            PixelFormat::Rgb24 | PixelFormat::Gray => {}
        }
        Image { width, height, channels: pixel.bytes(), data }.into()
    }
}

impl Iterator for Frames {
    type Item = Result<Picture, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The next line, without its end; `None` at the end of the stream.
fn line(reader: &mut dyn BufRead) -> Result<Option<Vec<u8>>, FrameError> {
    let mut line = Vec::new();
    reader.take(y4m::MAX_LINE as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bytes: &'static [u8], format: FrameFormat) -> Result<Vec<Picture>, String> {
        let frames = Frames::new(Box::new(bytes), format, 8).map_err(|error| error.to_string())?;
        frames.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    #[test]
    fn both_kinds_of_streams_give_the_same_frames() {
        let y4m = frames(
            b"YUV4MPEG2 W2 H1 Cmono XCOLORRANGE=FULL\nFRAME\n\x01\x02FRAME Ip\n\x03\x0a",
            FrameFormat::Y4m,
        );
        let raw = FrameFormat::Raw { width: 2, height: 1, pixel: PixelFormat::Gray };
        let raw = frames(b"\x01\x02\x03\x0a", raw).unwrap();
        assert_eq!(raw.len(), 2);
        assert_eq!(y4m.unwrap(), raw);
        let [bgr, rgb] = [PixelFormat::Bgr24, PixelFormat::Rgb24]
            .map(|pixel| frames(b"\x01\x02\x03", FrameFormat::Raw { width: 1, height: 1, pixel }).unwrap());
        let pixel =
            |data: [u8; 3]| Picture::from(Image { width: 1, height: 1, channels: 3, data: data.to_vec() });
        assert_eq!((bgr, rgb), (vec![pixel([3, 2, 1])], vec![pixel([1, 2, 3])]));
    }

    #[test]
    fn what_is_cut_off_or_no_stream_is_told() {
        let cut = frames(b"YUV4MPEG2 W2 H1 Cmono\nFRAME\n\x01\x02FRAME\n\x03", FrameFormat::Y4m).unwrap_err();
        assert!(cut.contains("in the middle of frame 1"), "{cut}");
        let raw = FrameFormat::Raw { width: 2, height: 2, pixel: PixelFormat::Gray };
        assert!(frames(b"123", raw).unwrap_err().contains("frame 0"));
        assert!(frames(b"JFIF", FrameFormat::Y4m).unwrap_err().contains("YUV4MPEG2"));
        assert!(frames(b"YUV4MPEG2 W2 H1 Cmono\nBOOM\n", FrameFormat::Y4m).unwrap_err().contains("FRAME"));
        let deep = FrameFormat::Raw { width: 1, height: 1, pixel: PixelFormat::Gray16le };
        assert!(frames(b"\x01\x02", deep).unwrap_err().contains("16 bits"));
        assert_eq!(frames(b"YUV4MPEG2 W2 H1 Cmono\n", FrameFormat::Y4m), Ok(vec![]));
    }
}
