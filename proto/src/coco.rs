//! COCO annotation files: images, boxes and categories in one JSON document.
//!
//! Read by `dataset_convert`. Masks (`segmentation`), key points, licences and everything else are skipped. The
//! rule kept here: the document is consistent or every contradiction is reported with the id it is about. Source:
//! <https://cocodataset.org/#format-data>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::kitti::Object;

/// Problems shown in one message.
const SHOWN: usize = 20;

/// A consistent annotation file.
#[derive(Clone, Debug, PartialEq)]
pub struct Coco {
    /// Images in file order, at least one.
    pub images: Vec<Image>,
    /// Names of the categories by id.
    pub categories: BTreeMap<u64, String>,
}

/// An image with its annotations.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Its id in the file.
    pub id: u64,
    /// Path below the image folder.
    pub file_name: String,
    /// Pixels per row, not 0.
    pub width: u32,
    /// Rows, not 0.
    pub height: u32,
    /// Annotations in file order.
    pub annotations: Vec<Annotation>,
}

/// One box.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Its id in the file.
    pub id: u64,
    /// Whether the box is around a crowd rather than an object (`iscrowd`).
    pub crowd: bool,
    /// Class and box; COCO's `[x, y, width, height]` is `[x, y, x + width, y + height]` here. The other fields
    /// are 0.
    pub object: Object,
}

/// Why a file is not a consistent annotation file. `Display` shows one problem per line, as `file: what; help`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", Listing(name, problems))]
pub struct CocoError {
    /// Name of the file as given to [`parse`].
    pub name: String,
    /// The problems, at least one.
    pub problems: Vec<Problem>,
}

/// What can be wrong with an annotation file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No JSON, or members that are missing or of another type.
    #[error("not a COCO annotation file: {0}")]
    Malformed(String),
    /// No images.
    #[error("`images` is empty; an annotation file lists its images")]
    NoImages,
    /// An id given twice.
    #[error("two {kind} have the id {id}; ids are unique, number them anew")]
    Duplicate {
        /// `images`, `categories` or `annotations`.
        kind: &'static str,
        /// The id.
        id: u64,
    },
    /// A file given twice.
    #[error("two images have the file_name {0:?}; keep one entry, with the annotations of both")]
    DuplicateFile(String),
    /// A category without a name.
    #[error("category {0} has an empty name; name it")]
    EmptyName(u64),
    /// An image without width and height.
    #[error("image {0} has no positive width and height; add them")]
    NoSize(u64),
    /// An annotation of an image that is not listed.
    #[error("annotation {annotation} is of image {image}, which `images` does not list; add the image")]
    UnknownImage {
        /// Id of the annotation.
        annotation: u64,
        /// Id of the image.
        image: u64,
    },
    /// An annotation of a category that is not listed.
    #[error(
        "annotation {annotation} is of category {category}, which `categories` does not list; \
         add the category"
    )]
    UnknownCategory {
        /// Id of the annotation.
        annotation: u64,
        /// Id of the category.
        category: u64,
    },
    /// An annotation without a box.
    #[error("annotation {0} has no `bbox` of 4 finite numbers; add it or remove the annotation")]
    NoBox(u64),
}

#[derive(Deserialize)]
struct Document {
    images: Vec<RawImage>,
    annotations: Vec<RawAnnotation>,
    categories: Vec<RawCategory>,
}

#[derive(Deserialize)]
struct RawImage {
    id: u64,
    file_name: String,
    width: Option<u32>,
    height: Option<u32>,
}

#[derive(Deserialize)]
struct RawAnnotation {
    id: u64,
    image_id: u64,
    category_id: u64,
    bbox: Option<Vec<f64>>,
    #[serde(default)]
    iscrowd: Flag,
}

#[derive(Deserialize)]
struct RawCategory {
    id: u64,
    name: String,
}

/// 0 or 1, or what some tools write instead.
#[derive(Default, Deserialize)]
#[serde(try_from = "Value")]
struct Flag(bool);

impl TryFrom<Value> for Flag {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self(false)),
            Value::Bool(flag) => Ok(Self(flag)),
            Value::Number(number) if number.as_f64() == Some(0.0) => Ok(Self(false)),
            Value::Number(number) if number.as_f64() == Some(1.0) => Ok(Self(true)),
            _ => Err("`iscrowd` is neither 0 nor 1".to_owned()),
        }
    }
}

