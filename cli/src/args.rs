//! The arguments, as clap sees them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::cmd;
use crate::exit::CODES;

const EXAMPLES: &str = "Examples:\n  \
    oxidet demo                                       the whole way on a small drawn data set\n  \
    oxidet lint spec.txt                              what is wrong with a spec\n  \
    oxidet dataset check spec.txt                     what is wrong with its images and labels\n  \
    oxidet train -e spec.txt -r results -k KEY        train\n  \
    oxidet export -m model.tlt -e spec.txt -k KEY -o model.onnx";

/// Train, measure and ship YOLOv4 detectors with the specs and command lines of NVIDIA TAO, on any computer.
#[derive(Debug, Parser)]
#[command(
    version,
    infer_long_args = true,
    after_help = EXAMPLES
)]
pub struct Cli {
    #[command(flatten)]
    pub launcher: Launcher,
    #[command(subcommand)]
    pub command: Command,
}

/// The command line of the program called `program`.
pub fn command(program: &'static str) -> clap::Command {
    let codes = CODES
        .iter()
        .fold(String::from("Exit codes:"), |text, (code, what)| format!("{text}\n  {code:>3}  {what}"));
    Cli::command().name(program).bin_name(program).after_long_help(format!("{EXAMPLES}\n\n{codes}"))
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[cfg(feature = "training")]
    #[command(flatten)]
    Training(Training),
    Benchmark(cmd::benchmark::BenchmarkArgs),
    Completions(cmd::completions::CompletionsArgs),
    Decrypt(cmd::encrypt::DecryptArgs),
    Doctor(cmd::doctor::DoctorArgs),
    Encrypt(cmd::encrypt::EncryptArgs),
    #[command(name = "gen_trt_engine")]
    GenTrtEngine(cmd::gen_trt_engine::GenTrtEngineArgs),
    Inference(cmd::inference::InferenceArgs),
    Man(cmd::man::ManArgs),
    Tensorrt(cmd::tensorrt::TensorRtArgs),
    Verify(cmd::verify::VerifyArgs),
}

/// What only the build that trains can do.
#[cfg(feature = "training")]
#[derive(Debug, Subcommand)]
pub enum Training {
    Calibrate(cmd::calibrate::CalibrateArgs),
    Dataset(cmd::dataset::DatasetArgs),
    #[command(name = "dataset_convert")]
    DatasetConvert(cmd::dataset_convert::DatasetConvertArgs),
    Demo(cmd::demo::DemoArgs),
    Diff(cmd::diff::DiffArgs),
    Evaluate(cmd::evaluate::EvaluateArgs),
    Export(Box<cmd::export::ExportArgs>),
    Import(cmd::import::ImportArgs),
    Inspect(cmd::inspect::InspectArgs),
    Kmeans(cmd::kmeans::KmeansArgs),
    Lint(cmd::lint::LintArgs),
    Prune(cmd::prune::PruneArgs),
    Train(cmd::train::TrainArgs),
}

/// Options of every command. Those about GPUs are TAO's launcher's.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Launcher {
    /// What to tell besides results
    #[arg(long = "log-level", global = true, value_enum, default_value_t = Level::Info)]
    log_level: Level,
    /// The same as --log-level debug
    #[arg(short = 'v', long, global = true)]
    verbose: bool,
    /// Append everything that would be printed to this file
    #[arg(long = "log_file", global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Number of GPUs; this version computes on the CPU and accepts 1
    #[arg(long, global = true, default_value_t = 1, value_name = "N")]
    pub gpus: u32,
    /// GPU ids; accepted, without effect on the CPU
    #[arg(long = "gpu_index", global = true, num_args = 1.., value_name = "ID")]
    gpu_index: Vec<u32>,
    /// Number of training processes [short: -np]; this version accepts 1
    #[arg(
        long = "num_processes",
        global = true,
        default_value_t = 1,
        value_name = "N",
        allow_negative_numbers = true
    )]
    pub num_processes: i32,
    /// Automatic mixed precision; without effect on the CPU
    #[arg(long = "use_amp", global = true)]
    pub use_amp: bool,
    #[arg(long = "mpirun-arg", global = true, hide = true)]
    mpirun_arg: Option<String>,
    #[arg(long = "multi-node", global = true, hide = true)]
    multi_node: bool,
    #[arg(long = "launch_cuda_blocking", global = true, hide = true)]
    launch_cuda_blocking: bool,
}

