//! Measuring ranges, for `calibrate` and `export`: options, images, and what is made of the ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::Args;
use oxidet_calib::{
    LayerReport, LayerReportRequest, Measured, Method, Quantized, Suppression, layer_report, measure,
    quantize,
};
use oxidet_graph::onnx::{self, Batch, WriteOptions};
use oxidet_graph::quantization::LEAST_AMAX;
use oxidet_graph::{Checkpoint, nms_from_spec, pass};
use oxidet_proto::calibration_cache::{Algorithm, CacheHeader, CalibrationCache, TensorRtVersion};
use oxidet_proto::lint::Checked;
use oxidet_proto::manifest::sha256_hex;
use oxidet_proto::precision_list;
use oxidet_proto::tensor_scales::TensorScales;
use oxidet_runtime::{Artifact, Taps};
use oxidet_trainer::data::{
    BadImages, Dataset, DatasetRequest, Split, epoch_order, list_images, read_picture,
};
use oxidet_trainer::interp::Executor;
use oxidet_vision::{Network, Preprocess};

use crate::console;
use crate::exit::Failure;
use crate::files;
use crate::progress;

/// Images that the layer report compares networks on.
const REPORT_IMAGES: usize = 16;

/// What to measure ranges on, and how.
#[derive(Args, Debug)]
#[command(next_help_heading = "Calibration")]
pub struct CalibrationArgs {
    /// Folder of images to calibrate on (not searched deeper); without it, the training images of the spec
    #[arg(long = "cal_image_dir", value_name = "DIR")]
    image_dir: Option<PathBuf>,
    /// Images are batches times batch_size, chosen at random [default: 10 x 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batches: Option<u32>,
    /// Images per batch; only their number counts
    #[arg(long = "batch_size", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,
    /// How ranges are chosen: entropy, minmax, mse or percentile (percentile:99.99)
    #[arg(long, value_name = "METHOD", default_value_t = Method::Entropy)]
    method: Method,
    /// Which images are drawn
    #[arg(long = "calibration-seed", value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Layers that stay out of INT8: a name a line, as calibrate --layer-report writes them
    #[arg(long = "fp16_layers", value_name = "FILE")]
    fp16_layers: Option<PathBuf>,
}

impl CalibrationArgs {
    /// Whether images are named.
    pub fn has_images(&self) -> bool {
        self.image_dir.is_some()
    }

    /// The layers that stay in float.
    pub fn float_layers(&self) -> Result<BTreeSet<String>, Failure> {
        let Some(path) = &self.fp16_layers else { return Ok(BTreeSet::new()) };
        precision_list::parse(&path.to_string_lossy(), &files::read_text(path)?)
            .map_err(|error| Failure::usage(error.to_string()))
    }

