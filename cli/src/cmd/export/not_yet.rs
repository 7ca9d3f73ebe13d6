//! What `export` of the original takes and this version does not act on.

use std::path::PathBuf;

use clap::Args;

use crate::console;
use crate::exit::Failure;

/// Options of the original that this version does not act on. They are refused by name.
#[derive(Args, Debug)]
pub(super) struct NotYet {
    #[arg(long = "gen_ds_config", hide = true)]
    gen_ds_config: bool,
    #[arg(long = "engine_file", hide = true)]
    engine_file: Option<PathBuf>,
    #[arg(short = 's', long = "strict_type_constraints", hide = true)]
    strict_type_constraints: bool,
    #[arg(long = "min_batch_size", hide = true)]
    min_batch_size: Option<u32>,
    #[arg(long = "opt_batch_size", hide = true)]
    opt_batch_size: Option<u32>,
    #[arg(long = "max_batch_size", hide = true)]
    max_batch_size: Option<u32>,
    #[arg(long = "max_workspace_size", hide = true)]
    max_workspace_size: Option<u64>,
    #[arg(long = "onnx_route", hide = true)]
    onnx_route: Option<String>,
}

impl NotYet {
    pub(super) fn check(&self) -> Result<(), Failure> {
        let refused = [
            (
                "--gen_ds_config",
                self.gen_ds_config,
                "labels.txt and manifest.json hold what the DeepStream file needs",
            ),
            (
                "--engine_file",
                self.engine_file.is_some(),
                "build the engine on the device it is for: trtexec --onnx=model.onnx --saveEngine=model.engine",
            ),
        ];
        if let Some((name, _, instead)) = refused.iter().find(|(_, given, _)| *given) {
            return Err(Failure::usage(format!("{name} is not supported yet; {instead}")));
        }
        let idle = [
            ("--strict_type_constraints", self.strict_type_constraints),
            ("--min_batch_size", self.min_batch_size.is_some()),
            ("--opt_batch_size", self.opt_batch_size.is_some()),
            ("--max_batch_size", self.max_batch_size.is_some()),
            ("--max_workspace_size", self.max_workspace_size.is_some()),
            ("--onnx_route", self.onnx_route.is_some()),
        ];
        for (name, _) in idle.iter().filter(|(_, given)| *given) {
            console::warn(&format!("{name} has no effect: no engine is built here"));
        }
        Ok(())
    }
}
