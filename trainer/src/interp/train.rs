//! Training: forward on candle tensors, backward through candle's autograd.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use oxidet_graph::{self as graph, Detector, NodeId, ParamKind, ParamSpec, Params, ParamsError};

use super::plan::{Kind, Norm, Step, plan};
use crate::kernel::batch_norm::BatchStats;
use crate::net::Freeze;
use crate::op::{self, BatchStatsSlot, BnMode, ConvGeometry};

/// What keeps a network from training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainNetError {
    /// The parameters are not those of the network.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// A node cannot be computed.
    #[error("{node}: {source}")]
    Node {
        /// Name of the node.
        node: String,
        /// Why not.
        source: candle_core::Error,
    },
    /// Gradients that do not belong to the head maps.
    #[error("head {head}: {found} gradients for a map of {expected} values")]
    HeadGradient {
        /// Index of the head.
        head: usize,
        /// Gradients given.
        found: usize,
        /// Values of the map; 0 when there is no such head.
        expected: usize,
    },
    /// Any other failure of the tensor library.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A parameter that gradient descent changes.
#[derive(Clone, Debug)]
pub struct TrainedParam {
    /// Its name, kind and shape.
    pub spec: ParamSpec,
    /// Its value. Optimisers change it in place.
    pub var: Var,
}

/// A detector in training, on the CPU.
#[derive(Debug)]
pub struct TrainNet {
    detector: Detector,
    steps: Vec<Step>,
    freeze: Freeze,
    trained: Vec<TrainedParam>,
    /// Every parameter by name. Those in `trained` share their storage with its variables.
    tensors: BTreeMap<String, Tensor>,
}

impl TrainNet {
    /// Prepares `detector` for training from `params`, all but `freeze`.
    ///
    /// # Errors
    /// When `params` are not those of the graph.
    pub fn new(detector: &Detector, params: &Params, freeze: Freeze) -> Result<Self, TrainNetError> {
        params.check(&detector.graph)?;
        let mut trained = Vec::new();
        let mut tensors = BTreeMap::new();
        for spec in detector.graph.param_specs() {
            let value = params.get(&spec.name).ok_or_else(|| ParamsError::Missing(spec.name.clone()))?;
            let mut tensor = Tensor::from_slice(value.data(), value.shape(), &Device::Cpu)?;
            let name = spec.name.clone();
            if spec.kind.is_trained() && !freeze.params.contains(&name) {
                let var = Var::from_tensor(&tensor)?;
                tensor = var.as_tensor().clone();
                trained.push(TrainedParam { spec, var });
            }
            tensors.insert(name, tensor);
        }
        trained.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        let outputs: Vec<NodeId> = detector.heads.iter().map(|head| head.output).collect();
        let steps = plan(&detector.graph, &outputs);
        Ok(Self { detector: detector.clone(), steps, freeze, trained, tensors })
    }

    /// The parameters that gradient descent changes, by name.
    pub fn trained(&self) -> &[TrainedParam] {
        &self.trained
    }

