//! The part of Python's pickle that a state dict needs, without the part that runs code.
//!
//! A pickle is a program for a stack machine ([`pickletools`](https://github.com/python/cpython/blob/main/Lib/pickletools.py)
//! describes the instructions). Its calls are not made: the few that build state dicts are understood, and any other name that a
//! pickle imports is an error. Values live in one arena and refer to each other by index, so that a pickle makes no more of them
//! than it has instructions.

use std::collections::BTreeMap;

use super::opcode as op;
use crate::label_error::excerpt;
use crate::weights::element::Element;
use crate::weights::{Format, WeightsError};

/// The position of a value in its [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(usize);

/// Numbers that tensors look at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub(super) element: Element,
    pub(super) key: String,
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    /// A [`Value::Storage`].
    pub(super) storage: Id,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool,
    Int(i64),
    /// An integer of more than 64 bits.
    Long,
    Float,
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Function(Function),
    StorageType(Element),
    Storage(Storage),
    Tensor(Tensor),
}

/// The calls that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    OrderedDict,
    RebuildParameter,
    RebuildTensor,
    Size,
}

/// A pickle that has run.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    pub(super) result: Id,
}

impl Pickle {
    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id.0]
    }

    pub(super) fn result(&self) -> &Value {
        self.value(self.result)
    }

    /// The storage behind a tensor.
    pub(super) fn storage(&self, tensor: &Tensor) -> Option<&Storage> {
        match self.value(tensor.storage) {
            Value::Storage(storage) => Some(storage),
            _ => None,
        }
    }

    /// Every storage it names.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(storage),
            _ => None,
        })
    }
}

/// Runs the pickle at the start of `bytes`; returns it and the bytes behind it.
pub(super) fn load(bytes: &[u8]) -> Result<(Pickle, &[u8]), WeightsError> {
    let mut machine = Machine {
        rest: bytes,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
        copies: bytes.len(),
    };
    while !machine.step()? {}
    let result = machine.pop()?;
    Ok((Pickle { values: machine.values, result }, machine.rest))
}

struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
    /// Items that may still be copied.
    copies: usize,
}

fn damaged(what: &str) -> WeightsError {
    WeightsError::damaged(Format::Torch, what)
}

