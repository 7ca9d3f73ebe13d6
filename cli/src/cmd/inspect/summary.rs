//! What `oxidet inspect` knows of a network. Its JSON is part of the command line: `docs/inspect.md` lists the keys.

use oxidet_graph::difference::GraphDifferences;
use oxidet_graph::quantization::QuantizedMaps;
use oxidet_graph::{
    Checkpoint, Detector, Graph, Op, ParamKind, ParamSpec, ParamsError, ShapeError, Sparsity,
};
use oxidet_proto::lint::{self, Verb};
use oxidet_proto::spec::parse_experiment;
use oxidet_trainer::net::{self, NetConfig};
use oxidet_vision::Preprocess;
use serde::Serialize;

use crate::exit::Failure;

#[derive(Debug, Serialize)]
pub struct Summary {
    pub arch: String,
    /// Running statistics included.
    pub parameters: u64,
    /// Multiplications with additions of one image.
    pub macs: u64,
    /// The parameters, 4 bytes each.
    pub bytes: u64,
    pub input: Preprocess,
    pub classes: Vec<String>,
    pub heads: Vec<Head>,
    /// The next four are of a checkpoint, not of a spec.
    pub sparsity: Option<Sparsity>,
    pub quantization: Option<Quantization>,
    pub spec: Option<SpecNetwork>,
    pub training: Option<Training>,
    pub layers: Vec<Layer>,
}

#[derive(Debug, Serialize)]
pub struct Head {
    pub layer: String,
    pub stride: usize,
    /// Width and height in pixels.
    pub anchors: Vec<[f32; 2]>,
}

#[derive(Debug, Serialize)]
pub struct Quantization {
    pub quantizers: usize,
    /// Of these, without a range: they have seen no data.
    pub without_range: usize,
    pub convolutions: usize,
    /// Of these, with a quantised kernel.
    pub quantized_kernels: usize,
}

/// How the network is related to the one that its spec describes.
#[derive(Debug, Serialize)]
#[serde(tag = "network", rename_all = "lowercase")]
pub enum SpecNetwork {
    /// It is the same.
    Same,
    /// Some convolutions are narrower.
    Pruned { parameters: u64 },
    /// It differs in another way.
    Other { parameters: u64 },
    /// The spec describes none.
    Unreadable,
}

#[derive(Debug, Serialize)]
pub struct Training {
    pub epochs: u32,
    pub steps: u64,
    pub best: Option<Best>,
}

#[derive(Debug, Serialize)]
pub struct Best {
    pub epoch: u32,
    pub monitor: String,
    pub value: f64,
}

#[derive(Debug, Serialize)]
pub struct Layer {
    pub name: String,
    pub operator: String,
    /// Names of its nodes.
    pub nodes: Vec<String>,
    /// Of the backbone.
    pub block: Option<u16>,
    /// Channels, height, width.
    pub output: [usize; 3],
    pub parameters: u64,
    pub macs: u64,
    pub sparsity: Option<Sparsity>,
    pub quantizers: Vec<Quantizer>,
}

#[derive(Debug, Serialize)]
pub struct Quantizer {
    pub name: String,
    /// Its own range; 0 as long as it has seen no data.
    pub amax: f32,
    /// The largest of the ranges it shares, which is the one in use.
    pub shared_amax: f32,
}