    /// The network.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// A copy of all parameters as they are now.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn params(&self) -> Result<Params, TrainNetError> {
        self.tensors
            .iter()
            .map(|(name, tensor)| {
                let data = tensor.flatten_all()?.to_vec1::<f32>()?;
                Ok((name.clone(), graph::Tensor::new(tensor.dims(), data)))
            })
            .collect()
    }

    /// One training pass: the raw head maps, `[N, A · (5 + K), H / stride, W / stride]`, big objects first, of
    /// preprocessed images `[N, C, H, W]` of any size that is a multiple of 32.
    ///
    /// Batch norms use the statistics of the batch, and their running statistics follow: `r ← r · momentum + b · (1 −
    /// momentum)`, the variance unbiased. Frozen ones use their running statistics and leave them.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn forward(&mut self, images: &Tensor) -> Result<Vec<Tensor>, TrainNetError> {
        let mut maps: Vec<Option<Tensor>> = vec![None; self.detector.graph.nodes().len()];
        maps[0] = Some(images.clone());
        let mut batch_stats = Vec::new();
        for step in &self.steps {
            let slot = BatchStatsSlot::default();
            let inputs: Vec<&Tensor> = step
                .inputs
                .iter()
                .map(|id| maps[id.index()].as_ref().expect("a map is kept until its last reader ran"))
                .collect();
            let output = self.run(step, &inputs, &slot).map_err(|source| TrainNetError::Node {
                node: self.detector.graph.node(step.output).name.clone(),
                source,
            })?;
            if let (Some(norm), Some(stats)) = (step.kind.norm(), slot.take()) {
                batch_stats.push((norm, stats));
            }
            maps[step.output.index()] = Some(output);
            for id in &step.last_reads {
                maps[id.index()] = None;
            }
        }
        for (norm, stats) in &batch_stats {
            self.follow(norm, stats)?;
        }
        let heads = self.detector.heads.iter();
        Ok(heads.map(|head| maps[head.output.index()].clone().expect("outputs are kept")).collect())
    }

    /// Gradients of the loss with respect to [`Self::trained`], in that order, given those with respect to the `heads`
    /// that [`Self::forward`] returned, one value for each of theirs.
    ///
    /// # Errors
    /// When `head_gradients` do not fit the heads.
    pub fn backward(
        &self,
        heads: Vec<Tensor>,
        head_gradients: Vec<Vec<f32>>,
    ) -> Result<Vec<Tensor>, TrainNetError> {
        for head in 0..heads.len().max(head_gradients.len()) {
            let found = head_gradients.get(head).map_or(0, Vec::len);
            let expected = heads.get(head).map_or(0, Tensor::elem_count);
            if found != expected {
                return Err(TrainNetError::HeadGradient { head, found, expected });
            }
        }
        // The scalar Σ head · gradient, with the gradients as constants, has the same gradients as the loss.
        let mut surrogate = Tensor::new(0.0f32, &Device::Cpu)?;
        for (head, gradient) in heads.into_iter().zip(head_gradients) {
            let gradient = Tensor::from_vec(gradient, head.shape(), &Device::Cpu)?;
            surrogate = (surrogate + (head * gradient)?.sum_all()?)?;
        }
        let mut gradients = surrogate.backward()?;
        self.trained
            .iter()
            .map(|param| match gradients.remove(&param.var) {
                Some(gradient) => Ok(gradient),
                None => Ok(param.var.zeros_like()?),
            })
            .collect()
    }

    fn param(&self, node: NodeId, kind: ParamKind) -> &Tensor {
        let name = kind.of(&self.detector.graph.node(node).name);
        self.tensors.get(&name).expect("parameters were checked against the graph")
    }

    fn mode<'a>(&'a self, norm: &Norm, stats: &'a BatchStatsSlot) -> BnMode<'a> {
        if self.freeze.batch_norms.contains(&norm.node) {
            BnMode::Frozen {
                mean: self.param(norm.node, ParamKind::MovingMean),
                variance: self.param(norm.node, ParamKind::MovingVariance),
            }
        } else {
            BnMode::Train { stats }
        }
    }

    fn run(&self, step: &Step, inputs: &[&Tensor], stats: &BatchStatsSlot) -> candle_core::Result<Tensor> {
        match step.kind {
            Kind::Conv { node, conv, batch_norm, activation } => {
                let kernel = self.param(node, ParamKind::Kernel);
                let geometry =
                    ConvGeometry { stride: conv.stride, padding: conv.padding, groups: conv.groups };
                if let Some(norm) = batch_norm {
                    let (gamma, beta) =
                        (self.param(norm.node, ParamKind::Gamma), self.param(norm.node, ParamKind::Beta));
                    let (mode, epsilon) = (self.mode(&norm, stats), norm.settings.epsilon);
                    return op::conv_bn_act(
                        inputs[0], kernel, gamma, beta, &geometry, mode, epsilon, activation,
                    );
                }
                let bias = conv.bias.then(|| self.param(node, ParamKind::Bias));
                let map = op::conv2d(inputs[0], kernel, bias, &geometry)?;
                match activation {
                    Some(activation) => op::activation(&map, activation),
                    None => Ok(map),
                }
            }
            Kind::BatchNorm { norm, activation } => {
                let (gamma, beta) =
                    (self.param(norm.node, ParamKind::Gamma), self.param(norm.node, ParamKind::Beta));
                let (mode, epsilon) = (self.mode(&norm, stats), norm.settings.epsilon);
                op::batch_norm_act(inputs[0], gamma, beta, mode, epsilon, activation)
            }
            Kind::Add { activation: None } => op::add(inputs[0], inputs[1]),
            Kind::Add { activation: Some(activation) } => op::add_activate(inputs[0], inputs[1], activation),
            Kind::Activation(activation) => op::activation(inputs[0], activation),
            Kind::MaxPool(pool) => op::max_pool(inputs[0], &pool),
            Kind::Upsample { factor } => op::upsample(inputs[0], factor),
            Kind::Concat => op::concat(inputs),
            Kind::ChannelSlice { start, len } => op::channel_slice(inputs[0], start, len),
        }
    }

    /// Moves the running statistics of a batch norm towards those of the batch.
    fn follow(&mut self, norm: &Norm, batch: &BatchStats) -> Result<(), TrainNetError> {
        let momentum = norm.settings.momentum;
        for (kind, batch) in
            [(ParamKind::MovingMean, &batch.mean), (ParamKind::MovingVariance, &batch.unbiased_variance)]
        {
            let running = self.param(norm.node, kind).to_vec1::<f32>()?;
            let moved: Vec<f32> = running
                .iter()
                .zip(batch)
                .map(|(running, batch)| running * momentum + batch * (1.0 - momentum))
                .collect();
            let name = kind.of(&self.detector.graph.node(norm.node).name);
            self.tensors.insert(name, Tensor::new(moved, &Device::Cpu)?);
        }
        Ok(())
    }
}
