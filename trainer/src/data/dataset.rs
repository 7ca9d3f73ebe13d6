//! A data set: images with their objects, from KITTI folders or TFRecords.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use oxidet_proto::kitti;
use oxidet_proto::lint::Checked;
use oxidet_proto::spec::{ClassMap, DataSource, DatasetConfig};
use oxidet_vision::image::Header;
use oxidet_vision::{ImageError, PxBox};
use rayon::prelude::*;

use super::DataError;
use super::folders::{pair, read_labels};
use super::image_file::{read_header, read_picture};
use super::records::{Fold, record_entries};

/// Label files or images named in one message.
const NAMED: usize = 20;
/// Images read side by side; what is in memory of their labels at a time.
const AT_ONCE: usize = 1024;

/// Images with their objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// In the order of the sources, by file name within each.
    pub samples: Vec<Sample>,
    /// Class names by id.
    pub classes: Vec<String>,
    /// What reading the labels found.
    pub summary: Summary,
}

/// One image.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its file.
    pub image: PathBuf,
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Its objects of target classes.
    pub objects: Vec<Object>,
}

/// One labelled object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Class id.
    pub class: usize,
    /// Whether KITTI's occlusion is not 0.
    pub difficult: bool,
    /// Where, in pixels of the image.
    pub bbox: PxBox,
}

/// Counts over a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Images.
    pub images: usize,
    /// Images without an object of a target class.
    pub negatives: usize,
    /// Objects by class id.
    pub objects: Vec<usize>,
    /// Objects of classes that are not mapped, by name: background.
    pub unmapped: BTreeMap<String, usize>,
    /// Boxes without area, left out.
    pub invalid: usize,
    /// Objects marked difficult.
    pub difficult: usize,
    /// Images left out because they cannot be read.
    pub skipped: Vec<Skipped>,
}

/// An image that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its file.
    pub image: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Which data of a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What is trained on.
    Train,
    /// What average precision is measured on.
    Validation,
}

/// What happens to images that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadImages {
    /// The first one met is an error. Opening a data set reads the heads of the files only.
    Stop,
    /// They are left out. To know them, every image is decoded when the data set is opened.
    Skip,
}

/// What to open.
#[derive(Clone, Copy, Debug)]
pub struct DatasetRequest<'a> {
    /// Sources and their formats. Relative paths start at the working directory.
    pub config: &'a DatasetConfig,
    /// Classes.
    pub classes: &'a ClassMap,
    /// Bits per channel that images must have, 8 or 16; `None` takes any.
    pub depth: Option<u8>,
    /// What happens to images that cannot be read.
    pub bad_images: BadImages,
}

impl<'a> DatasetRequest<'a> {
    /// As the spec asks.
    pub fn new(spec: &'a Checked, bad_images: BadImages) -> Self {
        let depth = if spec.augmentation().output_depth == 16 { 16 } else { 8 };
        Self { config: spec.dataset(), classes: spec.classes(), depth: Some(depth), bad_images }
    }
}

/// An image and its objects as a source gives them.
pub(super) struct Entry {
    pub(super) image: PathBuf,
    /// Width and height that the labels were made for, where the source says.
    pub(super) size: Option<(usize, usize)>,
    pub(super) labels: Labels,
}

/// Where the objects of an image are.
pub(super) enum Labels {
    /// In a KITTI label file.
    File(PathBuf),
    /// Here.
    Objects(Vec<kitti::Object>),
}