impl Summary {
    /// The network of a spec.
    pub fn of_network(detector: &Detector) -> Result<Self, Failure> {
        let graph = &detector.graph;
        let preprocess = &detector.preprocess;
        let (height, width) = (preprocess.height, preprocess.width);
        let failed = |error: ShapeError| Failure::data(error.to_string());
        let shapes = graph.shapes(height, width).map_err(failed)?;
        let macs = graph.macs(height, width).map_err(failed)?;
        let specs = graph.param_specs();
        let layers = graph
            .layers()
            .iter()
            .map(|layer| {
                let node = graph.node(layer.first());
                let output = shapes[layer.last().index()];
                Layer {
                    name: node.name.clone(),
                    operator: graph.operators(layer),
                    nodes: layer.nodes.iter().map(|id| graph.node(*id).name.clone()).collect(),
                    block: node.block,
                    output: [output.channels, output.height, output.width],
                    parameters: parameters(&specs, graph, layer),
                    macs: layer.nodes.iter().map(|id| macs[id.index()]).sum(),
                    sparsity: None,
                    quantizers: Vec::new(),
                }
            })
            .collect();
        let parameters = graph.param_count() as u64;
        let heads = detector.heads.iter().map(|head| {
            let anchors = head.geometry.anchors.iter().map(|(w, h)| [w * width as f32, h * height as f32]);
            let layer = graph.node(head.output).name.clone();
            Head { layer, stride: head.geometry.stride, anchors: anchors.collect() }
        });
        Ok(Self {
            arch: detector.arch.clone(),
            parameters,
            macs: macs.iter().sum(),
            bytes: parameters * size_of::<f32>() as u64,
            input: preprocess.clone(),
            classes: detector.classes.clone(),
            heads: heads.collect(),
            sparsity: None,
            quantization: None,
            spec: None,
            training: None,
            layers,
        })
    }
    /// A checkpoint.
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Result<Self, Failure> {
        let Checkpoint { detector, params, spec, training } = checkpoint;
        let graph = &detector.graph;
        let maps = QuantizedMaps::of(graph);
        let mut summary = Self::of_network(detector)?;
        for (told, layer) in summary.layers.iter_mut().zip(graph.layers()) {
            told.sparsity = graph.sparsity(params, &layer).map_err(contradiction)?;
            let quantizers = layer.quantizers.iter().map(|id| {
                let name = graph.node(*id).name.clone();
                let amax = params.of(&name, ParamKind::Amax)?.data()[0];
                Ok(Quantizer { name, amax, shared_amax: maps.amax(graph, params, *id)? })
            });
            told.quantizers = quantizers.collect::<Result<_, ParamsError>>().map_err(contradiction)?;
        }
        summary.sparsity = Some(summary.layers.iter().filter_map(|layer| layer.sparsity).sum());
        summary.quantization = graph.is_quantized().then(|| {
            let quantizers = || summary.layers.iter().flat_map(|layer| &layer.quantizers);
            let convolutions = || graph.ids().filter(|id| matches!(graph.node(*id).op, Op::Conv2d(_)));
            Quantization {
                quantizers: quantizers().count(),
                without_range: quantizers().filter(|quantizer| quantizer.amax == 0.0).count(),
                convolutions: convolutions().count(),
                quantized_kernels: convolutions().filter(|id| maps.quantizes_kernel(graph, *id)).count(),
            }
        });
        summary.spec = Some(spec_network(graph, spec));
        summary.training = training.as_ref().map(|state| Training {
            epochs: state.epoch,
            steps: state.step,
            best: state.best.as_ref().map(|best| Best {
                epoch: best.epoch,
                monitor: best.monitor.clone(),
                value: best.value,
            }),
        });
        Ok(summary)
    }
}

/// A checkpoint is checked when it is read.
fn contradiction(error: ParamsError) -> Failure {
    Failure::bug(error.to_string())
}

/// Parameters of a layer, the ranges of its quantisers not counted.
fn parameters(specs: &[ParamSpec], graph: &Graph, layer: &oxidet_graph::Layer) -> u64 {
    let owns = |spec: &&ParamSpec| layer.nodes.iter().any(|id| graph.node(*id).name == spec.layer);
    specs.iter().filter(owns).map(|spec| spec.shape.iter().product::<usize>() as u64).sum()
}

/// Compares a network with that of its spec.
fn spec_network(graph: &Graph, spec: &str) -> SpecNetwork {
    let checked = parse_experiment("spec", spec).and_then(|parsed| lint::check(parsed, Verb::Export)).ok();
    let Some(described) = checked.and_then(|spec| net::build(&NetConfig::from_spec(&spec)).ok()) else {
        return SpecNetwork::Unreadable;
    };
    let differences = GraphDifferences::between(&described.graph, graph);
    let parameters = described.graph.param_count() as u64;
    if differences.is_empty() {
        SpecNetwork::Same
    } else if differences.is_pruning() {
        SpecNetwork::Pruned { parameters }
    } else {
        SpecNetwork::Other { parameters }
    }
}
