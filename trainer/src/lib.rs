//! oxidet trainer
pub mod interp;
pub mod kernel;
pub mod net;
pub mod op;