impl Dataset {
    /// Reads the labels of all sources of a split, and the size of every image.
    ///
    /// # Errors
    /// [`DataError`] names the folder, file or line.
    pub fn open(request: &DatasetRequest<'_>, split: Split) -> Result<Self, DataError> {
        let mut dataset = Self { classes: request.classes.names().to_vec(), ..Self::default() };
        dataset.summary.objects = vec![0; request.classes.len()];
        let (mut bad_labels, mut more) = (Vec::new(), 0);
        let (sources, fold) = sources(request.config, split);
        let folds = sources.iter().any(|source| source.tfrecords_path.is_some());
        if matches!(fold, Fold::Only(_)) && !folds {
            return Err(DataError::NoValidation);
        }
        for source in sources {
            let mut entries = entries(source, fold, request.config)?;
            loop {
                let some = entries.by_ref().take(AT_ONCE).collect::<Result<Vec<_>, _>>()?;
                if some.is_empty() {
                    break;
                }
                let read: Vec<_> = some.into_par_iter().map(|entry| read_sample(entry, request)).collect();
                for result in read {
                    let unread = match result {
                        Ok((sample, counts)) => {
                            dataset.summary.add(counts);
                            dataset.samples.push(sample);
                            continue;
                        }
                        Err(unread) => *unread,
                    };
                    match unread.error {
                        DataError::Labels { files, .. } => {
                            if bad_labels.len() < NAMED {
                                bad_labels.extend(files)
                            } else {
                                more += 1
                            }
                        }
                        error if unread.is_image && request.bad_images == BadImages::Skip => {
                            let skipped = Skipped { image: unread.image, why: error.to_string() };
                            dataset.summary.skipped.push(skipped);
                        }
                        error => return Err(error),
                    }
                }
            }
        }
        if !bad_labels.is_empty() {
            return Err(DataError::Labels { files: bad_labels, more });
        }
        match (dataset.samples.is_empty(), dataset.summary.skipped.first(), fold) {
            (true, Some(first), _) => {
                let count = dataset.summary.skipped.len();
                Err(DataError::NothingLeft { count, first: first.why.clone() })
            }
            (true, None, Fold::Only(fold)) => Err(DataError::NoFold { fold, all: false }),
            (true, None, Fold::AllBut(fold)) if folds => Err(DataError::NoFold { fold, all: true }),
            _ => Ok(dataset),
        }
    }
}

/// The sources of a split, and which of their folds: without validation data, a fold of the training data is held out.
fn sources(config: &DatasetConfig, split: Split) -> (&[DataSource], Fold) {
    let held_out = config.validation_data_sources.is_empty();
    match split {
        Split::Train if held_out => (&config.data_sources, Fold::AllBut(config.validation_fold)),
        Split::Train => (&config.data_sources, Fold::Any),
        Split::Validation if held_out => (&config.data_sources, Fold::Only(config.validation_fold)),
        Split::Validation => (&config.validation_data_sources, Fold::Any),
    }
}

type Entries = Box<dyn Iterator<Item = Result<Entry, DataError>>>;

fn entries(source: &DataSource, fold: Fold, config: &DatasetConfig) -> Result<Entries, DataError> {
    match (&source.label_directory_path, &source.tfrecords_path) {
        // A folder has no folds.
        (Some(_), _) if matches!(fold, Fold::Only(_)) => Ok(Box::new(std::iter::empty())),
        (Some(labels), _) => {
            let pairs = pair(Path::new(&source.image_directory_path), Path::new(labels))?;
            let entry = |(image, label)| Ok(Entry { image, size: None, labels: Labels::File(label) });
            Ok(Box::new(pairs.into_iter().map(entry)))
        }
        (None, Some(pattern)) => Ok(Box::new(record_entries(source, pattern, fold, config)?)),
        (None, None) => Err(DataError::NoLabels),
    }
}

impl Summary {
    /// Adds what another part of the same data set counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.images += other.images;
        self.negatives += other.negatives;
        self.invalid += other.invalid;
        self.difficult += other.difficult;
        self.skipped.extend(other.skipped);
        for (sum, count) in self.objects.iter_mut().zip(other.objects) {
            *sum += count;
        }
        for (name, count) in other.unmapped {
            *self.unmapped.entry(name).or_default() += count;
        }
    }
}

/// An image that is not taken.
struct Unread {
    image: PathBuf,
    error: DataError,
    /// Whether the fault is the image's, and not that of its labels.
    is_image: bool,
}

