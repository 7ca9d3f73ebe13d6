//! `dataset_config`: classes, and where the data is.

use std::collections::BTreeMap;

use crate::lint::findings::Findings;
use crate::lint::rule::{ALL, Rule, TRAIN, TRAIN_EVALUATE, TRAINING_DATA, VALIDATION_DATA, Verb};
use crate::spec::{DataSource, DatasetConfig, Experiment};

pub(super) const RULES: &[Rule<Experiment>] = &[
    Rule::test("S111", ALL, "`target_class_mapping` must have an entry", has_classes),
    Rule::test("S112", ALL, "class names must not be empty", classes_have_names),
    Rule::test(
        "S113",
        ALL,
        "source classes that differ in case only must map to one target",
        sources_are_unambiguous,
    ),
    Rule::test("S114", ALL, "target classes should differ in more than case", targets_differ),
    Rule::test("S115", ALL, "class names should have no spaces", names_have_no_spaces),
    Rule::test("S121", &[Verb::Train, Verb::Kmeans], "there must be training data", |spec, findings| {
        if spec.dataset_config.as_ref().is_some_and(|d| d.data_sources.is_empty()) {
            let finding = findings.error("dataset_config.data_sources", "there is no training data");
            finding.help("add `data_sources { label_directory_path: \"…\" image_directory_path: \"…\" }`");
        }
    }),
    Rule::test("S123", TRAINING_DATA, "training data must name its labels", |spec, findings| {
        has_labels(&TRAINING.of(spec), findings);
    }),
    Rule::test("S124", TRAINING_DATA, "training data must name its images", |spec, findings| {
        has_images(&TRAINING.of(spec), findings);
    }),
    Rule::test("S125", TRAIN, "`source_weight` must be at least 0", |spec, findings| {
        for group in [TRAINING.of(spec), VALIDATION.of(spec)] {
            for (i, source) in group.sources.iter().enumerate() {
                if source.source_weight.is_nan() || source.source_weight < 0.0 {
                    findings.error(&group.path(i, "source_weight"), "`source_weight` must be at least 0");
                }
            }
        }
    }),
    Rule::test("S126", TRAINING_DATA, "TFRecord training data needs `image_extension`", |spec, findings| {
        has_extension(spec.dataset(), &TRAINING.of(spec), findings);
    }),
    Rule::test("S127", ALL, "`image_extension` should have no dot", |spec, findings| {
        if let Some(bare) = spec.dataset().image_extension.strip_prefix('.') {
            let path = "dataset_config.image_extension";
            findings
                .warning(path, "`image_extension` is written without the dot")
                .help(format!("write \"{bare}\""));
        }
    }),
    Rule::test("S132", TRAIN_EVALUATE, "there must be validation data", has_validation),
    Rule::test("S133", VALIDATION_DATA, "validation data must name its labels", |spec, findings| {
        has_labels(&VALIDATION.of(spec), findings);
    }),
    Rule::test("S134", VALIDATION_DATA, "validation data must name its images", |spec, findings| {
        has_images(&VALIDATION.of(spec), findings);
    }),
    Rule::test(
        "S136",
        VALIDATION_DATA,
        "TFRecord validation data needs `image_extension`",
        |spec, findings| {
            has_extension(spec.dataset(), &VALIDATION.of(spec), findings);
        },
    ),
];

const MAPPING: &str = "dataset_config.target_class_mapping";

fn entry(source: &str) -> String {
    format!("{MAPPING}[{source:?}]")
}

fn has_classes(spec: &Experiment, findings: &mut Findings<'_>) {
    if spec.dataset_config.as_ref().is_some_and(|d| d.target_class_mapping.is_empty()) {
        let finding = findings.error(MAPPING, "no class is trained: `target_class_mapping` is empty");
        finding.help("add `target_class_mapping { key: \"class in the labels\" value: \"class to train\" }` for each class");
    }
}

fn classes_have_names(spec: &Experiment, findings: &mut Findings<'_>) {
    for (source, target) in &spec.dataset().target_class_mapping {
        if source.trim().is_empty() || target.trim().is_empty() {
            let which = if source.trim().is_empty() { "key" } else { "value" };
            let message = format!("an entry of `target_class_mapping` has an empty `{which}`");
            findings
                .error(&entry(source), message)
                .help("write `{ key: \"class in the labels\" value: \"class to train\" }`");
        }
    }
}

