//! The HDF5 files of Keras, old layout and new.

use std::collections::HashMap;

use hdf5_pure::{AttrValue, Dataset, Error, File, Group};
use serde_json::Value;

use super::object_names::ObjectNames;
use super::role::{is_role, roles};
use super::{Weights, data_format};
use crate::weights::{Array, Format, WeightsError, element_count};

/// Networks inside networks inside networks …
const MAX_DEPTH: usize = 16;

/// Values of a chunk that may be larger than its dataset: writers choose some round size for small ones.
const MAX_CHUNK: u64 = 1 << 20;

/// Bytes that a group takes up at least.
const LEAST_GROUP: usize = 16;

fn damaged(what: impl std::fmt::Display) -> WeightsError {
    WeightsError::damaged(Format::Keras, what)
}

/// Reads a file; `config` is the network's description where it is not in the file.
pub(super) fn read(bytes: &[u8], config: Option<&Value>) -> Result<Weights, WeightsError> {
    let file = File::from_bytes(bytes.to_vec()).map_err(damaged)?;
    let root = file.root();
    let attributes = root.attrs().map_err(damaged)?;
    let own_config = attributes.get("model_config").and_then(AttrValue::as_str);
    let own_config = own_config.and_then(|json| serde_json::from_str::<Value>(json).ok());
    let config = config.or(own_config.as_ref());
    let mut reader =
        Reader { arrays: Vec::new(), left: bytes.len().saturating_mul(4), groups: bytes.len() / LEAST_GROUP };

    let groups = root.groups().map_err(damaged)?;
    let mut backend = attributes.get("backend").and_then(AttrValue::as_str).map(str::to_owned);
    if let Some(layers) = strings(&attributes, "layer_names") {
        reader.layers(&root, &layers)?;
    } else if groups.iter().any(|name| name == "model_weights") {
        let weights = root.group("model_weights").map_err(damaged)?;
        let attributes = weights.attrs().map_err(damaged)?;
        let layers = strings(&attributes, "layer_names")
            .ok_or_else(|| damaged("its group model_weights does not list the layers"))?;
        backend =
            backend.or_else(|| attributes.get("backend").and_then(AttrValue::as_str).map(str::to_owned));
        reader.layers(&weights, &layers)?;
    } else {
        let names = config.map(ObjectNames::of_network);
        reader.objects(&root, "", names.as_ref(), 0)?;
    }
    if reader.arrays.is_empty() {
        return Err(WeightsError::unsupported(
            Format::Keras,
            "an HDF5 file without layers of Keras; give a file that model.save or model.save_weights wrote",
        ));
    }
    Ok(Weights { arrays: reader.arrays, data_format: config.and_then(data_format), backend })
}

struct Reader {
    arrays: Vec<Array>,
    /// Values that may still be read. Compression makes files shorter than their content, but weights hardly.
    left: usize,
    /// Groups that may still be visited.
    groups: usize,
}

impl Reader {
    /// The layers of the old layout.
    fn layers(&mut self, group: &Group, layers: &[String]) -> Result<(), WeightsError> {
        for layer in layers {
            let failed = |error: Error| damaged(format!("layer `{layer}`: {error}"));
            let group = group.group(layer).map_err(failed)?;
            let Some(names) = strings(&group.attrs().map_err(failed)?, "weight_names") else { continue };
            let arrays = names
                .iter()
                .map(|name| self.read(name, &group.dataset(name).map_err(failed)?))
                .collect::<Result<Vec<_>, _>>()?;
            self.push(layer, &names, arrays);
        }
        Ok(())
    }

    /// Names the weights of a layer, or of the layers of a network inside the network, and keeps them.
    fn push(&mut self, layer: &str, names: &[String], arrays: Vec<(Vec<usize>, Vec<f32>)>) {
        let shapes: Vec<&[usize]> = arrays.iter().map(|(shape, _)| shape.as_slice()).collect();
        let paths: Option<Vec<(&str, &str)>> = names.iter().map(|name| name.rsplit_once('/')).collect();
        let inner = paths.filter(|paths| {
            paths.iter().any(|(parent, _)| *parent != paths[0].0)
                && paths.iter().all(|(_, name)| is_role(name))
        });
        let full: Vec<String> = match inner {
            Some(paths) => {
                let mut full = Vec::with_capacity(names.len());
                for chunk in paths.chunk_by(|(a, _), (b, _)| a == b) {
                    let weights: Vec<&str> = chunk.iter().map(|(_, name)| *name).collect();
                    let roles = roles(&weights, &shapes[full.len()..full.len() + chunk.len()]);
                    full.extend(roles.into_iter().map(|role| format!("{}/{role}", chunk[0].0)));
                }
                full
            }
            None => {
                let names: Vec<&str> =
                    names.iter().map(|name| name.rsplit('/').next().unwrap_or(name)).collect();
                roles(&names, &shapes).into_iter().map(|role| format!("{layer}/{role}")).collect()
            }
        };
        self.arrays.extend(full.into_iter().zip(arrays).map(|(name, (shape, values))| Array {
            name,
            shape,
            values,
        }));
    }

