//! What the documentation says of the command line and of specs is what they are.

#![allow(clippy::unwrap_used)]

mod examples;
mod reference;
