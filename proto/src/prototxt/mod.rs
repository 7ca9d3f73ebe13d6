//! Protobuf text format: bytes of a spec to an untyped tree in which every piece knows its place.
//!
//! ```text
//! text ─lexer─► tokens ─parser─► tree with spans ─spec::bind─► typed messages
//! ```
//! The parser recovers from errors, so one run reports every problem of a file. Text is hostile until proven
//! otherwise: size, nesting and the number of reported problems are bounded ([`limits`]), and nothing here
//! panics on any input.
//!
//! Syntax: <https://protobuf.dev/reference/protobuf/textformat-spec/>, with the leniency of the Python parser
//! that the original tool uses (`True`, `t`, adjacent literals, `,` or `;` after a field).

mod diagnostic;
mod lexer;
pub mod limits;
mod parser;
mod render;
mod source;
mod string_literal;
mod suggest;
mod tree;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use source::{Position, Source, Span};
pub use suggest::closest;

pub(crate) use diagnostic::Problems;
pub(crate) use parser::parse;
pub(crate) use string_literal::source_offset;
pub(crate) use tree::{Field, Scalar, ScalarKind, Value};