impl<'a> Machine<'a> {
    /// Executes one instruction; true after the last.
    fn step(&mut self) -> Result<bool, WeightsError> {
        let code = self.byte()?;
        // A number, a length, or the place of something stored.
        let operand = match code {
            op::BININT1
            | op::BINPUT
            | op::BINGET
            | op::LONG1
            | op::SHORT_BINUNICODE
            | op::SHORT_BINSTRING => self.byte()?.into(),
            op::BININT2 => u16::from_le_bytes(self.array()?).into(),
            op::BININT | op::LONG_BINPUT | op::LONG_BINGET | op::BINUNICODE | op::BINSTRING => {
                u32::from_le_bytes(self.array()?)
            }
            _ => 0,
        };
        match code {
            op::STOP => return Ok(true),
            op::PROTO => drop(self.take(1)?),
            op::FRAME => drop(self.take(8)?),
            op::MARK => self.marks.push(self.stack.len()),
            op::POP => drop(self.pop()?),
            op::NONE => self.push(Value::None),
            op::NEWTRUE | op::NEWFALSE => self.push(Value::Bool),
            op::BININT => self.push(Value::Int(i64::from(operand.cast_signed()))),
            op::BININT1 | op::BININT2 => self.push(Value::Int(operand.into())),
            op::LONG1 => {
                let value = long(self.take(operand as usize)?);
                self.push(value);
            }
            op::BINFLOAT => {
                self.take(8)?;
                self.push(Value::Float);
            }
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINSTRING | op::SHORT_BINSTRING => {
                self.text(operand as usize)?;
            }
            op::EMPTY_TUPLE => self.push(Value::Tuple(Vec::new())),
            op::EMPTY_LIST => self.push(Value::List(Vec::new())),
            op::EMPTY_DICT => self.push(Value::Dict(Vec::new())),
            op::TUPLE1 => self.tuple(1)?,
            op::TUPLE2 => self.tuple(2)?,
            op::TUPLE3 => self.tuple(3)?,
            op::TUPLE => {
                let items = self.pop_mark()?;
                self.push(Value::Tuple(items));
            }
            op::APPEND => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            op::APPENDS => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            op::SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            op::SETITEMS => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            op::BINPUT | op::LONG_BINPUT => self.memoize(operand)?,
            op::MEMOIZE => self.memoize(self.memo.len() as u32)?,
            op::BINGET | op::LONG_BINGET => self.recall(operand)?,
            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.global(&module, &name)?;
            }
            op::BINPERSID => self.persistent()?,
            op::REDUCE => self.reduce()?,
            op::BUILD => self.build()?,
            other => {
                let what =
                    format!("its pickle has the instruction {other:#04x}, which state dicts do not need");
                return Err(WeightsError::unsupported(Format::Torch, what));
            }
        }
        Ok(false)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WeightsError> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or_else(|| damaged("its pickle ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WeightsError> {
        let (taken, rest) =
            self.rest.split_first_chunk().ok_or_else(|| damaged("its pickle ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, WeightsError> {
        self.array().map(|[byte]| byte)
    }

    fn line(&mut self) -> Result<String, WeightsError> {
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| damaged("its pickle ends too early"))?;
        let line = self.take(end)?;
        self.take(1)?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(Id(self.values.len()));
        self.values.push(value);
    }

    fn text(&mut self, len: usize) -> Result<(), WeightsError> {
        let text = String::from_utf8_lossy(self.take(len)?).into_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, WeightsError> {
        if self.marks.last().is_some_and(|mark| *mark >= self.stack.len()) {
            return Err(damaged("its pickle takes from below a mark"));
        }
        self.stack.pop().ok_or_else(|| damaged("its pickle takes from an empty stack"))
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, WeightsError> {
        let mark = self.marks.pop().ok_or_else(|| damaged("its pickle has no mark to go back to"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_text(&mut self) -> Result<String, WeightsError> {
        let id = self.pop()?;
        self.as_text(id).map(str::to_owned)
    }

    fn tuple(&mut self, len: usize) -> Result<(), WeightsError> {
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: &[Id]) -> Result<(), WeightsError> {
        match self.stack.last().map(|id| &mut self.values[id.0]) {
            Some(Value::List(list)) => list.extend(items),
            _ => return Err(damaged("its pickle appends to something that is no list")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), WeightsError> {
        let (pairs, odd) = items.as_chunks::<2>();
        match self.stack.last().map(|id| &mut self.values[id.0]) {
            Some(Value::Dict(dict)) if odd.is_empty() => {
                dict.extend(pairs.iter().map(|[key, value]| (*key, *value)))
            }
            _ => return Err(damaged("its pickle sets items of something that is no dict")),
        }
        Ok(())
    }

    fn memoize(&mut self, key: u32) -> Result<(), WeightsError> {
        let top = *self.stack.last().ok_or_else(|| damaged("its pickle takes from an empty stack"))?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), WeightsError> {
        let id = *self.memo.get(&key).ok_or_else(|| damaged("its pickle recalls what it never stored"))?;
        self.stack.push(id);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), WeightsError> {
        let value = match (module, name) {
            ("collections", "OrderedDict") => Value::Function(Function::OrderedDict),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => {
                Value::Function(Function::RebuildTensor)
            }
            ("torch._utils", "_rebuild_parameter") => Value::Function(Function::RebuildParameter),
            ("torch", "Size") => Value::Function(Function::Size),
            ("torch", "BFloat16Storage") => Value::StorageType(Element::Bf16),
            ("torch", "HalfStorage") => Value::StorageType(Element::F16),
            ("torch", "FloatStorage") => Value::StorageType(Element::F32),
            ("torch", "DoubleStorage") => Value::StorageType(Element::F64),
            ("torch", "BoolStorage" | "ByteStorage" | "CharStorage") => Value::StorageType(Element::Whole(1)),
            ("torch", "ShortStorage") => Value::StorageType(Element::Whole(2)),
            ("torch", "IntStorage") => Value::StorageType(Element::Whole(4)),
            ("torch", "LongStorage") => Value::StorageType(Element::Whole(8)),
            _ => {
                let what = format!(
                    "it holds a `{}.{}`, and only state dicts of tensors are read; \
                     save model.state_dict() by itself",
                    excerpt(module),
                    excerpt(name)
                );
                return Err(WeightsError::unsupported(Format::Torch, what));
            }
        };
        self.push(value);
        Ok(())
    }

    /// Counts a copy of something that may be long: a few instructions must not make many.
    fn copy(&mut self, len: usize) -> Result<(), WeightsError> {
        self.copies = self.copies.checked_sub(len).ok_or_else(|| damaged("its pickle copies without end"))?;
        Ok(())
    }

    /// `('storage', type, key, device, length)`, in older files followed by a view, which must be none.
    fn persistent(&mut self) -> Result<(), WeightsError> {
        let id = self.pop()?;
        let fields = self.as_tuple(id)?;
        let [kind, element, key, _device, len, view @ ..] = fields else {
            return Err(damaged("its pickle refers to something that is no storage"));
        };
        let Value::StorageType(element) = self.values[element.0] else {
            return Err(damaged("its pickle refers to a storage without type"));
        };
        if self.as_text(*kind)? != "storage" || view.iter().any(|view| self.values[view.0] != Value::None) {
            let what = "its tensors share storages in a way that torch gave up in 2018; save it again with a later torch";
            return Err(WeightsError::unsupported(Format::Torch, what));
        }
        self.as_size(*len)?;
        let key = self.as_text(*key)?.to_owned();
        self.copy(key.len())?;
        self.push(Value::Storage(Storage { element, key }));
        Ok(())
    }

    /// Sets attributes. An OrderedDict has some, version numbers of layers, that nobody needs.
    fn build(&mut self) -> Result<(), WeightsError> {
        self.pop()?;
        match self.stack.last().map(|id| &self.values[id.0]) {
            Some(Value::Dict(_)) => Ok(()),
            _ => Err(damaged("its pickle sets attributes of something that has none")),
        }
    }

    fn reduce(&mut self) -> Result<(), WeightsError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let arguments = self.as_tuple(arguments)?;
        let Value::Function(function) = self.values[function.0] else {
            return Err(damaged("its pickle calls something that is no function"));
        };
        let value = match (function, arguments) {
            (Function::OrderedDict, []) => Value::Dict(Vec::new()),
            (Function::OrderedDict, [items]) => {
                let items = self.as_list(*items)?;
                let dict = items.iter().map(|item| self.as_pair(*item)).collect::<Result<Vec<_>, _>>()?;
                self.copy(dict.len())?;
                Value::Dict(dict)
            }
            (Function::RebuildParameter | Function::Size, [same, ..]) => {
                self.stack.push(*same);
                return Ok(());
            }
            (Function::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                if !matches!(self.values[storage.0], Value::Storage(_)) {
                    return Err(damaged("its pickle makes a tensor without storage"));
                }
                Value::Tensor(Tensor {
                    storage: *storage,
                    offset: self.as_size(*offset)?,
                    shape: self.as_sizes(*shape)?,
                    strides: self.as_sizes(*strides)?,
                })
            }
            _ => return Err(damaged("its pickle calls a function with too few arguments")),
        };
        self.push(value);
        Ok(())
    }

    fn as_text(&self, id: Id) -> Result<&str, WeightsError> {
        match &self.values[id.0] {
            Value::Text(text) => Ok(text),
            _ => Err(damaged("its pickle has something else where text belongs")),
        }
    }

    fn as_tuple(&self, id: Id) -> Result<&[Id], WeightsError> {
        match &self.values[id.0] {
            Value::Tuple(items) => Ok(items),
            _ => Err(damaged("its pickle has something else where a tuple belongs")),
        }
    }

    fn as_list(&self, id: Id) -> Result<&[Id], WeightsError> {
        match &self.values[id.0] {
            Value::List(items) => Ok(items),
            _ => Err(damaged("its pickle has something else where a list belongs")),
        }
    }

    fn as_pair(&self, id: Id) -> Result<(Id, Id), WeightsError> {
        match &self.values[id.0] {
            Value::Tuple(items) | Value::List(items) if items.len() == 2 => Ok((items[0], items[1])),
            _ => Err(damaged("its pickle has something else where a pair belongs")),
        }
    }

    fn as_size(&self, id: Id) -> Result<usize, WeightsError> {
        match self.values[id.0] {
            Value::Int(value) => {
                usize::try_from(value).map_err(|_| damaged("its pickle has a negative size"))
            }
            _ => Err(damaged("its pickle has something else where a size belongs")),
        }
    }

    fn as_sizes(&self, id: Id) -> Result<Vec<usize>, WeightsError> {
        let sizes = self.as_tuple(id)?;
        if sizes.len() > MAX_AXES {
            return Err(damaged("its pickle has a tensor of too many axes"));
        }
        sizes.iter().map(|size| self.as_size(*size)).collect()
    }
}

/// No weight has more axes; a bound, so that a tensor's view is small.
const MAX_AXES: usize = 8;

/// An integer of any length, as LONG1 stores it.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Long;
    }
    let sign = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut whole = [sign; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(whole))
}
