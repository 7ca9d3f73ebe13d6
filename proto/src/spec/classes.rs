//! The classes of a spec: the one place that knows their names, order and lookup.

use std::collections::BTreeMap;

/// Target classes and the source classes that map to them.
///
/// Target classes are the distinct values of `target_class_mapping`, lower-cased and sorted bytewise; the
/// index in that order is the class id. There is no background class. Source names are looked up without
/// regard to case; when two keys differ in case only, the bytewise last one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassMap {
    names: Vec<String>,
    by_source: BTreeMap<String, usize>,
}

impl ClassMap {
    /// From `target_class_mapping`: source class → target class.
    pub fn new(mapping: &BTreeMap<String, String>) -> Self {
        let mut names: Vec<String> = mapping.values().map(|target| target.to_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        let id = |target: &str| names.binary_search(&target.to_lowercase()).ok();
        let by_source =
            mapping.iter().filter_map(|(source, target)| Some((source.to_lowercase(), id(target)?)));
        Self { by_source: by_source.collect(), names }
    }

    /// Target class names; the index is the class id.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of target classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The class id of a label's class; `None` means background.
    pub fn lookup(&self, source_name: &str) -> Option<usize> {
        self.by_source.get(&source_name.to_lowercase()).copied()
    }

    /// The class id of a target class, in any case.
    pub fn id(&self, target_name: &str) -> Option<usize> {
        self.names.binary_search(&target_name.to_lowercase()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> ClassMap {
        ClassMap::new(&pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    #[test]
    fn targets_are_lower_cased_distinct_and_sorted() {
        let classes = map(&[("Van", "Car"), ("car", "car"), ("Person", "person"), ("b", "Bus"), ("z", "_x")]);
        assert_eq!(classes.names(), ["_x", "bus", "car", "person"]);
        for (source, want) in
            [("VAN", Some(2)), ("Car", Some(2)), ("B", Some(1)), ("bus", None), ("DontCare", None)]
        {
            assert_eq!(classes.lookup(source), want, "{source}");
        }
        assert_eq!([classes.id("BUS"), classes.id("van")], [Some(1), None]);
    }
}
