//! What is wrong with a data set.

use std::io;
use std::path::PathBuf;

use oxidet_proto::kitti::KittiError;
use oxidet_proto::tfrecord::{FrameError, RecordError};
use oxidet_vision::ImageError;

use super::image_file::EXTENSIONS;

/// What is wrong with a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An image cannot be read.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ImageError,
    },
    /// An image is not of the size its labels were made for.
    #[error(
        "{}: the image is {}x{} pixels, its record says {}x{}; run dataset_convert again on the images as they are",
        path.display(), found.0, found.1, labelled.0, labelled.1
    )]
    OtherSize {
        /// The image.
        path: PathBuf,
        /// Width and height in the record.
        labelled: (usize, usize),
        /// Width and height of the image.
        found: (usize, usize),
    },
    /// Label files with lines that are not KITTI's.
    #[error("{}", join(files, *more))]
    Labels {
        /// The first of them.
        files: Vec<KittiError>,
        /// How many more there are.
        more: usize,
    },
    /// Label files with bytes that are no text.
    #[error("{}: not a text file in UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Images without a label file.
    #[error(
        "{count} of the images in {} have no label file in {}: {}; an image without objects needs an empty label file",
        images.display(), labels.display(), names.join(", ")
    )]
    MissingLabels {
        /// Folder of the images.
        images: PathBuf,
        /// Folder of the labels.
        labels: PathBuf,
        /// Names of the first of them.
        names: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// Two images share one label file.
    #[error("{} and {} have the same name but for the extension and would share one label file", first.display(), second.display())]
    SameStem {
        /// An image.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// A folder without images.
    #[error("{}: no images ({}) in this folder", path.display(), EXTENSIONS.join(", "))]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// A record cannot be read.
    #[error("{}: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Where, and what is wrong.
        source: RecordError,
    },
    /// A record does not describe an image.
    #[error("{}: record {}: {source}", path.display(), index + 1)]
    Frame {
        /// The file.
        path: PathBuf,
        /// Its place in the file, from 0.
        index: usize,
        /// What is wrong.
        source: FrameError,
    },
    /// A pattern of files that leads nowhere.
    #[error("{}: {what}", pattern.display())]
    Pattern {
        /// The pattern.
        pattern: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// No file of a fold, or none of any other.
    #[error(
        "validation_fold is {fold}, which is held out of the training TFRecords, but {} of their files are of it; \
         name validation_data_sources, or convert with two partitions", if *all { "all" } else { "none" }
    )]
    NoFold {
        /// The fold.
        fold: u32,
        /// Whether all files are of it, so that there is nothing to train on.
        all: bool,
    },
    /// Nothing to validate on.
    #[error(
        "the spec has no validation_data_sources; a fold of the training data can be held out of TFRecords only, \
         not of label folders"
    )]
    NoValidation,
    /// A source without labels.
    #[error("a data source has neither label_directory_path nor tfrecords_path; give it one of them")]
    NoLabels,
    /// Everything was left out.
    #[error("{count} images were skipped, and none is left; the first was {first}")]
    NothingLeft {
        /// Images skipped.
        count: usize,
        /// The first of them, and why.
        first: String,
    },
}

fn join(files: &[KittiError], more: usize) -> String {
    let mut lines: Vec<String> = files.iter().map(KittiError::to_string).collect();
    if more > 0 {
        lines.push(format!("… and {more} more label files"));
    }
    lines.join("\n")
}
