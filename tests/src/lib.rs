//! oxidet tests
