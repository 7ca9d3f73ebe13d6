//! `oxidet inspect`

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use oxidet_graph::{Detector, Graph, MapShape, Op, TrainingState};
use oxidet_proto::lint::Verb;
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::net::{self, NetConfig};

use crate::console;
use crate::exit::Failure;
use crate::key::KeyArgs;
use crate::spec;

/// Show what is in a checkpoint, or the network of a spec
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet inspect -m results/weights/yolov4_resnet18_epoch_080.tlt -k KEY\n  \
    oxidet inspect -e spec.txt --blocks                    what freeze_blocks can name\n  \
    oxidet inspect -m model.tlt --spec > spec.txt          the spec it was trained with")]
pub struct InspectArgs {
    /// Checkpoint
    #[arg(short = 'm', long = "model", alias = "model_path", value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Experiment spec, in place of a checkpoint
    #[arg(
        short = 'e',
        long = "experiment_spec",
        alias = "experiment_spec_file",
        value_name = "SPEC",
        required_unless_present = "model",
        conflicts_with = "model"
    )]
    experiment: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// The blocks of the backbone: their numbers, layers and sizes
    #[arg(long)]
    blocks: bool,
    /// Print the spec inside the checkpoint and nothing else
    #[arg(long = "spec", requires = "model", conflicts_with = "blocks")]
    print_spec: bool,
}

pub fn run(args: &InspectArgs) -> Result<(), Failure> {
    let (detector, training) = match (&args.model, &args.experiment) {
        (Some(model), _) => {
            let checkpoint = read_checkpoint(model, args.key.passphrase()?.as_ref())?;
            if args.print_spec {
                console::print(checkpoint.spec.trim_end());
                return Ok(());
            }
            (checkpoint.detector, checkpoint.training)
        }
        (None, Some(path)) => {
            let spec = spec::read(path, Verb::Export, true)?;
            let detector = net::build(&NetConfig::from_spec(&spec))
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            (detector, None)
        }
        (None, None) => unreachable!("clap requires one of them"),
    };
    console::print(&overview(&detector, training.as_ref()));
    if args.blocks {
        console::print(&blocks(&detector)?);
    }
    Ok(())
}

fn overview(detector: &Detector, training: Option<&TrainingState>) -> String {
    let preprocess = &detector.preprocess;
    let mean: Vec<String> = preprocess.mean.iter().map(f32::to_string).collect();
    let mut lines = vec![
        format!("network    {}, {} parameters", detector.arch, thousands(detector.graph.param_count())),
        format!(
            "input      {} x {} x {} (width, height, channels), {} bits, minus {}",
            preprocess.width,
            preprocess.height,
            preprocess.channels,
            preprocess.depth,
            mean.join(" ")
        ),
        format!("classes    {}", detector.classes.join(", ")),
    ];
    for head in detector.geometry() {
        let pixels = head.anchors.iter().map(|(w, h)| {
            let (w, h) = (w * preprocess.width as f32, h * preprocess.height as f32);
            format!("({w:.1}, {h:.1})")
        });
        lines.push(format!(
            "head       stride {:>2}, anchors {}",
            head.stride,
            pixels.collect::<Vec<_>>().join(" ")
        ));
    }
    lines.extend(training.map(|state| {
        let best = state.best.as_ref().map(|best| format!(", best epoch {}: {:.4}", best.epoch, best.value));
        format!("training   {} epochs, {} steps{}", state.epoch, state.step, best.unwrap_or_default())
    }));
    lines.join("\n")
}

/// One block of the backbone.
#[derive(Default)]
struct Block<'a> {
    convolutions: Vec<&'a str>,
    parameters: usize,
    output: Option<MapShape>,
}

fn blocks(detector: &Detector) -> Result<String, Failure> {
    let graph: &Graph = &detector.graph;
    let (height, width) = (detector.preprocess.height, detector.preprocess.width);
    let shapes = graph.shapes(height, width).map_err(|error| Failure::data(error.to_string()))?;
    let mut blocks: BTreeMap<u16, Block<'_>> = BTreeMap::new();
    for (node, shape) in graph.nodes().iter().zip(shapes) {
        let Some(block) = node.block else { continue };
        let block = blocks.entry(block).or_default();
        if matches!(node.op, Op::Conv2d(_)) {
            block.convolutions.push(&node.name);
        }
        block.output = Some(shape);
    }
    for spec in graph.param_specs() {
        let block = graph.find(&spec.layer).and_then(|id| graph.node(id).block);
        if let Some(block) = block.and_then(|block| blocks.get_mut(&block)) {
            block.parameters += spec.shape.iter().product::<usize>();
        }
    }
    let mut lines = vec![format!(
        "\n{:>5}  {:>5}  {:>12}  {:>6}  convolutions",
        "block", "convs", "parameters", "stride"
    )];
    for (id, block) in &blocks {
        let stride = block.output.map_or(0, |shape| height / shape.height.max(1));
        let names = match block.convolutions[..] {
            [first, .., last] => format!("{first} … {last}"),
            [only] => only.to_owned(),
            [] => String::new(),
        };
        let (convs, parameters) = (block.convolutions.len(), thousands(block.parameters));
        lines.push(format!("{id:>5}  {convs:>5}  {parameters:>12}  {stride:>6}  {names}"));
    }
    lines.push(
        "\nfreeze_blocks keeps the convolutions of the blocks it names; freeze_bn makes the batch norms of all blocks keep their \
         statistics, while scale and offset go on training.".into(),
    );
    Ok(lines.join("\n"))
}

/// 1234567 as 1,234,567.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([7, 1000, 1_234_567].map(thousands), ["7", "1,000", "1,234,567"]);
    }
}
