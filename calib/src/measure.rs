//! Running a model over images and counting what its tensors hold.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use oxidet_graph::onnx::{
    self, BOXES, Batch, FloatType, NmsTail, QUANTIZED_OPSET, SCORES, WriteError, WriteOptions, rounded_tensor,
};
use oxidet_graph::{Activation, Detector, NodeId, Op, Params};
use oxidet_runtime::{Artifact, ArtifactError, PrepareError, Taps};
use oxidet_vision::{NetworkError, NmsConfig, RawDetections};
use rayon::prelude::*;

use crate::{Histogram, Method};

/// What stops a measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// Nothing to measure on.
    #[error("calibration needs at least one image")]
    NoImages,
    /// The network cannot be exported.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What was exported cannot be read.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// What was exported does not run.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// It failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A tensor overflowed.
    #[error(
        "image {image} makes `{tensor}` hold values that are no finite numbers; the model cannot be quantised"
    )]
    NotFinite {
        /// Place of the image in the list.
        image: usize,
        /// Name of the tensor.
        tensor: String,
    },
}

/// What the tensors of a model held, in the order of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    tensors: Vec<(String, Histogram)>,
}

/// Runs a float network, as it is exported with a suppression node, on `images` images and counts the values of its tensors. Its batch norms are folded. `load`
/// gives the tensor `[C, H, W]` of an image by its number; `done` hears how many are finished. Images are worked on by all threads;
/// the result does not depend on how many.
///
/// # Errors
/// [`MeasureError`], or what `load` fails with.
pub fn measure<E: From<MeasureError> + Send>(
    detector: &Detector,
    params: &Params,
    (tail, nms): (NmsTail, &NmsConfig),
    images: usize,
    load: impl Fn(usize) -> Result<Vec<f32>, E> + Sync,
    done: impl Fn(usize) + Sync,
) -> Result<Measured, E> {
    if images == 0 {
        return Err(MeasureError::NoImages.into());
    }
    let taps = taps(detector, params, tail, nms)?;
    let names: Vec<String> = {
        let behind = tail.float_outputs().iter().map(|name| (*name).to_owned());
        taps.names().iter().cloned().chain(behind).collect()
    };
    let histograms: Vec<Mutex<Histogram>> = names.iter().map(|_| Mutex::default()).collect();
    let finished = AtomicUsize::new(0);
    let one = |image: usize| -> Result<(), E> {
        let input = load(image)?;
        let mut overflowed = None;
        let mut add = |at: usize, values: &[f32]| {
            let mut histogram = histograms[at].lock().expect("counting does not panic");
            if !histogram.add(values) {
                overflowed.get_or_insert(at);
            }
        };
        let classes = detector.classes.len();
        let mut raw = RawDetections { batch: 1, classes, ..RawDetections::default() };
        let run = taps.run(&input, &mut |at, values| {
            match taps.names()[at].as_str() {
                BOXES => raw.boxes = values.to_vec(),
                SCORES => raw.scores = values.to_vec(),
                _ => {}
            }
            add(at, values);
        });
        run.map_err(MeasureError::from)?;
        raw.candidates = raw.boxes.len() / 4;
        for (at, values) in (taps.names().len()..names.len()).zip(suppressed(&raw, nms)) {
            add(at, &values);
        }
        if let Some(at) = overflowed {
            return Err(MeasureError::NotFinite { image, tensor: names[at].clone() }.into());
        }
        done(finished.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(())
    };
    // The first image sets the widths of the bins.
    one(0)?;
    (1..images).into_par_iter().try_for_each(one)?;
    let histograms = histograms.into_iter().map(|h| h.into_inner().expect("counting does not panic"));
    Ok(Measured { tensors: names.into_iter().zip(histograms).collect() })
}

fn taps(detector: &Detector, params: &Params, tail: NmsTail, nms: &NmsConfig) -> Result<Taps, MeasureError> {
    let options = WriteOptions {
        opset: QUANTIZED_OPSET,
        batch: Batch::Dynamic,
        tail,
        nms: *nms,
        score_bits: 0,
        float: FloatType::F32,
    };
    let model = onnx::write(detector, params, &options)?.to_bytes();
    Ok(Taps::new(&Artifact::load(&model, None)?)?)
}

/// Boxes, scores and classes as the suppression node gives them; unused places hold 0, 0 and class −1.
fn suppressed(raw: &RawDetections, nms: &NmsConfig) -> [Vec<f32>; 3] {
    let found = raw.suppress(0, nms);
    let unused = nms.keep_top_k.saturating_sub(found.len());
    let boxes = found.iter().flat_map(|d| [d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2]);
    let fill = |value: f32, count: usize| std::iter::repeat_n(value, count);
    [
        boxes.chain(fill(0.0, 4 * unused)).collect(),
        found.iter().map(|d| d.score).chain(fill(0.0, unused)).collect(),
        found.iter().map(|d| d.class as f32).chain(fill(-1.0, unused)).collect(),
    ]
}

impl Measured {
    /// Tensors with what they held, in the order of the graph.
    pub fn tensors(&self) -> &[(String, Histogram)] {
        &self.tensors
    }

    /// What a tensor held.
    pub fn of(&self, tensor: &str) -> Option<&Histogram> {
        self.tensors.iter().find(|(name, _)| name == tensor).map(|(_, histogram)| histogram)
    }

    /// The range of each tensor, in the order of the graph; 0 for one that held zeros only. `detector` is the network as it is written:
    /// batch norms folded.
    ///
    /// The method chooses the ranges of its layers, but not of all. Images fill their range, gates and what is decoded from the heads
    /// rarely reach the ends of theirs, and these are what counts: they keep their largest value. What a head reads is large where an
    /// object is, and entropy, which cares for the many small values, would clip that: there the square error decides.
    pub fn ranges(&self, method: Method, detector: &Detector) -> Vec<(String, f32)> {
        let graph = &detector.graph;
        let heads: Vec<NodeId> = detector.heads.iter().map(|head| head.output).collect();
        let read_by_head = |id| heads.iter().any(|head| graph.node(*head).inputs.contains(&id));
        let chosen: BTreeMap<&str, Method> = graph
            .ids()
            .map(|id| {
                let method = match graph.node(id).op {
                    Op::Input { .. } | Op::Activation(Activation::Sigmoid) => Method::MinMax,
                    _ if heads.contains(&id) => Method::MinMax,
                    _ if method == Method::Entropy && read_by_head(id) => Method::Mse,
                    _ => method,
                };
                (rounded_tensor(graph, id), method)
            })
            .collect();
        let of = |(name, histogram): &(String, Histogram)| {
            let method = chosen.get(name.as_str()).copied().unwrap_or(Method::MinMax);
            (name.clone(), method.amax(histogram))
        };
        self.tensors.par_iter().map(of).collect()
    }
}
