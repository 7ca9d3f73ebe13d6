//! `tf.train.Example`: named lists of bytes, floats or integers.
//!
//! Field numbers: <https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/feature.proto>.
//! The map is ordered, so equal messages give equal bytes.

use std::collections::BTreeMap;

/// One record's content.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Example {
    /// The features.
    #[prost(message, optional, tag = "1")]
    pub features: Option<Features>,
}

/// Features by name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Features {
    /// The features.
    #[prost(btree_map = "string, message", tag = "1")]
    pub feature: BTreeMap<String, Feature>,
}

/// One list.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Feature {
    /// The list; absent in a feature without values whose kind the writer did not state.
    #[prost(oneof = "Kind", tags = "1, 2, 3")]
    pub kind: Option<Kind>,
}

/// A list of one of three types.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// Texts and other bytes.
    #[prost(message, tag = "1")]
    Bytes(BytesList),
    /// 32-bit floats.
    #[prost(message, tag = "2")]
    Float(FloatList),
    /// 64-bit integers.
    #[prost(message, tag = "3")]
    Int64(Int64List),
}

/// Values of [`Kind::Bytes`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct BytesList {
    /// The values.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub value: Vec<Vec<u8>>,
}

/// Values of [`Kind::Float`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct FloatList {
    /// The values.
    #[prost(float, repeated, tag = "1")]
    pub value: Vec<f32>,
}

/// Values of [`Kind::Int64`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Int64List {
    /// The values.
    #[prost(int64, repeated, tag = "1")]
    pub value: Vec<i64>,
}

impl Kind {
    /// What the list holds, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "bytes",
            Self::Float(_) => "floats",
            Self::Int64(_) => "integers",
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(list) => list.value.len(),
            Self::Float(list) => list.value.len(),
            Self::Int64(list) => list.value.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Vec<Vec<u8>>> for Feature {
    fn from(value: Vec<Vec<u8>>) -> Self {
        Self { kind: Some(Kind::Bytes(BytesList { value })) }
    }
}

impl From<Vec<f32>> for Feature {
    fn from(value: Vec<f32>) -> Self {
        Self { kind: Some(Kind::Float(FloatList { value })) }
    }
}

impl From<Vec<i64>> for Feature {
    fn from(value: Vec<i64>) -> Self {
        Self { kind: Some(Kind::Int64(Int64List { value })) }
    }
}
