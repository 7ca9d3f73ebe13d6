//! State dicts that torch saved: the zip archive of torch 1.6 and later, and the pickles in a row of earlier versions.
//!
//! ```text
//! zip:     <name>/data.pkl      the dict, with persistent ids in place of storages
//!          <name>/data/<key>    a storage, little-endian          <name>/byteorder
//! legacy:  pickle of a magic number, of 1001, of a dict about the machine; pickle of the dict; pickle of the list of keys;
//!          then for each key its number of elements (u64) and the storage
//! ```

mod opcode;
mod pickle;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pickle::{Id, Pickle, Tensor, Value};

use super::zip::Zip;
use super::{Array, Format, WeightsError, element_count};
use crate::label_error::excerpt;

/// What a legacy file begins with: protocol 2, and an integer of ten bytes that nobody else writes.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Names under which training scripts keep the state dict of the network, the likeliest first.
const STATE_DICT_KEYS: [&str; 6] = ["state_dict", "model_state_dict", "model", "net", "weights", "params"];

fn damaged(what: impl std::fmt::Display) -> WeightsError {
    WeightsError::damaged(Format::Torch, what)
}

/// Whether a file begins as those of torch before 1.6.
pub fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(LEGACY_MAGIC)
}

/// Reads the state dict of a zip archive, in its order. Whole numbers, which only count batches, are left out.
///
/// # Errors
/// [`WeightsError`]; one of anything but tensors, dicts and plain values names what it is.
pub fn read_zip(bytes: &[u8]) -> Result<Vec<Array>, WeightsError> {
    let mut zip = Zip::open(Format::Torch, bytes)?;
    let Some(name) = zip.find("data.pkl") else {
        let what = "a zip archive without data.pkl; unpack it and give the weight file inside";
        return Err(WeightsError::unsupported(Format::Torch, what));
    };
    let root = name.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    if zip.read(&format!("{root}byteorder"))?.is_some_and(|order| order != b"little") {
        return Err(WeightsError::unsupported(Format::Torch, "its numbers are big-endian"));
    }
    let content = zip.read(&name)?.ok_or_else(|| damaged("data.pkl has gone"))?;
    let (pickle, _) = pickle::load(&content)?;
    let mut storages = BTreeMap::new();
    let mut left = bytes.len();
    for storage in pickle.storages() {
        let key = storage.key.as_str();
        if storages.contains_key(key) {
            continue;
        }
        let missing = || damaged(format!("storage {} is missing", excerpt(key)));
        let content = zip.read(&format!("{root}data/{key}"))?.ok_or_else(missing)?;
        // The entries of a hostile archive may overlap.
        left = left
            .checked_sub(content.len())
            .ok_or_else(|| damaged("its storages are longer than the file"))?;
        storages.insert(key, Cow::Owned(content));
    }
    arrays(&pickle, &storages, bytes.len())
}

/// Reads the state dict of a legacy file, in its order. Whole numbers, which only count batches, are left out.
///
/// # Errors
/// [`WeightsError`]; one of anything but tensors, dicts and plain values names what it is.
pub fn read_legacy(bytes: &[u8]) -> Result<Vec<Array>, WeightsError> {
    let rest = bytes.strip_prefix(LEGACY_MAGIC).ok_or_else(|| damaged("there is no magic number"))?;
    let (version, rest) = pickle::load(rest)?;
    if *version.result() != Value::Int(1001) {
        return Err(WeightsError::unsupported(Format::Torch, "an unknown version of torch's format"));
    }
    let (_machine, rest) = pickle::load(rest)?;
    let (pickle, rest) = pickle::load(rest)?;
    let sizes: BTreeMap<&str, usize> =
        pickle.storages().map(|storage| (storage.key.as_str(), storage.element.size())).collect();
    let (keys, mut rest) = pickle::load(rest)?;
    let Value::List(ids) = keys.result() else { return Err(damaged("the list of storages is missing")) };
    let mut storages = BTreeMap::new();
    for id in ids {
        let Value::Text(key) = keys.value(*id) else { return Err(damaged("a storage has no name")) };
        let short = || damaged(format!("storage {} ends too early", excerpt(key)));
        let size = sizes
            .get(key.as_str())
            .ok_or_else(|| damaged(format!("storage {} is of no tensor", excerpt(key))))?;
        let (len, after) = rest.split_first_chunk().ok_or_else(short)?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok().and_then(|len| len.checked_mul(*size));
        let (storage, after) = len.and_then(|len| after.split_at_checked(len)).ok_or_else(short)?;
        storages.insert(key.as_str(), Cow::Borrowed(storage));
        rest = after;
    }
    arrays(&pickle, &storages, bytes.len())
}

