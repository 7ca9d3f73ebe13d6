//! Weights that Keras saved, in our network: the features must be Keras'.

use std::path::Path;
use std::process::Command;

use oxidet_compute::Executor;
use oxidet_graph::DetectorHead;
use oxidet_tests::checkpoint;
use oxidet_trainer::weights::load;

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("the script wrote it");
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
#[cfg_attr(not(peers), ignore = "set OXIDET_PEERS_PYTHON to a Python with tensorflow or tensorflow-cpu")]
fn a_network_with_the_weights_of_keras_finds_its_features() {
    let dir = tempfile::tempdir().unwrap();
    let python = std::env::var("OXIDET_PEERS_PYTHON").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/make_keras_weights.py");
    let output = Command::new(python).arg(script).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (input, wanted) = (floats(&dir.path().join("input.f32")), floats(&dir.path().join("features.f32")));

    let start = checkpoint("efficientnet_b0", 0, "", 3);
    let mut detector = start.detector;
    let top = detector.graph.find("top_activation").unwrap();
    for file in ["full.h5", "archive.keras", "alone.weights.h5"] {
        let bytes = std::fs::read(dir.path().join(file)).unwrap();
        let (params, report) = load(&bytes, &detector, start.params.clone()).unwrap();
        assert_eq!(report.backbone_share, 1.0, "{file}: {report}");
        let head = DetectorHead { output: top, ..detector.heads[0].clone() };
        let whole = std::mem::replace(&mut detector.heads, vec![head]);
        let mut executor = Executor::new(&detector, &params).unwrap();
        let found = executor.head_maps(&input, 1).unwrap().concat();
        detector.heads = whole;
        assert_eq!(found.len(), wanted.len(), "{file}");
        let size = wanted.iter().map(|value| value.abs()).sum::<f32>() / wanted.len() as f32;
        for (found, wanted) in found.iter().zip(&wanted) {
            // The border of the image is padded with the mean there, with a colour close to it here.
            assert!(
                (found - wanted).abs() <= 0.01 * size,
                "{file}: {found}, not {wanted}, of mean size {size}"
            );
        }
    }
}
