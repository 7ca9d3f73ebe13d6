//! KITTI label files: one text line per object, columns separated by blanks.
//!
//! Read as ground truth for training and evaluation, written by `inference`. The rule kept here: a line is
//! either understood or reported with file, line and column; nothing is skipped in silence. Which classes
//! count, what is difficult and which boxes are valid is decided by the data set reader, not here. Format
//! page: `docs/formats/kitti.md`.

use crate::label_error::{LineError, Listing, excerpt};

/// Names of the 16 columns, in file order.
const COLUMNS: [&str; 16] = [
    "class",
    "truncation",
    "occlusion",
    "alpha",
    "x1",
    "y1",
    "x2",
    "y2",
    "height",
    "width",
    "length",
    "x",
    "y",
    "z",
    "rotation_y",
    "score",
];

/// Fewest columns a line may have: what the original sequence loader asks for.
const MIN_COLUMNS: usize = 9;

/// What KITTI calls regions that nobody labelled.
pub const DONT_CARE: &str = "dontcare";

/// One line of a label file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object {
    /// Class name as written, case kept.
    pub class: String,
    /// Fraction of the object outside the image, 0 to 1; -1 when unknown.
    pub truncation: f32,
    /// 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1 for *DontCare*.
    pub occlusion: i32,
    /// Observation angle in radians; -10 when unknown.
    pub alpha: f32,
    /// `[x1, y1, x2, y2]` in pixels of the stored image, origin at its top left. Neither ordered nor clipped.
    pub bbox: [f32; 4],
    /// `[height, width, length]` in metres.
    pub dimensions: [f32; 3],
    /// `[x, y, z]` in metres, camera coordinates.
    pub location: [f32; 3],
    /// Rotation around the vertical axis in radians.
    pub rotation_y: f32,
    /// Confidence of a detection, column 16; absent in ground truth.
    pub score: Option<f32>,
    /// Line in the file, counted from 1.
    pub line: usize,
}

/// All bad lines of one label file. `Display` shows one per line, as `file:line: what; help`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", Listing(name, lines))]
pub struct KittiError {
    /// Name of the file as given to [`parse`].
    pub name: String,
    /// The bad lines in file order, at least one.
    pub lines: Vec<LineError<Problem>>,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Fewer than 9 columns.
    #[error(
        "{0} columns, a label needs at least 9 (15 in full KITTI); add the missing columns or remove the line"
    )]
    TooFewColumns(usize),
    /// More than 16 columns.
    #[error(
        "{0} columns, a label has 15 or, with a score, 16; \
         a class name must not contain blanks, write `_` instead"
    )]
    TooManyColumns(usize),
    /// A numeric column holds something else.
    #[error(
        "column {number} ({column}) is {text:?}, which is not a number; \
         columns are separated by blanks, so a class name must not contain any"
    )]
    NotANumber {
        /// Column, counted from 1.
        number: usize,
        /// Name of the column.
        column: &'static str,
        /// The text found, cut to 40 characters.
        text: String,
    },
    /// A numeric column holds NaN, infinity or a number too big for 32-bit floats.
    #[error(
        "column {number} ({column}) is {text:?}; \
         a finite number is needed, correct the value or remove the line"
    )]
    NotFinite {
        /// Column, counted from 1.
        number: usize,
        /// Name of the column.
        column: &'static str,
        /// The text found, cut to 40 characters.
        text: String,
    },
    /// Occlusion is a number but not a whole one.
    #[error(
        "column 3 (occlusion) is {0:?}; use a whole number: 0 visible, 1 partly, 2 largely occluded, 3 unknown"
    )]
    OcclusionNotWhole(String),
}

/// Why an object cannot be written so that it reads back.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// The class name is empty or contains blanks, which separate columns.
    #[error(
        "class name {0:?} cannot be written to a KITTI file: it is empty or contains blanks; write `_` instead"
    )]
    ClassName(String),
    /// A number is NaN or infinite.
    #[error("an object of class {0:?} has a coordinate or score that is not finite")]
    NotFinite(String),
}

