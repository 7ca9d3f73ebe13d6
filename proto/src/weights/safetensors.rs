//! [Safetensors](https://github.com/huggingface/safetensors): a JSON header, then the arrays.

use ::safetensors::tensor::{Dtype, SafeTensors};

use super::element::Element;
use super::{Array, Format, WeightsError};

/// Whether a file begins as safetensors do: the length of a JSON object, then the object.
pub fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

/// Reads all arrays, by name. Whole numbers, which only count batches, are left out.
///
/// # Errors
/// [`WeightsError`]
pub fn read(bytes: &[u8]) -> Result<Vec<Array>, WeightsError> {
    let file =
        SafeTensors::deserialize(bytes).map_err(|error| WeightsError::damaged(Format::Safetensors, error))?;
    let mut arrays = Vec::new();
    for (name, view) in file.tensors() {
        let element = match view.dtype() {
            Dtype::BF16 => Element::Bf16,
            Dtype::F16 => Element::F16,
            Dtype::F32 => Element::F32,
            Dtype::F64 => Element::F64,
            Dtype::BOOL | Dtype::U8 | Dtype::I8 | Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32 => {
                continue;
            }
            Dtype::I64 | Dtype::U64 => continue,
            other => {
                let what = format!("array `{name}` is of type {other:?}; convert it to F32");
                return Err(WeightsError::unsupported(Format::Safetensors, what));
            }
        };
        if let Some(values) = element.decode(view.data()) {
            arrays.push(Array { name, shape: view.shape().to_vec(), values });
        }
    }
    arrays.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(arrays)
}
