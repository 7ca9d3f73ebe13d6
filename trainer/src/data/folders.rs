//! A folder of images beside a folder of KITTI label files, paired by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use oxidet_proto::kitti::{self, Object};

use super::DataError;
use super::image_file::list_images;

/// Images of `images`, sorted by name, each with its label file.
pub(super) fn pair(images: &Path, labels: &Path) -> Result<Vec<(PathBuf, PathBuf)>, DataError> {
    let pairs = with_label_paths(images, labels, "txt")?;
    let missing: Vec<&PathBuf> =
        pairs.iter().filter(|(_, label)| !label.is_file()).map(|(image, _)| image).collect();
    if missing.is_empty() { Ok(pairs) } else { Err(missing_labels(images, labels, &missing)) }
}

/// Images of `images`, sorted by name, each with where its label file belongs, which ends in `.<extension>`.
pub(crate) fn with_label_paths(
    images: &Path,
    labels: &Path,
    extension: &str,
) -> Result<Vec<(PathBuf, PathBuf)>, DataError> {
    let found = list_images(images)?;
    if found.is_empty() {
        return Err(DataError::NoImages { path: images.to_owned() });
    }
    // Fails with the name of the folder where a missing label file would name every image.
    fs::read_dir(labels).map_err(|source| DataError::Io { path: labels.to_owned(), source })?;
    let mut by_stem: BTreeMap<_, &PathBuf> = BTreeMap::new();
    for image in &found {
        if let Some(first) = by_stem.insert(image.file_stem(), image) {
            return Err(DataError::SameStem { first: first.clone(), second: image.clone() });
        }
    }
    let label_of = |image: &PathBuf| {
        let mut name = image.file_stem().unwrap_or_default().to_owned();
        name.push(".");
        name.push(extension);
        labels.join(name)
    };
    Ok(found.iter().map(|image| (image.clone(), label_of(image))).collect())
}

/// The error that names the first of the images without a label file.
pub(crate) fn missing_labels(images: &Path, labels: &Path, missing: &[&PathBuf]) -> DataError {
    let name = |image: &&PathBuf| image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    DataError::MissingLabels {
        images: images.to_owned(),
        labels: labels.to_owned(),
        names: missing.iter().take(5).map(name).collect(),
        count: missing.len(),
    }
}

/// The objects of a label file.
pub(super) fn read_labels(path: &Path) -> Result<Vec<Object>, DataError> {
    kitti::parse(&path.to_string_lossy(), &read_text(path)?)
        .map_err(|error| DataError::Labels { files: vec![error], more: 0 })
}

/// A text file.
pub(crate) fn read_text(path: &Path) -> Result<String, DataError> {
    let bytes = oxidet_files::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|_| DataError::NotText { path: path.to_owned() })
}