/// Reads an annotation file. `name` is used in messages only. A byte order mark is accepted.
///
/// Ids may have gaps. Boxes are taken as they are: order and position are judged by the data set reader.
///
/// # Errors
/// [`CocoError`] lists everything that is missing, double or unknown.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Coco, CocoError> {
    let failed = |problems| CocoError { name: name.to_owned(), problems };
    let document: Document = serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
        .map_err(|error| failed(vec![Problem::Malformed(error.to_string())]))?;
    let mut problems = Vec::new();
    if document.images.is_empty() {
        problems.push(Problem::NoImages);
    }

    let mut categories = BTreeMap::new();
    for RawCategory { id, name } in document.categories {
        if name.trim().is_empty() {
            problems.push(Problem::EmptyName(id));
        }
        if categories.insert(id, name).is_some() {
            problems.push(Problem::Duplicate { kind: "categories", id });
        }
    }

    let (mut places, mut files) = (BTreeMap::new(), BTreeSet::new());
    let mut images: Vec<Image> = Vec::with_capacity(document.images.len());
    for RawImage { id, file_name, width, height } in document.images {
        if places.insert(id, images.len()).is_some() {
            problems.push(Problem::Duplicate { kind: "images", id });
        }
        if !files.insert(file_name.clone()) {
            problems.push(Problem::DuplicateFile(file_name.clone()));
        }
        match (width, height) {
            (None | Some(0), _) | (_, None | Some(0)) => problems.push(Problem::NoSize(id)),
            (Some(width), Some(height)) => {
                images.push(Image { id, file_name, width, height, annotations: Vec::new() });
            }
        }
    }

    let mut ids = BTreeSet::new();
    for RawAnnotation { id, image_id, category_id, bbox, iscrowd: Flag(crowd) } in document.annotations {
        if !ids.insert(id) {
            problems.push(Problem::Duplicate { kind: "annotations", id });
        }
        let place = places.get(&image_id);
        if place.is_none() {
            problems.push(Problem::UnknownImage { annotation: id, image: image_id });
        }
        let class = categories.get(&category_id);
        if class.is_none() {
            problems.push(Problem::UnknownCategory { annotation: id, category: category_id });
        }
        let bbox = bbox.as_deref().and_then(corners);
        if bbox.is_none() {
            problems.push(Problem::NoBox(id));
        }
        // The image is missing from the list when its size is a problem.
        if let (Some(image), Some(class), Some(bbox)) =
            (place.and_then(|place| images.get_mut(*place)), class, bbox)
        {
            image.annotations.push(Annotation {
                id,
                crowd,
                object: Object { class: class.clone(), bbox, ..Object::default() },
            });
        }
    }
    if problems.is_empty() { Ok(Coco { images, categories }) } else { Err(failed(problems)) }
}

/// `[x, y, width, height]` to `[x1, y1, x2, y2]`; `None` when it is not 4 finite numbers.
fn corners(bbox: &[f64]) -> Option<[f32; 4]> {
    let &[x, y, width, height] = bbox else { return None };
    let corners = [x, y, x + width, y + height].map(|value| value as f32);
    corners.iter().all(|value| value.is_finite()).then_some(corners)
}

