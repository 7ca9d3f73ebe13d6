//! The heads: one 1×1 convolution with bias for each branch, and the geometry that reads its map.

use oxidet_graph::{Conv2d, Detector, DetectorHead, GraphBuilder, NodeId};
use oxidet_vision::Head;

use super::config::{Arch, NetConfig, NetError};
use super::layer::k1;
use super::neck::Branches;

/// Appends the heads and computes their strides.
pub(super) fn finish(
    mut graph: GraphBuilder,
    branches: Branches,
    config: &NetConfig,
    arch: Arch,
) -> Result<Detector, NetError> {
    let (anchors, grid) = (&config.anchors, &config.grid_xy_extend);
    let mut head = |name: &str, branch: NodeId, anchors: &[(f32, f32)], grid_xy_extend: f32| {
        let filters = anchors.len() * (5 + config.classes.len());
        let output = graph.conv(name, branch, Conv2d { bias: true, ..k1(filters) });
        (output, anchors.to_vec(), grid_xy_extend)
    };
    let mut heads = vec![
        head("conv_big_object", branches.big, &anchors.big, grid.big),
        head("conv_mid_object", branches.mid, &anchors.mid, grid.mid),
    ];
    if let Some(small) = branches.small {
        heads.push(head("conv_sm_object", small, &anchors.small, grid.small));
    }

    let graph = graph.finish();
    let (width, height) = (config.preprocess.width, config.preprocess.height);
    let shapes = graph.shapes(height, width)?;
    let relative = |(w, h): (f32, f32)| (w / width as f32, h / height as f32);
    let heads = heads
        .into_iter()
        .map(|(output, anchors, grid_xy_extend)| DetectorHead {
            output,
            geometry: Head {
                stride: height / shapes[output.index()].height,
                anchors: anchors.into_iter().map(relative).collect(),
                grid_xy_extend,
            },
        })
        .collect();
    Ok(Detector {
        arch: arch.name(config),
        graph,
        heads,
        classes: config.classes.clone(),
        preprocess: config.preprocess.clone(),
    })
}
