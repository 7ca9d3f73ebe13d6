//! `oxidet inference`

use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Args;
use oxidet_proto::lint::{Checked, Verb};
use oxidet_runtime::{
    Detected, FrameFormat, Frames, Inference, InferenceError, InferenceSummary, Model, Origin, Outputs,
    PixelFormat, Source,
};
use serde_json::{Value, json};

use crate::console;
use crate::engine::EngineArgs;
use crate::exit::Failure;
use crate::files;
use crate::key::KeyArgs;
use crate::model;
use crate::progress;
use crate::spec;
use crate::status::StatusLog;
use crate::stop;

/// Standard input or output.
const STANDARD: &str = "-";

/// Detect objects in images or video: label files and drawn pictures, or JSON lines
#[derive(Args, Debug)]
#[command(
    after_help = "Writes <results_dir>/labels/<name>.txt (KITTI, best score first) and <results_dir>/images_annotated/<name>.<ext>.\n\n\
    Examples:\n  \
    oxidet inference -m model.tlt -i photos -e spec.txt -r results\n  \
    oxidet inference -m model.etlt --key-file key.txt -i photo.jpg -r results -t 0.5\n  \
    oxidet inference -m model.onnx -i photos --json found.jsonl --backend onnxruntime\n  \
    ffmpeg -i video.mp4 -f yuv4mpegpipe - | oxidet inference -m model.onnx -i - --json -\n  \
    camera | oxidet inference -m model.onnx -i - --format bgr24 --size 1280x720 --json -"
)]
pub struct InferenceArgs {
    /// Checkpoint, .onnx or .etlt; the content tells which
    #[arg(short = 'm', long = "model_path", alias = "model", value_name = "MODEL")]
    model: PathBuf,
    /// Image, or folder of images (not searched deeper), or - for video frames on standard input
    #[arg(short = 'i', long = "image_dir", value_name = "IMAGES")]
    images: PathBuf,
    /// Experiment spec; without it, a model that oxidet made suppresses as it was exported
    #[arg(short = 'e', long = "experiment_spec", alias = "experiment_spec_file", value_name = "SPEC")]
    spec: Option<PathBuf>,
    /// Folder for what is found
    #[arg(short = 'r', long = "results_dir", value_name = "DIR", required_unless_present = "json")]
    results_dir: Option<PathBuf>,
    /// Write what is found as JSON, a line for each image, to a file or (-) standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave out the drawn pictures, which take most of the time
    #[arg(long = "no-pictures")]
    no_pictures: bool,
    /// Leave out objects with a lower score; between 0 and 1
    #[arg(short = 't', long, value_name = "SCORE", default_value_t = 0.3, value_parser = threshold)]
    threshold: f32,
    /// Images per batch [default: eval_config.batch_size of the spec, or of files one for each thread, at most 8; 1
    /// for streams and ONNX Runtime]
    #[arg(short = 'b', long = "batch_size", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: Option<u16>,
    /// Leave out images that cannot be read, and say which; without it the first one stops the command
    #[arg(long)]
    skip_bad_images: bool,
    /// Of standard input: y4m (ffmpeg -f yuv4mpegpipe), or the bare pixels rgb24, bgr24, gray or gray16le (ffmpeg -f rawvideo
    /// -pix_fmt)
    #[arg(long, value_name = "FORMAT", default_value = "y4m")]
    format: String,
    /// Width and height of frames of bare pixels
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(usize, usize)>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// A score between 0 and 1.
pub fn threshold(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(score) if 0.0 < score && score < 1.0 => Ok(score),
        _ => Err("a number between 0 and 1 is needed".into()),
    }
}

/// Width and height.
fn size(text: &str) -> Result<(usize, usize), String> {
    let side = |text: &str| text.parse().ok().filter(|side| (1..=1 << 14).contains(side));
    let sides = text.split_once('x').map(|(width, height)| (side(width), side(height)));
    match sides {
        Some((Some(width), Some(height))) => Ok((width, height)),
        _ => Err("a width and a height between 1 and 16384 are needed: 1280x720".into()),
    }
}

pub fn run(args: &InferenceArgs) -> Result<(), Failure> {
    let format = args.frame_format()?;
    let to_terminal = args.json.as_deref() == Some(Path::new(STANDARD));
    let summary = StatusLog::around(args.results_dir.as_deref(), "YOLOv4 inference", |_| {
        let spec = args.spec.as_deref().map(|path| spec::read(path, Verb::Inference, false)).transpose()?;
        let mut model =
            model::open(&args.model, args.key.passphrase()?.as_ref(), spec.as_ref(), &args.engine)?;
        let inference = Inference {
            threshold: args.threshold,
            batch_size: args.batch_size(spec.as_ref()),
            skip_bad_images: args.skip_bad_images,
        };
        let source = if args.is_stream() {
            let stdin = Box::new(BufReader::new(io::stdin()));
            let frames = Frames::new(stdin, format, model.preprocess.depth);
            Source::Frames(frames.map_err(InferenceError::from)?)
        } else {
            Source::images(&args.images)?
        };
        args.check_results_dir()?;
        let mut outputs = args.results_dir.as_deref().map(Outputs::below).unwrap_or_default();
        if args.no_pictures {
            outputs.pictures = None;
        }
        let classes = model.classes.clone();
        let model = &mut model;
        let summary = match &args.json {
            None => detect(&inference, model, source, &outputs, &mut |_| Ok(()))?,
            Some(_) if to_terminal => {
                let mut out = io::stdout().lock();
                detect(&inference, model, source, &outputs, &mut |detected| {
                    writeln!(out, "{}", json_line(detected, &classes)).and_then(|()| out.flush())
                })?
            }
            Some(path) => {
                let mut summary = Ok(InferenceSummary::default());
                let staged = files::stage_with(path, |file| {
                    let mut out = BufWriter::new(file);
                    summary = detect(&inference, model, source, &outputs, &mut |detected| {
                        writeln!(out, "{}", json_line(detected, &classes))
                    });
                    out.flush().map_err(|error| Failure::output(path, &error))
                })?;
                let summary = summary?;
                staged.commit()?;
                summary
            }
        };
        Ok((summary, Value::Null))
    })?;
    let InferenceSummary { images, detections, skipped } = summary;
    if !skipped.is_empty() {
        console::warn(&format!("{} images are left out:\n  {}", skipped.len(), skipped.join("\n  ")));
    }
    let where_to = args.results_dir.as_ref().or(args.json.as_ref().filter(|_| !to_terminal));
    if let Some(path) = where_to {
        let told = format!("{images} images, {detections} objects: {}", path.display());
        // Standard output is for the lines.
        if to_terminal { console::info(&told) } else { console::print(&told) }
    }
    Ok(())
}

