//! `oxidet doctor`

use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_proto::container::{self, Kind, Sniffed};
use oxidet_runtime::tensorrt::TrtExec;
use oxidet_runtime::{
    Artifact, Backend, Capabilities, Cpu, Device, EngineOptions, EngineRecord, Machine, OnnxRuntime, Profile,
    TensorRt, Unavailable,
};
use oxidet_vision::Preprocess;
use serde_json::{Value, json};

use crate::console;
use crate::exit::Failure;
use crate::files;
use crate::format::{FormatArgs, print_json};
use crate::key::KeyArgs;
use crate::model;

/// Show what this computer can run models with, what is missing, and what a model needs
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet doctor\n  \
    oxidet doctor -m model.onnx                     what the model needs, and who can run it here\n  \
    oxidet doctor --ort-lib libonnxruntime.so.1     another library than the one that is found")]
pub struct DoctorArgs {
    /// Exported model or engine to look at
    #[arg(short = 'm', long = "model_path", alias = "model", value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Library of ONNX Runtime [default: ORT_DYLIB_PATH, or one that is installed]
    #[arg(long = "ort-lib", value_name = "FILE")]
    ort_lib: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// A backend, and what it found.
struct Probed {
    backend: Box<dyn Backend>,
    found: Result<Capabilities, Unavailable>,
}

pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let backends: [Box<dyn Backend>; 3] =
        [Box::new(Cpu), Box::new(OnnxRuntime::new(args.ort_lib.clone())), Box::new(TensorRt::new())];
    let probed: Vec<Probed> =
        backends.into_iter().map(|backend| Probed { found: backend.probe(), backend }).collect();
    let needs = args.model.as_ref().map(|_| args.look(&probed)).transpose()?;
    let trtexec = TrtExec::find(None);
    let machine = Machine::this();
    if args.format.is_json() {
        let backends: Vec<Value> = probed.iter().map(Probed::to_json).collect();
        return print_json(&json!({
            "oxidet_version": env!("CARGO_PKG_VERSION"),
            "machine": machine,
            "backends": backends,
            "trtexec": trtexec.as_ref().map(|program| program.version().to_string()).ok(),
            "model": needs.map(|needs| needs.to_json()),
        }));
    }
    console::print(&format!("oxidet {} on {machine}", env!("CARGO_PKG_VERSION")));
    for backend in &probed {
        console::print(&backend.to_text());
    }
    if let Ok(program) = &trtexec {
        console::print(&format!(
            "{:<12} of TensorRT {}, for gen_trt_engine --builder trtexec",
            "trtexec",
            program.version()
        ));
    }
    if let (Some(path), Some(needs)) = (&args.model, needs) {
        console::print(&format!("\n{}\n{}", path.display(), needs.to_text()));
    }
    Ok(())
}

impl Probed {
    fn to_text(&self) -> String {
        let mut lines = Vec::new();
        match &self.found {
            Ok(found) => {
                lines.push(found.version.clone());
                lines.extend(found.library.iter().map(|library| library.display().to_string()));
                lines.extend(found.devices.iter().map(|device| format!("computes on {device}")));
                lines.extend(found.missing.iter().map(|missing| format!("not there: {missing}")));
            }
            Err(error) => lines.push(format!("not available: {}", error.missing)),
        }
        let name = format!("{:<12} ", self.backend.name());
        name.clone() + &lines.join(&format!("\n{}", " ".repeat(name.len())))
    }

    fn to_json(&self) -> Value {
        let name = self.backend.name();
        match &self.found {
            Ok(Capabilities { version, library, devices, missing }) => json!({
                "name": name, "available": true, "version": version, "library": library, "devices": devices, "missing": missing,
            }),
            Err(error) => json!({ "name": name, "available": false, "missing": [error.missing] }),
        }
    }
}

