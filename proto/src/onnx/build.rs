//! Constructors that keep graph writing readable.

use super::messages::{
    AttributeProto, AttributeType, DataType, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};

/// Size of one axis of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim<'a> {
    /// A fixed size.
    Fixed(i64),
    /// A size known when the model runs; equal names are equal sizes.
    Symbol(&'a str),
}

impl NodeProto {
    /// A node of the standard domain, without attributes.
    pub fn new(
        op_type: &str,
        name: &str,
        inputs: impl IntoIterator<Item = impl Into<String>>,
        outputs: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            op_type: op_type.to_owned(),
            name: name.to_owned(),
            input: inputs.into_iter().map(Into::into).collect(),
            output: outputs.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attr(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }

    /// The attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name == name)
    }
}

impl AttributeProto {
    fn typed(name: &str, r#type: AttributeType) -> Self {
        Self { name: name.to_owned(), r#type: r#type.into(), ..Self::default() }
    }

    /// An integer.
    pub fn int(name: &str, value: i64) -> Self {
        Self { i: Some(value), ..Self::typed(name, AttributeType::Int) }
    }

    /// A list of integers.
    pub fn ints(name: &str, values: impl IntoIterator<Item = i64>) -> Self {
        Self { ints: values.into_iter().collect(), ..Self::typed(name, AttributeType::Ints) }
    }

    /// A float.
    pub fn float(name: &str, value: f32) -> Self {
        Self { f: Some(value), ..Self::typed(name, AttributeType::Float) }
    }

    /// A list of floats.
    pub fn floats(name: &str, values: impl IntoIterator<Item = f32>) -> Self {
        Self { floats: values.into_iter().collect(), ..Self::typed(name, AttributeType::Floats) }
    }

    /// A string.
    pub fn string(name: &str, value: &str) -> Self {
        Self { s: Some(value.as_bytes().to_vec()), ..Self::typed(name, AttributeType::String) }
    }

    /// A tensor, such as the value of a `Constant`.
    pub fn tensor(name: &str, value: TensorProto) -> Self {
        Self { t: Some(Box::new(value)), ..Self::typed(name, AttributeType::Tensor) }
    }
}

impl ValueInfoProto {
    /// A tensor with a shape.
    pub fn tensor(name: &str, elem_type: DataType, shape: &[Dim<'_>]) -> Self {
        let dim =
            shape.iter().map(|&dim| tensor_shape_proto::Dimension { value: Some(dim.into()) }).collect();
        Self::typed(name, elem_type, Some(TensorShapeProto { dim }))
    }

    /// A tensor of which only the element type is recorded.
    pub fn unshaped(name: &str, elem_type: DataType) -> Self {
        Self::typed(name, elem_type, None)
    }

    fn typed(name: &str, elem_type: DataType, shape: Option<TensorShapeProto>) -> Self {
        let tensor_type = type_proto::Tensor { elem_type: elem_type.into(), shape };
        Self {
            name: name.to_owned(),
            r#type: Some(TypeProto { tensor_type: Some(tensor_type) }),
            doc_string: String::new(),
        }
    }

    /// Element type and shape, when the value is a tensor of known shape.
    pub fn tensor_shape(&self) -> Option<(DataType, &[tensor_shape_proto::Dimension])> {
        let tensor = self.r#type.as_ref()?.tensor_type.as_ref()?;
        Some((tensor.elem_type(), &tensor.shape.as_ref()?.dim))
    }
}

impl From<Dim<'_>> for tensor_shape_proto::Value {
    fn from(dim: Dim<'_>) -> Self {
        match dim {
            Dim::Fixed(size) => Self::DimValue(size),
            Dim::Symbol(name) => Self::DimParam(name.to_owned()),
        }
    }
}

impl OperatorSetIdProto {
    /// The standard operators at a version.
    pub fn standard(version: i64) -> Self {
        Self { domain: String::new(), version }
    }
}

impl StringStringEntryProto {
    /// An entry.
    pub fn new(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), value: value.to_owned() }
    }
}
