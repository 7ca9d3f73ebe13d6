//! `oxidet kmeans`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_proto::lint::{Checked, Verb};
use oxidet_proto::spec::{Anchors, DataSource};
use oxidet_trainer::anchors::{BoxSizes, SizeFilter, open_all_classes};
use oxidet_trainer::data::{BadImages, Dataset, DatasetRequest, Split};
use oxidet_vision::{KmeansSettings, kmeans, mean_best_iou};
use serde_json::{Map, Value, json};

use crate::console;
use crate::exit::Failure;
use crate::format::{FormatArgs, print_json};
use crate::spec;
use crate::spec_edit;
use crate::status::StatusLog;

/// Starts of the clustering; the best one counts.
const RESTARTS: u64 = 10;
/// Anchors of a head, unless told otherwise.
const PER_HEAD: usize = 3;
/// Fields of the three groups of anchors, by increasing size.
const FIELDS: [&str; 3] = ["small_anchor_shape", "mid_anchor_shape", "big_anchor_shape"];

/// Compute anchors from labels
#[derive(Args, Debug)]
#[command(
    after_help = "Box sizes are shares of their image, as training stretches images to the input size. Prints the \
    anchors by area, then ready to paste into yolov4_config, and how well they fit.\n\nExamples:\n  \
    oxidet kmeans -e spec.txt                 for the training data, classes, backbone and input size of a spec\n  \
    oxidet kmeans -e spec.txt --write         and put them into it; everything else in it stays as it is\n  \
    oxidet kmeans -l labels -i images -x 416 -y 416 -n 9"
)]
pub struct KmeansArgs {
    /// KITTI label folders
    #[arg(short = 'l', long = "label_folders", num_args = 1.., value_name = "DIR", required_unless_present = "spec")]
    labels: Vec<PathBuf>,
    /// Image folders, as many and in the same order
    #[arg(short = 'i', long = "image_folders", num_args = 1.., value_name = "DIR", required_unless_present = "spec")]
    images: Vec<PathBuf>,
    /// Width of the network's input
    #[arg(short = 'x', long = "size_x", value_name = "PX", value_parser = clap::value_parser!(u32).range(1..=65_535), required_unless_present = "spec")]
    width: Option<u32>,
    /// Height of the network's input
    #[arg(short = 'y', long = "size_y", value_name = "PX", value_parser = clap::value_parser!(u32).range(1..=65_535), required_unless_present = "spec")]
    height: Option<u32>,
    /// Experiment spec, which tells data, classes and input size
    #[arg(
        short = 'e',
        long = "experiment_spec",
        alias = "experiment_spec_file",
        value_name = "SPEC",
        conflicts_with_all = ["labels", "images", "width", "height"]
    )]
    spec: Option<PathBuf>,
    /// Number of anchors [default: 9; with -e as many as the spec has, or 3 for each head]
    #[arg(short = 'n', long = "num_clusters", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=999))]
    clusters: Option<u16>,
    /// Moves of the cluster centres after which to stop
    #[arg(long = "max_steps", value_name = "N", default_value_t = 10_000)]
    max_steps: u32,
    /// Leave out boxes that are not wider than this in the network's input
    #[arg(long = "min_x", value_name = "PX", default_value_t = 0)]
    min_x: u32,
    /// Leave out boxes that are not higher than this in the network's input
    #[arg(long = "min_y", value_name = "PX", default_value_t = 0)]
    min_y: u32,
    /// What chance depends on
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    format: FormatArgs,
    /// Put the anchors into the spec
    #[arg(long)]
    write: bool,
    /// Folder for status.json
    #[arg(short = 'r', long = "results_dir", value_name = "DIR")]
    results_dir: Option<PathBuf>,
}

pub fn run(args: &KmeansArgs) -> Result<(), Failure> {
    StatusLog::around(args.results_dir.as_deref(), "k-means", |_| {
        let anchors = match &args.spec {
            Some(path) => from_spec(args, path)?,
            None => from_folders(args)?,
        };
        // The original's value: a Python list of strings, as one string.
        let list: Vec<String> = anchors.iter().map(|&anchor| format!("'{}'", pair(anchor))).collect();
        let kpi = json!({ "kpi": { "k-means generated anchors": format!("[{}]", list.join(", ")) } });
        Ok(((), kpi))
    })
}

