//! Where the ranges of an INT8 engine come from.

use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_proto::calibration_cache::{Algorithm, CacheHeader, CalibrationCache, TensorRtVersion};
use oxidet_proto::tensor_scales::TensorScales;
use oxidet_runtime::Artifact;
use oxidet_runtime::tensorrt::Version;

use crate::console;
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::files;

/// Where ranges come from; the flags are TAO Deploy's.
#[derive(Args, Debug)]
#[command(next_help_heading = "INT8")]
pub(super) struct RangeArgs {
    /// Calibration cache, the ranges of a float model. One that is not there is made of --cal_image_dir or --cal_data_file
    #[arg(long = "cal_cache_file", value_name = "FILE")]
    cache: Option<PathBuf>,
    /// Scale file of a network that was trained with quantisation, in place of a cache
    #[arg(long = "cal_json_file", value_name = "FILE", conflicts_with = "cache")]
    json: Option<PathBuf>,
    /// Folder of images to calibrate on, if the cache is not there
    #[arg(long = "cal_image_dir", value_name = "DIR")]
    image_dir: Option<PathBuf>,
    /// Tensorfile to calibrate on
    #[arg(long = "cal_data_file", value_name = "FILE")]
    data_file: Option<PathBuf>,
    /// Images are batches times batch_size
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batches: Option<u32>,
    /// Images per batch; only the product counts
    #[arg(long = "batch_size", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,
    /// Of a model trained with quantisation, calibrate in place of its ranges
    #[arg(long = "force_ptq")]
    force_ptq: bool,
}

impl RangeArgs {
    /// Adds the files that are read and written.
    pub fn check_files(&self, plan: &mut FilePlan) -> Result<(), Failure> {
        self.json.iter().for_each(|path| plan.reads(path));
        if let Some(path) = &self.data_file {
            // As calibrate: with images it is made of them.
            if self.image_dir.is_some() { plan.writes(path)? } else { plan.reads(path) }
        }
        match &self.cache {
            Some(path) if path.exists() => plan.reads(path),
            #[cfg(feature = "training")]
            Some(path) if self.calibrates() => {
                plan.writes(path)?;
                plan.writes(&crate::calibration::record_path(path))?;
            }
            #[cfg(not(feature = "training"))]
            Some(_) if self.calibrates() => {}
            Some(path) => {
                return Err(Failure::data(format!(
                    "{}: there is no such cache; oxidet calibrate makes it, or --cal_image_dir here",
                    path.display()
                )));
            }
            None => {}
        }
        Ok(())
    }

    fn calibrates(&self) -> bool {
        self.image_dir.is_some() || self.data_file.is_some()
    }

    /// The text of a cache with the ranges of a model that is to be computed in INT8; none where they are in the model, or not given.
    /// `version` is that of the TensorRT that builds.
    pub fn cache(
        &self,
        model: &Path,
        artifact: &Artifact,
        spec: Option<&Path>,
        version: Option<Version>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if artifact.is_quantized() {
            if self.force_ptq {
                return Err(Failure::usage(format!(
                    "--force_ptq: the ranges of {} are in it; export the checkpoint with --force_ptq",
                    model.display()
                )));
            }
            let file = [("--cal_cache_file", self.cache.is_some()), ("--cal_json_file", self.json.is_some())];
            let file = file.into_iter().find_map(|(name, given)| given.then_some(name));
            if let Some(option) = file.or(self.idle_option()) {
                console::warn(&format!("{option} has no effect: the model holds its ranges (Q/DQ)"));
            }
            return Ok(None);
        }
        if let Some(path) = &self.json {
            return of_scales(path).map(Some);
        }
        match &self.cache {
            Some(path) if path.exists() => {
                if let Some(option) = self.idle_option() {
                    console::info(&format!("{option}: {} is there, and is used", path.display()));
                }
                files::read(path).map(Some)
            }
            _ if self.calibrates() => self.measure(model, artifact, spec, cache_version(version)?).map(Some),
            _ => Ok(None),
        }
    }

