//! What a conversion found and wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Role;
use super::item::Read;

/// What a conversion found and wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConvertSummary {
    /// By fold.
    pub folds: Vec<FoldSummary>,
    /// Class names in the labels, and in what was written.
    pub names: BTreeMap<String, String>,
    /// Boxes without area, left out and listed in `warning_file`.
    pub dropped: usize,
    /// Boxes around crowds, left out.
    pub crowd: usize,
    /// Images taken for empty because they have no label file.
    pub unlabelled: usize,
    /// Images of the folder that no sequence names, left out.
    pub unnamed: usize,
    /// Pattern of the TFRecord files of all folds.
    pub all_folds: PathBuf,
    /// Images left out, and what is wrong with each.
    pub skipped: Vec<String>,
    /// The list of dropped boxes, when there are some.
    pub warning_file: Option<PathBuf>,
    /// Folder of the images, which the spec calls `image_directory_path`.
    pub image_root: PathBuf,
    /// Extension of the images, without the dot.
    pub extension: String,
}

/// What was written of one fold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoldSummary {
    /// Its number.
    pub index: u32,
    /// Number of folds; 0 when files have no number of a fold.
    pub of: u32,
    /// What it is for.
    pub role: Role,
    /// Images before the sample modifier.
    pub images: usize,
    /// Images written, repeated ones as often as they are.
    pub records: usize,
    /// Objects written by class.
    pub objects: BTreeMap<String, usize>,
    /// Pattern of its TFRecord files, or its folder of labels.
    pub files: PathBuf,
    /// Folder of its images below [`ConvertSummary::image_root`], where the output has a folder for each fold.
    pub folder: String,
}

impl ConvertSummary {
    /// Counts an image of fold `fold` that is written `copies` times.
    pub(super) fn count(&mut self, fold: usize, read: &Read, copies: usize) {
        self.dropped += read.dropped.len();
        self.crowd += read.crowd;
        let Some(summary) = self.folds.get_mut(fold) else { return };
        summary.records += copies;
        for (object, name) in read.frame.objects.iter().zip(&read.label_names) {
            *summary.objects.entry(object.class.clone()).or_default() += copies;
            if !self.names.contains_key(name) {
                self.names.insert(name.clone(), object.class.clone());
            }
        }
    }

    /// Objects written by class, over all folds.
    pub fn objects(&self) -> BTreeMap<&str, usize> {
        let mut total = BTreeMap::new();
        for (class, count) in self.folds.iter().flat_map(|fold| &fold.objects) {
            *total.entry(class.as_str()).or_default() += count;
        }
        total
    }
}
