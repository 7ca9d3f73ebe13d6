//! What a network costs to run.

use crate::{Detector, Graph, Op, ShapeError};

impl Graph {
    /// Multiplications with additions (MACs) of every node, in node order, for one image of `height` × `width` pixels. Those of
    /// convolutions; everything else is small beside them and counts nothing.
    ///
    /// # Errors
    /// When the image does not fit the network.
    pub fn macs(&self, height: usize, width: usize) -> Result<Vec<u64>, ShapeError> {
        let shapes = self.shapes(height, width)?;
        let macs = self.nodes().iter().zip(&shapes).map(|(node, output)| match node.op {
            Op::Conv2d(conv) => {
                let inputs = self.node(node.inputs[0]).channels / conv.groups;
                output.len() as u64 * (inputs * conv.kernel * conv.kernel) as u64
            }
            _ => 0,
        });
        Ok(macs.collect())
    }
}

impl Detector {
    /// MACs of the whole network, for one image of its input size. See [`Graph::macs`].
    ///
    /// # Errors
    /// When the network does not fit its own input.
    pub fn macs(&self) -> Result<u64, ShapeError> {
        Ok(self.graph.macs(self.preprocess.height, self.preprocess.width)?.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Conv2d, GraphBuilder, Padding};

    #[test]
    fn a_convolution_costs_its_window_at_every_output() {
        let mut g = GraphBuilder::new();
        let image = g.input(3);
        let conv =
            Conv2d { filters: 8, kernel: 3, stride: 2, padding: Padding::all(1), groups: 1, bias: true };
        let half = g.conv("half", image, conv);
        g.conv("depthwise", half, Conv2d { groups: 8, stride: 1, ..conv });
        let macs = g.finish().macs(32, 64).unwrap();
        assert_eq!(macs, [0, 8 * 16 * 32 * 3 * 9, 8 * 16 * 32 * 9]);
    }
}
