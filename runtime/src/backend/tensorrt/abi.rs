//! The functions of the shim as `runtime/shim/oxidet_trt.h` declares them; what they do is written there.

use std::ffi::{c_char, c_void};

/// Of this file and the header. A change of either is another number.
pub const ABI: u32 = 1;

pub const OK: i32 = 0;
pub const CANCELLED: i32 = 2;

pub const FP16: u32 = 1 << 0;
pub const INT8: u32 = 1 << 1;
pub const STRONGLY_TYPED: u32 = 1 << 2;
pub const OBEY: u32 = 1 << 3;
pub const NO_TF32: u32 = 1 << 4;

pub const FLOAT: i32 = 0;
pub const HALF: i32 = 1;
pub const INT8_TENSOR: i32 = 2;
pub const INT32: i32 = 3;
pub const INT64: i32 = 4;
pub const OTHER: i32 = -1;

pub const PHASE_BEGINS: i32 = 0;
pub const STEP_DONE: i32 = 1;

pub const MAX_RANK: usize = 8;

/// `oxidet_trt_versions`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Versions {
    pub compiled: [i32; 3],
    pub loaded: [i32; 3],
}

/// `oxidet_trt_log`
pub type Log = unsafe extern "C" fn(user: *mut c_void, severity: i32, text: *const c_char);

/// `oxidet_trt_progress`
pub type Progress = unsafe extern "C" fn(
    user: *mut c_void,
    event: i32,
    phase: *const c_char,
    parent: *const c_char,
    value: i32,
) -> i32;

/// `oxidet_trt_request`
#[repr(C)]
pub struct Request {
    pub onnx: *const c_void,
    pub onnx_len: u64,
    pub node_names: *const *const c_char,
    pub nodes: u64,
    pub min: i64,
    pub opt: i64,
    pub max: i64,
    pub flags: u32,
    pub dla_core: i32,
    pub workspace: u64,
    pub calibration: *const c_void,
    pub calibration_len: u64,
    pub float_layers: *const *const c_char,
    pub n_float_layers: u64,
    pub float_type: i32,
    pub convolution_type: i32,
    pub timing: *const c_void,
    pub timing_len: u64,
    pub progress: Option<Progress>,
    pub user: *mut c_void,
}

/// `oxidet_trt_bytes`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes {
    pub data: *const c_void,
    pub len: u64,
}

impl Bytes {
    pub const NONE: Self = Self { data: std::ptr::null(), len: 0 };

    /// # Safety
    /// What it points to is still there, as the shim left it.
    pub unsafe fn to_vec(self) -> Vec<u8> {
        match usize::try_from(self.len) {
            Ok(len) if len > 0 && !self.data.is_null() => {
                // SAFETY: the shim says that `len` bytes lie there, and the caller that they still do.
                unsafe { std::slice::from_raw_parts(self.data.cast::<u8>(), len) }.to_vec()
            }
            _ => Vec::new(),
        }
    }
}

/// `oxidet_trt_tensor`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tensor {
    pub name: *const c_char,
    pub is_input: i32,
    pub kind: i32,
    pub rank: i32,
    pub dims: [i64; MAX_RANK],
    pub min: [i64; MAX_RANK],
    pub opt: [i64; MAX_RANK],
    pub max: [i64; MAX_RANK],
}

impl Tensor {
    pub const NONE: Self = Self {
        name: std::ptr::null(),
        is_input: 0,
        kind: OTHER,
        rank: 0,
        dims: [0; MAX_RANK],
        min: [0; MAX_RANK],
        opt: [0; MAX_RANK],
        max: [0; MAX_RANK],
    };
}

/// `oxidet_trt_built`
#[repr(C)]
pub struct Built {
    _private: [u8; 0],
}

/// `oxidet_trt_engine`
#[repr(C)]
pub struct Engine {
    _private: [u8; 0],
}

/// `oxidet_trt_context`
#[repr(C)]
pub struct Context {
    _private: [u8; 0],
}

macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of an opened shim.
        pub struct Functions {
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            /// # Safety
            /// The library is a shim of this [`ABI`], and stays open as long as the functions are called.
            pub unsafe fn of(library: &libloading::Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    // SAFETY: these are the types of the functions of these names in a shim of this ABI.
                    $($name: *unsafe { library.get(concat!("oxidet_trt_", stringify!($name))) }?,)*
                })
            }
        }
    };
}

functions! {
    get_versions(*mut Versions);
    last_error() -> *const c_char;
    set_log(Option<Log>, *mut c_void);
    init_plugins() -> i32;
    load_plugins(*const c_char) -> i32;
    build(*const Request, *mut *mut Built) -> i32;
    built_plan(*const Built) -> Bytes;
    built_timing(*const Built) -> Bytes;
    built_free(*mut Built);
    open(*const c_void, u64, i32, *mut *mut Engine) -> i32;
    tensors(*const Engine) -> i32;
    describe(*const Engine, i32, *mut Tensor) -> i32;
    inspect(*mut Engine, *mut Bytes) -> i32;
    close(*mut Engine);
    context_new(*mut Engine, *mut *mut Context) -> i32;
    set_shape(*mut Context, *const c_char, i32, *const i64) -> i32;
    shape(*const Context, *const c_char, *mut i32, *mut i64) -> i32;
    set_address(*mut Context, *const c_char, *mut c_void) -> i32;
    enqueue(*mut Context, *mut c_void) -> i32;
    context_free(*mut Context);
}
