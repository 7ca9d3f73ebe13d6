//! TensorRT's INT8 calibration cache: the step of each tensor, under the version and the method that found it. Format page:
//! `docs/formats/calibration-cache.md`.
//!
//! A cache that exists can be written and read back: it is only built by [`CalibrationCache::push`], which refuses everything else.

mod header;

use std::collections::HashMap;

use crate::label_error::excerpt;
pub use header::{Algorithm, CacheHeader, NoVersion, TensorRtVersion};

/// Steps between 0 and the end of a tensor's range: INT8 has −127 … 127 of them, and `scale = amax / 127`.
pub const LEVELS: f32 = 127.0;

/// The step of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheEntry {
    tensor: String,
    scale: f32,
}

impl CacheEntry {
    /// Name of the tensor in TensorRT's network, which for ONNX is its name in the file.
    pub fn tensor(&self) -> &str {
        &self.tensor
    }

    /// The step between two levels; 0 of a tensor without a range.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The end of the range, `scale · 127`: `a` stands for −a … a.
    pub fn amax(&self) -> f32 {
        self.scale * LEVELS
    }
}

/// A calibration cache.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationCache {
    /// Who may read it.
    pub header: CacheHeader,
    entries: Vec<CacheEntry>,
    /// Place in `entries` by tensor.
    places: HashMap<String, usize>,
}

/// What no cache can hold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheProblem {
    /// The first line is no header.
    #[error(
        "{0:?} is no header of a calibration cache; it looks like `TRT-8503-EntropyCalibration2`, or is `1` in old files"
    )]
    Header(String),
    /// A line that is no entry.
    #[error("{0:?} is not the name of a tensor, a colon, a space and 1 to 8 hexadecimal digits")]
    Line(String),
    /// A name that does not fit in a line.
    #[error("{0:?} cannot be the name of a tensor in a cache: it is empty or has control characters")]
    Name(String),
    /// A number that is no step.
    #[error(
        "the scale of `{tensor}` is {scale:?}; it must be a number from 0 on, and 127 of it must be one too"
    )]
    Scale {
        /// The tensor.
        tensor: String,
        /// Its number.
        scale: f32,
    },
    /// A second line for a tensor.
    #[error("`{0}` has a line already; which of the two holds is not to be told")]
    Twice(String),
    /// Bytes that are no text.
    #[error("not UTF-8; a calibration cache is text")]
    Text,
}

/// A file that is no calibration cache: the first thing wrong with it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name}:{line}: {problem}")]
pub struct CalibrationCacheError {
    /// Name of the file.
    pub name: String,
    /// Line in it, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: CacheProblem,
}

impl CalibrationCache {
    /// A cache without entries.
    pub fn new(header: CacheHeader) -> Self {
        Self { header, entries: Vec::new(), places: HashMap::new() }
    }

    /// Adds the step of a tensor. Readers use a map, so the order does not matter to them; networks are written front to back.
    ///
    /// # Errors
    /// [`CacheProblem`]: a name that is empty, has control characters or is there already; a step that is negative or not finite.
    pub fn push(&mut self, tensor: &str, scale: f32) -> Result<(), CacheProblem> {
        if tensor.is_empty() || tensor.chars().any(char::is_control) {
            return Err(CacheProblem::Name(tensor.to_owned()));
        }
        if scale.is_sign_negative() || !(scale * LEVELS).is_finite() {
            return Err(CacheProblem::Scale { tensor: tensor.to_owned(), scale });
        }
        if self.places.contains_key(tensor) {
            return Err(CacheProblem::Twice(tensor.to_owned()));
        }
        self.places.insert(tensor.to_owned(), self.entries.len());
        self.entries.push(CacheEntry { tensor: tensor.to_owned(), scale });
        Ok(())
    }