/// What a model is and needs.
struct Needs {
    /// Names and values.
    facts: Vec<(&'static str, String)>,
    /// Whether each backend that is there runs it on the processor, and if not, why.
    runs: Vec<(&'static str, Result<(), String>)>,
}

impl DoctorArgs {
    fn look(&self, probed: &[Probed]) -> Result<Needs, Failure> {
        let path = self.model.as_deref().expect("called with a model");
        if model::is_checkpoint(path)? {
            let fact = (
                "kind",
                "checkpoint: oxidet itself computes it; oxidet export makes a model of it for others"
                    .to_owned(),
            );
            return Ok(Needs { facts: vec![fact], runs: Vec::new() });
        }
        if EngineRecord::is_engine(path) {
            return Ok(Needs { facts: facts_of_engine(path)?, runs: Vec::new() });
        }
        let encrypted = matches!(
            container::sniff(&files::read_head(path, 64)?),
            Sniffed::Oxidet { kind: Some(Kind::Onnx), .. }
        );
        let artifact = model::read_artifact(path, self.key.passphrase()?.as_ref())?;
        // On the processor: an engine would take minutes to build.
        let runs = probed.iter().filter(|probed| probed.found.is_ok() && probed.backend.name() != "tensorrt");
        let options = EngineOptions { device: Device::Cpu, ..EngineOptions::default() };
        let runs = runs.map(|Probed { backend, .. }| {
            let prepared = backend.prepare(&artifact, &options);
            (backend.name(), prepared.map(drop).map_err(|error| error.reason))
        });
        Ok(Needs { runs: runs.collect(), facts: facts(&artifact, encrypted) })
    }
}

/// As its record has them.
fn facts_of_engine(path: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut facts =
        vec![("kind", "an engine of TensorRT, which --backend tensorrt runs and no other".to_owned())];
    let Some(record) = model::engine_record(path)? else {
        let beside = EngineRecord::path(path);
        facts.push(("for", format!("not known: there is no {} of gen_trt_engine", beside.display())));
        return Ok(facts);
    };
    if !record.is_of(&files::read(path)?) {
        return Err(Failure::data(format!(
            "{}: the record beside it is that of another engine; build it again, or remove the record",
            path.display()
        )));
    }
    let Profile { min, opt, max } = record.profile;
    let Preprocess { width, height, channels, .. } = record.preprocess;
    facts.extend([
        ("for", format!("{}; with another version or kind of GPU it does not open", record.built)),
        ("input", format!("{min} to {max} images (best {opt}) of {channels}x{height}x{width}")),
        ("classes", record.classes.len().to_string()),
        ("numbers", record.precision.to_string()),
    ]);
    Ok(facts)
}

fn facts(artifact: &Artifact, encrypted: bool) -> Vec<(&'static str, String)> {
    let signature = artifact.signature();
    let batch = signature.batch.map_or("any number of".to_owned(), |images| images.to_string());
    if artifact.holds_engine() {
        let held = "an engine of TensorRT in an ONNX model; --backend onnxruntime --device tensorrt --trust-engine runs it";
        return vec![("kind", held.to_owned())];
    }
    let precision = match (artifact.is_quantized(), artifact.is_half()) {
        (true, _) => "INT8 with Q/DQ pairs (TensorRT 8 and later, ONNX Runtime); no calibration is needed",
        (false, true) => "float16 layers; input, decoding and outputs are float32",
        (false, false) => {
            "float32; an engine can be built in half precision, and in INT8 with a calibration cache"
        }
    };
    let suppression = match artifact.node() {
        Some(node) => format!("{}: {}; oxidet does it itself", node.op_type, who_knows(&node.op_type)),
        None => "none in the model: whoever runs it suppresses, as oxidet does".to_owned(),
    };
    let kind = if encrypted {
        "ONNX, encrypted: only oxidet opens it; oxidet decrypt writes it plain"
    } else {
        "ONNX"
    };
    vec![
        ("kind", format!("{kind}, opset {}", artifact.opset())),
        (
            "cpu backend",
            (if artifact.is_own() { "our own kernels" } else { "tract, by its nodes" }).to_owned(),
        ),
        (
            "input",
            format!("{batch} images of {}x{}x{}", signature.channels, signature.height, signature.width),
        ),
        ("classes", signature.classes.to_string()),
        ("numbers", precision.to_owned()),
        ("suppression", suppression),
    ]
}

/// Who else knows a suppression node.
fn who_knows(operator: &str) -> &'static str {
    match operator {
        "NonMaxSuppression" => "standard ONNX; TensorRT from 8.5 on, ONNX Runtime",
        "EfficientNMS_TRT" => "a plugin of TensorRT from 8.0 on, not of ONNX Runtime",
        _ => "a plugin of TensorRT up to 10.16, stock from 8.4 on; removed in 11, unknown to ONNX Runtime",
    }
}

impl Needs {
    fn to_text(&self) -> String {
        let facts = self.facts.iter().map(|(name, value)| format!("  {name:<12} {value}"));
        let runs = self.runs.iter().map(|(name, ran)| match ran {
            Ok(()) => format!("  {name:<12} runs it"),
            Err(reason) => format!("  {name:<12} does not run it: {reason}"),
        });
        facts.chain(runs).collect::<Vec<_>>().join("\n")
    }

    fn to_json(&self) -> Value {
        let mut json: Value =
            self.facts.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.clone()))).collect();
        let runs = self.runs.iter().map(|(name, ran)| {
            ((*name).to_owned(), json!({ "runs": ran.is_ok(), "reason": ran.as_ref().err() }))
        });
        json["run_by"] = runs.collect();
        json
    }
}
