//! What is written along with a model: files for the programs that run it, the manifest that lists them, its signature.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_exporter::{
    Batches, DEEPSTREAM_DETECTIONS, Deployment, DeploymentError, TRITON_CACHE, Target, TritonModel,
    check_deepstream, labels, nvinfer_config, triton_model,
};
use oxidet_graph::Detector;
use oxidet_graph::onnx::{Batch, NmsTail};
use oxidet_proto::manifest::{LABELS_FILE, MANIFEST_FILE, Manifest, NVINFER_FILE, sha256_hex, sha256_hex_of};
use oxidet_proto::onnx;
use oxidet_proto::signature::{PrivateKey, SIGNATURE_FILE};
use zeroize::Zeroizing;

use crate::console;
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::files::{self, NewFile, Staged, StagedFiles};
use crate::stop;

/// Most images in a batch.
const MOST_IMAGES: u32 = 256;

/// Options about programs that run the model.
#[derive(Args, Debug)]
#[command(next_help_heading = "Deployment")]
pub(super) struct BundleArgs {
    /// Write nvinfer_config.txt beside the model: all that DeepStream's nvinfer needs to run it
    #[arg(long = "gen_ds_config")]
    deepstream: bool,
    /// Write the model into this model repository of Triton, in a folder of the model's name
    #[arg(long, value_name = "DIR")]
    triton: Option<PathBuf>,
    /// Fewest images at once in an engine of a model whose batch is open [default: 1]
    #[arg(long = "min_batch_size", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    min_batch: Option<u32>,
    /// As many images at once as the engine is tuned for [default: the most]
    #[arg(long = "opt_batch_size", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    opt_batch: Option<u32>,
    /// Most images at once: batch-size of DeepStream, max_batch_size of Triton [default: 1]
    #[arg(long = "max_batch_size", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_batch: Option<u32>,
    /// Sign manifest.json, and with it all files it lists, with this Ed25519 key (openssl genpkey -algorithm ed25519)
    #[arg(long = "sign-key", value_name = "FILE")]
    sign_key: Option<PathBuf>,
}

impl BundleArgs {
    /// The options, found to be sound; `builds_engine` says whether an engine is built of the model at once.
    pub fn bundle(&self, target: Target, tail: NmsTail, builds_engine: bool) -> Result<Bundle, Failure> {
        let has_engines = builds_engine || self.deepstream || self.triton.is_some();
        if self.is_sized() && !has_engines {
            console::warn(
                "--min_batch_size, --opt_batch_size and --max_batch_size have no effect without --engine_file, --gen_ds_config or \
                 --triton: no engine is built here",
            );
        }
        Ok(Bundle {
            target,
            tail,
            deepstream: self.deepstream,
            triton: self.triton.clone(),
            batches: self.batches()?,
            sized: self.is_sized() && has_engines,
            key: self.sign_key.as_deref().map(read_key).transpose()?,
            ..Bundle::new(target, tail)
        })
    }

    fn is_sized(&self) -> bool {
        self.min_batch.is_some() || self.opt_batch.is_some() || self.max_batch.is_some()
    }

    fn batches(&self) -> Result<Batches, Failure> {
        let max = self.max_batch.or(self.opt_batch).or(self.min_batch).unwrap_or(1);
        let opt = self.opt_batch.unwrap_or(max);
        let min = self.min_batch.unwrap_or(1);
        for (option, images) in [
            ("--min_batch_size", self.min_batch),
            ("--opt_batch_size", self.opt_batch),
            ("--max_batch_size", self.max_batch),
        ] {
            images.map_or(Ok(()), |images| check_batch(option, images))?;
        }
        if min > opt || opt > max {
            return Err(Failure::usage(format!(
                "--min_batch_size {min}, --opt_batch_size {opt} and --max_batch_size {max} must not decrease in this order"
            )));
        }
        Ok(Batches { min, opt, max })
    }
}

