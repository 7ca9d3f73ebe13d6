//! The first line of a calibration cache: which version of TensorRT the ranges are for, and how they were found.

use std::fmt;
use std::str::FromStr;

/// What other headers begin with.
const PREFIX: &str = "TRT-";

/// The header that early versions of TAO wrote for ranges of training with quantisation.
const LEGACY: &str = "1";

/// TAO's way to calibrate, for ranges that do not say how they were found.
const DEFAULT_ALGORITHM: Algorithm = Algorithm::Entropy2;

/// A version of TensorRT: 10.3.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TensorRtVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl TensorRtVersion {
    /// That of JetPack 5: what caches are for unless another is named.
    pub const V8_5_3: Self = Self { major: 8, minor: 5, patch: 3 };

    /// A version; none beyond what its number can tell: 9.9.99 before TensorRT 10, 999.99.99 from then on.
    pub fn new(major: u32, minor: u32, patch: u32) -> Option<Self> {
        let minors = if major < 10 { 10 } else { 100 };
        let fits = (1..1000).contains(&major) && minor < minors && patch < 100;
        fits.then_some(Self { major, minor, patch })
    }

    /// As headers have it, `NV_TENSORRT_VERSION`: 8503 for 8.5.3, 100300 for 10.3.0.
    pub fn number(self) -> u32 {
        let Self { major, minor, patch } = self;
        if major < 10 { major * 1000 + minor * 100 + patch } else { major * 10_000 + minor * 100 + patch }
    }

    /// Its first number.
    pub fn major(self) -> u32 {
        self.major
    }

    /// Major, minor and patch.
    pub fn numbers(self) -> [u32; 3] {
        [self.major, self.minor, self.patch]
    }

    /// The version of a number; none where it has none, such as 11303, which TAO's writer makes of 10.13.3.
    pub fn from_number(number: u32) -> Option<Self> {
        let unit = if number < 10_000 { 1000 } else { 10_000 };
        Self::new(number / unit, number % unit / 100, number % 100)
            .filter(|version| version.number() == number)
    }
}

impl fmt::Display for TensorRtVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Text that is no version of TensorRT.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version of TensorRT; write its three numbers, such as 8.5.3 or 10.3.0")]
pub struct NoVersion(String);

impl FromStr for TensorRtVersion {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let numbers: Option<Vec<u32>> = text.split('.').map(decimal).collect();
        match numbers.as_deref() {
            Some(&[major, minor, patch]) => Self::new(major, minor, patch),
            _ => None,
        }
        .ok_or_else(|| NoVersion(text.to_owned()))
    }
}

/// How ranges were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `EntropyCalibration`: before TensorRT 7, on the network after its layers are fused.
    Entropy,
    /// `EntropyCalibration2`: TAO's, on the network as it is in the ONNX file.
    Entropy2,
    /// `LegacyCalibration`: percentiles with a regression cutoff.
    Legacy,
    /// `MinMaxCalibration`: the largest magnitude seen.
    MinMax,
    /// One that later versions may have, as the header calls it.
    Other(String),
}

impl Algorithm {
    const KNOWN: [(Self, &str); 4] = [
        (Self::Entropy, "EntropyCalibration"),
        (Self::Entropy2, "EntropyCalibration2"),
        (Self::Legacy, "LegacyCalibration"),
        (Self::MinMax, "MinMaxCalibration"),
    ];

    fn from_name(name: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|(_, known)| *known == name);
        known.map_or_else(|| Self::Other(name.to_owned()), |(algorithm, _)| algorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::KNOWN.into_iter().find(|(known, _)| known == self).map(|(_, name)| name);
        f.write_str(match self {
            Self::Other(name) => name,
            _ => known.expect("the table has all but `Other`"),
        })
    }
}

/// The first line of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheHeader {
    /// `1`, of early versions of TAO.
    Legacy,
    /// `TRT-<number>-<algorithm>`. Another version of TensorRT passes over the cache.
    TensorRt {
        /// The number of the version as the file has it; [`TensorRtVersion::from_number`] reads it.
        number: u32,
        /// How the ranges were found.
        algorithm: Algorithm,
    },
}

