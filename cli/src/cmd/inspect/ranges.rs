//! The ranges in a calibration cache or a scale file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_graph::Checkpoint;
use oxidet_graph::onnx::{self, Batch, FloatType, NmsTail, WriteOptions};
use oxidet_graph::pass::{fold_batch_norm, strip_quantizers};
use oxidet_proto::calibration_cache::{CalibrationCache, LEVELS, TensorRtVersion};
use oxidet_proto::calibration_record::CalibrationRecord;
use oxidet_proto::manifest::sha256_hex;
use oxidet_proto::tensor_scales::TensorScales;
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_vision::NmsConfig;
use serde::Serialize;

use super::InspectArgs;
use crate::calibration::{check_cache_version, record_of, record_path};
use crate::columns::{Align, columns};
use crate::console;
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::files::{self, StagedFiles};
use crate::format::print_json;
use crate::numbers::{short, thousands};

/// Tensors that a line names; the rest is counted.
const NAMED: usize = 20;

/// What to do with a calibration cache.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options for calibration caches")]
pub struct CacheArgs {
    /// Write the cache again: eight digits, line feeds, the same order
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "json"])]
    pub rewrite: Option<PathBuf>,
    /// TensorRT version in the header of the file to write, such as 10.3.0; ranges are the same for all
    #[arg(long = "trt", value_name = "VERSION", requires = "rewrite")]
    version: Option<TensorRtVersion>,
    /// Replace an existing file
    #[arg(long, requires = "rewrite")]
    force: bool,
}

/// A file with ranges.
enum RangeFile {
    Cache(CalibrationCache),
    Scales(TensorScales),
}

/// Whether a file begins as one with ranges does.
pub fn has_ranges(path: &Path) -> Result<bool, Failure> {
    let head = files::read_head(path, 64)?;
    Ok(CalibrationCache::is_cache(&head) || is_scale_file(&head))
}

/// JSON; safetensors, whose first bytes are a number of eight bytes, can begin like it, but not go on without zeros.
fn is_scale_file(head: &[u8]) -> bool {
    head.first() == Some(&b'{') && !head.iter().take(8).any(|byte| *byte == 0)
}

/// Its JSON is part of the command line: `docs/inspect.md` lists the keys.
#[derive(Serialize)]
struct Summary<'a> {
    /// First line of a cache.
    header: Option<String>,
    tensorrt: Option<String>,
    algorithm: Option<String>,
    tensors: Vec<Tensor<'a>>,
    /// Next to a model.
    model: Option<Comparison>,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    amax: f32,
    scale: f32,
}

/// The names in a file next to the tensors of a model.
#[derive(Serialize)]
struct Comparison {
    file: String,
    tensors: usize,
    /// Tensors of the model that the file does not name.
    without_range: Vec<String>,
    /// Names in the file that no tensor of the model has.
    unknown: Vec<String>,
}

/// Shows the ranges in `path`, next to the tensors of `model`.
pub fn run(args: &InspectArgs, path: &Path, model: Option<&Path>) -> Result<(), Failure> {
    if args.blocks || args.print_spec {
        return Err(Failure::usage(format!(
            "{}: has ranges only; --blocks and --spec are for checkpoints",
            path.display()
        )));
    }
    let file = RangeFile::read(path)?;
    if let Some(output) = &args.cache.rewrite {
        return rewrite(file, &args.cache, path, output);
    }
    let mut summary = file.summary();
    if let Some(model) = model {
        let checkpoint = read_checkpoint(model, args.key.passphrase()?.as_ref())?;
        summary.model = Some(Comparison::new(&summary.tensors, &checkpoint, model)?);
    }
    if args.format.is_json() {
        print_json(&summary)?;
    } else {
        console::print(&summary.to_text());
    }
    if let RangeFile::Cache(cache) = &file {
        warn_of_dead(cache, path);
    }
    Ok(())
}

fn warn_of_dead(cache: &CalibrationCache, path: &Path) {
    let dead: Vec<&str> = cache.dead_tensors().collect();
    if !dead.is_empty() {
        console::warn(&format!(
            "{}: the scale is 0, as if the tensor were always 0, of {}; TensorRT fails with them or makes an engine that gives zeros",
            path.display(),
            list(&dead)
        ));
    }
}

/// Writes a cache in the one form that all readers take.
fn rewrite(file: RangeFile, args: &CacheArgs, path: &Path, output: &Path) -> Result<(), Failure> {
    let RangeFile::Cache(mut cache) = file else {
        return Err(Failure::usage(format!(
            "{}: a scale file; --rewrite is for calibration caches",
            path.display()
        )));
    };
    if let Some(version) = args.version {
        check_cache_version(version)?;
        cache.header = cache.header.for_version(version);
    }
    let text = cache.to_text();
    // In its own place a cache is not lost: it says the same afterwards.
    let in_place = files::is_same(path, output);
    let mut plan = FilePlan::new(args.force, [&path.to_owned()].into_iter().filter(|_| !in_place));
    plan.writes(output)?;
    let mut staged = StagedFiles::default();
    if let Some(record) = record_of(path)? {
        if !in_place {
            plan.writes(&record_path(output))?;
        }
        let record = CalibrationRecord { cache_sha256: sha256_hex(text.as_bytes()), ..record };
        staged.add(&record_path(output), record.to_json().as_bytes())?;
    }
    warn_of_dead(&cache, path);
    staged.add(output, text.as_bytes())?;
    staged.commit()?;
    console::print(&format!(
        "{}: {}, {} tensors",
        output.display(),
        cache.header,
        thousands(cache.entries().len() as u64)
    ));
    Ok(())
}