/// Whether a batch is one that a computer holds.
pub fn check_batch(option: &str, images: u32) -> Result<(), Failure> {
    if images <= MOST_IMAGES {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{option} {images}: engines, and the check of a model whose batch is fixed, keep the maps of all images of a batch in memory; \
         give at most {MOST_IMAGES}"
    )))
}

fn read_key(path: &Path) -> Result<PrivateKey, Failure> {
    let pem = Zeroizing::new(files::read_text(path)?);
    let key =
        PrivateKey::from_pem(&pem).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(path).map_err(|error| Failure::io(path, &error))?;
        if metadata.permissions().mode() & 0o044 != 0 {
            console::warn(&format!(
                "{0}: other users of this computer can read the key; chmod 600 {0}",
                path.display()
            ));
        }
    }
    Ok(key)
}

/// What is written along with a model.
#[derive(Debug)]
pub struct Bundle {
    target: Target,
    tail: NmsTail,
    deepstream: bool,
    triton: Option<PathBuf>,
    batches: Batches,
    /// Whether the batches were asked for.
    sized: bool,
    key: Option<PrivateKey>,
    /// Files about the model's ranges that are there already.
    pub ranges: Vec<PathBuf>,
    /// Those that are written with the model.
    pub new_ranges: Vec<NewFile>,
    /// The one of both that engines are built with.
    pub cache: Option<PathBuf>,
}

impl Bundle {
    /// Labels and manifest alone.
    pub fn new(target: Target, tail: NmsTail) -> Self {
        Self {
            target,
            tail,
            deepstream: false,
            triton: None,
            batches: Batches::default(),
            sized: false,
            key: None,
            ranges: Vec::new(),
            new_ranges: Vec::new(),
            cache: None,
        }
    }

    /// Batches of the engines.
    pub fn batches(&self) -> Batches {
        self.batches
    }

