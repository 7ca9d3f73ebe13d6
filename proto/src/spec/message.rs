//! What a message is, and the macro in which one is declared.
//!
//! ```text
//! message! {
//!     /// What the message is about.
//!     OptimizerConfig as "OptimizerConfig" {
//!         /// What the field means.
//!         adam: Option<Adam> = 1 in optimizer,
//!     }
//! }
//! ```
//! reads: field `adam`, number 1, a message, member of the oneof `optimizer`. Field types are `bool`, `f32`,
//! `f64`, `i32`, `u32`, `String`, an enumeration; `Option` of a message, or of anything inside a oneof; `Vec`
//! for repeated fields; `BTreeMap<String, _>` for maps.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::bind::Binder;
use crate::prototxt::Value;

/// A message type: its name in the original schema and its fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Name in the original schema, such as `YOLOv3DatasetConfig`.
    pub name: &'static str,
    /// What it is about, as it is documented here.
    pub doc: &'static str,
    /// In order of declaration.
    pub fields: &'static [FieldDescriptor],
}

/// A field of a message type.
#[derive(Debug, PartialEq, Eq)]
pub struct FieldDescriptor {
    /// Name as it is written in a spec.
    pub name: &'static str,
    /// Number in the original schema.
    pub number: u32,
    /// What it means, as it is documented here.
    pub doc: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// The oneof it is a member of.
    pub oneof: Option<&'static str>,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the protobuf types by their own names")]
pub enum Kind {
    Bool,
    Double,
    Enum(&'static EnumDescriptor),
    Float,
    Int32,
    Map(&'static Kind),
    Message(&'static Descriptor),
    Repeated(&'static Kind),
    String,
    Uint32,
}

/// An enumeration: its values by name and number.
#[derive(Debug, PartialEq, Eq)]
pub struct EnumDescriptor {
    /// Name in the original schema.
    pub name: &'static str,
    /// Name as it is written in a spec, and number.
    pub values: &'static [(&'static str, i32)],
    /// What each of them means, as it is documented here.
    pub docs: &'static [&'static str],
}

/// A message of a spec. Implemented by `message!` only.
pub trait Message: Default + Clone + 'static {
    /// Its type.
    const DESCRIPTOR: Descriptor;

    /// The field at this index of the descriptor.
    #[doc(hidden)]
    fn slot(&self, index: usize) -> &dyn Slot;

    /// The field at this index of the descriptor.
    #[doc(hidden)]
    fn slot_mut(&mut self, index: usize) -> &mut dyn Slot;
}

/// The message in protobuf's JSON mapping, with the field names of the schema, and fields at their default
/// value left out.
///
/// Floats are written with the fewest digits that give the same `f32` back.
pub fn to_json<M: Message>(message: &M) -> Json {
    let fields = M::DESCRIPTOR.fields.iter().enumerate();
    let present = fields.filter_map(|(i, field)| Some((field.name.to_owned(), message.slot(i).to_json()?)));
    Json::Object(present.collect())
}

/// Storage of one field: how a written value gets in and how it comes out.
#[doc(hidden)]
pub trait Slot {
    /// Takes a written value in, by the merge rules of the field's type. The binder stands at the field's
    /// path.
    fn bind(&mut self, value: &Value<'_>, binder: &mut Binder<'_>);
    /// Back to the default.
    fn clear(&mut self);
    /// `None` when the field has its default value.
    fn to_json(&self) -> Option<Json>;
}

/// A type that a oneof member, a list or a map can hold: a scalar or a message.
#[doc(hidden)]
pub trait Element: Default {
    const KIND: Kind;
    fn merge(&mut self, value: &Value<'_>, binder: &mut Binder<'_>);
    fn json(&self) -> Json;
}

/// An element that is not a message.
#[doc(hidden)]
pub trait Scalar: Element + PartialEq {}

/// Gives each field type its [`Kind`].
#[doc(hidden)]
pub trait FieldType: Slot {
    const KIND: Kind;
}

impl<T: Scalar> FieldType for T {
    const KIND: Kind = <T as Element>::KIND;
}

impl<T: Scalar> Slot for T {
    fn bind(&mut self, value: &Value<'_>, binder: &mut Binder<'_>) {
        self.merge(value, binder);
    }

    fn clear(&mut self) {
        *self = T::default();
    }

    fn to_json(&self) -> Option<Json> {
        (*self != T::default()).then(|| self.json())
    }
}

impl<T: Element> FieldType for Option<T> {
    const KIND: Kind = T::KIND;
}

impl<T: Element> Slot for Option<T> {
    fn bind(&mut self, value: &Value<'_>, binder: &mut Binder<'_>) {
        self.get_or_insert_default().merge(value, binder);
    }

    fn clear(&mut self) {
        *self = None;
    }

    fn to_json(&self) -> Option<Json> {
        self.as_ref().map(T::json)
    }
}

impl<T: Element> FieldType for Vec<T> {
    const KIND: Kind = Kind::Repeated(&T::KIND);
}

impl<T: Element> Slot for Vec<T> {
    fn bind(&mut self, value: &Value<'_>, binder: &mut Binder<'_>) {
        let values = match value {
            Value::List { values, .. } => values.as_slice(),
            single => std::slice::from_ref(single),
        };
        for value in values {
            let mut element = T::default();
            binder.at_index(self.len(), |binder| element.merge(value, binder));
            self.push(element);
        }
    }

