//! Fills a network from the weights of another program: layer by layer through the names of a [`Scheme`], changing the numbers so that the
//! layers compute at inference what they compute there.
//!
//! A convolution and the batch norm behind it are filled together or not at all. With K, b the kernel and bias there, γ, β, μ, σ², ε the
//! batch norm there and ε' ours: K stays, μ' = μ − b, γ' = γ √((σ² + ε') / (σ² + ε)). Where there is no batch norm, ours is the identity with
//! β' = b. The first layer's kernel takes up the input convention as well ([`super::input`]).

use std::collections::{BTreeMap, BTreeSet};

use oxidet_graph::{Conv2d, Detector, Node, NodeId, Op, ParamKind, Params, Tensor};

use super::scheme::{Counterpart, Scheme};
use super::source::Source;
use super::{Adaptation, LEAST_SHARE, LoadError, LoadReport, some};

/// Fills what can be filled.
pub(super) fn fill(
    detector: &Detector,
    source: &Source,
    scheme: Scheme,
    prefix: &str,
    start: Params,
) -> Result<(Params, LoadReport), LoadError> {
    let mut filler = Filler {
        detector,
        source,
        scheme,
        prefix,
        readers: detector.graph.readers(),
        params: start,
        filled: BTreeMap::new(),
        used: BTreeSet::new(),
        missing: Vec::new(),
        backbone: (0, 0),
    };
    for id in detector.graph.ids() {
        let node = detector.graph.node(id);
        if let Op::Conv2d(conv) = node.op {
            filler.unit(id, node, conv)?;
        }
    }
    filler.finish()
}

struct Filler<'a> {
    detector: &'a Detector,
    source: &'a Source,
    scheme: Scheme,
    prefix: &'a str,
    readers: Vec<Vec<NodeId>>,
    params: Params,
    /// What was done to each parameter that is filled.
    filled: BTreeMap<String, BTreeSet<Adaptation>>,
    used: BTreeSet<String>,
    missing: Vec<(String, String)>,
    /// Kernel weights of the backbone: filled from the file, and there are.
    backbone: (usize, usize),
}

/// A kernel with what its outputs lack.
struct Kernel {
    tensor: Tensor,
    /// To be added to each output: the bias there, and what the input's mean makes.
    shift: Vec<f64>,
    done: BTreeSet<Adaptation>,
}

