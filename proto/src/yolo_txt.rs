//! YOLO (Darknet, Ultralytics) label files: one text line per object, in fractions of the image; and the file that
//! names the classes.
//!
//! Read by `dataset_convert`. The rule kept here is that of [`crate::kitti`]: a line is either understood or
//! reported with file and line. Source: <https://docs.ultralytics.com/datasets/detect/#ultralytics-yolo-format>.

use crate::kitti::Object;
use crate::label_error::{LineError, Listing, excerpt};

mod names;

pub use names::{NamesError, NamesProblem, names};

/// How far beyond the image a coordinate may be, as a fraction: rounding, not another unit.
const TOLERANCE: f64 = 0.01;

/// All bad lines of one label file. `Display` shows one per line, as `file:line: what; help`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", Listing(name, lines))]
pub struct YoloError {
    /// Name of the file as given to [`parse`].
    pub name: String,
    /// The bad lines in file order, at least one.
    pub lines: Vec<LineError<Problem>>,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A number of columns that is neither a box nor a polygon.
    #[error(
        "{0} columns; a box has 5 (class, centre x, centre y, width, height), \
         or 6 with a score, a polygon has the class and at least 3 pairs of x and y"
    )]
    Columns(usize),
    /// A column holds no finite number.
    #[error(
        "column {number} is {text:?}, which is not a finite number; correct the value or remove the line"
    )]
    NotANumber {
        /// Column, counted from 1.
        number: usize,
        /// The text found, cut to 40 characters.
        text: String,
    },
    /// The class is not an index.
    #[error("class {0:?} is not a whole number from 0; YOLO labels hold indices into the list of names")]
    NotAnIndex(String),
    /// The class has no name.
    #[error(
        "class {index}, but only {count} names are given, counted from 0; give the names this data was labelled with"
    )]
    NoName {
        /// The class.
        index: usize,
        /// Number of names.
        count: usize,
    },
    /// A coordinate outside the image.
    #[error(
        "column {number} is {value}, which is not a fraction of the image, 0 to 1; YOLO labels are not in pixels"
    )]
    NotAFraction {
        /// Column, counted from 1.
        number: usize,
        /// The value.
        value: f64,
    },
}

/// Reads a label file. `name` is used in messages only; `names` are the classes by index, `width` and `height`
/// the size of the image in pixels.
///
/// A polygon becomes the box around it. Blank lines, a byte order mark, tabs and CRLF are accepted. An empty file
/// has no objects. Fields of [`Object`] that YOLO does not have are 0.
///
/// # Errors
/// [`YoloError`] lists every line that is neither a box nor a polygon.
pub fn parse(
    name: &str,
    text: &str,
    names: &[String],
    width: u32,
    height: u32,
) -> Result<Vec<Object>, YoloError> {
    let (mut objects, mut lines) = (Vec::new(), Vec::new());
    for (index, content) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let words: Vec<&str> = content.split_ascii_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let line = index + 1;
        match parse_line(&words, names) {
            Ok((class, fractions, score)) => {
                let [width, height] = [f64::from(width), f64::from(height)];
                let [x1, y1, x2, y2] = fractions;
                let bbox = [x1 * width, y1 * height, x2 * width, y2 * height].map(|value| value as f32);
                objects.push(Object { class: class.clone(), bbox, score, line, ..Object::default() });
            }
            Err(problem) => lines.push(LineError { line, problem }),
        }
    }
    if lines.is_empty() { Ok(objects) } else { Err(YoloError { name: name.to_owned(), lines }) }
}