    /// A cache of the ends of ranges, in this order: `scale = amax / 127`.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn of_ranges<'a>(
        header: CacheHeader,
        ranges: impl IntoIterator<Item = (&'a String, &'a f32)>,
    ) -> Result<Self, CacheProblem> {
        let mut cache = Self::new(header);
        for (tensor, amax) in ranges {
            cache.push(tensor, amax / LEVELS)?;
        }
        Ok(cache)
    }

    /// The entries in the order of the file.
    pub fn entries(&self) -> &[CacheEntry] {
        &self.entries
    }

    /// The entry of a tensor.
    pub fn entry(&self, tensor: &str) -> Option<&CacheEntry> {
        self.places.get(tensor).map(|place| &self.entries[*place])
    }

    /// Tensors with step 0: always 0 in the images of the calibration, or never seen. TensorRT fails to build with them, or makes
    /// engines that give zeros.
    pub fn dead_tensors(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|entry| entry.scale == 0.0).map(|entry| entry.tensor.as_str())
    }

    /// Whether a file begins as a cache does. What the lines below are is told by [`parse`](Self::parse).
    pub fn is_cache(head: &[u8]) -> bool {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        CacheHeader::begins(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Reads a cache; `name` is for messages. Accepts what writers make: 1 to 8 digits of either case, CR LF, blank lines at the end,
    /// colons in names.
    ///
    /// # Errors
    /// [`CalibrationCacheError`] with the first line that is wrong.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, CalibrationCacheError> {
        let failed = |line, problem| CalibrationCacheError { name: name.to_owned(), line, problem };
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            failed(1 + before.iter().filter(|byte| **byte == b'\n').count(), CacheProblem::Text)
        })?;
        let mut lines = text.trim_end_matches(['\n', '\r']).lines().enumerate();
        let first = lines.next().map_or("", |(_, line)| line);
        let header =
            CacheHeader::parse(first).ok_or_else(|| failed(1, CacheProblem::Header(excerpt(first))))?;
        let mut cache = Self::new(header);
        for (at, line) in lines {
            let failed = |problem| failed(at + 1, problem);
            let (tensor, bits) = entry(line).ok_or_else(|| failed(CacheProblem::Line(excerpt(line))))?;
            cache.push(tensor, f32::from_bits(bits)).map_err(failed)?;
        }
        Ok(cache)
    }

    /// The text of the file: eight digits for each tensor, as some readers want, and a line feed behind every line.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.header);
        for CacheEntry { tensor, scale } in &self.entries {
            text.push_str(&format!("{tensor}: {:08x}\n", scale.to_bits()));
        }
        text
    }
}

