//! A GPU that is the host's memory.

use std::ffi::c_void;
use std::sync::Arc;

use oxidet_runtime::tensorrt::{Buffer, Gpu, Gpus, Queue};

/// One GPU.
pub struct HostGpus;

impl Gpus for HostGpus {
    fn names(&self) -> Result<Vec<String>, String> {
        Ok(vec!["Host (sm_00)".into()])
    }

    fn open(&self, ordinal: u32) -> Result<Arc<dyn Gpu>, String> {
        if ordinal == 0 { Ok(Arc::new(HostGpu)) } else { Err(format!("there is no GPU {ordinal}")) }
    }
}

struct HostGpu;

impl Gpu for HostGpu {
    fn name(&self) -> &str {
        "Host (sm_00)"
    }

    fn bind(&self) -> Result<(), String> {
        Ok(())
    }

    fn queue(&self) -> Result<Box<dyn Queue>, String> {
        Ok(Box::new(HostQueue(Box::new(0))))
    }
}

struct HostQueue(Box<u64>);

// SAFETY: the fake takes any address for a stream.
unsafe impl Queue for HostQueue {
    fn handle(&self) -> *mut c_void {
        (&raw const *self.0).cast_mut().cast()
    }

    fn buffer(&self, bytes: usize) -> Result<Box<dyn Buffer>, String> {
        let words = bytes.div_ceil(8);
        // What is not written is seen.
        let device = Box::into_raw(vec![u64::MAX; words].into_boxed_slice());
        Ok(Box::new(HostBuffer { device, host: vec![0; bytes] }))
    }

    fn finish(&self) -> Result<(), String> {
        Ok(())
    }
}

struct HostBuffer {
    device: *mut [u64],
    host: Vec<u8>,
}

// SAFETY: the memory belongs to no thread.
unsafe impl Send for HostBuffer {}

// SAFETY: the address is that of memory that lives in here.
unsafe impl Buffer for HostBuffer {
    fn address(&self) -> *mut c_void {
        self.device.cast()
    }

    fn host(&mut self) -> Result<&mut [u8], String> {
        Ok(&mut self.host)
    }

    fn upload(&mut self, bytes: usize) -> Result<(), String> {
        let bytes = bytes.min(self.host.len());
        // SAFETY: both hold so many bytes.
        unsafe { self.device.cast::<u8>().copy_from_nonoverlapping(self.host.as_ptr(), bytes) };
        Ok(())
    }

    fn download(&mut self, bytes: usize) -> Result<(), String> {
        let bytes = bytes.min(self.host.len());
        // SAFETY: both hold so many bytes.
        unsafe { self.host.as_mut_ptr().copy_from_nonoverlapping(self.device.cast::<u8>(), bytes) };
        Ok(())
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        // SAFETY: made of a box by the queue.
        drop(unsafe { Box::from_raw(self.device) });
    }
}
