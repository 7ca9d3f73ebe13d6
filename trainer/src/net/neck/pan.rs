//! The path aggregation neck of YOLOv4 (Liu et al. 2018; Bochkovskiy et al. 2020): top-down, then bottom-up.
//!
//! The last convolutions of the mid and big branches have fixed widths, whatever the backbone.

use oxidet_graph::{GraphBuilder, NodeId};

use super::{Branches, Widths};
use crate::net::layer::{Unit, k1, k3, k3_s2};

/// Appends the neck to maps at strides s, s/2 and s/4, coarsest first.
pub(in crate::net) fn build(
    graph: &mut GraphBuilder,
    unit: Unit,
    maps: [NodeId; 3],
    widths: Widths,
) -> Branches {
    let [c5, c4, c3] = maps;
    let (wide, slim) = (widths.c4, widths.c3);

    let p5 = unit.chain(
        graph,
        c5,
        &[("yolo_conv1_2", k3(4 * wide)), ("yolo_conv1_3", k1(2 * wide)), ("yolo_conv2", k1(wide))],
    );

    let enlarged = graph.upsample("upsample0", p5, 2);
    let lateral = unit.append(graph, "yolo_x_branch", c4, k1(wide));
    let joined = graph.concat("yolo_conv3_1_concat", &[enlarged, lateral]);
    let p4 = unit.chain(
        graph,
        joined,
        &[
            ("yolo_conv3_1", k1(wide)),
            ("yolo_conv3_2", k3(2 * wide)),
            ("yolo_conv3_3", k1(wide)),
            ("yolo_conv3_4", k3(2 * wide)),
            ("yolo_conv3_5", k1(wide)),
        ],
    );

    let reduced = unit.append(graph, "yolo_conv4", p4, k1(slim));
    let enlarged = graph.upsample("upsample1", reduced, 2);
    let lateral = unit.append(graph, "yolo_x_branch_2", c3, k1(slim));
    let joined = graph.concat("yolo_conv5_1_concat", &[enlarged, lateral]);
    let p3 = unit.chain(
        graph,
        joined,
        &[
            ("yolo_conv5_1", k1(slim)),
            ("yolo_conv5_2", k3(2 * slim)),
            ("yolo_conv5_3", k1(slim)),
            ("yolo_conv5_4", k3(2 * slim)),
            ("yolo_conv5_5", k1(slim)),
        ],
    );
    let small = unit.append(graph, "yolo_conv5_6", p3, k3(2 * slim));

    let halved = unit.append(graph, "yolo_sm_branch_conv", p3, k3_s2(wide));
    let joined = graph.concat("yolo_conv3_5_1_concat", &[p4, halved]);
    let n4 = unit.chain(
        graph,
        joined,
        &[
            ("yolo_conv3_5_1", k1(wide)),
            ("yolo_conv3_4_2", k3(2 * wide)),
            ("yolo_conv3_5_1_1", k1(wide)),
            ("yolo_conv3_6", k3(2 * wide)),
            ("md_leaky_conv512", k1(256)),
        ],
    );
    let halved = unit.append(graph, "md_leaky_conv512_down", n4, k3_s2(512));
    let mid = unit.append(graph, "md_leaky_conv1024", n4, k3(512));

    let joined = graph.concat("yolo_conv1_3_1_concat", &[p5, halved]);
    let big = unit.chain(
        graph,
        joined,
        &[
            ("yolo_conv1_3_1", k1(2 * wide)),
            ("yolo_conv1_4", k3(4 * wide)),
            ("yolo_conv1_5", k1(2 * wide)),
            ("yolo_conv1_6", k3(4 * wide)),
            ("bg_leaky_conv512", k1(512)),
            ("bg_leaky_conv1024", k3(1024)),
        ],
    );
    Branches { big, mid, small: Some(small) }
}
