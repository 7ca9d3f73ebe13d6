//! `evaluate` as its users call it.

use std::fs;
use std::path::Path;

use crate::support::{SPEC, oxidet, project};
use oxidet_vision::image::{decode, header};
use serde_json::Value;

const CHECKPOINT: &str = "out/weights/yolov4_cspdarknet_tiny_epoch_001.tlt";

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn everything_is_measured_and_written() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    // Four images in batches of three, so that the last one is short.
    let spec =
        SPEC.replace("eval_config { batch_size: 2", "eval_config { visualize_pr_curve: true batch_size: 3");
    assert!(spec.contains("visualize_pr_curve"));
    fs::write(dir.join("spec.txt"), spec).unwrap();
    assert_eq!(oxidet(dir, "train -e spec.txt -r out").code, 0);

    let line = format!("evaluate -m {CHECKPOINT} -e spec.txt -r eval --gallery 3 -t 0.05");
    let run = oxidet(dir, &line);
    assert_eq!(run.code, 0, "{}", run.told());
    assert!(run.stdout.contains("AP50:95"), "{}", run.told());
    let evaluation = json(&dir.join("eval/evaluation.json"));
    assert_eq!(evaluation["classes"][0]["truths"], 4, "{evaluation:#}");
    assert!(evaluation["coco"]["ap"].is_number());
    let at = &evaluation["classes"][0]["at_score_threshold"];
    let number = |key: &str| at[key].as_u64().unwrap();
    assert_eq!(number("true_positives") + number("false_negatives"), 4);
    let matrix = &evaluation["confusion_matrix"];
    assert_eq!((&matrix["score_threshold"], &matrix["labels"][1]), (&0.05.into(), &"background".into()));

    let detections = json(&dir.join("eval/detections.json"));
    let truths = json(&dir.join("eval/truths.json"));
    assert_eq!(truths["images"].as_array().unwrap().len(), 4);
    assert_eq!(truths["annotations"][0]["bbox"], serde_json::json!([8.0, 30.0, 24.0, 24.0]));
    let counted = evaluation["classes"][0]["detections"].as_u64().unwrap();
    assert_eq!(detections.as_array().unwrap().len() as u64, counted, "no object is difficult");

    let header = header(&fs::read(dir.join("eval/PR_curve.png")).unwrap()).unwrap();
    assert!(header.width > 600 && header.height > 400);
    let csv = fs::read_to_string(dir.join("eval/PR_curve.csv")).unwrap();
    assert!(csv.lines().skip(1).all(|line| line.starts_with("square,")), "{csv}");
    assert!(dir.join("eval/confusion_matrix.csv").is_file());

    // After one epoch everything is missed, or found where nothing is.
    let page = fs::read_to_string(dir.join("eval/gallery/index.html")).unwrap();
    let pictures: Vec<_> =
        fs::read_dir(dir.join("eval/gallery")).unwrap().map(|e| e.unwrap().path()).collect();
    let pictures: Vec<_> =
        pictures.iter().filter(|path| path.extension().is_some_and(|ext| ext == "jpg")).collect();
    assert_eq!(pictures.len(), 3, "{pictures:?}");
    for path in pictures {
        assert!(page.contains(path.file_name().unwrap().to_str().unwrap()), "{page}");
        let picture = decode::<u8>(&fs::read(path).unwrap()).unwrap();
        assert_eq!(picture.width, 384, "small images are enlarged four times");
    }

    // Without a folder for results the curves go where the original puts them.
    let run = oxidet(dir, &format!("evaluate -m {CHECKPOINT} -e spec.txt"));
    assert_eq!(run.code, 0, "{}", run.told());
    assert!(dir.join("out/weights/PR_curve.png").is_file());

    let run = oxidet(dir, &format!("evaluate -m {CHECKPOINT} -e spec.txt --gallery"));
    assert_eq!(run.code, 2, "a gallery needs a folder: {}", run.told());
    assert!(run.stderr.contains("--results_dir"), "{}", run.told());
}