    /// Measures the tensors of a float network.
    pub fn measure(&self, checkpoint: &Checkpoint, spec: &Checked) -> Result<Calibration, Failure> {
        let float_layers = self.float_layers()?;
        let images = self.images(spec)?;
        let preprocess = &checkpoint.detector.preprocess;
        let (detector, params) = pass::fold_batch_norm(&checkpoint.detector, &checkpoint.params)
            .map_err(|error| Failure::data(error.to_string()))?;
        let nms = nms_from_spec(spec.nms());
        let bug = |error: String| Failure::bug(error);
        let options = WriteOptions { opset: 12, batch: Batch::Dynamic, nms: Some(nms), score_bits: 0 };
        let model = onnx::write(&detector, &params, &options).map_err(|e| bug(e.to_string()))?.to_bytes();
        let artifact = Artifact::load(&model, None).map_err(|e| bug(e.to_string()))?;
        drop(model);
        let taps = Taps::new(&artifact).map_err(|e| bug(e.to_string()))?;
        drop(artifact);

        let bar = progress::bar(images.len() as u64, "calibrating");
        let digests: Vec<OnceLock<String>> = images.iter().map(|_| OnceLock::new()).collect();
        let load = |at: usize| -> Result<Vec<f32>, Failure> {
            let tensor = read_tensor(&images[at], preprocess)?;
            let _ = digests[at].set(sha256_hex(bytemuck::cast_slice(&tensor)));
            Ok(tensor)
        };
        let suppression = Suppression {
            nms,
            outputs: ["BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3"],
            classes: detector.classes.len(),
        };
        let measured =
            measure(&taps, &suppression, images.len(), &load, &|done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        let digests: Vec<&str> =
            digests.iter().map(|digest| digest.get().map_or("", String::as_str)).collect();
        let ranges = measured.ranges(self.method, &detector);
        let spec = checkpoint.spec.clone();
        Ok(Calibration {
            checkpoint: Checkpoint { detector, params, spec, training: None },
            method: self.method,
            inputs_sha256: sha256_hex(digests.join("\n").as_bytes()),
            images,
            measured,
            ranges,
            float_layers,
        })
    }

    /// The images to run, in the order in which they are.
    fn images(&self, spec: &Checked) -> Result<Vec<PathBuf>, Failure> {
        let (all, from) = match &self.image_dir {
            Some(dir) => (list_images(dir)?, dir.display().to_string()),
            None => {
                let request = DatasetRequest::new(spec, BadImages::Stop);
                let dataset = Dataset::open(&request, Split::Train)?;
                let images = dataset.samples.into_iter().map(|sample| sample.image).collect();
                (images, "the training images of the spec".to_owned())
            }
        };
        let asked = self.batches.unwrap_or(10) as usize * self.batch_size.unwrap_or(16) as usize;
        let mut chosen = epoch_order(self.seed, 0, all.len());
        chosen.truncate(asked);
        if all.len() < asked && (self.batches.is_some() || self.batch_size.is_some()) {
            console::warn(&format!(
                "{asked} images were asked for; calibrating on the {} of {from}",
                all.len()
            ));
        }
        console::info(&format!("calibrating on {} of {} images: {from}", chosen.len(), all.len()));
        Ok(chosen.into_iter().map(|at| all[at].clone()).collect())
    }
}

fn read_tensor(path: &Path, preprocess: &Preprocess) -> Result<Vec<f32>, Failure> {
    let picture = read_picture(path, preprocess.depth)?;
    let mut tensor = vec![0.0; preprocess.tensor_len()];
    preprocess.apply(&picture, &mut tensor);
    Ok(tensor)
}

/// The ranges of a network's tensors, and what they were measured on.
pub struct Calibration {
    /// The float network, batch norms folded: as it is exported.
    pub checkpoint: Checkpoint,
    pub method: Method,
    pub images: Vec<PathBuf>,
    /// Digest of the input tensors, in their order.
    pub inputs_sha256: String,
    measured: Measured,
    ranges: Vec<(String, f32)>,
    float_layers: BTreeSet<String>,
}

impl Calibration {
    /// Ranges by the name of the tensor; what held zeros only has none.
    pub fn by_name(&self) -> BTreeMap<String, f32> {
        self.ranges.iter().filter(|(_, amax)| *amax > 0.0).cloned().collect()
    }

    /// Tensors that held zeros only.
    pub fn dead(&self) -> Vec<&str> {
        self.ranges.iter().filter(|(_, amax)| *amax == 0.0).map(|(name, _)| name.as_str()).collect()
    }

    /// TensorRT's cache for a version of it. Its calibrators and nvinfer read caches of entropy calibration only, so that is what
    /// the header says of every method.
    pub fn cache(&self, version: TensorRtVersion) -> Result<CalibrationCache, Failure> {
        let mut cache = CalibrationCache::new(CacheHeader::TensorRt {
            number: version.number(),
            algorithm: Algorithm::Entropy2,
        });
        for (tensor, amax) in &self.ranges {
            cache.push_amax(tensor, amax.max(LEAST_AMAX)).map_err(|error| Failure::bug(error.to_string()))?;
        }
        Ok(cache)
    }

    pub fn scales(&self) -> TensorScales {
        TensorScales { tensor_scales: self.by_name() }
    }

    /// The INT8 network.
    pub fn quantized(&self) -> Result<Checkpoint, Failure> {
        let Quantized { checkpoint, without_range } =
            quantize(&self.checkpoint, &self.by_name(), &self.float_layers)?;
        if !without_range.is_empty() {
            console::warn(&format!(
                "these tensors held zeros on all images, what reads them stays in float: {}",
                without_range.join(", ")
            ));
        }
        Ok(checkpoint)
    }

    /// Which tensors INT8 hurts.
    pub fn layer_report(&self) -> Result<LayerReport, Failure> {
        let preprocess = &self.checkpoint.detector.preprocess;
        let images: Vec<Vec<f32>> = self
            .images
            .iter()
            .take(REPORT_IMAGES)
            .map(|path| read_tensor(path, preprocess))
            .collect::<Result<_, _>>()?;
        let ranges = self.by_name();
        let request = LayerReportRequest {
            checkpoint: &self.checkpoint,
            measured: &self.measured,
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

    /// The same ranges with these layers in float, too.
    pub fn leave_in_float(&mut self, layers: impl IntoIterator<Item = String>) {
        self.float_layers.extend(layers);
    }
}
