//! A folder of images beside a folder of VOC or YOLO labels.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxidet_proto::yolo_txt;

use super::item::{Item, Labels, read_text};
use super::modifier::Modifier;
use super::{ConvertError, Listed, fold};
use crate::data::{DataError, list_images};

/// Images, labels, and how to split them.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Folder of images, not searched deeper.
    pub images: PathBuf,
    /// Folder of label files, each of the name of its image.
    pub labels: PathBuf,
    /// How images are labelled.
    pub labelling: Labelling,
    /// Percentage for validation, in [0, 100).
    pub val_split: f32,
    /// Shards of each fold; 0 is one file without a number.
    pub shards: u32,
}

/// A format of label files.
#[derive(Clone, Debug)]
pub enum Labelling {
    /// Pascal VOC XML. Every image has a file.
    Voc,
    /// YOLO text. An image without a file has no objects.
    Yolo {
        /// File that names the classes, see [`yolo_txt::names`].
        names: PathBuf,
    },
}

/// `mixed`: whether images may have different extensions.
pub(super) fn list(folders: &Folders, seed: u64, mixed: bool) -> Result<Listed, ConvertError> {
    let images = list_images(&folders.images)?;
    let Some(first) = images.first() else {
        return Err(DataError::NoImages { path: folders.images.clone() }.into());
    };
    for pair in images.windows(2) {
        if pair[0].file_stem() == pair[1].file_stem() {
            return Err(DataError::SameStem { first: pair[0].clone(), second: pair[1].clone() }.into());
        }
    }
    if let (false, Some(other)) = (mixed, images.iter().find(|image| image.extension() != first.extension()))
    {
        return Err(ConvertError::MixedExtensions { first: first.clone(), second: other.clone() });
    }
    let labels = &folders.labels;
    fs::read_dir(labels).map_err(|source| DataError::Io { path: labels.clone(), source })?;

    let (ending, names): (_, Option<Arc<[String]>>) = match &folders.labelling {
        Labelling::Voc => ("xml", None),
        Labelling::Yolo { names } => {
            ("txt", Some(yolo_txt::names(&names.to_string_lossy(), &read_text(names)?)?.into()))
        }
    };
    let extension = first.extension().unwrap_or_default().to_string_lossy().into_owned();
    let mut missing = Vec::new();
    let mut items = Vec::new();
    for image in &images {
        let stem = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file = labels.join(format!("{stem}.{ending}"));
        let there = file.is_file();
        if !there {
            missing.push(image.clone());
        }
        let image = image.clone();
        items.push(Item::new(
            stem,
            match &names {
                None => Labels::Voc { image, file },
                Some(names) => Labels::Yolo { image, file: there.then_some(file), names: Arc::clone(names) },
            },
        ));
    }
    // All of them missing is the wrong folder.
    if !missing.is_empty() && (names.is_none() || missing.len() == images.len()) {
        let name = |image: &PathBuf| image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(DataError::MissingLabels {
            images: folders.images.clone(),
            labels: labels.clone(),
            names: missing.iter().take(5).map(name).collect(),
            count: missing.len(),
        }
        .into());
    }
    Ok(Listed {
        folds: fold::random(items, folders.val_split, folders.shards, seed)?,
        modifier: Modifier::default(),
        image_root: Path::new(&folders.images).to_owned(),
        extension,
        unlabelled: missing.len(),
        unnamed: 0,
    })
}
