//! `oxidet prune`

mod dry_run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use oxidet_graph::pass::prune::{Criterion, Normalizer, Plan, PruneError, Pruner, Pruning, Whole};
use oxidet_graph::{Checkpoint, Detector, NodeId, Op, Params};
use oxidet_proto::lint::{Checked, Verb};
use oxidet_trainer::checkpoint_file::{read_checkpoint, write_checkpoint};
use oxidet_trainer::net::{NetConfig, build, check_fits};
use oxidet_trainer::pruning_check::{TOLERANCE, difference};
use serde_json::{Value, json};

use crate::console;
use crate::demo::scene;
use crate::exit::Failure;
use crate::files;
use crate::format::{FormatArgs, print_json};
use crate::key::KeyArgs;
use crate::model;
use crate::numbers::{self, thousands};
use crate::spec;
use crate::status::{Status, StatusLog};

/// Make a network smaller by leaving out filters of small weight
#[derive(Args, Debug)]
#[command(
    after_help = "The result has to be trained again: name it as pruned_model_path in training_config. Before it is written it is run \
    and compared with the whole network whose pruned channels are zero.\n\nExamples:\n  \
    oxidet prune -m model.tlt -e spec.txt --dry-run             what each threshold saves and costs; writes nothing\n  \
    oxidet prune -m model.tlt -o pruned.tlt -pth 0.3\n  \
    oxidet prune -m model.tlt -o pruned.tlt --target-macs 50%   finds the threshold\n  \
    oxidet prune -m model.tlt -o pruned.tlt -k KEY -pth 0.5 -eq intersection -nf 8 -el conv1 conv_5\n\n\
    docs/pruning.md explains which filters go, and which layers lose the same ones."
)]
pub struct PruneArgs {
    /// Trained checkpoint
    #[arg(short = 'm', long = "model", alias = "model_path", value_name = "MODEL")]
    model: PathBuf,
    /// Pruned checkpoint to write, .tlt or .hdf5; to any other name .hdf5 is appended
    #[arg(short = 'o', long = "output_file", value_name = "FILE", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Experiment spec to put into the pruned checkpoint; without it, the one the model was trained from
    #[arg(
        short = 'e',
        long = "experiment_spec_path",
        aliases = ["experiment_spec", "experiment_spec_file"],
        value_name = "SPEC"
    )]
    spec: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// What makes the norms of different layers comparable
    #[arg(short = 'n', long, value_enum, default_value_t = NormalizerName::Max)]
    normalizer: NormalizerName,
    /// What a channel counts that several layers make [short: -eq]
    #[arg(long = "equalization_criterion", value_enum, default_value_t = CriterionName::Union)]
    criterion: CriterionName,
    /// Filters kept are rounded up to a multiple of this [short: -pg]
    #[arg(long = "pruning_granularity", value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..))]
    granularity: u16,
    /// Filters are kept whose normalised norm is above this [short: -pth]
    #[arg(long = "pruning_threshold", value_name = "NORM", default_value_t = 0.1, value_parser = threshold,
        allow_negative_numbers = true)]
    threshold: f64,
    /// Find the lowest threshold that leaves at most this share of the multiplications, such as 50%
    #[arg(long = "target-macs", value_name = "PERCENT", conflicts_with = "threshold", value_parser = percent)]
    target_macs: Option<f64>,
    /// Filters that each layer keeps at least, if it has as many [short: -nf]
    #[arg(long = "min_num_filters", value_name = "N", default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..))]
    min_filters: u16,
    /// Layers that keep all filters, and with them all that lose the same ones [short: -el]
    #[arg(long = "excluded_layers", value_name = "LAYER", num_args = 1..)]
    excluded: Vec<String>,
    /// Write nothing; show what thresholds save, and with -e the mAP they leave on the first validation images
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: FormatArgs,
    /// Folder for status.json
    #[arg(short = 'r', long = "results_dir", value_name = "DIR")]
    results_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NormalizerName {
    /// n / max n: the share of the layer's largest
    Max,
    /// n · F / √Σn² for F filters
    #[value(name = "L2", alias = "l2")]
    L2,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum CriterionName {
    /// The largest of their norms
    Union,
    /// The smallest
    Intersection,
    /// Their mean
    ArithmeticMean,
    /// The root of their product
    GeometricMean,
}

fn threshold(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| (0.0..=1e4).contains(value));
    value.ok_or_else(|| "a number from 0 is needed; 1 is all that the normaliser `max` can reach".into())
}

/// A percentage as a share.
fn percent(text: &str) -> Result<f64, String> {
    let value = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
    let value = value.filter(|percent| 0.0 < *percent && *percent <= 100.0);
    value.map(|percent| percent / 100.0).ok_or_else(|| "a percentage such as 50% is needed".into())
}

