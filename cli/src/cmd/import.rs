//! `oxidet import`

use std::path::PathBuf;

use clap::Args;
use oxidet_graph::Checkpoint;
use oxidet_proto::lint::Verb;
use oxidet_trainer::checkpoint_file::write_checkpoint;
use oxidet_trainer::net::{NetConfig, build, init_params};
use oxidet_trainer::weights::load_file;

use crate::console;
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::files;
use crate::key::KeyArgs;
use crate::spec;

/// Make a checkpoint from weights of another program
///
/// Builds the network of the spec, fills it from the file, and says what of each was used. Training does the same with
/// pretrain_model_path; docs/weights.md tells what can be read.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet import -m resnet18.hdf5 -e spec.txt -o resnet18.tlt                 a Keras model of TAO\n  \
    oxidet import -m mobilenet_v2-b0353104.pth -e spec.txt -o start.tlt        torchvision\n  \
    oxidet import -m yolov4-tiny.conv.29 -e spec.txt -o start.tlt -k KEY       Darknet; the checkpoint is encrypted")]
pub struct ImportArgs {
    /// Weights: Keras .h5, .hdf5 or .keras, torch .pt or .pth, .safetensors, Darknet .weights, or a checkpoint; the content tells
    /// which
    #[arg(short = 'm', long = "model", alias = "model_path", value_name = "FILE")]
    model: PathBuf,
    /// Experiment spec
    #[arg(short = 'e', long = "experiment_spec", alias = "experiment_spec_file", value_name = "SPEC")]
    spec: PathBuf,
    /// The checkpoint to write
    #[arg(short = 'o', long = "output_file", value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// Replace an existing checkpoint
    #[arg(long)]
    force: bool,
}

pub fn run(args: &ImportArgs) -> Result<(), Failure> {
    FilePlan::new(args.force, [&args.model, &args.spec]).writes(&args.output)?;
    let spec = spec::read(&args.spec, Verb::Import, false)?;
    let passphrase = args.key.passphrase()?;
    let detector = build(&NetConfig::from_spec(&spec)).map_err(|error| Failure::usage(error.to_string()))?;
    let start = init_params(&detector, u64::from(spec.random_seed));
    let (params, report) = load_file(&args.model, passphrase.as_ref(), &detector, start)?;
    console::print(&report.to_string());
    console::debug(&format!("{report:#}"));
    let checkpoint = Checkpoint { detector, params, spec: spec.source().text().to_owned(), training: None };
    if let Some(dir) = args.output.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        files::create_dir(dir)?;
    }
    write_checkpoint(&args.output, &checkpoint, passphrase.as_ref())?;
    console::print(&format!("checkpoint: {}", args.output.display()));
    Ok(())
}
