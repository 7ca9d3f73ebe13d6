//! Files with our layer names: checkpoints of ours, Keras models of TAO.
//!
//! As in TAO, the backbone must be there whole, and what fits of neck and heads comes along. Unlike there, a network for gray images can
//! start from one for colour images.

use std::collections::{BTreeMap, BTreeSet};

use oxidet_graph::{Detector, Op, ParamKind, ParamSpec, Params, Tensor};

use super::input::CAFFE;
use super::source::{Program, Source};
use super::{Adaptation, LoadError, LoadReport, backbone, some};

/// Weights of the backbone's kernels that the file has under our names.
pub(super) fn score(detector: &Detector, source: &Source) -> usize {
    let prefix = prefix(detector, source);
    let names = backbone_layers(detector);
    let specs = detector.graph.param_specs();
    let kernels =
        specs.iter().filter(|spec| spec.kind == ParamKind::Kernel && names.contains(spec.layer.as_str()));
    kernels
        .filter(|spec| source.has_kernel(&format!("{prefix}{}", spec.layer), kernel_shape(spec)))
        .map(|spec| spec.shape.iter().product::<usize>())
        .sum()
}

/// Copies by name and shape.
pub(super) fn copy(
    detector: &Detector,
    source: &Source,
    start: Params,
) -> Result<(Params, LoadReport), LoadError> {
    let specs = detector.graph.param_specs();
    if source.program == Program::Torch || score(detector, source) == 0 {
        return Err(LoadError::Unmatched {
            arch: detector.arch.clone(),
            found: some(source.names_and_shapes()),
            expected: some(specs.iter().map(|spec| format!("`{}` {:?}", spec.name, spec.shape))),
        });
    }
    let prefix = prefix(detector, source);
    let backbone = backbone_layers(detector);
    let mut params = start;
    let mut report = LoadReport {
        source: format!("{} with our names", source.what),
        backbone_share: 1.0,
        ..LoadReport::default()
    };
    let mut used = BTreeSet::new();
    let mut shifts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for spec in &specs {
        let layer = format!("{prefix}{}", spec.layer);
        used.insert(source.name(&layer, spec.kind));
        let found = match spec.kind {
            ParamKind::Kernel => source.kernel(&layer, kernel_shape(spec))?,
            kind => source
                .vector(&layer, kind, spec.shape[0])
                .map(|values| Tensor::new(spec.shape.clone(), values.to_vec())),
        };
        let found = match found {
            None => gray(detector, source, spec, &layer)?.map(|(kernel, shift)| {
                report.adapted.entry(Adaptation::Gray).or_default().push(spec.name.clone());
                shifts.insert(spec.layer.clone(), shift);
                kernel
            }),
            found => {
                report.loaded.extend(found.is_some().then(|| spec.name.clone()));
                found
            }
        };
        match found {
            Some(tensor) => params.insert(spec.name.as_str(), tensor),
            None => {
                let what = match source.shape(&layer, spec.kind) {
                    Some(found) => {
                        format!("`{}` has shape {found:?}, this network needs {:?}", spec.name, spec.shape)
                    }
                    None => format!("`{}` is not in it", spec.name),
                };
                if backbone.contains(spec.layer.as_str()) {
                    return Err(LoadError::Backbone(format!(
                        "{what}, and the backbone must be there whole; is the file for another arch than {}, or a pruned model, \
                         which pruned_model_path takes?",
                        detector.arch
                    )));
                }
                let why = if source.shape(&layer, spec.kind).is_some() {
                    "it has another shape in the file"
                } else {
                    "it is not in the file"
                };
                report.missing.push((spec.name.clone(), why.into()));
            }
        }
    }
    for (layer, shift) in shifts {
        add_shift(detector, &layer, &shift, &mut params);
    }
    report.unused = source.names().filter(|name| !used.contains(*name)).map(str::to_owned).collect();
    Ok((params, report))
}

/// The first layer for gray images from one for colour images, with what is to be added to its outputs.
fn gray(
    detector: &Detector,
    source: &Source,
    spec: &ParamSpec,
    layer: &str,
) -> Result<Option<(Tensor, Vec<f64>)>, LoadError> {
    let [filters, inputs, k, _] = kernel_shape(spec);
    let is_first = detector.graph.nodes().iter().any(|node| {
        node.name == spec.layer
            && node.inputs.iter().any(|id| matches!(detector.graph.node(*id).op, Op::Input { .. }))
    });
    if spec.kind != ParamKind::Kernel || !is_first || inputs != 1 {
        return Ok(None);
    }
    let kernel = source.kernel(layer, [filters, 3, k, k])?;
    Ok(kernel.map(|kernel| CAFFE.fold(&kernel, &detector.preprocess)))
}

/// Adds a constant to the outputs of a convolution: in its bias, or before the batch norm behind it.
fn add_shift(detector: &Detector, layer: &str, shift: &[f64], params: &mut Params) {
    let graph = &detector.graph;
    let reader = graph.nodes().iter().find(|node| {
        matches!(node.op, Op::BatchNorm(_)) && node.inputs.iter().any(|id| graph.node(*id).name == layer)
    });
    let (name, sign) = match reader {
        Some(norm) => (ParamKind::MovingMean.of(&norm.name), -1.0),
        None => (ParamKind::Bias.of(layer), 1.0),
    };
    if let Some(tensor) = params.get_mut(&name) {
        for (value, shift) in tensor.data_mut().iter_mut().zip(shift) {
            *value = (f64::from(*value) + sign * shift) as f32;
        }
    }
}

/// What is before all names: the name of the network around, in a Keras model of models.
fn prefix(detector: &Detector, source: &Source) -> String {
    let specs = detector.graph.param_specs();
    let first = specs.first().map(|spec| source.name(&spec.layer, spec.kind)).unwrap_or_default();
    let mut before = source.names().filter_map(|name| name.strip_suffix(first.as_str()));
    before.find(|prefix| prefix.is_empty() || prefix.ends_with('/')).unwrap_or_default().to_owned()
}

fn backbone_layers(detector: &Detector) -> BTreeSet<&str> {
    backbone(detector).map(|id| detector.graph.node(id).name.as_str()).collect()
}

fn kernel_shape(spec: &ParamSpec) -> [usize; 4] {
    if let [filters, inputs, k, _] = spec.shape[..] {
        [filters, inputs, k, k]
    } else {
        [spec.shape[0], 1, 1, 1]
    }
}
