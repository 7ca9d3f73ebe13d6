//! Digests that tell whether ranges are still those of a network.

use oxidet_graph::{Checkpoint, Params};
use oxidet_proto::calibration_record::{CalibrationRecord, LayerDigest, RECORD_VERSION};
use oxidet_proto::manifest::sha256_hex;

/// The record of a network: what it computes and reads. The cache, the method and the images are left empty. Batch norms are folded.
pub fn fingerprint(checkpoint: &Checkpoint) -> CalibrationRecord {
    let detector = &checkpoint.detector;
    let json = |what: serde_json::Result<String>| {
        sha256_hex(what.expect("names and numbers are plain data").as_bytes())
    };
    let layers = detector.graph.nodes().iter().filter_map(|node| {
        let digest = layer_digest(&checkpoint.params, &node.name)?;
        Some(LayerDigest { layer: node.name.clone(), sha256: digest })
    });
    CalibrationRecord {
        record_version: RECORD_VERSION,
        oxidet_version: env!("CARGO_PKG_VERSION").into(),
        cache_sha256: String::new(),
        method: String::new(),
        images: 0,
        inputs_sha256: String::new(),
        preprocess_sha256: json(serde_json::to_string(&detector.preprocess)),
        graph_sha256: json(serde_json::to_string(&(&detector.graph, &detector.heads))),
        layers: layers.collect(),
    }
}

fn layer_digest(params: &Params, layer: &str) -> Option<String> {
    let mut bytes = Vec::new();
    for (name, tensor) in
        params.iter().filter(|(name, _)| name.rsplit_once('/').is_some_and(|(of, _)| of == layer))
    {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend(tensor.data().iter().flat_map(|value| value.to_le_bytes()));
    }
    (!bytes.is_empty()).then(|| sha256_hex(&bytes))
}