/// Class name, `[x1, y1, x2, y2]` as fractions, score.
fn parse_line<'a>(
    words: &[&str],
    names: &'a [String],
) -> Result<(&'a String, [f64; 4], Option<f32>), Problem> {
    let polygon = words.len() >= 7 && words.len() % 2 == 1;
    if !polygon && !matches!(words.len(), 5 | 6) {
        return Err(Problem::Columns(words.len()));
    }
    let mut values = Vec::with_capacity(words.len());
    for (index, word) in words.iter().enumerate() {
        let number = index + 1;
        let value = word.parse::<f64>().ok().filter(|value| value.is_finite());
        let value = value.ok_or_else(|| Problem::NotANumber { number, text: excerpt(word) })?;
        if index > 0 && !(-TOLERANCE..=1.0 + TOLERANCE).contains(&value) {
            return Err(Problem::NotAFraction { number, value });
        }
        values.push(value);
    }
    let class = class(values[0], words[0], names)?;
    if let [_, x, y, width, height, ref score @ ..] = values[..]
        && !polygon
    {
        let (half_width, half_height) = (width / 2.0, height / 2.0);
        let bbox = [x - half_width, y - half_height, x + half_width, y + half_height];
        return Ok((class, bbox, score.first().map(|&score| score as f32)));
    }
    let mut bbox = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    for corner in values[1..].chunks_exact(2) {
        bbox =
            [bbox[0].min(corner[0]), bbox[1].min(corner[1]), bbox[2].max(corner[0]), bbox[3].max(corner[1])];
    }
    Ok((class, bbox, None))
}

/// The class's name; `3.0` is 3: some tools print every column as a float.
fn class<'a>(value: f64, word: &str, names: &'a [String]) -> Result<&'a String, Problem> {
    if value.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&value) {
        return Err(Problem::NotAnIndex(excerpt(word)));
    }
    let index = value as usize;
    names.get(index).ok_or(Problem::NoName { index, count: names.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Object>, YoloError> {
        parse("a.txt", text, &["cat".to_owned(), "dog".to_owned()], 200, 100)
    }

    #[test]
    fn boxes_and_polygons_are_pixels() {
        let text = "\u{feff}1 0.5 0.5 0.5 0.25\r\n\n0.0\t0.25 0.5 0.5 1.0 0.75\n0 0.1 0.9 0.4 0.2 0.3 0.3\n\
            1 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.3\n";
        let found: Vec<_> =
            read(text).unwrap().into_iter().map(|o| (o.class, o.bbox, o.score, o.line)).collect();
        let want = [
            ("dog".to_owned(), [50.0, 37.5, 150.0, 62.5], None, 1),
            ("cat".to_owned(), [0.0, 0.0, 100.0, 100.0], Some(0.75), 3),
            ("cat".to_owned(), [20.0, 20.0, 80.0, 90.0], None, 4),
            ("dog".to_owned(), [20.0, 10.0, 40.0, 30.0], None, 5),
        ];
        assert_eq!(found, want);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn all_bad_lines_are_reported_with_place_and_help() {
        let text = "0 0.5 0.5 0.5\n0 1 2 3 4 5 6 7\nx 0 0 0 0\n0 0 nan 0 0\n2 0 0 0 0\n-1 0 0 0 0\n0.5 0 0 0 0\n\
            0 32 40 10 10\n1 0.5 0.5 0.2 -0.2\n";
        let want = [
            "1: 4 columns",
            "2: 8 columns",
            "3: column 1 is \"x\"",
            "4: column 3 is \"nan\"",
            "5: class 2, but only 2 names",
            "6: class \"-1\" is not a whole number",
            "7: class \"0.5\" is not a whole number",
            "8: column 2 is 32",
            "9: column 5 is -0.2",
        ];
        let message = read(text).unwrap_err().to_string();
        assert_eq!(message.lines().count(), want.len(), "{message}");
        for (line, want) in message.lines().zip(want) {
            assert!(line.starts_with(&format!("a.txt:{want}")), "{line}");
        }
    }

    #[test]
    fn damage_never_panics() {
        let text = "1 0.5 0.5 0.5 0.25\n0 0.1 0.9 0.4 0.2 0.3 0.3\n";
        for bit in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = String::from_utf8(bytes) {
                let _ = read(&text);
            }
        }
    }
}
