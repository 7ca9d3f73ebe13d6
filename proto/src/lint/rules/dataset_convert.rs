//! The `dataset_convert` spec.

use std::collections::BTreeSet;

use crate::lint::findings::Findings;
use crate::lint::rule::{Rule, TRAIN};
use crate::spec::{DatasetExportConfig, KittiConfig};

// Verbs do not matter here: one verb reads these specs, and applies all rules.
pub(super) const RULES: &[Rule<DatasetExportConfig>] = &[
    Rule::test("S701", TRAIN, "the spec must have a `kitti_config` or a `coco_config`", |spec, findings| {
        if spec.kitti_config.is_none() && spec.coco_config.is_none() {
            let message = "the spec has neither `kitti_config` nor `coco_config`";
            findings.error("kitti_config", message).help("add the one that fits the data");
        }
    }),
    Rule::test("S702", TRAIN, "`partition_mode` must be `random` or `sequence`", |spec, findings| {
        let Some(kitti) = &spec.kitti_config else { return };
        if !matches!(kitti.partition_mode.as_str(), "random" | "sequence") {
            let message = match kitti.partition_mode.as_str() {
                "" => "`partition_mode` is missing".to_owned(),
                other => {
                    format!("there is no `partition_mode` \"{}\"", other.chars().take(40).collect::<String>())
                }
            };
            let finding = findings.error("kitti_config.partition_mode", message);
            finding.help("write \"random\" to split by chance, \"sequence\" to keep sequences together");
        }
    }),
    Rule::test("S703", TRAIN, "random mode needs exactly 2 partitions", |spec, findings| {
        let Some(kitti) = random(spec) else { return };
        if kitti.num_partitions != 2 {
            let path = "kitti_config.num_partitions";
            let message = match findings.written(path) {
                Some(written) => format!("`num_partitions` is {written}, random mode needs 2"),
                None => "`num_partitions` is missing; random mode needs 2".to_owned(),
            };
            let finding = findings.error(path, message).reason("one for training, one for validation");
            finding.help("write `num_partitions: 2`");
        }
    }),
    Rule::test("S704", TRAIN, "`val_split` must be at least 0 and below 100", |spec, findings| {
        let Some(kitti) = random(spec) else { return };
        if !(0.0..100.0).contains(&kitti.val_split) {
            let message = format!("`val_split` is {}, must be at least 0 and below 100", kitti.val_split);
            findings.error("kitti_config.val_split", message).reason("it is a percentage");
        }
    }),
    Rule::test("S705", TRAIN, "sequence mode needs `kitti_sequence_to_frames_file`", |spec, findings| {
        let Some(kitti) = &spec.kitti_config else { return };
        if kitti.partition_mode == "sequence" && kitti.kitti_sequence_to_frames_file.is_empty() {
            let message = "sequence mode needs `kitti_sequence_to_frames_file`";
            let finding = findings.error("kitti_config.kitti_sequence_to_frames_file", message);
            finding.help("name a JSON file `{\"sequence\": [\"frame\", …]}` below the root folder");
        }
    }),
    Rule::test("S706", TRAIN, "COCO lists must have one member per partition", |spec, findings| {
        let Some(coco) = &spec.coco_config else { return };
        for (field, length) in
            [("img_dir_names", coco.img_dir_names.len()), ("annotation_files", coco.annotation_files.len())]
        {
            if coco.num_partitions == 0 || length != coco.num_partitions as usize {
                let message =
                    format!("`{field}` has {length} members and `num_partitions` is {}", coco.num_partitions);
                let finding = findings.error(&last(field, length), message);
                finding.help("give at least one, and `num_partitions` their number");
            }
        }
    }),
    Rule::test(
        "S707",
        TRAIN,
        "COCO `num_shards` must be one number, or one per partition",
        |spec, findings| {
            let Some(coco) = &spec.coco_config else { return };
            let length = coco.num_shards.len();
            if length == 0 || length != 1 && length != coco.num_partitions as usize {
                let message = format!(
                    "`num_shards` has {length} numbers; it takes one for all partitions, or one for each"
                );
                findings.error(&last("num_shards", length), message);
            }
        },
    ),
    Rule::test(
        "S708",
        TRAIN,
        "`source_to_target_class_mapping` must know the classes of the other lists",
        mapping_covers,
    ),
    Rule::test("S709", TRAIN, "`image_extension` should start with a dot", |spec, findings| {
        let extension = spec.kitti_config.as_ref().map_or("", |kitti| &kitti.image_extension);
        if !extension.is_empty() && !extension.starts_with('.') {
            let finding = findings.warning("kitti_config.image_extension", "`image_extension` has no dot");
            finding.reason("here it is the end of the file name").help(format!("write \".{extension}\""));
        }
    }),
];

fn random(spec: &DatasetExportConfig) -> Option<&KittiConfig> {
    spec.kitti_config.as_ref().filter(|kitti| kitti.partition_mode == "random")
}

/// The last member of a list of `length`; where the list is written, if it is.
fn last(field: &str, length: usize) -> String {
    format!("coco_config.{field}[{}]", length.saturating_sub(1))
}

fn mapping_covers(spec: &DatasetExportConfig, findings: &mut Findings<'_>) {
    let Some(modifier) = &spec.sample_modifier_config else { return };
    let targets: BTreeSet<&String> = modifier.source_to_target_class_mapping.values().collect();
    for (field, classes) in [
        ("filter_samples_containing_only", &modifier.filter_samples_containing_only),
        ("dominant_target_classes", &modifier.dominant_target_classes),
    ] {
        for (i, class) in classes.iter().enumerate().filter(|(_, class)| !targets.contains(class)) {
            let path = format!("sample_modifier_config.{field}[{i}]");
            let finding = findings.error(&path, format!("nothing maps to `{class}`"));
            finding.help(format!(
                "add `source_to_target_class_mapping {{ key: \"class in the labels\" value: \"{class}\" }}`"
            ));
        }
    }
}