/// Anchors for the training data of a spec.
fn from_spec(args: &KmeansArgs, path: &Path) -> Result<Vec<(f32, f32)>, Failure> {
    let spec = spec::read(path, Verb::Kmeans, false)?;
    let heads = spec.arch().heads;
    let per_head = spec.anchors().heads().map(<[_]>::len).max().unwrap_or(PER_HEAD);
    let clusters = args.clusters.map_or(heads * per_head, usize::from);
    if !clusters.is_multiple_of(heads) {
        return Err(Failure::usage(format!(
            "{clusters} anchors cannot be shared evenly by the {heads} heads of `{}`; choose -n from {heads}, {}, {}, …",
            spec.arch().name,
            2 * heads,
            3 * heads
        )));
    }
    let dataset = Dataset::open(&DatasetRequest::new(&spec, BadImages::Stop), Split::Train)?;
    let input = (spec.augmentation().output_width as usize, spec.augmentation().output_height as usize);
    let boxes = gather(args, &dataset, input, spec.dataset().include_difficult_in_training)?;
    let anchors = cluster(args, &boxes, clusters, input)?;

    let groups = groups(&anchors, heads);
    let current = current(&spec).map(|anchors| fit(&boxes, &anchors, input));
    if args.format.is_json() {
        let fields: Map<String, Value> =
            groups.iter().map(|(field, text)| ((*field).to_owned(), json!(text))).collect();
        let mut result = to_json(&boxes, &anchors, input);
        result.insert("fields".into(), fields.into());
        result.insert("mean_best_iou_before".into(), json!(current));
        print_json(&result)?;
    } else {
        console::print(&list(&anchors));
        console::print(&format!("\n{}", paste(&groups)));
        let mut fit = format!("\nmean best IoU: {:.4}", fit(&boxes, &anchors, input));
        if let Some(current) = current {
            let _ = write!(fit, "; with the anchors of {}: {current:.4}", path.display());
        }
        console::print(&format!("{fit}\n{}", tell(&boxes)));
    }
    if args.write {
        spec_edit::set_anchors(path, spec.parsed(), &groups)?;
        console::info(&format!("{}: anchors written", path.display()));
    }
    Ok(anchors)
}

/// Anchors for folders of labels and images.
fn from_folders(args: &KmeansArgs) -> Result<Vec<(f32, f32)>, Failure> {
    if args.write {
        return Err(Failure::usage("--write puts anchors into a spec; give one with --experiment_spec"));
    }
    let (labels, images) = (&args.labels, &args.images);
    if labels.len() != images.len() {
        return Err(Failure::usage(format!(
            "{} label folders and {} image folders; -l and -i need as many, in the same order",
            labels.len(),
            images.len()
        )));
    }
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| Failure::usage(format!("{}: the name is not in UTF-8", path.display())))
    };
    let source = |(labels, images): (&PathBuf, &PathBuf)| {
        Ok(DataSource {
            label_directory_path: Some(text(labels)?),
            image_directory_path: text(images)?,
            ..DataSource::default()
        })
    };
    let sources: Vec<DataSource> = labels.iter().zip(images).map(source).collect::<Result<_, Failure>>()?;
    let (Some(width), Some(height)) = (args.width, args.height) else {
        return Err(Failure::usage("-x and -y are needed: the size of the network's input"));
    };
    let input = (width as usize, height as usize);
    let boxes = gather(args, &open_all_classes(sources)?, input, true)?;
    let anchors = cluster(args, &boxes, args.clusters.map_or(3 * PER_HEAD, usize::from), input)?;

    if args.format.is_json() {
        print_json(&to_json(&boxes, &anchors, input))?;
        return Ok(anchors);
    }
    console::print(&list(&anchors));
    let mut told = false;
    for (heads, who) in [(3, "three heads"), (2, "two heads, cspdarknet_tiny")] {
        if anchors.len().is_multiple_of(heads) {
            // Most numbers have one way only, and no need to name it.
            let title = if anchors.len().is_multiple_of(6) {
                format!("# for a network with {who}\n")
            } else {
                String::new()
            };
            console::print(&format!("\n{title}{}", paste(&groups(&anchors, heads))));
            told = true;
        }
    }
    if !told {
        console::warn(&format!(
            "{} anchors cannot be shared evenly by three heads, or by two",
            anchors.len()
        ));
    }
    console::print(&format!("\nmean best IoU: {:.4}\n{}", fit(&boxes, &anchors, input), tell(&boxes)));
    Ok(anchors)
}

