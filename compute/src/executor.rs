//! Inference on plain slices.

use std::sync::Arc;

use oxidet_graph::quantization::{QuantizedMaps, RangeError, fake_quantize_kernel};
use oxidet_graph::{
    Conv2d, Detector, Graph, MapShape, NodeId, Op, ParamKind, Params, ParamsError, ShapeError, Tensor, pass,
};
use oxidet_vision::{Network, NetworkError, RawDetections, decode};

use crate::kernel::conv::FixedWeights;
use crate::kernel::{
    Store, activation, add, batch_norm, channels, conv, fake_quantize, global_average, max_pool, scale,
    upsample,
};
use crate::plan::{Kind, Step, plan};

/// What keeps a network from running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The parameters are not those of the network.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The network does not fit its own input size.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A convolution that cannot be computed.
    #[error("{node}: {source}")]
    Conv {
        /// Name of the node.
        node: String,
        /// Why not.
        source: conv::GeometryError,
    },
    /// A pooling that cannot be computed.
    #[error("{node}: {source}")]
    MaxPool {
        /// Name of the node.
        node: String,
        /// Why not.
        source: max_pool::GeometryError,
    },
    /// What only training has, behind something that keeps it from being folded away.
    #[error("{node}: a batch norm or stochastic depth that cannot be folded into a convolution")]
    Training {
        /// Name of the node.
        node: String,
    },
    /// A quantiser without a range.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A batch of another size than announced.
    #[error("the input holds {found} values; {batch} images of {image} need {}", batch * image.len())]
    Input {
        /// Values given.
        found: usize,
        /// Images announced.
        batch: usize,
        /// Shape of one image.
        image: MapShape,
    },
}

/// A detector ready to run on the CPU, with its working memory. A clone has working memory of its own.
#[derive(Debug)]
pub struct Executor {
    program: Arc<Program>,
    buffers: Vec<Vec<f32>>,
    /// What max-pooling records for a backward pass that never comes.
    winners: Vec<u16>,
}

impl Clone for Executor {
    fn clone(&self) -> Self {
        Self::of(self.program.clone())
    }
}

/// What does not change from batch to batch.
#[derive(Debug)]
struct Program {
    detector: Detector,
    /// Without the kernels.
    params: Params,
    /// Kernel of each step that is a convolution.
    kernels: Vec<Option<FixedWeights>>,
    /// Of every node that is a quantiser.
    ranges: Vec<Option<f32>>,
    steps: Vec<Step>,
    /// Shape of every node's map.
    shapes: Vec<MapShape>,
    /// Buffer of every node's map; `None` for the input and for nodes inside a fused step.
    slots: Vec<Option<usize>>,
    /// Number of buffers.
    buffers: usize,
}

impl Executor {
    /// Prepares `detector` with `params`: folds its batch norms, rounds the kernels that are quantised and plans its memory.
    ///
    /// # Errors
    /// When `params` are not those of the graph, the graph does not fit its input size, or a quantiser has seen no data.
    pub fn new(detector: &Detector, params: &Params) -> Result<Self, ExecutorError> {
        let (detector, mut params) = pass::fold_batch_norm(detector, params)?;
        let ranges = quantize(&detector.graph, &mut params)?;
        let shapes = detector.graph.shapes(detector.preprocess.height, detector.preprocess.width)?;
        let outputs: Vec<NodeId> = detector.heads.iter().map(|head| head.output).collect();
        let steps = plan(&detector.graph, &outputs);
        let (slots, buffers) = assign_slots(&steps, &shapes);
        let is_quantized = ranges.iter().any(Option::is_some);
        let mut kernels = Vec::with_capacity(steps.len());
        for step in &steps {
            let named = |id: NodeId| detector.graph.node(id).name.clone();
            let shape = shapes[step.inputs.first().copied().unwrap_or(step.output).index()];
            kernels.push(match step.kind {
                Kind::Conv { batch_norm: Some(norm), .. } => {
                    return Err(ExecutorError::Training { node: named(norm.node) });
                }
                Kind::DropPath { .. } => return Err(ExecutorError::Training { node: named(step.output) }),
                Kind::Conv { node, conv, .. } => {
                    let geometry = geometry(shape, &conv)
                        .map_err(|source| ExecutorError::Conv { node: named(node), source })?;
                    let name = ParamKind::Kernel.of(&named(node));
                    let kernel = params.remove(&name).ok_or(ParamsError::Missing(name))?;
                    let geometry = if is_quantized { geometry.direct() } else { geometry };
                    Some(FixedWeights::new(geometry, kernel.into_data()))
                }
                Kind::MaxPool(pool) => {
                    max_pool::Geometry::new(shape.channels, shape.height, shape.width, &pool)
                        .map_err(|source| ExecutorError::MaxPool { node: named(step.output), source })?;
                    None
                }
                _ => None,
            });
        }
        Ok(Self::of(Arc::new(Program { detector, params, kernels, ranges, steps, shapes, slots, buffers })))
    }

