//! Writing TFRecord shards.

use std::collections::BTreeSet;
use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use oxidet_files::{Closed, Staged};
use oxidet_proto::tfrecord::write_record;

use super::dropped::{Dropped, with_suffix};
use super::fold::Fold;
use super::modifier::Modifier;
use super::{ConvertError, ConvertSummary, Event, Reading};

/// Writes all shards under temporary names and, when all labels could be read, puts them into place.
pub(super) fn write(
    prefix: &Path,
    folds: &[Fold],
    modifier: &Modifier,
    reading: &mut Reading,
    summary: &mut ConvertSummary,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<(), ConvertError> {
    let dir = oxidet_files::folder_of(prefix);
    let failed = |path: &Path, source| ConvertError::Write { path: path.to_owned(), source };
    fs::create_dir_all(dir).map_err(|source| failed(dir, source))?;
    refuse_stale(prefix, dir, folds)?;

    summary.all_folds = with_suffix(&literal(prefix), "-fold-*");
    let total = folds.iter().map(|fold| fold.items.len()).sum();
    let (mut done, mut staged, mut dropped) = (0, Vec::<Closed>::new(), Dropped::default());
    for (number, fold) in folds.iter().enumerate() {
        let mut written = 0;
        summary.folds[number].files = pattern(prefix, fold);
        for (range, path) in ranges(fold.items.len(), fold.shards).into_iter().zip(paths(prefix, fold)) {
            let mut file = BufWriter::new(Staged::new(&path).map_err(|source| failed(&path, source))?);
            reading.read_all(fold.items[range].iter(), |read| {
                let copies = modifier.copies(fold.role, &read.frame.objects, written);
                let payload = read.frame.encode();
                for _ in 0..copies {
                    write_record(&mut file, &payload).map_err(|source| failed(&path, source))?;
                }
                written += copies;
                summary.count(number, &read, copies);
                dropped.add(read.dropped);
                done += 1;
                report(Event::Read(done, total));
                Ok(())
            })?;
            let file = file.into_inner().map_err(|error| failed(&path, error.into_error()))?;
            staged.push(file.close().map_err(|source| failed(&path, source))?);
        }
    }
    reading.finish(done)?;
    for file in staged {
        let path = file.target().to_owned();
        file.commit().map_err(|source| failed(&path, source))?;
        report(Event::Written(&path));
    }
    summary.warning_file = dropped.write(prefix)?;
    Ok(())
}

/// `<prefix>` and, when there are several, the fold.
fn base(prefix: &Path, fold: &Fold) -> PathBuf {
    let suffix = match fold.of {
        0 => String::new(),
        of => format!("-fold-{:03}-of-{of:03}", fold.index),
    };
    with_suffix(prefix, &suffix)
}

/// What a spec writes to mean all shards of a fold.
fn pattern(prefix: &Path, fold: &Fold) -> PathBuf {
    with_suffix(&literal(&base(prefix, fold)), if fold.shards == 0 { "" } else { "-shard-*" })
}

/// A pattern that only this path matches. It is absolute: a spec may be used from another folder.
fn literal(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    glob::Pattern::escape(&absolute.to_string_lossy()).into()
}

/// The files of a fold.
fn paths(prefix: &Path, fold: &Fold) -> Vec<PathBuf> {
    let base = base(prefix, fold);
    match fold.shards {
        0 => vec![base],
        of => (0..of).map(|shard| with_suffix(&base, &format!("-shard-{shard:05}-of-{of:05}"))).collect(),
    }
}

/// Which images belong to which shard: equal shares, what is left over goes to the last.
fn ranges(len: usize, shards: u32) -> Vec<std::ops::Range<usize>> {
    let shards = shards.max(1) as usize;
    let size = len / shards;
    (0..shards)
        .map(|shard| shard * size..if shard + 1 == shards { len } else { (shard + 1) * size })
        .collect()
}

/// Shards of the same prefix that this conversion does not replace would be trained on as well.
fn refuse_stale(prefix: &Path, dir: &Path, folds: &[Fold]) -> Result<(), ConvertError> {
    let name = prefix.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let ours: BTreeSet<_> = folds
        .iter()
        .flat_map(|fold| paths(prefix, fold))
        .filter_map(|path| path.file_name().map(ToOwned::to_owned))
        .collect();
    let failed = |source| ConvertError::Write { path: dir.to_owned(), source };
    let mut stale = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let file = entry.map_err(failed)?.file_name();
        let text = file.to_string_lossy().into_owned();
        let rest = text.strip_prefix(&name).unwrap_or_default();
        let is_shard = rest.starts_with("-fold-") || rest.starts_with("-shard-");
        if is_shard && !ours.contains(&file) {
            stale.push(dir.join(file));
        }
    }
    match stale.into_iter().min() {
        Some(stale) => Err(ConvertError::Stale { stale, prefix: prefix.to_owned() }),
        None => Ok(()),
    }
}
