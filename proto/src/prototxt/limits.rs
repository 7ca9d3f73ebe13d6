//! What a spec may cost at most, whoever wrote it.

/// Largest spec that is read, in bytes. Real specs have a few thousand.
pub const MAX_BYTES: usize = 4 << 20;

/// Deepest nesting of messages. The deepest field of the schema sits at 4.
pub const MAX_DEPTH: usize = 64;

/// Problems reported for one spec; reading stops there.
pub const MAX_PROBLEMS: usize = 100;
