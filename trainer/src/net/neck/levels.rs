//! From a backbone's maps to the three levels of a PAN neck, whose strides differ by factors of 2.

use oxidet_graph::{Conv2d, GraphBuilder, NodeId};

use super::{Widths, spp};
use crate::net::backbone::Pyramid;
use crate::net::config::Arch;
use crate::net::layer::{Unit, k1, k3, k3_s2};

/// What lies between a backbone and the neck.
struct Levels {
    /// Whether the last map passes SPP.
    spp: bool,
    /// Filters of the convolution that halves it then.
    halved: Option<usize>,
    /// Convolution of the middle map.
    mid: Option<Conv2d>,
    /// Whether the fine map is as coarse as the middle one and is enlarged.
    enlarged: bool,
    /// Convolution of the fine map.
    fine: Option<Conv2d>,
    widths: Widths,
}

/// SPP and nothing else.
const PLAIN: Levels = Levels {
    spp: true,
    halved: None,
    mid: None,
    enlarged: false,
    fine: None,
    widths: Widths { c4: 256, c3: 128 },
};

const SLIM: Widths = Widths { c4: 128, c3: 64 };

impl Levels {
    fn of(arch: Arch) -> Self {
        match arch {
            Arch::Resnet(depth) if depth.is_bottleneck() => {
                Self { halved: Some(1024), enlarged: true, ..PLAIN }
            }
            Arch::Resnet(_) | Arch::MobilenetV1 => Self { halved: Some(512), widths: SLIM, ..PLAIN },
            Arch::Vgg(_) | Arch::Darknet(_) | Arch::CspDarknet(_) => PLAIN,
            Arch::Googlenet => {
                let (mid, fine) = (Some(k3(512)), Some(k3(256)));
                Self { halved: Some(1024), mid, enlarged: true, fine, ..PLAIN }
            }
            Arch::MobilenetV2 => Self { halved: Some(96), widths: Widths { c4: 32, c3: 16 }, ..PLAIN },
            Arch::Squeezenet => {
                let (mid, fine, widths) = (Some(k1(128)), Some(k1(128)), Widths { c4: 64, c3: 64 });
                Self { halved: Some(128), mid, fine, widths, ..PLAIN }
            }
            Arch::EfficientnetB0 => Self { spp: false, enlarged: true, fine: Some(k3(256)), ..PLAIN },
            Arch::CspDarknetTiny { .. } => unreachable!("it has a neck of its own"),
        }
    }
}

/// Appends the levels of `arch`. Returns them, coarsest first, and the widths of the neck.
pub(in crate::net) fn build(
    graph: &mut GraphBuilder,
    unit: Unit,
    pyramid: &Pyramid,
    arch: Arch,
) -> ([NodeId; 3], Widths) {
    let levels = Levels::of(arch);
    let mut c5 = pyramid.top;
    if levels.spp {
        c5 = spp::build(graph, unit, c5);
    }
    if let Some(filters) = levels.halved {
        c5 = unit.append(graph, "yolo_expand_conv1", c5, k3_s2(filters));
    }
    let mut c4 = pyramid.c4;
    if let Some(conv) = levels.mid {
        c4 = unit.append(graph, "expand_conv2", c4, conv);
    }
    let mut c3 = pyramid.c3;
    if levels.enlarged {
        let reader = if levels.fine.is_some() { "expand_conv3" } else { "yolo_x_branch_2" };
        c3 = graph.upsample(format!("{reader}_upsample"), c3, 2);
    }
    if let Some(conv) = levels.fine {
        c3 = unit.append(graph, "expand_conv3", c3, conv);
    }
    ([c5, c4, c3], levels.widths)
}
