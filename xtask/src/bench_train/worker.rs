//! Our contestant: trains one step for each line on standard input.

use super::{LEARNING_RATE, StepTime, images, initial_params, network};
use anyhow::Result;
use candle_core::Device;
use oxidet_compute::kernel::optimizer::{Penalty, Rule};
use oxidet_trainer::interp::TrainNet;
use oxidet_trainer::net::Freeze;
use oxidet_trainer::optimizer::Optimizer;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Instant;

/// What the parent passes on.
#[derive(clap::Args)]
pub struct Args {
    network: String,
    #[arg(long)]
    threads: usize,
}

/// Serves until the input ends.
pub fn work(args: &Args) -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global()?;
    let (arch, width, height, batch) = network::parse_case(&args.network)?;
    let detector = network::detector(&arch, width, height)?;
    let mut net = TrainNet::new(&detector, &initial_params(&detector), Freeze::default(), &Device::Cpu)?;
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, amsgrad: false };
    let mut optimizer = Optimizer::new(rule, Penalty::default(), net.trained(), &BTreeMap::new())
        .map_err(anyhow::Error::msg)?;
    let shape = [batch, detector.preprocess.channels, height, width];
    let images = images(shape.iter().product());
    println!("{}", serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }));

    let mut step = 0;
    for line in std::io::stdin().lock().lines() {
        if line?.trim() != "step" {
            break;
        }
        step += 1;
        let start = Instant::now();
        let heads = net.forward(&images, shape)?;
        let (mut loss, mut gradients) = (0.0, Vec::new());
        for values in &heads {
            let count = values.len() as f32;
            loss += values.iter().map(|v| f64::from(v * v)).sum::<f64>() / f64::from(count);
            gradients.push(values.iter().map(|v| 2.0 * v / count).collect());
        }
        let forward = Instant::now();
        net.backward(gradients)?;
        let backward = Instant::now();
        optimizer.step(net.trained(), net.gradients(), step, LEARNING_RATE, None)?;
        let end = Instant::now();
        let ms = |from: Instant, to: Instant| 1e3 * (to - from).as_secs_f64();
        let time = StepTime {
            forward: ms(start, forward),
            backward: ms(forward, backward),
            optimizer: ms(backward, end),
            loss,
        };
        println!("{}", serde_json::to_string(&time)?);
    }
    Ok(())
}
