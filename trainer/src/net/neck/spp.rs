//! Spatial pyramid pooling (He et al. 2015) as YOLOv4 uses it: the map beside its maxima over three window sizes.

use oxidet_graph::{GraphBuilder, MaxPool, NodeId, Padding};

use crate::net::layer::{Unit, k1, k3};

/// Window sides.
const WINDOWS: [usize; 3] = [5, 9, 13];

/// Appends the block to the backbone's last map; returns 512 channels at its size.
pub(in crate::net) fn build(graph: &mut GraphBuilder, unit: Unit, top: NodeId) -> NodeId {
    let map = unit.chain(
        graph,
        top,
        &[("yolo_neck_1", k1(512)), ("yolo_neck_2", k3(1024)), ("yolo_neck_3", k1(512))],
    );
    let pools = WINDOWS.map(|kernel| {
        let pool = MaxPool { kernel, stride: 1, padding: Padding::all(kernel / 2) };
        graph.max_pool(format!("yolo_spp_pool_{kernel}"), map, pool)
    });
    let joined = graph.concat("yolo_spp_concat", &[pools[0], pools[1], pools[2], map]);
    unit.append(graph, "yolo_spp_conv", joined, k1(512))
}
