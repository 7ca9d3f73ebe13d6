//! Working memory of the kernels.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// One cache line of f32: the unit of [`Buffer`], which makes it 64-byte aligned.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// An aligned block of f32.
#[derive(Default)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let count = len.div_ceil(16);
        let mut lines = Vec::with_capacity(count);
        prefer_huge_pages(&mut lines);
        lines.resize(count, Line([0.0; 16]));
        Self { lines, len }
    }

    /// Values there is room for.
    fn room(&self) -> usize {
        16 * self.lines.len()
    }
}

/// Asks for huge pages behind a block that is still untouched. Kernels walk over many maps at once, a page or more apart:
/// with small pages nearly every access would miss the address cache.
#[cfg(target_os = "linux")]
fn prefer_huge_pages(lines: &mut Vec<Line>) {
    const HUGE_PAGE: usize = 2 << 20;
    let bytes = lines.capacity() * size_of::<Line>();
    let start = lines.as_mut_ptr() as usize;
    let from = start.next_multiple_of(HUGE_PAGE);
    let to = (start + bytes) / HUGE_PAGE * HUGE_PAGE;
    if from < to {
        // SAFETY: the range lies inside the block; the advice changes no contents. It may be refused, which costs speed only.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_HUGEPAGE) };
    }
}

/// Other systems decide by themselves.
#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages(_: &mut Vec<Line>) {}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({})", self.len)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `Line` is exactly 16 f32, and `len` values fit in the lines.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`; the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// Buffers waiting for their next user, shortest first. As many as were ever in use at once, so it stops growing after
/// one step.
static POOL: Mutex<Vec<Buffer>> = Mutex::new(Vec::new());

/// A working buffer, taken from a pool and given back on drop. Its contents are unspecified.
pub(super) struct Scratch(Buffer);

impl Scratch {
    /// A buffer of `len` values: the smallest free one that is large enough, or a new one in place of the largest.
    pub(super) fn take(len: usize) -> Self {
        let room = len.next_multiple_of(16);
        let taken = {
            let mut pool = POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let fit = pool.partition_point(|free| free.room() < room);
            if fit < pool.len() { Some(pool.remove(fit)) } else { pool.pop() }
        };
        let mut buffer = match taken {
            Some(buffer) if buffer.room() >= room => buffer,
            outgrown => {
                drop(outgrown);
                Buffer::zeroed(len)
            }
        };
        buffer.len = len;
        Self(buffer)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        let mut pool = POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let at = pool.partition_point(|free| free.room() < buffer.room());
        pool.insert(at, buffer);
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// A slice that several threads write to, each its own part. Only for outputs whose parts interleave, where
/// `par_chunks_mut` cannot express the split.
#[derive(Clone, Copy)]
pub(super) struct SharedOut<'a> {
    start: *mut f32,
    len: usize,
    owner: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: access goes through `at`, whose callers promise disjoint parts.
unsafe impl Send for SharedOut<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedOut<'_> {}

impl<'a> SharedOut<'a> {
    /// Borrows `slice` for shared writing.
    pub(super) fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), owner: std::marker::PhantomData }
    }

    /// The place of element `index`.
    ///
    /// # Safety
    /// No other thread accesses what the caller reads or writes through the result, and that lies inside the slice.
    #[inline(always)]
    pub(super) unsafe fn at(self, index: usize) -> *mut f32 {
        debug_assert!(index <= self.len);
        // SAFETY: the caller stays inside the slice.
        unsafe { self.start.add(index) }
    }
    /// The part from `index` on.
    ///
    /// # Safety
    /// `index` lies inside the slice.
    pub(super) unsafe fn offset(self, index: usize) -> Self {
        // SAFETY: by contract.
        let start = unsafe { self.at(index) };
        Self { start, len: self.len - index, owner: self.owner }
    }
}
