//! Writing KITTI label files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use oxidet_proto::kitti;

use super::dropped::Dropped;
use super::fold::Fold;
use super::item::Item;
use super::{ConvertError, ConvertSummary, Event, Problems, Reading};

/// Writes a label file for every image into `dir`, below it into a folder for each fold when images come from several.
/// The folder is new or empty, and appears whole or not at all.
pub(super) fn write(
    dir: &Path,
    folds: &[Fold],
    reading: &mut Reading,
    summary: &mut ConvertSummary,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<(), ConvertError> {
    let failed = |path: &Path, source| ConvertError::Write { path: path.to_owned(), source };
    let parent = oxidet_files::folder_of(dir);
    if dir.exists() && fs::read_dir(dir).map_err(|source| failed(dir, source))?.next().is_some() {
        return Err(ConvertError::NotEmpty { path: dir.to_owned() });
    }
    fs::create_dir_all(parent).map_err(|source| failed(parent, source))?;
    let staging = oxidet_files::staging_folder(parent).map_err(|source| failed(parent, source))?;

    // A folder that renaming puts into place, as readable as the user's umask allows.
    let root = staging.path().join("labels");
    let total = folds.iter().map(|fold| fold.items.len()).sum();
    let (mut done, mut dropped) = (0, Dropped::default());
    let mut seen = BTreeMap::new();
    for (number, fold) in folds.iter().enumerate() {
        // The last part of the name only: a spec must not lead out of `dir`.
        let several = folds.len() > 1;
        let below = Path::new(&fold.folder).file_name().filter(|_| several).unwrap_or_default();
        summary.folds[number].files = dir.join(below);
        summary.folds[number].folder.clone_from(&fold.folder);
        for Item { id, .. } in &fold.items {
            if Path::new(id).parent() != Some(Path::new(&fold.folder)) {
                return Err(ConvertError::SubFolder { image: id.clone() });
            }
            let file = Path::new(below).join(label_file(id));
            if let Some(first) = seen.insert(file.clone(), id) {
                let (first, second, file) = (first.clone(), id.clone(), file.display().to_string());
                return Err(ConvertError::SameLabelFile { first, second, file });
            }
        }
        let folder = root.join(below);
        fs::create_dir_all(&folder).map_err(|source| failed(&folder, source))?;
        let mut unwritable = Problems::default();
        reading.read_all(fold.items.iter(), |read| {
            match kitti::write(&read.frame.objects) {
                Ok(text) => {
                    let path = folder.join(label_file(&read.frame.id));
                    fs::write(&path, text).map_err(|source| failed(&path, source))?;
                }
                Err(error) => unwritable.add(format!("{}: {error}", read.frame.id)),
            }
            summary.count(number, &read, 1);
            dropped.add(read.dropped);
            done += 1;
            report(Event::Read(done, total));
            Ok(())
        })?;
        unwritable.into_result()?;
    }
    reading.finish(done)?;
    if dir.exists() {
        fs::remove_dir(dir).map_err(|source| failed(dir, source))?;
    }
    fs::rename(&root, dir).map_err(|source| failed(dir, source))?;
    report(Event::Written(dir));
    summary.warning_file = dropped.write(dir)?;
    Ok(())
}

/// Name of the label file of an image: the last part of its id.
fn label_file(id: &str) -> String {
    format!("{}.txt", id.rsplit('/').next().unwrap_or(id))
}
