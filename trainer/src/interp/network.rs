//! A detector in training: its plan, its parameters, and which of them change.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor, Var};
use oxidet_graph::quantization::{LEAST_AMAX, QuantizedMaps};
use oxidet_graph::{self as graph, Detector, NodeId, ParamKind, ParamSpec, Params, ParamsError};
use rand::Rng;
use rayon::prelude::*;

use super::TrainNetError;
use crate::data::random::{Purpose, rng};
use crate::net::Freeze;
use crate::op::with_values;
use oxidet_compute::kernel::batch_norm::BatchStats;
use oxidet_compute::kernel::optimizer::Penalty;
use oxidet_compute::plan::{Kind, Norm, Step, plan};

/// A parameter that gradient descent changes.
#[derive(Clone, Debug)]
pub struct TrainedParam {
    /// Its name, kind and shape.
    pub spec: ParamSpec,
    /// Its value. Optimisers change it in place.
    pub var: Var,
}

/// The range of a quantiser: its own moving average, and the one it rounds with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    own: f32,
    pub(super) shared: f32,
}

/// What the ways to run a training step share.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) detector: Detector,
    pub(super) steps: Vec<Step>,
    pub(super) device: Device,
    /// By name.
    pub(super) trained: Vec<TrainedParam>,
    /// Batch norms that keep their running statistics.
    frozen_norms: BTreeSet<NodeId>,
    maps: QuantizedMaps,
    pub(super) seed: u64,
    /// Steps done before the one at hand.
    pub(super) step: u64,
    /// Every parameter by name. Those in `trained` share their storage with its variables.
    tensors: BTreeMap<String, Tensor>,
}

