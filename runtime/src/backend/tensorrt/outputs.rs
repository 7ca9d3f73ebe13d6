//! Which tensors of a plan are the detections, and how they become [`RawDetections`].

use oxidet_graph::onnx::NmsTail;
use oxidet_vision::RawDetections;

use super::plan::{Numbers, Tensor};

/// The outputs of an engine, by what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outputs {
    /// All candidates.
    Raw { boxes: String, scores: String, candidates: usize },
    /// What the engine's own suppression has left.
    Suppressed {
        tail: NmsTail,
        /// Number of detections, boxes, scores, class ids.
        names: [String; 4],
        /// Room for detections in an image.
        kept: usize,
        /// Class ids are integers.
        integers: bool,
    },
}

impl Outputs {
    /// Of a plan of a detector of so many classes. `raw` names boxes and scores of a
    /// model that is known to have no other outputs.
    pub fn of(tensors: &[Tensor], classes: usize, raw: Option<[&str; 2]>) -> Result<Self, String> {
        let outputs: Vec<&Tensor> = tensors.iter().filter(|tensor| !tensor.is_input).collect();
        let find = |name: &str| outputs.iter().copied().find(|tensor| tensor.name == name);
        let tails = if raw.is_none() { &[NmsTail::Batched, NmsTail::Efficient][..] } else { &[] };
        for tail in tails.iter().copied() {
            let found: Vec<&Tensor> = tail.outputs().iter().filter_map(|name| find(name)).collect();
            if let [count, boxes, scores, ids] = found[..] {
                return suppressed(tail, [count, boxes, scores, ids]);
            }
        }
        let [boxes, scores] = raw.unwrap_or(["boxes", "scores"]);
        if let (Some(boxes), Some(scores), 2) = (find(boxes), find(scores), outputs.len()) {
            return candidates(boxes, scores, classes);
        }
        let list: Vec<String> =
            outputs.iter().map(|output| format!("`{}` {}", output.name, output.shape())).collect();
        Err(format!(
            "its outputs are {}; an engine of a detector has `boxes` and `scores`, the four of BatchedNMS (`BatchedNMS`, \
            `BatchedNMS_1`, ...) or those of EfficientNMS (`num_detections`, ...)",
            list.join(", ")
        ))
    }

    /// Their names.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Raw { boxes, scores, .. } => vec![boxes, scores],
            Self::Suppressed { names, .. } => names.iter().map(String::as_str).collect(),
        }
    }

    /// Takes what a batch gave; the bytes are those of the outputs in the order of their [`names`](Self::names).
    pub fn read(
        &self,
        bytes: &[&[u8]],
        batch: usize,
        classes: usize,
        out: &mut RawDetections,
    ) -> Result<(), String> {
        match (self, bytes) {
            (Self::Raw { candidates, .. }, [boxes, scores]) => {
                out.resize(batch, *candidates, classes);
                out.suppressed = false;
                copy(boxes, &mut out.boxes)?;
                copy(scores, &mut out.scores)
            }
            (Self::Suppressed { kept, integers, .. }, [counts, boxes, scores, ids]) => {
                out.resize(batch, *kept, classes);
                out.suppressed = true;
                copy(boxes, &mut out.boxes)?;
                out.scores.fill(0.0);
                let counts = words(counts).map(i32::from_ne_bytes);
                for (image, count) in counts.take(batch).enumerate() {
                    let count = usize::try_from(count).ok().filter(|count| count <= kept);
                    let count = count.ok_or("the engine counts more detections than it has room for")?;
                    for at in image * kept..image * kept + count {
                        let id = word(ids, at)?;
                        let class = if *integers {
                            i64::from(i32::from_ne_bytes(id))
                        } else {
                            whole(f32::from_ne_bytes(id))
                        };
                        let class = usize::try_from(class).ok().filter(|class| *class < classes).ok_or_else(
                            || format!("the engine found class {class}; the labels are of {classes} classes"),
                        )?;
                        out.scores[at * classes + class] = f32::from_ne_bytes(word(scores, at)?);
                    }
                }
                Ok(())
            }
            _ => Err("the engine's outputs are not those it was opened with".into()),
        }
    }
}

fn candidates(boxes: &Tensor, scores: &Tensor, classes: usize) -> Result<Outputs, String> {
    let wrong =
        |tensor: &Tensor, what: &str| format!("output `{}` is {}, not {what}", tensor.name, tensor.shape());
    let candidates = match boxes.dims[..] {
        [_, Some(candidates), Some(4)] | [_, Some(candidates), Some(1), Some(4)] => candidates,
        _ => return Err(wrong(boxes, "boxes NxBx4")),
    };
    match scores.dims[..] {
        [_, Some(found), Some(k)] | [_, Some(found), Some(k), Some(1)] if found == candidates => {
            if k != classes {
                return Err(format!("the engine has scores of {k} classes; the labels are of {classes}"));
            }
        }
        _ => return Err(wrong(scores, &format!("scores of {candidates} boxes"))),
    }
    floats(boxes)?;
    floats(scores)?;
    Ok(Outputs::Raw { boxes: boxes.name.clone(), scores: scores.name.clone(), candidates })
}