    fn of(program: Arc<Program>) -> Self {
        Self { buffers: vec![Vec::new(); program.buffers], program, winners: Vec::new() }
    }

    /// The raw head maps, `[N, A · (5 + K), H / stride, W / stride]` each, big objects first, of `batch` preprocessed
    /// images `[N, C, H, W]`.
    ///
    /// # Errors
    /// When `images` has another size.
    pub fn head_maps<'a>(
        &'a mut self,
        images: &'a [f32],
        batch: usize,
    ) -> Result<Vec<&'a [f32]>, ExecutorError> {
        self.compute(images, batch)?;
        Ok(self.outputs(images, batch))
    }

    /// The network as it runs: batch norms folded.
    pub fn detector(&self) -> &Detector {
        &self.program.detector
    }

    /// Computes all maps; those of the heads are there afterwards.
    fn compute(&mut self, images: &[f32], batch: usize) -> Result<(), ExecutorError> {
        let program = self.program.clone();
        let image = program.shapes[0];
        if images.len() != batch * image.len() || batch == 0 {
            return Err(ExecutorError::Input { found: images.len(), batch, image });
        }
        for (index, step) in program.steps.iter().enumerate() {
            let output = step.output;
            let slot = program.slots[output.index()].expect("every step's output has a buffer");
            let len = batch * program.shapes[output.index()].len();
            let mut buffer = std::mem::take(&mut self.buffers[slot]);
            if buffer.len() < len {
                buffer.resize(len, 0.0);
            }
            let mut winners = std::mem::take(&mut self.winners);
            let done = self.run_step(index, images, batch, &mut buffer[..len], &mut winners);
            self.winners = winners;
            self.buffers[slot] = buffer;
            done?;
        }
        Ok(())
    }

    fn outputs<'a>(&'a self, images: &'a [f32], batch: usize) -> Vec<&'a [f32]> {
        self.program.detector.heads.iter().map(|head| self.map(head.output, images, batch)).collect()
    }

    fn map<'a>(&'a self, id: NodeId, images: &'a [f32], batch: usize) -> &'a [f32] {
        match self.program.slots[id.index()] {
            Some(slot) => &self.buffers[slot][..batch * self.program.shapes[id.index()].len()],
            None => images,
        }
    }

    fn run_step(
        &self,
        index: usize,
        images: &[f32],
        batch: usize,
        output: &mut [f32],
        winners: &mut Vec<u16>,
    ) -> Result<(), ExecutorError> {
        let step = &self.program.steps[index];
        let input = |i: usize| self.map(step.inputs[i], images, batch);
        let shape = |i: usize| self.program.shapes[step.inputs[i].index()];
        let name = |id: NodeId| self.program.detector.graph.node(id).name.as_str();
        match step.kind {
            Kind::Conv { node, conv: settings, batch_norm: None, activation } => {
                let bias = match settings.bias {
                    true => Some(self.program.params.of(name(node), ParamKind::Bias)?.data()),
                    false => None,
                };
                let kernel = self.program.kernels[index].as_ref().expect("every convolution has one");
                kernel.forward_into(batch, input(0), bias, activation, output);
            }
            Kind::Conv { batch_norm: Some(_), .. } | Kind::DropPath { .. } => {
                unreachable!("refused when the executor was made")
            }
            Kind::BatchNorm { norm, activation } => {
                let of = |kind| self.program.params.of(name(norm.node), kind).map(Tensor::data);
                let settings = batch_norm::Normalization {
                    pixels: shape(0).height * shape(0).width,
                    gamma: of(ParamKind::Gamma)?,
                    beta: of(ParamKind::Beta)?,
                    epsilon: norm.settings.epsilon,
                    activation,
                };
                let (mean, variance) = (of(ParamKind::MovingMean)?, of(ParamKind::MovingVariance)?);
                batch_norm::frozen_forward_into(&settings, mean, variance, input(0), output);
            }
            Kind::Add { activation } => add::forward_into(activation, input(0), input(1), output),
            Kind::Activation(activation) => activation::forward_into(activation, input(0), output),
            Kind::MaxPool(pool) => {
                let MapShape { channels, height, width } = shape(0);
                let geometry =
                    max_pool::Geometry::new(batch * channels, height, width, &pool).map_err(|source| {
                        ExecutorError::MaxPool { node: name(step.output).to_owned(), source }
                    })?;
                winners.resize(output.len(), 0);
                max_pool::forward_into(&geometry, input(0), output, winners);
            }
            Kind::Upsample { factor } => upsample::forward_into(factor, shape(0).width, input(0), output),
            Kind::Concat => {
                let parts: Vec<(&[f32], usize)> =
                    (0..step.inputs.len()).map(|i| (input(i), shape(i).len())).collect();
                channels::concat_into(&parts, output);
            }
            Kind::ChannelSlice { start, len } => {
                let pixels = shape(0).height * shape(0).width;
                channels::slice_into(
                    input(0),
                    shape(0).len(),
                    start * pixels,
                    len * pixels,
                    output,
                    Store::Replace,
                );
            }
            Kind::FakeQuantize => {
                let amax =
                    self.program.ranges[step.output.index()].expect("a range was found for every quantiser");
                fake_quantize::forward_into(amax, input(0), output);
            }
            Kind::GlobalAveragePool => global_average::forward_into(input(0), output),
            Kind::Scale => scale::forward_into(input(0), input(1), output),
        }
        Ok(())
    }
}

