//! Small sets in which one thing is wrong, found once; and a sound one, in which nothing is.

use std::fs;
use std::path::Path;

use oxidet_proto::lint::{Checked, Verb, check};
use oxidet_proto::spec::parse_experiment;
use oxidet_vision::Image;
use oxidet_vision::image::{encode_jpeg, encode_png};

use super::{Report, Severity, examine, page};

/// A folder with `train` and `val` of a sound data set: 12 and 4 pictures with a car of 40×40 and a dog of 24×24 each.
struct Set(tempfile::TempDir);

impl Set {
    fn sound() -> Self {
        let set = Self(tempfile::tempdir().unwrap());
        for (split, numbers) in [("train", 0..12), ("val", 12..16)] {
            for part in ["images", "labels"] {
                fs::create_dir_all(set.0.path().join(split).join(part)).unwrap();
            }
            for number in numbers {
                set.write(&format!("{split}/images/{number}.png"), &png(&picture(number)));
                set.label(split, number, "");
            }
        }
        set
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(path), bytes).unwrap();
    }

    /// The label file of a picture, with `more` lines.
    fn label(&self, split: &str, number: usize, more: &str) {
        let text = format!("{}{}{more}", line("Car", [10, 10, 50, 50]), line("dog", [80, 60, 104, 84]));
        self.write(&format!("{split}/labels/{number}.txt"), text.as_bytes());
    }

    fn spec(&self, change: impl Fn(String) -> String) -> Checked {
        let root = self.0.path().display();
        let source = |split: &str| {
            format!(
                "label_directory_path: \"{root}/{split}/labels\" image_directory_path: \"{root}/{split}/images\""
            )
        };
        let text = format!(
            r#"
            yolov4_config {{
              arch: "cspdarknet_tiny"
              big_anchor_shape: "[(40, 40)]" mid_anchor_shape: "[(24, 24)]" box_matching_iou: 0.25
            }}
            augmentation_config {{ output_width: 128 output_height: 96 output_channel: 3 }}
            dataset_config {{
              data_sources {{ {} }}
              validation_data_sources {{ {} }}
              target_class_mapping {{ key: "car" value: "car" }}
              target_class_mapping {{ key: "dog" value: "dog" }}
            }}"#,
            source("train"),
            source("val")
        );
        check(parse_experiment("spec", &change(text)).unwrap(), Verb::Dataset).unwrap()
    }

    fn examine(&self) -> Report {
        examine(&self.spec(|text| text), &mut |_, _| {})
    }

    /// The one finding, as text; its code and severity are checked.
    fn finding(&self, id: &str, severity: Severity) -> String {
        let report = self.examine();
        let found: Vec<_> = report.findings.iter().map(|finding| (finding.id, finding.severity)).collect();
        assert_eq!(found, [(id, severity)], "{report}");
        report.findings[0].to_string()
    }
}

fn line(class: &str, b: [i32; 4]) -> String {
    format!("{class} 0 0 0 {} {} {} {} 0 0 0 0 0 0 0\n", b[0], b[1], b[2], b[3])
}

/// Coloured blocks that differ from picture to picture.
fn picture(number: usize) -> Image {
    let mut image = Image::filled(128, 96, &[90u8, 100, 110]);
    for block in 0..48usize {
        let shade = ((number + 1) * (block + 3) * 7919 % 256) as u8;
        let tile = Image::filled(16, 16, &[shade, shade.wrapping_mul(3), 255 - shade]);
        image.paste(&tile, (block % 8 * 16) as isize, (block / 8 * 16) as isize);
    }
    image
}

fn png(image: &Image) -> Vec<u8> {
    encode_png(image).unwrap()
}

fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` in: {text}");
    }
}

#[test]
fn a_sound_set_has_no_findings() {
    let report = Set::sound().examine();
    assert!(report.findings.is_empty(), "{report}");
    assert_eq!((report.train.boxes(), report.validation.boxes()), (24, 8));
    let car = &report.train.classes[0];
    assert_eq!((car.boxes, car.images, car.difficult, car.sizes), (12, 12, 0, [40.0; 3]));
    let fit = report.anchors.unwrap();
    assert_eq!((fit.mean_best_iou, fit.below_matching_iou), (1.0, 0.0));
    let uses: Vec<_> = fit.anchors.iter().map(|anchor| (anchor.stride, anchor.width, anchor.boxes)).collect();
    assert_eq!(uses, [(32, 40.0, 12), (16, 24.0, 12)]);
}

#[test]
fn labels_that_cannot_be_read_do_not_hide_the_other_split() {
    let set = Set::sound();
    set.label("train", 3, "car 0 0 0 1 x 4 4 0 0\n");
    set.write("train/labels/5.txt", b"car 1 2\n");
    let text = set.finding("D101", Severity::Error);
    contains(&text, &["train", "3.txt:3", "5.txt:1"]);
    let report = set.examine();
    assert_eq!((report.train.dataset.samples.len(), report.validation.dataset.samples.len()), (0, 4));
    assert!(report.anchors.is_none());

    let set = Set::sound();
    fs::remove_file(set.0.path().join("val/labels/13.txt")).unwrap();
    contains(&set.finding("D101", Severity::Error), &["val", "13.png", "no label file"]);
}

#[test]
fn a_bad_source_does_not_hide_the_next() {
    let set = Set::sound();
    let spec = set.spec(|text| text.replacen("data_sources", "data_sources { label_directory_path: \"/nowhere/l\" image_directory_path: \"/nowhere/i\" } data_sources", 1));
    let report = examine(&spec, &mut |_, _| {});
    assert_eq!(report.findings.len(), 1, "{report}");
    contains(&report.findings[0].to_string(), &["D101", "/nowhere"]);
    assert_eq!(report.train.dataset.samples.len(), 12);
}

#[test]
fn a_split_without_data() {
    let set = Set::sound();
    let spec = set.spec(|text| {
        let (before, rest) = text.split_once("validation_data_sources").unwrap();
        let (_, after) = rest.split_once('}').unwrap();
        format!("{before}{after}")
    });
    let report = examine(&spec, &mut |_, _| {});
    assert_eq!(report.findings.len(), 1, "{report}");
    contains(&report.findings[0].to_string(), &["error[D102]", "validation"]);
}

#[test]
fn images_that_cannot_be_read() {
    let set = Set::sound();
    let mut damaged = png(&picture(2));
    let middle = damaged.len() - 30;
    damaged[middle] ^= 0xff;
    set.write("train/images/2.png", &damaged);
    set.write("train/images/7.png", b"GIF89a");
    contains(&set.finding("D111", Severity::Error), &["2 images of 12", "2.png", "7.png"]);
    assert_eq!(set.examine().train.boxes(), 20);

    let set = Set::sound();
    let deep = encode_png(&Image::filled(128, 96, &[900u16])).unwrap();
    set.write("val/images/14.png", &deep);
    contains(&set.finding("D112", Severity::Error), &["1 image of 4", "14.png", "16 bits"]);
}

#[test]
fn gray_among_colours() {
    let set = Set::sound();
    let image = picture(4);
    let gray = Image { channels: 1, data: image.data.iter().step_by(3).copied().collect(), ..image };
    set.write("train/images/4.png", &png(&gray));
    contains(&set.finding("D113", Severity::Info), &["1 of 12", "4.png"]);
}

#[test]
fn classes() {
    let set = Set::sound();
    for number in 12..16 {
        set.write(&format!("val/labels/{number}.txt"), line("car", [10, 10, 50, 50]).as_bytes());
    }
    contains(&set.finding("D121", Severity::Warning), &["val", "`dog`"]);

    let set = Set::sound();
    for number in 0..12 {
        set.write(&format!("train/labels/{number}.txt"), line("dog", [10, 10, 50, 50]).as_bytes());
    }
    contains(&set.finding("D121", Severity::Error), &["train", "`car`"]);

    let set = Set::sound();
    set.label("train", 1, &(line("Cow", [1, 1, 30, 30]) + &line("Cow", [1, 60, 30, 90])));
    contains(&set.finding("D122", Severity::Warning), &["2 objects of 1 class", "Cow: 2"]);

    let set = Set::sound();
    set.label("train", 1, &line("DontCare", [1, 1, 30, 30]));
    contains(&set.finding("D125", Severity::Info), &["1 DontCare region"]);

    let set = Set::sound();
    for number in 0..11 {
        set.write(&format!("train/labels/{number}.txt"), line("dog", [80, 60, 104, 84]).as_bytes());
    }
    contains(&set.finding("D123", Severity::Info), &["`car` has 1 box, `dog` 12: 12 to one"]);

    let set = Set::sound();
    set.label("train", 1, "car 0 2 0 60 10 100 50 0 0 0 0 0 0 0\n");
    contains(&set.finding("D124", Severity::Info), &["1 of 25"]);
}

#[test]
fn boxes() {
    for (id, severity, more, words) in [
        (
            "D131",
            Severity::Warning,
            line("car", [60, 9, 60, 40]),
            &["1 box has", "1.txt:3", "car 60,9 to 60,40"][..],
        ),
        (
            "D132",
            Severity::Error,
            line("car", [130, 10, 170, 50]),
            &["1 box entirely", "1.txt:3", "in 128x96"],
        ),
        (
            "D133",
            Severity::Warning,
            line("car", [110, 10, 150, 50]),
            &["1 box partly", "car 110,10 to 150,50"],
        ),
        ("D134", Severity::Warning, line("dog", [60, 10, 66, 16]), &["1 of 25 boxes", "128x96", "8 px"]),
        (
            "D135",
            Severity::Warning,
            line("dog", [80, 60, 104, 84]),
            &["1 pair of equal", "1.txt:2", "and dog"],
        ),
        ("D136", Severity::Info, line("dog", [80, 60, 104, 85]), &["1 pair", "overlap"]),
    ] {
        let set = Set::sound();
        set.label("train", 1, &more);
        contains(&set.finding(id, severity), words);
    }
    // What ends a pixel beyond the image is counted from 1.
    let set = Set::sound();
    set.label("train", 1, &line("car", [89, 10, 129, 50]));
    assert!(set.examine().findings.is_empty());
}

#[test]
fn images_that_are_there_twice() {
    let copy = |to: &str| {
        let set = Set::sound();
        set.write(to, &png(&picture(3)));
        set
    };
    contains(&copy("val/images/12.png").finding("D141", Severity::Error), &["1 of 4", "12.png = ", "3.png"]);
    contains(&copy("train/images/8.png").finding("D143", Severity::Warning), &["train", "3.png = ", "8.png"]);

    let near = |to: &str| {
        let set = Set::sound();
        let number = Path::new(to).file_stem().unwrap().to_str().unwrap().to_owned();
        let split = to.split('/').next().unwrap();
        fs::remove_file(set.0.path().join(format!("{split}/images/{number}.png"))).unwrap();
        set.write(to, &encode_jpeg(&picture(3), 70).unwrap());
        set
    };
    contains(
        &near("val/images/12.jpg").finding("D142", Severity::Warning),
        &["1 of 4", "12.jpg = ", "3.png"],
    );
    contains(&near("train/images/8.jpg").finding("D144", Severity::Info), &["2 images", "1 group"]);
}

#[test]
fn flat_images_are_no_near_duplicates() {
    let set = Set::sound();
    for (number, shade) in [(2, 30u8), (5, 31), (9, 200)] {
        set.write(&format!("train/images/{number}.png"), &png(&Image::filled(128, 96, &[shade; 3])));
    }
    assert!(set.examine().findings.is_empty());
}

#[test]
fn anchors_that_do_not_fit() {
    let set = Set::sound();
    let anchors = "\"[(40, 40)]\" mid_anchor_shape: \"[(24, 24)]\"";
    let spec = set.spec(|text| text.replace(anchors, "\"[(80, 80)]\" mid_anchor_shape: \"[(64, 64)]\""));
    let report = examine(&spec, &mut |_, _| {});
    assert_eq!(report.findings.len(), 1, "{report}");
    // Both boxes fit 64 best: (40² + 24²) / 2 / 64²
    contains(&report.findings[0].to_string(), &["warning[D151]", "0.27", "oxidet kmeans"]);
    let fit = report.anchors.unwrap();
    assert!((fit.mean_best_iou - 0.265625).abs() < 1e-6 && fit.below_matching_iou == 0.5, "{fit:?}");
}

#[test]
fn the_page_has_everything_in_it() {
    let set = Set::sound();
    set.label("train", 1, &line("<b>Cow", [1, 1, 30, 30]));
    set.write("val/images/12.png", &png(&picture(3)));
    let html = page(&set.examine(), "a <spec>&.txt");
    contains(
        &html,
        &[
            "a &lt;spec&gt;&amp;.txt",
            "&lt;b&gt;Cow",
            "D122",
            "D141",
            "class=\"pair\"",
            "<svg",
            "prefers-color-scheme",
        ],
    );
    assert!(!html.contains("<b>Cow"), "text from files is text");
    let images = html.matches("<img src=").count();
    assert_eq!(images, html.matches("<img src=\"data:image/jpeg;base64,").count());
    assert!(images >= 12 + 2, "{images}");
    for elsewhere in ["http://", "https://", "<script", "<link", "url("] {
        assert!(!html.contains(elsewhere), "{elsewhere}");
    }
}