/// How much to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Only what stops a command
    Error,
    /// And what may be a mistake
    Warn,
    /// And what is going on
    Info,
    /// And details
    Debug,
}

impl Launcher {
    pub fn level(&self) -> Level {
        if self.verbose { Level::Debug } else { self.log_level }
    }
}

/// Options of several letters behind one dash, which clap does not know, as their long forms.
const LETTERS: [(&str, &str); 6] = [
    ("-np", "--num_processes"),
    ("-eq", "--equalization_criterion"),
    ("-pg", "--pruning_granularity"),
    ("-pth", "--pruning_threshold"),
    ("-nf", "--min_num_filters"),
    ("-el", "--excluded_layers"),
];

/// Arguments with options of several letters spelled out, alone or as `-pth=0.5`.
pub fn expand(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    args.map(|arg| {
        let text = arg.to_str().unwrap_or_default();
        let (option, value) =
            text.split_once('=').map_or((text, None), |(option, value)| (option, Some(value)));
        match (LETTERS.iter().find(|(short, _)| option == *short), value) {
            (Some((_, long)), Some(value)) => OsString::from(format!("{long}={value}")),
            (Some((_, long)), None) => OsString::from(long),
            (None, _) => arg,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(expand(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// Command lines of TAO's documentation and notebooks.
    #[test]
    fn old_command_lines_are_understood() {
        for line in [
            "yolo_v4 dataset_convert -d spec.txt -o out/prefix",
            "yolo_v4 dataset_convert --dataset_spec spec.txt --output_filename out/prefix -f 0 -v -r results",
            "yolo_v4 train -e spec.txt -r out -k key --gpus 1",
            "yolo_v4 train --gpus 1 --gpu_index 0 -e spec.txt -r out -k key",
            "yolo_v4 train --experiment_spec_file spec.txt --results_dir out --key key --use_amp -np 1",
            "yolo_v4 evaluate -e spec.txt -m m.tlt -k key",
            "yolo_v4 evaluate --experiment_spec spec.txt --model_path m.tlt --key key -b 8 -i images -l labels",
            "yolo_v4 inference -i images -e spec.txt -m m.tlt -r out -k key -t 0.6",
            "yolo_v4 inference --image_dir images --experiment_spec spec.txt --model m.tlt --results_dir out",
            "yolo_v4 kmeans -l labels -i images -x 416 -y 416 -n 9",
            "yolo_v4 kmeans --label_folders a b --image_folders c d --size_x 416 --size_y 416 --max_steps 100 --min_x 1 --min_y 2 --results_dir out",
            "yolo_v4 prune -m m.tlt -e spec.txt -o pruned.tlt -eq union -pth 0.1 -k key",
            "yolo_v4 prune -m m.hdf5 -o pruned -e spec.txt -n L2 -eq geometric_mean -pg 16 -pth=0.5 -nf 8 -el conv1 conv2 -v",
            "yolo_v4 prune --model m.tlt --output_file p.tlt --experiment_spec_path spec.txt --key key --normalizer max --equalization_criterion arithmetic_mean --pruning_granularity 8 --pruning_threshold 0.5 --min_num_filters 16 --excluded_layers a b --results_dir out --verbose",
            "yolo_v4 export -m m.tlt -o m.etlt -e spec.txt -k key --static_batch_size 1 --target_opset 12 --log_file log.txt",
            "yolo_v4 export --model m.tlt --output_file m.onnx --experiment_spec spec.txt -v --data_type fp32",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}\n{error}");
            }
        }
    }

    #[test]
    fn unknown_options_are_refused() {
        assert!(parse("oxidet train -e spec.txt -r out --learning_rate 3").is_err());
        assert!(parse("oxidet paint").is_err());
    }
}
