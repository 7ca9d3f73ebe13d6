//! oxidet runtime