fn read_sample(entry: Entry, request: &DatasetRequest<'_>) -> Result<(Sample, Summary), Box<Unread>> {
    let Entry { image, size, labels } = entry;
    let found = match labels {
        Labels::File(path) => match read_labels(&path) {
            Ok(objects) => objects,
            Err(error) => return Err(Box::new(Unread { image, error, is_image: false })),
        },
        Labels::Objects(objects) => objects,
    };
    let Header { width, height, .. } = match check_image(&image, size, request) {
        Ok(header) => header,
        Err(error) => {
            let is_image = !matches!(error, DataError::OtherSize { .. });
            return Err(Box::new(Unread { image, error, is_image }));
        }
    };
    let mut summary = Summary { images: 1, objects: vec![0; request.classes.len()], ..Summary::default() };
    let mut objects = Vec::new();
    for object in found {
        let Some(class) = request.classes.lookup(&object.class) else {
            *summary.unmapped.entry(object.class).or_default() += 1;
            continue;
        };
        let [x1, y1, x2, y2] = object.bbox;
        if x2 <= x1 || y2 <= y1 {
            summary.invalid += 1;
            continue;
        }
        let difficult = object.occlusion != 0;
        summary.objects[class] += 1;
        summary.difficult += usize::from(difficult);
        objects.push(Object { class, difficult, bbox: PxBox { x1, y1, x2, y2 } });
    }
    summary.negatives = usize::from(objects.is_empty());
    Ok((Sample { image, width, height, objects }, summary))
}

fn check_image(
    path: &Path,
    labelled: Option<(usize, usize)>,
    request: &DatasetRequest<'_>,
) -> Result<Header, DataError> {
    let header = read_header(path)?;
    if let Some(wanted) = request.depth.filter(|wanted| *wanted != header.depth) {
        let source = ImageError::Depth { found: header.depth, wanted };
        return Err(DataError::Image { path: path.to_owned(), source });
    }
    let found = (header.width, header.height);
    if let Some(labelled) = labelled.filter(|labelled| *labelled != found) {
        return Err(DataError::OtherSize { path: path.to_owned(), labelled, found });
    }
    if request.bad_images == BadImages::Skip {
        read_picture(path, header.depth)?;
    }
    Ok(header)
}