impl Network {
    pub(super) fn new(
        detector: &Detector,
        params: &Params,
        freeze: Freeze,
        device: &Device,
    ) -> Result<Self, TrainNetError> {
        params.check(&detector.graph)?;
        let mut trained = Vec::new();
        let mut tensors = BTreeMap::new();
        for spec in detector.graph.param_specs() {
            let value = params.get(&spec.name).ok_or_else(|| ParamsError::Missing(spec.name.clone()))?;
            let mut tensor = Tensor::from_slice(value.data(), value.shape(), device)?;
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
        Ok(Self {
            detector: detector.clone(),
            steps,
            device: device.clone(),
            trained,
            frozen_norms: freeze.batch_norms,
            maps: QuantizedMaps::of(&detector.graph),
            seed: 0,
            step: 0,
            tensors,
        })
    }

    /// A copy of the parameters of some kinds.
    pub(super) fn params_where(&self, wanted: impl Fn(ParamKind) -> bool) -> Result<Params, TrainNetError> {
        let specs = self.detector.graph.param_specs();
        specs
            .into_iter()
            .filter(|spec| wanted(spec.kind))
            .map(|spec| {
                let tensor = self.tensors.get(&spec.name).expect("parameters were checked against the graph");
                let data = tensor.flatten_all()?.to_vec1::<f32>()?;
                Ok((spec.name, graph::Tensor::new(spec.shape, data)))
            })
            .collect()
    }

    pub(super) fn regularisation(&self, penalty: Penalty) -> Result<f64, TrainNetError> {
        let kernels: Vec<&Tensor> = self
            .tensors
            .iter()
            .filter(|(name, _)| ParamKind::Kernel.is_kind_of(name))
            .map(|(_, kernel)| kernel)
            .collect();
        // One sum a kernel, added in the order of names: the same for any number of threads.
        let sums: Vec<f64> = kernels
            .into_par_iter()
            .map(|kernel| {
                let kernel = kernel.to_device(&Device::Cpu)?;
                with_values("regularisation", [&kernel], |[values]| Ok(penalty.of(values)))
            })
            .collect::<candle_core::Result<_>>()?;
        Ok(sums.into_iter().sum())
    }

    pub(super) fn name(&self, node: NodeId) -> &str {
        &self.detector.graph.node(node).name
    }

    pub(super) fn param(&self, node: NodeId, kind: ParamKind) -> &Tensor {
        self.tensors.get(&kind.of(self.name(node))).expect("parameters were checked against the graph")
    }

    /// Position of a parameter in `trained`, if it trains.
    pub(super) fn trained_index(&self, node: NodeId, kind: ParamKind) -> Option<usize> {
        let name = kind.of(self.name(node));
        self.trained.binary_search_by(|param| param.spec.name.cmp(&name)).ok()
    }

    /// Whether the kernel of a convolution trains.
    pub(super) fn kernel_trains(&self, conv: NodeId) -> bool {
        self.trained_index(conv, ParamKind::Kernel).is_some()
    }

    /// Whether a parameter of the step trains.
    pub(super) fn trains(&self, step: &Step) -> bool {
        let any = |node, kinds: [ParamKind; 2]| {
            kinds.into_iter().any(|kind| self.trained_index(node, kind).is_some())
        };
        let conv = match step.kind {
            Kind::Conv { node, .. } => any(node, [ParamKind::Kernel, ParamKind::Bias]),
            _ => false,
        };
        conv || step.kind.norm().is_some_and(|norm| any(norm.node, [ParamKind::Gamma, ParamKind::Beta]))
    }

    pub(super) fn is_frozen(&self, norm: &Norm) -> bool {
        self.frozen_norms.contains(&norm.node)
    }

    /// The factor of each image at a node of stochastic depth: 0 with probability `rate`, else 1 / (1 − `rate`).
    pub(super) fn path_factors(&self, node: NodeId, rate: f32, images: usize) -> Vec<f32> {
        let mut stream = rng(self.seed, self.step, node.index() as u64, Purpose::DropPath);
        (0..images).map(|_| if stream.random::<f32>() < rate { 0.0 } else { 1.0 / (1.0 - rate) }).collect()
    }

    /// Whether a convolution computes with a rounded kernel.
    pub(super) fn quantizes_kernel(&self, conv: NodeId) -> bool {
        self.maps.quantizes_kernel(&self.detector.graph, conv)
    }

    /// The range of a quantiser in a step whose map has the largest magnitude `batch`, where it shares its range with others as they
    /// were before the step.
    pub(super) fn range(&self, quantizer: NodeId, batch: f32) -> candle_core::Result<Range> {
        /// Share of the moving average that a step keeps.
        const DECAY: f64 = 0.999;
        let stored = |node| self.param(node, ParamKind::Amax).to_vec1::<f32>().map(|amax| amax[0]);
        let before = f64::from(stored(quantizer)?);
        // The average from 0 divided by 1 − decayⁿ, written as one step from its last value.
        let share = (1.0 - DECAY) / (1.0 - DECAY.powf((self.step + 1) as f64));
        let batch = f64::from(batch.max(LEAST_AMAX));
        let own = (before + (batch - before) * share) as f32;
        let others = self.maps.sharing(quantizer).iter().filter(|other| **other != quantizer);
        let mut shared = own;
        for other in others {
            shared = shared.max(stored(*other)?);
        }
        Ok(Range { own, shared })
    }

    /// Keeps the range of a quantiser for the next step.
    pub(super) fn set_range(&mut self, quantizer: NodeId, range: Range) -> Result<(), TrainNetError> {
        let name = ParamKind::Amax.of(self.name(quantizer));
        self.tensors.insert(name, Tensor::new(&[range.own], &self.device)?);
        Ok(())
    }

    /// Moves the running statistics of a batch norm towards those of the batch.
    pub(super) fn follow(&mut self, norm: &Norm, batch: &BatchStats) -> Result<(), TrainNetError> {
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
            let name = kind.of(self.name(norm.node));
            self.tensors.insert(name, Tensor::new(moved, &self.device)?);
        }
        Ok(())
    }
}
