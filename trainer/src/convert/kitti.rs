//! Images with KITTI label files, as a spec's `kitti_config` describes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use oxidet_proto::spec::KittiConfig;
use oxidet_proto::tfrecord::PointCloud;

use super::item::{Item, Labels};
use super::modifier::Modifier;
use super::{ConvertError, Listed, fold};
use crate::data::{DataError, from_base_path, read_text};

/// What the original assumes when `image_extension` is not given.
const EXTENSION: &str = ".png";
/// Numbers of one point in KITTI's point clouds.
const CHANNELS: u32 = 4;
/// Files named in one message.
const NAMED: usize = 5;

pub(super) fn list(
    config: &KittiConfig,
    validation_fold: Option<u32>,
    seed: u64,
) -> Result<Listed, ConvertError> {
    let root = from_base_path(&config.root_directory_path);
    let ending = if config.image_extension.is_empty() { EXTENSION } else { &config.image_extension };
    let images = root.join(&config.image_dir_name);
    let stems = stems(&images, ending)?;
    let item = |stem: &String| item(config, &root, ending, stem);
    let mut unnamed = 0;
    let folds = if config.partition_mode == "sequence" {
        let path = root.join(&config.kitti_sequence_to_frames_file);
        let sequences = sequences(&path)?;
        check_frames(&path, &sequences, &stems)?;
        let used: Vec<&String> = sequences.values().flatten().collect();
        check_files(config, &root, &images, &used)?;
        unnamed = stems.len() - used.len();
        let sequences =
            sequences.iter().map(|(name, frames)| (name.clone(), frames.iter().map(item).collect()));
        fold::by_sequence(
            sequences.collect(),
            config.num_partitions,
            config.num_shards,
            validation_fold,
            seed,
        )?
    } else {
        let used: Vec<&String> = stems.iter().collect();
        check_files(config, &root, &images, &used)?;
        let items = stems.iter().map(item).collect();
        let mut folds = fold::random(items, config.val_split, config.num_shards, seed)?;
        if let Some(named) = validation_fold {
            folds.iter_mut().for_each(|fold| fold.role = fold::role(fold.index, Some(named)));
        }
        folds
    };
    // The stem ends before the last dot; what follows is the extension of a training spec.
    let extension = ending.rsplit('.').next().unwrap_or(ending).to_owned();
    Ok(Listed { folds, modifier: Modifier::default(), image_root: root, extension, unlabelled: 0, unnamed })
}

fn item(config: &KittiConfig, root: &Path, ending: &str, stem: &str) -> Item {
    let image = root.join(&config.image_dir_name).join(file_name(stem, ending));
    let file = root.join(&config.label_dir_name).join(format!("{stem}.txt"));
    let below = |dir: &str| Path::new(dir).join(stem).to_string_lossy().into_owned();
    Item {
        id: below(&config.image_dir_name),
        labels: Labels::Kitti { image, file },
        point_cloud: (!config.point_clouds_dir.is_empty())
            .then(|| PointCloud { id: below(&config.point_clouds_dir), channels: CHANNELS }),
        calibration: (!config.calibrations_dir.is_empty())
            .then(|| root.join(&config.calibrations_dir).join(format!("{stem}.txt"))),
    }
}

/// The image of a stem: the ending may reach before the last dot, as in `_left.png`.
fn file_name(stem: &str, ending: &str) -> String {
    match ending.rfind('.') {
        Some(dot) => format!("{stem}{}", &ending[dot..]),
        None => format!("{stem}.{ending}"),
    }
}

/// Names without extension of the files in `images` that end in `ending`, sorted.
fn stems(images: &Path, ending: &str) -> Result<Vec<String>, ConvertError> {
    let failed = |source| DataError::Io { path: images.to_owned(), source };
    let mut stems = Vec::new();
    for entry in fs::read_dir(images).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(ending)
            && let Some((stem, _)) = name.rsplit_once('.')
        {
            stems.push(stem.to_owned());
        }
    }
    if stems.is_empty() {
        return Err(ConvertError::NoImages { path: images.to_owned(), ending: ending.to_owned() });
    }
    stems.sort();
    Ok(stems)
}

/// Every image must have its label file, and its calibration file when there is a folder for them.
fn check_files(
    config: &KittiConfig,
    root: &Path,
    images: &Path,
    stems: &[&String],
) -> Result<(), ConvertError> {
    let mut folders = vec![&config.label_dir_name];
    if !config.calibrations_dir.is_empty() {
        folders.push(&config.calibrations_dir);
    }
    for folder in folders {
        let folder = root.join(folder);
        fs::read_dir(&folder).map_err(|source| DataError::Io { path: folder.clone(), source })?;
        let missing: Vec<&&String> =
            stems.iter().filter(|stem| !folder.join(format!("{stem}.txt")).is_file()).collect();
        if !missing.is_empty() {
            return Err(DataError::MissingLabels {
                images: images.to_owned(),
                labels: folder,
                names: missing.iter().take(NAMED).map(ToString::to_string).collect(),
                count: missing.len(),
            }
            .into());
        }
    }
    Ok(())
}

fn sequences(path: &Path) -> Result<BTreeMap<String, Vec<String>>, ConvertError> {
    let failed = |what| ConvertError::Sequences { path: path.to_owned(), what };
    serde_json::from_str(&read_text(path)?).map_err(|error| failed(error.to_string()))
}

/// Every frame must be an image of the folder, and of one sequence only.
fn check_frames(
    path: &Path,
    sequences: &BTreeMap<String, Vec<String>>,
    stems: &[String],
) -> Result<(), ConvertError> {
    let failed = |what| Err(ConvertError::Sequences { path: PathBuf::from(path), what });
    let mut seen: BTreeMap<&String, &String> = BTreeMap::new();
    for (sequence, frames) in sequences {
        for frame in frames {
            if stems.binary_search(frame).is_err() {
                return failed(format!(
                    "frame {frame:?} of sequence {sequence:?} is no image in the image folder"
                ));
            }
            if let Some(other) = seen.insert(frame, sequence) {
                return failed(format!("frame {frame:?} is in sequence {other:?} and again in {sequence:?}"));
            }
        }
    }
    Ok(())
}
