//! oxidet trainer
pub mod kernel;
pub mod op;
