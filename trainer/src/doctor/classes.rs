//! Classes: which are there, which are missing, which are not asked for.

use oxidet_proto::kitti::DONT_CARE;
use oxidet_proto::lint::Checked;
use oxidet_vision::{Letterbox, PxBox};

use super::Part;
use super::report::{Example, Finding, Severity, count};
use crate::data::{Dataset, Object, Sample, Split};

/// Boxes of the most frequent class for one of the rarest, from which on it is worth a word.
const IMBALANCE: f64 = 10.0;

/// One class in one split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassCounts {
    /// Boxes.
    pub boxes: usize,
    /// Images with at least one of them.
    pub images: usize,
    /// Boxes marked difficult.
    pub difficult: usize,
    /// Smallest, median and largest size of a box at the network's input, in pixels: the side of a square of its area.
    pub sizes: [f32; 3],
}

/// Width and height of a box at the network's input, in pixels.
pub(super) fn input_size(sample: &Sample, bbox: &PxBox, (width, height): (usize, usize)) -> (f32, f32) {
    let bbox = Letterbox::new(sample.width, sample.height, width, height).to_canvas(bbox);
    (bbox.width() * width as f32, bbox.height() * height as f32)
}

/// Whether training learns from an object.
pub(super) fn is_trained(spec: &Checked, object: &Object) -> bool {
    spec.dataset().include_difficult_in_training || !object.difficult
}

pub(super) fn count_classes(dataset: &Dataset, input: (usize, usize)) -> Vec<ClassCounts> {
    let mut counts = vec![ClassCounts::default(); dataset.classes.len()];
    let mut sizes = vec![Vec::new(); counts.len()];
    for sample in &dataset.samples {
        let mut seen = vec![false; counts.len()];
        for object in &sample.objects {
            let class = &mut counts[object.class];
            class.boxes += 1;
            class.difficult += usize::from(object.difficult);
            class.images += usize::from(!std::mem::replace(&mut seen[object.class], true));
            let (w, h) = input_size(sample, &object.bbox, input);
            sizes[object.class].push((w * h).sqrt());
        }
    }
    for (class, mut sizes) in counts.iter_mut().zip(sizes) {
        sizes.sort_by(f32::total_cmp);
        if let (Some(first), Some(last)) = (sizes.first(), sizes.last()) {
            class.sizes = [*first, sizes[sizes.len() / 2], *last];
        }
    }
    counts
}

pub(super) fn examine(spec: &Checked, part: &Part, findings: &mut Vec<Finding>) {
    if part.dataset.samples.is_empty() {
        return;
    }
    missing(spec, part, findings);
    unmapped(part, findings);
    if part.split == Split::Train {
        left_out(spec, part, findings);
        imbalance(part, findings);
    }
}

/// Classes that are asked for and not there.
fn missing(spec: &Checked, part: &Part, findings: &mut Vec<Finding>) {
    for (name, class) in part.dataset.classes.iter().zip(&part.classes) {
        let (severity, message, help) = match part.split {
            Split::Train if class.boxes == 0 => (
                Severity::Error,
                format!("no object of class `{name}`: the network cannot learn it"),
                "correct the keys of target_class_mapping, add images with this class, or take it out",
            ),
            Split::Train
                if class.boxes == class.difficult && !spec.dataset().include_difficult_in_training =>
            {
                (
                    Severity::Error,
                    format!(
                        "all {} of class `{name}` are difficult and not trained on",
                        count(class.boxes, "object", "objects")
                    ),
                    "set include_difficult_in_training: true",
                )
            }
            Split::Validation if class.boxes == 0 => (
                Severity::Warning,
                format!("no object of class `{name}`: it has no average precision"),
                "add validation images with this class",
            ),
            _ => continue,
        };
        findings.push(Finding::new("D121", severity, part.split, message, help));
    }
}

/// Classes that are there and not asked for.
fn unmapped(part: &Part, findings: &mut Vec<Finding>) {
    let (regions, classes): (Vec<_>, Vec<_>) =
        part.dataset.summary.unmapped.iter().partition(|(name, _)| name.to_lowercase() == DONT_CARE);
    if !classes.is_empty() {
        let boxes: usize = classes.iter().map(|(_, count)| **count).sum();
        let message = format!(
            "{} of {} that target_class_mapping lacks: they count as background",
            count(boxes, "object", "objects"),
            count(classes.len(), "class", "classes")
        );
        let help = "map them to a class, or leave it so when the network shall not find them";
        let names = classes.into_iter().map(|(name, count)| Example::text(format!("{name}: {count}")));
        findings.push(Finding::new("D122", Severity::Warning, part.split, message, help).at(names));
    }
    if let Some((name, regions)) = regions.first() {
        let message = format!(
            "{} count as background",
            count(**regions, &format!("{name} region"), &format!("{name} regions"))
        );
        let help = "nothing: objects in them are not labelled, so a few detections there count as false";
        findings.push(Finding::new("D125", Severity::Info, part.split, message, help));
    }
}

fn left_out(spec: &Checked, part: &Part, findings: &mut Vec<Finding>) {
    let difficult = part.dataset.summary.difficult;
    if difficult > 0 && !spec.dataset().include_difficult_in_training {
        let message =
            format!("{difficult} of {} boxes are difficult (occluded) and not trained on", part.boxes());
        let help = "set include_difficult_in_training: true to learn from them";
        findings.push(Finding::new("D124", Severity::Info, part.split, message, help));
    }
}

fn imbalance(part: &Part, findings: &mut Vec<Finding>) {
    let there = part.dataset.classes.iter().zip(&part.classes).filter(|(_, class)| class.boxes > 0);
    let boxes = |(_, class): &(&String, &ClassCounts)| class.boxes;
    let (Some(least), Some(most)) = (there.clone().min_by_key(boxes), there.max_by_key(boxes)) else {
        return;
    };
    let ratio = most.1.boxes as f64 / least.1.boxes as f64;
    if ratio >= IMBALANCE {
        let message = format!(
            "`{}` has {}, `{}` {}: {ratio:.0} to one",
            least.0,
            count(least.1.boxes, "box", "boxes"),
            most.0,
            most.1.boxes
        );
        let help = "more images of the rare class help most; class_weighting_config can raise its weight";
        findings.push(Finding::new("D123", Severity::Info, part.split, message, help));
    }
}