/// A line of a tensor: its name and the bits of its scale.
fn entry(line: &str) -> Option<(&str, u32)> {
    let (tensor, digits) = line.rsplit_once(": ")?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten().map(|bits| (tensor, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "TRT-8503-EntropyCalibration2";

    fn parse(text: &str) -> Result<CalibrationCache, String> {
        CalibrationCache::parse("cal.bin", text.as_bytes()).map_err(|error| error.to_string())
    }

    /// The end of the range, the scale, and the digits of the file, as TensorRT and TAO have them.
    #[test]
    fn scales_are_the_bits_of_a_float() {
        for (amax, scale, digits) in [
            (1.0, 0.007_874_016, "3c010204"),
            (0.25, 0.001_968_504, "3b010204"),
            (6.0, 0.047_244_094, "3d418306"),
            (151.061, 1.189_456_7, "3f98401e"),
            (127.0, 1.0, "3f800000"),
            (1.000_244_1, 0.007_875_938, "3c010a14"),
            (255.058_96, 2.008_338_2, "4000889d"),
            (2.640_644_6, 0.020_792_477, "3caa54fc"),
            (0.0, 0.0, "00000000"),
        ] {
            let cache = CalibrationCache::of_ranges(CacheHeader::Legacy, [(&"a/b:0".into(), &amax)]).unwrap();
            assert_eq!(cache.to_text(), format!("1\na/b:0: {digits}\n"), "{amax}");
            assert_eq!(cache.entries()[0].scale(), scale, "{amax}");
            let back = parse(&cache.to_text()).unwrap();
            assert!((back.entries()[0].amax() - amax).abs() <= amax * f32::EPSILON, "{amax}");
        }
    }

    #[test]
    #[cfg_attr(not(shared_data), ignore = "needs ../shared/calib, which is not here")]
    fn a_cache_of_tensorrt_comes_back_byte_for_byte() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/calib/darknet_yolov4-tiny-int8-416.cal.bin");
        let bytes = std::fs::read(path).unwrap();
        assert!(CalibrationCache::is_cache(&bytes));
        let cache = CalibrationCache::parse("cal.bin", &bytes).unwrap();
        assert_eq!(cache.header.version(), TensorRtVersion::new(7, 1, 3));
        assert_eq!(cache.header.algorithm(), Some(&Algorithm::Entropy2));
        assert_eq!((cache.entries().len(), cache.dead_tensors().count()), (76, 0));
        let last = cache.entry("(Unnamed Layer* 77) [PluginV2IOExt]_output_0").unwrap();
        assert_eq!(last.scale().to_bits(), 0x3ef2_22c6);
        assert_eq!(cache.to_text().as_bytes(), bytes);
    }

    #[test]
    fn what_other_writers_make_is_read_and_normalised() {
        let loose = "1\r\nInput: 3F98401E\r\nconv/Relu:0: 3d418306\r\na: b: 1\r\ndead: 0\r\n\r\n\n";
        let cache = parse(loose).unwrap();
        let tensors: Vec<&str> = cache.entries().iter().map(CacheEntry::tensor).collect();
        assert_eq!(tensors, ["Input", "conv/Relu:0", "a: b", "dead"]);
        assert_eq!(cache.dead_tensors().collect::<Vec<_>>(), ["dead"]);
        assert_eq!(cache.entry("a: b").unwrap().scale().to_bits(), 1);
        let strict = "1\nInput: 3f98401e\nconv/Relu:0: 3d418306\na: b: 00000001\ndead: 00000000\n";
        assert_eq!(cache.to_text(), strict);
        assert_eq!(parse(strict).unwrap(), cache);
        assert!(parse(HEADER).unwrap().entries().is_empty());
        assert!(CalibrationCache::is_cache(loose.as_bytes()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (below, says) in [
            ("a: 7fc00000", "cal.bin:2: the scale of `a` is NaN"),
            ("a: 3d418306\nb: 7f800000", "cal.bin:3: the scale of `b` is inf"),
            ("a: bd418306", "cal.bin:2: the scale of `a` is -0.047"),
            ("a: 80000000", "cal.bin:2: the scale of `a` is -0.0"),
            ("a: 7f7fffff", "cal.bin:2: the scale of `a` is 3.4028235e38"),
            ("a: 3d418306\na: 3d418307", "cal.bin:3: `a` has a line already"),
            (": 3d418306", "cal.bin:2: \"\" cannot be the name"),
            ("a\rb: 3d418306", "cal.bin:2: \"a\\rb\" cannot be the name"),
            ("a:3d418306", "cal.bin:2: \"a:3d418306\" is not the name of a tensor, a colon"),
            ("a: ", "cal.bin:2: \"a: \" is not"),
            ("a: 03d418306", "1 to 8 hexadecimal digits"),
            ("a: +3d41830", "1 to 8 hexadecimal digits"),
            ("a: 0x3d4183", "1 to 8 hexadecimal digits"),
            ("\na: 3d418306", "cal.bin:2: \"\" is not"),
        ] {
            let error = parse(&format!("{HEADER}\n{below}\n")).unwrap_err();
            assert!(error.contains(says), "{below}: {error}");
        }
        let error = CalibrationCache::parse("cal.bin", b"1\na: 1\nb\xff: 1\n").unwrap_err();
        assert_eq!(error.to_string(), "cal.bin:3: not UTF-8; a calibration cache is text");
    }

    #[test]
    fn other_first_lines_are_refused() {
        for header in ["", "2", "TRT-", "TRT-8503", "TRT-8503-", "TRT-8.5.3-MinMaxCalibration", "TRT-+85-a"] {
            let error = parse(&format!("{header}\na: 1\n")).unwrap_err();
            assert!(error.starts_with(&format!("cal.bin:1: {header:?} is no header")), "{error}");
        }
        assert!(!CalibrationCache::is_cache(b"{\"tensor_scales\": {}}"));
        assert!(!CalibrationCache::is_cache(b""));
    }

    #[test]
    fn damage_never_panics() {
        let text = format!("{HEADER}\r\nInput: 3f98401e\na: b:0: 0\n\n");
        for at in 0..text.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = byte;
                if let Ok(cache) = CalibrationCache::parse("cal.bin", &bytes) {
                    let back = CalibrationCache::parse("cal.bin", cache.to_text().as_bytes());
                    assert_eq!(back, Ok(cache), "byte {byte} at {at}");
                }
                let _ = CalibrationCache::parse("cal.bin", &bytes[at..]);
            }
        }
    }
}
