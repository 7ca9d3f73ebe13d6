//! Leaving out and repeating images to balance classes: a spec's `sample_modifier_config`.

use std::collections::BTreeMap;

use oxidet_proto::kitti::Object;
use oxidet_proto::spec::SampleModifierConfig;

use super::Role;
use super::clean::stored_name;

/// The rules, for all folds but the validation fold.
#[derive(Debug, Default)]
pub(super) struct Modifier {
    config: SampleModifierConfig,
    /// Target class by name in the records.
    targets: BTreeMap<String, String>,
    /// The most records of a fold; `None` is no bound.
    cap: Option<usize>,
}

impl Modifier {
    /// `folds`: how many there are. The cap is shared by those that do not validate.
    pub(super) fn new(config: Option<&SampleModifierConfig>, folds: usize, has_validation: bool) -> Self {
        let Some(config) = config else { return Self::default() };
        let mapping = &config.source_to_target_class_mapping;
        let targets = mapping.iter().map(|(name, target)| (stored_name(name), target.clone())).collect();
        let sharing = folds.saturating_sub(usize::from(has_validation)).max(1);
        let cap = config.max_training_samples as usize / sharing;
        Self { config: config.clone(), targets, cap: (config.max_training_samples > 0).then_some(cap) }
    }

    /// How often an image is written, when its fold has `written` records already.
    pub(super) fn copies(&self, role: Role, objects: &[Object], written: usize) -> usize {
        if role == Role::Validation {
            return 1;
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for object in objects {
            if let Some(target) = self.targets.get(&object.class) {
                *counts.entry(target).or_default() += 1;
            }
        }
        let left = self.cap.map_or(usize::MAX, |cap| cap.saturating_sub(written));
        if self.is_filtered(&counts) {
            return 0;
        }
        let extra = if self.is_rare(&counts) { self.config.num_duplicates as usize } else { 0 };
        left.min(1 + extra)
    }

    /// Whether all objects are of one class that is not wanted alone.
    fn is_filtered(&self, counts: &BTreeMap<&str, usize>) -> bool {
        let lonely = &self.config.filter_samples_containing_only;
        counts.len() == 1 && counts.keys().all(|class| lonely.iter().any(|name| name == class))
    }

    /// Whether some class outnumbers a dominant one by its factor.
    fn is_rare(&self, counts: &BTreeMap<&str, usize>) -> bool {
        let dominant = &self.config.dominant_target_classes;
        let count = |class: &str| counts.get(class).copied().unwrap_or(0) as f64;
        counts.keys().filter(|class| !dominant.iter().any(|name| name == *class)).any(|rare| {
            let factor = self.config.minimum_target_class_imbalance.get(*rare).copied().unwrap_or(1.0);
            dominant.iter().any(|dominant| count(rare) > count(dominant) * f64::from(factor))
        })
    }
}
