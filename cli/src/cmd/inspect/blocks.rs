//! The blocks of the backbone.

use std::collections::BTreeMap;

use oxidet_graph::{Detector, Graph, MapShape, Op, ParamKind};

use crate::columns::{Align, columns};
use crate::exit::Failure;
use crate::numbers::thousands;

/// One block of the backbone.
#[derive(Default)]
struct Block<'a> {
    convolutions: Vec<&'a str>,
    parameters: usize,
    output: Option<MapShape>,
}

/// A table of them, and what freezing does to them.
pub fn blocks(detector: &Detector) -> Result<String, Failure> {
    let graph: &Graph = &detector.graph;
    let (height, width) = (detector.preprocess.height, detector.preprocess.width);
    let shapes = graph.shapes(height, width).map_err(|error| Failure::data(error.to_string()))?;
    let mut blocks: BTreeMap<u16, Block<'_>> = BTreeMap::new();
    for (node, shape) in graph.nodes().iter().zip(shapes) {
        let Some(block) = node.block else { continue };
        let block = blocks.entry(block).or_default();
        if matches!(node.op, Op::Conv2d(_)) {
            block.convolutions.push(&node.name);
        }
        block.output = Some(shape);
    }
    for spec in graph.param_specs().iter().filter(|spec| spec.kind != ParamKind::Amax) {
        let block = graph.find(&spec.layer).and_then(|id| graph.node(id).block);
        if let Some(block) = block.and_then(|block| blocks.get_mut(&block)) {
            block.parameters += spec.shape.iter().product::<usize>();
        }
    }
    let heads = [
        ("block", Align::Right),
        ("convs", Align::Right),
        ("parameters", Align::Right),
        ("stride", Align::Right),
        ("convolutions", Align::Left),
    ];
    let rows = blocks.iter().map(|(id, block)| {
        let names = match block.convolutions[..] {
            [first, .., last] => format!("{first} … {last}"),
            [only] => only.to_owned(),
            [] => String::new(),
        };
        [
            id.to_string(),
            block.convolutions.len().to_string(),
            thousands(block.parameters as u64),
            block.output.map_or(0, |shape| height / shape.height.max(1)).to_string(),
            names,
        ]
    });
    let rows: Vec<_> = rows.collect();
    Ok(format!(
        "{}\n\nfreeze_blocks keeps the convolutions of the blocks it names; freeze_bn makes the batch norms of all blocks keep their \
         statistics, while scale and offset go on training.",
        columns(heads, &rows)
    ))
}