    /// The layers below a group of the new layout. `prefix` is the name of the network around them, with a slash.
    fn objects(
        &mut self,
        group: &Group,
        prefix: &str,
        names: Option<&ObjectNames>,
        depth: usize,
    ) -> Result<(), WeightsError> {
        if depth > MAX_DEPTH {
            return Err(damaged("its groups are nested too deeply"));
        }
        for object in group.groups().map_err(damaged)? {
            // Groups may be linked to from many places: a small file can have endless paths.
            self.groups =
                self.groups.checked_sub(1).ok_or_else(|| damaged("its groups go on without end"))?;
            let child = group.group(&object).map_err(damaged)?;
            if matches!(object.as_str(), "layers" | "_layer_checkpoint_dependencies") {
                self.objects(&child, prefix, names, depth + 1)?;
                continue;
            }
            let below = child.groups().map_err(damaged)?;
            let mut given = None;
            if below.iter().any(|name| name == "vars") {
                let vars = child.group("vars").map_err(damaged)?;
                let attributes = vars.attrs().map_err(damaged)?;
                given = attributes.get("name").and_then(AttrValue::as_str).map(str::to_owned);
                let mut weights = vars.datasets().map_err(damaged)?;
                weights.sort_by_key(|name| name.parse::<u32>().unwrap_or(u32::MAX));
                let name = given.as_deref().or_else(|| names.and_then(|names| names.name(&object)));
                if !weights.is_empty() {
                    let name = name.ok_or_else(|| {
                        WeightsError::unsupported(
                            Format::Keras,
                            "its layers have no names, as early versions of Keras 3 wrote .weights.h5; \
                             load it into the network again and save that as .keras or .h5",
                        )
                    })?;
                    let arrays = weights
                        .iter()
                        .map(|weight| self.read(name, &vars.dataset(weight).map_err(damaged)?))
                        .collect::<Result<Vec<_>, _>>()?;
                    self.push(&format!("{prefix}{name}"), &weights, arrays);
                }
            }
            if below.iter().any(|name| name != "vars") && object != "optimizer" {
                let inner = names.and_then(|names| names.inner(&object));
                let name = given.as_deref().or_else(|| names.and_then(|names| names.name(&object)));
                let prefix = format!("{prefix}{}/", name.unwrap_or(&object));
                self.objects(&child, &prefix, inner, depth + 1)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, name: &str, dataset: &Dataset) -> Result<(Vec<usize>, Vec<f32>), WeightsError> {
        let failed = |what: &dyn std::fmt::Display| damaged(format!("`{name}`: {what}"));
        let shape = dataset.shape().map_err(|error| failed(&error))?;
        let shape: Option<Vec<usize>> =
            shape.into_iter().map(|extent| usize::try_from(extent).ok()).collect();
        let shape = shape.ok_or_else(|| failed(&"it is too large"))?;
        let count = element_count(&shape).ok_or_else(|| failed(&"it is too large"))?;
        self.left =
            self.left.checked_sub(count).ok_or_else(|| failed(&"it is larger than the file allows"))?;
        // A chunk is unpacked whole, whatever the dataset shows of it.
        let chunk = dataset.chunk_shape().map_err(|error| failed(&error))?.unwrap_or_default();
        let chunk = chunk.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent));
        if chunk.is_none_or(|values| values > MAX_CHUNK.max(count as u64)) {
            return Err(failed(&"its chunks are larger than the file allows"));
        }
        let values = dataset.read_f32().map_err(|error| failed(&error))?;
        if values.len() != count {
            return Err(failed(&"it has not as many values as its shape says"));
        }
        Ok((shape, values))
    }
}

/// A list of strings: one attribute, or several that end in 0, 1, ….
fn strings(attributes: &HashMap<String, AttrValue>, name: &str) -> Option<Vec<String>> {
    if let Some(value) = attributes.get(name) {
        // An empty list is stored as one of floats.
        return Some(value.as_strings().unwrap_or_default().to_vec());
    }
    let mut all: Option<Vec<String>> = None;
    for piece in 0.. {
        let Some(value) = attributes.get(&format!("{name}{piece}")) else { break };
        all.get_or_insert_default().extend_from_slice(value.as_strings().unwrap_or_default());
    }
    all
}