/// Shows problems one per line.
struct Listing<'a>(&'a str, &'a [Problem]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.1.iter().take(SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}: {problem}", self.0)?;
        }
        match self.1.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n{}: … and {more} more problems", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGES: &str = r#"[{"id": 9000000000, "file_name": "b.jpg", "width": 8, "height": 6, "license": 1},
        {"id": 3, "file_name": "sub/a.jpg", "width": 640, "height": 480}]"#;
    const CATEGORIES: &str =
        r#"[{"id": 90, "name": "Traffic Light", "supercategory": "x"}, {"id": 1, "name": "dog"}]"#;
    const ANNOTATIONS: &str = r#"[
        {"id": 5, "image_id": 3, "category_id": 90, "bbox": [1.5, 2, 10, 20.25], "iscrowd": 0, "segmentation": [[1, 2]]},
        {"id": 4, "image_id": 9000000000, "category_id": 1, "bbox": [0, 0, 8, 6], "iscrowd": 1,
         "segmentation": {"counts": "x", "size": [1, 2]}},
        {"id": 1, "image_id": 3, "category_id": 1, "bbox": [0, 0, -1, 6]}]"#;

    fn document(images: &str, annotations: &str, categories: &str) -> String {
        format!(
            r#"{{"info": {{}}, "images": {images}, "annotations": {annotations}, "categories": {categories}}}"#
        )
    }

    fn problems(images: &str, annotations: &str, categories: &str) -> String {
        parse("a.json", document(images, annotations, categories).as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn boxes_land_in_their_images() {
        let text = document(IMAGES, ANNOTATIONS, CATEGORIES);
        let coco = parse("a.json", text.as_bytes()).unwrap();
        assert_eq!(coco, parse("a.json", format!("\u{feff}{text}").as_bytes()).unwrap());
        assert_eq!(coco.categories[&90], "Traffic Light");
        let found: Vec<_> = coco
            .images
            .iter()
            .map(|image| {
                let boxes: Vec<_> = image
                    .annotations
                    .iter()
                    .map(|a| (a.id, a.crowd, a.object.class.as_str(), a.object.bbox))
                    .collect();
                (image.id, image.file_name.as_str(), image.width, image.height, boxes)
            })
            .collect();
        let want = [
            (9_000_000_000, "b.jpg", 8, 6, vec![(4, true, "dog", [0.0, 0.0, 8.0, 6.0])]),
            (
                3,
                "sub/a.jpg",
                640,
                480,
                vec![
                    (5, false, "Traffic Light", [1.5, 2.0, 11.5, 22.25]),
                    (1, false, "dog", [0.0, 0.0, -1.0, 6.0]),
                ],
            ),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn all_contradictions_are_reported_with_their_ids() {
        let message = problems(
            r#"[{"id": 1, "file_name": "a", "width": 1, "height": 1}, {"id": 1, "file_name": "b", "width": 1, "height": 1},
                {"id": 2, "file_name": "c"}, {"id": 3, "file_name": "d", "width": 0, "height": 4}]"#,
            r#"[{"id": 7, "image_id": 1, "category_id": 5, "bbox": [1, 2, 3]}, {"id": 7, "image_id": 1, "category_id": 5},
                {"id": 8, "image_id": 44, "category_id": 6, "bbox": [0, 0, 1e39, 1]}]"#,
            r#"[{"id": 5, "name": "a"}, {"id": 5, "name": " "}]"#,
        );
        let want = [
            "category 5 has an empty name",
            "two categories have the id 5",
            "two images have the id 1",
            "image 2 has no positive width",
            "image 3 has no positive width",
            "annotation 7 has no `bbox`",
            "two annotations have the id 7",
            "annotation 7 has no `bbox`",
            "annotation 8 is of image 44",
            "annotation 8 is of category 6",
            "annotation 8 has no `bbox`",
        ];
        assert_eq!(message.lines().count(), want.len(), "{message}");
        for (line, want) in message.lines().zip(want) {
            assert!(line.starts_with(&format!("a.json: {want}")) && line.contains("; "), "{line}");
        }
        assert!(problems("[]", "[]", "[]").contains("`images` is empty"));
    }

    #[test]
    fn long_lists_are_cut() {
        let annotation =
            |id| format!(r#"{{"id": {id}, "image_id": 3, "category_id": 2, "bbox": [0, 0, 1, 1]}}"#);
        let annotations: Vec<_> = (0..50).map(annotation).collect();
        let message = problems(IMAGES, &format!("[{}]", annotations.join(",")), CATEGORIES);
        assert_eq!(message.lines().count(), SHOWN + 1);
        assert!(message.ends_with("and 30 more problems"));
    }

    #[test]
    fn missing_and_mistyped_members_are_told_with_their_line() {
        for (text, word) in [
            ("{", "line 1"),
            (r#"{"images": [], "annotations": []}"#, "`categories`"),
            (r#"{"images": [], "categories": []}"#, "`annotations`"),
            ("{\"images\":\n[{\"id\": 1}]}", "`file_name` at line 2"),
            (r#"{"images": [{"id": -1}]}"#, "-1"),
            (r#"{"annotations": [{"iscrowd": 2}]}"#, "`iscrowd`"),
        ] {
            let message = parse("a.json", text.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with("a.json: not a COCO annotation file: "), "{message}");
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn damage_never_panics() {
        let bytes = document(IMAGES, ANNOTATIONS, CATEGORIES).into_bytes();
        for length in 0..bytes.len() {
            assert!(parse("a.json", &bytes[..length]).is_err(), "{length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = parse("a.json", &bytes);
        }
        assert!(parse("a.json", &[b'['; 100_000]).is_err());
    }
}
