//! A training step as a program: what is kept of the forward pass, where gradients go, and where everything lies.
//!
//! Time counts the steps of the [plan](oxidet_compute::plan) forward, then the loss, then the same steps backward. The graph is
//! known, so is what each backward step reads; everything else is given up after its last use:
//! - a convolution, its batch norm and its activation keep one map, the convolution's output. Their own output is computed
//!   again from it when a backward step reads it;
//! - an activation whose derivative follows from its output needs nothing else;
//! - gradients change in place on their way through sums, batch norms and activations.

use oxidet_graph::{Activation, MapShape, NodeId};

use super::TrainNetError;
use super::memory::{BufferId, Layout, Lifetimes};
use super::network::Network;
use oxidet_compute::kernel::activation::derivative_follows_from_output;
use oxidet_compute::kernel::{Store, conv, max_pool};
use oxidet_compute::plan::{Kind, Step};

/// Everything about a training step that depends on the size of the images.
#[derive(Debug)]
pub(super) struct Program {
    /// Shape of the images, `[N, C, H, W]`.
    pub(super) images: [usize; 4],
    /// Shape of every node's map.
    pub(super) shapes: Vec<MapShape>,
    pub(super) layout: Layout,
    /// Where the images are kept.
    pub(super) image: BufferId,
    /// One for each step of the plan.
    pub(super) steps: Vec<StepProgram>,
    /// For each head, the buffers of its map and of the map's gradient.
    pub(super) heads: Vec<(BufferId, Option<BufferId>)>,
}

/// The buffers of one step.
#[derive(Debug)]
pub(super) struct StepProgram {
    pub(super) geometry: Geometry,
    /// What its activation, or its batch norm, reads; kept until the step's backward pass.
    pub(super) before: Option<BufferId>,
    pub(super) inputs: Vec<BufferId>,
    pub(super) output: BufferId,
    /// `None` when nothing before the output trains, or no head reads it: the step has no backward pass.
    pub(super) backward: Option<BackwardProgram>,
}

/// Sizes that the step's kernel takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Geometry {
    Conv(conv::Geometry),
    MaxPool(max_pool::Geometry),
    Other,
}

/// The buffers of one step's backward pass.
#[derive(Debug)]
pub(super) struct BackwardProgram {
    /// Outputs of other steps to compute again before.
    pub(super) again: Vec<Again>,
    /// Gradient of the step's output.
    pub(super) gradient: BufferId,
    /// The inputs as the backward pass reads them; as in the forward pass where it reads none.
    pub(super) inputs: Vec<BufferId>,
    /// Where the gradient of each input goes. `None`: nowhere, or it is there already, in place.
    pub(super) deliveries: Vec<Option<(BufferId, Store)>>,
}

/// The output of a step, computed once more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    pub(super) step: usize,
    /// What its activation or its batch norm read, or the map that it rounds.
    pub(super) from: BufferId,
    pub(super) to: BufferId,
}

/// What a step keeps of its own for its backward pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nothing,
    Before,
    Output,
}

impl Kept {
    fn of(kind: &Kind) -> Self {
        let activated = |activation: Option<Activation>| match activation {
            None => Self::Nothing,
            Some(activation) if derivative_follows_from_output(activation) => Self::Output,
            Some(_) => Self::Before,
        };
        match *kind {
            Kind::Conv { batch_norm: Some(_), .. } => Self::Before,
            Kind::Conv { batch_norm: None, activation, .. } | Kind::Add { activation } => {
                activated(activation)
            }
            _ => Self::Nothing,
        }
    }
}

/// Whether the gradient of the step's output becomes that of its inputs in place.
fn is_in_place(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Add { .. }
            | Kind::BatchNorm { .. }
            | Kind::Activation(_)
            | Kind::DropPath { .. }
            | Kind::FakeQuantize
    )
}

impl Program {
    /// The program for a network and images of shape `[N, C, H, W]`.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub(super) fn new(net: &Network, images: [usize; 4]) -> Result<Self, TrainNetError> {
        let [batch, _, height, width] = images;
        let graph = &net.detector.graph;
        let shapes = graph.shapes(height, width)?;
        let mut lives = Lifetimes::default();
        let image = lives.add(batch * shapes[0].len(), 0);
        let mut builder = Builder {
            net,
            batch,
            shapes: &shapes,
            lives,
            maps: vec![None; shapes.len()],
            again: vec![None; shapes.len()],
            gradients: vec![None; shapes.len()],
            makers: vec![None; shapes.len()],
            befores: Vec::new(),
            trains: Vec::new(),
        };
        builder.maps[0] = Some(image);
        let mut steps = Vec::with_capacity(net.steps.len());
        for (index, step) in net.steps.iter().enumerate() {
            steps.push(builder.forward(index, step)?);
        }
        let loss = net.steps.len();
        let mut heads = Vec::new();
        for head in &net.detector.heads {
            let map = builder.map(head.output);
            builder.lives.extend(map, loss);
            let gradient = builder.reaches(head.output).then(|| builder.buffer(head.output, loss));
            builder.gradients[head.output.index()] = gradient;
            heads.push((map, gradient));
        }
        for index in (0..steps.len()).rev() {
            steps[index].backward = builder.backward(index, &net.steps[index], &steps[index]);
        }
        let layout = builder.lives.place();
        Ok(Self { images, layout, image, steps, heads, shapes })
    }
}

struct Builder<'a> {
    net: &'a Network,
    batch: usize,
    shapes: &'a [MapShape],
    lives: Lifetimes,
    /// By node: its map, the same computed again, and its gradient.
    maps: Vec<Option<BufferId>>,
    again: Vec<Option<BufferId>>,
    gradients: Vec<Option<BufferId>>,
    /// By node: the step that makes its map.
    makers: Vec<Option<usize>>,
    /// By step: what its activation or batch norm reads, where it is kept.
    befores: Vec<Option<BufferId>>,
    /// By step: whether a parameter of the step, or before it, trains.
    trains: Vec<bool>,
}

