//! TFRecords under the eyes of TensorFlow.

use std::fs;
use std::process::Command;

use oxidet_proto::kitti::Object;
use oxidet_proto::tfrecord::{Frame, Records, write_record};
use serde_json::Value;

/// Frames with many, some and no objects.
fn frames() -> Vec<Frame> {
    let object = |i: usize| {
        let value = |k: usize| ((i * 31 + k) as f32 * 0.7310586).sin() * 1000.0;
        Object {
            class: ["car", "fußgänger", "truck"][i % 3].into(),
            truncation: value(0),
            occlusion: i as i32 % 5 - 1,
            alpha: value(1),
            bbox: [value(2), value(3), value(4), value(5)],
            dimensions: [value(6), value(7), value(8)],
            location: [value(9), value(10), value(11)],
            rotation_y: value(12),
            score: None,
            line: 0,
        }
    };
    [300, 2, 0, 1]
        .iter()
        .enumerate()
        .map(|(n, &count)| Frame {
            id: format!("images/{n:06}"),
            width: 1242 + n as u32,
            height: 375,
            objects: (0..count).map(object).collect(),
            ..Frame::default()
        })
        .collect()
}

fn numbers(value: &Value) -> Vec<f32> {
    let number = |number: &Value| number.as_f64().expect("TensorFlow's floats are numbers") as f32;
    value.as_array().expect("the script writes a list").iter().map(number).collect()
}

#[test]
#[cfg_attr(not(peers), ignore = "set OXIDET_PEERS_PYTHON to a Python with tensorflow or tensorflow-cpu")]
fn tensorflow_reads_our_records_and_we_read_its() {
    let dir = tempfile::tempdir().unwrap();
    let frames = frames();
    let mut shard = Vec::new();
    for frame in &frames {
        write_record(&mut shard, &frame.encode()).unwrap();
    }
    fs::write(dir.path().join("ours"), &shard).unwrap();

    let python = std::env::var("OXIDET_PEERS_PYTHON").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/check_tfrecord.py");
    let output = Command::new(python).arg(script).arg(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(&format!("ok {} records", frames.len())), "{text}");

    let found: Vec<Value> = serde_json::from_slice(&fs::read(dir.path().join("ours.json")).unwrap()).unwrap();
    assert_eq!(found.len(), frames.len());
    for (found, frame) in found.iter().zip(&frames) {
        assert_eq!(found["frame/id"], frame.id.as_str());
        assert_eq!(
            (&found["frame/width"], &found["frame/height"]),
            (&frame.width.into(), &frame.height.into())
        );
        let classes: Vec<&str> = frame.objects.iter().map(|object| object.class.as_str()).collect();
        assert_eq!(found["target/object_class"], Value::from(classes));
        let occlusion: Vec<i32> = frame.objects.iter().map(|object| object.occlusion).collect();
        assert_eq!(found["target/occlusion"], Value::from(occlusion));
        let column = |key: &str, of: fn(&Object) -> f32| {
            assert_eq!(numbers(&found[key]), frame.objects.iter().map(of).collect::<Vec<_>>(), "{key}");
        };
        column("target/truncation", |o| o.truncation);
        column("target/observation_angle", |o| o.alpha);
        column("target/coordinates_x1", |o| o.bbox[0]);
        column("target/coordinates_y1", |o| o.bbox[1]);
        column("target/coordinates_x2", |o| o.bbox[2]);
        column("target/coordinates_y2", |o| o.bbox[3]);
        column("target/world_bbox_h", |o| o.dimensions[0]);
        column("target/world_bbox_w", |o| o.dimensions[1]);
        column("target/world_bbox_l", |o| o.dimensions[2]);
        column("target/world_bbox_x", |o| o.location[0]);
        column("target/world_bbox_y", |o| o.location[1]);
        column("target/world_bbox_z", |o| o.location[2]);
        column("target/world_bbox_rot_y", |o| o.rotation_y);
    }

    let theirs = fs::read(dir.path().join("theirs")).unwrap();
    let read: Vec<Frame> =
        Records::new(&theirs[..]).map(|record| Frame::decode(&record.unwrap()).unwrap()).collect();
    assert_eq!(read, frames);
}
