//! Ranges for `calibrate` and `export`: measured, or read from a cache, and what is made of them.

mod args;
mod inputs;
mod preview;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use oxidet_calib::{
    LayerReport, LayerReportRequest, Measured, Method, Quantized, fingerprint, layer_report, measure,
    quantize,
};
use oxidet_graph::onnx::NmsTail;
use oxidet_graph::quantization::LEAST_AMAX;
use oxidet_graph::{Checkpoint, nms_from_spec, pass};
use oxidet_proto::calibration_cache::{
    Algorithm, CacheEntry, CacheHeader, CalibrationCache, TensorRtVersion,
};
use oxidet_proto::calibration_record::CalibrationRecord;
use oxidet_proto::lint::Checked;
use oxidet_proto::manifest::sha256_hex;
use oxidet_proto::tensor_scales::TensorScales;
use oxidet_trainer::interp::Executor;
use oxidet_vision::Network;

pub use args::CalibrationArgs;
use inputs::Inputs;
pub use preview::Preview;

use crate::cmd::inspect::{exported_tensors, list};
use crate::console;
use crate::exit::Failure;
use crate::files::{self, NewFile};
use crate::progress;

/// Images that the layer report compares networks on.
const REPORT_IMAGES: usize = 16;

/// The ranges of a network's tensors.
pub struct Calibration {
    /// The float network, batch norms folded: as it is exported.
    pub checkpoint: Checkpoint,
    /// In the order of the network, or of the cache.
    ranges: Vec<(String, f32)>,
    float_layers: BTreeSet<String>,
    /// What they were measured on; unknown of the cache of another program.
    pub record: Option<CalibrationRecord>,
    measured: Option<(Measured, Inputs)>,
}

impl Calibration {
    fn measure(
        checkpoint: &Checkpoint,
        spec: &Checked,
        tail: NmsTail,
        method: Method,
        inputs: Inputs,
        float_layers: BTreeSet<String>,
    ) -> Result<Self, Failure> {
        let checkpoint = folded(checkpoint)?;
        let bar = progress::bar(inputs.len() as u64, "calibrating");
        let digests: Vec<OnceLock<String>> = (0..inputs.len()).map(|_| OnceLock::new()).collect();
        let load = |at: usize| -> Result<Vec<f32>, Failure> {
            let tensor = inputs.tensor(at)?;
            let _ = digests[at].set(sha256_hex(bytemuck::cast_slice(&tensor)));
            Ok(tensor)
        };
        let nms = nms_from_spec(spec.nms());
        let done = |done| bar.set_position(done as u64);
        let measured =
            measure(&checkpoint.detector, &checkpoint.params, (tail, &nms), inputs.len(), load, done)?;
        bar.finish_and_clear();
        let digests: Vec<&str> =
            digests.iter().map(|digest| digest.get().map_or("", String::as_str)).collect();
        let record = CalibrationRecord {
            method: method.to_string(),
            images: inputs.len() as u64,
            inputs_sha256: sha256_hex(digests.join("\n").as_bytes()),
            ..fingerprint(&checkpoint)
        };
        let ranges = measured.ranges(method, &checkpoint.detector);
        let calibration = Self {
            checkpoint,
            ranges,
            float_layers,
            record: Some(record),
            measured: Some((measured, inputs)),
        };
        calibration.warn_of_dead_tensors();
        Ok(calibration)
    }

    fn warn_of_dead_tensors(&self) {
        let dead = self.ranges.iter().filter(|(_, amax)| *amax == 0.0).map(|(name, _)| name.as_str());
        let dead: Vec<&str> = dead.collect();
        if !dead.is_empty() {
            console::warn(&format!(
                "these tensors held zeros on all images and get the smallest range there is; are the images like those of \
                 training? {}",
                dead.join(", ")
            ));
        }
    }

