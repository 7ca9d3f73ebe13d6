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
use oxidet_compute::Executor;
use oxidet_exporter::without_quantizers;
use oxidet_graph::onnx::NmsTail;
use oxidet_graph::{Checkpoint, nms_from_spec, pass};
use oxidet_proto::calibration_cache::{
    Algorithm, CacheEntry, CacheHeader, CalibrationCache, TensorRtVersion,
};
use oxidet_proto::calibration_record::CalibrationRecord;
use oxidet_proto::lint::Checked;
use oxidet_proto::manifest::sha256_hex;
use oxidet_proto::tensor_scales::TensorScales;
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

/// The ranges of a network's tensors, and the network rounded with them.
pub struct Calibration {
    /// The float network, batch norms folded: as it is exported.
    pub checkpoint: Checkpoint,
    /// The same with quantisers.
    int8: Checkpoint,
    /// Those of all tensors; 0 of what held zeros only.
    ranges: BTreeMap<String, f32>,
    /// Those that say what `int8` rounds, in the order of the network or of the cache.
    written: Vec<(String, f32)>,
    float_layers: BTreeSet<String>,
    /// Those of them that the ranges that are written do not keep in float.
    not_kept: Vec<String>,
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
        let dead = ranges.iter().filter(|(_, amax)| *amax == 0.0).map(|(name, _)| name.as_str());
        // What is selected can be zeros and mean something: the id of the only class.
        let dead: Vec<&str> = dead.filter(|name| !tail.float_outputs().contains(name)).collect();
        if !dead.is_empty() {
            console::warn(&format!(
                "these tensors held zeros on all images, so they get no range and what reads them stays in float; are the images \
                 like those of training? {}",
                dead.join(", ")
            ));
        }
        let (calibration, _) = Self::of(checkpoint, ranges, float_layers)?;
        Ok(Self { record: Some(record), measured: Some((measured, inputs)), ..calibration })
    }

    /// Quantises a folded network; also says which tensors should have a range and have none.
    fn of(
        checkpoint: Checkpoint,
        ranges: Vec<(String, f32)>,
        float_layers: BTreeSet<String>,
    ) -> Result<(Self, Vec<String>), Failure> {
        let by_name = ranges.iter().cloned().collect();
        let quantized = quantize(&checkpoint, &by_name, &float_layers)?;
        if !quantized.checkpoint.detector.graph.is_quantized() {
            return Err(Failure::data(
                "nothing is left to compute in INT8: no tensor of the network has a range, or all layers are to stay in float",
            ));
        }
        let written = quantized.ranges(&ranges)?;
        let not_kept = quantized.not_kept_by_ranges(&float_layers).into_iter().map(str::to_owned).collect();
        let Quantized { checkpoint: int8, without_range } = quantized;
        let calibration = Self {
            checkpoint,
            int8,
            ranges: by_name,
            written,
            float_layers,
            not_kept,
            record: None,
            measured: None,
        };
        Ok((calibration, without_range))
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
        let (calibration, without_range) = Self::of(checkpoint, ranges, float_layers)?;
        if !without_range.is_empty() {
            console::warn(&format!(
                "{name} has no ranges of these tensors, what reads them stays in float: {}",
                without_range.join(", ")
            ));
        }
        Ok(Self { record, ..calibration })
    }

    /// The ranges that a network was trained with.
    pub fn trained(int8: Checkpoint, scales: TensorScales) -> Result<Self, Failure> {
        Ok(Self {
            checkpoint: folded(&without_quantizers(&int8))?,
            int8,
            written: scales.tensor_scales.clone().into_iter().collect(),
            ranges: scales.tensor_scales,
            float_layers: BTreeSet::new(),
            not_kept: Vec::new(),
            record: None,
            measured: None,
        })
    }

    /// Whether engines that are built with the cache that the ranges are from keep the layers in float that are to stay so.
    pub fn check_float_layers(&self, cache: &Path) -> Result<(), Failure> {
        let written: BTreeSet<&str> = self.written.iter().map(|(name, _)| name.as_str()).collect();
        let more = self.ranges.iter().filter(|(name, amax)| **amax > 0.0 && !written.contains(name.as_str()));
        let more: Vec<&str> = more.map(|(name, _)| name.as_str()).collect();
        if self.float_layers.is_empty() || more.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "--fp16_layers: {0} has ranges of what these layers read, so engines compute them in INT8: {1}; calibrate into another \
             --cal_cache_file, or leave --fp16_layers out",
            cache.display(),
            more.join(", ")
        )))
    }

    /// Tells of layers that are to stay in float and that ranges beside a model do not keep there.
    pub fn warn_of_layers_not_kept(&self) {
        if !self.not_kept.is_empty() {
            console::warn(&format!(
                "--fp16_layers: what these layers read is read in INT8 by others and keeps its range, so builders that know ranges \
                 only compute them in INT8, too: {}; give the list to the builder as well, or export with Q/DQ (--target trt10)",
                self.not_kept.join(", ")
            ));
        }
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

    /// TensorRT's cache for a version of it and the record beside it, to be written, and the number of tensors. TensorRT's tools and
    /// nvinfer read caches of entropy calibration only, so that is what the header says of every method.
    pub fn cache_files(
        &self,
        path: &Path,
        version: TensorRtVersion,
    ) -> Result<(usize, Vec<NewFile>), Failure> {
        let cache = self.cache(version)?;
        let text = cache.to_text();
        let mut files = Vec::new();
        if let Some(record) = &self.record {
            let record = CalibrationRecord { cache_sha256: sha256_hex(text.as_bytes()), ..record.clone() };
            files.push((record_path(path), record.to_json().into_bytes()));
        }
        files.push((path.to_owned(), text.into_bytes()));
        Ok((cache.entries().len(), files))
    }

    /// The text of a cache, for a builder that gives it a header of its own.
    pub fn cache_text(&self) -> Result<Vec<u8>, Failure> {
        Ok(self.cache(TensorRtVersion::V8_5_3)?.to_text().into_bytes())
    }

    fn cache(&self, version: TensorRtVersion) -> Result<CalibrationCache, Failure> {
        let header = CacheHeader::TensorRt { number: version.number(), algorithm: Algorithm::Entropy2 };
        let ranges = self.written.iter().map(|(tensor, amax)| (tensor, amax));
        CalibrationCache::of_ranges(header, ranges)
            .map_err(|error| Failure::data(format!("no cache can be written of this network: {error}")))
    }

    pub fn scales(&self) -> TensorScales {
        TensorScales { tensor_scales: self.written.iter().cloned().collect() }
    }

    /// The INT8 network.
    pub fn quantized(&self) -> &Checkpoint {
        &self.int8
    }

    /// The INT8 network with more layers in float.
    pub fn quantized_except(&self, layers: &[String]) -> Result<Checkpoint, Failure> {
        let float_layers = self.float_layers.iter().chain(layers).cloned().collect();
        Ok(quantize(&self.checkpoint, &self.ranges, &float_layers)?.checkpoint)
    }

    /// Which tensors INT8 hurts.
    pub fn layer_report(&self) -> Result<LayerReport, Failure> {
        let Some((measured, inputs)) = &self.measured else {
            return Err(Failure::bug("a layer report without measurement"));
        };
        let images: Vec<Vec<f32>> =
            (0..inputs.len().min(REPORT_IMAGES)).map(|at| inputs.tensor(at)).collect::<Result<_, _>>()?;
        let request = LayerReportRequest {
            checkpoint: &self.checkpoint,
            measured,
            ranges: &self.ranges,
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
