//! The box sizes of a data set, for clustering into anchors.
//!
//! Sizes are shares of the image: training stretches an image to the network's input (jitter and mosaic tiles do), so a share of
//! the image is the same share of the input. Boxes are clipped to the image, as they are there.

use std::collections::BTreeMap;

use oxidet_proto::kitti::DONT_CARE;
use oxidet_proto::spec::{ClassMap, DataSource, DatasetConfig};

use crate::data::{BadImages, DataError, Dataset, DatasetRequest, Split};

/// Which boxes count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SizeFilter {
    /// Width and height of the network's input, px.
    pub input: (usize, usize),
    /// A box must be wider and higher than this, px of the network's input.
    pub above: (f32, f32),
    /// Whether objects marked difficult count.
    pub include_difficult: bool,
}

/// The sizes of the boxes of a data set, and how many were left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BoxSizes {
    /// Width and height in shares of the image.
    pub sizes: Vec<(f32, f32)>,
    /// Objects of classes that are not trained, by name.
    pub unmapped: BTreeMap<String, usize>,
    /// Boxes without area.
    pub invalid: usize,
    /// Objects marked difficult that do not count.
    pub difficult: usize,
    /// Boxes not above [`SizeFilter::above`].
    pub small: usize,
}

impl BoxSizes {
    /// Collects the boxes of a data set.
    pub fn of(dataset: &Dataset, filter: &SizeFilter) -> Self {
        let mut boxes = Self {
            unmapped: dataset.summary.unmapped.clone(),
            invalid: dataset.summary.invalid,
            ..Self::default()
        };
        let (width, height) = (filter.input.0 as f32, filter.input.1 as f32);
        for sample in &dataset.samples {
            for object in &sample.objects {
                let b = object.bbox.clip(sample.width, sample.height);
                let (w, h) = ((b.x2 - b.x1) / sample.width as f32, (b.y2 - b.y1) / sample.height as f32);
                if object.difficult && !filter.include_difficult {
                    boxes.difficult += 1;
                } else if w * width > filter.above.0 && h * height > filter.above.1 {
                    boxes.sizes.push((w, h));
                } else {
                    boxes.small += 1;
                }
            }
        }
        boxes
    }

    /// Boxes that were left out.
    pub fn ignored(&self) -> usize {
        self.unmapped.values().sum::<usize>() + self.invalid + self.difficult + self.small
    }
}

/// Opens sources without a spec: every class in the labels is a class of its own, but for `DontCare`.
///
/// # Errors
/// As [`Dataset::open`].
pub fn open_all_classes(sources: Vec<DataSource>) -> Result<Dataset, DataError> {
    let config = DatasetConfig { data_sources: sources, ..DatasetConfig::default() };
    let open = |classes: &ClassMap| {
        let request = DatasetRequest { config: &config, classes, depth: None, bad_images: BadImages::Stop };
        Dataset::open(&request, Split::Train)
    };
    // Without classes every object is unmapped, and listed by name.
    let names = open(&ClassMap::default())?.summary.unmapped.into_keys();
    let trained = names.filter(|name| name.to_lowercase() != DONT_CARE);
    open(&ClassMap::new(&trained.map(|name| (name.clone(), name)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use oxidet_vision::Image;
    use oxidet_vision::image::encode_png;

    #[test]
    fn boxes_are_counted_or_said_to_be_ignored() {
        let root = tempfile::tempdir().unwrap();
        let image = encode_png(&Image::filled(200, 100, &[1u8, 2, 3])).unwrap();
        fs::write(root.path().join("a.png"), image).unwrap();
        let labels = "Car 0 0 0 10 10 60 60 0 0 0 0 0 0 0\n\
                      CAR 0 2 0 -10 10 190 60 0 0 0 0 0 0 0\n\
                      van 0 0 0 0 0 20 5 0 0 0 0 0 0 0\n\
                      van 0 0 0 7 0 7 5 0 0 0 0 0 0 0\n\
                      dontCARE -1 -1 -10 0 0 100 100 -1 -1 -1 0 0 0 0\n";
        fs::write(root.path().join("a.txt"), labels).unwrap();
        let folder = root.path().to_string_lossy().into_owned();
        let source = DataSource {
            image_directory_path: folder.clone(),
            label_directory_path: Some(folder),
            ..DataSource::default()
        };
        let dataset = open_all_classes(vec![source]).unwrap();
        assert_eq!(dataset.classes, ["car", "van"]);

        let all = SizeFilter { input: (400, 400), above: (0.0, 0.0), include_difficult: true };
        let boxes = BoxSizes::of(&dataset, &all);
        assert_eq!(boxes.sizes, [(0.25, 0.5), (0.95, 0.5), (0.1, 0.05)]);
        assert_eq!((boxes.invalid, boxes.ignored()), (1, 2));
        assert_eq!(boxes.unmapped, BTreeMap::from([("dontCARE".to_owned(), 1)]));

        // 0.05 of 400 is 20, which is not above 20.
        let some = SizeFilter { above: (40.0, 20.0), include_difficult: false, ..all };
        let boxes = BoxSizes::of(&dataset, &some);
        assert_eq!(boxes.sizes, [(0.25, 0.5)]);
        assert_eq!((boxes.difficult, boxes.small), (1, 1));
    }
}
