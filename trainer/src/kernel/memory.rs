//! Working memory of the kernels.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// One cache line of f32: the unit of [`Scratch`], which makes it 64-byte aligned.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Buffers waiting for their next user. As many as were ever in use at once, so it stops growing after one step.
static POOL: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

/// A 64-byte aligned working buffer, taken from a pool and given back on drop. Its contents are unspecified.
pub(super) struct Scratch {
    lines: Vec<Line>,
    len: usize,
}

impl Scratch {
    /// A buffer of `len` values: the smallest free one that is large enough, or the largest free one, enlarged.
    pub(super) fn take(len: usize) -> Self {
        let wanted = len.div_ceil(16);
        let mut lines = {
            let mut pool = POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            // Ordered by length: entries are kept sorted when they return.
            let fit = pool.partition_point(|free| free.len() < wanted);
            if fit < pool.len() { pool.remove(fit) } else { pool.pop().unwrap_or_default() }
        };
        if lines.len() < wanted {
            // A fresh zeroed allocation costs less than copying old contents nobody wants.
            lines = Vec::new();
            lines.resize(wanted, Line([0.0; 16]));
        }
        Self { lines, len }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let mut pool = POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let at = pool.partition_point(|free| free.len() < lines.len());
        pool.insert(at, lines);
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `Line` is exactly 16 f32, and `len` values fit in the lines.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`; the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
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
