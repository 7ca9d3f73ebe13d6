//! Which tensors INT8 hurts.
//!
//! Every quantised tensor in turn is left in float, with the layers that read it, and the network is compared with its float self on a
//! few images: what comes back is what that tensor costs.

use std::collections::{BTreeMap, BTreeSet};

use oxidet_graph::Checkpoint;
use oxidet_graph::onnx::rounded_tensor;
use oxidet_graph::quantization::QuantizedMaps;
use oxidet_vision::{Network, NetworkError, NormBox, RawDetections, iou};

use crate::quantize::{quantizers, readers};
use crate::{Measured, QuantizeError, quantize};

/// Candidates below this score in both networks are not compared.
const SEEN: f32 = 0.1;
/// A tensor that gives back less than this share is not worth leaving in float.
const WORTH_IT: f64 = 0.02;
/// Layers are left in float until this share of the disagreement remains …
const ENOUGH: f64 = 0.5;
/// … or this many tensors are.
const MOST_SUGGESTED: usize = 6;

/// A quantised tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorReport {
    /// Its name in the exported model.
    pub tensor: String,
    /// The range it is rounded with: its own, or the largest of those it shares it with.
    pub amax: f32,
    /// Largest magnitude seen.
    pub max: f32,
    /// Share of its values beyond the range.
    pub clipped: f64,
    /// Signal over rounding noise, in decibels.
    pub sqnr: f64,
    /// Layers that read it.
    pub readers: Vec<String>,
    /// Share of the disagreement that goes away when it alone stays in float. Negative when there is more of it.
    pub regained: f64,
}

/// What each tensor costs, and what to do about it.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerReport {
    /// Of the float and the INT8 network: the mean of |difference of scores| + (1 − IoU) over the candidates that either gives a score
    /// of at least 0.1.
    pub disagreement: f64,
    /// The tensors, the costliest first.
    pub tensors: Vec<TensorReport>,
    /// Layers to leave in float.
    pub suggested: Vec<String>,
    /// The disagreement that remains then.
    pub remaining: f64,
}

/// What stops a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerReportError {
    /// The network cannot be quantised.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// A network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// There is nothing to compare.
    #[error(
        "the network sees nothing on the {0} sample images, so there is nothing to compare; give more images with objects"
    )]
    NothingSeen(usize),
}

/// What is examined.
#[derive(Clone, Copy, Debug)]
pub struct LayerReportRequest<'a> {
    /// The float network.
    pub checkpoint: &'a Checkpoint,
    /// What its tensors held.
    pub measured: &'a Measured,
    /// Their ranges.
    pub ranges: &'a BTreeMap<String, f32>,
    /// Layers that stay in float in any case.
    pub float_layers: &'a BTreeSet<String>,
    /// Tensors `[C, H, W]` of the images to compare on.
    pub images: &'a [Vec<f32>],
}

