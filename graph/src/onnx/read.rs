//! The network of a model that [`write`] wrote.
//!
//! The metadata entry `network` has the graph, the initializers have its parameters. A description can be wrong: somebody may have changed
//! the model and left it. So it counts only if writing the network again gives the same model, node for node and weight for weight.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use oxidet_proto::onnx::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};
use serde::{Deserialize, Serialize};

use super::{Metadata, WriteOptions, cut, decode, write};
use crate::quantization::amax_of_step;
use crate::{Detector, DetectorHead, Graph, NodeId, ParamKind, ParamSpec, Params, Tensor};

const ENTRY: &str = "network";

/// What [`Metadata`] does not have of a detector.
#[derive(Serialize, Deserialize)]
struct Description<'a> {
    graph: Cow<'a, Graph>,
    /// The nodes of the heads' maps.
    outputs: Vec<NodeId>,
}

/// The metadata entry of a detector's network.
pub(super) fn describe(detector: &Detector) -> StringStringEntryProto {
    let outputs = detector.heads.iter().map(|head| head.output).collect();
    let description = Description { graph: Cow::Borrowed(&detector.graph), outputs };
    let json = serde_json::to_string(&description).expect("names and numbers make JSON");
    StringStringEntryProto::new(ENTRY, &json)
}

/// The detector and the parameters of a model without its suppression node (see [`cut`]) that was written with `options`. None of a model
/// that does not describe its network, as those of other programs, or is not what it describes.
pub fn read(model: &ModelProto, options: &WriteOptions) -> Option<(Detector, Params)> {
    let found = model.graph.as_ref()?;
    let metadata = Metadata::read(model).ok()??;
    let Description { graph, outputs } = serde_json::from_str(model.metadata(ENTRY)?).ok()?;
    if outputs.len() != metadata.heads.len() {
        return None;
    }
    let heads = outputs.into_iter().zip(metadata.heads);
    let detector = Detector {
        arch: found.name.clone(),
        graph: graph.into_owned(),
        heads: heads.map(|(output, geometry)| DetectorHead { output, geometry }).collect(),
        classes: metadata.labels,
        preprocess: metadata.preprocess,
    };
    detector.validate().ok()?;
    // Before anything is made of a size that nothing but the description says.
    if detector.graph.nodes().len() > found.node.len() + 1 {
        return None;
    }
    let constants = constants(found)?;
    let params = params(&detector, &constants)?;
    let candidates = constants.get(decode::OF_EACH_CANDIDATE)?.to_f32s().ok()?.len();
    if detector.candidates().ok()? != candidates {
        return None;
    }
    let mut again = write(&detector, &params, options).ok()?.graph?;
    cut(&mut again).ok()?;
    (again == *found).then_some((detector, params))
}

/// The constants of a graph by name. None of a graph in which two values have one name: who reads it cannot know which is meant.
fn constants(graph: &GraphProto) -> Option<HashMap<&str, &TensorProto>> {
    let inputs = graph.input.iter().map(|input| &input.name);
    let made = graph.node.iter().flat_map(|node| &node.output);
    let constants = graph.initializer.iter().map(|tensor| &tensor.name);
    let mut names = HashSet::new();
    if !inputs.chain(made).chain(constants).all(|name| names.insert(name)) {
        return None;
    }
    Some(graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect())
}

fn params(detector: &Detector, constants: &HashMap<&str, &TensorProto>) -> Option<Params> {
    let floats = |name: &str| constants.get(name)?.to_f32s().ok();
    let read = |ParamSpec { name, layer, kind, shape }: ParamSpec| {
        let data = match kind {
            ParamKind::Amax => {
                let [step] = floats(&format!("{layer}/scale"))?[..] else { return None };
                vec![amax_of_step(step)]
            }
            _ => floats(&name)?,
        };
        let len = shape.iter().try_fold(1usize, |len, side| len.checked_mul(*side))?;
        (data.len() == len).then(|| (name, Tensor::new(shape, data)))
    };
    detector.graph.param_specs().into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use oxidet_vision::NmsConfig;

    use super::super::tests::{detector, options};
    use super::super::{Batch, FloatType, NmsTail};
    use super::*;

    /// A model as a file has it, cut.
    fn written(options: &WriteOptions) -> ModelProto {
        let (detector, params) = detector();
        let mut model = write(&detector, &params, options).unwrap();
        cut(model.graph.as_mut().unwrap()).unwrap();
        model
    }

    #[test]
    fn what_is_written_is_read() {
        for tail in NmsTail::ALL {
            for batch in [Batch::Dynamic, Batch::Static(2)] {
                let options = options(13, batch, tail);
                assert_eq!(read(&written(&options), &options), Some(detector()), "{tail:?} {batch:?}");
            }
        }
    }

    #[test]
    fn what_was_changed_is_not() {
        let options = options(13, Batch::Dynamic, NmsTail::Batched);
        let changes: [&dyn Fn(&mut ModelProto); 7] = [
            &|model| model.graph.as_mut().unwrap().node[0].attribute.clear(),
            &|model| model.graph.as_mut().unwrap().node[3].op_type = "Relu".into(),
            &|model| drop(model.graph.as_mut().unwrap().node.pop()),
            &|model| model.graph.as_mut().unwrap().initializer[0].name.push('x'),
            &|model| model.graph.as_mut().unwrap().initializer.retain(|tensor| tensor.name != "box/x_cap"),
            &|model| model.graph.as_mut().unwrap().output.reverse(),
            &|model| model.metadata_props.retain(|entry| entry.key != ENTRY),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut model = written(&options);
            change(&mut model);
            assert_eq!(read(&model, &options), None, "change {at}");
        }
        let model = written(&options);
        let other = NmsConfig { keep_top_k: 7, ..options.nms };
        // The node is gone, and its settings with it.
        assert!(read(&model, &WriteOptions { nms: other, ..options }).is_some());
        assert!(read(&model, &WriteOptions { float: FloatType::F16, ..options }).is_none());
    }

    #[test]
    fn a_name_means_one_value() {
        let options = options(13, Batch::Dynamic, NmsTail::Batched);
        let mut model = written(&options);
        let graph = model.graph.as_mut().unwrap();
        graph.initializer.push(graph.initializer[0].clone());
        assert_eq!(read(&model, &options), None);
    }

    /// A description alone must not make anything large, nor be taken for what the nodes do not say.
    #[test]
    fn sizes_of_a_description_are_checked_first() {
        let options = options(13, Batch::Dynamic, NmsTail::Batched);
        let mut model = written(&options);
        for (key, from, to) in [
            ("preprocess", "16", "4096"),
            ("heads", "\"stride\":4", "\"stride\":9223372036854775812"),
            ("network", "\"filters\":4", "\"filters\":6148914691236517206"),
            ("network", "\"factor\":2", "\"factor\":9223372036854775810"),
        ] {
            let whole = model.clone();
            let entry = model.metadata_props.iter_mut().find(|entry| entry.key == key).unwrap();
            assert!(entry.value.contains(from), "{}", entry.value);
            entry.value = entry.value.replace(from, to);
            assert_eq!(read(&model, &options), None, "{key}");
            model = whole;
        }
    }
}
