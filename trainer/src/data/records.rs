//! TFRecord shards as a source of labels.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use oxidet_proto::spec::{DataSource, DatasetConfig};
use oxidet_proto::tfrecord::{Frame, Records};

use super::DataError;
use super::base_path::{from_base_path, pattern_from_base_path};
use super::dataset::{Entry, Labels};

/// Which files of a pattern are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// All.
    Any,
    /// Those of one fold.
    Only(u32),
    /// All but those of one fold.
    AllBut(u32),
}

impl Fold {
    fn has(self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let of = |fold: u32| name.contains(&format!("fold-{fold:03}-of-"));
        match self {
            Self::Any => true,
            Self::Only(fold) => of(fold),
            Self::AllBut(fold) => !of(fold),
        }
    }
}

/// The images that the records of `source` speak of, read one by one.
pub(super) fn record_entries(
    source: &DataSource,
    pattern: &str,
    fold: Fold,
    config: &DatasetConfig,
) -> Result<impl Iterator<Item = Result<Entry, DataError>> + use<>, DataError> {
    let mut shards = record_files(pattern)?;
    shards.retain(|path| fold.has(path));
    let images = from_base_path(&source.image_directory_path);
    let extension = config.image_extension.trim_start_matches('.').to_owned();
    let entries = move |shard: PathBuf| {
        let (images, extension) = (images.clone(), extension.clone());
        frames(shard).map(move |frame| {
            let Frame { id, width, height, objects, .. } = frame?;
            Ok(Entry {
                image: images.join(format!("{id}.{extension}")),
                size: Some((width as usize, height as usize)),
                labels: Labels::Objects(objects),
            })
        })
    };
    Ok(shards.into_iter().flat_map(entries))
}

