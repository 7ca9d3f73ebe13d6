//! Reading one split as far as it can be read.

use std::collections::BTreeMap;

use oxidet_graph::preprocess_from_spec;
use oxidet_proto::lint::Checked;
use oxidet_proto::spec::DatasetConfig;

use super::classes::{self, ClassCounts};
use super::look::{Look, look_at};
use super::report::{Example, Finding, Severity, Shown, count, split_name};
use crate::data::{BadImages, DataError, Dataset, DatasetRequest, Skipped, Split, read_header};

/// Training or validation data.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which of the two.
    pub split: Split,
    /// What could be read of it.
    pub dataset: Dataset,
    /// Per class id.
    pub classes: Vec<ClassCounts>,
    /// One per sample.
    pub(super) looks: Vec<Look>,
}

impl Part {
    /// Boxes of target classes.
    pub fn boxes(&self) -> usize {
        self.dataset.summary.objects.iter().sum()
    }

    /// Images without colour.
    pub fn gray(&self) -> usize {
        self.looks.iter().filter(|look| !look.color).count()
    }

    /// Numbers of boxes of an image → number of images that have so many.
    pub fn boxes_per_image(&self) -> BTreeMap<usize, usize> {
        let mut histogram = BTreeMap::new();
        for sample in &self.dataset.samples {
            *histogram.entry(sample.objects.len()).or_default() += 1;
        }
        histogram
    }

    /// Width and height of images → number of images of that size.
    pub fn sizes(&self) -> BTreeMap<(usize, usize), usize> {
        let mut sizes = BTreeMap::new();
        for sample in &self.dataset.samples {
            *sizes.entry((sample.width, sample.height)).or_default() += 1;
        }
        sizes
    }
}

/// Opens a split source by source: what is wrong with one does not hide what is wrong with another.
pub(super) fn open(
    spec: &Checked,
    split: Split,
    input: (usize, usize),
    listen: &mut dyn FnMut(usize, usize),
    findings: &mut Vec<Finding>,
) -> Part {
    let mut dataset = Dataset { classes: spec.classes().names().to_vec(), ..Dataset::default() };
    dataset.summary.objects = vec![0; dataset.classes.len()];
    let mut part = Part { split, dataset, classes: Vec::new(), looks: Vec::new() };
    let mut failed = false;
    for config in sources(spec.dataset(), split) {
        match open_source(spec, &config, split, listen) {
            Ok((dataset, looks)) => {
                append(&mut part.dataset, dataset);
                part.looks.extend(looks);
            }
            // Said below, in the words for both splits.
            Err(DataError::NoValidation | DataError::NoFold { .. }) => {}
            Err(error) => {
                failed = true;
                findings.push(unreadable(split, &error));
            }
        }
    }
    part.classes = classes::count_classes(&part.dataset, input);
    skipped(&part, depth(spec), findings);
    let images = part.dataset.samples.len();
    if images == 0 && !failed {
        let message =
            format!("there is no {} data", if split == Split::Train { "training" } else { "validation" });
        let help = "name its folders in dataset_config; training needs both data_sources and validation_data_sources";
        findings.push(Finding::new("D102", Severity::Error, split, message, help));
    }
    let gray = part.gray();
    if gray > 0 && gray < images {
        let message = format!("{gray} of {images} images are gray, the others have colours");
        let help = "nothing, where that is meant: they are read as gray in all three channels, or all as gray by a network of one channel";
        let minority_is_gray = 2 * gray <= images;
        let samples = part.dataset.samples.iter().zip(&part.looks);
        let odd = samples.filter(|(_, look)| look.color != minority_is_gray).map(|(sample, _)| Example {
            text: sample.image.display().to_string(),
            pictures: vec![Shown { image: sample.image.clone(), objects: Vec::new() }],
        });
        findings.push(Finding::new("D113", Severity::Info, split, message, help).at(odd));
    }
    part
}

/// The configuration with each source of a split alone; as it is where the split has none of its own.
fn sources(config: &DatasetConfig, split: Split) -> Vec<DatasetConfig> {
    let all = match split {
        Split::Train => &config.data_sources,
        Split::Validation => &config.validation_data_sources,
    };
    if all.is_empty() {
        return vec![config.clone()];
    }
    let alone = |source| match split {
        Split::Train => DatasetConfig { data_sources: vec![source], ..config.clone() },
        Split::Validation => DatasetConfig { validation_data_sources: vec![source], ..config.clone() },
    };
    all.iter().cloned().map(alone).collect()
}

fn open_source(
    spec: &Checked,
    config: &DatasetConfig,
    split: Split,
    listen: &mut dyn FnMut(usize, usize),
) -> Result<(Dataset, Vec<Look>), DataError> {
    let strict = DatasetRequest { config, ..DatasetRequest::new(spec, BadImages::Stop) };
    // Looking decodes every image. Only where one fails is the set opened again without the bad ones, which decodes all.
    if let Ok(dataset) = Dataset::open(&strict, split)
        && let Ok(looks) = look_at(&dataset.samples, depth(spec), listen)
    {
        return Ok((dataset, looks));
    }
    let dataset = Dataset::open(&DatasetRequest { bad_images: BadImages::Skip, ..strict }, split)?;
    let looks = look_at(&dataset.samples, depth(spec), listen)?;
    Ok((dataset, looks))
}

fn append(to: &mut Dataset, from: Dataset) {
    to.samples.extend(from.samples);
    to.summary.add(from.summary);
}

fn unreadable(split: Split, error: &DataError) -> Finding {
    let text = error.to_string();
    let mut lines = text.lines();
    // One line says it all, or each names a place.
    let (message, places): (String, Vec<&str>) = match (lines.next(), lines.clone().count()) {
        (Some(only), 0) => (only.to_owned(), Vec::new()),
        _ => (
            format!("a source of the {} data has label lines that cannot be read", split_name(split)),
            text.lines().collect(),
        ),
    };
    let help = "mend this first: nothing else can be said about this source before";
    Finding::new("D101", Severity::Error, split, message, help).at(places.into_iter().map(Example::text))
}

/// Bits per channel that the spec promises.
fn depth(spec: &Checked) -> u8 {
    preprocess_from_spec(spec.augmentation()).depth
}

/// Images that were left out, those of another depth apart.
fn skipped(part: &Part, depth: u8, findings: &mut Vec<Finding>) {
    let summary = &part.dataset.summary;
    let wrong_depth =
        |skipped: &&Skipped| read_header(&skipped.image).is_ok_and(|header| header.depth != depth);
    let (deep, broken): (Vec<_>, Vec<_>) = summary.skipped.iter().partition(wrong_depth);
    let why = |skipped: &Skipped| Example::text(skipped.why.clone());
    let all = part.dataset.samples.len() + summary.skipped.len();
    if !broken.is_empty() {
        let message = format!("{} of {all} cannot be read", count(broken.len(), "image", "images"));
        let help = "repair or remove them with their labels, or train with --skip-bad-images";
        let finding = Finding::new("D111", Severity::Error, part.split, message, help);
        findings.push(finding.at(broken.into_iter().map(why)));
    }
    if !deep.is_empty() {
        let message = format!(
            "{} of {all} have another depth than the spec says",
            count(deep.len(), "image", "images")
        );
        let help = "convert them, or set output_depth to what most of them have";
        findings.push(
            Finding::new("D112", Severity::Error, part.split, message, help).at(deep.into_iter().map(why)),
        );
    }
}
