//! The neck of YOLOv4-tiny: top-down only, without SPP.

use oxidet_graph::{GraphBuilder, NodeId};

use super::Branches;
use crate::net::layer::{Unit, k1, k3};

/// Appends the neck to maps at strides 32 and 16 and, for a third head, 8.
pub(in crate::net) fn build(
    graph: &mut GraphBuilder,
    unit: Unit,
    c5: NodeId,
    c4: NodeId,
    c3: Option<NodeId>,
) -> Branches {
    let p5 = unit.append(graph, "yolo_conv1_1", c5, k1(256));
    let big = unit.append(graph, "yolo_conv1_6", p5, k3(512));

    let reduced = unit.append(graph, "yolo_conv2", p5, k1(128));
    let enlarged = graph.upsample("upsample0", reduced, 2);
    let joined = graph.concat("yolo_conv3_6_concat", &[enlarged, c4]);
    let mid = unit.append(graph, "yolo_conv3_6", joined, k3(256));

    let small = c3.map(|c3| {
        let reduced = unit.append(graph, "yolo_conv4", mid, k1(64));
        let enlarged = graph.upsample("upsample1", reduced, 2);
        let joined = graph.concat("yolo_conv5_6_concat", &[enlarged, c3]);
        unit.append(graph, "yolo_conv5_6", joined, k3(128))
    });
    Branches { big, mid, small }
}
