//! The optimiser of a run: an update rule, the penalty of the regulariser, and the state of every parameter.

use std::collections::BTreeMap;

use candle_core::Tensor;
use oxidet_graph::{self as graph, ParamKind, Params};
use oxidet_proto::spec::{OptimizerConfig, RegularizerConfig, RegularizerType};

use crate::average::MovingAverage;
use crate::interp::TrainedParam;
use crate::op;
use oxidet_compute::kernel::optimizer::{Penalty, Rule};

/// Moves the trained parameters of a network.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    penalty: Penalty,
    /// Per trained parameter, the buffers of the rule.
    state: Vec<Vec<Vec<f32>>>,
}

/// The rule of a spec; `None` when it names none.
pub fn rule_from_spec(spec: &OptimizerConfig) -> Option<Rule> {
    if let Some(adam) = &spec.adam {
        let (beta1, beta2, epsilon) = (adam.beta1, adam.beta2, adam.epsilon);
        return Some(Rule::Adam { beta1, beta2, epsilon, amsgrad: adam.amsgrad });
    }
    if let Some(sgd) = &spec.sgd {
        return Some(Rule::Sgd { momentum: sgd.momentum, nesterov: sgd.nesterov });
    }
    let rms = spec.rmsprop.as_ref()?;
    Some(Rule::RmsProp { rho: rms.rho, momentum: rms.momentum, epsilon: rms.epsilon, centered: rms.centered })
}

/// The penalty of a spec's regulariser. It concerns the kernels of convolutions, not biases and not batch norms.
pub fn penalty_from_spec(spec: Option<&RegularizerConfig>) -> Penalty {
    match spec.map(|spec| (spec.r#type, spec.weight)) {
        Some((RegularizerType::L1, l1)) => Penalty { l1, l2: 0.0 },
        Some((RegularizerType::L2, l2)) => Penalty { l1: 0.0, l2 },
        Some((RegularizerType::None, _)) | None => Penalty::default(),
    }
}

impl Optimizer {
    /// With the state of a checkpoint (by slot, then parameter), or with none where `slots` is empty.
    ///
    /// # Errors
    /// The slot and parameter that `slots` lacks.
    pub fn new(
        rule: Rule,
        penalty: Penalty,
        trained: &[TrainedParam],
        slots: &BTreeMap<String, Params>,
    ) -> Result<Self, String> {
        let buffer = |slot: &str, param: &TrainedParam| {
            if slots.is_empty() {
                return Ok(vec![0.0; param.spec.shape.iter().product()]);
            }
            let saved = slots.get(slot).and_then(|params| params.get(&param.spec.name));
            saved.map(|tensor| tensor.data().to_vec()).ok_or_else(|| format!("{slot} of {}", param.spec.name))
        };
        let state = trained
            .iter()
            .map(|param| rule.slots().iter().map(|slot| buffer(slot, param)).collect())
            .collect::<Result<_, _>>()?;
        Ok(Self { rule, penalty, state })
    }

    /// Moves every parameter against its gradient, and `average` after it. `step` counts from 1 over the whole run.
    ///
    /// # Errors
    /// When gradients and parameters do not fit.
    pub fn step(
        &mut self,
        trained: &[TrainedParam],
        gradients: &[Tensor],
        step: u64,
        learning_rate: f64,
        mut average: Option<&mut MovingAverage>,
    ) -> candle_core::Result<()> {
        for ((param, gradient), state) in trained.iter().zip(gradients).zip(&mut self.state) {
            let penalty =
                if param.spec.kind == ParamKind::Kernel { self.penalty } else { Penalty::default() };
            op::update(
                param.var.as_tensor(),
                gradient,
                &self.rule,
                step,
                learning_rate as f32,
                penalty,
                state,
                average.as_mut().and_then(|average| average.of(&param.spec.name, step)),
            )?;
        }
        Ok(())
    }

    /// The state of all parameters by slot, for a checkpoint.
    pub fn slots(&self, trained: &[TrainedParam]) -> BTreeMap<String, Params> {
        let slot = |index: usize| {
            let tensor = |(param, state): (&TrainedParam, &Vec<Vec<f32>>)| {
                let shape: &[usize] = &param.spec.shape;
                (param.spec.name.clone(), graph::Tensor::new(shape, state[index].clone()))
            };
            trained.iter().zip(&self.state).map(tensor).collect::<Params>()
        };
        self.rule.slots().iter().enumerate().map(|(index, name)| ((*name).to_owned(), slot(index))).collect()
    }
}
