//! What a network is built from, and what can be wrong with it.

use oxidet_graph::{Activation, Detector, ShapeError, preprocess_from_spec};
use oxidet_proto::lint::Checked;
use oxidet_proto::spec::arch::ARCHS;
use oxidet_vision::Preprocess;

use super::backbone::{darknet, resnet, vgg};

/// One value for each head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerHead<T> {
    /// The head of the largest stride.
    pub big: T,
    /// The head in the middle.
    pub mid: T,
    /// The head of the smallest stride; unused by `cspdarknet_tiny`, which has two heads.
    pub small: T,
}

/// The part of a spec that decides the network.
///
/// `arch_conv_blocks` is not here: YOLOv4 accepts it and gives it no effect.
#[derive(Clone, Debug, PartialEq)]
pub struct NetConfig {
    /// One of [`ARCHS`].
    pub arch: String,
    /// Depth of a `resnet`, `vgg`, `darknet` or `cspdarknet`. Unused by the others.
    pub nlayers: u32,
    /// Activation of a CSPDarkNet backbone: `mish`, `relu`, or LeakyReLU for anything else. Unused by the others.
    pub activation: String,
    /// ReLU instead of LeakyReLU in the neck and the DarkNet backbones, and whatever `activation` says in CSPDarkNet's.
    pub force_relu: bool,
    /// Anchors (width, height) in pixels of the base input size. Their order is the channel layout.
    pub anchors: PerHead<Vec<(f32, f32)>>,
    /// By how much a predicted centre may leave its cell, in cells, both sides together.
    pub grid_xy_extend: PerHead<f32>,
    /// Class names, in class-id order.
    pub classes: Vec<String>,
    /// The input: its size, channels and normalisation.
    pub preprocess: Preprocess,
}

/// A spec that makes no network.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// No network of this name.
    #[error("arch `{0}` is not known; it can be {known}", known = arch_names())]
    UnknownArch(String),
    /// No network of this depth.
    #[error("{arch} has no variant of {nlayers} layers; nlayers is one of {known}")]
    UnknownDepth {
        /// The architecture.
        arch: String,
        /// The depth asked for.
        nlayers: u32,
        /// The depths there are.
        known: String,
    },
    /// An input size that does not halve evenly down to stride 32.
    #[error("input size {width}x{height} does not work: both sides must be multiples of 32 and not 0")]
    InputSize {
        /// Pixels.
        width: usize,
        /// Pixels.
        height: usize,
    },
    /// An input beyond any memory.
    #[error("input size {width}x{height} is too large: at most {} pixels in all", Detector::MOST_PIXELS)]
    InputPixels {
        /// Pixels.
        width: usize,
        /// Pixels.
        height: usize,
    },
    /// Neither colour nor gray.
    #[error("images of {0} channels do not work; use 3 or 1")]
    Channels(usize),
    /// No classes.
    #[error("the list of target classes is empty")]
    NoClasses,
    /// A head with no anchors, or not as many as the big head.
    #[error("{field} has {found} anchors, it needs {expected}: every head has the same number, at least 1")]
    AnchorCount {
        /// Field of the spec.
        field: &'static str,
        /// Anchors found.
        found: usize,
        /// Anchors of the big head, or 1 when that has none.
        expected: usize,
    },
    /// An anchor without area.
    #[error("{field} has an anchor of {width}x{height} pixels; both must be positive numbers")]
    Anchor {
        /// Field of the spec.
        field: &'static str,
        /// Pixels.
        width: f32,
        /// Pixels.
        height: f32,
    },
    /// A grid extension that is no share of a cell.
    #[error("{field} is {value}; it must be 0 or more")]
    GridExtend {
        /// Field of the spec.
        field: &'static str,
        /// The value.
        value: f32,
    },
    /// Maps that do not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

fn arch_names() -> String {
    ARCHS.iter().map(|arch| arch.name).collect::<Vec<_>>().join(", ")
}

/// An architecture with its variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arch {
    Resnet(resnet::Depth),
    Vgg(vgg::Depth),
    Darknet(darknet::Depth),
    CspDarknet(darknet::Depth),
    CspDarknetTiny { three_heads: bool },
    Googlenet,
    MobilenetV1,
    MobilenetV2,
    Squeezenet,
    EfficientnetB0,
}