impl Filler<'_> {
    /// Fills a convolution and the batch norm behind it.
    fn unit(&mut self, id: NodeId, node: &Node, conv: Conv2d) -> Result<(), LoadError> {
        let in_backbone = node.block.is_some();
        let norm = self.batch_norm_behind(id);
        let weights = conv.filters
            * (self.detector.graph.node(node.inputs[0]).channels / conv.groups)
            * conv.kernel.pow(2);
        let counterpart = (self.scheme.counterpart)(&self.detector.arch, &node.name);
        let counts = in_backbone && counterpart != Some(Counterpart::Identity);
        if counts {
            self.backbone.1 += weights;
        }
        let filled = match counterpart {
            None if !in_backbone => Err("neck and heads have nothing to start from".to_owned()),
            None => Err(format!("the network of {} has no such layer", self.scheme.name)),
            Some(Counterpart::Identity) => self.identity(node, conv, norm),
            Some(Counterpart::Layer { conv: name, batch_norm }) => {
                self.layer(node, conv, norm, &self.full(&name), batch_norm.map(|name| self.full(&name)))?
            }
        };
        match filled {
            Ok(()) if counts => self.backbone.0 += weights,
            Ok(()) => {}
            Err(why) => {
                for name in self.param_names(node, conv, norm) {
                    self.missing.push((name, why.clone()));
                }
            }
        }
        Ok(())
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The batch norm behind a convolution, and its ε. Others may read the convolution as well.
    fn batch_norm_behind(&self, id: NodeId) -> Option<(NodeId, f32)> {
        self.readers[id.index()].iter().find_map(|reader| match self.detector.graph.node(*reader).op {
            Op::BatchNorm(norm) => Some((*reader, norm.epsilon)),
            _ => None,
        })
    }

    fn param_names(&self, node: &Node, conv: Conv2d, norm: Option<(NodeId, f32)>) -> Vec<String> {
        let mut names = vec![ParamKind::Kernel.of(&node.name)];
        names.extend(conv.bias.then(|| ParamKind::Bias.of(&node.name)));
        if let Some((norm, _)) = norm {
            let norm = &self.detector.graph.node(norm).name;
            names.extend(BATCH_NORM.map(|kind| kind.of(norm)));
        }
        names
    }

    /// A 1×1 convolution that passes its input on.
    fn identity(&mut self, node: &Node, conv: Conv2d, norm: Option<(NodeId, f32)>) -> Result<(), String> {
        let inputs = self.detector.graph.node(node.inputs[0]).channels;
        if conv.kernel != 1 || conv.groups != 1 || inputs != conv.filters {
            return Err(format!("the network of {} has no such layer", self.scheme.name));
        }
        let mut values = vec![0.0; inputs * inputs];
        values.iter_mut().step_by(inputs + 1).for_each(|value| *value = 1.0);
        let kernel = Kernel {
            tensor: Tensor::new([inputs, inputs, 1, 1], values),
            shift: vec![0.0; inputs],
            done: BTreeSet::from([Adaptation::Identity]),
        };
        let norm = norm.map(|(norm, epsilon)| {
            (norm, BatchNorm::identity(inputs, epsilon, BTreeSet::from([Adaptation::Identity])))
        });
        self.insert(node, conv, kernel, norm);
        Ok(())
    }

    /// A layer of the file. The inner error says why it does not fit.
    fn layer(
        &mut self,
        node: &Node,
        conv: Conv2d,
        norm: Option<(NodeId, f32)>,
        theirs: &str,
        their_norm: Option<String>,
    ) -> Result<Result<(), String>, LoadError> {
        let kernel = match self.kernel(node, conv, theirs)? {
            Ok(kernel) => kernel,
            Err(why) => return Ok(Err(why)),
        };
        let norm = match norm {
            None => None,
            Some((id, epsilon)) => {
                match self.batch_norm(conv.filters, epsilon, their_norm.as_deref(), &kernel) {
                    Ok(norm) => Some((id, norm)),
                    Err(why) => return Ok(Err(why)),
                }
            }
        };
        if norm.is_none() && !conv.bias && kernel.shift.iter().any(|shift| *shift != 0.0) {
            return Ok(Err(format!("`{theirs}` has a bias, and the layer here has none")));
        }
        self.use_layer(theirs);
        if let Some(their_norm) = &their_norm {
            self.use_layer(their_norm);
        }
        self.insert(node, conv, kernel, norm);
        Ok(Ok(()))
    }

    fn kernel(&self, node: &Node, conv: Conv2d, theirs: &str) -> Result<Result<Kernel, String>, LoadError> {
        let input = self.detector.graph.node(node.inputs[0]);
        let is_first = matches!(input.op, Op::Input { .. });
        let inputs = if is_first { 3 } else { input.channels / conv.groups };
        let shape = [conv.filters, inputs, conv.kernel, conv.kernel];
        let Some(tensor) = self.source.kernel(theirs, shape)? else {
            let why = match self.source.shape(theirs, ParamKind::Kernel) {
                Some(found) => format!("`{theirs}` has another shape, {found:?}"),
                None => "it is not in the file".into(),
            };
            return Ok(Err(why));
        };
        let bias = self.source.vector(theirs, ParamKind::Bias, conv.filters);
        let mut kernel = Kernel {
            tensor,
            shift: bias.map_or(vec![0.0; conv.filters], |bias| bias.iter().map(|b| f64::from(*b)).collect()),
            done: BTreeSet::new(),
        };
        let preprocess = &self.detector.preprocess;
        if is_first && !self.scheme.input.is(preprocess) {
            let (folded, shift) = self.scheme.input.fold(&kernel.tensor, preprocess);
            kernel.tensor = folded;
            kernel.shift.iter_mut().zip(shift).for_each(|(sum, shift)| *sum += shift);
            kernel.done.insert(Adaptation::Input);
            if preprocess.channels == 1 {
                kernel.done.insert(Adaptation::Gray);
            }
        }
        Ok(Ok(kernel))
    }

    /// The batch norm for our `epsilon` that does what theirs does after what `kernel` lacks is added.
    fn batch_norm(
        &self,
        len: usize,
        epsilon: f32,
        theirs: Option<&str>,
        kernel: &Kernel,
    ) -> Result<BatchNorm, String> {
        let mut done = BTreeSet::new();
        if kernel.done.contains(&Adaptation::Input) {
            done.insert(Adaptation::Input);
        }
        let Some(theirs) = theirs else {
            done.insert(Adaptation::Bias);
            let mut norm = BatchNorm::identity(len, epsilon, done);
            norm.beta = kernel.shift.iter().map(|shift| *shift as f32).collect();
            return Ok(norm);
        };
        let vector = |kind| {
            let found = self.source.vector(theirs, kind, len);
            found.ok_or_else(|| {
                format!("`{}` is not in the file with {len} values", self.source.name(theirs, kind))
            })
        };
        // Keras leaves γ out where the network does without.
        let gamma = match self.source.shape(theirs, ParamKind::Gamma) {
            Some(_) => vector(ParamKind::Gamma)?.to_vec(),
            None => vec![1.0; len],
        };
        let variance = vector(ParamKind::MovingVariance)?.to_vec();
        if variance.iter().any(|variance| !variance.is_finite() || *variance < 0.0) {
            return Err(format!("`{theirs}` has variances below zero"));
        }
        let mut norm = BatchNorm {
            gamma,
            beta: vector(ParamKind::Beta)?.to_vec(),
            mean: vector(ParamKind::MovingMean)?.to_vec(),
            variance,
            done,
        };
        if kernel.shift.iter().any(|shift| *shift != 0.0) {
            if !kernel.done.contains(&Adaptation::Input) {
                norm.done.insert(Adaptation::Bias);
            }
            for (mean, shift) in norm.mean.iter_mut().zip(&kernel.shift) {
                *mean = (f64::from(*mean) - shift) as f32;
            }
        }
        let there = self.scheme.epsilon;
        if there != epsilon {
            norm.done.insert(Adaptation::Epsilon);
            for (gamma, variance) in norm.gamma.iter_mut().zip(&norm.variance) {
                let ratio =
                    (f64::from(*variance) + f64::from(epsilon)) / (f64::from(*variance) + f64::from(there));
                *gamma = (f64::from(*gamma) * ratio.sqrt()) as f32;
            }
        }
        Ok(norm)
    }

    fn use_layer(&mut self, layer: &str) {
        for kind in [ParamKind::Kernel, ParamKind::Bias].into_iter().chain(BATCH_NORM) {
            self.used.insert(self.source.name(layer, kind));
        }
    }

    fn insert(&mut self, node: &Node, conv: Conv2d, kernel: Kernel, norm: Option<(NodeId, BatchNorm)>) {
        if conv.bias {
            let bias = kernel.shift.iter().map(|shift| *shift as f32).collect();
            self.insert_one(
                ParamKind::Bias.of(&node.name),
                Tensor::new([conv.filters], bias),
                kernel.done.clone(),
            );
        }
        self.insert_one(ParamKind::Kernel.of(&node.name), kernel.tensor, kernel.done);
        let Some((id, norm)) = norm else { return };
        let name = self.detector.graph.node(id).name.clone();
        let values = [norm.gamma, norm.beta, norm.mean, norm.variance];
        for (kind, values) in BATCH_NORM.into_iter().zip(values) {
            // What was done concerns two of the four, and all of a layer made up.
            let done = norm.done.iter().copied().filter(|done| match done {
                Adaptation::Bias | Adaptation::Input => {
                    matches!(kind, ParamKind::MovingMean | ParamKind::Beta)
                }
                Adaptation::Epsilon => kind == ParamKind::Gamma,
                Adaptation::Identity | Adaptation::Gray => true,
            });
            self.insert_one(kind.of(&name), Tensor::new([values.len()], values), done.collect());
        }
    }

    fn insert_one(&mut self, name: String, tensor: Tensor, done: BTreeSet<Adaptation>) {
        self.params.insert(name.as_str(), tensor);
        self.filled.insert(name, done);
    }

    fn finish(self) -> Result<(Params, LoadReport), LoadError> {
        let (filled, all) = self.backbone;
        let share = filled as f64 / all.max(1) as f64;
        let source_name = format!("{} with the names of {}", self.source.what, self.scheme.name);
        if share < LEAST_SHARE {
            return Err(LoadError::TooLittle {
                source_name,
                share,
                missing: some(self.missing.iter().map(|(name, _)| format!("`{name}`"))),
                arch: self.detector.arch.clone(),
            });
        }
        let mut report = LoadReport {
            source: source_name,
            missing: self.missing,
            unused: self
                .source
                .names()
                .filter(|name| !self.used.contains(*name))
                .map(str::to_owned)
                .collect(),
            notes: self.scheme.notes.iter().map(|note| (*note).to_owned()).collect(),
            backbone_share: share,
            ..LoadReport::default()
        };
        for (name, done) in self.filled {
            if done.is_empty() {
                report.loaded.push(name);
                continue;
            }
            for adaptation in done {
                report.adapted.entry(adaptation).or_default().push(name.clone());
            }
        }
        Ok((self.params, report))
    }
}

const BATCH_NORM: [ParamKind; 4] =
    [ParamKind::Gamma, ParamKind::Beta, ParamKind::MovingMean, ParamKind::MovingVariance];

/// A batch norm for our network.
struct BatchNorm {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    done: BTreeSet<Adaptation>,
}

impl BatchNorm {
    /// One that does nothing at inference: γ = √(1 + ε).
    fn identity(len: usize, epsilon: f32, done: BTreeSet<Adaptation>) -> Self {
        Self {
            gamma: vec![(1.0 + epsilon).sqrt(); len],
            beta: vec![0.0; len],
            mean: vec![0.0; len],
            variance: vec![1.0; len],
            done,
        }
    }
}
