//! Shapes of maps.

use std::fmt;

use crate::{Detector, Graph, Op, Padding};

/// Values of the largest map of an image: 64 channels of the largest input. Beyond, maps fill any memory.
const MOST_VALUES: usize = 64 * Detector::MOST_PIXELS;

/// Channels, height and width of one map (the batch axis is left out).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl MapShape {
    /// Elements of one image's map.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether the map holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for MapShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}]", self.channels, self.height, self.width)
    }
}

/// Two maps, or a map and a window, that do not fit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// A window larger than the padded map.
    #[error("{node}: a window of {kernel} does not fit into a padded map of {height}x{width}")]
    WindowTooLarge {
        /// Name of the node.
        node: String,
        /// Window side.
        kernel: usize,
        /// Padded height.
        height: usize,
        /// Padded width.
        width: usize,
    },
    /// A map that fills any memory.
    #[error("{node}: its map has more than {MOST_VALUES} values")]
    TooLarge {
        /// Name of the node.
        node: String,
    },
    /// A gate that is not one cell a channel.
    #[error("{node}: its gate is {gate}, it must be one cell a channel")]
    Gate {
        /// Name of the node.
        node: String,
        /// Shape of the gate.
        gate: MapShape,
    },
    /// Inputs of an add or concat with different sizes.
    #[error(
        "{node}: inputs of {first} and {other} cannot be joined; the image sides must be multiples of 32"
    )]
    Mismatch {
        /// Name of the node.
        node: String,
        /// Shape of the first input.
        first: MapShape,
        /// Shape that does not fit.
        other: MapShape,
    },
}

impl Graph {
    /// The shape of every node's map, in node order, for images of `height` × `width` pixels.
    ///
    /// # Errors
    /// [`ShapeError`] when the image is too small or its sides do not halve evenly through the network.
    pub fn shapes(&self, height: usize, width: usize) -> Result<Vec<MapShape>, ShapeError> {
        let mut shapes: Vec<MapShape> = Vec::with_capacity(self.nodes().len());
        for node in self.nodes() {
            let input = |i: usize| shapes[node.inputs[i].index()];
            let windowed = |kernel, stride, padding: Padding| {
                let map = input(0);
                let padded = |side: usize, before: usize, after: usize| {
                    side.saturating_add(before).saturating_add(after)
                };
                let (height, width) = (
                    padded(map.height, padding.top, padding.bottom),
                    padded(map.width, padding.left, padding.right),
                );
                if height < kernel || width < kernel {
                    return Err(ShapeError::WindowTooLarge {
                        node: node.name.clone(),
                        kernel,
                        height,
                        width,
                    });
                }
                Ok(((height - kernel) / stride + 1, (width - kernel) / stride + 1))
            };
            let (height, width) = match node.op {
                Op::Input { .. } => (height, width),
                Op::Conv2d(conv) => windowed(conv.kernel, conv.stride, conv.padding)?,
                Op::MaxPool(pool) => windowed(pool.kernel, pool.stride, pool.padding)?,
                Op::Upsample { factor } => {
                    (input(0).height.saturating_mul(factor), input(0).width.saturating_mul(factor))
                }
                Op::BatchNorm(_)
                | Op::Activation(_)
                | Op::ChannelSlice { .. }
                | Op::DropPath { .. }
                | Op::FakeQuantize => (input(0).height, input(0).width),
                Op::GlobalAveragePool => (1, 1),
                Op::Scale => {
                    let gate = input(1);
                    if (gate.height, gate.width) != (1, 1) {
                        return Err(ShapeError::Gate { node: node.name.clone(), gate });
                    }
                    (input(0).height, input(0).width)
                }
                Op::Concat | Op::Add => {
                    let first = input(0);
                    for i in 1..node.inputs.len() {
                        let other = input(i);
                        if (other.height, other.width) != (first.height, first.width) {
                            return Err(ShapeError::Mismatch { node: node.name.clone(), first, other });
                        }
                    }
                    (first.height, first.width)
                }
            };
            let values = height.checked_mul(width).and_then(|cells| cells.checked_mul(node.channels));
            if values.is_none_or(|values| values > MOST_VALUES) {
                return Err(ShapeError::TooLarge { node: node.name.clone() });
            }
            shapes.push(MapShape { channels: node.channels, height, width });
        }
        Ok(shapes)
    }
}