/// Reads a label file. `name` is used in messages only.
///
/// A line has 9 to 16 columns; absent columns 10 to 15 are 0. Blank lines, a byte order mark, tabs and CRLF
/// are accepted. An empty file has no objects.
///
/// # Errors
/// [`KittiError`] lists every line that has too few or too many columns or a column that is not a
/// finite number.
pub fn parse(name: &str, text: &str) -> Result<Vec<Object>, KittiError> {
    let mut objects = Vec::new();
    let mut lines = Vec::new();
    for (index, content) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let line = index + 1;
        match parse_line(line, content) {
            Ok(object) => objects.extend(object),
            Err(problem) => lines.push(LineError { line, problem }),
        }
    }
    if lines.is_empty() { Ok(objects) } else { Err(KittiError { name: name.to_owned(), lines }) }
}

/// Reads one line; `None` when it is blank.
fn parse_line(line: usize, content: &str) -> Result<Option<Object>, Problem> {
    let mut columns = [""; COLUMNS.len()];
    let mut found = 0;
    for word in content.split_ascii_whitespace() {
        if let Some(column) = columns.get_mut(found) {
            *column = word;
        }
        found += 1;
    }
    match found {
        0 => return Ok(None),
        1..MIN_COLUMNS => return Err(Problem::TooFewColumns(found)),
        _ if found > COLUMNS.len() => return Err(Problem::TooManyColumns(found)),
        _ => {}
    }
    let mut values = [0.0; COLUMNS.len()];
    for (index, word) in columns.iter().enumerate().take(found).skip(1) {
        values[index] = number(index, word)?;
    }
    let [_, truncation, _, alpha, x1, y1, x2, y2, height, width, length, x, y, z, rotation_y, score] = values;
    Ok(Some(Object {
        class: columns[0].to_owned(),
        truncation,
        occlusion: occlusion(columns[2])?,
        alpha,
        bbox: [x1, y1, x2, y2],
        dimensions: [height, width, length],
        location: [x, y, z],
        rotation_y,
        score: (found == COLUMNS.len()).then_some(score),
        line,
    }))
}

/// Reads the number in column `index`, counted from 0.
fn number(index: usize, word: &str) -> Result<f32, Problem> {
    let (number, column) = (index + 1, COLUMNS[index]);
    match word.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(Problem::NotFinite { number, column, text: excerpt(word) }),
        Err(_) => Err(Problem::NotANumber { number, column, text: excerpt(word) }),
    }
}

/// Occlusion as an integer; `0.0` counts as `0`: some tools print every column as a float.
fn occlusion(word: &str) -> Result<i32, Problem> {
    if let Ok(value) = word.parse() {
        return Ok(value);
    }
    match word.parse::<f64>() {
        Ok(value) if value.fract() == 0.0 && value.abs() <= f64::from(i32::MAX) => Ok(value as i32),
        _ => Err(Problem::OcclusionNotWhole(excerpt(word))),
    }
}

/// Writes objects in the layout of the KITTI benchmark: 15 columns, 16 for objects with a score.
/// Numbers have 2 decimals, occlusion none, the score 4.
///
/// # Errors
/// [`WriteError`] when a class name contains blanks or a number is not finite.
pub fn write(objects: &[Object]) -> Result<String, WriteError> {
    let mut text = String::new();
    for object in objects {
        let Object {
            class, truncation, occlusion, alpha, bbox, dimensions, location, rotation_y, score, ..
        } = object;
        check_class(class)?;
        let head = [*truncation];
        let tail = [&[*alpha], &bbox[..], &dimensions[..], &location[..], &[*rotation_y]].concat();
        check_finite(class, head.iter().chain(&tail).chain(score))?;
        text += &format!("{class} {} {occlusion}", decimals::<2>(*truncation));
        for value in tail {
            text += &format!(" {}", decimals::<2>(value));
        }
        if let Some(score) = score {
            text += &format!(" {}", decimals::<4>(*score));
        }
        text.push('\n');
    }
    Ok(text)
}

