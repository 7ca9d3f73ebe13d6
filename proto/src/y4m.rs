//! YUV4MPEG2, uncompressed video as programs hand it through pipes (`ffmpeg -i video.mp4 -f yuv4mpegpipe -`): a header line, then
//! frames, each a line `FRAME…` and the planes Y, Cb, Cr.
//!
//! Description: <https://wiki.multimedia.cx/index.php/YUV4MPEG2>.

/// Longest header or frame line that is read, in bytes.
pub const MAX_LINE: usize = 1 << 10;

/// First bytes of a stream.
pub const MAGIC: &[u8] = b"YUV4MPEG2";

/// Most pixels a side.
const MAX_SIDE: usize = 1 << 14;

/// What the header line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// How colour is stored.
    pub chroma: Chroma,
    /// Whether values run from 0 to 255 (`XCOLORRANGE=FULL`), not from 16 to 235.
    pub full_range: bool,
}

/// Columns and rows of pixels that share one colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chroma {
    /// No colour.
    Mono,
    /// 2 × 2.
    Yuv420,
    /// 2 × 1.
    Yuv422,
    /// 1 × 1.
    Yuv444,
}

/// What is no stream, or none that is understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Y4mError {
    /// Other bytes.
    #[error("not a YUV4MPEG2 stream: it does not begin with YUV4MPEG2")]
    NoStream,
    /// A width or height.
    #[error("the stream's header names no width and height between 1 and 16384 (W and H)")]
    Size,
    /// A kind of colour.
    #[error(
        "the stream's colours are {0:?}; 420, 422, 444 and mono of 8 bits are read (ffmpeg: -pix_fmt yuv420p)"
    )]
    Chroma(String),
    /// Between frames.
    #[error("a frame does not begin with FRAME")]
    NoFrame,
}

impl Header {
    /// Reads the header line, without its end.
    ///
    /// # Errors
    /// [`Y4mError`]
    pub fn parse(line: &[u8]) -> Result<Self, Y4mError> {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace();
        if words.next().map(str::as_bytes) != Some(MAGIC) {
            return Err(Y4mError::NoStream);
        }
        let (mut width, mut height) = (None, None);
        let (mut chroma, mut full_range) = (Chroma::Yuv420, false);
        for word in words {
            let (tag, value) = word.split_at_checked(1).unwrap_or((word, ""));
            match tag {
                "W" => width = value.parse().ok(),
                "H" => height = value.parse().ok(),
                "C" => chroma = Chroma::parse(value)?,
                "X" if value == "COLORRANGE=FULL" => full_range = true,
                _ => {}
            }
        }
        match (width, height) {
            (Some(width @ 1..=MAX_SIDE), Some(height @ 1..=MAX_SIDE)) => {
                Ok(Self { width, height, chroma, full_range })
            }
            _ => Err(Y4mError::Size),
        }
    }

    /// Bytes of a frame behind its line.
    pub fn frame_len(&self) -> usize {
        let (columns, rows) = self.chroma_size();
        self.width * self.height + 2 * columns * rows
    }

    /// Columns and rows of the colour planes; none of gray.
    pub fn chroma_size(&self) -> (usize, usize) {
        match self.chroma {
            Chroma::Mono => (0, 0),
            Chroma::Yuv420 => (self.width.div_ceil(2), self.height.div_ceil(2)),
            Chroma::Yuv422 => (self.width.div_ceil(2), self.height),
            Chroma::Yuv444 => (self.width, self.height),
        }
    }
}

impl Chroma {
    fn parse(value: &str) -> Result<Self, Y4mError> {
        match value {
            "mono" => Ok(Self::Mono),
            // They differ in where colours lie between pixels, by less than one.
            "420" | "420jpeg" | "420mpeg2" | "420paldv" => Ok(Self::Yuv420),
            "422" => Ok(Self::Yuv422),
            "444" => Ok(Self::Yuv444),
            _ => Err(Y4mError::Chroma(value.to_owned())),
        }
    }
}

/// Whether a line begins a frame.
///
/// # Errors
/// [`Y4mError::NoFrame`]
pub fn check_frame_line(line: &[u8]) -> Result<(), Y4mError> {
    if line == b"FRAME" || line.starts_with(b"FRAME ") { Ok(()) } else { Err(Y4mError::NoFrame) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_ffmpeg_are_understood() {
        let header =
            Header::parse(b"YUV4MPEG2 W5 H3 F25:1 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE=LIMITED")
                .unwrap();
        assert_eq!(header, Header { width: 5, height: 3, chroma: Chroma::Yuv420, full_range: false });
        assert_eq!(header.frame_len(), 15 + 2 * 3 * 2);
        let header = Header::parse(b"YUV4MPEG2 H480 W640 C422 XCOLORRANGE=FULL").unwrap();
        assert_eq!(header, Header { width: 640, height: 480, chroma: Chroma::Yuv422, full_range: true });
        assert_eq!(Header::parse(b"YUV4MPEG2 W2 H2 Cmono").unwrap().frame_len(), 4);
        assert_eq!(Header::parse(b"YUV4MPEG2 W2 H2").unwrap().chroma, Chroma::Yuv420);
    }

    #[test]
    fn other_streams_are_told() {
        for (line, want) in [
            (&b"RIFF"[..], Y4mError::NoStream),
            (b"", Y4mError::NoStream),
            (b"YUV4MPEG2 W0 H2", Y4mError::Size),
            (b"YUV4MPEG2 W99999999999999999999 H2", Y4mError::Size),
            (b"YUV4MPEG2 W2 H2 C420p10", Y4mError::Chroma("420p10".into())),
            (b"YUV4MPEG2 W2 \xff\xfe", Y4mError::Size),
        ] {
            assert_eq!(Header::parse(line), Err(want));
        }
        assert_eq!(check_frame_line(b"FRAME Ip"), Ok(()));
        assert_eq!(check_frame_line(b"FRAMES"), Err(Y4mError::NoFrame));
    }
}
