//! One image to convert, and reading its labels.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxidet_proto::coco::Annotation;
use oxidet_proto::tfrecord::{Frame, PointCloud};
use oxidet_proto::{kitti, kitti_calibration, voc, yolo_txt};

use super::clean::{Cleaned, clean};
use crate::data::{read_header, read_text};

/// One image.
pub(super) struct Item {
    /// Path below the image root, without extension.
    pub(super) id: String,
    pub(super) labels: Labels,
    pub(super) point_cloud: Option<PointCloud>,
    /// KITTI calibration file.
    pub(super) calibration: Option<PathBuf>,
}

/// Where the objects of an image are.
pub(super) enum Labels {
    Kitti {
        image: PathBuf,
        file: PathBuf,
    },
    Voc {
        image: PathBuf,
        file: PathBuf,
    },
    /// An image without a label file has no objects.
    Yolo {
        image: PathBuf,
        file: Option<PathBuf>,
        names: Arc<[String]>,
    },
    Coco {
        image: PathBuf,
        width: u32,
        height: u32,
        annotations: Vec<Annotation>,
    },
}

/// An image with its objects as they are written.
pub(super) struct Read {
    pub(super) frame: Frame,
    /// Class names in the labels, in the order of the objects.
    pub(super) label_names: Vec<String>,
    /// What a dropped box is called in the list of them, and its corners.
    pub(super) dropped: Vec<(String, [i64; 4])>,
    /// Boxes around crowds, left out.
    pub(super) crowd: usize,
}

impl Item {
    /// Without labels of a lidar.
    pub(super) fn new(id: String, labels: Labels) -> Self {
        Self { id, labels, point_cloud: None, calibration: None }
    }

    /// Reads the labels, and the size of the image.
    ///
    /// # Errors
    /// What is wrong with one or the other.
    pub(super) fn read(&self) -> Result<Read, Unread> {
        let (width, height, objects, names_of_boxes, crowd) = match &self.labels {
            Labels::Kitti { image, file } => {
                let objects = kitti::parse(&name(file), &text(file)?).map_err(told)?;
                let (width, height) = size(image)?;
                (width, height, objects, BoxNames::Rows(file), 0)
            }
            Labels::Voc { image, file } => {
                let annotation = voc::parse(&name(file), &text(file)?).map_err(told)?;
                let (width, height) = size(image)?;
                if let Some([w, h]) = annotation.size.filter(|size| *size != [width, height]) {
                    return Err(other_size(file, [w, h], image, [width, height]));
                }
                (width, height, annotation.objects, BoxNames::Rows(file), 0)
            }
            Labels::Yolo { image, file, names } => {
                let (width, height) = size(image)?;
                match file {
                    None => (width, height, Vec::new(), BoxNames::Rows(image), 0),
                    Some(file) => {
                        let parsed = yolo_txt::parse(&name(file), &text(file)?, names, width, height);
                        (width, height, parsed.map_err(told)?, BoxNames::Rows(file), 0)
                    }
                }
            }
            Labels::Coco { image, width, height, annotations } => {
                let (found_width, found_height) = size(image)?;
                if (found_width, found_height) != (*width, *height) {
                    let annotated = Path::new("its annotations");
                    return Err(other_size(annotated, [*width, *height], image, [found_width, found_height]));
                }
                let (crowds, single): (Vec<_>, Vec<_>) = annotations.iter().partition(|a| a.crowd);
                let ids = single.iter().map(|annotation| annotation.id).collect();
                let objects = single.into_iter().map(|annotation| annotation.object.clone()).collect();
                (*width, *height, objects, BoxNames::Ids(ids), crowds.len())
            }
        };
        let Cleaned { objects, label_names, dropped } = clean(objects);
        let calibration = match &self.calibration {
            None => None,
            Some(file) => Some(kitti_calibration::parse(&name(file), &text(file)?).map_err(told)?),
        };
        let id = self.id.clone();
        let frame = Frame { id, width, height, objects, point_cloud: self.point_cloud.clone(), calibration };
        let dropped = dropped.into_iter().map(|(index, bbox)| (names_of_boxes.of(index), bbox)).collect();
        Ok(Read { frame, label_names, dropped, crowd })
    }
}

/// Why an image is not converted, as text for a person.
pub(super) enum Unread {
    /// Lines of its labels are wrong.
    Labels(String),
    /// It is not there, or no image.
    Image(String),
}

/// What boxes are called in the list of dropped ones.
enum BoxNames<'a> {
    /// `<label file>_<row>`, counted from 0.
    Rows(&'a Path),
    /// The annotation's id.
    Ids(Vec<u64>),
}

impl BoxNames<'_> {
    fn of(&self, index: usize) -> String {
        match self {
            Self::Rows(file) => format!("{}_{index}", file.display()),
            Self::Ids(ids) => ids.get(index).map(u64::to_string).unwrap_or_default(),
        }
    }
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn told(error: impl std::error::Error) -> Unread {
    Unread::Labels(error.to_string())
}

fn other_size(labels: &Path, made_for: [u32; 2], image: &Path, found: [u32; 2]) -> Unread {
    let ([w, h], [width, height], labels) = (made_for, found, labels.display());
    Unread::Labels(format!(
        "{}: the image is {width}x{height} pixels, {labels}: made for {w}x{h}; label the image as it is",
        image.display()
    ))
}

fn text(path: &Path) -> Result<String, Unread> {
    read_text(path).map_err(told)
}

fn size(image: &Path) -> Result<(u32, u32), Unread> {
    let header = read_header(image).map_err(|error| Unread::Image(error.to_string()))?;
    let side =
        |side| u32::try_from(side).map_err(|_| Unread::Image(format!("{}: too large", image.display())));
    Ok((side(header.width)?, side(header.height)?))
}
