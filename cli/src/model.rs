//! A model file of any kind, ready to run.

use std::path::Path;

use oxidet_graph::{nms_from_spec, preprocess_from_spec};
use oxidet_proto::container::{self, Kind, Passphrase, Sniffed};
use oxidet_proto::lint::Checked;
use oxidet_runtime::{Artifact, ArtifactError, Engine, EngineRecord, Model, Signature};
use oxidet_vision::{Network, Preprocess};
use zeroize::Zeroizing;

use crate::console;
use crate::engine::{self, EngineArgs};
use crate::exit::Failure;
use crate::files;

/// Opens a checkpoint, an ONNX model, or either in our container: the content decides, not the name. A `spec` must be for
/// the same classes and input; it says how to suppress, and what the model of another program does not say about itself.
pub fn open(
    path: &Path,
    passphrase: Option<&Passphrase>,
    spec: Option<&Checked>,
    engine: &EngineArgs,
) -> Result<Model, Failure> {
    let model = if is_checkpoint(path)? {
        engine.refuse_for_checkpoint(path)?;
        open_checkpoint(path, passphrase, spec)?
    } else if EngineRecord::is_engine(path) {
        open_engine(path, spec, engine)?
    } else {
        open_artifact(path, passphrase, spec, engine)?
    };
    if let Some(spec) = spec {
        check_fits(path, &model.classes, &model.preprocess, spec)?;
    }
    Ok(model)
}

#[cfg(feature = "training")]
use crate::checkpoint::open as open_checkpoint;

#[cfg(not(feature = "training"))]
fn open_checkpoint(path: &Path, _: Option<&Passphrase>, _: Option<&Checked>) -> Result<Model, Failure> {
    Err(Failure::usage(format!(
        "{}: a checkpoint, and this build only runs exported models; oxidet export on the computer that trained it writes one",
        path.display()
    )))
}

fn open_artifact(
    path: &Path,
    passphrase: Option<&Passphrase>,
    spec: Option<&Checked>,
    engine: &EngineArgs,
) -> Result<Model, Failure> {
    let artifact = read_artifact(path, passphrase)?;
    let (classes, preprocess) = match (artifact.metadata(), spec) {
        (Some(metadata), _) => (metadata.labels.clone(), metadata.preprocess.clone()),
        (None, Some(spec)) => {
            console::warn(&format!(
                "{}: not exported by oxidet; classes, input size and image_mean are taken from the spec",
                path.display()
            ));
            (spec.classes().names().to_vec(), preprocess_from_spec(spec.augmentation()))
        }
        (None, None) => return Err(says_too_little(path)),
    };
    let own = artifact.suppression().map(|suppression| suppression.nms);
    let asked = spec.map(|spec| nms_from_spec(spec.nms()));
    let nms = asked.or(own).ok_or_else(|| says_too_little(path))?;
    check_signature(path, artifact.signature(), &preprocess, classes.len())?;
    let network = session(path, &*engine.prepare(path, &artifact)?)?;
    Ok(Model { network, classes, preprocess, nms })
}

/// Whether a network reads and knows what a description of it says.
pub fn check_signature(
    path: &Path,
    signature: &Signature,
    preprocess: &Preprocess,
    classes: usize,
) -> Result<(), Failure> {
    let size = (signature.channels, signature.height, signature.width);
    let expected = (preprocess.channels, preprocess.height, preprocess.width);
    if size == expected && signature.classes == classes {
        return Ok(());
    }
    Err(Failure::data(format!(
        "{}: the model reads {} and knows {} classes; the spec says {} and {classes}",
        path.display(),
        dims(size),
        signature.classes,
        dims(expected),
    )))
}

fn open_engine(path: &Path, spec: Option<&Checked>, engine: &EngineArgs) -> Result<Model, Failure> {
    let plan = files::read(path)?;
    if let Some(record) = engine_record(path)? {
        let model = engine.open_recorded(path, &plan, &record)?;
        let nms = spec.map_or(model.nms, |spec| nms_from_spec(spec.nms()));
        return Ok(Model { nms, ..model });
    }
    let Some(spec) = spec else {
        return Err(Failure::usage(format!(
            "{}: an engine does not say what its classes are, how images are fed to it and how to suppress, and there is no {} of \
             gen_trt_engine to say it; give the spec (-e)",
            path.display(),
            EngineRecord::path(path).display()
        )));
    };
    let (classes, preprocess) = (spec.classes().names().to_vec(), preprocess_from_spec(spec.augmentation()));
    let opened = engine.open_plan(path, &plan, classes.len())?;
    check_signature(path, opened.signature(), &preprocess, classes.len())?;
    Ok(Model { network: session(path, &*opened)?, classes, preprocess, nms: nms_from_spec(spec.nms()) })
}

