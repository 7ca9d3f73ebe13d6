//! `oxidet inspect`

mod blocks;
mod layers;
mod overview;
mod ranges;
mod summary;

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use oxidet_graph::Detector;
use oxidet_proto::lint::Verb;
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::net::{self, NetConfig};

use crate::console;
use crate::exit::Failure;
use crate::format::{FormatArgs, print_json};
use crate::key::KeyArgs;
use crate::spec;
pub use overview::input;
use ranges::CacheArgs;
pub use ranges::{exported_tensors, list};
use summary::Summary;

/// Show what is in a checkpoint or a calibration cache, or the network of a spec
///
/// A line for each layer: what it computes, its output [channels, height, width], its parameters, its multiplications with
/// additions for one image (MACs); of a checkpoint also the share of weights that are 0 (zero) and below a thousandth of the layer's
/// largest (small), the filters whose output is constant (dead), and the range of the quantiser behind it. docs/inspect.md tells more.
///
/// A calibration cache of TensorRT or a scale file (--cal_json_file) is shown as a table of tensors with their ranges.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("from_file").multiple(true),
    group = ArgGroup::new("subject").required(true).multiple(true).args(["file", "model", "experiment"]), after_help = "Examples:\n  \
    oxidet inspect results/weights/yolov4_resnet18_epoch_080.tlt -k KEY\n  \
    oxidet inspect -e spec.txt --blocks                    what freeze_blocks can name\n  \
    oxidet inspect model.tlt --format json                 for programs; docs/inspect.md lists the keys\n  \
    oxidet inspect model.tlt --spec > spec.txt             the spec it was trained with\n  \
    oxidet inspect cal.bin -m model.tlt                    ranges, next to the tensors of a model\n  \
    oxidet inspect cal.bin --rewrite new.bin --trt 10.3.0  the same ranges for another TensorRT")]
pub struct InspectArgs {
    /// Checkpoint, calibration cache or scale file; the content tells which
    #[arg(value_name = "FILE", group = "from_file")]
    file: Option<PathBuf>,
    /// Checkpoint, as other commands name it; with a calibration cache or scale file, the one to compare the names of tensors with
    #[arg(short = 'm', long = "model", alias = "model_path", value_name = "MODEL", group = "from_file")]
    model: Option<PathBuf>,
    /// Experiment spec, in place of a checkpoint
    #[arg(
        short = 'e',
        long = "experiment_spec",
        alias = "experiment_spec_file",
        value_name = "SPEC",
        conflicts_with = "from_file"
    )]
    experiment: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// The blocks of the backbone in place of the layers: their numbers, layers and sizes
    #[arg(long, conflicts_with_all = ["format", "json"])]
    blocks: bool,
    #[command(flatten)]
    format: FormatArgs,
    /// Print the spec inside the checkpoint and nothing else
    #[arg(long = "spec", requires = "from_file", conflicts_with_all = ["blocks", "format", "json"])]
    print_spec: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: &InspectArgs) -> Result<(), Failure> {
    if let Some(file) = args.file.as_ref().or(args.model.as_ref()) {
        let model = args.file.as_ref().and(args.model.as_deref());
        if ranges::has_ranges(file)? {
            return ranges::run(args, file, model);
        }
        if args.cache.rewrite.is_some() || model.is_some() {
            return Err(Failure::usage(format!(
                "{}: not a calibration cache; --rewrite, and -m beside a file, are for these (oxidet diff compares two checkpoints)",
                file.display()
            )));
        }
    }
    let (summary, detector) = match (args.file.as_ref().or(args.model.as_ref()), &args.experiment) {
        (Some(model), _) => {
            let checkpoint = read_checkpoint(model, args.key.passphrase()?.as_ref())?;
            if args.print_spec {
                console::print(checkpoint.spec.trim_end());
                return Ok(());
            }
            (Summary::of_checkpoint(&checkpoint)?, checkpoint.detector)
        }
        (None, Some(path)) => {
            let detector = of_spec(path)?;
            (Summary::of_network(&detector)?, detector)
        }
        (None, None) => unreachable!("clap requires one of them"),
    };
    if args.format.is_json() {
        return print_json(&summary);
    }
    let below = if args.blocks { blocks::blocks(&detector)? } else { layers::layers(&summary) };
    console::print(&format!("{}\n\n{below}", overview::overview(&summary)));
    Ok(())
}

fn of_spec(path: &Path) -> Result<Detector, Failure> {
    let spec = spec::read(path, Verb::Export, true)?;
    net::build(&NetConfig::from_spec(&spec))
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}