pub fn run(args: &PruneArgs) -> Result<(), Failure> {
    let output = args.output.as_deref().filter(|_| !args.dry_run).map(output).transpose()?;
    if output.as_deref().is_some_and(|output| files::is_same(output, &args.model)) {
        return Err(Failure::usage(
            "-o is the model itself, which would be lost; give the pruned one another name",
        ));
    }
    StatusLog::around(args.results_dir.as_deref(), "YOLOv4 pruning", |log| {
        let passphrase = args.key.passphrase()?;
        let checkpoint = read_checkpoint(&args.model, passphrase.as_ref())?;
        let spec = args.spec.as_deref().map(|path| read_spec(args, path, &checkpoint)).transpose()?;
        let Checkpoint { detector, params, .. } = &checkpoint;
        let pruner =
            Pruner::new(detector, params, &pruning(args)).map_err(|error| failure(&args.model, error))?;
        tell_what_is_kept(detector, &pruner);
        let before = Cost::of(detector)?;
        let threshold = match args.target_macs {
            Some(share) => find_threshold(args, &pruner, &before, share)?,
            None => args.threshold,
        };
        let Some(output) = &output else {
            dry_run::Sweep { checkpoint: &checkpoint, pruner: &pruner, spec: spec.as_ref() }
                .print(threshold, args.format)?;
            return Ok(((), Value::Null));
        };
        let plan = pruner.plan(threshold);
        let (pruned, cut) = plan.apply(detector, params);
        check(&args.model, &checkpoint, &plan, &pruned, &cut)?;
        tell_what_shrank(detector, &pruned);
        let after = Cost::of(&pruned)?;
        if after.parameters == before.parameters {
            console::warn(&format!(
                "nothing is pruned: all filters count more than {threshold} or are the {} that each layer keeps; --dry-run shows what \
                 other thresholds do",
                args.min_filters
            ));
        }
        let text = spec.as_ref().map_or(&checkpoint.spec[..], |spec| spec.source().text());
        let result = Checkpoint { detector: pruned, params: cut, spec: text.to_owned(), training: None };
        if let Some(dir) = output.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            files::create_dir(dir)?;
        }
        write_checkpoint(output, &result, passphrase.as_ref())?;
        let bytes = std::fs::metadata(output).map_err(|error| Failure::io(output, &error))?.len();

        let ratio = after.parameters as f64 / before.parameters as f64;
        if args.format.is_json() {
            print_json(&json!({
                "threshold": threshold,
                "before": before.to_json(),
                "after": after.to_json(),
                "checkpoint": output,
            }))?;
        } else {
            console::print(&format!(
                "threshold   {threshold}\nparameters  {} -> {}  ({})\nMACs        {} -> {}  ({})\ncheckpoint  {}",
                thousands(before.parameters),
                thousands(after.parameters),
                numbers::percent(after.parameters, before.parameters),
                before.giga_macs(),
                after.giga_macs(),
                numbers::percent(after.macs, before.macs),
                output.display()
            ));
        }
        let kpi = json!({ "kpi": {
            "pruning_ratio": ratio,
            "size": bytes as f64 / f64::from(1 << 20),
            "param_count": after.parameters as f64 / 1e6,
        } });
        let message = format!("Pruning ratio (pruned model / original model): {ratio}");
        log.line(Status::Running, &message, Value::Null, kpi.clone());
        Ok(((), kpi))
    })
}

/// What a network costs.
#[derive(Clone, Copy)]
struct Cost {
    parameters: u64,
    /// For one image.
    macs: u64,
}

impl Cost {
    fn of(detector: &Detector) -> Result<Self, Failure> {
        let macs = detector.macs().map_err(|error| Failure::data(error.to_string()))?;
        Ok(Self { parameters: detector.graph.param_count() as u64, macs })
    }

    /// Of a checkpoint, which holds parameters as 32-bit floats.
    fn bytes(&self) -> u64 {
        self.parameters * 4
    }

    fn to_json(self) -> Value {
        json!({ "parameters": self.parameters, "macs": self.macs, "bytes": self.bytes() })
    }

    fn giga_macs(&self) -> String {
        format!("{:.3} G", self.macs as f64 / 1e9)
    }
}

/// Where the result goes. As in the original, `.hdf5` is appended, but not to our own `.tlt`.
fn output(given: &Path) -> Result<PathBuf, Failure> {
    if given.is_dir() || given.as_os_str().to_string_lossy().ends_with(std::path::is_separator) {
        return Err(Failure::usage(format!("-o {} is a folder; name the file to write", given.display())));
    }
    let extension = given.extension().unwrap_or_default();
    if extension == "tlt" || extension == "hdf5" {
        return Ok(given.to_owned());
    }
    let mut name = given.as_os_str().to_owned();
    name.push(".hdf5");
    Ok(name.into())
}

fn pruning(args: &PruneArgs) -> Pruning {
    Pruning {
        normalizer: match args.normalizer {
            NormalizerName::Max => Normalizer::Max,
            NormalizerName::L2 => Normalizer::L2,
        },
        criterion: match args.criterion {
            CriterionName::Union => Criterion::Union,
            CriterionName::Intersection => Criterion::Intersection,
            CriterionName::ArithmeticMean => Criterion::ArithmeticMean,
            CriterionName::GeometricMean => Criterion::GeometricMean,
        },
        granularity: args.granularity.into(),
        min_filters: args.min_filters.into(),
        excluded: args.excluded.clone(),
    }
}