/// One line of the label file that `inference` writes for an image, line end included:
/// `class 0 0 0 x1 y1 x2 y2 0 0 0 0 0 0 0 score`.
///
/// `bbox` is `[x1, y1, x2, y2]` in pixels of the original image, written with 2 decimals; `score`, a fraction,
/// has 4.
///
/// # Errors
/// [`WriteError`] when the class name contains blanks or a number is not finite.
pub fn write_detection(class: &str, bbox: [f32; 4], score: f32) -> Result<String, WriteError> {
    check_class(class)?;
    check_finite(class, bbox.iter().chain(&[score]))?;
    let [x1, y1, x2, y2] = bbox.map(decimals::<2>);
    Ok(format!("{class} 0 0 0 {x1} {y1} {x2} {y2} 0 0 0 0 0 0 0 {}\n", decimals::<4>(score)))
}

fn check_class(class: &str) -> Result<(), WriteError> {
    if class.is_empty() || class.contains(|c: char| c.is_ascii_whitespace()) {
        return Err(WriteError::ClassName(class.to_owned()));
    }
    Ok(())
}

fn check_finite<'a>(class: &str, mut values: impl Iterator<Item = &'a f32>) -> Result<(), WriteError> {
    if values.all(|value| value.is_finite()) { Ok(()) } else { Err(WriteError::NotFinite(class.to_owned())) }
}

