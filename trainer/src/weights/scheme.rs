//! How another program calls the layers of a network, and which program a file is of.

use oxidet_graph::{Detector, Op};
use oxidet_proto::weights::keras::DataFormat;

use super::input::Input;
use super::source::{Program, Source};
use super::{backbone, darknet, keras, native, timm, torchvision};

/// The convolution of another program that is one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Counterpart {
    /// A layer, and the batch norm behind it if there is one there.
    Layer { conv: String, batch_norm: Option<String> },
    /// There is none, the map passes as it is.
    Identity,
}

impl Counterpart {
    pub(super) fn with_batch_norm(conv: impl Into<String>, batch_norm: impl Into<String>) -> Self {
        Self::Layer { conv: conv.into(), batch_norm: Some(batch_norm.into()) }
    }

    pub(super) fn plain(conv: impl Into<String>) -> Self {
        Self::Layer { conv: conv.into(), batch_norm: None }
    }
}

/// One program's way to build one of our architectures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheme {
    /// Whose names these are.
    pub(super) name: &'static str,
    /// What our convolution of this name is called there.
    pub(super) counterpart: fn(arch: &str, conv: &str) -> Option<Counterpart>,
    /// What the first layer sees.
    pub(super) input: Input,
    /// Added to variances.
    pub(super) epsilon: f32,
    /// In what the networks differ.
    pub(super) notes: &'static [&'static str],
}

/// A scheme that fits a file.
pub(super) struct Match {
    pub(super) scheme: Scheme,
    /// What is before all names, such as `module.`.
    pub(super) prefix: String,
    /// Weights of the backbone's kernels that it finds.
    score: usize,
}

/// The scheme by whose names the file fills most of the backbone; `None` when our own names do.
pub(super) fn best(detector: &Detector, source: &Source) -> Option<Match> {
    let arch = detector.arch.as_str();
    let schemes = match &source.program {
        Program::Oxidet => Vec::new(),
        Program::Darknet => vec![darknet::scheme(arch)],
        Program::Keras { .. } => keras::schemes(arch),
        Program::Torch => [torchvision::schemes(arch), timm::schemes(arch)].concat(),
    };
    let mut best: Option<Match> = None;
    for scheme in schemes {
        for prefix in prefixes(detector, source, &scheme) {
            let score = score(detector, source, &scheme, &prefix);
            if score > best.as_ref().map_or(0, |best| best.score) {
                best = Some(Match { scheme, prefix, score });
            }
        }
    }
    let own = native::score(detector, source);
    // Keras' own networks share some names with TAO's. TAO computes with the channels first and says so in its files.
    let tao = matches!(source.program, Program::Keras { data_format: Some(DataFormat::ChannelsFirst), .. });
    best.filter(|best| best.score > own || (best.score == own && own > 0 && !tao))
}

/// What may be before the names of a file: whatever is before those of the first layer, such as `module.` or `backbone/`.
fn prefixes(detector: &Detector, source: &Source, scheme: &Scheme) -> Vec<String> {
    let graph = &detector.graph;
    let first = graph.nodes().iter().find(|node| matches!(node.op, Op::Conv2d(_)));
    let Some(Counterpart::Layer { conv, .. }) =
        first.and_then(|node| (scheme.counterpart)(&detector.arch, &node.name))
    else {
        return Vec::new();
    };
    let stem = source.name(&conv, oxidet_graph::ParamKind::Kernel);
    let before = source.names().filter_map(|name| name.strip_suffix(stem.as_str()));
    before.filter(|prefix| prefix.is_empty() || prefix.ends_with(['.', '/'])).map(str::to_owned).collect()
}

fn score(detector: &Detector, source: &Source, scheme: &Scheme, prefix: &str) -> usize {
    let mut score = 0;
    for id in backbone(detector) {
        let node = detector.graph.node(id);
        let Op::Conv2d(conv) = node.op else { continue };
        let inputs = detector.graph.node(node.inputs[0]);
        // The first layer may be for colour images where ours is for gray ones.
        let channels = if matches!(inputs.op, Op::Input { .. }) { 3 } else { inputs.channels / conv.groups };
        let Some(Counterpart::Layer { conv: name, .. }) = (scheme.counterpart)(&detector.arch, &node.name)
        else {
            continue;
        };
        let shape = [conv.filters, channels, conv.kernel, conv.kernel];
        if source.has_kernel(&format!("{prefix}{name}"), shape) {
            score += shape.iter().product::<usize>();
        }
    }
    score
}