impl RangeFile {
    fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read(path)?;
        let name = path.to_string_lossy();
        if CalibrationCache::is_cache(&bytes) {
            let cache = CalibrationCache::parse(&name, &bytes);
            return cache.map(Self::Cache).map_err(|error| Failure::data(error.to_string()));
        }
        let text = String::from_utf8(bytes).map_err(|_| Failure::data(format!("{name}: not UTF-8")))?;
        TensorScales::parse(&name, &text).map(Self::Scales).map_err(|error| Failure::data(error.to_string()))
    }

    fn summary(&self) -> Summary<'_> {
        match self {
            Self::Cache(cache) => Summary {
                header: Some(cache.header.to_string()),
                tensorrt: cache.header.version().map(|version| version.to_string()),
                algorithm: cache.header.algorithm().map(ToString::to_string),
                tensors: cache
                    .entries()
                    .iter()
                    .map(|entry| Tensor { name: entry.tensor(), amax: entry.amax(), scale: entry.scale() })
                    .collect(),
                model: None,
            },
            Self::Scales(scales) => Summary {
                header: None,
                tensorrt: None,
                algorithm: None,
                tensors: scales
                    .tensor_scales
                    .iter()
                    .map(|(name, amax)| Tensor { name, amax: *amax, scale: amax / LEVELS })
                    .collect(),
                model: None,
            },
        }
    }
}

impl Summary<'_> {
    fn to_text(&self) -> String {
        let mut lines = match &self.header {
            Some(header) => vec![
                ("header", header.clone()),
                (
                    "TensorRT",
                    self.tensorrt.clone().unwrap_or_else(|| "the header has no version of it".into()),
                ),
            ],
            None => vec![("format", "scale file, with ranges (amax) and not scales".into())],
        };
        lines.push(("tensors", thousands(self.tensors.len() as u64)));
        if let Some(model) = &self.model {
            let Comparison { file, tensors, without_range, unknown } = model;
            lines.push(("model", format!("{file}, {} tensors", thousands(*tensors as u64))));
            lines.push(("no range", list(without_range)));
            lines.push(("no tensor", list(unknown)));
        }
        let lines: Vec<String> = lines.iter().map(|(what, told)| format!("{what:<9}  {told}")).collect();
        let heads = [("tensor", Align::Left), ("amax", Align::Right), ("scale", Align::Right)];
        let rows: Vec<_> = self
            .tensors
            .iter()
            .map(|tensor| [tensor.name.to_owned(), short(tensor.amax.into()), short(tensor.scale.into())])
            .collect();
        format!("{}\n\n{}", lines.join("\n"), columns(heads, &rows))
    }
}

impl Comparison {
    fn new(tensors: &[Tensor<'_>], checkpoint: &Checkpoint, file: &Path) -> Result<Self, Failure> {
        let own = exported_tensors(checkpoint)
            .map_err(|error| Failure::data(format!("{}: {error}", file.display())))?;
        // TAO ends the names in `:0`.
        let plain = |name: &str| name.strip_suffix(":0").unwrap_or(name).to_owned();
        let named: BTreeSet<String> = tensors.iter().map(|tensor| plain(tensor.name)).collect();
        let known: BTreeSet<&str> = own.iter().map(String::as_str).collect();
        let unknown = tensors.iter().filter(|tensor| !known.contains(plain(tensor.name).as_str()));
        Ok(Self {
            file: file.display().to_string(),
            tensors: own.len(),
            unknown: unknown.map(|tensor| tensor.name.to_owned()).collect(),
            without_range: own.into_iter().filter(|name| !named.contains(name)).collect(),
        })
    }
}

/// The tensors of the model that `export` makes of a checkpoint for builders that calibrate, front to back: the input and what the
/// nodes make, but for the number of detections, which is no float.
pub fn exported_tensors(checkpoint: &Checkpoint) -> Result<Vec<String>, onnx::WriteError> {
    let (detector, params) = strip_quantizers(&checkpoint.detector, &checkpoint.params);
    let (detector, params) = fold_batch_norm(&detector, &params)?;
    let tail = NmsTail::Batched;
    let options = WriteOptions {
        opset: *onnx::OPSETS.start(),
        batch: Batch::Dynamic,
        tail,
        // No name depends on it.
        nms: NmsConfig { score_threshold: 0.0, iou_threshold: 0.5, top_k: 2, keep_top_k: 1 },
        score_bits: 0,
        float: FloatType::F32,
    };
    let model = onnx::write(&detector, &params, &options)?;
    let nodes = model.graph.into_iter().flat_map(|graph| graph.node);
    let made = nodes.flat_map(|node| node.output).filter(|name| name != tail.outputs()[0]);
    Ok([onnx::INPUT.to_owned()].into_iter().chain(made).collect())
}

/// Names in a line: some of them, and how many more there are.
pub fn list(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    match names.len() {
        0 => "none".into(),
        all if all <= NAMED => format!("{all}: {}", shown.join(", ")),
        all => format!("{all}: {} and {} more", shown.join(", "), all - NAMED),
    }
}
