//! Objects and detections as COCO files, for other tools: pycocotools gives the same numbers on them as we do.
//!
//! Images and classes are numbered from 1 in the order of the data set. Boxes are `[left, top, width, height]` in pixels with
//! every digit they have. Formats: <https://cocodataset.org/#format-data>, <https://cocodataset.org/#format-results>.

use oxidet_vision::PxBox;
use oxidet_vision::metrics::Truth;
use serde_json::{Value, json};

use super::Evaluated;
use crate::data::Dataset;

/// The annotation file: images, classes, and objects; a difficult object is a crowd, which is how pycocotools leaves it out.
pub fn coco_annotations(dataset: &Dataset, images: &[Evaluated]) -> String {
    let image = |image: &Evaluated| {
        let sample = &dataset.samples[image.sample];
        json!({
            "id": image.sample + 1,
            "file_name": sample.image.file_name().unwrap_or_default().to_string_lossy(),
            "width": sample.width,
            "height": sample.height,
        })
    };
    let objects = images.iter().flat_map(|image| image.truths.iter().map(|truth| (image.sample, truth)));
    let annotation = |(index, (sample, truth)): (usize, (usize, &Truth<PxBox>))| {
        let place = place(&truth.bbox);
        json!({
            "id": index + 1,
            "image_id": sample + 1,
            "category_id": truth.class + 1,
            "bbox": place,
            "area": place[2] * place[3],
            "iscrowd": u8::from(truth.difficult),
        })
    };
    let category = |(class, name): (usize, &String)| json!({ "id": class + 1, "name": name });
    format!(
        "{{\n\"images\": {},\n\"categories\": {},\n\"annotations\": {}\n}}\n",
        lines(images.iter().map(image)),
        lines(dataset.classes.iter().enumerate().map(category)),
        lines(objects.enumerate().map(annotation))
    )
}

/// The results file: every detection with its score.
pub fn coco_detections(images: &[Evaluated]) -> String {
    let found = images.iter().flat_map(|image| {
        image.detections.iter().map(|detection| {
            json!({
                "image_id": image.sample + 1,
                "category_id": detection.class + 1,
                "bbox": place(&detection.bbox),
                "score": f64::from(detection.score),
            })
        })
    });
    lines(found) + "\n"
}

fn place(b: &PxBox) -> [f64; 4] {
    let [x1, y1, x2, y2] = [b.x1, b.y1, b.x2, b.y2].map(f64::from);
    [x1, y1, x2 - x1, y2 - y1]
}

/// A list with a line for each value.
fn lines(values: impl Iterator<Item = Value>) -> String {
    let lines: Vec<String> = values.map(|value| value.to_string()).collect();
    format!("[\n{}\n]", lines.join(",\n"))
}
