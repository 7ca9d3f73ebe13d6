//! What TensorRT is asked for, given a model, options and the version that builds; or why it cannot be had.

use oxidet_proto::calibration_cache::{Algorithm, CacheHeader, CalibrationCache, TensorRtVersion};
use oxidet_proto::manifest::Precision;

use super::{Version, abi, dla_core};
use crate::{EngineOptions, Profile};

/// What matters of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    /// It has Q/DQ pairs.
    pub quantized: bool,
    /// Its layers are float16.
    pub half: bool,
    /// It ends with `BatchedNMSDynamic_TRT`.
    pub batched: bool,
    /// Images per batch, when they are fixed.
    pub batch: Option<usize>,
}

/// In terms of the shim.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub flags: u32,
    pub profile: Profile,
    pub dla_core: Option<u32>,
    pub calibration: Option<Vec<u8>>,
    /// What layers that stay in float compute in.
    pub float_type: i32,
    /// What all other convolutions must compute in.
    pub convolution_type: i32,
}

const PLACE_AT_EXPORT: &str =
    "oxidet export --data_type int8 --fp16_layers FILE leaves them without Q/DQ pairs";

impl Request {
    pub fn new(model: Model, options: &EngineOptions, version: Version) -> Result<Self, String> {
        let dla_core = dla_core(options.device);
        let profile = profile(model, options.profile)?;
        if dla_core.is_some() && profile.min != profile.max {
            return Err("a DLA computes batches of one size only; take one batch for min, opt and max".into());
        }
        let request = Self {
            flags: 0,
            profile,
            dla_core,
            calibration: None,
            float_type: abi::OTHER,
            convolution_type: abi::OTHER,
        };
        let quantized = model.quantized || options.precision == Precision::Int8;
        if dla_core.is_some() && !quantized && !model.half && options.precision == Precision::Fp32 {
            return Err("a DLA computes in fp16 or int8, not in fp32".into());
        }
        if !quantized {
            if options.calibration_cache.is_some() {
                return Err("a calibration cache is for int8, and this engine is not".into());
            }
            if !options.float_layers.is_empty() {
                return Err("layers can stay in float only in an int8 engine".into());
            }
        }
        if model.quantized {
            if options.calibration_cache.is_some() {
                return Err(
                    "the model has its ranges in Q/DQ pairs; a calibration cache is for a float model".into(),
                );
            }
            if !options.float_layers.is_empty() {
                return Err(format!(
                    "which layers of a model with Q/DQ pairs stay in float is decided in the model: {PLACE_AT_EXPORT}"
                ));
            }
        }
        if version.major >= 11 {
            request.since_11(model, options)
        } else {
            request.before_11(model, options, version)
        }
    }

    /// All is in the model.
    fn since_11(mut self, model: Model, options: &EngineOptions) -> Result<Self, String> {
        if model.batched {
            return Err("TensorRT 11 has no BatchedNMS plugin: oxidet export --target trt11 --nms none or --nms efficient \
                writes a model that it runs"
                .into());
        }
        match options.precision {
            Precision::Fp16 if !model.half => {
                return Err(
                    "TensorRT 11 has no fp16 flag, precision is in the model: oxidet export --target trt11 \
                    --data_type fp16 writes one"
                        .into(),
                );
            }
            Precision::Int8 if !model.quantized => {
                return Err(
                    "TensorRT 11 has no calibration, ranges are in the model: oxidet export --target trt11 \
                    --data_type int8 writes one with Q/DQ pairs"
                        .into(),
                );
            }
            _ => {}
        }
        self.flags = abi::STRONGLY_TYPED | exact(model, options);
        Ok(self)
    }

    fn before_11(mut self, model: Model, options: &EngineOptions, version: Version) -> Result<Self, String> {
        self.flags = exact(model, options);
        let typed = version.major >= 10 && (model.half || model.quantized && options.strict);
        if typed {
            if options.precision == Precision::Fp16 && !model.half {
                return Err("the layers of this int8 model are float32 beside its Q/DQ pairs, and strict leaves them so; \
                    ask for int8"
                    .into());
            }
            if options.precision == Precision::Int8 && !model.quantized {
                return Err("a float16 model takes its ranges from Q/DQ pairs, and has none: oxidet export --data_type int8"
                    .into());
            }
            self.flags |= abi::STRONGLY_TYPED;
            return Ok(self);
        }
        let int8 = model.quantized || options.precision == Precision::Int8;
        // As TAO: what is faster in half precision than in INT8 may be.
        let half = match options.precision {
            Precision::Fp16 => true,
            Precision::Int8 => !options.strict,
            Precision::Fp32 => false,
        };
        if int8 {
            self.flags |= abi::INT8;
        }
        if half || model.half {
            self.flags |= abi::FP16;
        }
        if int8 && !model.quantized {
            let Some(cache) = &options.calibration_cache else {
                return Err("int8 needs ranges: give the calibration cache of this model, or a model with Q/DQ pairs \
                    (oxidet export --data_type int8 writes either)"
                    .into());
            };
            self.calibration = Some(headed(cache, version)?);
        }
        if !options.float_layers.is_empty() {
            self.float_type = if half { abi::HALF } else { abi::FLOAT };
        }
        if options.strict {
            self.flags |= abi::OBEY;
            self.convolution_type = match (int8, half) {
                (true, _) if !model.quantized => abi::INT8_TENSOR,
                (false, true) => abi::HALF,
                _ => abi::OTHER,
            };
        }
        Ok(self)
    }
}

/// Single precision is single precision where that is asked for strictly.
fn exact(model: Model, options: &EngineOptions) -> u32 {
    let single = options.precision == Precision::Fp32 && !model.half && !model.quantized;
    if options.strict && single { abi::NO_TF32 } else { 0 }
}

fn profile(model: Model, asked: Profile) -> Result<Profile, String> {
    let asked = Profile::new(asked.min, asked.opt, asked.max).map_err(|error| error.to_string())?;
    let Some(batch) = model.batch else { return Ok(asked) };
    let fixed = Profile::fixed(batch);
    if asked != Profile::default() && asked != fixed {
        return Err(format!(
            "the model's batches are of {batch} images, not of {} to {}: export it without --static_batch_size",
            asked.min, asked.max
        ));
    }
    Ok(fixed)
}

/// A cache for the TensorRT that builds: the ranges are the same, and a cache of another version would be passed over.
fn headed(cache: &[u8], version: Version) -> Result<Vec<u8>, String> {
    let mut cache = CalibrationCache::parse("calibration cache", cache).map_err(|error| error.to_string())?;
    let version = TensorRtVersion::new(version.major, version.minor, version.patch)
        .ok_or_else(|| format!("TensorRT {version} has no number for a calibration cache"))?;
    cache.header = CacheHeader::new(version, Algorithm::Entropy2);
    Ok(cache.to_text().into_bytes())
}