impl CacheHeader {
    /// For a version of TensorRT.
    pub fn new(version: TensorRtVersion, algorithm: Algorithm) -> Self {
        Self::TensorRt { number: version.number(), algorithm }
    }

    /// The same ranges for another version of TensorRT. They say what a tensor holds and not who reads it; only the header ties them
    /// to a version. A legacy header has no algorithm to keep, and gets `EntropyCalibration2`.
    #[must_use]
    pub fn for_version(self, version: TensorRtVersion) -> Self {
        match self {
            Self::Legacy => Self::new(version, DEFAULT_ALGORITHM),
            Self::TensorRt { algorithm, .. } => Self::new(version, algorithm),
        }
    }

    /// The version of TensorRT, where the header has one and it is well formed.
    pub fn version(&self) -> Option<TensorRtVersion> {
        match self {
            Self::Legacy => None,
            Self::TensorRt { number, .. } => TensorRtVersion::from_number(*number),
        }
    }

    /// The algorithm, where the header has one.
    pub fn algorithm(&self) -> Option<&Algorithm> {
        match self {
            Self::Legacy => None,
            Self::TensorRt { algorithm, .. } => Some(algorithm),
        }
    }

    /// Whether a line is meant as a header.
    pub(super) fn begins(line: &[u8]) -> bool {
        line.starts_with(PREFIX.as_bytes()) || line == LEGACY.as_bytes()
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        if line == LEGACY {
            return Some(Self::Legacy);
        }
        let (number, algorithm) = line.strip_prefix(PREFIX)?.split_once('-')?;
        let named = !algorithm.is_empty() && !algorithm.chars().any(char::is_control);
        named.then_some(Self::TensorRt {
            number: decimal(number)?,
            algorithm: Algorithm::from_name(algorithm),
        })
    }
}

impl fmt::Display for CacheHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Legacy => f.write_str(LEGACY),
            Self::TensorRt { number, algorithm } => write!(f, "{PREFIX}{number}-{algorithm}"),
        }
    }
}

/// Digits only: `parse` alone takes a sign.
fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_nvidias() {
        for (text, number) in
            [("7.1.3", 7103), ("8.0.1", 8001), ("8.5.3", 8503), ("10.3.0", 100_300), ("10.14.1", 101_401)]
        {
            let version: TensorRtVersion = text.parse().unwrap();
            assert_eq!((version.number(), version.to_string().as_str()), (number, text));
            assert_eq!(TensorRtVersion::from_number(number), Some(version));
        }
        // TAO's writer makes 11303 of 10.13.3.
        for number in [0, 999, 11_303, 99_999, 10_000_000, u32::MAX] {
            assert_eq!(TensorRtVersion::from_number(number), None, "{number}");
        }
        for text in [
            "", "8", "8.5", "8.10.0", "8.5.100", "10.100.0", "0.1.2", "1000.0.0", "8.5.x", "8.5.3.1",
            "+8.5.3",
        ] {
            let error = text.parse::<TensorRtVersion>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}` is no version")), "{error}");
        }
    }

    #[test]
    fn headers_come_back() {
        for line in [
            "1",
            "TRT-8503-EntropyCalibration2",
            "TRT-5105-EntropyCalibration",
            "TRT-100300-MinMaxCalibration",
            "TRT-7000-LegacyCalibration",
            "TRT-11303-PercentileCalibration-3",
        ] {
            assert!(CacheHeader::begins(line.as_bytes()));
            assert_eq!(CacheHeader::parse(line).unwrap().to_string(), line);
        }
    }

    #[test]
    fn another_version_keeps_the_algorithm() {
        let version = TensorRtVersion::new(10, 3, 0).unwrap();
        for (from, to) in [
            ("TRT-8503-MinMaxCalibration", "TRT-100300-MinMaxCalibration"),
            ("1", "TRT-100300-EntropyCalibration2"),
        ] {
            assert_eq!(CacheHeader::parse(from).unwrap().for_version(version).to_string(), to);
        }
    }
}
