//! The GPU as a session needs it: memory and a queue. Behind traits, so that tests run without one.

use std::ffi::c_void;
use std::sync::Arc;

/// The GPUs of this computer.
pub trait Gpus: Send + Sync {
    /// Their names, in order: `Orin (sm_87)`.
    ///
    /// # Errors
    /// What is missing, if they cannot be asked for.
    fn names(&self) -> Result<Vec<String>, String>;

    /// One of them.
    ///
    /// # Errors
    /// Why it cannot be used.
    fn open(&self, ordinal: u32) -> Result<Arc<dyn Gpu>, String>;
}

/// A GPU.
pub trait Gpu: Send + Sync {
    /// As in [`Gpus::names`].
    fn name(&self) -> &str;

    /// Makes it the one that this thread's calls of TensorRT use.
    ///
    /// # Errors
    /// What the driver says.
    fn bind(&self) -> Result<(), String>;

    /// A queue of work. The GPU is bound.
    ///
    /// # Errors
    /// What the driver says.
    fn queue(&self) -> Result<Box<dyn Queue>, String>;
}

/// Work that is done one after the other.
///
/// # Safety
/// The handle is a CUDA stream of the bound GPU (or what a fake takes for one) as long as this lives.
pub unsafe trait Queue: Send {
    /// As TensorRT takes it.
    fn handle(&self) -> *mut c_void;

    /// Memory of the device with its image on the host.
    ///
    /// # Errors
    /// When there is not enough of it.
    fn buffer(&self, bytes: usize) -> Result<Box<dyn Buffer>, String>;

    /// Waits until all is done.
    ///
    /// # Errors
    /// What failed.
    fn finish(&self) -> Result<(), String>;

    /// Keeps what `work` queues, in place of doing it, so that it is queued again in one call (a CUDA graph). None where that cannot be had:
    /// not of this GPU, or not of this work.
    fn record(&self, work: &mut dyn FnMut() -> Result<(), String>) -> Option<Box<dyn Recording>> {
        let _ = work;
        None
    }
}

/// Work that is queued in one call. It knows the addresses that it was recorded with.
pub trait Recording: Send {
    /// Queues it.
    ///
    /// # Errors
    /// What the driver says.
    fn replay(&self) -> Result<(), String>;
}

/// Memory on the device and on the host.
///
/// # Safety
/// The address is that of as many bytes of memory of the device as were asked for, as long as this lives.
pub unsafe trait Buffer: Send {
    /// On the device.
    fn address(&self) -> *mut c_void;

    /// On the host; waits for a copy under way.
    ///
    /// # Errors
    /// What failed.
    fn host(&mut self) -> Result<&mut [u8], String>;

    /// Queues a copy of the first bytes to the device.
    ///
    /// # Errors
    /// What the driver says.
    fn upload(&mut self, bytes: usize) -> Result<(), String>;

    /// Queues a copy of the first bytes to the host.
    ///
    /// # Errors
    /// What the driver says.
    fn download(&mut self, bytes: usize) -> Result<(), String>;
}
