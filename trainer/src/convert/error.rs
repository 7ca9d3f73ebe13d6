//! What stops a conversion.

use std::fmt;
use std::io;
use std::path::PathBuf;

use oxidet_proto::coco::CocoError;
use oxidet_proto::yolo_txt::NamesError;

use crate::data::DataError;

/// Label files named in one message.
const NAMED: usize = 50;

/// What stops a conversion. Nothing has been written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// Folders and files that cannot be read or do not fit together.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Labels or images that cannot be read, all of them.
    #[error("{0}")]
    Problems(Problems),
    /// COCO annotations that contradict themselves.
    #[error(transparent)]
    Coco(#[from] CocoError),
    /// A file that does not name classes.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The map of sequences to frames.
    #[error("{}: {what}; it must be JSON like {{\"sequence\": [\"frame\", …]}}", path.display())]
    Sequences {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A folder without images of the kind asked for.
    #[error("{}: no file in this folder ends in {ending:?}; correct image_extension or the folder", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// The end of names asked for.
        ending: String,
    },
    /// Images of several formats, of which a spec can name only one.
    #[error(
        "{} and {} have different extensions, and a training spec names one image_extension for all TFRecords; \
         convert the images to one format, or use --to kitti", first.display(), second.display()
    )]
    MixedExtensions {
        /// An image.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// A share that is less than one image.
    #[error(
        "val_split is {percent} %, which is none of {images} images; raise it, or write 0 for no validation fold"
    )]
    EmptyValidation {
        /// The share asked for.
        percent: f32,
        /// The number of images.
        images: usize,
    },
    /// More folds than there is to deal.
    #[error("num_partitions is {folds}, but there are only {sequences} sequences to deal; lower it")]
    TooManyFolds {
        /// Folds asked for.
        folds: u32,
        /// Sequences there are.
        sequences: usize,
    },
    /// More shards than their names can number.
    #[error("num_shards is {shards}; at most {most} are written, and a few are plenty")]
    TooManyShards {
        /// Shards asked for.
        shards: u32,
        /// The most.
        most: u32,
    },
    /// An image in a folder below the image folder.
    #[error(
        "{image} is in a folder below its image folder, where label folders are not looked for; \
         move the images into one folder, or convert to tfrecord"
    )]
    SubFolder {
        /// The image, without extension.
        image: String,
    },
    /// A validation fold that does not exist.
    #[error("the validation fold is {fold}, but folds are numbered from 0 and there are {count}")]
    NoSuchFold {
        /// The fold asked for.
        fold: u32,
        /// The number of folds.
        count: u32,
    },
    /// A spec without data.
    #[error("the spec has neither `kitti_config` nor `coco_config`")]
    NoSource,
    /// Labels that need no conversion.
    #[error(
        "the spec's labels are KITTI files already; use them as label_directory_path, or convert to tfrecord"
    )]
    AlreadyKitti,
    /// A split that label folders cannot express.
    #[error(
        "a label folder has a file for every image of its image folder, so it cannot be split; \
         sort the images into two folders and convert each, or convert to tfrecord"
    )]
    SplitOfFolder,
    /// Two images whose labels would be written to one file.
    #[error("{first} and {second} would share the label file {file}; give the images names of their own")]
    SameLabelFile {
        /// An image.
        first: String,
        /// Another.
        second: String,
        /// The file.
        file: String,
    },
    /// Files of an earlier conversion that a pattern would take together with the new ones.
    #[error(
        "{} is of an earlier conversion into other folds or shards, and `{}*` would match it too; \
         remove it and its like, or choose another prefix", stale.display(), prefix.display()
    )]
    Stale {
        /// The first of them.
        stale: PathBuf,
        /// The prefix.
        prefix: PathBuf,
    },
    /// A folder that holds something.
    #[error("{}: the folder is not empty; name a new one", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The system refuses to write.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Everything that is wrong with the labels and images, in their order. `Display` names the first files.
#[derive(Debug, Default)]
pub struct Problems {
    named: Vec<String>,
    more: usize,
}

impl Problems {
    pub(super) fn add(&mut self, problem: String) {
        if self.named.len() < NAMED { self.named.push(problem) } else { self.more += 1 }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    pub(super) fn into_result(self) -> Result<(), ConvertError> {
        if self.is_empty() { Ok(()) } else { Err(ConvertError::Problems(self)) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.named.join("\n"))?;
        if self.more > 0 { write!(f, "\n… and {} more files", self.more) } else { Ok(()) }
    }
}
