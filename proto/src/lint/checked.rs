//! A spec that passed its rules.

use std::ops::Deref;

use super::findings::Findings;
use super::rule::Verb;
use super::rules;
use crate::prototxt::{Diagnostics, Source};
use crate::spec::arch::{self, ArchInfo};
use crate::spec::{Anchors, ClassMap, Experiment, Parsed, parse_anchors};

/// An experiment spec without errors, for one verb; only [`check`] makes one. Reads as the [`Experiment`] it
/// holds.
#[derive(Debug, Clone)]
pub struct Checked {
    parsed: Parsed<Experiment>,
    arch: &'static ArchInfo,
    anchors: Anchors,
    classes: ClassMap,
    warnings: Diagnostics,
}

impl Checked {
    /// The backbone that `arch` names.
    pub fn arch(&self) -> &'static ArchInfo {
        self.arch
    }

    /// The anchors of each head, as many in every one; as many heads as the backbone has. Not so for [`Verb::Kmeans`], which
    /// replaces whatever is there.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// The target classes and who maps to them.
    pub fn classes(&self) -> &ClassMap {
        &self.classes
    }

    /// What hardly does what its author thinks.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// The message with its places.
    pub fn parsed(&self) -> &Parsed<Experiment> {
        &self.parsed
    }

    /// The text of the spec.
    pub fn source(&self) -> &Source {
        &self.parsed.source
    }
}

impl Deref for Checked {
    type Target = Experiment;

    fn deref(&self) -> &Experiment {
        &self.parsed.message
    }
}

/// Applies every rule that concerns `verb`.
///
/// Fields this version does not honour are no matter of the spec; see [`unsupported`](super::unsupported).
///
/// # Errors
/// Every finding, when one of them is an error.
pub fn check(parsed: Parsed<Experiment>, verb: Verb) -> Result<Checked, Diagnostics> {
    let rules = rules::EXPERIMENT.iter().copied().flatten();
    let found = Findings::new(&parsed).apply(&parsed.message, rules, Some(verb)).into_list();
    let list = parsed.warnings.iter().cloned().chain(found).collect();
    let warnings = Diagnostics::new(parsed.source.clone(), list);
    if warnings.has_errors() {
        return Err(warnings);
    }
    let yolov4 = parsed.message.yolov4();
    // Which groups may be empty depends on backbone and verb; a rule has seen to it.
    let read = |text: &str| match text {
        "" => Vec::new(),
        text => parse_anchors(text).expect("a rule has read them"),
    };
    let anchors = Anchors {
        big: read(&yolov4.big_anchor_shape),
        mid: read(&yolov4.mid_anchor_shape),
        small: read(&yolov4.small_anchor_shape),
    };
    let arch = arch::find(&yolov4.arch).expect("a rule has found it");
    let classes = ClassMap::new(&parsed.message.dataset().target_class_mapping);
    Ok(Checked { arch, anchors, classes, warnings, parsed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::parse_experiment;

    const DEPLOY: &str = r#"
        yolov4_config {
          arch: "cspdarknet_tiny"
          big_anchor_shape: "[(110, 60), (160, 115)]" mid_anchor_shape: "[(43, 32), (80, 32)]"
        }
        nms_config { confidence_threshold: 0.001 clustering_iou_threshold: 0.5 top_k: 200 }
        augmentation_config { output_width: 416 output_height: 320 output_channel: 3 }
        dataset_config { target_class_mapping { key: "Van" value: "Car" } target_class_mapping { key: "b" value: "bus" } }
    "#;

    #[test]
    fn carries_what_the_rules_have_read() {
        let checked = check(parse_experiment("spec", DEPLOY).unwrap(), Verb::Export).unwrap();
        assert_eq!(checked.classes().names(), ["bus", "car"]);
        assert_eq!(checked.anchors().big, [(110.0, 60.0), (160.0, 115.0)]);
        assert_eq!(checked.anchors().heads().count(), 2);
        assert_eq!((checked.arch().heads, checked.augmentation().output_height), (2, 320));
    }

    #[test]
    fn asks_only_for_what_the_verb_needs() {
        for (verb, ok) in [
            (Verb::Export, true),
            (Verb::Dataset, true),
            (Verb::Inference, false),
            (Verb::Evaluate, false),
            (Verb::Train, false),
        ] {
            assert_eq!(check(parse_experiment("spec", DEPLOY).unwrap(), verb).is_ok(), ok, "{verb:?}");
        }
    }

    #[test]
    fn anchors_may_be_missing_where_they_are_computed() {
        let text = r#"
            yolov4_config { arch: "resnet" mid_anchor_shape: "[(43, 32)]" }
            augmentation_config { output_width: 416 output_height: 320 }
            dataset_config {
              data_sources { label_directory_path: "labels" image_directory_path: "images" }
              target_class_mapping { key: "car" value: "car" }
            }
        "#;
        let checked = check(parse_experiment("spec", text).unwrap(), Verb::Kmeans).unwrap();
        assert_eq!((checked.arch().heads, checked.anchors().heads().count()), (3, 1));
        for broken in
            [text.replace("[(43, 32)]", "43"), text.replace("data_sources", "validation_data_sources")]
        {
            assert!(check(parse_experiment("spec", &broken).unwrap(), Verb::Kmeans).is_err(), "{broken}");
        }
    }
}
