//! `oxidet dataset_convert`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use oxidet_proto::kitti::DONT_CARE;
use oxidet_proto::lint::{self, Verdict};
use oxidet_proto::prototxt::Severity;
use oxidet_proto::spec::{DatasetExportConfig, Spec};
use oxidet_trainer::convert::{
    ConvertRequest, ConvertSummary, Event, FoldSummary, Folders, Labelling, Output, Role, Source, convert,
};
use oxidet_trainer::data::BadImages;
use serde_json::{Value, json};

use crate::columns::WIDEST;
use crate::console;
use crate::exit::Failure;
use crate::format::{FormatArgs, print_json};
use crate::progress;
use crate::spec;
use crate::status::{Status, StatusLog};

/// Turn labels into TFRecords, or into KITTI label files
#[derive(Args, Debug)]
#[command(
    after_help = "TFRecords are named <prefix>-fold-NNN-of-NNN-shard-NNNNN-of-NNNNN and hold labels, no pixels: \
    keep the images where they are. Boxes without area are left out and listed in <prefix>_warning.json. Ends with the \
    part of a training spec that uses what was written.\n\nExamples:\n  \
    oxidet dataset_convert -d convert.txt -o tfrecords/train           KITTI or COCO, as the spec says\n  \
    oxidet dataset_convert --from voc --images JPEGImages --labels Annotations -o tfrecords/train --val-split 10\n  \
    oxidet dataset_convert --from yolo --images images --labels labels --names data.yaml --to kitti -o kitti_labels"
)]
pub struct DatasetConvertArgs {
    /// Conversion spec, of KITTI or COCO data
    #[arg(
        short = 'd',
        long = "dataset_export_spec",
        alias = "dataset_spec",
        value_name = "SPEC",
        required_unless_present = "from",
        conflicts_with = "from"
    )]
    spec: Option<PathBuf>,
    /// Start of the names of all files written; with --to kitti a new folder
    #[arg(short = 'o', long = "output_filename", value_name = "PREFIX")]
    output: PathBuf,
    /// Fold that sample_modifier_config leaves alone, from 0 [default: 0 in random mode, else none]
    #[arg(short = 'f', long = "validation_fold", value_name = "FOLD", conflicts_with = "from")]
    validation_fold: Option<u32>,
    /// Folder for status.json
    #[arg(short = 'r', long = "results_dir", value_name = "DIR")]
    results_dir: Option<PathBuf>,
    /// Decides which images validate, and the order of records
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Leave out images that are missing or cannot be read, and say which; without it they stop the conversion
    #[arg(long)]
    skip_bad_images: bool,
    #[command(flatten)]
    format: FormatArgs,
    /// What to write
    #[arg(long, value_enum, default_value_t = To::Tfrecord)]
    to: To,
    /// Convert a folder of such labels instead of what a spec describes
    #[arg(long, value_enum, requires_all = ["images", "labels"])]
    from: Option<From>,
    /// Folder of images, for --from
    #[arg(long, value_name = "DIR", requires = "from")]
    images: Option<PathBuf>,
    /// Folder of label files, for --from
    #[arg(long, value_name = "DIR", requires = "from")]
    labels: Option<PathBuf>,
    /// Names of classes, for --from yolo: one per line, or `names:` of a .yaml file
    #[arg(long, value_name = "FILE", requires = "from", required_if_eq("from", "yolo"))]
    names: Option<PathBuf>,
    /// Percentage of images for validation, for --from
    #[arg(long = "val-split", value_name = "PERCENT", requires = "from", default_value_t = 0.0, value_parser = percent)]
    val_split: f32,
    /// Files for each fold, for --from
    #[arg(long, value_name = "N", requires = "from", default_value_t = 10)]
    shards: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// Pascal VOC XML
    Voc,
    /// YOLO text, boxes or polygons
    Yolo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    /// TFRecord shards
    Tfrecord,
    /// A folder of KITTI label files
    Kitti,
}

fn percent(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(percent) if (0.0..100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 0 to below 100 is needed".into()),
    }
}

const TASK: &str = "dataset_convert";

pub fn run(args: &DatasetConvertArgs) -> Result<(), Failure> {
    let summary = StatusLog::around(args.results_dir.as_deref(), TASK, |log| {
        // This command's log starts anew each time, as the original's does.
        log.start_afresh(TASK)?;
        let request = request(args)?;
        log.line(Status::Started, "The data is known.", Value::Null, Value::Null);
        let mut tail = Value::Null;
        let bar = progress::bar(0, "converting");
        let summary = convert(&request, &mut |event| match event {
            Event::Dealt(folds) => tail = log_folds(log, folds),
            Event::Read(done, total) => {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
            }
            Event::Written(path) => {
                let message = format!("Written: {}", path.display());
                console::debug(&message);
                log.line(Status::Running, &message, Value::Null, tail.clone());
            }
        })?;
        bar.finish_and_clear();
        let tail = log_summary(log, &summary, tail);
        Ok((summary, tail))
    })?;
    print(args, &summary)
}

