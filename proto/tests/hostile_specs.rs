//! Texts that nobody means well with: an answer within bounded time and memory, never a panic.

use std::time::{Duration, Instant};

use oxidet_proto::lint::{Verdict, report};
use oxidet_proto::prototxt::limits::{MAX_BYTES, MAX_PROBLEMS};
use oxidet_proto::spec::parse_anchors;

/// A report, rendered both ways; the time is generous for a busy machine.
fn survive(text: &str) -> Verdict {
    let start = Instant::now();
    let report = report("hostile.txt", text);
    let rendered = report.diagnostics.to_string().len() + report.diagnostics.to_json().to_string().len();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?} for {} bytes", start.elapsed(), text.len());
    assert!(report.diagnostics.iter().count() <= MAX_PROBLEMS + 200);
    assert!(rendered < 1 << 20, "{rendered} bytes of complaints");
    report.verdict
}

#[test]
fn deep_nesting() {
    let n = 100_000;
    for text in [
        "yolov4_config {".repeat(n),
        "{".repeat(n),
        "}".repeat(n),
        "[".repeat(n),
        "<".repeat(n),
        "training_config { optimizer {".repeat(n),
        format!("{}{}", "a { ".repeat(n), "} ".repeat(n)),
        format!("a: {}", "[".repeat(n)),
        "a: [{b: [{".repeat(n),
    ] {
        assert_eq!(survive(&text), Verdict::Unreadable);
    }
}

#[test]
fn endless_pieces() {
    let n = 500_000;
    for text in [
        format!("random_seed: {}", "9".repeat(n)),
        format!("{}: 1", "a".repeat(n)),
        format!("yolov4_config {{ arch: \"{}\" }}", "x".repeat(n)),
        format!("yolov4_config {{ arch: {} }}", "\"x\" ".repeat(n)),
        format!("yolov4_config {{ arch: \"{}\" }}", "\\n".repeat(n)),
        format!("yolov4_config {{ arch: \"{}\" }}", "\\q".repeat(n)),
        format!("yolov4_config {{ big_anchor_shape: \"[{}\" }}", "(1,1),".repeat(n)),
        format!("yolov4_config {{ big_anchor_shape: \"{}\" }}", "(".repeat(n)),
        format!("\"{}", "a".repeat(n)),
        "random_seed: 1\n".repeat(n / 10),
        "freeze_blocks: 1 ".repeat(n / 10),
        format!("yolov4_config {{ {} }}", "freeze_blocks: 1 ".repeat(n / 10)),
        format!("training_config {{ {} }}", "resume_model_path: '' pruned_model_path: '' ".repeat(n / 20)),
        "\u{1}".repeat(n),
        "“".repeat(n),
        "# comment ".repeat(n / 10),
        ":".repeat(n),
        "x".repeat(MAX_BYTES + 1),
    ] {
        survive(&text);
    }
    let keys: String =
        (0..50_000).map(|i| format!("target_class_mapping {{ key: '{i} ' value: 'A{i}' }}\n")).collect();
    survive(&format!("dataset_config {{ {keys} }}"));
    let sources = "data_sources { tfrecords_path: '' } ".repeat(50_000);
    survive(&format!("dataset_config {{ {sources} }}"));
}

/// Words of real specs and noise, in any order: a small seeded walk (xorshift), the same on every machine.
#[test]
fn random_texts() {
    const WORDS: &[&str] = &[
        "yolov4_config",
        "training_config",
        "optimizer",
        "adam",
        "sgd",
        "big_anchor_shape",
        "freeze_blocks",
        "hue",
        "image_mean",
        "target_class_mapping",
        "data_sources",
        "key",
        "value",
        "average_precision_mode",
        "kitti_config",
        "{",
        "}",
        "<",
        ">",
        "[",
        "]",
        ":",
        ",",
        ";",
        "\"",
        "'",
        "\\",
        "\\x",
        "\\u12",
        "0x",
        "1e-4",
        "-",
        ".",
        "0.5",
        "[(1,2)]",
        "\"[(1, 2), (\"",
        "true",
        "L1",
        "\n",
        "\t",
        "#",
        "é",
        "\u{0}",
        "\u{feff}",
        "\u{202e}",
        "nan",
        "99999999999",
        "dataset_config",
        " ",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    for _ in 0..3000 {
        let length = next(60);
        let text: String =
            (0..length).map(|_| [WORDS[next(WORDS.len())], [" ", ""][next(2)]].concat()).collect();
        survive(&text);
        let _ = parse_anchors(&text);
    }
    for _ in 0..1000 {
        let bytes: Vec<u8> = (0..next(200)).map(|_| next(256) as u8).collect();
        survive(&String::from_utf8_lossy(&bytes));
    }
}