impl InferenceArgs {
    /// Drawn pictures have the names of the images, and must not take their places.
    fn check_results_dir(&self) -> Result<(), Failure> {
        let Some(pictures) = self.results_dir.as_deref().and_then(|dir| Outputs::below(dir).pictures) else {
            return Ok(());
        };
        let folder = if self.images.is_dir() { &self.images } else { oxidet_files::folder_of(&self.images) };
        if !self.is_stream() && files::is_same(folder, &pictures) {
            return Err(Failure::usage(format!(
                "-r {}: its drawn pictures would replace the images in {}; name another folder",
                self.results_dir.as_deref().unwrap_or(Path::new("")).display(),
                folder.display()
            )));
        }
        Ok(())
    }

    fn is_stream(&self) -> bool {
        self.images == Path::new(STANDARD)
    }

    /// Frames of a stream do not wait for others unless they are told to.
    fn batch_size(&self, spec: Option<&Checked>) -> usize {
        match (self.batch_size, spec) {
            (Some(size), _) => size.into(),
            (None, Some(spec)) => spec.eval().batch_size as usize,
            (None, None) if self.is_stream() => 1,
            (None, None) => self.engine.images_at_once(),
        }
    }

    fn frame_format(&self) -> Result<FrameFormat, Failure> {
        if self.format == "y4m" {
            return Ok(FrameFormat::Y4m);
        }
        let known = PixelFormat::ALL.into_iter().find(|(name, _)| *name == self.format);
        let Some((_, pixel)) = known else {
            let names = PixelFormat::ALL.map(|(name, _)| name).join(", ");
            return Err(Failure::usage(format!("--format {}: y4m, {names} are known", self.format)));
        };
        let Some((width, height)) = self.size else {
            return Err(Failure::usage("bare pixels do not say how large a frame is; give --size WxH"));
        };
        Ok(FrameFormat::Raw { width, height, pixel })
    }
}

/// Detects in a folder of images, and writes labels and drawn images below `results_dir`.
pub fn infer(
    spec: &Checked,
    model: &mut Model,
    images: &Path,
    results_dir: &Path,
    threshold: f32,
) -> Result<InferenceSummary, Failure> {
    let batch_size = spec.eval().batch_size as usize;
    let inference = Inference { threshold, batch_size, skip_bad_images: false };
    detect(&inference, model, Source::images(images)?, &Outputs::below(results_dir), &mut |_| Ok(()))
}

/// Detects, with a bar where somebody watches; `write` hears of every image.
fn detect(
    inference: &Inference,
    model: &mut Model,
    source: Source,
    outputs: &Outputs,
    write: &mut dyn FnMut(&Detected) -> io::Result<()>,
) -> Result<InferenceSummary, Failure> {
    let stop = stop::on_signal()?;
    let bar = match source.count() {
        Some(images) => progress::bar(images as u64, "detecting"),
        None => progress::counter("frames"),
    };
    let mut failed = None;
    let summary = inference.run(model, source, outputs, &mut |detected| {
        bar.inc(1);
        failed = write(detected).err();
        failed.is_none() && !stop.load(Ordering::Relaxed)
    })?;
    bar.finish_and_clear();
    match failed {
        // Whoever read the lines has had enough.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(summary),
        Some(error) => Err(Failure::output(Path::new("JSON lines"), &error)),
        None if stop.load(Ordering::Relaxed) => {
            Err(Failure::interrupted(format!("stopped after {} images", summary.images)))
        }
        None => Ok(summary),
    }
}

/// One image as JSON; boxes are x1, y1, x2, y2 in its pixels.
fn json_line(detected: &Detected, classes: &[String]) -> Value {
    let objects: Vec<Value> = detected
        .found
        .iter()
        .map(|d| {
            let b = d.bbox;
            let corners = [b.x1, b.y1, b.x2, b.y2].map(shortest);
            json!({ "class": classes[d.class], "id": d.class, "score": shortest(d.score), "box": corners })
        })
        .collect();
    let (width, height) = detected.size;
    match &detected.origin {
        Origin::File(path) => {
            json!({ "image": path.to_string_lossy(), "width": width, "height": height, "objects": objects })
        }
        Origin::Frame(at) => json!({ "frame": at, "width": width, "height": height, "objects": objects }),
    }
}

/// The number with the fewest digits that is this one in single precision.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
