//! Where each field of a message was written.

use std::collections::BTreeMap;

use crate::prototxt::Span;

/// Where a field was written. When it was written twice, the place that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The field's name; of a map entry, its key.
    pub name: Span,
    /// The value.
    pub value: Span,
}

/// Places by field path: `yolov4_config.arch`, `dataset_config.data_sources[0].tfrecords_path`,
/// `dataset_config.target_class_mapping["car"]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(BTreeMap<String, Place>);

impl Spans {
    /// Where the field was written; `None` when it was not.
    pub fn get(&self, path: &str) -> Option<Place> {
        self.0.get(path).copied()
    }

    /// Whether the field was written.
    pub fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Where to point when talking about a field: at its value, or, when it was not written, at the name of
    /// the nearest message around it that was.
    pub fn nearest(&self, path: &str) -> Option<Span> {
        if let Some(place) = self.get(path) {
            return Some(place.value);
        }
        let mut around = path;
        while let Some(cut) = around.rfind(['.', '[']) {
            around = &around[..cut];
            if let Some(place) = self.get(around) {
                return Some(place.name);
            }
        }
        None
    }

    pub(super) fn insert(&mut self, path: &str, place: Place) {
        self.0.insert(path.to_owned(), place);
    }

    /// Forgets a field and everything in it.
    pub(super) fn remove(&mut self, path: &str) {
        let inside = |key: &str| {
            key.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
        };
        let keys =
            self.0.range(path.to_owned()..).map(|(key, _)| key).take_while(|key| key.starts_with(path));
        for key in keys.filter(|key| inside(key)).cloned().collect::<Vec<_>>() {
            self.0.remove(&key);
        }
    }
}
