//! A folder of images beside a folder of VOC or YOLO labels.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxidet_proto::yolo_txt;

use super::item::{Item, Labels};
use super::modifier::Modifier;
use super::{ConvertError, Listed, fold};
use crate::data::{missing_labels, read_text, with_label_paths};

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
    let ending = if matches!(folders.labelling, Labelling::Voc) { "xml" } else { "txt" };
    let pairs = with_label_paths(&folders.images, &folders.labels, ending)?;
    let extension_of = |(image, _): &(PathBuf, PathBuf)| image.extension().unwrap_or_default().to_owned();
    let extension = pairs.first().map(extension_of).unwrap_or_default();
    if let (false, Some((first, _)), Some((other, _))) =
        (mixed, pairs.first(), pairs.iter().find(|pair| extension_of(pair) != extension))
    {
        return Err(ConvertError::MixedExtensions { first: first.clone(), second: other.clone() });
    }
    let names: Option<Arc<[String]>> = match &folders.labelling {
        Labelling::Voc => None,
        Labelling::Yolo { names } => {
            Some(yolo_txt::names(&names.to_string_lossy(), &read_text(names)?)?.into())
        }
    };
    let mut missing = Vec::new();
    let mut items = Vec::new();
    for (image, file) in &pairs {
        let there = file.is_file();
        if !there {
            missing.push(image);
        }
        let stem = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (image, file) = (image.clone(), file.clone());
        items.push(Item::new(
            stem,
            match &names {
                None => Labels::Voc { image, file },
                Some(names) => Labels::Yolo { image, file: there.then_some(file), names: Arc::clone(names) },
            },
        ));
    }
    // All of them missing is the wrong folder.
    if !missing.is_empty() && (names.is_none() || missing.len() == pairs.len()) {
        return Err(missing_labels(&folders.images, &folders.labels, &missing).into());
    }
    Ok(Listed {
        folds: fold::random(items, folders.val_split, folders.shards, seed)?,
        modifier: Modifier::default(),
        image_root: Path::new(&folders.images).to_owned(),
        extension: extension.to_string_lossy().into_owned(),
        unlabelled: missing.len(),
        unnamed: 0,
    })
}