fn suppressed(tail: NmsTail, [count, boxes, scores, ids]: [&Tensor; 4]) -> Result<Outputs, String> {
    let [_, Some(kept), Some(4)] = boxes.dims[..] else {
        return Err(format!("output `{}` is {}, not boxes NxKx4", boxes.name, boxes.shape()));
    };
    for (tensor, size) in [(count, 1), (scores, kept), (ids, kept)] {
        if tensor.per_image() != Some(size) {
            let (name, shape) = (&tensor.name, tensor.shape());
            return Err(format!("output `{name}` is {shape}, which does not fit {kept} boxes in an image"));
        }
    }
    floats(boxes)?;
    floats(scores)?;
    let integers = ids.numbers == Numbers::Int32;
    if !integers {
        floats(ids)?;
    }
    if count.numbers != Numbers::Int32 {
        return Err(format!("output `{}` does not hold 32-bit integers", count.name));
    }
    let names = [count, boxes, scores, ids].map(|tensor| tensor.name.clone());
    Ok(Outputs::Suppressed { tail, names, kept, integers })
}

fn floats(tensor: &Tensor) -> Result<(), String> {
    if tensor.numbers == Numbers::Float {
        return Ok(());
    }
    Err(format!(
        "`{}` holds {:?}, not Float: build the engine with inputs and outputs in single precision",
        tensor.name, tensor.numbers
    ))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    bytes.as_chunks().0.iter().copied()
}

fn word(bytes: &[u8], at: usize) -> Result<[u8; 4], String> {
    bytes.as_chunks().0.get(at).copied().ok_or_else(|| "the engine's outputs are too short".into())
}

fn copy(from: &[u8], to: &mut [f32]) -> Result<(), String> {
    if from.len() < size_of_val(to) {
        return Err("the engine's outputs are too short".into());
    }
    for (to, from) in to.iter_mut().zip(words(from)) {
        *to = f32::from_ne_bytes(from);
    }
    Ok(())
}

/// A class id in a float; -1 of what is none.
fn whole(id: f32) -> i64 {
    if id.fract() == 0.0 && (0.0..1e6).contains(&id) { id as i64 } else { -1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, numbers: Numbers, dims: &[usize]) -> Tensor {
        let dims: Vec<Option<usize>> =
            std::iter::once(None).chain(dims.iter().map(|dim| Some(*dim))).collect();
        Tensor { name: name.into(), is_input: false, numbers, dims, batch: (0, 0, 0) }
    }

    fn bytes<T: Copy, const N: usize>(values: &[T], to: impl Fn(T) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(|value| to(*value)).collect()
    }

    const FLOAT: Numbers = Numbers::Float;

    #[test]
    fn raw_outputs_go_by_name_and_have_the_classes_of_the_labels() {
        let tensors = [tensor("scores", FLOAT, &[5, 2]), tensor("boxes", FLOAT, &[5, 4])];
        let outputs = Outputs::of(&tensors, 2, None).unwrap();
        assert_eq!(outputs.names(), ["boxes", "scores"]);
        let error = Outputs::of(&tensors, 3, None).unwrap_err();
        assert_eq!(error, "the engine has scores of 2 classes; the labels are of 3");
        // As TAO's exporter shapes them, and under other names.
        let tensors = [tensor("b", FLOAT, &[5, 1, 4]), tensor("s", FLOAT, &[5, 2, 1])];
        assert_eq!(Outputs::of(&tensors, 2, Some(["b", "s"])).unwrap().names(), ["b", "s"]);
        let error = Outputs::of(&tensors, 2, None).unwrap_err();
        assert!(error.starts_with("its outputs are `b` ?x5x1x4, `s` ?x5x2x1;"), "{error}");
        let half = [tensor("scores", FLOAT, &[5, 2]), tensor("boxes", Numbers::Half, &[5, 4])];
        assert!(Outputs::of(&half, 2, None).unwrap_err().starts_with("`boxes` holds Half"));
    }

    #[test]
    fn suppressed_outputs_become_scores_of_one_class_each() {
        for (names, ids) in [
            (["BatchedNMS", "BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3"], FLOAT),
            (["num_detections", "detection_boxes", "detection_scores", "detection_classes"], Numbers::Int32),
        ] {
            let tensors = [
                tensor(names[0], Numbers::Int32, &[1]),
                tensor(names[1], FLOAT, &[3, 4]),
                tensor(names[2], FLOAT, &[3]),
                tensor(names[3], ids, &[3]),
            ];
            let outputs = Outputs::of(&tensors, 4, None).unwrap();
            assert_eq!(outputs.names(), names);
            let boxes: Vec<f32> = (0..24_u8).map(f32::from).collect();
            let scores = [0.9_f32, 0.8, 0.0, 0.7, 0.6, 0.5];
            let class = |ids: [i32; 6]| {
                if outputs.names()[0] == "BatchedNMS" {
                    bytes(&ids, |id| (id as f32).to_ne_bytes())
                } else {
                    bytes(&ids, i32::to_ne_bytes)
                }
            };
            let read = |counts: [i32; 2], ids: [i32; 6]| {
                let mut out = RawDetections::default();
                let bytes: [&[u8]; 4] = [
                    &bytes(&counts, i32::to_ne_bytes),
                    &bytes(&boxes, f32::to_ne_bytes),
                    &bytes(&scores, f32::to_ne_bytes),
                    &class(ids),
                ];
                outputs.read(&bytes, 2, 4, &mut out).map(|()| out)
            };
            let out = read([2, 1], [3, 0, -1, 1, -1, -1]).unwrap();
            assert!(out.suppressed && (out.batch, out.candidates, out.classes) == (2, 3, 4));
            assert_eq!(out.boxes, boxes);
            assert_eq!(out.image_scores(0), [0.0, 0.0, 0.0, 0.9, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
            assert_eq!(out.image_scores(1), [0.0, 0.7, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
            let error = read([1, 0], [4, 0, 0, 0, 0, 0]).unwrap_err();
            assert_eq!(error, "the engine found class 4; the labels are of 4 classes");
            assert!(read([4, 0], [0; 6]).is_err());
        }
    }
}
