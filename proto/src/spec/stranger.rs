//! Texts that are no spec for the command at hand: one sentence in place of a complaint about every field.

use super::message::Descriptor;
use super::{DatasetExportConfig, Experiment, Message};
use crate::prototxt::{Diagnostic, Field};

/// Top-level fields by which specs of other networks are known.
const OTHERS: [(&str, &str); 12] = [
    ("yolov3_config", "YOLOv3"),
    ("yolo_config", "YOLO v2 or v3"),
    ("ssd_config", "SSD"),
    ("dssd_config", "DSSD"),
    ("retinanet_config", "RetinaNet"),
    ("bbox_rasterizer_config", "DetectNet_v2"),
    ("inferencer_config", "DetectNet_v2"),
    ("cost_function_config", "DetectNet_v2"),
    ("network_config", "Faster R-CNN"),
    ("maskrcnn_config", "Mask R-CNN"),
    ("efficientdet_config", "EfficientDet"),
    ("model_config", "another network"),
];

/// What the text is instead of a message of this type, if its top-level fields say so.
pub(super) fn stranger(fields: &[Field<'_>], wanted: &Descriptor) -> Option<Diagnostic> {
    let names = |known: &Descriptor| {
        fields.iter().any(|field| known.fields.iter().any(|known| known.name == field.name))
    };
    if wanted.name == Experiment::DESCRIPTOR.name {
        if fields.iter().any(|field| field.name == "yolov4_config") {
            return None;
        }
        let of = |field: &Field<'_>| OTHERS.iter().find(|(name, _)| *name == field.name).map(|(_, of)| *of);
        if let Some((field, of)) = fields.iter().find_map(|field| Some((field, of(field)?))) {
            let message = format!("this is a spec of TAO's {of}; only those of yolo_v4 can be used");
            return Some(Diagnostic::error(
                "S003",
                field.name_span,
                message.replace("TAO's another", "another"),
            ));
        }
        let convert = DatasetExportConfig::DESCRIPTOR;
        let sources = ["kitti_config", "coco_config"];
        if let Some(field) = fields.iter().find(|field| sources.contains(&field.name))
            && fields.iter().all(|field| convert.fields.iter().any(|known| known.name == field.name))
        {
            let message = "this is a spec for `dataset_convert`; an experiment spec is needed here";
            return Some(Diagnostic::error("S003", field.name_span, message));
        }
    }
    // Of one unknown field somebody may have misspelt the name; of many it is something else.
    if fields.len() > 2 && !names(&Experiment::DESCRIPTOR) && !names(&DatasetExportConfig::DESCRIPTOR) {
        let message = "this is no spec: none of its fields is one of a spec";
        return Some(Diagnostic::error("S003", fields[0].name_span, message).help("is this the right file?"));
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::spec::{parse_dataset_export, parse_experiment};

    #[test]
    fn other_texts_get_one_sentence() {
        for (text, says) in [
            ("dataset_config {} retinanet_config { a: 1 }", "RetinaNet"),
            ("random_seed: 42 yolov3_config {} training_config { batch_size_per_gpu: 8 x: 1 }", "YOLOv3"),
            ("model_config { a: 1 } augmentation_config { preprocessing {} }", "a spec of another network"),
            ("kitti_config { root_directory_path: 'a' } image_directory_path: 'b'", "`dataset_convert`"),
            ("a: 1 b: 2 c: 3", "no spec"),
        ] {
            let found: Vec<String> =
                parse_experiment("spec", text).unwrap_err().iter().map(|d| d.message.clone()).collect();
            assert!(found.len() == 1 && found[0].contains(says), "{text}: {found:?}");
        }
        let found = parse_experiment("spec", "yolov4_config {} ssd_config {}").unwrap_err();
        assert!(found.iter().next().unwrap().message.contains("unknown field"), "{found}");
        assert!(parse_dataset_export("spec", "kitti_config {}").is_ok());
        assert!(parse_experiment("spec", "").is_ok(), "what is missing is for rules to say");
    }
}
