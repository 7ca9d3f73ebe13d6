//! Between candle's tensors and the kernels' slices.

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail};
use std::sync::Mutex;

/// `tensor`, contiguous, as an operand of a kernel: the operation's first tensor was found on the CPU.
pub(super) fn operand(op: &'static str, tensor: &Tensor) -> Result<Tensor> {
    if !tensor.device().is_cpu() {
        bail!("{op}: one tensor is on the CPU, another on {:?}", tensor.device().location());
    }
    tensor.contiguous()
}

/// The values of a contiguous f32 tensor, inside a custom op.
pub(super) fn values<'a>(op: &'static str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&values[from..to]),
        (CpuStorage::F32(_), None) => bail!("{op}: a tensor of shape {:?} is not contiguous", layout.shape()),
        (other, _) => bail!(
            "{op}: the kernels work on f32, not {:?}",
            candle_core::backend::BackendStorage::dtype(other)
        ),
    }
}

/// Calls `body` with the values of `tensors`, in a backward pass.
pub(crate) fn with_values<R, const N: usize>(
    op: &'static str,
    tensors: [&Tensor; N],
    body: impl FnOnce([&[f32]; N]) -> Result<R>,
) -> Result<R> {
    let tensors: Vec<Tensor> = tensors.iter().map(|tensor| operand(op, tensor)).collect::<Result<_>>()?;
    let guards: Vec<_> = tensors.iter().map(|tensor| tensor.storage_and_layout()).collect();
    let slices: Vec<&[f32]> = guards
        .iter()
        .map(|(storage, layout)| match &**storage {
            Storage::Cpu(storage) => values(op, storage, layout),
            _ => bail!("{op}: the training kernels run on the CPU only"),
        })
        .collect::<Result<_>>()?;
    match <[&[f32]; N]>::try_from(slices) {
        Ok(slices) => body(slices),
        Err(_) => bail!("{op}: internal error: {N} tensors expected"),
    }
}

/// Calls `body` with the values of a contiguous f32 tensor on the CPU, to overwrite them.
pub(crate) fn write_values(tensor: &Tensor, body: impl FnOnce(&mut [f32])) -> Result<()> {
    struct Write<F>(Mutex<Option<F>>);

    impl<F: FnOnce(&mut [f32])> InplaceOp1 for Write<F> {
        fn name(&self) -> &'static str {
            "write_values"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let (CpuStorage::F32(values), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
                bail!("write_values: the tensor is not a contiguous f32 tensor");
            };
            let body = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            if let Some(body) = body {
                body(&mut values[from..to]);
            }
            Ok(())
        }
    }

    tensor.inplace_op1(&Write(Mutex::new(Some(body))))
}

/// A buffer of `len` values for a kernel to fill.
pub(super) fn output(len: usize) -> Vec<f32> {
    vec![0.0; len]
}

/// What a kernel wrote, as a tensor of `shape`.
pub(super) fn from_values(values: Vec<f32>, shape: &Shape) -> Result<Tensor> {
    Tensor::from_vec(values, shape.clone(), &Device::Cpu)
}

/// The four sizes of a shape.
pub(super) fn sizes(shape: &Shape) -> Result<[usize; 4]> {
    let (a, b, c, d) = shape.dims4()?;
    Ok([a, b, c, d])
}