    /// Says that an option is without effect in an engine of another precision.
    pub fn tell_of_idle_options(&self) {
        let option = self.idle_option().or(self.json.as_ref().map(|_| "--cal_json_file"));
        if let Some(option) = option.or(self.force_ptq.then_some("--force_ptq")) {
            console::warn(&format!("{option} has no effect without --data_type int8"));
        }
    }

    /// The cache that is named, whatever the precision.
    pub fn named_cache(&self) -> Option<&Path> {
        self.cache.as_deref().filter(|path| path.exists())
    }

    fn idle_option(&self) -> Option<&'static str> {
        [
            ("--cal_image_dir", self.image_dir.is_some()),
            ("--cal_data_file", self.data_file.is_some()),
            ("--batches", self.batches.is_some()),
            ("--batch_size", self.batch_size.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }

    #[cfg(feature = "training")]
    fn measure(
        &self,
        model: &Path,
        artifact: &Artifact,
        spec: Option<&Path>,
        version: TensorRtVersion,
    ) -> Result<Vec<u8>, Failure> {
        use crate::calibration::CalibrationArgs;
        use crate::files::StagedFiles;
        use crate::spec;
        use oxidet_graph::Checkpoint;
        use oxidet_graph::onnx::NmsTail;
        use oxidet_proto::lint::Verb;

        let Some((detector, params)) = artifact.network() else {
            return Err(Failure::usage(format!(
                "{}: only models that oxidet exported in single precision are calibrated here; give a cache",
                model.display()
            )));
        };
        let Some(path) = spec else {
            return Err(Failure::usage("calibrating needs the spec (-e)"));
        };
        let spec = spec::read(path, Verb::Export, false)?;
        let checkpoint = Checkpoint { detector, params, spec: String::new(), training: None };
        let images = CalibrationArgs::on(
            self.image_dir.clone(),
            self.data_file.clone(),
            self.batches,
            self.batch_size,
        );
        let tail = artifact.suppression().map_or(NmsTail::Raw, |suppression| suppression.tail);
        let calibration = images.measure(&checkpoint, &spec, tail)?;
        if let Some(path) = &self.cache {
            let (tensors, files) = calibration.cache_files(path, version)?;
            let mut staged = StagedFiles::default();
            files.iter().try_for_each(|(path, bytes)| staged.add(path, bytes))?;
            staged.commit()?;
            console::print(&format!("{}: ranges of {tensors} tensors", path.display()));
        }
        calibration.cache_text()
    }

    #[cfg(not(feature = "training"))]
    fn measure(
        &self,
        _: &Path,
        _: &Artifact,
        _: Option<&Path>,
        _: TensorRtVersion,
    ) -> Result<Vec<u8>, Failure> {
        Err(Failure::usage(
            "this build only runs models; oxidet calibrate on the computer that trained the model makes the cache for --cal_cache_file",
        ))
    }
}

/// The cache of a scale file.
fn of_scales(path: &Path) -> Result<Vec<u8>, Failure> {
    let scales = TensorScales::parse(&path.to_string_lossy(), &files::read_text(path)?)
        .map_err(|error| Failure::data(error.to_string()))?;
    let header = CacheHeader::new(ANY_VERSION, Algorithm::Entropy2);
    let cache = CalibrationCache::of_ranges(header, &scales.tensor_scales)
        .map_err(|error| Failure::data(format!("{}: {error}", path.display())))?;
    Ok(cache.to_text().into_bytes())
}

/// In a cache that whoever builds gives another header.
const ANY_VERSION: TensorRtVersion = TensorRtVersion::V8_5_3;

/// That of the header of a new cache.
fn cache_version(version: Option<Version>) -> Result<TensorRtVersion, Failure> {
    let Some(Version { major, minor, patch }) = version else { return Ok(ANY_VERSION) };
    if major >= 11 {
        return Err(Failure::usage(
            "TensorRT 11 has no calibration, ranges are in the model: oxidet export --target trt11 --data_type int8 writes one with \
             Q/DQ pairs",
        ));
    }
    TensorRtVersion::new(major, minor, patch)
        .ok_or_else(|| Failure::bug(format!("TensorRT {major}.{minor}.{patch} has no number")))
}
