//! From labels in any format read here to TFRecord shards or to a folder of KITTI labels.
//!
//! A source lists its images in folds ([`Source`]); each image's labels are read, cleaned and counted; the output
//! ([`Output`]) writes them. Labels are read some hundred images at a time, side by side; what is written depends on
//! the request and the files alone. Nothing is put into place before everything has been read without an error.

mod clean;
mod coco;
mod dropped;
mod error;
mod fold;
mod folders;
mod item;
mod kitti;
mod kitti_folder;
mod modifier;
mod shards;
mod summary;

use std::path::PathBuf;

use oxidet_proto::spec::DatasetExportConfig;
use rayon::prelude::*;

use crate::data::{BadImages, DataError};

pub use error::{ConvertError, Problems};
pub use fold::Role;
pub use folders::{Folders, Labelling};
pub use summary::{ConvertSummary, FoldSummary};

use fold::Fold;
use item::{Item, Read, Unread};
use modifier::Modifier;

/// Images whose labels are read side by side.
const AT_ONCE: usize = 512;

/// Names of shards have five digits.
const MAX_SHARDS: u32 = 99_999;

/// What to convert, and to what.
#[derive(Clone, Debug)]
pub struct ConvertRequest {
    /// The data.
    pub source: Source,
    /// What to write.
    pub output: Output,
    /// What decides which images validate and in which order records are written.
    pub seed: u64,
    /// What happens to images that are missing or no images. Labels that cannot be read always stop a conversion.
    pub bad_images: BadImages,
}

/// Data to convert.
#[derive(Clone, Debug)]
pub enum Source {
    /// As a `dataset_convert` spec describes it. Relative folders start at `DATA_BASE_PATH`, see
    /// [`from_base_path`](crate::data::from_base_path).
    Spec {
        /// A spec that passed its lints.
        config: Box<DatasetExportConfig>,
        /// The fold that the sample modifier leaves alone. In random mode 0 when it is not given.
        validation_fold: Option<u32>,
    },
    /// A folder of images beside a folder of labels.
    Folders(Folders),
}

/// What to write.
#[derive(Clone, Debug)]
pub enum Output {
    /// Shards whose names start with this; the list of dropped boxes beside them.
    TfRecord(PathBuf),
    /// A new folder of KITTI label files, one for each image.
    Kitti(PathBuf),
}

/// What happens during a conversion.
#[derive(Debug)]
pub enum Event<'a> {
    /// The images are dealt to folds.
    Dealt(&'a [FoldSummary]),
    /// So many of so many images are read.
    Read(usize, usize),
    /// A file is in its place.
    Written(&'a std::path::Path),
}

/// Converts.
///
/// # Errors
/// [`ConvertError`]. Labels that cannot be read are reported all at once. Nothing is written then.
pub fn convert(
    request: &ConvertRequest,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<ConvertSummary, ConvertError> {
    let Listed { folds, modifier, image_root, extension, unlabelled, unnamed } = list(request)?;
    if let Some(fold) = folds.iter().find(|fold| fold.shards > MAX_SHARDS) {
        return Err(ConvertError::TooManyShards { shards: fold.shards, most: MAX_SHARDS });
    }
    let mut summary = ConvertSummary {
        folds: folds.iter().map(Fold::summary).collect(),
        image_root,
        extension,
        unlabelled,
        unnamed,
        ..ConvertSummary::default()
    };
    report(Event::Dealt(&summary.folds));
    let mut reading =
        Reading { bad_images: request.bad_images, problems: Problems::default(), skipped: Vec::new() };
    match &request.output {
        Output::TfRecord(prefix) => {
            shards::write(prefix, &folds, &modifier, &mut reading, &mut summary, report)?;
        }
        Output::Kitti(dir) => kitti_folder::write(dir, &folds, &mut reading, &mut summary, report)?,
    }
    summary.skipped = reading.skipped;
    Ok(summary)
}

/// What a source has to convert.
struct Listed {
    folds: Vec<Fold>,
    modifier: Modifier,
    /// Folder that ids of frames start from.
    image_root: PathBuf,
    /// Of the images, without the dot.
    extension: String,
    /// Images that count as empty because they have no label file.
    unlabelled: usize,
    /// Images of the folder that no sequence names.
    unnamed: usize,
}

fn list(request: &ConvertRequest) -> Result<Listed, ConvertError> {
    let to_kitti = matches!(request.output, Output::Kitti(_));
    match &request.source {
        Source::Folders(folders) if to_kitti && folders.val_split > 0.0 => Err(ConvertError::SplitOfFolder),
        Source::Folders(folders) => folders::list(folders, request.seed, to_kitti),
        Source::Spec { config, validation_fold } => {
            let listed = match (&config.kitti_config, &config.coco_config) {
                (Some(_), _) if to_kitti => return Err(ConvertError::AlreadyKitti),
                (Some(kitti), _) => kitti::list(kitti, *validation_fold, request.seed)?,
                (None, Some(coco)) => coco::list(coco, *validation_fold, !to_kitti)?,
                (None, None) => return Err(ConvertError::NoSource),
            };
            let count = listed.folds.iter().map(|fold| fold.of).max().unwrap_or(0);
            if let Some(fold) = validation_fold.filter(|&fold| fold >= count.max(1)) {
                return Err(ConvertError::NoSuchFold { fold, count });
            }
            let has_validation = listed.folds.iter().any(|fold| fold.role == Role::Validation);
            let modifier =
                Modifier::new(config.sample_modifier_config.as_ref(), listed.folds.len(), has_validation);
            Ok(Listed { modifier, ..listed })
        }
    }
}

/// What reading labels and images has met.
struct Reading {
    bad_images: BadImages,
    problems: Problems,
    /// What is wrong with images that are left out.
    skipped: Vec<String>,
}

impl Reading {
    /// Whether what was read may be put into place.
    fn finish(&mut self, taken: usize) -> Result<(), ConvertError> {
        std::mem::take(&mut self.problems).into_result()?;
        match self.skipped.first() {
            Some(first) if taken == 0 => {
                Err(DataError::NothingLeft { count: self.skipped.len(), first: first.clone() }.into())
            }
            _ => Ok(()),
        }
    }

    /// Reads `items` in order and gives each to `take`; problems are collected, and from the first on nothing is given any more.
    fn read_all<'a>(
        &mut self,
        items: impl Iterator<Item = &'a Item>,
        mut take: impl FnMut(Read) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        let mut items = items.peekable();
        while items.peek().is_some() {
            let some: Vec<&Item> = items.by_ref().take(AT_ONCE).collect();
            let read: Vec<_> = some.into_par_iter().map(Item::read).collect();
            for result in read {
                match result {
                    Ok(read) if self.problems.is_empty() => take(read)?,
                    Ok(_) => {}
                    Err(Unread::Image(why)) if self.bad_images == BadImages::Skip => self.skipped.push(why),
                    Err(Unread::Image(why) | Unread::Labels(why)) => self.problems.add(why),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