/// For a warning: how many, and the first few by name.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.skipped.len();
        write!(f, "{count} images cannot be read and are left out:")?;
        for Skipped { why, .. } in self.skipped.iter().take(NAMED) {
            write!(f, "\n  {why}")?;
        }
        if count > NAMED { write!(f, "\n  … and {} more", count - NAMED) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn classes(names: &[&str]) -> ClassMap {
        ClassMap::new(&names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect())
    }

    fn source(root: &Path) -> DataSource {
        DataSource {
            image_directory_path: root.join("images").to_string_lossy().into_owned(),
            label_directory_path: Some(root.join("labels").to_string_lossy().into_owned()),
            ..DataSource::default()
        }
    }

    fn open(root: &Path, classes: &ClassMap, bad_images: BadImages) -> Result<Dataset, DataError> {
        let config = DatasetConfig { data_sources: vec![source(root)], ..DatasetConfig::default() };
        Dataset::open(&DatasetRequest { config: &config, classes, depth: Some(8), bad_images }, Split::Train)
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for dir in ["images", "labels"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        for (name, bytes) in files {
            fs::write(root.path().join(name), bytes).unwrap();
        }
        root
    }

    fn png() -> Vec<u8> {
        oxidet_vision::image::encode_png(&oxidet_vision::Image::filled(8, 6, &[1u8, 2, 3])).unwrap()
    }

    #[test]
    fn labels_follow_the_rules() {
        let label = b"Car 0 0 0 1 1 4 4 0 0 0 0 0 0 0\ncar 0 2 0 1 1 4 4 0 0 0 0 0 0 0\nDontCare -1 -1 -10 0 0 1 1 -1 -1 -1 -1000 -1000 -1000 -10\ncar 0 0 0 4 1 4 4 0 0 0 0 0 0 0\n";
        let image = png();
        let root = folder(&[
            ("images/b.PNG", &image),
            ("images/a.png", &image),
            ("images/notes.md", b""),
            ("labels/a.txt", label),
            ("labels/b.txt", b""),
        ]);
        let dataset = open(root.path(), &classes(&["car"]), BadImages::Stop).unwrap();
        assert_eq!(dataset.samples.len(), 2);
        let sample = &dataset.samples[0];
        assert_eq!((sample.width, sample.height), (8, 6));
        assert_eq!(sample.objects.iter().map(|o| o.difficult).collect::<Vec<_>>(), [false, true]);
        let summary = &dataset.summary;
        assert_eq!((summary.negatives, summary.invalid, summary.difficult), (1, 1, 1));
        assert_eq!(summary.objects, [2]);
        assert_eq!(summary.unmapped, BTreeMap::from([("DontCare".to_owned(), 1)]));
    }

    #[test]
    fn errors_name_the_place() {
        let image = png();
        let check = |files: &[(&str, &[u8])], words: &[&str]| {
            let root = folder(files);
            let error = open(root.path(), &classes(&["car"]), BadImages::Stop).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "`{word}` in: {error}");
            }
        };
        check(&[], &["images", "no images"]);
        check(&[("images/a.png", &image)], &["a.png", "label"]);
        check(
            &[("images/a.png", &image), ("images/a.jpg", &image), ("labels/a.txt", b"")],
            &["a.png", "a.jpg"],
        );
        check(&[("images/a.png", &image), ("labels/a.txt", b"\ncar 0 0 0 1 x 4 4 0 0\n")], &["a.txt:2"]);
        check(&[("images/a.png", &image[..20]), ("labels/a.txt", b"")], &["a.png"]);
        check(&[("images/a.png", &image), ("labels/a.txt", b"\xff\xfe")], &["a.txt", "UTF-8"]);
    }

    #[test]
    fn images_that_cannot_be_read_are_skipped_and_counted() {
        let image = png();
        let mut damaged = image.clone();
        let middle = damaged.len() - 20;
        damaged[middle] ^= 0xff;
        let label: &[u8] = b"car 0 0 0 1 1 4 4 0 0 0 0 0 0 0\n";
        let mut files: Vec<(&str, &[u8])> = vec![
            ("images/a.png", &image),
            ("images/b.png", &damaged),
            ("images/c.png", b"GIF89a"),
            ("labels/a.txt", label),
            ("labels/b.txt", label),
            ("labels/c.txt", label),
        ];
        let dataset = open(folder(&files).path(), &classes(&["car"]), BadImages::Skip).unwrap();
        assert_eq!((dataset.samples.len(), &dataset.summary.objects[..]), (1, &[1][..]));
        let skipped: Vec<_> = dataset.summary.skipped.iter().map(|s| s.image.file_name().unwrap()).collect();
        assert_eq!(skipped, ["b.png", "c.png"]);
        assert!(dataset.summary.to_string().starts_with("2 images"), "{}", dataset.summary);
        files[0].1 = &damaged;
        let error = open(folder(&files).path(), &classes(&["car"]), BadImages::Skip).unwrap_err();
        assert!(error.to_string().contains("3 images were skipped"), "{error}");
    }

    #[test]
    fn images_of_another_depth_are_refused_by_name() {
        let deep = oxidet_vision::image::encode_png(&oxidet_vision::Image::filled(8, 6, &[900u16])).unwrap();
        let root = folder(&[("images/a.png", &deep), ("labels/a.txt", b"")]);
        let error = open(root.path(), &classes(&["car"]), BadImages::Stop).unwrap_err().to_string();
        assert!(
            error.contains("a.png") && error.contains("16 bits") && error.contains("output_depth"),
            "{error}"
        );
    }

    #[test]
    #[cfg_attr(not(shared_data), ignore = "needs ../shared/data, which is not here")]
    fn real_data_sets_have_the_counts_of_their_readmes() {
        let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
        let counts = |set: &str, split: &str, names: &[&str]| {
            let dataset = open(&shared.join(set).join(split), &classes(names), BadImages::Stop).unwrap();
            (dataset.summary.images, dataset.summary.objects.clone(), dataset.summary.invalid)
        };
        let cells = ["RBC", "WBC", "Platelets"];
        assert_eq!(counts("bccd", "train", &cells), (292, vec![292, 3348, 301], 2));
        assert_eq!(counts("bccd", "val", &cells), (72, vec![69, 805, 71], 0));
        assert_eq!(counts("raccoon", "train", &["raccoon"]), (160, vec![173], 0));
        let road = ["Car", "Pedestrian", "Cyclist", "Truck", "Misc"];
        assert_eq!(counts("kitti-sample", "train", &road), (8, vec![16, 2, 1, 2, 1], 0));
    }
}