fn request(args: &DatasetConvertArgs) -> Result<ConvertRequest, Failure> {
    let source = match (args.from, &args.images, &args.labels) {
        (Some(from), Some(images), Some(labels)) => {
            let labelling = match (from, &args.names) {
                (From::Voc, None) => Labelling::Voc,
                (From::Voc, Some(_)) => {
                    return Err(Failure::usage(
                        "--names has no use with --from voc: VOC files hold names; leave it out",
                    ));
                }
                (From::Yolo, Some(names)) => Labelling::Yolo { names: names.clone() },
                (From::Yolo, None) => return Err(Failure::usage("--from yolo needs --names")),
            };
            let (images, labels) = (images.clone(), labels.clone());
            Source::Folders(Folders {
                images,
                labels,
                labelling,
                val_split: args.val_split,
                shards: args.shards,
            })
        }
        _ => {
            let path =
                args.spec.as_deref().ok_or_else(|| Failure::usage("a spec (-d) or --from is needed"))?;
            Source::Spec { config: Box::new(read_spec(path)?), validation_fold: args.validation_fold }
        }
    };
    if args.to == To::Tfrecord && args.output.to_string_lossy().ends_with(std::path::is_separator) {
        let output = args.output.display();
        return Err(Failure::usage(format!(
            "-o {output}: files need the start of a name, such as {output}train"
        )));
    }
    let output = match args.to {
        To::Tfrecord => Output::TfRecord(args.output.clone()),
        To::Kitti => Output::Kitti(args.output.clone()),
    };
    let bad_images = if args.skip_bad_images { BadImages::Skip } else { BadImages::Stop };
    Ok(ConvertRequest { source, output, seed: args.seed, bad_images })
}

/// Reads and checks a conversion spec, and prints its warnings.
fn read_spec(path: &Path) -> Result<DatasetExportConfig, Failure> {
    let report = lint::report(&path.to_string_lossy(), &spec::read_text(path)?);
    let Some(Spec::DatasetConvert(parsed)) = report.spec.filter(|_| report.verdict == Verdict::Runs) else {
        if report.diagnostics.count(Severity::Error) == 0 {
            return Err(Failure::usage(format!(
                "{}: a training spec; this command needs a spec with kitti_config or coco_config",
                path.display()
            )));
        }
        return Err(Failure::spec(&report.diagnostics));
    };
    if !report.diagnostics.is_empty() {
        console::info(&report.diagnostics.to_string());
    }
    Ok(parsed.message)
}

/// Logs how images are dealt; returns what every later line repeats.
fn log_folds(log: &mut StatusLog, folds: &[FoldSummary]) -> Value {
    log.line(Status::Running, "Images are dealt to folds.", Value::Null, Value::Null);
    let tail = json!({ "kpi": { "num_images": folds.iter().map(|fold| fold.images).sum::<usize>() } });
    let counts: Vec<String> =
        folds.iter().map(|fold| format!("{}: {} images", fold_name(fold), fold.images)).collect();
    log.line(Status::Running, &counts.join(", "), Value::Null, tail.clone());
    let validation = folds.iter().find(|fold| fold.role == Role::Validation);
    let message = match validation {
        Some(fold) => format!("Validation data is in fold {}.", fold.index),
        None => "There is no validation data.".into(),
    };
    log.line(Status::Running, &message, Value::Null, tail.clone());
    tail
}

fn log_summary(log: &mut StatusLog, summary: &ConvertSummary, mut tail: Value) -> Value {
    tail["categorical"] = json!({ "num_objects": summary.objects() });
    let names: Vec<String> =
        summary.names.iter().map(|(label, stored)| format!("{label}: {stored}")).collect();
    for (status, message) in [
        (Status::Running, "Objects are counted.".to_owned()),
        (Status::Running, format!("Class names, in the labels and as written: {}", names.join(", "))),
        (Status::Running, "Name classes in the training spec as written: in lower case.".to_owned()),
        (Status::Success, "All files are written.".to_owned()),
    ] {
        log.line(status, &message, Value::Null, tail.clone());
    }
    tail
}

fn print(args: &DatasetConvertArgs, summary: &ConvertSummary) -> Result<(), Failure> {
    if let Some(path) = &summary.warning_file {
        console::warn(&format!("{} boxes without area are left out: {}", summary.dropped, path.display()));
    }
    if summary.crowd > 0 {
        console::warn(&format!("{} boxes around crowds (iscrowd) are left out", summary.crowd));
    }
    if !summary.skipped.is_empty() {
        let named: Vec<&str> = summary.skipped.iter().take(20).map(String::as_str).collect();
        let count = summary.skipped.len();
        let more = if count > 20 { format!("\n  … and {} more", count - 20) } else { String::new() };
        console::warn(&format!("{count} images are left out:\n  {}{more}", named.join("\n  ")));
    }
    if summary.unnamed > 0 {
        console::warn(&format!("{} images are in no sequence and are left out", summary.unnamed));
    }
    if summary.unlabelled > 0 {
        console::warn(&format!("{} images have no label file and count as empty", summary.unlabelled));
    }
    if args.format.is_json() {
        return print_json(&to_json(args.to, summary)?);
    }
    console::print(&counts(summary));
    console::print(&names(summary));
    console::print("\nFor a training spec:\n");
    console::print(&dataset_config(args.to, summary)?);
    Ok(())
}

