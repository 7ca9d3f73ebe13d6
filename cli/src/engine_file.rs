//! Engines of TensorRT as files: built of a model, and written with their record.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::{Args, ValueEnum};
use oxidet_graph::onnx::NmsTail;
use oxidet_runtime::tensorrt::{BuildError, Progress, TrtExec, Version};
use oxidet_runtime::{Builder, DetectorFacts, EngineOptions, EngineRecord, OnnxRuntime, TensorRt};

use crate::console;
use crate::engine;
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::files::StagedFiles;
use crate::progress;
use crate::stop;

/// What builds an engine.
#[derive(Args, Debug)]
pub struct BuilderArgs {
    /// tensorrt: the library itself, through the shim; trtexec: the program that comes with it; onnxruntime: its TensorRT provider, for an
    /// engine with raw outputs or, of a name that ends in .onnx, a model that holds one [default: tensorrt]
    #[arg(long, value_name = "BUILDER", value_enum)]
    builder: Option<BuilderName>,
    /// The program [default: that in the PATH, or of JetPack]
    #[arg(long, value_name = "FILE", conflicts_with = "ort_lib")]
    trtexec: Option<PathBuf>,
    /// Library of ONNX Runtime [default: ORT_DYLIB_PATH, or one that is installed]
    #[arg(long = "ort-lib", value_name = "FILE")]
    ort_lib: Option<PathBuf>,
}

/// The builders by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BuilderName {
    Tensorrt,
    Trtexec,
    Onnxruntime,
}

/// An engine to build.
pub struct EngineFile<'a> {
    path: &'a Path,
    builder: Builder,
    /// Whether a record lies beside it: a model that holds an engine describes itself.
    has_record: bool,
}

impl BuilderArgs {
    /// Whether anything is said about what builds.
    pub fn is_given(&self) -> bool {
        self.builder.is_some() || self.trtexec.is_some() || self.ort_lib.is_some()
    }

    /// The engine of a path.
    pub fn engine<'a>(&self, path: &'a Path) -> Result<EngineFile<'a>, Failure> {
        let holds_model = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
        // A program or library that only one needs is enough to name it.
        let default = match (&self.trtexec, &self.ort_lib) {
            (Some(_), _) => BuilderName::Trtexec,
            (None, Some(_)) => BuilderName::Onnxruntime,
            (None, None) => BuilderName::Tensorrt,
        };
        let name = self.builder.unwrap_or(default);
        if self.trtexec.is_some() && name != BuilderName::Trtexec
            || self.ort_lib.is_some() && name != BuilderName::Onnxruntime
        {
            return Err(Failure::usage(
                "--trtexec is for --builder trtexec, --ort-lib for --builder onnxruntime",
            ));
        }
        let is_context = holds_model && name == BuilderName::Onnxruntime;
        if !is_context && !EngineRecord::is_engine(path) {
            return Err(Failure::usage(format!(
                "{}: the name of an engine ends in .engine, .plan or .trt, and that of a model which holds one, of --builder onnxruntime, \
                 in .onnx",
                path.display()
            )));
        }
        let builder = match name {
            BuilderName::Tensorrt => Builder::TensorRt(TensorRt::new()),
            BuilderName::Trtexec => {
                let found = TrtExec::find(self.trtexec.as_deref());
                Builder::TrtExec(found.map_err(|error| Failure::environment(error.to_string()))?)
            }
            BuilderName::Onnxruntime if is_context => {
                Builder::OnnxRuntimeContext(OnnxRuntime::new(self.ort_lib.clone()))
            }
            BuilderName::Onnxruntime => Builder::OnnxRuntime(OnnxRuntime::new(self.ort_lib.clone())),
        };
        Ok(EngineFile { path, builder, has_record: !is_context })
    }
}

impl EngineFile<'_> {
    /// Adds the files that are written.
    pub fn check_files(&self, plan: &mut FilePlan) -> Result<(), Failure> {
        plan.writes(self.path)?;
        if self.has_record { plan.replaces(&EngineRecord::path(self.path), true) } else { Ok(()) }
    }

    /// Looks for what is needed to build, tells what there is, and the TensorRT where that is known.
    pub fn probe(&self, options: &EngineOptions) -> Result<Option<Version>, Failure> {
        let missing = |error: oxidet_runtime::Unavailable| Failure::environment(error.to_string());
        console::info(&self.builder.probe(options).map_err(missing)?);
        self.builder.version().map_err(missing)
    }

    /// Builds it of a model in the clear, and writes it; its size in MiB. `model` is for messages. Without facts there is no record.
    pub fn build(
        &self,
        model: &Path,
        onnx: &[u8],
        options: &EngineOptions,
        facts: Option<DetectorFacts>,
    ) -> Result<f64, Failure> {
        let stop = stop::on_signal()?;
        let bar = progress::counter("steps of the builder");
        let built = self.builder.build(onnx, options, &mut |step| {
            match step {
                Progress::Step { .. } => bar.inc(1),
                Progress::Alive => bar.tick(),
                Progress::Phase { .. } | Progress::End { .. } => {}
            }
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        bar.finish_and_clear();
        let built = built.map_err(|error| match error {
            BuildError::Cancelled => Failure::interrupted("stopped; no engine is written"),
            BuildError::Unavailable(error) => Failure::environment(error.to_string()),
            BuildError::Failed(error) => engine::failure(model, &error),
            error => Failure::data(error.to_string()),
        })?;
        // Builders that do not listen have gone on.
        stop::check()?;
        if self.has_record && built.tail == NmsTail::Onnx {
            console::warn(
                "the engine ends with NonMaxSuppression, the size of whose output oxidet does not know beforehand: it does not run this \
                 engine; export the model with --nms none for one that it does",
            );
        }
        let mut files = StagedFiles::default();
        files.add(self.path, &built.engine)?;
        match facts.filter(|_| self.has_record) {
            Some(facts) => {
                let record = built.record(onnx, facts);
                files.add(&EngineRecord::path(self.path), record.to_json().as_bytes())?;
            }
            None if self.has_record => {
                // That of the engine before this one.
                let stale = EngineRecord::path(self.path);
                if stale.exists() {
                    fs::remove_file(&stale).map_err(|error| Failure::output(&stale, &error))?;
                }
                console::info(
                    "the model does not say what its classes are and how images are fed to it; the engine is run with the spec (-e)",
                );
            }
            None => {}
        }
        files.commit()?;
        let size = built.engine.len() as f64 / f64::from(1 << 20);
        console::print(&format!("{}: {size:.1} MB, {}", self.path.display(), built.built));
        Ok(size)
    }
}