    /// The ranges of a cache, which must be of this network.
    pub fn read(
        path: &Path,
        checkpoint: &Checkpoint,
        float_layers: BTreeSet<String>,
    ) -> Result<Self, Failure> {
        let checkpoint = folded(checkpoint)?;
        let bytes = files::read(path)?;
        let name = path.to_string_lossy();
        let cache =
            CalibrationCache::parse(&name, &bytes).map_err(|error| Failure::data(error.to_string()))?;
        let record = record_of(path)?;
        if let Some(record) = &record {
            if let Some(change) = record.change(&fingerprint(&checkpoint)) {
                return Err(Failure::data(format!(
                    "{name} was measured on another network: {change}; calibrate again (oxidet calibrate, or another \
                     --cal_cache_file)"
                )));
            }
        } else {
            console::info(&format!(
                "{name}: there is no {} to tell what it was measured on; its names are compared, not its network",
                record_path(path).display()
            ));
            compare_names(&name, &cache, &checkpoint)?;
        }
        let ranges = cache.entries().iter().map(|entry| (entry.tensor().to_owned(), entry.amax())).collect();
        Ok(Self { checkpoint, ranges, float_layers, record, measured: None })
    }

    /// The ranges that a network was trained with; `checkpoint` is that network without its quantisers.
    pub fn trained(checkpoint: &Checkpoint, scales: TensorScales) -> Result<Self, Failure> {
        let ranges = scales.tensor_scales.into_iter().collect();
        let checkpoint = folded(checkpoint)?;
        Ok(Self { checkpoint, ranges, float_layers: BTreeSet::new(), record: None, measured: None })
    }

