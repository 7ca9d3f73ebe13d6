//! Keeps freed memory in the process.
//!
//! A training step takes and frees hundreds of megabytes in large pieces. By default glibc gives each back to the system and asks
//! again, and every page of it faults anew: a tenth of the step. Other C libraries are left alone.

/// Asks the C library to reuse large pieces instead of returning them.
pub fn keep_large_pieces() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` only sets two numbers of the allocator and is called before threads are started.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}
