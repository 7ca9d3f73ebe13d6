//! What `oxidet demo` trains on: a drawn data set and its spec.

mod backdrop;
mod colour;
pub mod data;
pub mod scene;
mod shape;
pub mod spec;
