//! GoogLeNet (Szegedy et al. 2015) with batch norms, as TAO builds it: pools of 2×2, and none before 5a (16 in total).
//!
//! Blocks: 0 is everything before 3a, 1–9 are the inception modules.

use oxidet_graph::{Activation, Conv2d, GraphBuilder, MaxPool, NodeId, Padding};

use super::{Pyramid, halve};
use crate::net::layer::{conv, conv_bn_act, k1, k3};

/// Widths of one inception module.
struct Inception {
    id: &'static str,
    k1: usize,
    k3_reduce: usize,
    k3: usize,
    k5_reduce: usize,
    k5: usize,
    pool: usize,
}

const fn inception(id: &'static str, widths: [usize; 6]) -> Inception {
    let [k1, k3_reduce, k3, k5_reduce, k5, pool] = widths;
    Inception { id, k1, k3_reduce, k3, k5_reduce, k5, pool }
}

const MODULES: [Inception; 9] = [
    inception("3a", [64, 96, 128, 16, 32, 32]),
    inception("3b", [128, 128, 192, 32, 96, 64]),
    inception("4a", [192, 96, 208, 16, 48, 64]),
    inception("4b", [160, 112, 224, 24, 64, 64]),
    inception("4c", [128, 128, 256, 24, 64, 64]),
    inception("4d", [112, 144, 288, 32, 64, 64]),
    inception("4e", [256, 160, 320, 32, 128, 128]),
    inception("5a", [256, 160, 320, 32, 128, 128]),
    inception("5b", [384, 192, 384, 48, 128, 128]),
];

/// Appends the backbone. The finer maps are the outputs of 5a and 4e, both at stride 16.
pub(in crate::net) fn build(graph: &mut GraphBuilder, image: NodeId) -> Pyramid {
    graph.set_block(Some(0));
    let map = stem_unit(graph, "conv1", image, conv(7, 2, 64));
    let map = halve(graph, "pool1", map);
    let map = stem_unit(graph, "conv2_reduce", map, k1(64));
    let map = stem_unit(graph, "conv2", map, k3(192));
    let mut map = halve(graph, "pool2", map);
    let mut outputs = Vec::with_capacity(MODULES.len());
    for (block, module) in (1u16..).zip(&MODULES) {
        if module.id == "4a" {
            map = halve(graph, "pool3", map);
        }
        graph.set_block(Some(block));
        map = append(graph, module, map);
        outputs.push(map);
    }
    graph.set_block(None);
    Pyramid { top: outputs[8], c4: outputs[7], c3: outputs[6] }
}

fn append(graph: &mut GraphBuilder, module: &Inception, input: NodeId) -> NodeId {
    let name = |layer: &str| format!("inception_{}_{layer}", module.id);
    let narrow = unit(graph, name("1x1"), input, k1(module.k1));
    let reduced = unit(graph, name("3x3_reduce"), input, k1(module.k3_reduce));
    let middle = unit(graph, name("3x3"), reduced, k3(module.k3));
    let reduced = unit(graph, name("5x5_reduce"), input, k1(module.k5_reduce));
    let wide = unit(graph, name("5x5"), reduced, conv(5, 1, module.k5));
    let pool = MaxPool { kernel: 3, stride: 1, padding: Padding::all(1) };
    let pooled = graph.max_pool(name("pool"), input, pool);
    let pooled = unit(graph, name("pool_proj"), pooled, k1(module.pool));
    graph.concat(name("output"), &[narrow, middle, wide, pooled])
}

fn unit(graph: &mut GraphBuilder, name: String, input: NodeId, conv: Conv2d) -> NodeId {
    let names = [name.clone(), format!("{name}_bn"), format!("{name}_relu")];
    conv_bn_act(graph, names, input, conv, Activation::Relu)
}

/// As [`unit`], with the names of the layers before 3a.
fn stem_unit(graph: &mut GraphBuilder, name: &str, input: NodeId, conv: Conv2d) -> NodeId {
    let names = [name.to_owned(), format!("bn_{name}"), format!("{name}_relu")];
    conv_bn_act(graph, names, input, conv, Activation::Relu)
}