fn to_json(to: To, summary: &ConvertSummary) -> Result<Value, Failure> {
    let fold = |fold: &FoldSummary| {
        json!({
            "fold": fold.index,
            "folds": fold.of,
            "role": fold.role.name(),
            "images": fold.records,
            "objects": fold.objects,
            "files": fold.files,
        })
    };
    Ok(json!({
        "folds": summary.folds.iter().map(fold).collect::<Vec<_>>(),
        "class_names": summary.names,
        "boxes_without_area": summary.dropped,
        "crowds": summary.crowd,
        "images_left_out": summary.skipped,
        "images_without_labels": summary.unlabelled,
        "dataset_config": dataset_config(to, summary)?,
    }))
}

fn fold_name(fold: &FoldSummary) -> String {
    match fold.of {
        0 => fold.role.name().to_owned(),
        of => format!("fold {:03} of {of:03} ({})", fold.index, fold.role.name()),
    }
}

/// Objects by class and fold.
fn counts(summary: &ConvertSummary) -> String {
    let headings: Vec<String> = summary.folds.iter().map(fold_name).collect();
    let classes = summary.objects();
    let longest = classes.keys().map(|class| class.chars().count()).max().unwrap_or(0);
    let first = longest.clamp("images".len(), WIDEST);
    let row = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells = headings
            .iter()
            .zip(cells)
            .map(|(heading, cell)| format!("  {cell:>0$}", heading.chars().count()));
        format!("{name:<first$}{}", cells.collect::<String>())
    };
    let mut lines = vec![row("", &mut headings.iter().cloned())];
    lines.push(row("images", &mut summary.folds.iter().map(|fold| fold.records.to_string())));
    for class in classes.keys() {
        let count = |fold: &FoldSummary| fold.objects.get(*class).copied().unwrap_or(0).to_string();
        lines.push(row(class, &mut summary.folds.iter().map(count)));
    }
    lines.join("\n")
}

/// Names of classes, in the labels and as written.
fn names(summary: &ConvertSummary) -> String {
    let longest = summary.names.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let width = longest.clamp("in the labels".len(), WIDEST);
    let mut lines = vec![format!("\n{:<width$}  as written", "in the labels")];
    lines.extend(summary.names.iter().map(|(label, stored)| format!("{label:<width$}  {stored}")));
    lines.join("\n")
}

/// The part of a training spec that uses what was written. Paths are absolute: TFRecords are looked for at `DATA_BASE_PATH`,
/// label folders in the working directory.
fn dataset_config(to: To, summary: &ConvertSummary) -> Result<String, Failure> {
    let absolute = |path: &Path| match std::path::absolute(path) {
        Ok(path) => Ok(quoted(&path.to_string_lossy())),
        Err(error) => Err(Failure::io(path, &error)),
    };
    let mut lines = vec!["dataset_config {".to_owned()];
    let validates = summary.folds.iter().any(|fold| fold.role == Role::Validation);
    let held_out = to == To::Tfrecord && !validates && summary.folds.len() > 1;
    if held_out {
        // Nobody has said which fold is for validation: training takes one from the others.
        lines.push("  data_sources {".to_owned());
        lines.push(format!("    tfrecords_path: {}", quoted(&summary.all_folds.to_string_lossy())));
        lines.push(format!("    image_directory_path: {}", absolute(&summary.image_root)?));
        lines.push("  }".to_owned());
        lines.push(
            "  validation_fold: 0  # held out of training for validation; name the fold you want".to_owned(),
        );
    } else if !validates {
        lines.push("  # Validation data is still needed: validation_data_sources { … }".to_owned());
    }
    for role in [Role::Training, Role::Validation] {
        for fold in summary.folds.iter().filter(|fold| !held_out && fold.role == role) {
            let field = if role == Role::Training { "data_sources" } else { "validation_data_sources" };
            let labels = if to == To::Kitti { "label_directory_path" } else { "tfrecords_path" };
            let images = match to {
                To::Kitti => summary.image_root.join(&fold.folder),
                To::Tfrecord => summary.image_root.clone(),
            };
            lines.push(format!("  {field} {{"));
            let files = match to {
                To::Kitti => absolute(&fold.files)?,
                To::Tfrecord => quoted(&fold.files.to_string_lossy()),
            };
            lines.push(format!("    {labels}: {files}"));
            lines.push(format!("    image_directory_path: {}", absolute(&images)?));
            lines.push("  }".to_owned());
        }
    }
    if to == To::Tfrecord {
        lines.push(format!("  image_extension: {}", quoted(&summary.extension)));
    }
    for class in summary.objects().keys().filter(|class| **class != DONT_CARE) {
        lines.push(format!("  target_class_mapping {{ key: {0} value: {0} }}", quoted(class)));
    }
    lines.push("}".to_owned());
    Ok(lines.join("\n"))
}

/// A string of a spec.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
