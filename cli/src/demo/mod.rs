//! What `oxidet demo` trains on: a drawn data set and its spec.

mod backdrop;
mod colour;
#[cfg(feature = "training")]
pub mod data;
pub mod scene;
mod shape;
#[cfg(feature = "training")]
pub mod spec;
