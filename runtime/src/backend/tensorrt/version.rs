//! Versions of TensorRT, as libraries and headers tell them.

use std::fmt;
use std::fs;
use std::path::Path;

/// A version of TensorRT: 10.3.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Changes what functions there are.
    pub major: u32,
    /// Adds functions.
    pub minor: u32,
    /// Neither.
    pub patch: u32,
}

impl Version {
    pub(super) fn of(numbers: [i32; 3]) -> Self {
        let [major, minor, patch] = numbers.map(i32::unsigned_abs);
        Self { major, minor, patch }
    }

    /// That of the headers in a folder, if it holds TensorRT's.
    pub fn of_headers(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join("NvInferVersion.h")).ok()?;
        // Either a number, or the name of another macro.
        let value = |name: &str| {
            text.lines().find_map(|line| {
                let mut words = line.split_whitespace();
                (words.next() == Some("#define") && words.next() == Some(name)).then(|| words.next())?
            })
        };
        let number = |name: &str| {
            let given = value(name)?;
            given.parse().ok().or_else(|| value(given)?.parse().ok())
        };
        Some(Self {
            major: number("NV_TENSORRT_MAJOR")?,
            minor: number("NV_TENSORRT_MINOR")?,
            patch: number("NV_TENSORRT_PATCH")?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_numbers_or_name_other_macros() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Version::of_headers(dir.path()), None);
        let plain = "#define NV_TENSORRT_MAJOR 8 //!< major\n#define NV_TENSORRT_MINOR 5\n#define NV_TENSORRT_PATCH 3\n";
        let named = "#define TRT_A 10\n#define TRT_B 13\n#define TRT_C 3\n\
            #define NV_TENSORRT_MAJOR TRT_A //!< major\n#define NV_TENSORRT_MINOR TRT_B\n#define NV_TENSORRT_PATCH TRT_C\n";
        for (text, version) in [(plain, "8.5.3"), (named, "10.13.3")] {
            fs::write(dir.path().join("NvInferVersion.h"), text).unwrap();
            assert_eq!(Version::of_headers(dir.path()).unwrap().to_string(), version);
        }
    }
}