fn gather(
    args: &KmeansArgs,
    dataset: &Dataset,
    input: (usize, usize),
    include_difficult: bool,
) -> Result<BoxSizes, Failure> {
    let filter = SizeFilter { input, above: (args.min_x as f32, args.min_y as f32), include_difficult };
    let boxes = BoxSizes::of(dataset, &filter);
    if boxes.sizes.is_empty() {
        return Err(Failure::data(format!("there is no box to compute anchors from: {}", tell(&boxes))));
    }
    Ok(boxes)
}

/// Anchors by area in px of the input, as they are printed: with two decimals.
fn cluster(
    args: &KmeansArgs,
    boxes: &BoxSizes,
    clusters: usize,
    input: (usize, usize),
) -> Result<Vec<(f32, f32)>, Failure> {
    let max_steps = args.max_steps as usize;
    let settings = KmeansSettings { clusters, max_steps, restarts: RESTARTS, seed: args.seed };
    let centres = kmeans(&boxes.sizes, &settings).map_err(|error| Failure::data(error.to_string()))?;
    // An anchor must be above 0, however small the boxes are.
    let px = |share: f32, side: usize| ((share * side as f32 * 100.0).round() / 100.0).max(0.01);
    Ok(centres.into_iter().map(|(w, h)| (px(w, input.0), px(h, input.1))).collect())
}

/// The mean best IoU of the boxes with anchors in px of the input.
fn fit(boxes: &BoxSizes, anchors: &[(f32, f32)], input: (usize, usize)) -> f64 {
    let share = |&(w, h): &(f32, f32)| (w / input.0 as f32, h / input.1 as f32);
    mean_best_iou(&boxes.sizes, &anchors.iter().map(share).collect::<Vec<_>>())
}

/// All anchors a spec has now, if any.
fn current(spec: &Checked) -> Option<Vec<(f32, f32)>> {
    let Anchors { big, mid, small } = spec.anchors();
    let all = [small.as_slice(), mid, big].concat();
    (!all.is_empty()).then_some(all)
}

/// Anchors, sorted by area, as the fields of a network with two or three heads.
fn groups(anchors: &[(f32, f32)], heads: usize) -> Vec<(&'static str, String)> {
    let text = |group: &[(f32, f32)]| {
        let pairs: Vec<String> = group.iter().map(|&anchor| pair(anchor)).collect();
        format!("[{}]", pairs.join(", "))
    };
    let fields = FIELDS.into_iter().skip(FIELDS.len() - heads);
    fields.zip(anchors.chunks(anchors.len() / heads)).map(|(field, group)| (field, text(group))).collect()
}

/// What was computed, for programs.
fn to_json(boxes: &BoxSizes, anchors: &[(f32, f32)], input: (usize, usize)) -> Map<String, Value> {
    let px = |&(width, height): &(f32, f32)| json!([decimal(width), decimal(height)]);
    let members = [
        ("anchors", anchors.iter().map(px).collect()),
        ("mean_best_iou", json!(fit(boxes, anchors, input))),
        ("boxes", json!(boxes.sizes.len())),
        ("ignored", json!(boxes.ignored())),
    ];
    members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// A number with two decimals as one that prints so.
fn decimal(value: f32) -> f64 {
    (f64::from(value) * 100.0).round() / 100.0
}

fn pair((width, height): (f32, f32)) -> String {
    format!("({width:.2}, {height:.2})")
}

fn list(anchors: &[(f32, f32)]) -> String {
    let lines: Vec<String> = anchors.iter().map(|&anchor| pair(anchor)).collect();
    lines.join("\n")
}

fn paste(groups: &[(&str, String)]) -> String {
    let lines: Vec<String> = groups.iter().map(|(field, text)| format!("{field}: \"{text}\"")).collect();
    lines.join("\n")
}

/// How many boxes were used, and why others were not.
fn tell(boxes: &BoxSizes) -> String {
    let mut text = format!("{} boxes used, {} ignored", boxes.sizes.len(), boxes.ignored());
    let classes = boxes.unmapped.iter().map(|(name, count)| format!("{count} of class `{name}`"));
    let rest = [
        (boxes.invalid, "without area"),
        (boxes.difficult, "marked difficult"),
        (boxes.small, "not larger than --min_x and --min_y"),
    ];
    let rest = rest.into_iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}"));
    let why: Vec<String> = classes.chain(rest).collect();
    if !why.is_empty() {
        let _ = write!(text, " ({})", why.join(", "));
    }
    text
}