fn read_spec(args: &PruneArgs, path: &Path, checkpoint: &Checkpoint) -> Result<Checked, Failure> {
    // A dry run evaluates.
    let spec = spec::read(path, if args.dry_run { Verb::Evaluate } else { Verb::Prune }, false)?;
    let Detector { classes, preprocess, .. } = &checkpoint.detector;
    model::check_fits(&args.model, classes, preprocess, &spec)?;
    let network = build(&NetConfig::from_spec(&spec)).map_err(|error| Failure::usage(error.to_string()))?;
    check_fits(&checkpoint.detector, &network)
        .map_err(|what| Failure::data(format!("{}: {what}", args.model.display())))?;
    Ok(spec)
}

fn failure(model: &Path, error: PruneError) -> Failure {
    let message = format!("{}: {error}", model.display());
    if matches!(error, PruneError::NoSuchLayer { .. }) {
        Failure::usage(message)
    } else {
        Failure::data(message)
    }
}

fn find_threshold(args: &PruneArgs, pruner: &Pruner<'_>, before: &Cost, share: f64) -> Result<f64, Failure> {
    let most = (before.macs as f64 * share) as u64;
    pruner.threshold_for_macs(most).map_err(|error| {
        let PruneError::Unreachable { least, .. } = error else { return failure(&args.model, error) };
        let excluded = match &args.excluded[..] {
            [] => String::new(),
            names => format!(", and all those of {} and what is tied to them", names.join(", ")),
        };
        Failure::usage(format!(
            "{:.1} % of the MACs cannot be reached; the least is {:.1} %, with {} filters a layer in multiples of {} \
             (-nf, -pg){excluded}",
            100.0 * share,
            100.0 * least as f64 / before.macs as f64,
            args.min_filters,
            args.granularity,
        ))
    })
}

/// Says which layers are kept whole for the sake of another.
fn tell_what_is_kept(detector: &Detector, pruner: &Pruner<'_>) {
    let graph = &detector.graph;
    let mut kept: BTreeMap<NodeId, (&str, Vec<&str>)> = BTreeMap::new();
    for group in pruner.groups() {
        let names: Vec<&str> = group.layers.iter().map(|layer| graph.node(*layer).name.as_str()).collect();
        let (id, why) = match group.whole {
            Some(Whole::Excluded(id)) => (id, "is excluded, which keeps all channels of"),
            Some(Whole::Misaligned(id)) => (id, "pairs maps whose parts differ, which keeps all channels of"),
            // As in the tiny networks, where it is so by design.
            Some(Whole::Slice(_) | Whole::Grouped(_)) if names.len() < 2 => continue,
            Some(Whole::Slice(id) | Whole::Grouped(id)) => {
                (id, "takes channels by number, which keeps all of")
            }
            Some(Whole::Input(_) | Whole::Output(_)) | None => continue,
        };
        kept.entry(id).or_insert((why, Vec::new())).1.extend(names);
    }
    for (id, (why, layers)) in kept {
        let name = graph.node(id).name.as_str();
        if layers != [name] {
            console::info(&format!("`{name}` {why} {}", layers.join(", ")));
        }
    }
}

fn tell_what_shrank(before: &Detector, after: &Detector) {
    for (before, after) in before.graph.nodes().iter().zip(after.graph.nodes()) {
        if matches!(before.op, Op::Conv2d(_)) && after.channels < before.channels {
            console::debug(&format!("{}: {} -> {} filters", before.name, before.channels, after.channels));
        }
    }
}

/// Runs the pruned network next to the whole one.
fn check(
    model: &Path,
    whole: &Checkpoint,
    plan: &Plan,
    pruned: &Detector,
    params: &Params,
) -> Result<(), Failure> {
    let mut image = vec![0.0; pruned.preprocess.tensor_len()];
    pruned.preprocess.apply(&scene::draw(0).image.into(), &mut image);
    let difference = difference((&whole.detector, &whole.params), plan, (pruned, params), &image)
        .map_err(|error| Failure::data(format!("{}: {error}", model.display())))?;
    if difference <= TOLERANCE {
        console::debug(&format!(
            "the pruned network agrees with the whole one, whose pruned channels are 0: {difference:.1e}"
        ));
        return Ok(());
    }
    Err(Failure::no(format!(
        "the pruned network does not compute what the whole one computes with its pruned channels 0, and was not kept: largest \
         difference {difference:.1e} of the largest value"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_outputs() {
        for (given, want) in
            [("x.tlt", "x.tlt"), ("x.hdf5", "x.hdf5"), ("x.h5", "x.h5.hdf5"), ("pruned/x", "pruned/x.hdf5")]
        {
            assert_eq!(output(Path::new(given)).unwrap(), Path::new(want));
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!([percent("50%"), percent("12.5 %"), percent("100%")], [Ok(0.5), Ok(0.125), Ok(1.0)]);
        for text in ["50", "0%", "101%", "-5%", "nan%", "%", "half"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
