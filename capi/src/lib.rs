//! The library for programs in C and what can call it; `include/oxidet.h` is its documentation.
//!
//! Panics do not cross the border, pointers are checked for null, and an error leaves its text for
//! [`oxidet_last_error`]. What a pointer points to is the caller's promise.

mod detector;
mod status;

use std::ffi::{CStr, c_char};
use std::slice;

use detector::{Detector, Options};
use oxidet_vision::{Image, Picture};
use status::{Failed, Status, guarded};

/// How the bytes of a pixel lie.
const RGB: u32 = 0;
const BGR: u32 = 1;
const GRAY: u32 = 2;

/// Most pixels a side.
const MAX_SIDE: usize = 1 << 14;

/// `oxidet_object`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Object {
    class_id: u32,
    score: f32,
    corners: [f32; 4],
}

/// `oxidet_version`
#[unsafe(no_mangle)]
pub extern "C" fn oxidet_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version has no zero byte"),
        };
    VERSION.as_ptr()
}

/// `oxidet_last_error`
#[unsafe(no_mangle)]
pub extern "C" fn oxidet_last_error() -> *const c_char {
    status::last_error()
}

/// `oxidet_open`
///
/// # Safety
/// `path` is a text, `options` null or options whose texts are null or texts, `out` room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oxidet_open(
    path: *const c_char,
    options: *const Options,
    out: *mut *mut Detector,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (path, options, out) = unsafe { (text(path)?, options.as_ref(), out.as_mut()) };
        let out = out.ok_or_else(|| Failed::usage("oxidet_open: detector is NULL"))?;
        let path = path.ok_or_else(|| Failed::usage("oxidet_open: path is NULL"))?;
        // SAFETY: the caller's promise.
        let detector = unsafe { Detector::open(path, options)? };
        *out = Box::into_raw(Box::new(detector));
        Ok(())
    })
}

/// `oxidet_close`
///
/// # Safety
/// `detector` is null or comes from [`oxidet_open`], and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oxidet_close(detector: *mut Detector) {
    if !detector.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(detector) });
    }
}

/// `oxidet_class_count`
///
/// # Safety
/// `detector` is null or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oxidet_class_count(detector: *const Detector) -> usize {
    // SAFETY: the caller's promise.
    unsafe { detector.as_ref() }.map_or(0, |detector| detector.names.len())
}

/// `oxidet_class_name`
///
/// # Safety
/// `detector` is null or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oxidet_class_name(detector: *const Detector, class_id: usize) -> *const c_char {
    // SAFETY: the caller's promise.
    let name = unsafe { detector.as_ref() }.and_then(|detector| detector.names.get(class_id));
    name.map_or(std::ptr::null(), |name| name.as_ptr())
}

/// `oxidet_detect`
///
/// # Safety
/// `detector` is open and used by no other thread, `pixels` has the bytes that the sizes say, `objects` room for `room` objects, and
/// `count` for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oxidet_detect(
    detector: *mut Detector,
    pixels: *const u8,
    width: usize,
    height: usize,
    stride: usize,
    format: u32,
    threshold: f32,
    objects: *mut Object,
    room: usize,
    count: *mut usize,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (detector, count) = unsafe { (detector.as_mut(), count.as_mut()) };
        let detector = detector.ok_or_else(|| Failed::usage("oxidet_detect: detector is NULL"))?;
        let count = count.ok_or_else(|| Failed::usage("oxidet_detect: count is NULL"))?;
        if pixels.is_null() || objects.is_null() && room > 0 {
            return Err(Failed::usage("oxidet_detect: pixels or objects are NULL"));
        }
        let channels = match format {
            RGB | BGR => 3,
            GRAY => 1,
            other => return Err(Failed::usage(format!("oxidet_detect: there is no pixel format {other}"))),
        };
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(Failed::usage(format!(
                "oxidet_detect: an image of {width}x{height} pixels; 1 to {MAX_SIDE} a side"
            )));
        }
        let row = width * channels;
        let stride = if stride == 0 { row } else { stride };
        if stride < row {
            return Err(Failed::usage(format!(
                "oxidet_detect: rows of {row} bytes cannot begin {stride} apart"
            )));
        }
        let bytes = stride.checked_mul(height - 1).and_then(|bytes| bytes.checked_add(row));
        let bytes = bytes.filter(|bytes| isize::try_from(*bytes).is_ok());
        let bytes = bytes.ok_or_else(|| Failed::usage("oxidet_detect: stride is beyond any memory"))?;
        // SAFETY: the caller's promise; the last row need not be filled up.
        let pixels = unsafe { slice::from_raw_parts(pixels, bytes) };
        let mut data: Vec<u8> = pixels.chunks(stride).flat_map(|line| &line[..row]).copied().collect();
        if format == BGR {
            data.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
        }
        let found = detector.detect(&Picture::from(Image { width, height, channels, data }), threshold)?;
        *count = found.len();
        for (at, object) in found.into_iter().take(room).enumerate() {
            let b = object.bbox;
            let corners = [b.x1, b.y1, b.x2, b.y2];
            // SAFETY: the caller's promise, and `at` is below `room`.
            unsafe {
                objects.add(at).write(Object { class_id: object.class as u32, score: object.score, corners })
            };
        }
        Ok(())
    })
}

/// A text of the caller's; none of null.
///
/// # Safety
/// `text` is null or ends in a zero byte, and lives as long as is needed.
unsafe fn text<'a>(text: *const c_char) -> Result<Option<&'a str>, Failed> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| Failed::usage(format!("{text:?} is not UTF-8")))
}