fn sources_are_unambiguous(spec: &Experiment, findings: &mut Findings<'_>) {
    let mut seen: BTreeMap<String, (&str, String)> = BTreeMap::new();
    for (source, target) in &spec.dataset().target_class_mapping {
        let target = target.to_lowercase();
        let (first, first_target) = seen.entry(source.to_lowercase()).or_insert((source, target.clone()));
        if *first_target != target {
            let message =
                format!("`{first}` and `{source}` are the same class in labels, but map to two targets");
            let finding = findings.name_error(&entry(source), message);
            finding.reason("labels are matched without regard to case").help("remove one of them");
        }
    }
}

fn targets_differ(spec: &Experiment, findings: &mut Findings<'_>) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (source, target) in &spec.dataset().target_class_mapping {
        let first = *seen.entry(target.to_lowercase()).or_insert(target);
        if first != target {
            let message = format!("`{first}` and `{target}` are one class: target names are lower-cased");
            findings
                .warning(&entry(source), message)
                .help(format!("write `{}` in both places", target.to_lowercase()));
        }
    }
}

fn names_have_no_spaces(spec: &Experiment, findings: &mut Findings<'_>) {
    for (source, target) in &spec.dataset().target_class_mapping {
        if target.trim().contains(char::is_whitespace) {
            let finding = findings.warning(&entry(source), format!("the class name `{target}` has a space"));
            finding.reason("the label files that inference writes separate values by spaces").help("use `_`");
        } else if source.trim().contains(char::is_whitespace) {
            let finding =
                findings.name_warning(&entry(source), format!("no label can be of class `{source}`"));
            finding.reason("KITTI label files separate values by spaces").help("remove the entry");
        }
    }
}

fn has_validation(spec: &Experiment, findings: &mut Findings<'_>) {
    let Some(dataset) = &spec.dataset_config else { return };
    let folds = dataset.data_sources.iter().any(|source| source.tfrecords_path.is_some());
    if dataset.validation_data_sources.is_empty() && !folds && !dataset.data_sources.is_empty() {
        let finding = findings.error("dataset_config.validation_data_sources", "there is no validation data");
        let finding = finding.reason("only TFRecord training data can hold out a fold for validation");
        finding.help(
            "add `validation_data_sources { label_directory_path: \"…\" image_directory_path: \"…\" }`",
        );
    }
}

/// The training or the validation sources of a spec.
struct Sources<'a> {
    field: &'static str,
    sources: &'a [DataSource],
}

struct Group {
    field: &'static str,
    read: fn(&DatasetConfig) -> &[DataSource],
}

const TRAINING: Group = Group { field: "data_sources", read: |dataset| &dataset.data_sources };
const VALIDATION: Group =
    Group { field: "validation_data_sources", read: |dataset| &dataset.validation_data_sources };

impl Group {
    fn of<'a>(&self, spec: &'a Experiment) -> Sources<'a> {
        Sources { field: self.field, sources: (self.read)(spec.dataset()) }
    }
}

impl Sources<'_> {
    fn path(&self, index: usize, member: &str) -> String {
        format!("dataset_config.{}[{index}].{member}", self.field)
    }

    fn of_labels(&self) -> impl Iterator<Item = (usize, &DataSource)> {
        self.sources.iter().enumerate().filter(|(_, source)| source.label_directory_path.is_some())
    }

    fn of_records(&self) -> impl Iterator<Item = (usize, &DataSource)> {
        self.sources.iter().enumerate().filter(|(_, source)| source.tfrecords_path.is_some())
    }
}

fn has_labels(group: &Sources<'_>, findings: &mut Findings<'_>) {
    for (i, source) in group.sources.iter().enumerate() {
        let path = source.label_directory_path.as_ref().or(source.tfrecords_path.as_ref());
        if path.is_none_or(String::is_empty) {
            let finding =
                findings.error(&group.path(i, "label_directory_path"), "this source names no labels");
            finding.help("add `label_directory_path` (a folder) or `tfrecords_path` (a glob pattern)");
        }
    }
}

fn has_images(group: &Sources<'_>, findings: &mut Findings<'_>) {
    for (i, source) in group.of_labels() {
        if source.image_directory_path.is_empty() {
            let finding =
                findings.error(&group.path(i, "image_directory_path"), "this source names no images");
            finding.help("add `image_directory_path`, a folder");
        }
    }
}

fn has_extension(dataset: &DatasetConfig, group: &Sources<'_>, findings: &mut Findings<'_>) {
    if dataset.image_extension.is_empty() && group.of_records().next().is_some() {
        let finding = findings.error("dataset_config.image_extension", "`image_extension` is missing");
        let finding = finding.reason("TFRecords hold image names without extension");
        finding.help("add `image_extension: \"png\"`, or what the images have");
    }
}
