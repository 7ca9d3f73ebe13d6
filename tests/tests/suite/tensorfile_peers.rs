//! Tensorfiles under the eyes of h5py.

use std::fs;
use std::process::Command;

use oxidet_proto::tensorfile::{Tensorfile, TensorfileError, write};

const SHAPE: [usize; 4] = [4, 3, 64, 96];

#[test]
#[cfg_attr(not(peers), ignore = "set OXIDET_PEERS_PYTHON to a Python with h5py and numpy")]
fn h5py_reads_our_tensorfile_and_we_read_its() {
    let dir = tempfile::tempdir().unwrap();
    let pixel = |seed: usize, i: usize| ((i * 2_654_435_761 + seed * 97) >> 7 & 255) as f32 - 103.939;
    let len = SHAPE.iter().product();
    let batches: Vec<Vec<f32>> = (0..3).map(|seed| (0..len).map(|i| pixel(seed, i)).collect()).collect();
    let ours = fs::File::create(dir.path().join("ours")).unwrap();
    write("ours", SHAPE, batches.iter().cloned().map(Ok::<_, TensorfileError>), ours).unwrap();

    let python = std::env::var("OXIDET_PEERS_PYTHON").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/check_tensorfile.py");
    let output = Command::new(python).arg(script).arg(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("ok 3 batches of shape [4, 3, 64, 96]"), "{text}");

    let found = fs::read(dir.path().join("ours.f64")).unwrap();
    let found: Vec<f64> = found.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    assert!(found.iter().copied().eq(batches.iter().flatten().copied().map(f64::from)));

    let theirs = fs::File::open(dir.path().join("theirs")).unwrap();
    let theirs = Tensorfile::open("theirs", theirs).unwrap();
    assert_eq!((theirs.count(), theirs.shape()), (3, SHAPE));
    let images = (0..theirs.images()).map(|image| theirs.image(image));
    assert_eq!(images.collect::<Result<Vec<_>, _>>().unwrap().concat(), batches.concat());
}
