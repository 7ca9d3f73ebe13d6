//! The commands, one file each.

pub mod evaluate;
pub mod lint;
pub mod train;