/// Fixed-point text with `N` decimals, never `-0.00`.
fn decimals<const N: usize>(value: f32) -> String {
    let text = format!("{value:.N$}");
    match text.strip_prefix('-') {
        Some(magnitude) if magnitude.bytes().all(|b| matches!(b, b'0' | b'.')) => magnitude.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "Car 0.25 2 -1.57 10.5 20 30.25 40 1.5 1.6 3.7 0.1 1.7 23.9 -1.48";

    fn only(text: &str) -> Object {
        let mut objects = parse("a.txt", text).unwrap();
        assert_eq!(objects.len(), 1, "{text}");
        objects.remove(0)
    }

    fn problem(text: &str) -> String {
        parse("a.txt", text).unwrap_err().to_string()
    }

    #[test]
    fn every_column_lands_in_its_field() {
        let want = Object {
            class: "Car".into(),
            truncation: 0.25,
            occlusion: 2,
            alpha: -1.57,
            bbox: [10.5, 20.0, 30.25, 40.0],
            dimensions: [1.5, 1.6, 3.7],
            location: [0.1, 1.7, 23.9],
            rotation_y: -1.48,
            score: None,
            line: 1,
        };
        assert_eq!(only(FULL), want);
        assert_eq!(only(&format!("{FULL} 0.9")), Object { score: Some(0.9), ..want });
    }

    #[test]
    fn short_lines_of_the_original_loader_are_read() {
        let object = only("car 0 1 0 1 2 3 4 5");
        assert_eq!((object.bbox, object.dimensions), ([1.0, 2.0, 3.0, 4.0], [5.0, 0.0, 0.0]));
        assert_eq!((object.location, object.rotation_y, object.score), ([0.0; 3], 0.0, None));
    }

    #[test]
    fn blanks_tabs_crlf_and_byte_order_mark_do_not_matter() {
        let text = "\u{feff}\r\n  a\t0 0 0 1 2 3 4 5 \r\n\n \t\nb 0 0 0 1 2 3 4 5";
        let lines: Vec<_> = parse("a.txt", text).unwrap().into_iter().map(|o| (o.class, o.line)).collect();
        assert_eq!(lines, [("a".into(), 2), ("b".into(), 5)]);
        assert_eq!(parse("a.txt", "\u{feff}").unwrap(), []);
    }

    #[test]
    fn whole_floats_are_occlusions() {
        assert_eq!(only("a 0 3.0 0 1 2 3 4 5").occlusion, 3);
        assert_eq!(only("a 0 -1.00 0 1 2 3 4 5").occlusion, -1);
        assert!(problem("a 0 0.5 0 1 2 3 4 5").contains("column 3 (occlusion) is \"0.5\""));
        assert!(problem("a 0 3e9 0 1 2 3 4 5").contains("column 3 (occlusion) is \"3e9\""));
    }

    #[test]
    fn all_bad_lines_are_reported_with_place_and_help() {
        let text = "a 0 0 0 1 2 3 4\nok 0 0 0 1 2 3 4 5\ntraffic light 0 0 0 1 2 3 4 5\n\
            b 0 0 0 1 nan 3 4 5\nc 0 0 0 1e39 2 3 4 5\n"
            .to_owned()
            + &FULL.replace("Car", "race car driver");
        let message = problem(&text);
        let lines: Vec<_> = message.lines().collect();
        assert_eq!(lines.len(), 5);
        let starts = [
            "a.txt:1: 8 columns",
            "a.txt:3: column 2 (truncation) is \"light\", which is not a number",
            "a.txt:4: column 6 (y1) is \"nan\"",
            "a.txt:5: column 5 (x1) is \"1e39\"",
            "a.txt:6: 17 columns",
        ];
        for (line, start) in lines.iter().zip(starts) {
            assert!(line.starts_with(start) && line.contains("; "), "{line}");
        }
    }

    #[test]
    fn messages_stay_short_and_printable() {
        let message = problem(&format!("a {}\u{1b} 0 0 1 2 3 4 5", "\u{1b}x".repeat(1000)));
        assert!(message.len() < 400 && !message.contains('\u{1b}'), "{message}");
    }

    #[test]
    fn detections_have_the_sixteen_columns_of_inference() {
        let line = write_detection("car", [1.0, -0.001, 123.456, 4e2], 0.98766).unwrap();
        assert_eq!(line, "car 0 0 0 1.00 0.00 123.46 400.00 0 0 0 0 0 0 0 0.9877\n");
        let object = only(&line);
        assert_eq!((object.bbox, object.score), ([1.0, 0.0, 123.46, 400.0], Some(0.9877)));
    }

    #[test]
    fn what_would_not_read_back_is_not_written() {
        let bbox = [0.0; 4];
        assert_eq!(
            write_detection("traffic light", bbox, 1.0),
            Err(WriteError::ClassName("traffic light".into()))
        );
        assert_eq!(write_detection("", bbox, 1.0), Err(WriteError::ClassName(String::new())));
        assert_eq!(write_detection("car", bbox, f32::NAN), Err(WriteError::NotFinite("car".into())));
        let object = Object { bbox: [0.0, f32::INFINITY, 0.0, 0.0], ..only(FULL) };
        assert_eq!(write(&[object]), Err(WriteError::NotFinite("Car".into())));
    }

    #[test]
    fn written_objects_read_back() {
        let text = "Car 0.25 2 -1.57 10.50 20.00 30.25 40.00 1.50 1.60 3.70 0.10 1.70 23.90 -1.48\n\
                    Van 0.00 0 0.00 1.00 2.00 3.00 4.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.5000\n";
        assert_eq!(write(&parse("a.txt", text).unwrap()).unwrap(), text);
    }

    /// The three data sets in `../shared/data`; box counts from their README.
    #[test]
    #[cfg_attr(not(shared_data), ignore = "needs ../shared/data, which is not here")]
    fn real_label_files_are_read_and_written() {
        let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
        for (set, train, val) in [("bccd", 3943, 945), ("raccoon", 173, 44), ("kitti-sample", 40, 25)] {
            for (split, want) in [("train", train), ("val", val)] {
                let mut boxes = 0;
                for entry in std::fs::read_dir(data.join(set).join(split).join("labels")).unwrap() {
                    let path = entry.unwrap().path();
                    let objects =
                        parse(&path.display().to_string(), &std::fs::read_to_string(&path).unwrap()).unwrap();
                    boxes += objects.len();
                    assert_eq!(
                        parse("again", &write(&objects).unwrap()).unwrap(),
                        objects,
                        "{}",
                        path.display()
                    );
                }
                assert_eq!(boxes, want, "{set}/{split}");
            }
        }
    }
}
