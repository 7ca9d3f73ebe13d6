//! Boxes: empty, outside, too small, twice.

use oxidet_proto::lint::Checked;
use oxidet_vision::{NormBox, PxBox, iou};

use super::Part;
use super::classes::{input_size, is_trained};
use super::label_lines::{LabelLines, describe};
use super::report::{EXAMPLES, Example, Finding, Severity, Shown, count};
use crate::data::{Object, Sample, Split};

/// Pixels by which a box may reach beyond the image: tools differ on where the last pixel ends.
const MARGIN: f32 = 1.0;
/// Pixels at the network's input below which nothing of an object is left.
const MIN_SIDE: f32 = 4.0;
/// Overlap from which on two boxes of one class are probably one object.
const SAME: f32 = 0.8;

/// Strides of the heads, largest first: as many as there are groups of anchors.
pub(super) const STRIDES: [usize; 3] = [32, 16, 8];

/// Boxes of a kind, some of them in full.
#[derive(Default)]
struct Found<'a> {
    count: usize,
    some: Vec<(&'a Sample, Vec<Object>)>,
}

impl<'a> Found<'a> {
    fn add(&mut self, sample: &'a Sample, objects: &[Object]) {
        self.count += 1;
        if self.some.len() < EXAMPLES {
            self.some.push((sample, objects.to_vec()));
        }
    }
}

pub(super) fn examine(spec: &Checked, part: &Part, input: (usize, usize), findings: &mut Vec<Finding>) {
    let lines = LabelLines::new(spec, part.split);
    let heads = spec.anchors().heads().count();
    let stride = STRIDES[heads.clamp(1, STRIDES.len()) - 1];
    let [mut beyond, mut partly, mut small, mut twice, mut alike] = [(); 5].map(|()| Found::default());
    for sample in &part.dataset.samples {
        for object in &sample.objects {
            let own = std::slice::from_ref(object);
            match position(sample, &object.bbox) {
                Position::Outside => beyond.add(sample, own),
                Position::Partly => partly.add(sample, own),
                Position::Inside => {}
            }
            if part.split == Split::Train
                && is_trained(spec, object)
                && is_small(sample, object, input, stride)
            {
                small.add(sample, own);
            }
        }
        for (i, first) in sample.objects.iter().enumerate() {
            for second in sample.objects[i + 1..].iter().filter(|second| second.class == first.class) {
                if first.bbox == second.bbox {
                    twice.add(sample, &[*first, *second]);
                } else if overlap(&first.bbox, &second.bbox) > SAME {
                    alike.add(sample, &[*first, *second]);
                }
            }
        }
    }
    empty(spec, part, &lines, findings);
    let boxes = |found: &Found<'_>| count(found.count, "box", "boxes");
    let pairs = |found: &Found<'_>| count(found.count, "pair", "pairs");
    let small_message = format!(
        "{} of {} are too small at the input of {}x{}: a side below {MIN_SIDE} px, or a size below {} px, half the smallest stride",
        small.count,
        count(part.boxes(), "box", "boxes"),
        input.0,
        input.1,
        stride / 2
    );
    for (id, severity, message, help, found) in [
        (
            "D132",
            Severity::Error,
            format!("{} entirely outside the image", boxes(&beyond)),
            "correct or remove them; are the labels made for another size of the image?",
            &beyond,
        ),
        (
            "D133",
            Severity::Warning,
            format!("{} partly outside the image", boxes(&partly)),
            "they are cut at its edge; correct them if the labels were made for another size of the image",
            &partly,
        ),
        (
            "D134",
            Severity::Warning,
            small_message,
            "raise output_width and output_height, cut the images into tiles, use a network with a head of stride 8, or remove these boxes",
            &small,
        ),
        (
            "D135",
            Severity::Warning,
            format!("{} of equal boxes of one class", pairs(&twice)),
            "remove one of each: an object counts once",
            &twice,
        ),
        (
            "D136",
            Severity::Info,
            format!("{} of boxes of one class overlap by more than {SAME}", pairs(&alike)),
            "look whether an object is labelled twice",
            &alike,
        ),
    ] {
        if found.count > 0 {
            let mut finding =
                Finding::new(id, severity, part.split, message, help).at(examples(part, &lines, found));
            finding.more = found.count - finding.examples.len();
            findings.push(finding);
        }
    }
}

fn examples(part: &Part, lines: &LabelLines<'_>, found: &Found<'_>) -> Vec<Example> {
    let example = |(sample, objects): &(&Sample, Vec<Object>)| {
        let boxes = objects.iter().map(|object| describe(&part.dataset.classes[object.class], &object.bbox));
        let place = lines.place(&sample.image, &objects[0].bbox);
        Example {
            text: format!(
                "{place}: {}, in {}x{}",
                boxes.collect::<Vec<_>>().join(" and "),
                sample.width,
                sample.height
            ),
            pictures: vec![Shown { image: sample.image.clone(), objects: objects.clone() }],
        }
    };
    found.some.iter().map(example).collect()
}

/// Boxes without area are not in the data set any more; the label files still have them.
fn empty(spec: &Checked, part: &Part, lines: &LabelLines<'_>, findings: &mut Vec<Finding>) {
    let invalid = part.dataset.summary.invalid;
    if invalid == 0 {
        return;
    }
    let mut places = Vec::new();
    for sample in &part.dataset.samples {
        let Some((path, objects)) = lines.read(&sample.image) else { continue };
        for object in objects {
            let [x1, y1, x2, y2] = object.bbox;
            if (x2 <= x1 || y2 <= y1) && spec.classes().lookup(&object.class).is_some() {
                let bbox = PxBox { x1, y1, x2, y2 };
                places.push(Example::text(format!(
                    "{}:{}: {}",
                    path.display(),
                    object.line,
                    describe(&object.class, &bbox)
                )));
            }
        }
    }
    let verb = if invalid == 1 { "has" } else { "have" };
    let message = format!("{} {verb} no area and are left out", count(invalid, "box", "boxes"));
    let help = "give them their size or remove the lines: as it is, their objects count as background";
    findings.push(Finding::new("D131", Severity::Warning, part.split, message, help).at(places));
}

enum Position {
    Inside,
    Partly,
    Outside,
}

fn position(sample: &Sample, b: &PxBox) -> Position {
    let (w, h) = (sample.width as f32, sample.height as f32);
    if b.x2 <= 0.0 || b.y2 <= 0.0 || b.x1 >= w || b.y1 >= h {
        Position::Outside
    } else if b.x1 < -MARGIN || b.y1 < -MARGIN || b.x2 > w + MARGIN || b.y2 > h + MARGIN {
        Position::Partly
    } else {
        Position::Inside
    }
}

fn is_small(sample: &Sample, object: &Object, input: (usize, usize), stride: usize) -> bool {
    let (w, h) = input_size(sample, &object.bbox, input);
    w.min(h) < MIN_SIDE || (w * h).sqrt() < stride as f32 / 2.0
}

fn overlap(a: &PxBox, b: &PxBox) -> f32 {
    // An overlap has no unit, so that of fractions is that of pixels.
    let of = |b: &PxBox| NormBox { x1: b.x1, y1: b.y1, x2: b.x2, y2: b.y2 };
    iou(&of(a), &of(b))
}
