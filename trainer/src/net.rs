//! The YOLOv4 networks of TAO as graphs.
//!
//! ```text
//! image ─► backbone ─┬─ top ─► SPP ─► expand ─┐
//!                    ├─ c4 ───────────────────┼─► PAN ──► heads      resnet
//!                    └─ c3 ───────────────────┘
//! image ─► backbone ─┬─ c5, c4 (, c3) ───────────► FCN ──► heads     cspdarknet_tiny, cspdarknet_tiny_3l
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
mod freeze;
mod head;
mod init;
mod layer;
mod neck;

#[cfg(test)]
pub(crate) mod golden;

pub use config::{NetConfig, NetError, PerHead};
pub use freeze::Freeze;
pub use init::init_params;

use oxidet_graph::{Activation, Detector, GraphBuilder};

use backbone::resnet;
use config::Arch;
use layer::{Unit, k3_s2};
use neck::{pan, spp, tiny};

/// Builds the network that `config` describes.
///
/// # Errors
/// [`NetError`] names the value of the spec that makes no network.
pub fn build(config: &NetConfig) -> Result<Detector, NetError> {
    let arch = Arch::of(config)?;
    config.check(arch)?;
    let mut graph = GraphBuilder::new();
    let image = graph.input(config.preprocess.channels);
    let neck_unit = Unit {
        activation: if config.force_relu { Activation::Relu } else { Activation::LeakyRelu },
        suffix: "lrelu",
    };

    let branches = match arch {
        Arch::Resnet(depth) => {
            let pyramid = resnet::build(&mut graph, image, depth);
            let pooled = spp::build(&mut graph, neck_unit, pyramid.top);
            let c5 = neck_unit.append(&mut graph, "yolo_expand_conv1", pooled, k3_s2(depth.expanded()));
            pan::build(&mut graph, neck_unit, [c5, pyramid.c4, pyramid.c3], depth.neck_widths())
        }
        Arch::CspDarknetTiny { three_heads } => {
            let unit = Unit { activation: config.darknet_activation(), suffix: "mish" };
            let pyramid = backbone::cspdarknet_tiny::build(&mut graph, unit, image);
            let c3 = three_heads.then_some(pyramid.c3);
            tiny::build(&mut graph, neck_unit, pyramid.top, pyramid.c4, c3)
        }
    };
    head::finish(graph, branches, config, arch)
}
