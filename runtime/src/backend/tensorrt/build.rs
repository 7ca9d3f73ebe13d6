//! Building: a model becomes a plan.

use std::ffi::{CString, c_char, c_void};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use super::abi;
use super::library::{Library, c_string, text};
use super::request::Request;

/// What a builder is doing. Phases are nested: `parent` names the one that a phase is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A phase begins.
    Phase {
        /// Its name.
        name: &'a str,
        /// The phase it is part of.
        parent: Option<&'a str>,
        /// How many steps it has.
        steps: usize,
    },
    /// A step of a phase is done.
    Step {
        /// The phase.
        phase: &'a str,
        /// Which, counted from 0.
        step: usize,
    },
    /// A phase ends.
    End {
        /// Its name.
        phase: &'a str,
    },
    /// It goes on, and tells no more: of builders that are programs of their own, several times a second.
    Alive,
}

/// Hears what a builder does, on its threads, one at a time. [`ControlFlow::Break`] cancels the build at its next step. TensorRT before
/// 10 tells nothing, and cannot be cancelled.
pub type ProgressListener<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send + 'a;

/// A plan, and what was measured on the way to it.
pub(super) struct Made {
    pub plan: Vec<u8>,
    /// Timings that make the next build on this device faster.
    pub timing: Vec<u8>,
}

/// A layer of the model that is built.
pub(super) struct Layer {
    pub name: String,
    pub operator: String,
}

impl Layer {
    /// Whether it is one of those that are made of a layer: `conv` and `conv/bias`, not `conv_1`. As in the shim.
    pub fn belongs_to(&self, layer: &str) -> bool {
        self.name.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    pub fn is_convolution(&self) -> bool {
        self.operator == "Conv"
    }

    /// Whether it computes nothing of the image.
    pub fn is_constant(&self) -> bool {
        matches!(self.operator.as_str(), "Constant" | "Shape")
    }
}

/// A build without a plan.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Cancelled,
    Failed(String),
}

/// What is built.
pub(super) struct Source<'a> {
    pub onnx: &'a [u8],
    /// Its nodes, for errors.
    pub layers: Vec<Layer>,
    pub workspace: Option<u64>,
    pub float_layers: Vec<String>,
    /// Timings of a former build.
    pub timing: Option<Vec<u8>>,
}

impl Library {
    pub fn build(
        &self,
        source: &Source<'_>,
        request: &Request,
        progress: &mut ProgressListener<'_>,
    ) -> Result<Made, Failure> {
        let nodes = Strings::of(source.layers.iter().map(|layer| &layer.name)).map_err(Failure::Failed)?;
        let float_layers = Strings::of(&source.float_layers).map_err(Failure::Failed)?;
        let watcher = Watcher { listener: Mutex::new(progress) };
        let bytes = |bytes: Option<&[u8]>| bytes.map_or(ptr::null(), |bytes| bytes.as_ptr().cast::<c_void>());
        let len = |bytes: Option<&[u8]>| bytes.map_or(0, |bytes| bytes.len() as u64);
        let calibration = request.calibration.as_deref();
        let timing = source.timing.as_deref();
        let asked = abi::Request {
            onnx: bytes(Some(source.onnx)),
            onnx_len: len(Some(source.onnx)),
            node_names: nodes.pointers.as_ptr(),
            nodes: nodes.pointers.len() as u64,
            min: signed(request.profile.min),
            opt: signed(request.profile.opt),
            max: signed(request.profile.max),
            flags: request.flags,
            dla_core: request.dla_core.map_or(-1, |core| i32::try_from(core).unwrap_or(i32::MAX)),
            workspace: source.workspace.unwrap_or(0),
            calibration: bytes(calibration),
            calibration_len: len(calibration),
            float_layers: float_layers.pointers.as_ptr(),
            n_float_layers: float_layers.pointers.len() as u64,
            float_type: request.float_type,
            convolution_type: request.convolution_type,
            timing: bytes(timing),
            timing_len: len(timing),
            progress: Some(watch),
            user: (&raw const watcher).cast_mut().cast(),
        };
        let mut built = ptr::null_mut();
        // SAFETY: all that `asked` points to lives until the end of this function, and the shim keeps none of it.
        match unsafe { (self.functions.build)(&asked, &mut built) } {
            abi::OK => {}
            abi::CANCELLED => return Err(Failure::Cancelled),
            _ => return Err(Failure::Failed(self.last_error())),
        }
        // SAFETY: a handle that the shim has just made; its bytes are copied before it is freed, once.
        let (plan, timing) = unsafe {
            let plan = (self.functions.built_plan)(built).to_vec();
            let timing = (self.functions.built_timing)(built).to_vec();
            (self.functions.built_free)(built);
            (plan, timing)
        };
        Ok(Made { plan, timing })
    }
}

fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Strings as C has them.
struct Strings {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

impl Strings {
    fn of<'a>(list: impl IntoIterator<Item = &'a String>) -> Result<Self, String> {
        let strings = list.into_iter().map(|text| c_string(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { pointers: strings.iter().map(|text| text.as_ptr()).collect(), _strings: strings })
    }
}

struct Watcher<'a, 'b> {
    listener: Mutex<&'a mut ProgressListener<'b>>,
}

unsafe extern "C" fn watch(
    user: *mut c_void,
    event: i32,
    phase: *const c_char,
    parent: *const c_char,
    value: i32,
) -> i32 {
    // SAFETY: `user` is the watcher of a build that goes on; it is shared between threads behind a mutex. The names are TensorRT's.
    let (watcher, phase, parent) =
        unsafe { (&*user.cast::<Watcher<'_, '_>>(), text(phase), (!parent.is_null()).then(|| text(parent))) };
    let value = usize::try_from(value).unwrap_or(0);
    let event = match event {
        abi::PHASE_BEGINS => Progress::Phase { name: &phase, parent: parent.as_deref(), steps: value },
        abi::STEP_DONE => Progress::Step { phase: &phase, step: value },
        _ => Progress::End { phase: &phase },
    };
    let heard = catch_unwind(AssertUnwindSafe(|| {
        let mut listener = watcher.listener.lock().unwrap_or_else(PoisonError::into_inner);
        (*listener)(event)
    }));
    // A listener that panics cancels: the panic must not pass through C++.
    i32::from(!matches!(heard, Ok(ControlFlow::Continue(()))))
}