    /// Whether the model's own batch is that of the engines.
    pub fn check_batch(&self, batch: Batch) -> Result<(), Failure> {
        match batch {
            Batch::Static(images)
                if self.sized && self.batches != Batches { min: images, opt: images, max: images } =>
            {
                Err(Failure::usage(format!(
                    "--static_batch_size {images}: engines of this model take {images} images and no other number; leave out \
                     --min_batch_size, --opt_batch_size and --max_batch_size, or --static_batch_size"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Whether the programs can run the model, and their files be where they are to be; asked before the work begins.
    pub fn check(
        &self,
        output: &Path,
        detector: &Detector,
        cache: Option<&Path>,
        plan: &mut FilePlan,
    ) -> Result<(), Failure> {
        let place = |name: &str| output.with_file_name(name);
        let old = Former::beside(output);
        let is_same = |file: &str, text: &str| fs::read(place(file)).is_ok_and(|old| old == text.as_bytes());
        let labels_are_ours = old.wrote(LABELS_FILE) || is_same(LABELS_FILE, &labels(detector));
        plan.replaces(&place(LABELS_FILE), labels_are_ours)?;
        plan.replaces(&place(MANIFEST_FILE), old.manifest.is_some())?;
        if self.key.is_some() {
            plan.replaces(&place(SIGNATURE_FILE), old.manifest.is_some())?;
        }
        if self.deepstream {
            check_deepstream(self.tail, detector.preprocess.depth.into())
                .map_err(|error| refused("--gen_ds_config", &error))?;
            plan.replaces(&place(NVINFER_FILE), old.wrote(NVINFER_FILE))?;
            if let Some(path) = cache.filter(|path| beside(output, path).is_none()) {
                return Err(Failure::usage(format!(
                    "--gen_ds_config: {} must be in the model's folder, where nvinfer looks for it",
                    path.display()
                )));
            }
        }
        if let Some(repository) = &self.triton {
            if is_encrypted(output) {
                return Err(refused("--triton", &DeploymentError::Encrypted));
            }
            let folder = repository.join(output.file_stem().unwrap_or_default());
            if let Some(file) = [repository, &folder].into_iter().find(|path| path.exists() && !path.is_dir())
            {
                return Err(Failure::usage(format!("--triton: {} is a file; name a folder", file.display())));
            }
            plan.writes_folder(&folder)?;
        }
        Ok(())
    }

    /// Writes all of it beside its places, and puts it there together, the model last.
    pub fn write(
        &self,
        output: &Path,
        staged_model: Staged,
        model: &[u8],
        labels: &str,
        mut manifest: Manifest,
    ) -> Result<(), Failure> {
        for path in &self.ranges {
            if let Some(name) = beside(output, path) {
                let (file, _) = files::open(path)?;
                let digest = sha256_hex_of(file).map_err(|error| Failure::io(path, &error))?;
                manifest.files.insert(name, digest);
            }
        }
        let mut files = StagedFiles::default();
        for (path, bytes) in &self.new_ranges {
            files.add(path, bytes)?;
            if let Some(name) = beside(output, path) {
                manifest.files.insert(name, sha256_hex(bytes));
            }
        }
        let nvinfer = self.nvinfer(output, &mut manifest)?;
        let triton = self.triton(&manifest, model)?;
        let place = |name: &str| output.with_file_name(name);
        files.add(&place(LABELS_FILE), labels.as_bytes())?;
        if let Some(text) = nvinfer {
            files.add(&place(NVINFER_FILE), text.as_bytes())?;
        }
        self.stage_manifest(&place(MANIFEST_FILE), &manifest, &mut files)?;
        if let Some((folder, triton)) = &triton {
            self.stage_triton(folder, triton, model, labels, &mut files)?;
        }
        stop::check()?;
        if self.key.is_none() {
            remove_former_signature(&place(MANIFEST_FILE), &manifest)?;
        }
        files.commit()?;
        staged_model.commit()?;
        triton.map_or(Ok(()), |(folder, triton)| self.tell_of_triton(&folder, &triton))
    }

    fn deployment<'a>(&self, manifest: &'a Manifest, cache: Option<&'a str>) -> Deployment<'a> {
        Deployment { manifest, target: self.target, tail: self.tail, batches: self.batches, cache }
    }

    fn nvinfer(&self, output: &Path, manifest: &mut Manifest) -> Result<Option<String>, Failure> {
        if !self.deepstream {
            let old = output.with_file_name(NVINFER_FILE);
            if old.exists() {
                console::warn(&format!(
                    "{} is of an earlier export and stays as it is; --gen_ds_config writes it anew",
                    old.display()
                ));
            }
            return Ok(None);
        }
        let cache = self.cache.as_deref().and_then(|cache| beside(output, cache));
        let text = nvinfer_config(&self.deployment(manifest, cache.as_deref()))
            .map_err(|error| refused("--gen_ds_config", &error))?;
        if manifest.nms.keep_top_k > DEEPSTREAM_DETECTIONS {
            console::warn(&format!(
                "DeepStream's parser stops at {DEEPSTREAM_DETECTIONS} detections an image; the model gives up to {} (top_k)",
                manifest.nms.keep_top_k
            ));
        }
        manifest.files.insert(NVINFER_FILE.into(), sha256_hex(text.as_bytes()));
        Ok(Some(text))
    }

    fn triton(&self, manifest: &Manifest, model: &[u8]) -> Result<Option<(PathBuf, TritonModel)>, Failure> {
        let Some(repository) = &self.triton else { return Ok(None) };
        let bug = || Failure::bug("the exported model cannot be read");
        let graph = onnx::decode(model).ok().and_then(|model| model.graph).ok_or_else(bug)?;
        let cache = self.cache.as_ref().map(|_| TRITON_CACHE);
        let model = triton_model(&self.deployment(manifest, cache), &graph)
            .map_err(|error| refused("--triton", &error))?;
        Ok(Some((repository.join(&model.name), model)))
    }

    /// The manifest, and its signature.
    fn stage_manifest(
        &self,
        path: &Path,
        manifest: &Manifest,
        files: &mut StagedFiles,
    ) -> Result<(), Failure> {
        let json = manifest.to_json();
        files.add(path, json.as_bytes())?;
        match &self.key {
            Some(key) => files.add(&path.with_file_name(SIGNATURE_FILE), &key.sign(json.as_bytes())),
            None => Ok(()),
        }
    }

    fn stage_triton(
        &self,
        folder: &Path,
        triton: &TritonModel,
        model: &[u8],
        labels: &str,
        files: &mut StagedFiles,
    ) -> Result<(), Failure> {
        files.add(&folder.join(triton.onnx_path), model)?;
        files.add(&folder.join(LABELS_FILE), labels.as_bytes())?;
        if let Some(cache) = self.cache.as_ref().filter(|_| triton.needs_cache) {
            let new = self.new_ranges.iter().find(|(path, _)| path == cache);
            let bytes = new.map_or_else(|| files::read(cache), |(_, bytes)| Ok(bytes.clone()))?;
            files.add(&folder.join(TRITON_CACHE), &bytes)?;
        }
        files.add(&folder.join("config.pbtxt"), triton.config.as_bytes())
    }

    fn tell_of_triton(&self, folder: &Path, triton: &TritonModel) -> Result<(), Failure> {
        // Of a model for another target that was here before.
        let left_over = [
            ("1/model.onnx", triton.onnx_path != "1/model.onnx"),
            ("model.onnx", triton.onnx_path != "model.onnx"),
            (TRITON_CACHE, !triton.needs_cache),
        ];
        for path in left_over.iter().filter(|(_, stale)| *stale).map(|(name, _)| folder.join(name)) {
            if path.exists() {
                fs::remove_file(&path).map_err(|error| Failure::output(&path, &error))?;
            }
        }
        match &triton.build {
            Some(build) => console::print(&format!(
                "{}: a Triton model without its engine; on the server: cd {} && {build}",
                folder.display(),
                shell_quoted(&folder.to_string_lossy())
            )),
            None => console::print(&format!("{}: a Triton model", folder.display())),
        }
        let engine = folder.join("1/model.plan");
        if triton.build.is_some() && engine.exists() {
            console::warn(&format!("{} is the engine of an earlier model; build it again", engine.display()));
        }
        Ok(())
    }
}

/// What an earlier export has left in a model's folder.
struct Former {
    dir: PathBuf,
    manifest: Option<Manifest>,
}

impl Former {
    fn beside(output: &Path) -> Self {
        let path = output.with_file_name(MANIFEST_FILE);
        let text = fs::read_to_string(&path).ok();
        let manifest = text.and_then(|text| Manifest::parse(&path.to_string_lossy(), &text).ok());
        Self { dir: path.with_file_name(""), manifest }
    }

    /// Whether a file is as it was written then.
    fn wrote(&self, name: &str) -> bool {
        let digest = self.manifest.as_ref().and_then(|manifest| manifest.files.get(name));
        let bytes = fs::read(self.dir.join(name)).ok();
        matches!((digest, bytes), (Some(digest), Some(bytes)) if sha256_hex(&bytes) == *digest)
    }
}

/// A signature of another manifest would only say that this one is wrong.
fn remove_former_signature(path: &Path, manifest: &Manifest) -> Result<(), Failure> {
    let signature = path.with_file_name(SIGNATURE_FILE);
    let is_same = fs::read(path).is_ok_and(|old| old == manifest.to_json().as_bytes());
    if is_same || !signature.exists() {
        return Ok(());
    }
    fs::remove_file(&signature).map_err(|error| Failure::output(&signature, &error))?;
    console::warn(&format!(
        "{} was of the manifest before this one, and is removed; --sign-key signs the new one",
        signature.display()
    ));
    Ok(())
}

/// A word as a shell reads it.
fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether a model of this name is encrypted.
pub fn is_encrypted(output: &Path) -> bool {
    output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("etlt"))
}

/// Name of a file in the folder of the model.
fn beside(output: &Path, path: &Path) -> Option<String> {
    let name = path.file_name()?;
    files::is_same(path, &output.with_file_name(name)).then(|| name.to_string_lossy().into_owned())
}

fn refused(option: &str, error: &DeploymentError) -> Failure {
    Failure::usage(format!("{option}: {error}"))
}
