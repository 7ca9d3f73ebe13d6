//! The rules that objects follow on their way into records, the same for every source.

use oxidet_proto::kitti::Object;

/// Objects as they are written, and what became of the others.
pub(super) struct Cleaned {
    pub(super) objects: Vec<Object>,
    /// Class names in the labels, in the order of `objects`.
    pub(super) label_names: Vec<String>,
    /// Index and corners of the boxes left out.
    pub(super) dropped: Vec<(usize, [i64; 4])>,
}

/// Names classes as records do and leaves out boxes without area.
pub(super) fn clean(found: Vec<Object>) -> Cleaned {
    let mut cleaned = Cleaned { objects: Vec::new(), label_names: Vec::new(), dropped: Vec::new() };
    for (index, object) in found.into_iter().enumerate() {
        // The original compares corners cut to whole pixels and keeps them uncut; saturating is what `as` does.
        let corners @ [x1, y1, x2, y2] = object.bbox.map(|value| value as i64);
        if x1 >= x2 || y1 >= y2 {
            cleaned.dropped.push((index, corners));
            continue;
        }
        cleaned.objects.push(Object { class: stored_name(&object.class), ..object.clone() });
        cleaned.label_names.push(object.class);
    }
    cleaned
}

/// A class's name in records: lower case and without blanks, which KITTI labels cannot hold.
pub(super) fn stored_name(class: &str) -> String {
    class.to_lowercase().split_whitespace().collect()
}