impl Network for Executor {
    fn run(&mut self, input: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), NetworkError> {
        self.compute(input, batch).map_err(|error| NetworkError(Box::new(error)))?;
        let (maps, preprocess) = (self.outputs(input, batch), &self.program.detector.preprocess);
        let (height, width, classes) =
            (preprocess.height, preprocess.width, self.program.detector.classes.len());
        decode(&maps, &self.program.detector.geometry(), height, width, batch, classes, out);
        Ok(())
    }
}

/// A convolution of one image's map.
fn geometry(map: MapShape, conv: &Conv2d) -> Result<conv::Geometry, conv::GeometryError> {
    let input = [1, map.channels, map.height, map.width];
    let weight = [conv.filters, map.channels / conv.groups, conv.kernel, conv.kernel];
    conv::Geometry::new(input, weight, conv.stride, conv.padding, conv.groups)
}

/// Rounds the kernels that are quantised. Returns the range of every quantiser, by node.
fn quantize(graph: &Graph, params: &mut Params) -> Result<Vec<Option<f32>>, ExecutorError> {
    let maps = QuantizedMaps::of(graph);
    let mut ranges = vec![None; graph.nodes().len()];
    for id in graph.ids() {
        let node = graph.node(id);
        match node.op {
            Op::FakeQuantize => {
                ranges[id.index()] = Some(maps.range(graph, params, id)?);
            }
            Op::Conv2d(conv) if maps.quantizes_kernel(graph, id) => {
                let kernel = params.of(&node.name, ParamKind::Kernel)?;
                let mut rounded = vec![0.0; kernel.data().len()];
                fake_quantize_kernel(kernel.data(), conv.filters, &mut rounded);
                let rounded = Tensor::new(kernel.shape(), rounded);
                params.insert(ParamKind::Kernel.of(&node.name), rounded);
            }
            _ => {}
        }
    }
    Ok(ranges)
}

/// Gives every step's output a buffer that no map still to be read occupies. Returns the buffer of every node and the
/// number of buffers.
fn assign_slots(steps: &[Step], shapes: &[MapShape]) -> (Vec<Option<usize>>, usize) {
    let mut slots = vec![None; shapes.len()];
    let mut sizes: Vec<usize> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    for step in steps {
        let wanted = shapes[step.output.index()].len();
        // The smallest that is large enough, else the largest, which grows.
        let best = (0..free.len()).min_by_key(|at| {
            let size = sizes[free[*at]];
            if size >= wanted { (0, size) } else { (1, usize::MAX - size) }
        });
        let slot = match best {
            Some(at) => free.swap_remove(at),
            None => {
                sizes.push(0);
                sizes.len() - 1
            }
        };
        sizes[slot] = sizes[slot].max(wanted);
        slots[step.output.index()] = Some(slot);
        free.extend(step.last_reads.iter().filter_map(|id| slots[id.index()]));
    }
    (slots, sizes.len())
}
