//! The untyped tree to typed messages.
//!
//! Every field is looked up by name, its value read by its type, its place noted; every problem is reported
//! and the rest still bound. Codes: `S003` unknown field, `S004` value of the wrong type, `S005` unknown
//! enumeration value, `S006` given twice, `S007` oneof member replaced.

use super::message::{Descriptor, Kind, Message};
use super::scalar::Misfit;
use super::spans::{Place, Spans};
use crate::prototxt::{Diagnostic, Field, Problems, Scalar, Source, Span, Value, closest};

/// Walks a tree; knows the path it stands at.
#[doc(hidden)]
#[derive(Debug)]
pub struct Binder<'s> {
    source: &'s Source,
    root: &'static Descriptor,
    path: String,
    /// What names the current path: a field's name, a map entry's key.
    name: Span,
    pub(super) spans: Spans,
    pub(super) problems: Problems,
}

impl<'s> Binder<'s> {
    /// Binds the top-level `fields` of `source` to a message of type `M`.
    pub(super) fn bind<M: Message>(
        source: &'s Source,
        fields: &[Field<'_>],
        root: &'static Descriptor,
        problems: Problems,
    ) -> (M, Spans, Problems) {
        let name = Span::new(0, 0);
        let mut binder = Self { source, root, path: String::new(), name, spans: Spans::default(), problems };
        let mut message = M::default();
        binder.fields(fields, &mut message);
        (message, binder.spans, binder.problems)
    }

    /// A written value into a message field at the current path.
    pub(super) fn message<M: Message>(&mut self, value: &Value<'_>, into: &mut M) {
        match value {
            Value::Message { fields, span } => {
                self.spans.insert(&self.path, Place { name: self.name, value: *span });
                self.fields(fields, into);
            }
            Value::Scalar(_) => {
                let field = self.field_name();
                let help = format!("write `{field} {{ … }}`");
                self.misplaced(value.span(), "holds fields, not a single value", Some(help));
            }
            Value::List { .. } => self.misplaced(value.span(), "is given once, it takes no list", None),
        }
    }

    /// A written value into a scalar field at the current path.
    pub(super) fn scalar<T>(
        &mut self,
        value: &Value<'_>,
        into: &mut T,
        read: impl FnOnce(&Scalar<'_>) -> Result<T, Misfit>,
    ) {
        let scalar = match value {
            Value::Scalar(scalar) => scalar,
            Value::Message { span, .. } => {
                return self.misplaced(*span, "takes a single value, not `{ … }`", None);
            }
            Value::List { span, .. } => {
                return self.misplaced(*span, "takes a single value, not a list", None);
            }
        };
        match read(scalar) {
            Ok(value) => {
                self.note_place(Place { name: self.name, value: scalar.span });
                *into = value;
            }
            Err(misfit) => {
                let code = if misfit.unknown_enum_value { "S005" } else { "S004" };
                let message = format!("`{}` {}", self.field_name(), misfit.message);
                self.problems.push(Diagnostic::error(code, scalar.span, message).maybe_help(misfit.help));
            }
        }
    }

    /// Runs `bind` at element `index` of the current path.
    pub(super) fn at_index(&mut self, index: usize, bind: impl FnOnce(&mut Self)) {
        self.nested(&format!("[{index}]"), self.name, bind);
    }

    /// A written `{ key: … value: … }` of the map at the current path; `insert` runs at the path of the
    /// entry.
    pub(super) fn map_entry(
        &mut self,
        entry: &Value<'_>,
        insert: impl FnOnce(String, Option<&Value<'_>>, &mut Self),
    ) {
        let Value::Message { fields, span } = entry else {
            let help = "write `{ key: \"…\" value: … }` for each entry".to_owned();
            return self.misplaced(entry.span(), "is a map", Some(help));
        };
        let (mut key, mut key_span, mut value) = (String::new(), self.name, None);
        for field in fields {
            match (field.name, &field.value) {
                ("key", Value::Scalar(scalar)) if scalar.kind == crate::prototxt::ScalarKind::String => {
                    key = scalar.text.clone().into_owned();
                    key_span = scalar.span;
                }
                ("key", other) => {
                    let help = Some("write the key as a string, with quotes".to_owned());
                    return self.misplaced(other.span(), "has strings as keys", help);
                }
                ("value", written) => value = Some(written),
                (other, _) => {
                    let message = format!("unknown field `{other}` in an entry of `{}`", self.field_name());
                    let help = "an entry has `key` and `value`";
                    self.problems.push(Diagnostic::error("S003", field.name_span, message).help(help));
                }
            }
        }
        self.nested(&format!("[{key:?}]"), key_span, |binder| {
            if value.is_none() {
                binder.note_place(Place { name: key_span, value: *span });
            }
            insert(key, value, binder);
        });
    }

    fn fields<M: Message>(&mut self, fields: &[Field<'_>], into: &mut M) {
        for field in fields {
            if self.problems.is_full() {
                return;
            }
            let known = const { &M::DESCRIPTOR }.fields;
            let Some(index) = known.iter().position(|f| f.name == field.name) else {
                self.unknown_field(field, const { &M::DESCRIPTOR });
                continue;
            };
            if let Some(group) = known[index].oneof {
                for (other, member) in known.iter().enumerate() {
                    if other != index && member.oneof == Some(group) && self.displaces(member.name, field) {
                        into.slot_mut(other).clear();
                    }
                }
            }
            let segment =
                if self.path.is_empty() { field.name.to_owned() } else { format!(".{}", field.name) };
            self.nested(&segment, field.name_span, |binder| into.slot_mut(index).bind(&field.value, binder));
        }
    }

    fn nested(&mut self, segment: &str, name: Span, bind: impl FnOnce(&mut Self)) {
        let (length, outer) = (self.path.len(), std::mem::replace(&mut self.name, name));
        self.path.push_str(segment);
        bind(self);
        self.path.truncate(length);
        self.name = outer;
    }

    /// Notes where the scalar at the current path is, and says so when it was there before.
    fn note_place(&mut self, place: Place) {
        if let Some(before) = self.spans.get(&self.path) {
            let line = self.source.position(before.value.start).line;
            let key = self.path.rsplit_once("[\"").and_then(|(_, key)| key.strip_suffix("\"]"));
            let name = match key {
                Some(key) => format!("`{key}` of `{}`", self.field_name()),
                None => format!("`{}`", self.field_name()),
            };
            let message = format!("{name} is given twice; this value counts");
            let diagnostic = Diagnostic::warning("S006", place.value, message);
            self.problems.push(
                diagnostic.reason(format!("the first one is on line {line}")).help("remove one of them"),
            );
        }
        self.spans.insert(&self.path, place);
    }

    /// Whether the oneof member `other` was written before `field`, which now replaces it.
    fn displaces(&mut self, other: &str, field: &Field<'_>) -> bool {
        let path = if self.path.is_empty() { other.to_owned() } else { format!("{}.{other}", self.path) };
        let Some(before) = self.spans.get(&path) else { return false };
        let line = self.source.position(before.name.start).line;
        let message = format!("`{}` replaces the `{other}` of line {line}", field.name);
        let diagnostic = Diagnostic::warning("S007", field.name_span, message);
        self.problems.push(
            diagnostic.reason("only one of them can be set; the last one counts").help("remove one of them"),
        );
        self.spans.remove(&path);
        true
    }

    fn unknown_field(&mut self, field: &Field<'_>, message: &'static Descriptor) {
        let place = match self.path.is_empty() {
            true => "at the top level".to_owned(),
            false => format!("in `{}`", self.field_name()),
        };
        let help = if self.root.fields.iter().any(|f| f.name == field.name) {
            Some(format!("`{}` belongs at the top level; is a closing bracket missing above?", field.name))
        } else if let Some(near) = closest(field.name, message.fields.iter().map(|f| f.name)) {
            Some(format!("did you mean `{near}`?"))
        } else {
            home_of(field.name, self.root).map(|home| format!("`{}` belongs in `{home}`", field.name))
        };
        let text = format!("unknown field `{}` {place}", shorten(field.name));
        self.problems.push(Diagnostic::error("S003", field.name_span, text).maybe_help(help));
    }

    fn misplaced(&mut self, span: Span, why: &str, help: Option<String>) {
        let message = format!("`{}` {why}", self.field_name());
        self.problems.push(Diagnostic::error("S004", span, message).maybe_help(help));
    }

    /// The name of the field at the current path, without index or key.
    fn field_name(&self) -> String {
        let without_key = self.path.split("[\"").next().unwrap_or_default();
        let field = without_key.rsplit('.').next().unwrap_or_default();
        field.split('[').next().unwrap_or_default().to_owned()
    }
}

/// The field whose message has a field called `name`, anywhere below `message`.
fn home_of(name: &str, message: &'static Descriptor) -> Option<&'static str> {
    message.fields.iter().find_map(|field| {
        let inner = match field.kind {
            Kind::Message(inner) | Kind::Repeated(&Kind::Message(inner)) => inner,
            _ => return None,
        };
        if inner.fields.iter().any(|f| f.name == name) { Some(field.name) } else { home_of(name, inner) }
    })
}

fn shorten(name: &str) -> String {
    match name.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &name[..cut]),
        None => name.to_owned(),
    }
}