    /// Whether builders of a version of TensorRT read the cache that the ranges are from.
    pub fn check_version(&self, cache: &Path, version: TensorRtVersion) -> Result<(), Failure> {
        let file = CalibrationCache::parse(&cache.to_string_lossy(), &files::read(cache)?)
            .map_err(|error| Failure::data(error.to_string()))?;
        match file.header.version() {
            Some(found) if found != version => {
                console::warn(&format!(
                    "{0}: its header is that of TensorRT {found}, TensorRT {version} passes over it; oxidet inspect {0} --rewrite \
                     NEW --trt {version} gives it another, or name the version you have with --trt",
                    cache.display()
                ));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ranges by the name of the tensor; what held zeros only has none.
    pub fn by_name(&self) -> BTreeMap<String, f32> {
        self.ranges.iter().filter(|(_, amax)| *amax > 0.0).cloned().collect()
    }

    /// TensorRT's cache for a version of it and the record beside it, to be written, and the number of tensors. TensorRT's tools and
    /// nvinfer read caches of entropy calibration only, so that is what the header says of every method.
    pub fn cache_files(
        &self,
        path: &Path,
        version: TensorRtVersion,
    ) -> Result<(usize, Vec<NewFile>), Failure> {
        let header = CacheHeader::TensorRt { number: version.number(), algorithm: Algorithm::Entropy2 };
        let mut cache = CalibrationCache::new(header);
        for (tensor, amax) in &self.ranges {
            cache.push_amax(tensor, amax.max(LEAST_AMAX)).map_err(|error| Failure::bug(error.to_string()))?;
        }
        let text = cache.to_text();
        let mut files = Vec::new();
        if let Some(record) = &self.record {
            let record = CalibrationRecord { cache_sha256: sha256_hex(text.as_bytes()), ..record.clone() };
            files.push((record_path(path), record.to_json().into_bytes()));
        }
        files.push((path.to_owned(), text.into_bytes()));
        Ok((cache.entries().len(), files))
    }

    pub fn scales(&self) -> TensorScales {
        TensorScales { tensor_scales: self.by_name() }
    }

    /// The INT8 network.
    pub fn quantized(&self) -> Result<Checkpoint, Failure> {
        let Quantized { checkpoint, without_range } =
            quantize(&self.checkpoint, &self.by_name(), &self.float_layers)?;
        if !checkpoint.detector.graph.is_quantized() {
            return Err(Failure::data(
                "nothing is left to compute in INT8: no tensor of the network has a range, or all layers are to stay in float",
            ));
        }
        if !without_range.is_empty() {
            console::warn(&format!(
                "these tensors have no range, what reads them stays in float: {}",
                without_range.join(", ")
            ));
        }
        Ok(checkpoint)
    }

    /// Which tensors INT8 hurts.
    pub fn layer_report(&self) -> Result<LayerReport, Failure> {
        let Some((measured, inputs)) = &self.measured else {
            return Err(Failure::bug("a layer report without measurement"));
        };
        let images: Vec<Vec<f32>> =
            (0..inputs.len().min(REPORT_IMAGES)).map(|at| inputs.tensor(at)).collect::<Result<_, _>>()?;
        let ranges = self.by_name();
        let request = LayerReportRequest {
            checkpoint: &self.checkpoint,
            measured,
            ranges: &ranges,
            float_layers: &self.float_layers,
            images: &images,
        };
        let bar = progress::bar(0, "examining tensors");
        let prepare = |checkpoint: &Checkpoint| -> Result<Box<dyn Network>, Failure> {
            let executor = Executor::new(&checkpoint.detector, &checkpoint.params);
            Ok(Box::new(executor.map_err(|error| Failure::bug(error.to_string()))?))
        };
        let report = layer_report(&request, prepare, &mut |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        Ok(report)
    }

    /// Leaves these layers in float, too.
    pub fn leave_in_float(&mut self, layers: impl IntoIterator<Item = String>) {
        self.float_layers.extend(layers);
    }
}

/// The record beside a cache; none where there is none.
///
/// It must be of this cache.
pub fn record_of(cache: &Path) -> Result<Option<CalibrationRecord>, Failure> {
    let beside = record_path(cache);
    if !beside.exists() {
        return Ok(None);
    }
    let record = CalibrationRecord::parse(&beside.to_string_lossy(), &files::read_text(&beside)?)
        .map_err(|error| Failure::data(error.to_string()))?;
    if record.is_of(&files::read(cache)?) {
        return Ok(Some(record));
    }
    Err(Failure::data(format!(
        "{} is not the cache that {} tells of; calibrate again, or remove the latter if the cache is right",
        cache.display(),
        beside.display()
    )))
}

/// Tells of names in a cache that no tensor of the network has; when none fits, it is the cache of another network.
fn compare_names(name: &str, cache: &CalibrationCache, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let own = exported_tensors(checkpoint).map_err(|error| Failure::data(error.to_string()))?;
    let entries = cache.entries().iter().map(CacheEntry::tensor);
    let unknown: Vec<&str> = entries.filter(|tensor| !own.iter().any(|own| own == tensor)).collect();
    if unknown.len() == cache.entries().len() {
        return Err(Failure::data(format!(
            "{name} is the cache of another network: no tensor of this one has a name that is in it"
        )));
    }
    if !unknown.is_empty() {
        console::warn(&format!("{name}: no tensor of the network is called {}", list(&unknown)));
    }
    Ok(())
}

/// Refuses to write a cache for a TensorRT that reads none.
pub fn check_cache_version(version: TensorRtVersion) -> Result<(), Failure> {
    if version.major() < 11 {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--trt {version}: TensorRT 11 and later read no calibration caches; oxidet export --data_type int8 --target trt11 writes a model \
         that holds its ranges (Q/DQ)"
    )))
}

/// Where the record of a cache is.
pub fn record_path(cache: &Path) -> PathBuf {
    let mut name = cache.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

fn folded(checkpoint: &Checkpoint) -> Result<Checkpoint, Failure> {
    let (detector, params) = pass::fold_batch_norm(&checkpoint.detector, &checkpoint.params)
        .map_err(|error| Failure::data(error.to_string()))?;
    Ok(Checkpoint { detector, params, spec: checkpoint.spec.clone(), training: None })
}
