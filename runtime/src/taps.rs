//! A float model whose every tensor can be looked at while it runs: what calibration measures.

use oxidet_proto::onnx::{DataType, ModelProto, ValueInfoProto};
use oxidet_vision::NetworkError;
use tract_onnx::prelude::*;

use crate::backend::cpu::failed;
use crate::backend::cpu::tract::{Plan, guarded, parse, plan};
use crate::{Artifact, PrepareError, Signature};

/// A model that shows what it computes on the way, for one image at a time. Threads can share it.
pub struct Taps {
    names: Vec<String>,
    signature: Signature,
    plan: Plan,
}

impl Taps {
    /// Makes every tensor that a node of the file computes an output of the model.
    ///
    /// # Errors
    /// When the `cpu` backend does not run the model, as one of fixed batches, or one that computes in other numbers than float32.
    pub fn new(artifact: &Artifact) -> Result<Self, PrepareError> {
        let mut model: ModelProto = artifact.model().clone();
        let signature = artifact.signature().clone();
        if let Some(images) = signature.batch.filter(|images| *images != 1) {
            return Err(failed(format!(
                "its batches are of {images} images; calibration looks at one at a time"
            )));
        }
        let Some(graph) = &mut model.graph else { return Err(failed("it has no graph".into())) };
        let made: Vec<String> = graph
            .node
            .iter()
            .flat_map(|node| node.output.clone())
            .filter(|name| artifact.is_in_file(name))
            .collect();
        graph.output = made.iter().map(|name| ValueInfoProto::unshaped(name, DataType::Float)).collect();
        let input = graph.input.first().map(|input| input.name.clone()).unwrap_or_default();
        let plan = plan(&parse(&model).map_err(failed)?, &signature, 1).map_err(failed)?;
        Ok(Self { names: std::iter::once(input).chain(made).collect(), signature, plan })
    }

    /// Names of the tensors, as the file has them: the input, then what the nodes make, in the order of the graph.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Runs the model on one image's tensor `[C, H, W]` and shows each tensor, by its place among [`Taps::names`].
    ///
    /// # Errors
    /// When the input has another size, or the model fails.
    pub fn run(&self, image: &[f32], look: &mut dyn FnMut(usize, &[f32])) -> Result<(), NetworkError> {
        let error = |what: String| NetworkError(what.into());
        let Signature { channels, height, width, .. } = self.signature;
        let input =
            Tensor::from_shape(&[1, channels, height, width], image).map_err(|e| error(e.to_string()))?;
        let outputs = guarded(|| self.plan.run(tvec!(input.into()))).map_err(error)?;
        look(0, image);
        for (at, (output, name)) in outputs.iter().zip(&self.names[1..]).enumerate() {
            let view = output.to_plain_array_view::<f32>().map_err(|e| error(format!("`{name}`: {e}")))?;
            let values = view.as_slice().ok_or_else(|| error(format!("`{name}` lies in pieces")))?;
            look(at + 1, values);
        }
        Ok(())
    }
}