/// Examines a network. `prepare` makes one ready to run; `done` hears how many tensors are examined, of how many.
///
/// # Errors
/// [`LayerReportError`], or what `prepare` fails with.
pub fn layer_report<E: From<LayerReportError>>(
    request: &LayerReportRequest<'_>,
    prepare: impl Fn(&Checkpoint) -> Result<Box<dyn Network>, E>,
    done: &mut dyn FnMut(usize, usize),
) -> Result<LayerReport, E> {
    let own = |error| E::from(LayerReportError::Quantize(error));
    let with_float = |more: &[String]| -> Result<Checkpoint, E> {
        let float = request.float_layers.iter().chain(more).cloned().collect();
        Ok(quantize(request.checkpoint, request.ranges, &float).map_err(own)?.checkpoint)
    };
    let outputs = run(&mut *prepare(request.checkpoint)?, request.images).map_err(LayerReportError::from)?;
    let cost = |checkpoint: &Checkpoint| -> Result<f64, E> {
        let other = run(&mut *prepare(checkpoint)?, request.images).map_err(LayerReportError::from)?;
        Ok(disagreement(&outputs, &other).ok_or(LayerReportError::NothingSeen(request.images.len()))?)
    };

    let quantized = with_float(&[])?;
    let graph = &quantized.detector.graph;
    let maps = QuantizedMaps::of(graph);
    let base = cost(&quantized)?;
    let share = |remaining: f64| if base > 0.0 { (base - remaining) / base } else { 0.0 };
    let all: Vec<_> = quantizers(graph).collect();
    let mut tensors = Vec::with_capacity(all.len());
    for (at, quantizer) in all.iter().enumerate() {
        let tensor = rounded_tensor(graph, *quantizer).to_owned();
        let readers = readers(graph, *quantizer);
        let remaining = cost(&with_float(&readers)?)?;
        let amax = maps.amax(graph, &quantized.params, *quantizer).map_err(|error| own(error.into()))?;
        let held = request.measured.of(&tensor);
        tensors.push(TensorReport {
            amax,
            max: held.map_or(0.0, |held| held.max()),
            clipped: held.map_or(0.0, |held| held.share_above(amax)),
            sqnr: held.and_then(|held| held.sqnr(amax)).unwrap_or(0.0),
            readers,
            regained: share(remaining),
            tensor,
        });
        done(at + 1, all.len());
    }
    tensors.sort_by(|a, b| b.regained.total_cmp(&a.regained));

    let mut suggested: Vec<String> = Vec::new();
    let mut remaining = base;
    for tensor in tensors.iter().take(MOST_SUGGESTED).filter(|tensor| tensor.regained >= WORTH_IT) {
        if remaining <= ENOUGH * base {
            break;
        }
        let mut more = suggested.clone();
        more.extend(tensor.readers.iter().filter(|reader| !suggested.contains(reader)).cloned());
        let with_more = cost(&with_float(&more)?)?;
        // Two tensors that both cost much may cost it together.
        if with_more < remaining {
            (suggested, remaining) = (more, with_more);
        }
    }
    Ok(LayerReport { disagreement: base, tensors, suggested, remaining })
}

fn run(network: &mut dyn Network, images: &[Vec<f32>]) -> Result<RawDetections, NetworkError> {
    let mut all = RawDetections::default();
    for image in images {
        let mut raw = RawDetections::default();
        network.run(image, 1, &mut raw)?;
        all.append(&raw, 1);
    }
    Ok(all)
}

/// How far apart two networks are in what either sees on the same images: 1 − IoU + the largest difference of a score, mean over the
/// candidates; 0 where they agree, 2 at most. None when neither sees anything.
pub fn disagreement(a: &RawDetections, b: &RawDetections) -> Option<f64> {
    let (mut sum, mut seen) = (0.0, 0usize);
    for ((scores_a, box_a), (scores_b, box_b)) in candidates(a).zip(candidates(b)) {
        if scores_a.iter().chain(scores_b).all(|score| *score < SEEN) {
            continue;
        }
        let largest = scores_a.iter().zip(scores_b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let corners = |&[x1, y1, x2, y2]: &[f32; 4]| NormBox { x1, y1, x2, y2 };
        sum += f64::from(largest) + f64::from(1.0 - iou(&corners(box_a), &corners(box_b)));
        seen += 1;
    }
    (seen > 0).then(|| sum / seen as f64)
}

/// Scores and corners of all candidates of all images.
fn candidates(raw: &RawDetections) -> impl Iterator<Item = (&[f32], &[f32; 4])> {
    raw.scores.chunks_exact(raw.classes.max(1)).zip(raw.boxes.as_chunks().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_either_sees_is_compared() {
        // Two images of one candidate and two classes.
        let with = |scores: [f32; 4], right: f32| RawDetections {
            batch: 2,
            candidates: 1,
            classes: 2,
            boxes: vec![0.0, 0.0, 1.0, 1.0, 0.0, 0.0, right, 1.0],
            scores: scores.to_vec(),
            suppressed: false,
        };
        let a = with([0.9, 0.0, 0.05, 0.5], 1.0);
        assert_eq!(disagreement(&a, &a), Some(0.0));
        // Nothing is off in the first image; in the second half of the box is, and the second class by 0.25.
        let apart = disagreement(&a, &with([0.9, 0.0, 0.05, 0.25], 0.5)).unwrap();
        assert!((apart - (0.5 + 0.25) / 2.0).abs() < 1e-6, "{apart}");
        let nothing = with([0.05; 4], 1.0);
        assert_eq!(disagreement(&nothing, &nothing), None);
    }
}