impl Arch {
    pub(super) fn of(config: &NetConfig) -> Result<Self, NetError> {
        Ok(match config.arch.as_str() {
            "resnet" => Self::Resnet(depth(config, &resnet::Depth::ALL)?),
            "vgg" => Self::Vgg(depth(config, &vgg::Depth::ALL)?),
            "darknet" => Self::Darknet(depth(config, &darknet::Depth::ALL)?),
            "cspdarknet" => Self::CspDarknet(depth(config, &darknet::Depth::ALL)?),
            "cspdarknet_tiny" => Self::CspDarknetTiny { three_heads: false },
            "cspdarknet_tiny_3l" => Self::CspDarknetTiny { three_heads: true },
            "googlenet" => Self::Googlenet,
            "mobilenet_v1" => Self::MobilenetV1,
            "mobilenet_v2" => Self::MobilenetV2,
            "squeezenet" => Self::Squeezenet,
            "efficientnet_b0" => Self::EfficientnetB0,
            other => return Err(NetError::UnknownArch(other.to_owned())),
        })
    }

    /// The architecture as the spec names it, with its depth where it has several.
    pub(super) fn name(self, config: &NetConfig) -> String {
        match self {
            Self::Resnet(_) | Self::Vgg(_) | Self::Darknet(_) | Self::CspDarknet(_) => {
                format!("{}{}", config.arch, config.nlayers)
            }
            _ => config.arch.clone(),
        }
    }

    fn has_small_head(self) -> bool {
        self != Self::CspDarknetTiny { three_heads: false }
    }
}

/// The variant of this many layers.
fn depth<D: Copy>(config: &NetConfig, all: &[(u32, D)]) -> Result<D, NetError> {
    let known = all.iter().find(|(nlayers, _)| *nlayers == config.nlayers);
    known.map(|(_, depth)| *depth).ok_or_else(|| NetError::UnknownDepth {
        arch: config.arch.clone(),
        nlayers: config.nlayers,
        known: all.iter().map(|(nlayers, _)| nlayers.to_string()).collect::<Vec<_>>().join(", "),
    })
}

impl NetConfig {
    /// The network of a spec.
    pub fn from_spec(spec: &Checked) -> Self {
        let (net, anchors) = (spec.yolov4(), spec.anchors());
        Self {
            arch: net.arch.clone(),
            nlayers: net.nlayers,
            activation: net.activation.clone(),
            force_relu: net.force_relu,
            anchors: PerHead {
                big: anchors.big.clone(),
                mid: anchors.mid.clone(),
                small: anchors.small.clone(),
            },
            grid_xy_extend: PerHead {
                big: net.big_grid_xy_extend,
                mid: net.mid_grid_xy_extend,
                small: net.small_grid_xy_extend,
            },
            classes: spec.classes().names().to_vec(),
            preprocess: preprocess_from_spec(spec.augmentation()),
        }
    }

    /// Activation of the neck and the DarkNet backbones.
    pub(super) fn leaky_activation(&self) -> Activation {
        if self.force_relu { Activation::Relu } else { Activation::LeakyRelu }
    }

    /// Activation of the CSPDarkNet backbones. Any word the original does not know means LeakyReLU there.
    pub(super) fn csp_activation(&self) -> Activation {
        match self.activation.as_str() {
            _ if self.force_relu => Activation::Relu,
            "mish" => Activation::Mish,
            "relu" => Activation::Relu,
            _ => Activation::LeakyRelu,
        }
    }

