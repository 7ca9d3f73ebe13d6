//! Named parameters.

use std::collections::BTreeMap;

use crate::{Graph, Op};

/// A dense `f32` array in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// Wraps `data`.
    ///
    /// # Panics
    /// When `data` does not hold exactly the elements that `shape` asks for.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "{} values for shape {shape:?}", data.len());
        Self { shape, data }
    }

    /// Extent of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values, last axis fastest.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values, for writing.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values, taken out.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }
}

/// What a parameter is to its layer. Layouts are ours, names are Keras'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// Convolution weights `[out, in / groups, k, k]`.
    Kernel,
    /// Convolution bias `[out]`.
    Bias,
    /// Batch-norm scale `[C]`.
    Gamma,
    /// Batch-norm offset `[C]`.
    Beta,
    /// Running mean `[C]`; not trained.
    MovingMean,
    /// Running variance `[C]`; not trained.
    MovingVariance,
    /// Largest magnitude that a quantiser represents `[1]`; not trained. 0 as long as it has seen no data.
    Amax,
}

impl ParamKind {
    /// Last part of the parameter's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Bias => "bias",
            Self::Gamma => "gamma",
            Self::Beta => "beta",
            Self::MovingMean => "moving_mean",
            Self::MovingVariance => "moving_variance",
            Self::Amax => "amax",
        }
    }

    /// Whether gradient descent changes it (running statistics and ranges follow the data instead).
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::MovingMean | Self::MovingVariance | Self::Amax)
    }

    /// Whether a name is that of such a parameter, of any layer.
    pub fn is_kind_of(self, name: &str) -> bool {
        name.rsplit_once('/').is_some_and(|(_, kind)| kind == self.name())
    }

    /// The name of this parameter of `layer`: `<layer>/<kind>`.
    pub fn of(self, layer: &str) -> String {
        format!("{layer}/{}", self.name())
    }
}

/// A parameter that a graph needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// `<layer>/<kind>`
    pub name: String,
    /// Name of the node that owns it.
    pub layer: String,
    /// Its role.
    pub kind: ParamKind,
    /// Its extents.
    pub shape: Vec<usize>,
}

impl Graph {
    /// Every parameter this graph needs, in node order and, within a node, in Keras' order.
    pub fn param_specs(&self) -> Vec<ParamSpec> {
        let mut specs = Vec::new();
        for node in self.nodes() {
            let mut add = |kind: ParamKind, shape: Vec<usize>| {
                specs.push(ParamSpec { name: kind.of(&node.name), layer: node.name.clone(), kind, shape });
            };
            match node.op {
                Op::Conv2d(conv) => {
                    let inputs = self.node(node.inputs[0]).channels / conv.groups;
                    add(ParamKind::Kernel, vec![conv.filters, inputs, conv.kernel, conv.kernel]);
                    if conv.bias {
                        add(ParamKind::Bias, vec![conv.filters]);
                    }
                }
                Op::BatchNorm(_) => {
                    for kind in
                        [ParamKind::Gamma, ParamKind::Beta, ParamKind::MovingMean, ParamKind::MovingVariance]
                    {
                        add(kind, vec![node.channels]);
                    }
                }
                Op::FakeQuantize => add(ParamKind::Amax, vec![1]),
                _ => {}
            }
        }
        specs
    }

    /// Number of parameters, running statistics included, ranges of quantisers not.
    pub fn param_count(&self) -> usize {
        let specs = self.param_specs();
        let weights = specs.iter().filter(|spec| spec.kind != ParamKind::Amax);
        weights.map(|spec| spec.shape.iter().product::<usize>()).sum()
    }
}

/// Parameters that do not fit a graph.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// The graph needs a parameter that is not there.
    #[error("parameter `{0}` is missing")]
    Missing(String),
    /// A parameter has another shape.
    #[error("parameter `{name}` has shape {found:?}, the network needs {expected:?}")]
    Shape {
        /// Name of the parameter.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the graph needs.
        expected: Vec<usize>,
    },
    /// A parameter that no node owns.
    #[error("parameter `{0}` belongs to no layer of the network")]
    Unknown(String),
}

/// Parameters by name. The order of names is part of the file format and of every sum over parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    tensors: BTreeMap<String, Tensor>,
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a parameter.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.tensors.insert(name.into(), tensor);
    }

    /// The parameter of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The parameter of this name, for writing.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tensor> {
        self.tensors.get_mut(name)
    }

    /// The parameter `<layer>/<kind>`.
    ///
    /// # Errors
    /// [`ParamsError::Missing`]
    pub fn of(&self, layer: &str, kind: ParamKind) -> Result<&Tensor, ParamsError> {
        let name = kind.of(layer);
        self.get(&name).ok_or(ParamsError::Missing(name))
    }

    /// Takes a parameter out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// All parameters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Checks that these are exactly the parameters of `graph`.
    ///
    /// # Errors
    /// The first parameter that is missing, mis-shaped or left over.
    pub fn check(&self, graph: &Graph) -> Result<(), ParamsError> {
        let specs = graph.param_specs();
        for spec in &specs {
            let tensor = self.get(&spec.name).ok_or_else(|| ParamsError::Missing(spec.name.clone()))?;
            if tensor.shape() != spec.shape {
                let (found, expected) = (tensor.shape().to_vec(), spec.shape.clone());
                return Err(ParamsError::Shape { name: spec.name.clone(), found, expected });
            }
        }
        if self.len() > specs.len() {
            let known: std::collections::BTreeSet<&str> =
                specs.iter().map(|spec| spec.name.as_str()).collect();
            if let Some((name, _)) = self.iter().find(|(name, _)| !known.contains(name)) {
                return Err(ParamsError::Unknown(name.to_owned()));
            }
        }
        Ok(())
    }
}

impl FromIterator<(String, Tensor)> for Params {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(iter: I) -> Self {
        Self { tensors: iter.into_iter().collect() }
    }
}
