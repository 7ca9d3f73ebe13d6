//! `oxidet benchmark`

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Args;
use oxidet_proto::lint::Verb;
use oxidet_runtime::{Benchmark, Machine, Measured, Source};
use oxidet_vision::image::encode_jpeg;
use serde_json::{Value, json};

use crate::columns::{Align, columns};
use crate::console;
use crate::demo::scene;
use crate::engine::{EngineArgs, Way};
use crate::exit::Failure;
use crate::files;
use crate::key::KeyArgs;
use crate::model;
use crate::progress;
use crate::spec;
use crate::stop;

/// Pictures that are drawn where none are given.
const DRAWN: u64 = 8;

/// Measure how long models take, stage by stage
#[derive(Args, Debug)]
#[command(
    after_help = "Milliseconds are of a batch: 50, 95 and 99 of a hundred batches took at most so long. Images a second are those of the \
    network alone, and from files to detections with all stages at work at the same time.\n\nExamples:\n  \
    oxidet benchmark -m model.onnx\n  \
    oxidet benchmark -m model.onnx -i photos -b 1,4,8 --threads 2\n  \
    oxidet benchmark -m model.onnx --compare cpu,onnxruntime,onnxruntime/tensorrt/fp16 --json speed.json\n  \
    oxidet benchmark -m float.onnx -m int8.onnx --backend onnxruntime"
)]
pub struct BenchmarkArgs {
    /// Checkpoint, .onnx or .etlt; may be repeated
    #[arg(short = 'm', long = "model_path", alias = "model", value_name = "MODEL", required = true)]
    models: Vec<PathBuf>,
    /// Image, or folder of images [default: drawn ones of 640x480 pixels]
    #[arg(short = 'i', long = "image_dir", value_name = "IMAGES")]
    images: Option<PathBuf>,
    /// Experiment spec, for models that oxidet did not make
    #[arg(short = 'e', long = "experiment_spec", value_name = "SPEC")]
    spec: Option<PathBuf>,
    /// Images per batch; several, with commas
    #[arg(short = 'b', long = "batch_size", value_name = "N", value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch_sizes: Vec<u16>,
    /// Batches that are counted
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    iterations: u32,
    /// Batches that are run first and not counted
    #[arg(long = "warm-up", value_name = "N", default_value_t = 5)]
    warm_up: u32,
    /// Ways to run the models, one after the other: BACKEND[/DEVICE[/PRECISION]], with commas between
    #[arg(long, value_name = "WAY", value_delimiter = ',')]
    compare: Vec<Way>,
    /// Write the figures to a file, or (-) to standard output, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// One row of the table.
struct Row {
    model: String,
    way: String,
    batch_size: usize,
    outcome: Result<Measured, Failure>,
}

pub fn run(args: &BenchmarkArgs) -> Result<(), Failure> {
    let drawn =
        tempfile::tempdir().map_err(|error| Failure::environment(format!("a temporary folder: {error}")))?;
    let files = match &args.images {
        Some(path) => match Source::images(path)? {
            Source::Files(files) => files,
            Source::Frames(_) => unreachable!("images are files"),
        },
        None => draw(drawn.path())?,
    };
    let ways: Vec<EngineArgs> = if args.compare.is_empty() {
        vec![args.engine.clone()]
    } else {
        args.compare.iter().map(|way| args.engine.with(*way)).collect()
    };
    let mut rows = Vec::new();
    for path in &args.models {
        for way in &ways {
            for batch_size in &args.batch_sizes {
                let batch_size = usize::from(*batch_size);
                let outcome = args.measure(path, way, batch_size, &files);
                if outcome.as_ref().is_err_and(Failure::is_interruption) {
                    return outcome.map(drop);
                }
                let model = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                rows.push(Row { model, way: way.describe(), batch_size, outcome });
            }
        }
    }
    let machine = Machine::this();
    let to_terminal = args.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = &args.json {
        let json = format!("{:#}", to_json(&machine, &rows));
        if to_terminal { console::print(&json) } else { files::write(path, format!("{json}\n").as_bytes())? }
    }
    if !to_terminal {
        console::print(&format!("{machine}\n{}", table(&rows)));
    }
    // What was asked for and could not be measured is an error; of several, the others are told first.
    let failed = rows.into_iter().find_map(|row| row.outcome.err());
    failed.map_or(Ok(()), Err)
}

impl BenchmarkArgs {
    fn measure(
        &self,
        path: &Path,
        engine: &EngineArgs,
        batch_size: usize,
        files: &[PathBuf],
    ) -> Result<Measured, Failure> {
        let spec = self.spec.as_deref().map(|path| spec::read(path, Verb::Inference, false)).transpose()?;
        let mut model = model::open(path, self.key.passphrase()?.as_ref(), spec.as_ref(), engine)?;
        let benchmark =
            Benchmark { batch_size, warm_up: self.warm_up as usize, iterations: self.iterations as usize };
        let stop = stop::on_signal()?;
        // Once one after the other, once overlapping.
        let steps = self.warm_up + self.iterations + self.iterations * batch_size as u32;
        let bar = progress::bar(steps.into(), &format!("{}, batch {batch_size}", engine.describe()));
        let measured = benchmark.run(&mut model, files, &mut || {
            bar.inc(1);
            !stop.load(Ordering::Relaxed)
        })?;
        bar.finish_and_clear();
        measured.ok_or_else(|| Failure::interrupted("stopped"))
    }
}

/// Draws pictures to measure with.
fn draw(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let write = |seed: u64| {
        let picture = oxidet_vision::image::resize(&scene::draw(seed).image, 640, 480);
        let jpeg = encode_jpeg(&picture, 90).map_err(|error| Failure::bug(error.to_string()))?;
        let path = dir.join(format!("{seed}.jpg"));
        files::write(&path, &jpeg)?;
        Ok(path)
    };
    (0..DRAWN).map(write).collect()
}

fn table(rows: &[Row]) -> String {
    let heads = [
        ("model", Align::Left),
        ("run by", Align::Left),
        ("batch", Align::Right),
        ("decode", Align::Right),
        ("prepare", Align::Right),
        ("network", Align::Right),
        ("p95", Align::Right),
        ("p99", Align::Right),
        ("suppress", Align::Right),
        ("total ms", Align::Right),
        ("network img/s", Align::Right),
        ("in all img/s", Align::Right),
    ];
    let ms = |value: f64| format!("{value:.2}");
    let cells: Vec<[String; 12]> = rows
        .iter()
        .map(|row| {
            let mut cells = [const { String::new() }; 12];
            [cells[0], cells[1], cells[2]] = [row.model.clone(), row.way.clone(), row.batch_size.to_string()];
            match &row.outcome {
                Ok(m) => {
                    let times = [
                        m.decode.p50_ms,
                        m.preprocess.p50_ms,
                        m.network.p50_ms,
                        m.network.p95_ms,
                        m.network.p99_ms,
                    ];
                    let times = times.into_iter().chain([m.suppress.p50_ms, m.total.p50_ms]).map(ms);
                    let rates =
                        [m.network_images_per_second, m.images_per_second].map(|rate| format!("{rate:.1}"));
                    cells[3..].iter_mut().zip(times.chain(rates)).for_each(|(cell, text)| *cell = text);
                }
                Err(_) => cells[5] = "failed".into(),
            }
            cells
        })
        .collect();
    columns(heads, &cells)
}

fn to_json(machine: &Machine, rows: &[Row]) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut json = json!({ "model": row.model, "run_by": row.way, "batch_size": row.batch_size });
            match &row.outcome {
                Ok(measured) => json["measured"] = json!(measured),
                Err(failure) => json["error"] = failure.message().into(),
            }
            json
        })
        .collect();
    json!({ "machine": machine, "rows": rows })
}