    pub(super) fn check(&self, arch: Arch) -> Result<(), NetError> {
        let Preprocess { width, height, channels, .. } = self.preprocess;
        if width == 0 || height == 0 || width % 32 != 0 || height % 32 != 0 {
            return Err(NetError::InputSize { width, height });
        }
        if width.checked_mul(height).is_none_or(|pixels| pixels > Detector::MOST_PIXELS) {
            return Err(NetError::InputPixels { width, height });
        }
        if channels != 3 && channels != 1 {
            return Err(NetError::Channels(channels));
        }
        if self.classes.is_empty() {
            return Err(NetError::NoClasses);
        }
        let heads = [
            ("big_anchor_shape", &self.anchors.big, "big_grid_xy_extend", self.grid_xy_extend.big),
            ("mid_anchor_shape", &self.anchors.mid, "mid_grid_xy_extend", self.grid_xy_extend.mid),
            ("small_anchor_shape", &self.anchors.small, "small_grid_xy_extend", self.grid_xy_extend.small),
        ];
        let expected = self.anchors.big.len().max(1);
        for (field, anchors, grid_field, grid) in &heads[..if arch.has_small_head() { 3 } else { 2 }] {
            if anchors.len() != expected {
                return Err(NetError::AnchorCount { field, found: anchors.len(), expected });
            }
            let is_side = |side: f32| side.is_finite() && side > 0.0;
            if let Some(&(width, height)) = anchors.iter().find(|(w, h)| !is_side(*w) || !is_side(*h)) {
                return Err(NetError::Anchor { field, width, height });
            }
            if !(grid.is_finite() && *grid >= 0.0) {
                return Err(NetError::GridExtend { field: grid_field, value: *grid });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{build, golden};

    #[test]
    fn a_spec_that_makes_no_network_is_refused_by_name() {
        let refused = |net, change: fn(&mut NetConfig)| {
            let mut config = golden::config(net);
            change(&mut config);
            build(&config).unwrap_err().to_string()
        };
        let (resnet, tiny) = (("resnet", 18, "", false), ("cspdarknet_tiny", 0, "", false));
        assert!(refused(("resnet", 20, "", false), |_| ()).contains("10, 18, 34, 50, 101"));
        assert!(refused(("alexnet", 0, "", false), |_| ()).contains("`alexnet`"));
        assert!(refused(tiny, |config| config.preprocess.width = 100).contains("100x64"));
        assert!(refused(tiny, |config| config.preprocess.width = 1 << 40).contains("too large"));
        assert!(refused(tiny, |config| config.preprocess.height = 0).contains("96x0"));
        assert!(refused(tiny, |config| config.preprocess.channels = 2).contains("2 channels"));
        assert!(refused(tiny, |config| config.classes.clear()).contains("classes"));
        let error = refused(resnet, |config| config.anchors.small.truncate(2));
        assert!(error.starts_with("small_anchor_shape has 2 anchors, it needs 3"), "{error}");
        assert!(refused(tiny, |config| config.anchors.big.clear()).starts_with("big_anchor_shape has 0"));
        assert!(refused(tiny, |config| config.anchors.mid[1].0 = f32::NAN).starts_with("mid_anchor_shape"));
        assert!(refused(tiny, |config| config.grid_xy_extend.mid = -0.1).starts_with("mid_grid_xy_extend"));
    }

    #[test]
    fn two_heads_need_no_small_anchors() {
        let mut config = golden::config(("cspdarknet_tiny", 0, "", false));
        config.anchors.small.clear();
        let detector = build(&config).unwrap();
        assert_eq!(detector.validate(), Ok(()));
        assert_eq!(detector.geometry().iter().map(|head| head.stride).collect::<Vec<_>>(), [32, 16]);
    }

    #[test]
    fn activations_follow_the_original() {
        use Activation::{LeakyRelu, Mish, Relu};
        let found = |net, layer: &str| {
            let detector = golden::detector(net);
            match detector.graph.node(detector.graph.find(layer).unwrap()).op {
                oxidet_graph::Op::Activation(activation) => activation,
                op => panic!("{layer} is {op:?}"),
            }
        };
        for (word, force_relu, backbone, neck) in [
            ("", false, LeakyRelu, LeakyRelu),
            ("mish", false, Mish, LeakyRelu),
            ("relu", false, Relu, LeakyRelu),
            ("swish", false, LeakyRelu, LeakyRelu),
            ("mish", true, Relu, Relu),
        ] {
            let tiny = ("cspdarknet_tiny", 0, word, force_relu);
            assert_eq!(
                (found(tiny, "conv_0_mish"), found(tiny, "yolo_conv2_lrelu")),
                (backbone, neck),
                "{tiny:?}"
            );
            let darknet = ("darknet", 19, word, force_relu);
            assert_eq!(found(darknet, "conv1_lrelu"), neck, "{darknet:?}");
            let efficientnet = ("efficientnet_b0", 0, word, force_relu);
            assert_eq!(found(efficientnet, "top_activation"), Activation::Swish, "{efficientnet:?}");
            let resnet = ("resnet", 10, word, force_relu);
            assert_eq!(
                (found(resnet, "block_1a_relu"), found(resnet, "yolo_conv2_lrelu")),
                (Relu, neck),
                "{resnet:?}"
            );
        }
    }
}
