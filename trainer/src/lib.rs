//! oxidet trainer
pub mod augment;
pub mod data;
pub mod interp;
pub mod kernel;
pub mod net;
pub mod op;
