//! A graph with what its input and outputs mean.

use oxidet_vision::{Head, Preprocess};
use serde::{Deserialize, Serialize};

use crate::{Graph, NodeId, Op, ShapeError};

/// One output of the network: the map of raw predictions at one stride.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectorHead {
    /// The node whose map holds `A · (5 + K)` channels.
    pub output: NodeId,
    /// Stride, anchors and grid scale: how the map decodes into boxes.
    pub geometry: Head,
}

/// A detection network: everything needed to turn a preprocessed image into boxes, but for the parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    /// Architecture as the spec names it, with its depth: `resnet18`, `cspdarknet_tiny`.
    pub arch: String,
    /// The network.
    pub graph: Graph,
    /// Its outputs: big objects (largest stride) first.
    pub heads: Vec<DetectorHead>,
    /// Class names; a class id is an index into this list.
    pub classes: Vec<String>,
    /// What the input expects.
    pub preprocess: Preprocess,
}

impl Detector {
    /// Pixels of the largest input: 4096 x 4096. Beyond, the maps of a network fill any memory.
    pub const MOST_PIXELS: usize = 1 << 24;

    /// The geometry of all heads, in output order.
    pub fn geometry(&self) -> Vec<Head> {
        self.heads.iter().map(|head| head.geometry.clone()).collect()
    }

    /// Candidate boxes of an image.
    ///
    /// # Errors
    /// When the network does not fit its input size.
    pub fn candidates(&self) -> Result<usize, ShapeError> {
        let shapes = self.graph.shapes(self.preprocess.height, self.preprocess.width)?;
        let of_head = |head: &DetectorHead| {
            let shape = shapes[head.output.index()];
            shape.height * shape.width * head.geometry.anchors.len()
        };
        Ok(self.heads.iter().map(of_head).sum())
    }

    /// The same detector around a graph made from its own, where `new_ids` says which node each old one has become.
    pub(crate) fn rebuilt(&self, graph: Graph, new_ids: &[NodeId]) -> Self {
        let head = |head: &DetectorHead| DetectorHead {
            output: new_ids[head.output.index()],
            geometry: head.geometry.clone(),
        };
        Self { graph, heads: self.heads.iter().map(head).collect(), ..self.clone() }
    }

    /// Checks what a detector read from a file must keep.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn validate(&self) -> Result<(), String> {
        self.graph.validate()?;
        let Some(Op::Input { channels }) = self.graph.nodes().first().map(|node| node.op) else {
            return Err("the graph does not begin with its input".into());
        };
        if self.graph.nodes()[1..].iter().any(|node| matches!(node.op, Op::Input { .. })) {
            return Err("the graph has a second input".into());
        }
        let mean = &self.preprocess.mean;
        if mean.len() != channels || !mean.iter().all(|mean| mean.is_finite()) {
            return Err(format!(
                "image_mean has {} values for {channels} channels, or one is no number",
                mean.len()
            ));
        }
        if ![8, 16].contains(&self.preprocess.depth) {
            return Err(format!("it reads images of {} bits per channel", self.preprocess.depth));
        }
        let Preprocess { width, height, .. } = self.preprocess;
        if width.checked_mul(height).is_none_or(|pixels| pixels > Self::MOST_PIXELS) {
            return Err(format!(
                "it reads images of {width}x{height} pixels, more than {} in all",
                Self::MOST_PIXELS
            ));
        }
        if channels != self.preprocess.channels {
            return Err(format!(
                "the graph reads {channels} channels, the preprocessing makes another number"
            ));
        }
        if self.heads.is_empty() || self.classes.is_empty() {
            return Err("it has no heads or no classes".into());
        }
        for head in &self.heads {
            let is_side = |side: &f32| side.is_finite() && *side > 0.0;
            let geometry = &head.geometry;
            if geometry.anchors.iter().any(|(w, h)| !is_side(w) || !is_side(h))
                || !geometry.grid_xy_extend.is_finite()
            {
                return Err("an anchor or grid_xy_extend is no sound number".into());
            }
            let Some(node) = self.graph.nodes().get(head.output.index()) else {
                return Err("a head names a node that is not there".into());
            };
            if node.channels != head.geometry.anchors.len() * (5 + self.classes.len()) {
                return Err(format!(
                    "head `{}` has {} channels, which fits neither anchors nor classes",
                    node.name, node.channels
                ));
            }
        }
        let shapes = self
            .graph
            .shapes(self.preprocess.height, self.preprocess.width)
            .map_err(|error| error.to_string())?;
        for head in &self.heads {
            let (map, stride) = (shapes[head.output.index()], head.geometry.stride);
            let sides = (map.height.checked_mul(stride), map.width.checked_mul(stride));
            if sides != (Some(self.preprocess.height), Some(self.preprocess.width)) {
                return Err(format!(
                    "head `{}` does not have stride {stride}",
                    self.graph.node(head.output).name
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl Detector {
    /// A detector around `graph` for tests that care about nothing else.
    pub(crate) fn for_tests(graph: Graph, output: NodeId) -> Self {
        Self {
            arch: "test".into(),
            heads: vec![DetectorHead {
                output,
                geometry: Head { stride: 1, anchors: vec![(0.5, 0.5)], grid_xy_extend: 0.0 },
            }],
            classes: vec!["thing".into()],
            preprocess: Preprocess::new(32, 32, 1),
            graph,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv2d, GraphBuilder, Padding};

    #[test]
    fn what_a_file_must_keep() {
        let mut builder = GraphBuilder::new();
        let image = builder.input(1);
        let conv =
            Conv2d { filters: 6, kernel: 1, stride: 1, padding: Padding::default(), groups: 1, bias: true };
        let output = builder.conv("head", image, conv);
        let good = Detector::for_tests(builder.finish(), output);
        assert_eq!(good.validate(), Ok(()));
        for break_it in [
            (|d: &mut Detector| d.preprocess.mean.clear()) as fn(&mut Detector),
            |d| d.preprocess.width = 1 << 40,
            |d| (d.preprocess.width, d.preprocess.height) = (1 << 13, 1 << 12),
            |d| d.preprocess.mean[0] = f32::NAN,
            |d| d.preprocess.channels = 3,
            |d| d.heads[0].geometry.anchors[0].0 = f32::INFINITY,
            |d| d.heads[0].geometry.anchors[0].1 = 0.0,
            |d| d.heads[0].geometry.grid_xy_extend = f32::NAN,
            |d| d.heads[0].geometry.stride = 2,
            |d| d.heads[0].geometry.anchors.push((0.1, 0.1)),
            |d| d.heads.clear(),
            |d| d.classes.clear(),
        ] {
            let mut bad = good.clone();
            break_it(&mut bad);
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
