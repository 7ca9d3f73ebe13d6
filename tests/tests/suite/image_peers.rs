//! Awkward image files: what we make of them against what Pillow does.

use std::path::Path;
use std::process::Command;

use oxidet_vision::Picture;

struct Found {
    size: (usize, usize),
    channels: usize,
    values: Vec<f64>,
}

fn read(path: &Path, depth: u8) -> Result<Found, String> {
    let bytes = std::fs::read(path).expect("the script wrote it");
    let picture = Picture::decode(&bytes, depth).map_err(|error| error.to_string())?;
    let (channels, values) = match &picture {
        Picture::Eight(image) => (image.channels, image.data.iter().map(|v| f64::from(*v)).collect()),
        Picture::Sixteen(image) => (image.channels, image.data.iter().map(|v| f64::from(*v)).collect()),
    };
    Ok(Found { size: picture.size(), channels, values })
}

#[test]
#[cfg_attr(not(peers), ignore = "set OXIDET_PEERS_PYTHON to a Python with numpy and pillow")]
fn awkward_images_are_read_as_pillow_reads_them_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let python = std::env::var("OXIDET_PEERS_PYTHON").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/make_images.py");
    let output = Command::new(python).arg(script).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = std::fs::read(dir.path().join("expected.json")).unwrap();
    let expected: Vec<serde_json::Value> = serde_json::from_slice(&expected).unwrap();
    assert!(expected.len() > 60);

    let mut wrong = Vec::new();
    for case in &expected {
        let name = case["file"].as_str().unwrap();
        let path = dir.path().join(name);
        let Some(depth) = case["depth"].as_u64() else {
            for depth in [8, 16] {
                if read(&path, depth).is_ok() {
                    wrong.push(format!("{name}: read as {depth} bits, should be refused"));
                }
            }
            continue;
        };
        let found = match read(&path, depth as u8) {
            Ok(found) => found,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        if read(&path, 24 - depth as u8).is_ok() {
            wrong.push(format!("{name}: its depth does not matter"));
        }
        let raw = std::fs::read(dir.path().join(format!("{name}.raw"))).unwrap();
        let want: Vec<f64> = match depth {
            8 => raw.iter().map(|v| f64::from(*v)).collect(),
            _ => raw.as_chunks::<2>().0.iter().map(|v| f64::from(u16::from_le_bytes(*v))).collect(),
        };
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        if (found.size, found.channels) != ((number("width"), number("height")), number("channels")) {
            wrong.push(format!("{name}: {:?} of {} channels", found.size, found.channels));
            continue;
        }
        let sum: f64 = want.iter().zip(&found.values).map(|(a, b)| (a - b).abs()).sum();
        let mean = sum / want.len() as f64;
        if mean > case["tolerance"].as_f64().unwrap() {
            wrong.push(format!("{name}: values differ by {mean:.3} on average"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
