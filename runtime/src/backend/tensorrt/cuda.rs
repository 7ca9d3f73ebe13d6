//! GPUs through CUDA's driver, which is opened at run time.

use std::ffi::c_void;
use std::slice;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaGraph, CudaStream, DriverError, result, sys};

use super::device::{Buffer, Gpu, Gpus, Queue, Recording};

/// The GPUs that CUDA's driver knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cuda;

impl Cuda {
    /// How many there are. Everything else in here is called only after this has found the driver: without it, cudarc panics.
    fn count() -> Result<usize, String> {
        // SAFETY: opens the driver's library and closes it again.
        if !unsafe { sys::is_culib_present() } {
            return Err("libcuda.so.1 is missing: it comes with NVIDIA's driver (JetPack has it in \
                /usr/lib/aarch64-linux-gnu/nvidia; in a container, start it with --runtime nvidia or --gpus all)"
                .into());
        }
        let count = CudaContext::device_count().map_err(|error| failed("CUDA does not start", error))?;
        match usize::try_from(count) {
            Ok(count) if count > 0 => Ok(count),
            _ => Err("CUDA's driver is here, but it sees no GPU".into()),
        }
    }
}

impl Gpus for Cuda {
    fn names(&self) -> Result<Vec<String>, String> {
        (0..Self::count()?).map(|ordinal| Ok(CudaGpu::open(ordinal)?.name)).collect()
    }

    fn open(&self, ordinal: u32) -> Result<Arc<dyn Gpu>, String> {
        let count = Self::count()?;
        let wanted = usize::try_from(ordinal).ok().filter(|wanted| *wanted < count);
        let wanted = wanted
            .ok_or_else(|| format!("there is no GPU {ordinal}: they are numbered 0 to {}", count - 1))?;
        Ok(Arc::new(CudaGpu::open(wanted)?))
    }
}

struct CudaGpu {
    context: Arc<CudaContext>,
    name: String,
}

impl CudaGpu {
    fn open(ordinal: usize) -> Result<Self, String> {
        let describe = || {
            // The primary context, which TensorRT uses as well.
            let context = CudaContext::new(ordinal)?;
            let (major, minor) = context.compute_capability()?;
            let name = format!("{} (sm_{major}{minor})", context.name()?);
            Ok(Self { context, name })
        };
        describe().map_err(|error| failed(&format!("GPU {ordinal} cannot be used"), error))
    }
}

impl Gpu for CudaGpu {
    fn name(&self) -> &str {
        &self.name
    }

    fn bind(&self) -> Result<(), String> {
        self.context.bind_to_thread().map_err(|error| failed("the GPU cannot be used", error))
    }

    fn queue(&self) -> Result<Box<dyn Queue>, String> {
        let stream = self.context.new_stream().map_err(|error| failed("no CUDA stream", error))?;
        Ok(Box::new(CudaQueue { stream }))
    }
}

struct CudaQueue {
    stream: Arc<CudaStream>,
}

// SAFETY: the handle is that of a stream that lives in here.
unsafe impl Queue for CudaQueue {
    fn handle(&self) -> *mut c_void {
        self.stream.cu_stream().cast()
    }

    fn buffer(&self, bytes: usize) -> Result<Box<dyn Buffer>, String> {
        let error = |error| failed(&format!("no {bytes} bytes of memory for a tensor"), error);
        self.stream.context().bind_to_thread().map_err(error)?;
        // SAFETY: a context is bound; CUDA does not like an allocation of nothing.
        let device = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(error)?;
        // SAFETY: as above. What is allocated is freed in `drop`, or here.
        let host = unsafe { result::malloc_host(bytes.max(1), 0) }.map_err(|why| {
            // SAFETY: allocated above and used by nobody.
            let _ = unsafe { result::free_sync(device) };
            error(why)
        })?;
        // SAFETY: as many bytes as allocated; they must not be read before they are written.
        unsafe { host.cast::<u8>().write_bytes(0, bytes) };
        Ok(Box::new(CudaBuffer { stream: self.stream.clone(), device, host: host.cast(), len: bytes }))
    }

    fn finish(&self) -> Result<(), String> {
        self.stream.synchronize().map_err(|error| failed("the GPU failed", error))
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<(), String>) -> Option<Box<dyn Recording>> {
        // What other threads do meanwhile is none of its business.
        self.stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).ok()?;
        let done = work();
        // Whatever came of it, the stream is to do again what it is told.
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        match (done, graph) {
            (Ok(()), Ok(Some(graph))) => Some(Box::new(CudaRecording(graph))),
            _ => None,
        }
    }
}

struct CudaRecording(CudaGraph);

// SAFETY: a graph belongs to no thread, and is used by one at a time: that of its session.
unsafe impl Send for CudaRecording {}

impl Recording for CudaRecording {
    fn replay(&self) -> Result<(), String> {
        self.0.launch().map_err(|error| failed("the GPU does not repeat its work", error))
    }
}

struct CudaBuffer {
    stream: Arc<CudaStream>,
    device: sys::CUdeviceptr,
    /// Pinned, so that copies do not wait.
    host: *mut u8,
    len: usize,
}

// SAFETY: the memory belongs to no thread.
unsafe impl Send for CudaBuffer {}

// SAFETY: the address is that of memory that lives in here.
unsafe impl Buffer for CudaBuffer {
    fn address(&self) -> *mut c_void {
        self.device as usize as *mut c_void
    }

    fn host(&mut self) -> Result<&mut [u8], String> {
        self.stream.synchronize().map_err(|error| failed("the GPU failed", error))?;
        // SAFETY: `len` bytes that are written; no copy is under way, and none begins while they are borrowed.
        Ok(unsafe { slice::from_raw_parts_mut(self.host, self.len) })
    }

    fn upload(&mut self, bytes: usize) -> Result<(), String> {
        // SAFETY: no more than there is; `host` waits until the copy is done, and so does `drop`.
        let copied = unsafe {
            let from = slice::from_raw_parts(self.host, bytes.min(self.len));
            result::memcpy_htod_async(self.device, from, self.stream.cu_stream())
        };
        copied.map_err(|error| failed("nothing can be copied to the GPU", error))
    }

    fn download(&mut self, bytes: usize) -> Result<(), String> {
        // SAFETY: as in `upload`.
        let copied = unsafe {
            let to = slice::from_raw_parts_mut(self.host, bytes.min(self.len));
            result::memcpy_dtoh_async(to, self.device, self.stream.cu_stream())
        };
        copied.map_err(|error| failed("nothing can be copied from the GPU", error))
    }
}

impl Drop for CudaBuffer {
    fn drop(&mut self) {
        // What fails here has failed before, and the memory goes with the process.
        let _ = self.stream.context().bind_to_thread();
        let _ = self.stream.synchronize();
        // SAFETY: both were allocated by the queue, and no copy is under way.
        unsafe {
            let _ = result::free_sync(self.device);
            let _ = result::free_host(self.host.cast());
        }
    }
}

/// The driver's own words, where it has some.
fn failed(what: &str, error: DriverError) -> String {
    match error.error_string() {
        Ok(text) => format!("{what}: {} ({:?})", text.to_string_lossy(), error.0),
        Err(_) => format!("{what}: {:?}", error.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_driver_is_an_error_and_no_panic() {
        // Where there is a driver with a GPU, there is nothing missing.
        for error in [Cuda.names().err(), Cuda.open(1 << 20).err()].into_iter().flatten() {
            assert!(
                error.contains("libcuda.so.1") || error.contains("GPU") || error.contains("CUDA"),
                "{error}"
            );
        }
    }
}
