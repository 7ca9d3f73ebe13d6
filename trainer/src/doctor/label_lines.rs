//! Finding the line of a label file that a box comes from, so that people can go there.

use std::fs;
use std::path::{Path, PathBuf};

use oxidet_proto::kitti;
use oxidet_proto::lint::Checked;
use oxidet_proto::spec::DataSource;
use oxidet_vision::PxBox;

use crate::data::Split;

/// The label files of a split. TFRecords have none: their boxes are named by image.
pub(super) struct LabelLines<'a> {
    sources: &'a [DataSource],
}

impl<'a> LabelLines<'a> {
    pub(super) fn new(spec: &'a Checked, split: Split) -> Self {
        let dataset = spec.dataset();
        let sources = match split {
            Split::Train => &dataset.data_sources,
            Split::Validation => &dataset.validation_data_sources,
        };
        Self { sources }
    }

    /// The label file of an image, and its objects. What it no longer has, or never had, it has not.
    pub(super) fn read(&self, image: &Path) -> Option<(PathBuf, Vec<kitti::Object>)> {
        let of_image = |source: &&DataSource| image.parent() == Some(Path::new(&source.image_directory_path));
        let folder = self.sources.iter().find(of_image)?.label_directory_path.as_deref()?;
        let mut name = image.file_stem()?.to_owned();
        name.push(".txt");
        let path = Path::new(folder).join(name);
        let objects = kitti::parse("", &fs::read_to_string(&path).ok()?).ok()?;
        Some((path, objects))
    }

    /// `labels/7.txt:3`, or the image where there is no such line.
    pub(super) fn place(&self, image: &Path, bbox: &PxBox) -> String {
        let wanted = [bbox.x1, bbox.y1, bbox.x2, bbox.y2];
        let line = self.read(image).and_then(|(path, objects)| {
            let line = objects.iter().find(|object| object.bbox == wanted)?.line;
            Some(format!("{}:{line}", path.display()))
        });
        line.unwrap_or_else(|| image.display().to_string())
    }
}

/// `car 10,20 to 34.5,60`
pub(super) fn describe(class: &str, b: &PxBox) -> String {
    format!("{class} {},{} to {},{}", b.x1, b.y1, b.x2, b.y2)
}
