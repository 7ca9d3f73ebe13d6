//! A graph by its definition: f64, one cell after another, nothing fused. What the interpreters are tested against.

use std::collections::{BTreeMap, BTreeSet};

use oxidet_graph::{Activation, Graph, NodeId, Op, Padding, ParamKind};

/// A map `[N, C, H, W]`.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) shape: [usize; 4],
    pub(crate) data: Vec<f64>,
}

impl Map {
    fn build(shape: [usize; 4], mut cell: impl FnMut([usize; 4]) -> f64) -> Self {
        let [n, c, h, w] = shape;
        let mut data = Vec::with_capacity(n * c * h * w);
        for image in 0..n {
            for channel in 0..c {
                for y in 0..h {
                    for x in 0..w {
                        data.push(cell([image, channel, y, x]));
                    }
                }
            }
        }
        Self { shape, data }
    }

    fn at(&self, [n, c, y, x]: [usize; 4]) -> f64 {
        let [_, channels, height, width] = self.shape;
        self.data[((n * channels + c) * height + y) * width + x]
    }

    /// Mean and population variance of one channel, and the number of its values.
    pub(crate) fn statistics(&self, channel: usize) -> (f64, f64, f64) {
        let [n, _, h, w] = self.shape;
        let cells = Self::build([n, 1, h, w], |[n, _, y, x]| self.at([n, channel, y, x])).data;
        let count = cells.len() as f64;
        let mean = cells.iter().sum::<f64>() / count;
        (mean, cells.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count, count)
    }
}

/// Parameters by name, in f64.
pub(crate) type Values = BTreeMap<String, Vec<f64>>;

/// The maps of all nodes. Batch norms in `frozen` use their running statistics, the others those of the batch.
pub(crate) fn forward(graph: &Graph, values: &Values, images: Map, frozen: &BTreeSet<NodeId>) -> Vec<Map> {
    let mut maps: Vec<Map> = Vec::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let param = |kind: ParamKind| values.get(&kind.of(&node.name)).map(Vec::as_slice);
        let input = |i: usize| &maps[node.inputs[i].index()];
        let like = |shape: [usize; 4], channels: usize| [shape[0], channels, shape[2], shape[3]];
        let map = match node.op {
            Op::Input { .. } => images.clone(),
            Op::Conv2d(conv) => {
                let (x, kernel, k) = (input(0), param(ParamKind::Kernel).unwrap(), conv.kernel);
                let (inputs, outputs) = (x.shape[1] / conv.groups, conv.filters / conv.groups);
                Map::build(
                    windowed(x.shape, conv.filters, k, conv.stride, conv.padding),
                    |[n, c, y, x_at]| {
                        let mut sum = param(ParamKind::Bias).map_or(0.0, |bias| bias[c]);
                        for i in 0..inputs {
                            for (tap, y, x_at) in window(x.shape, k, conv.stride, conv.padding, y, x_at) {
                                let channel = c / outputs * inputs + i;
                                sum += kernel[(c * inputs + i) * k * k + tap] * x.at([n, channel, y, x_at]);
                            }
                        }
                        sum
                    },
                )
            }
            Op::BatchNorm(settings) => {
                let x = input(0);
                let statistics: Vec<(f64, f64)> = (0..x.shape[1])
                    .map(|c| match frozen.contains(&id) {
                        true => (
                            param(ParamKind::MovingMean).unwrap()[c],
                            param(ParamKind::MovingVariance).unwrap()[c],
                        ),
                        false => (x.statistics(c).0, x.statistics(c).1),
                    })
                    .collect();
                let (gamma, beta) = (param(ParamKind::Gamma).unwrap(), param(ParamKind::Beta).unwrap());
                Map::build(x.shape, |at| {
                    let (mean, variance) = statistics[at[1]];
                    (x.at(at) - mean) / (variance + f64::from(settings.epsilon)).sqrt() * gamma[at[1]]
                        + beta[at[1]]
                })
            }
            Op::Activation(activation) => {
                Map::build(input(0).shape, |at| activate(activation, input(0).at(at)))
            }
            Op::MaxPool(pool) => {
                let x = input(0);
                let shape = windowed(x.shape, x.shape[1], pool.kernel, pool.stride, pool.padding);
                Map::build(shape, |[n, c, y, x_at]| {
                    window(x.shape, pool.kernel, pool.stride, pool.padding, y, x_at)
                        .map(|(_, y, x_at)| x.at([n, c, y, x_at]))
                        .fold(f64::NEG_INFINITY, f64::max)
                })
            }
            Op::Upsample { factor } => {
                let [n, c, h, w] = input(0).shape;
                let shape = [n, c, h * factor, w * factor];
                Map::build(shape, |[n, c, y, x]| input(0).at([n, c, y / factor, x / factor]))
            }
            Op::Concat => Map::build(like(input(0).shape, node.channels), |[n, mut c, y, x]| {
                let mut part = 0;
                while c >= input(part).shape[1] {
                    c -= input(part).shape[1];
                    part += 1;
                }
                input(part).at([n, c, y, x])
            }),
            Op::Add => Map::build(input(0).shape, |at| input(0).at(at) + input(1).at(at)),
            Op::GlobalAveragePool => {
                let [n, c, h, w] = input(0).shape;
                Map::build([n, c, 1, 1], |[n, c, ..]| {
                    let cells = (0..h * w).map(|cell| input(0).at([n, c, cell / w, cell % w]));
                    cells.sum::<f64>() / (h * w) as f64
                })
            }
            Op::Scale => Map::build(input(0).shape, |at| input(0).at(at) * input(1).at([at[0], at[1], 0, 0])),
            Op::DropPath { .. } => input(0).clone(),
            Op::FakeQuantize => unreachable!("rounding has no differences to take"),
            Op::ChannelSlice { start, len } => {
                Map::build(like(input(0).shape, len), |[n, c, y, x]| input(0).at([n, start + c, y, x]))
            }
        };
        maps.push(map);
    }
    maps
}

fn windowed(
    [n, _, h, w]: [usize; 4],
    channels: usize,
    kernel: usize,
    stride: usize,
    pad: Padding,
) -> [usize; 4] {
    let cells = |size: usize, before, after| (size + before + after - kernel) / stride + 1;
    [n, channels, cells(h, pad.top, pad.bottom), cells(w, pad.left, pad.right)]
}

/// Tap index, row and column of each cell that the window of an output cell covers.
fn window(
    [_, _, h, w]: [usize; 4],
    kernel: usize,
    stride: usize,
    pad: Padding,
    y: usize,
    x: usize,
) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..kernel * kernel).filter_map(move |tap| {
        let row = (y * stride + tap / kernel).checked_sub(pad.top)?;
        let column = (x * stride + tap % kernel).checked_sub(pad.left)?;
        (row < h && column < w).then_some((tap, row, column))
    })
}

fn activate(activation: Activation, x: f64) -> f64 {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu => {
            if x > 0.0 {
                x
            } else {
                f64::from(Activation::LEAKY_SLOPE) * x
            }
        }
        Activation::Mish => x * x.exp().ln_1p().tanh(),
        Activation::Swish => x * sigmoid,
        Activation::Sigmoid => sigmoid,
    }
}
