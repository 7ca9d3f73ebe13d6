//! A data set in KITTI layout: a folder of images and a folder of label files, paired by name.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use oxidet_proto::kitti::{self, KittiError};
use oxidet_proto::spec::{ClassMap, DataSource};
use oxidet_vision::image::dimensions;
use oxidet_vision::{ImageError, PxBox};
use rayon::prelude::*;

/// Extensions of images, in any case.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];
/// Files named in one message.
const NAMED: usize = 20;

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
}

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
    /// A source of another kind.
    #[error("a data source without label_directory_path; this version reads KITTI label folders")]
    NotKitti,
}

fn join(files: &[KittiError], more: usize) -> String {
    let mut lines: Vec<String> = files.iter().map(KittiError::to_string).collect();
    if more > 0 {
        lines.push(format!("… and {more} more label files"));
    }
    lines.join("\n")
}

impl Dataset {
    /// Reads the labels of all sources and the size of every image. Relative paths start at the working directory.
    ///
    /// # Errors
    /// [`DataError`] names the folder, file or line.
    pub fn open(sources: &[DataSource], classes: &ClassMap) -> Result<Self, DataError> {
        let mut pairs = Vec::new();
        for source in sources {
            let labels = source.label_directory_path.as_deref().ok_or(DataError::NotKitti)?;
            pairs.extend(pair(Path::new(&source.image_directory_path), Path::new(labels))?);
        }
        let read: Vec<Result<(Sample, Summary), DataError>> =
            pairs.par_iter().map(|(image, label)| read_sample(image, label, classes)).collect();

        let mut dataset = Self { classes: classes.names().to_vec(), ..Self::default() };
        dataset.summary.objects = vec![0; classes.len()];
        let (mut bad, mut more) = (Vec::new(), 0);
        for result in read {
            match result {
                Ok((sample, counts)) => {
                    dataset.summary.add(&counts);
                    dataset.samples.push(sample);
                }
                Err(DataError::Labels { files, .. }) if bad.len() < NAMED => bad.extend(files),
                Err(DataError::Labels { .. }) => more += 1,
                Err(other) => return Err(other),
            }
        }
        if bad.is_empty() { Ok(dataset) } else { Err(DataError::Labels { files: bad, more }) }
    }
}

impl Summary {
    fn add(&mut self, other: &Self) {
        self.images += other.images;
        self.negatives += other.negatives;
        self.invalid += other.invalid;
        self.difficult += other.difficult;
        for (sum, count) in self.objects.iter_mut().zip(&other.objects) {
            *sum += count;
        }
        for (name, count) in &other.unmapped {
            *self.unmapped.entry(name.clone()).or_default() += count;
        }
    }
}

/// Images of `images`, sorted by name, each with its label file.
fn pair(images: &Path, labels: &Path) -> Result<Vec<(PathBuf, PathBuf)>, DataError> {
    let found = list_images(images)?;
    if found.is_empty() {
        return Err(DataError::NoImages { path: images.to_owned() });
    }
    // Fails with the name of the folder where a missing label file would name every image.
    fs::read_dir(labels).map_err(|source| DataError::Io { path: labels.to_owned(), source })?;
    let mut by_stem: BTreeMap<_, &PathBuf> = BTreeMap::new();
    for image in &found {
        if let Some(first) = by_stem.insert(image.file_stem(), image) {
            return Err(DataError::SameStem { first: first.clone(), second: image.clone() });
        }
    }
    let label_of = |image: &PathBuf| {
        let mut name = image.file_stem().unwrap_or_default().to_owned();
        name.push(".txt");
        labels.join(name)
    };
    let pairs: Vec<(PathBuf, PathBuf)> = found.iter().map(|image| (image.clone(), label_of(image))).collect();
    let missing: Vec<&PathBuf> =
        pairs.iter().filter(|(_, label)| !label.is_file()).map(|(image, _)| image).collect();
    if !missing.is_empty() {
        let name = |image: &&PathBuf| image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(DataError::MissingLabels {
            images: images.to_owned(),
            labels: labels.to_owned(),
            names: missing.iter().take(5).map(name).collect(),
            count: missing.len(),
        });
    }
    Ok(pairs)
}

/// The images directly in `folder`, sorted by name.
fn list_images(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        if extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read_sample(image: &Path, label: &Path, classes: &ClassMap) -> Result<(Sample, Summary), DataError> {
    let bytes = fs::read(label).map_err(|source| DataError::Io { path: label.to_owned(), source })?;
    let text = String::from_utf8(bytes).map_err(|_| DataError::NotText { path: label.to_owned() })?;
    let labelled = kitti::parse(&label.to_string_lossy(), &text)
        .map_err(|error| DataError::Labels { files: vec![error], more: 0 })?;
    let (width, height) = image_size(image)?;

    let mut summary = Summary { images: 1, objects: vec![0; classes.len()], ..Summary::default() };
    let mut objects = Vec::new();
    for object in labelled {
        let Some(class) = classes.lookup(&object.class) else {
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
    Ok((Sample { image: image.to_owned(), width, height, objects }, summary))
}

/// Width and height of an image. The header is near the start of the file, but metadata before it can be long.
fn image_size(path: &Path) -> Result<(usize, usize), DataError> {
    const HEAD: u64 = 1 << 16;
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let mut head = Vec::new();
    let mut file = BufReader::new(fs::File::open(path).map_err(failed)?);
    file.by_ref().take(HEAD).read_to_end(&mut head).map_err(failed)?;
    if let Ok(size) = dimensions(&head) {
        return Ok(size);
    }
    file.read_to_end(&mut head).map_err(failed)?;
    dimensions(&head).map_err(|source| DataError::Image { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        oxidet_vision::image::encode_png(&oxidet_vision::Image::filled(8, 6, &[1, 2, 3])).unwrap()
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
        let dataset = Dataset::open(&[source(root.path())], &classes(&["car"])).unwrap();
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
            let error = Dataset::open(&[source(root.path())], &classes(&["car"])).unwrap_err().to_string();
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
    #[cfg_attr(not(shared_data), ignore = "needs ../shared/data, which is not here")]
    fn real_data_sets_have_the_counts_of_their_readmes() {
        let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
        let counts = |set: &str, split: &str, names: &[&str]| {
            let dataset = Dataset::open(&[source(&shared.join(set).join(split))], &classes(names)).unwrap();
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