/// The TFRecord files of a glob pattern, by name. The list of dropped boxes that `dataset_convert` writes beside its shards is none.
///
/// # Errors
/// When there is none.
pub fn record_files(pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let pattern = pattern_from_base_path(pattern);
    let failed = |what: String| DataError::Pattern { pattern: pattern.clone().into(), what };
    let matches = glob::glob(&pattern).map_err(|error| failed(error.to_string()))?;
    let mut found = Vec::new();
    for path in matches {
        let path =
            path.map_err(|error| DataError::Io { path: error.path().to_owned(), source: error.into() })?;
        if path.is_file() && !path.to_string_lossy().ends_with("_warning.json") {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(failed(
            "no file matches this pattern; run dataset_convert first, or correct the path".into(),
        ));
    }
    Ok(found)
}

/// The frames of one shard. Holds one record at a time.
fn frames(shard: PathBuf) -> Box<dyn Iterator<Item = Result<Frame, DataError>>> {
    let file = match oxidet_files::open(&shard) {
        Ok(file) => file,
        Err(source) => return Box::new(std::iter::once(Err(DataError::Io { path: shard, source }))),
    };
    Box::new(Records::new(BufReader::new(file)).enumerate().map(move |(index, record)| {
        let record = record.map_err(|source| DataError::Record { path: shard.clone(), source })?;
        Frame::decode(&record).map_err(|source| DataError::Frame { path: shard.clone(), index, source })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{BadImages, Dataset, DatasetRequest, Split};
    use oxidet_proto::kitti::parse;
    use oxidet_proto::spec::ClassMap;
    use oxidet_proto::tfrecord::write_record;
    use std::fs;

    /// Writes images and one shard for each fold; returns the configuration.
    fn set(dir: &Path) -> DatasetConfig {
        fs::create_dir(dir.join("pictures")).unwrap();
        for (fold, ids) in [(0, ["a", "b"]), (1, ["c", "d"])] {
            let mut shard = Vec::new();
            for id in ids {
                let image = oxidet_vision::Image::filled(8, 6, &[1u8, 2, 3]);
                let png = oxidet_vision::image::encode_png(&image).unwrap();
                fs::write(dir.join(format!("pictures/{id}.png")), png).unwrap();
                let text = "car 0 2 0 1 1 4.5 4 0 0 0 0 0 0 0\ndontcare 0 0 0 1 1 4 4 0 0 0 0 0 0 0";
                let objects = parse("x", text).unwrap();
                let id = format!("pictures/{id}");
                let frame = Frame { id, width: 8, height: 6, objects, ..Frame::default() };
                write_record(&mut shard, &frame.encode()).unwrap();
            }
            fs::write(dir.join(format!("set-fold-{fold:03}-of-002-shard-00000-of-00001")), shard).unwrap();
        }
        fs::write(dir.join("set_warning.json"), "{}").unwrap();
        let source = DataSource {
            tfrecords_path: Some(dir.join("set*").to_string_lossy().into_owned()),
            image_directory_path: dir.to_string_lossy().into_owned(),
            ..DataSource::default()
        };
        DatasetConfig {
            data_sources: vec![source],
            image_extension: "png".into(),
            ..DatasetConfig::default()
        }
    }

    fn open(config: &DatasetConfig, split: Split) -> Result<Dataset, DataError> {
        let classes = ClassMap::new(&[("Car".to_owned(), "car".to_owned())].into());
        Dataset::open(
            &DatasetRequest { config, classes: &classes, depth: Some(8), bad_images: BadImages::Stop },
            split,
        )
    }

    fn names(dataset: &Dataset) -> Vec<String> {
        let stem = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
        dataset.samples.iter().map(|sample| stem(&sample.image)).collect()
    }

    #[test]
    fn records_are_read_by_fold() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = set(dir.path());
        let validation = open(&config, Split::Validation).unwrap();
        assert_eq!(names(&validation), ["a", "b"], "fold 0 unless said otherwise");
        config.validation_fold = 1;
        assert_eq!(names(&open(&config, Split::Validation).unwrap()), ["c", "d"]);
        let train = open(&config, Split::Train).unwrap();
        assert_eq!(names(&train), ["a", "b"]);
        assert_eq!((train.samples[0].width, train.samples[0].height), (8, 6));
        let object = train.samples[0].objects[0];
        assert!(object.difficult, "an occlusion of 2 counts once, as difficult");
        assert_eq!(object.bbox, oxidet_vision::PxBox { x1: 1.0, y1: 1.0, x2: 4.5, y2: 4.0 });
        assert_eq!(train.summary.unmapped["dontcare"], 2);
        config.validation_data_sources = config.data_sources.clone();
        assert_eq!(
            names(&open(&config, Split::Train).unwrap()).len(),
            4,
            "named validation data takes no fold away"
        );
        config.validation_data_sources.clear();
        config.validation_fold = 7;
        let error = open(&config, Split::Validation).unwrap_err().to_string();
        assert!(error.contains("validation_fold is 7"), "{error}");
    }

    #[test]
    fn errors_name_file_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let config = set(dir.path());
        let shard = dir.path().join("set-fold-001-of-002-shard-00000-of-00001");
        let check = |words: &[&str]| {
            let error = open(&config, Split::Train).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "`{word}` in: {error}");
            }
        };
        let good = fs::read(&shard).unwrap();
        let mut bad = good.clone();
        let last = bad.len() - 30;
        bad[last] ^= 1;
        fs::write(&shard, &bad).unwrap();
        check(&["shard-00000", &format!("byte {}", good.len() / 2)]);
        fs::write(&shard, &good[..good.len() - 9]).unwrap();
        check(&["shard-00000", "byte"]);
        let mut no_frame = Vec::new();
        write_record(&mut no_frame, b"").unwrap();
        fs::write(&shard, &no_frame).unwrap();
        check(&["shard-00000", "record 1", "object_class"]);
        fs::write(&shard, &good).unwrap();
        let image = oxidet_vision::Image::filled(9, 6, &[1u8, 2, 3]);
        fs::write(dir.path().join("pictures/d.png"), oxidet_vision::image::encode_png(&image).unwrap())
            .unwrap();
        check(&["d.png", "9x6", "8x6"]);
        fs::remove_file(dir.path().join("pictures/d.png")).unwrap();
        check(&["d.png"]);
    }
}
