//! Whether a model and a spec are about the same network.

use oxidet_graph::Detector;
use oxidet_graph::difference::GraphDifferences;

/// Checks that a model is the network of a spec, or that with filters taken away. Quantisers may differ.
///
/// # Errors
/// A sentence that names the first part that differs.
pub fn check_fits(model: &Detector, spec: &Detector) -> Result<(), String> {
    let differences = GraphDifferences::between(&spec.graph, &model.graph);
    let fits = differences.is_empty() || differences.is_pruning();
    let same = [
        ("network (arch, nlayers)", model.arch == spec.arch && fits),
        ("classes", model.classes == spec.classes),
        ("anchors or grid_xy_extend", model.geometry() == spec.geometry()),
        ("input size, channels, depth or image_mean", model.preprocess == spec.preprocess),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((what, _)) => {
            Err(format!("the spec's {what} differ from the model's; use those it was trained with"))
        }
        None => Ok(()),
    }
}
