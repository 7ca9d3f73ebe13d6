//! The YOLOv4 networks of TAO as graphs.
//!
//! ```text
//! image ─► backbone ─► top, c4, c3 ─► levels (SPP, expansions) ─► PAN ─► heads     all but
//! image ─► backbone ─► top, c4 (, c3) ──────────────────────────► FCN ─► heads     cspdarknet_tiny(_3l)
//! ```
//!
//! Every layer has the original's name, so Keras weights import by name. Layers that the original leaves to Keras'
//! counters get names of ours: an activation or sum takes the name of what it completes (`conv1_relu`, `block_1a_add`),
//! a concatenation or enlargement that of the convolution that reads it (`yolo_conv3_1_concat`), a pool of SPP its
//! window (`yolo_spp_pool_5`).
//!
//! One deviation from the original: SPP pads its pools with −∞ where training there pads with 0 (the exported
//! networks there pad with −∞ too).

mod backbone;
mod config;
mod fit;
mod freeze;
mod head;
mod init;
mod layer;
mod neck;

#[cfg(test)]
pub(crate) mod golden;

pub use config::{NetConfig, NetError, PerHead};
pub use fit::check_fits;
pub use freeze::Freeze;
pub use init::init_params;

use oxidet_graph::{Detector, GraphBuilder, NodeId};

use backbone::{
    Pyramid, cspdarknet, cspdarknet_tiny, darknet, efficientnet_b0, googlenet, mobilenet_v1, mobilenet_v2,
    resnet, squeezenet, vgg,
};
use config::Arch;
use layer::Unit;
use neck::{levels, pan, tiny};

/// Builds the network that `config` describes.
///
/// # Errors
/// [`NetError`] names the value of the spec that makes no network.
pub fn build(config: &NetConfig) -> Result<Detector, NetError> {
    let arch = Arch::of(config)?;
    config.check(arch)?;
    let mut graph = GraphBuilder::new();
    let image = graph.input(config.preprocess.channels);
    let leaky = Unit { activation: config.leaky_activation(), suffix: "lrelu" };
    let pyramid = backbone(&mut graph, leaky, image, arch, config);
    let branches = match arch {
        Arch::CspDarknetTiny { three_heads } => {
            let c3 = three_heads.then_some(pyramid.c3);
            tiny::build(&mut graph, leaky, pyramid.top, pyramid.c4, c3)
        }
        _ => {
            let (maps, widths) = levels::build(&mut graph, leaky, &pyramid, arch);
            pan::build(&mut graph, leaky, maps, widths)
        }
    };
    head::finish(graph, branches, config, arch)
}

fn backbone(graph: &mut GraphBuilder, leaky: Unit, image: NodeId, arch: Arch, config: &NetConfig) -> Pyramid {
    let csp = Unit { activation: config.csp_activation(), suffix: "mish" };
    match arch {
        Arch::Resnet(depth) => resnet::build(graph, image, depth),
        Arch::Vgg(depth) => vgg::build(graph, image, depth),
        Arch::Darknet(depth) => darknet::build(graph, leaky, image, depth),
        Arch::CspDarknet(depth) => cspdarknet::build(graph, csp, image, depth),
        Arch::CspDarknetTiny { .. } => cspdarknet_tiny::build(graph, csp, image),
        Arch::Googlenet => googlenet::build(graph, image),
        Arch::MobilenetV1 => mobilenet_v1::build(graph, image),
        Arch::MobilenetV2 => mobilenet_v2::build(graph, image),
        Arch::Squeezenet => squeezenet::build(graph, image),
        Arch::EfficientnetB0 => efficientnet_b0::build(graph, image),
    }
}