/// The record beside an engine, if there is one.
pub fn engine_record(engine: &Path) -> Result<Option<EngineRecord>, Failure> {
    let path = EngineRecord::path(engine);
    if !path.exists() {
        return Ok(None);
    }
    let text = String::from_utf8(files::read(&path)?)
        .map_err(|_| Failure::data(format!("{}: not a text file", path.display())))?;
    let record = EngineRecord::parse(&path.to_string_lossy(), &text);
    record.map(Some).map_err(|error| Failure::data(error.to_string()))
}

fn says_too_little(path: &Path) -> Failure {
    Failure::usage(format!(
        "{}: not exported by oxidet, so the model does not say what its classes are, how images are fed to it and how to suppress; give \
         the spec it was trained with (-e)",
        path.display()
    ))
}

/// An exported model in the clear.
pub fn read_onnx(path: &Path, passphrase: Option<&Passphrase>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let bytes = files::read(path)?;
    match (container::sniff(&bytes), passphrase) {
        (Sniffed::Oxidet { .. }, Some(passphrase)) => container::open(Kind::Onnx, &bytes, passphrase)
            .map_err(|error| Failure::data(format!("{}: {error}", path.display()))),
        _ => Ok(Zeroizing::new(bytes)),
    }
}

/// Reads an exported model.
pub fn read_artifact(path: &Path, passphrase: Option<&Passphrase>) -> Result<Artifact, Failure> {
    artifact(path, &files::read(path)?, passphrase)
}

/// An exported model that is read already; `path` is for messages.
pub fn artifact(path: &Path, bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Artifact, Failure> {
    Artifact::load(bytes, passphrase).map_err(|error| match error {
        ArtifactError::Onnx(error) if container::sniff(bytes) == Sniffed::Other => Failure::data(format!(
            "{}: neither a checkpoint of oxidet nor an ONNX model ({error}); a .tlt of NVIDIA TAO, whose format is closed, \
             looks like this too",
            path.display()
        )),
        error => Failure::artifact(path, &error),
    })
}

/// A session of an engine, for one thread; `path` is for messages.
pub fn session(path: &Path, engine: &dyn Engine) -> Result<Box<dyn Network>, Failure> {
    Ok(engine.session().map_err(|error| engine::failure(path, &error))?)
}

/// Whether a file is a checkpoint, plain or encrypted.
pub fn is_checkpoint(path: &Path) -> Result<bool, Failure> {
    let head = files::read_head(path, 2048)?;
    Ok(match container::sniff(&head) {
        Sniffed::Oxidet { kind, .. } => kind == Some(Kind::Checkpoint),
        // Safetensors: the length of a JSON object, then the object.
        Sniffed::Other => head.get(8) == Some(&b'{'),
        _ => false,
    })
}

/// Whether a model and a spec speak of the same classes and the same input.
pub fn check_fits(
    path: &Path,
    classes: &[String],
    preprocess: &Preprocess,
    spec: &Checked,
) -> Result<(), Failure> {
    check_same(path, "classes", &classes.join(", "), &spec.classes().names().join(", "))?;
    check_same(path, "input", &input(preprocess), &input(&preprocess_from_spec(spec.augmentation())))
}

fn check_same(path: &Path, what: &str, model: &str, spec: &str) -> Result<(), Failure> {
    if model == spec {
        return Ok(());
    }
    Err(Failure::data(format!(
        "{}: the {what} of the model and of the spec differ; use the spec it was trained with\n  model: {model}\n  spec:  {spec}",
        path.display()
    )))
}

fn input(preprocess: &Preprocess) -> String {
    let size = dims((preprocess.channels, preprocess.height, preprocess.width));
    let mean: Vec<String> = preprocess.mean.iter().map(f32::to_string).collect();
    format!("{size} and {} bits, mean {}", preprocess.depth, mean.join(" "))
}

fn dims((channels, height, width): (usize, usize, usize)) -> String {
    format!("{width}x{height} pixels of {channels} channels")
}