impl Builder<'_> {
    fn buffer(&mut self, node: NodeId, time: usize) -> BufferId {
        self.lives.add(self.batch * self.shapes[node.index()].len(), time)
    }

    fn map(&self, node: NodeId) -> BufferId {
        self.maps[node.index()].expect("steps come after those that make their inputs")
    }

    /// Whether a gradient at `node` reaches a parameter.
    fn reaches(&self, node: NodeId) -> bool {
        self.makers[node.index()].is_some_and(|step| self.trains[step])
    }

    fn forward(&mut self, time: usize, step: &Step) -> Result<StepProgram, TrainNetError> {
        let geometry = self.geometry(step)?;
        let inputs: Vec<BufferId> = step.inputs.iter().map(|id| self.map(*id)).collect();
        for input in &inputs {
            self.lives.extend(*input, time);
        }
        let before = (Kept::of(&step.kind) == Kept::Before).then(|| self.buffer(step.output, time));
        let output = self.buffer(step.output, time);
        self.maps[step.output.index()] = Some(output);
        self.makers[step.output.index()] = Some(time);
        let trains = self.net.trains(step) || step.inputs.iter().any(|id| self.reaches(*id));
        self.trains.push(trains);
        self.befores.push(before);
        Ok(StepProgram { geometry, before, inputs, output, backward: None })
    }

    fn geometry(&self, step: &Step) -> Result<Geometry, TrainNetError> {
        let graph = &self.net.detector.graph;
        let MapShape { channels, height, width } = self.shapes[step.inputs[0].index()];
        let named = |source| TrainNetError::Node { node: graph.node(step.output).name.clone(), source };
        Ok(match step.kind {
            Kind::Conv { conv, .. } => {
                let input = [self.batch, channels, height, width];
                let weight = [conv.filters, channels / conv.groups, conv.kernel, conv.kernel];
                let geometry = conv::Geometry::new(input, weight, conv.stride, conv.padding, conv.groups);
                Geometry::Conv(geometry.map_err(candle_core::Error::wrap).map_err(named)?)
            }
            Kind::MaxPool(pool) => {
                let geometry = max_pool::Geometry::new(self.batch * channels, height, width, &pool);
                Geometry::MaxPool(geometry.map_err(candle_core::Error::wrap).map_err(named)?)
            }
            _ => Geometry::Other,
        })
    }

    fn backward(&mut self, index: usize, step: &Step, program: &StepProgram) -> Option<BackwardProgram> {
        let time = 2 * self.net.steps.len() - index;
        let gradient = self.gradients[step.output.index()].filter(|_| self.trains[index])?;
        self.lives.extend(gradient, time);
        match Kept::of(&step.kind) {
            Kept::Nothing => {}
            Kept::Output => self.lives.extend(program.output, time),
            Kept::Before => program.before.iter().for_each(|before| self.lives.extend(*before, time)),
        }
        let mut backward = BackwardProgram {
            again: Vec::new(),
            gradient,
            inputs: program.inputs.clone(),
            deliveries: Vec::new(),
        };
        let read = match step.kind {
            Kind::Conv { node, .. } => usize::from(self.net.kernel_trains(node)),
            Kind::BatchNorm { .. } | Kind::Activation(_) => 1,
            Kind::Scale => 2,
            _ => 0,
        };
        for input in 0..read {
            backward.inputs[input] = self.read_again(step.inputs[input], time, &mut backward.again);
        }
        let twice = step.inputs.len() == 2 && step.inputs[0] == step.inputs[1];
        let mut in_place = is_in_place(&step.kind) && !twice;
        for input in &step.inputs {
            let delivery = if !self.reaches(*input) {
                None
            } else if let Some(sum) = self.gradients[input.index()] {
                self.lives.extend(sum, time);
                Some((sum, Store::Add))
            } else if std::mem::take(&mut in_place) {
                self.gradients[input.index()] = Some(gradient);
                None
            } else {
                let first = self.buffer(*input, time);
                self.gradients[input.index()] = Some(first);
                Some((first, Store::Replace))
            };
            backward.deliveries.push(delivery);
        }
        Some(backward)
    }

    /// The step whose output `node` is, if it is not kept for the backward pass but computed again.
    fn computed_again(&self, node: NodeId) -> Option<usize> {
        let maker = self.makers[node.index()].filter(|step| self.trains[*step])?;
        let step = &self.net.steps[maker];
        match step.kind {
            Kind::FakeQuantize => self.computed_again(step.inputs[0]).map(|_| maker),
            _ => (Kept::of(&step.kind) == Kept::Before).then_some(maker),
        }
    }

    /// The map of `node` at `time` of the backward pass: kept since the forward pass, or computed again by the first that
    /// asks, which notes it in `again`.
    fn read_again(&mut self, node: NodeId, time: usize, again: &mut Vec<Again>) -> BufferId {
        let Some(maker) = self.computed_again(node) else {
            let map = self.map(node);
            self.lives.extend(map, time);
            return map;
        };
        if let Some(buffer) = self.again[node.index()] {
            self.lives.extend(buffer, time);
            return buffer;
        }
        let step = &self.net.steps[maker];
        let from = match step.kind {
            Kind::FakeQuantize => self.read_again(step.inputs[0], time, again),
            _ => self.befores[maker].expect("it keeps what its activation or batch norm read"),
        };
        self.lives.extend(from, time);
        let to = self.buffer(node, time);
        self.again[node.index()] = Some(to);
        again.push(Again { step: maker, from, to });
        to
    }
}
