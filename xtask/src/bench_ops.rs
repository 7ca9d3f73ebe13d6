//! Time of the single operations of a network, and how far that is from what the machine can do.
//!
//! The yardsticks are a large matrix product (the `gemm` crate's, through candle) and a copy between two blocks larger than
//! any cache. Winograd convolutions do fewer multiplications than are counted here, so they may exceed the first.

use crate::bench_train::network;
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use oxidet_compute::kernel::batch_norm::{self, Normalization};
use oxidet_compute::kernel::{Store, add, channels, conv, max_pool, upsample};
use oxidet_graph::{Conv2d, MapShape, Op};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

/// Measures the kernels of a network one by one
#[derive(clap::Args)]
pub struct Args {
    /// The network, as NAME or NAME@WIDTHxHEIGHT:BATCH
    #[arg(default_value = "resnet18")]
    network: String,
    /// Measure only operations whose name in the table holds this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Measured runs of every operation; the fastest counts
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

/// One line of the table: an operation with its sizes, and how often the network has it.
struct Line {
    name: String,
    count: usize,
    /// Milliseconds of the forward pass, of the input gradient (with everything else that goes backward), of the weight
    /// gradient.
    ms: [Option<f64>; 3],
    /// 10⁹ operations, or bytes, of each of these.
    work: f64,
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Flops,
    Bytes,
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global()?;
    let (arch, width, height, batch) = network::parse_case(&args.network)?;
    let graph = network::detector(&arch, width, height)?.graph;
    let shapes = graph.shapes(height, width)?;
    let timer = Timer { runs: args.runs };
    let yardstick = Timer { runs: 5 };
    let (flops, bytes) = (product_speed(&yardstick)?, copy_speed(&yardstick));
    println!("{arch} {width}x{height}, batch {batch}, {} threads", args.threads);
    println!("machine: {flops:.0} GFLOP/s (matrix product), {bytes:.1} GB/s (copy, read and write)\n");

    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    for node in graph.nodes() {
        let inputs: Vec<MapShape> = node.inputs.iter().map(|id| shapes[id.index()]).collect();
        if let Some(name) = name(&node.op, &inputs).filter(|name| name.contains(&args.only)) {
            if let Some(line) = lines.get_mut(&name) {
                line.count += 1;
            } else {
                lines.insert(name.clone(), measure(&timer, name, node.op, batch, &inputs, node.channels)?);
            }
        }
    }
    print_table(lines.into_values().collect(), flops, bytes);
    Ok(())
}

fn print_table(mut lines: Vec<Line>, flops: f64, bytes: f64) {
    let total = |line: &Line| line.count as f64 * line.ms.iter().flatten().sum::<f64>();
    lines.sort_by(|a, b| total(b).total_cmp(&total(a)));
    println!(
        "{:<44} {:>5} {:>9} {:>9} {:>9} {:>8} {:>18}",
        "operation", "count", "forward", "backward", "weights", "all ms", "share of machine"
    );
    for line in &lines {
        let ms = line.ms.map(|ms| ms.map_or("-".to_owned(), |ms| format!("{ms:.2}")));
        let peak = if line.unit == Unit::Flops { flops } else { bytes };
        let share = line.ms.map(|ms| {
            ms.map_or("-".to_owned(), |ms| format!("{:.0}%", 100.0 * line.work / (1e-3 * ms) / peak))
        });
        println!(
            "{:<44} {:>5} {:>9} {:>9} {:>9} {:>8.1} {:>18}",
            line.name,
            line.count,
            ms[0],
            ms[1],
            ms[2],
            total(line),
            share.join(" ")
        );
    }
    println!("{:<44} {:>44.1}", "sum", lines.iter().map(total).sum::<f64>());
}

fn name(op: &Op, inputs: &[MapShape]) -> Option<String> {
    let map = inputs.first()?;
    let size = format!("{}x{}", map.width, map.height);
    Some(match op {
        Op::Conv2d(Conv2d { filters, kernel, stride, groups, .. }) => {
            let stride = if *stride > 1 { format!(" s{stride}") } else { String::new() };
            let groups = if *groups > 1 { format!(" g{groups}") } else { String::new() };
            format!("conv {kernel}x{kernel}{stride}{groups} {}->{filters} @{size}", map.channels)
        }
        Op::BatchNorm(_) => format!("batch norm + activation {} @{size}", map.channels),
        Op::MaxPool(pool) => format!("max-pool {}/{} {} @{size}", pool.kernel, pool.stride, map.channels),
        Op::Upsample { .. } => format!("upsample {} @{size}", map.channels),
        Op::Add => format!("add {} @{size}", map.channels),
        Op::Concat => {
            format!("concat {:?} @{size}", inputs.iter().map(|map| map.channels).collect::<Vec<_>>())
        }
        _ => return None,
    })
}

fn measure(
    timer: &Timer,
    name: String,
    op: Op,
    batch: usize,
    inputs: &[MapShape],
    channels: usize,
) -> Result<Line> {
    let map = inputs[0];
    let x = values(batch * map.len());
    let mut ms = [None; 3];
    let (work, unit);
    match op {
        Op::Conv2d(settings) => {
            let weight = [channels, map.channels / settings.groups, settings.kernel, settings.kernel];
            let input = [batch, map.channels, map.height, map.width];
            let geometry =
                conv::Geometry::new(input, weight, settings.stride, settings.padding, settings.groups)?;
            let w = values(weight.iter().product());
            let mut y = values(geometry.output_shape().iter().product());
            let (mut gx, mut gw) = (x.clone(), w.clone());
            ms[0] = Some(timer.ms(|| conv::forward_into(&geometry, &x, &w, None, None, &mut y)));
            // Nobody needs the gradient of the image.
            if map.channels > 3 {
                let g = &y;
                ms[1] =
                    Some(timer.ms(|| conv::input_gradient_into(&geometry, g, &w, &mut gx, Store::Replace)));
            }
            ms[2] = Some(timer.ms(|| conv::weight_gradient_into(&geometry, &x, &y, &mut gw)));
            (work, unit) = (2e-9 * (y.len() * w.len() / channels) as f64, Unit::Flops);
        }
        Op::BatchNorm(settings) => {
            let affine = vec![0.5; map.channels];
            let norm = Normalization {
                pixels: map.height * map.width,
                gamma: &affine,
                beta: &affine,
                epsilon: settings.epsilon,
                activation: Some(oxidet_graph::Activation::LeakyRelu),
            };
            let mut y = x.clone();
            let mut stats = None;
            ms[0] = Some(timer.ms(|| stats = Some(batch_norm::train_forward_into(&norm, &x, &mut y))));
            if let Some(stats) = &stats {
                ms[1] = Some(timer.ms(|| {
                    black_box(batch_norm::train_backward_in_place(&norm, stats, &x, &mut y));
                }));
            }
            (work, unit) = (8e-9 * x.len() as f64, Unit::Bytes);
        }
        Op::MaxPool(pool) => {
            let geometry = max_pool::Geometry::new(batch * map.channels, map.height, map.width, &pool)?;
            let len = batch * map.channels * geometry.out_height() * geometry.out_width();
            let (mut y, mut winners, mut gx) = (values(len), vec![0; len], x.clone());
            ms[0] = Some(timer.ms(|| max_pool::forward_into(&geometry, &x, &mut y, &mut winners)));
            ms[1] =
                Some(timer.ms(|| max_pool::backward_into(&geometry, &winners, &y, &mut gx, Store::Replace)));
            (work, unit) = (4e-9 * (x.len() + len) as f64, Unit::Bytes);
        }
        Op::Upsample { factor } => {
            let mut y = values(x.len() * factor * factor);
            let mut gx = x.clone();
            ms[0] = Some(timer.ms(|| upsample::forward_into(factor, map.width, &x, &mut y)));
            ms[1] =
                Some(timer.ms(|| upsample::backward_into(factor, map.width, &y, &mut gx, Store::Replace)));
            (work, unit) = (4e-9 * (x.len() + y.len()) as f64, Unit::Bytes);
        }
        Op::Add => {
            let mut y = x.clone();
            ms[0] = Some(timer.ms(|| add::forward_into(None, &x, &x, &mut y)));
            (work, unit) = (12e-9 * x.len() as f64, Unit::Bytes);
        }
        Op::Concat => {
            let parts: Vec<Vec<f32>> = inputs.iter().map(|map| values(batch * map.len())).collect();
            let views: Vec<(&[f32], usize)> =
                parts.iter().zip(inputs).map(|(part, map)| (&part[..], map.len())).collect();
            let mut y = values(parts.iter().map(Vec::len).sum());
            ms[0] = Some(timer.ms(|| channels::concat_into(&views, &mut y)));
            (work, unit) = (8e-9 * y.len() as f64, Unit::Bytes);
        }
        _ => unreachable!("it has no name"),
    }
    Ok(Line { name, count: 1, ms, work, unit })
}

struct Timer {
    runs: usize,
}

impl Timer {
    /// Milliseconds of the fastest run of `body`, after one that is not counted.
    fn ms(&self, mut body: impl FnMut()) -> f64 {
        body();
        let time = || {
            let start = Instant::now();
            body();
            1e3 * start.elapsed().as_secs_f64()
        };
        std::iter::repeat_with(time).take(self.runs.max(1)).fold(f64::INFINITY, f64::min)
    }
}

fn product_speed(timer: &Timer) -> Result<f64> {
    const SIDE: usize = 2048;
    let a = Tensor::ones((SIDE, SIDE), DType::F32, &Device::Cpu)?;
    a.matmul(&a)?;
    let ms = timer.ms(|| {
        black_box(a.matmul(&a)).ok();
    });
    Ok(2e-9 * (SIDE * SIDE * SIDE) as f64 / (1e-3 * ms))
}

fn copy_speed(timer: &Timer) -> f64 {
    const LEN: usize = 64 << 20;
    let (source, mut target) = (vec![1.0f32; LEN], vec![0.0f32; LEN]);
    let ms = timer.ms(|| {
        channels::slice_into(&source, LEN / 16, 0, LEN / 16, &mut target, Store::Replace);
    });
    8e-9 * LEN as f64 / (1e-3 * ms)
}

/// Values without zeros or repetition.
fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i % 1013) as f32 * 0.61).sin()).collect()
}
