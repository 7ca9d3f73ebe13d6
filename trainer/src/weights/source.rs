//! The arrays of a file by name, with how their program orders the axes.

use std::collections::BTreeMap;

use oxidet_graph::{ParamKind, Params, Tensor};
use oxidet_proto::weights::Array;
use oxidet_proto::weights::keras::{DataFormat, Weights as KerasWeights};

use super::LoadError;

/// How a program names the parameters of a layer and orders their axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// Darknet; the file has no names, and gets ours.
    Darknet,
    /// Ours: `<layer>/kernel` `[out, in, k, k]`.
    Oxidet,
    /// Keras: `<layer>/kernel` `[k, k, in, out]`, depthwise `[k, k, channels, 1]`.
    Keras { data_format: Option<DataFormat>, backend: Option<String> },
    /// Torch: `<layer>.weight` `[out, in, k, k]`.
    Torch,
}

/// A weight file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// What it is, for people.
    pub(super) what: String,
    pub(super) program: Program,
    arrays: BTreeMap<String, Array>,
}

impl Source {
    pub(super) fn new(what: &str, program: Program, arrays: Vec<Array>) -> Self {
        let arrays = arrays.into_iter().map(|array| (array.name.clone(), array)).collect();
        Self { what: what.to_owned(), program, arrays }
    }

    pub(super) fn of_params(params: Params) -> Self {
        // Ranges are measured, not loaded.
        let weights = params.iter().filter(|(name, _)| !ParamKind::Amax.is_kind_of(name));
        let arrays = weights
            .map(|(name, tensor)| Array {
                name: name.to_owned(),
                shape: tensor.shape().to_vec(),
                values: tensor.data().to_vec(),
            })
            .collect();
        Self::new("a checkpoint", Program::Oxidet, arrays)
    }

    pub(super) fn of_keras(weights: KerasWeights) -> Self {
        let program = Program::Keras { data_format: weights.data_format, backend: weights.backend };
        Self::new("Keras weights", program, weights.arrays)
    }

    /// A state dict: of torch, or ours as safetensors.
    pub(super) fn of_state_dict(what: &str, arrays: Vec<Array>) -> Self {
        let is_ours = arrays.iter().any(|array| array.name.ends_with("/kernel"));
        Self::new(what, if is_ours { Program::Oxidet } else { Program::Torch }, arrays)
    }

    /// The names of all arrays.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.arrays.keys().map(String::as_str)
    }

    /// All arrays, for a message.
    pub(super) fn names_and_shapes(&self) -> impl Iterator<Item = String> {
        self.arrays.values().map(|array| format!("`{}` {:?}", array.name, array.shape))
    }

    /// The name that a parameter of `layer` has in the file.
    pub(super) fn name(&self, layer: &str, kind: ParamKind) -> String {
        match self.program {
            Program::Darknet | Program::Oxidet | Program::Keras { .. } => kind.of(layer),
            Program::Torch => {
                let name = match kind {
                    ParamKind::Kernel | ParamKind::Gamma => "weight",
                    ParamKind::Bias | ParamKind::Beta => "bias",
                    ParamKind::MovingMean => "running_mean",
                    ParamKind::MovingVariance => "running_var",
                    ParamKind::Amax => "amax",
                };
                format!("{layer}.{name}")
            }
        }
    }

    /// A vector of `len` values.
    pub(super) fn vector(&self, layer: &str, kind: ParamKind, len: usize) -> Option<&[f32]> {
        let array = self.arrays.get(&self.name(layer, kind))?;
        (array.shape == [len]).then_some(&array.values)
    }

    /// The shape of an array.
    pub(super) fn shape(&self, layer: &str, kind: ParamKind) -> Option<&[usize]> {
        self.arrays.get(&self.name(layer, kind)).map(|array| array.shape.as_slice())
    }

    /// Whether [`Source::kernel`] would find a kernel of this shape.
    pub(super) fn has_kernel(&self, layer: &str, shape: [usize; 4]) -> bool {
        self.shape(layer, ParamKind::Kernel).is_some_and(|found| self.order(found, shape).is_some())
    }

    /// A kernel as we store it, `shape` = `[out, in / groups, k, k]`; `None` when there is none of this shape.
    ///
    /// # Errors
    /// A kernel that Keras 1 stored for Theano, of which the file does not say whether it is mirrored.
    pub(super) fn kernel(&self, layer: &str, shape: [usize; 4]) -> Result<Option<Tensor>, LoadError> {
        let name = self.name(layer, ParamKind::Kernel);
        let Some(array) = self.arrays.get(&name) else { return Ok(None) };
        let Some(order) = self.order(&array.shape, shape) else { return Ok(None) };
        let [filters, inputs, k, _] = shape;
        let mut values = match order {
            Order::Ours => array.values.clone(),
            Order::Keras { depthwise } => {
                let mut values = vec![0.0; array.values.len()];
                for (at, value) in values.iter_mut().enumerate() {
                    let (filter, input, tap) = (at / (inputs * k * k), at / (k * k) % inputs, at % (k * k));
                    let from = if depthwise {
                        tap * filters + filter
                    } else {
                        (tap * inputs + input) * filters + filter
                    };
                    *value = array.values[from];
                }
                values
            }
        };
        if let Program::Keras { backend, .. } = &self.program
            && k > 1
        {
            match backend.as_deref() {
                // Theano convolves, everybody else correlates.
                Some("theano") => values.chunks_exact_mut(k * k).for_each(<[f32]>::reverse),
                None if order == Order::Ours => {
                    return Err(LoadError::Unsound(format!(
                        "`{name}` has the axes of Theano, {:?}, and the file does not say whether Theano or TensorFlow \
                         wrote it, on which it depends whether the kernels are mirrored; load it into the network with \
                         Keras 2 and save it again",
                        array.shape
                    )));
                }
                _ => {}
            }
        }
        Ok(Some(Tensor::new(shape, values)))
    }

    /// How the axes of an array of shape `found` are ordered, if it is a kernel of `shape`.
    fn order(&self, found: &[usize], shape: [usize; 4]) -> Option<Order> {
        let [filters, inputs, k, _] = shape;
        if matches!(self.program, Program::Keras { .. }) {
            if found == [k, k, inputs, filters] {
                return Some(Order::Keras { depthwise: false });
            }
            if inputs == 1 && found == [k, k, filters, 1] {
                return Some(Order::Keras { depthwise: true });
            }
        }
        (found == shape).then_some(Order::Ours)
    }
}

/// Axes of a stored kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// `[out, in, k, k]`; of Keras only what Keras 1 stored for Theano.
    Ours,
    /// `[k, k, in, out]`, depthwise `[k, k, channels, 1]`.
    Keras { depthwise: bool },
}
