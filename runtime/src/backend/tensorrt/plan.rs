//! An open plan and its contexts.

use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use super::abi;
use super::library::{Library, c_string, text};

/// What numbers a tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Single precision.
    Float,
    /// Half precision.
    Half,
    /// 8 bits.
    Int8,
    /// 32 bits.
    Int32,
    /// 64 bits.
    Int64,
    /// Others.
    Other,
}

/// An input or output of a plan. Sizes that are not fixed are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Whether it goes in.
    pub is_input: bool,
    /// What it holds.
    pub numbers: Numbers,
    /// Sizes of its axes.
    pub dims: Vec<Option<usize>>,
    /// Of an input, the smallest, best and largest first size, the batch; all the same where it is fixed.
    pub batch: (usize, usize, usize),
}

impl Tensor {
    /// Values per image: the product of all sizes but the first, if they are fixed.
    pub(super) fn per_image(&self) -> Option<usize> {
        self.dims.get(1..)?.iter().try_fold(1_usize, |product, dim| product.checked_mul((*dim)?))
    }

    /// Its shape in words.
    pub(super) fn shape(&self) -> String {
        let dims: Vec<String> =
            self.dims.iter().map(|dim| dim.map_or("?".to_owned(), |size| size.to_string())).collect();
        dims.join("x")
    }
}

/// A plan that TensorRT has opened; threads share it.
pub(super) struct Plan {
    library: Arc<Library>,
    /// TensorRT makes contexts, and the shim keeps what the inspector says, for one thread at a time.
    handle: Mutex<NonNull<abi::Engine>>,
    pub tensors: Vec<Tensor>,
}

// SAFETY: an engine of TensorRT belongs to no thread; the mutex keeps those apart that change it.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

impl Plan {
    pub fn open(library: Arc<Library>, bytes: &[u8], dla_core: Option<u32>) -> Result<Arc<Self>, String> {
        let core = dla_core.map_or(-1, |core| i32::try_from(core).unwrap_or(i32::MAX));
        let mut handle = ptr::null_mut();
        // SAFETY: TensorRT copies what it needs of the bytes.
        let status =
            unsafe { (library.functions.open)(bytes.as_ptr().cast(), bytes.len() as u64, core, &mut handle) };
        library.check(status)?;
        let handle = NonNull::new(handle).ok_or("the shim gave no engine")?;
        // Closed by `drop` if its description fails.
        let mut plan = Self { library, handle: Mutex::new(handle), tensors: Vec::new() };
        plan.tensors = plan.describe(handle)?;
        Ok(Arc::new(plan))
    }

    fn describe(&self, handle: NonNull<abi::Engine>) -> Result<Vec<Tensor>, String> {
        // SAFETY: the handle is open.
        let count = unsafe { (self.library.functions.tensors)(handle.as_ptr()) };
        let tensor = |index| {
            let mut tensor = abi::Tensor::NONE;
            // SAFETY: the handle is open, and the function fills the struct.
            self.library
                .check(unsafe { (self.library.functions.describe)(handle.as_ptr(), index, &mut tensor) })?;
            // SAFETY: the name lives as long as the handle.
            let name = unsafe { text(tensor.name) };
            let rank = usize::try_from(tensor.rank).unwrap_or(0).min(abi::MAX_RANK);
            let size = |size: i64| usize::try_from(size).ok();
            Ok(Tensor {
                name,
                is_input: tensor.is_input != 0,
                numbers: match tensor.kind {
                    abi::FLOAT => Numbers::Float,
                    abi::HALF => Numbers::Half,
                    abi::INT8_TENSOR => Numbers::Int8,
                    abi::INT32 => Numbers::Int32,
                    abi::INT64 => Numbers::Int64,
                    _ => Numbers::Other,
                },
                dims: tensor.dims[..rank].iter().map(|dim| size(*dim)).collect(),
                batch: (
                    size(tensor.min[0]).unwrap_or(0),
                    size(tensor.opt[0]).unwrap_or(0),
                    size(tensor.max[0]).unwrap_or(0),
                ),
            })
        };
        (0..count).map(tensor).collect()
    }

    /// Layers as TensorRT describes them, in JSON.
    pub fn inspect(&self) -> Result<String, String> {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = abi::Bytes::NONE;
        // SAFETY: the handle is open and locked, so the text stays until it is copied.
        let text = unsafe {
            self.library.check((self.library.functions.inspect)(handle.as_ptr(), &mut bytes))?;
            bytes.to_vec()
        };
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    pub fn context(self: &Arc<Self>) -> Result<Context, String> {
        let engine = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut handle = ptr::null_mut();
        // SAFETY: the engine is open and locked.
        self.library.check(unsafe { (self.library.functions.context_new)(engine.as_ptr(), &mut handle) })?;
        let handle = NonNull::new(handle).ok_or("the shim gave no context")?;
        Ok(Context { plan: self.clone(), handle })
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        let handle = self.handle.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: contexts hold the plan, so there are none left.
        unsafe { (self.library.functions.close)(handle.as_ptr()) };
    }
}

/// What one thread runs a plan with.
pub(super) struct Context {
    plan: Arc<Plan>,
    handle: NonNull<abi::Context>,
}

// SAFETY: a context of TensorRT may go from thread to thread, and `&mut` keeps them apart.
unsafe impl Send for Context {}

impl Context {
    pub fn set_shape(&mut self, input: &str, dims: &[usize]) -> Result<(), String> {
        let name = c_string(input)?;
        let dims: Vec<i64> = dims.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
        let rank = i32::try_from(dims.len()).unwrap_or(i32::MAX);
        let library = &self.plan.library;
        // SAFETY: the context is open; name and sizes outlive the call.
        let status = unsafe {
            (library.functions.set_shape)(self.handle.as_ptr(), name.as_ptr(), rank, dims.as_ptr())
        };
        library.check(status)
    }

    /// Sizes of a tensor for the shapes set.
    pub fn shape(&self, tensor: &str) -> Result<Vec<i64>, String> {
        let name = c_string(tensor)?;
        let (mut rank, mut dims) = (0, [0; abi::MAX_RANK]);
        let library = &self.plan.library;
        // SAFETY: the context is open; the function writes at most `MAX_RANK` sizes.
        let status = unsafe {
            (library.functions.shape)(self.handle.as_ptr(), name.as_ptr(), &mut rank, dims.as_mut_ptr())
        };
        library.check(status)?;
        Ok(dims[..usize::try_from(rank).unwrap_or(0).min(abi::MAX_RANK)].to_vec())
    }

    /// # Safety
    /// There is memory of the device for the tensor's largest shape as long as the context is.
    pub unsafe fn set_address(&mut self, tensor: &str, address: *mut c_void) -> Result<(), String> {
        let name: CString = c_string(tensor)?;
        let library = &self.plan.library;
        // SAFETY: the context is open, and the memory is there as the caller says.
        library
            .check(unsafe { (library.functions.set_address)(self.handle.as_ptr(), name.as_ptr(), address) })
    }

    /// # Safety
    /// The stream is one of the device that the context is of, and is waited for before memory of the tensors goes.
    pub unsafe fn enqueue(&mut self, stream: *mut c_void) -> Result<(), String> {
        let library = &self.plan.library;
        // SAFETY: the context is open, and the stream is as the caller says.
        library.check(unsafe { (library.functions.enqueue)(self.handle.as_ptr(), stream) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once, before its engine.
        unsafe { (self.plan.library.functions.context_free)(self.handle.as_ptr()) };
    }
}
