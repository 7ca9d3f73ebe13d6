//! The untyped tree: what was written, before anyone asks whether the fields exist.

use std::borrow::Cow;

use super::source::Span;

/// `name: value` or `name { … }`.
#[derive(Debug)]
pub struct Field<'a> {
    pub name: &'a str,
    pub name_span: Span,
    pub value: Value<'a>,
}

#[derive(Debug)]
pub enum Value<'a> {
    Scalar(Scalar<'a>),
    Message {
        fields: Vec<Field<'a>>,
        span: Span,
    },
    /// `[a, b]`; its members are scalars and messages, never lists.
    List {
        values: Vec<Value<'a>>,
        span: Span,
    },
}

impl Value<'_> {
    pub fn span(&self) -> Span {
        match self {
            Self::Scalar(scalar) => scalar.span,
            Self::Message { span, .. } | Self::List { span, .. } => *span,
        }
    }
}

#[derive(Debug)]
pub struct Scalar<'a> {
    pub kind: ScalarKind,
    /// The decoded text of a string, the bare text of anything else.
    pub text: Cow<'a, str>,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarKind {
    Ident,
    Number,
    String,
}
