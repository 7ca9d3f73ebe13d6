//! What `export` of the original takes and this version does not act on.

use std::path::PathBuf;

use clap::Args;

use crate::console;
use crate::exit::Failure;

/// Options of the original that this version does not act on. They are refused by name.
#[derive(Args, Debug)]
pub(super) struct NotYet {
    #[arg(long = "engine_file", hide = true)]
    engine_file: Option<PathBuf>,
    #[arg(short = 's', long = "strict_type_constraints", hide = true)]
    strict_type_constraints: bool,
    #[arg(long = "max_workspace_size", hide = true)]
    max_workspace_size: Option<u64>,
    #[arg(long = "onnx_route", hide = true)]
    onnx_route: Option<String>,
}

impl NotYet {
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.engine_file.is_some() {
            return Err(Failure::usage(
                "--engine_file: an engine is built on the device it is for, from the exported model: oxidet gen_trt_engine -m model.onnx \
                 --engine_file model.engine (or trtexec --onnx=model.onnx --saveEngine=model.engine)",
            ));
        }
        let idle = [
            ("--strict_type_constraints", self.strict_type_constraints),
            ("--max_workspace_size", self.max_workspace_size.is_some()),
            ("--onnx_route", self.onnx_route.is_some()),
        ];
        for (name, _) in idle.iter().filter(|(_, given)| *given) {
            console::warn(&format!("{name} has no effect: no engine is built here"));
        }
        Ok(())
    }
}
