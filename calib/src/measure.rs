//! Running a model over images and counting what its tensors hold.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use oxidet_graph::onnx::{BOXES, SCORES, rounded_tensor};
use oxidet_graph::{Activation, Detector, NodeId, Op};
use oxidet_runtime::Taps;
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
    /// The model failed.
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

/// The suppression behind a model, whose outputs are tensors too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suppression<'a> {
    /// Its settings.
    pub nms: NmsConfig,
    /// Names of its float outputs: boxes, scores, class ids.
    pub outputs: [&'a str; 3],
    /// Number of classes.
    pub classes: usize,
}

/// What the tensors of a model held, in the order of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    tensors: Vec<(String, Histogram)>,
}

/// Runs the model on `images` images and counts the values of its tensors. `load` gives the tensor `[C, H, W]` of an image by its number;
/// `done` hears of every image that is finished. Images are worked on by all threads; the result does not depend on how many.
///
/// # Errors
/// [`MeasureError`], or what `load` fails with.
pub fn measure<E: From<MeasureError> + Send>(
    taps: &Taps,
    suppression: &Suppression<'_>,
    images: usize,
    load: &(dyn Fn(usize) -> Result<Vec<f32>, E> + Sync),
    done: &(dyn Fn(usize) + Sync),
) -> Result<Measured, E> {
    if images == 0 {
        return Err(MeasureError::NoImages.into());
    }
    let names: Vec<String> =
        taps.names().iter().cloned().chain(suppression.outputs.map(str::to_owned)).collect();
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
        let mut raw = RawDetections { batch: 1, classes: suppression.classes, ..RawDetections::default() };
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
        for (at, values) in (taps.names().len()..).zip(suppressed(&raw, &suppression.nms)) {
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
        self.tensors.iter().map(of).collect()
    }
}