/// The tensors of the state dict in a pickle: of the dict itself, or of the one dict inside that has tensors.
fn state_dict(pickle: &Pickle) -> Result<Vec<(&str, &Tensor)>, WeightsError> {
    let mut found: Vec<(&str, Vec<(&str, &Tensor)>)> = Vec::new();
    let mut seen = BTreeSet::from([pickle.result]);
    let mut queue: VecDeque<(&str, Id)> = VecDeque::from([("", pickle.result)]);
    while let Some((key, id)) = queue.pop_front() {
        let Value::Dict(items) = pickle.value(id) else { continue };
        let mut tensors = Vec::new();
        for (key, value) in items {
            let Value::Text(key) = pickle.value(*key) else { continue };
            match pickle.value(*value) {
                Value::Tensor(tensor) => tensors.push((key.as_str(), tensor)),
                Value::Dict(_) if seen.insert(*value) => queue.push_back((key, *value)),
                _ => {}
            }
        }
        // A number of its own, such as the loss so far, is no layer.
        if tensors.iter().any(|(_, tensor)| !tensor.shape.is_empty()) {
            found.push((key, tensors));
        }
    }
    if let Some(whole) = found.iter().position(|(key, _)| key.is_empty()) {
        return Ok(found.swap_remove(whole).1);
    }
    let likeliest = STATE_DICT_KEYS.iter().find_map(|key| found.iter().position(|(name, _)| name == key));
    match (likeliest, found.len()) {
        (Some(index), _) => Ok(found.swap_remove(index).1),
        (None, 1) => Ok(found.swap_remove(0).1),
        (None, 0) => Err(WeightsError::unsupported(Format::Torch, "there are no tensors in it")),
        (None, _) => {
            let names: Vec<&str> = found.iter().take(8).map(|(name, _)| *name).collect();
            let what = format!(
                "it holds several state dicts ({}); save the one you mean by itself",
                names.join(", ")
            );
            Err(WeightsError::unsupported(Format::Torch, what))
        }
    }
}

/// The tensors of the state dict. `file_len` bounds what they may show in all, however often they look at the same numbers.
fn arrays(
    pickle: &Pickle,
    storages: &BTreeMap<&str, Cow<'_, [u8]>>,
    file_len: usize,
) -> Result<Vec<Array>, WeightsError> {
    let mut arrays = Vec::new();
    let mut total = 0usize;
    for (name, tensor) in state_dict(pickle)? {
        let bad = |what: &str| damaged(format!("tensor `{}` {what}", excerpt(name)));
        let storage = pickle.storage(tensor).ok_or_else(|| bad("has no storage"))?;
        let bytes = storages.get(storage.key.as_str()).ok_or_else(|| bad("has no storage"))?;
        let count = element_count(&tensor.shape).ok_or_else(|| bad("is too large"))?;
        total =
            total.checked_add(count).filter(|total| *total <= file_len).ok_or_else(|| bad("is too large"))?;
        let bytes = view(tensor, bytes, storage.element.size(), count)
            .ok_or_else(|| bad("reaches beyond its storage"))?;
        if let Some(values) = storage.element.decode(&bytes) {
            arrays.push(Array { name: name.to_owned(), shape: tensor.shape.clone(), values });
        }
    }
    Ok(arrays)
}

/// The `count` elements of a strided view, in row-major order. `size`: bytes of an element.
fn view(tensor: &Tensor, storage: &[u8], size: usize, count: usize) -> Option<Vec<u8>> {
    let (shape, strides) = (&tensor.shape, &tensor.strides);
    if shape.len() != strides.len() {
        return None;
    }
    let mut bytes = Vec::new();
    let mut index = vec![0usize; shape.len()];
    let mut at = tensor.offset;
    for _ in 0..count {
        let begin = at.checked_mul(size)?;
        bytes.extend_from_slice(storage.get(begin..begin.checked_add(size)?)?);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                at = at.checked_add(strides[axis])?;
                break;
            }
            at -= (shape[axis] - 1) * strides[axis];
            index[axis] = 0;
        }
    }
    Some(bytes)
}