    fn clear(&mut self) {
        Vec::clear(self);
    }

    fn to_json(&self) -> Option<Json> {
        (!self.is_empty()).then(|| self.iter().map(T::json).collect())
    }
}

impl<T: Scalar> FieldType for BTreeMap<String, T> {
    const KIND: Kind = Kind::Map(&<T as Element>::KIND);
}

impl<T: Scalar> Slot for BTreeMap<String, T> {
    fn bind(&mut self, value: &Value<'_>, binder: &mut Binder<'_>) {
        let entries = match value {
            Value::List { values, .. } => values.as_slice(),
            single => std::slice::from_ref(single),
        };
        for entry in entries {
            binder.map_entry(entry, |key, value, binder| {
                let mut element = T::default();
                if let Some(value) = value {
                    element.merge(value, binder);
                }
                self.insert(key, element);
            });
        }
    }

    fn clear(&mut self) {
        BTreeMap::clear(self);
    }

    fn to_json(&self) -> Option<Json> {
        let entries = || self.iter().map(|(key, value)| (key.clone(), value.json())).collect::<Map<_, _>>();
        (!self.is_empty()).then(|| Json::Object(entries()))
    }
}

/// The name of a field as a spec has it: a Rust keyword loses its `r#`.
pub(super) const fn written_name(identifier: &'static str) -> &'static str {
    match identifier.as_bytes() {
        [b'r', b'#', ..] => identifier.split_at(2).1,
        _ => identifier,
    }
}

/// Declares a message; see the [module](self) for how it reads.
macro_rules! message {
    (
        $(#[doc = $doc:literal])*
        $name:ident as $schema_name:literal {
            $( $(#[doc = $field_doc:literal])* $field:ident: $ty:ty = $number:literal $(in $oneof:ident)?, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $ty, )*
        }

        impl $crate::spec::message::Message for $name {
            const DESCRIPTOR: $crate::spec::message::Descriptor = $crate::spec::message::Descriptor {
                name: $schema_name,
                doc: concat!($($doc, "\n",)*),
                fields: &[$(
                    $crate::spec::message::FieldDescriptor {
                        name: $crate::spec::message::written_name(stringify!($field)),
                        number: $number,
                        doc: concat!($($field_doc, "\n",)*),
                        kind: <$ty as $crate::spec::message::FieldType>::KIND,
                        oneof: $crate::spec::message::message!(@oneof $($oneof)?),
                    },
                )*],
            };

            fn slot(&self, index: usize) -> &dyn $crate::spec::message::Slot {
                let slots: &[&dyn $crate::spec::message::Slot] = &[$( &self.$field, )*];
                slots[index]
            }

            fn slot_mut(&mut self, index: usize) -> &mut dyn $crate::spec::message::Slot {
                let mut slots = [$( &mut self.$field as &mut dyn $crate::spec::message::Slot, )*].into_iter();
                slots.nth(index).expect("the index comes from the descriptor, which has these fields")
            }
        }

        impl $crate::spec::message::Element for $name {
            const KIND: $crate::spec::message::Kind = $crate::spec::message::Kind::Message(
                &<$name as $crate::spec::message::Message>::DESCRIPTOR,
            );

            fn merge(
                &mut self,
                value: &$crate::prototxt::Value<'_>,
                binder: &mut $crate::spec::bind::Binder<'_>,
            ) {
                binder.message(value, self);
            }

            fn json(&self) -> serde_json::Value {
                $crate::spec::message::to_json(self)
            }
        }
    };
    (@oneof) => { None };
    (@oneof $oneof:ident) => { Some(stringify!($oneof)) };
}

/// Declares an enumeration: `Variant = number as "NAME_IN_A_SPEC"`; the first is the default and has number 0, as protobuf has it.
macro_rules! enumeration {
    (
        $(#[doc = $doc:literal])*
        $name:ident as $schema_name:literal {
            $( $(#[doc = $value_doc:literal])* $value:ident = $number:literal as $text:literal, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[doc = $value_doc])* $value = $number, )*
        }

        impl Default for $name {
            fn default() -> Self {
                [$( Self::$value, )*][0]
            }
        }

        impl $name {
            const DESCRIPTOR: $crate::spec::message::EnumDescriptor = $crate::spec::message::EnumDescriptor {
                name: $schema_name,
                values: &[$( ($text, $number), )*],
                docs: &[$( concat!($($value_doc, "\n",)*), )*],
            };

            /// The name as it is written in a spec.
            pub fn name(self) -> &'static str {
                match self {
                    $( Self::$value => $text, )*
                }
            }
        }

        impl $crate::spec::message::Element for $name {
            const KIND: $crate::spec::message::Kind = $crate::spec::message::Kind::Enum(&$name::DESCRIPTOR);

            fn merge(
                &mut self,
                value: &$crate::prototxt::Value<'_>,
                binder: &mut $crate::spec::bind::Binder<'_>,
            ) {
                binder.scalar(value, self, |written| {
                    Ok(match $crate::spec::scalar::enum_number(&Self::DESCRIPTOR, written)? {
                        $( $number => Self::$value, )*
                        other => return Err($crate::spec::scalar::unknown_number(&Self::DESCRIPTOR, other)),
                    })
                });
            }

            fn json(&self) -> serde_json::Value {
                self.name().into()
            }
        }

        impl $crate::spec::message::Scalar for $name {}
    };
}

pub(crate) use {enumeration, message};
