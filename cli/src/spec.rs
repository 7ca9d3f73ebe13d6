//! Reading a spec for a command.

use std::path::Path;

use oxidet_graph::Checkpoint;
use oxidet_proto::lint::{self, Checked, Verb};
use oxidet_proto::prototxt::{Diagnostics, Severity};
use oxidet_proto::spec::parse_experiment;

use crate::console;
use crate::exit::Failure;
use crate::files;

/// The text of a spec. One that is not there is wrong usage.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    if !path.exists() {
        return Err(Failure::usage(format!("{}: there is no such spec", path.display())));
    }
    files::read_text(path)
}

/// Reads and checks the experiment spec of a file.
pub fn read(path: &Path, verb: Verb, allow_unsupported: bool) -> Result<Checked, Failure> {
    check(&path.to_string_lossy(), &read_text(path)?, verb, allow_unsupported)
}

/// The spec given, or else the one that a checkpoint was trained from.
pub fn of_checkpoint(
    given: Option<&Path>,
    model: &Path,
    checkpoint: &Checkpoint,
    verb: Verb,
) -> Result<Checked, Failure> {
    match given {
        Some(path) => read(path, verb, false),
        None => check(&format!("{} (its spec)", model.display()), &checkpoint.spec, verb, false),
    }
}

/// Checks an experiment spec for `verb` and prints its warnings; `name` is what they call it. What this version does not honour
/// is refused, or with `allow_unsupported` only warned of.
pub fn check(name: &str, text: &str, verb: Verb, allow_unsupported: bool) -> Result<Checked, Failure> {
    let parsed = parse_experiment(name, text).map_err(|diagnostics| Failure::spec(&diagnostics))?;
    let mut gaps = lint::unsupported(&parsed, verb);
    let checked = lint::check(parsed, verb).map_err(|diagnostics| Failure::spec(&diagnostics))?;
    if allow_unsupported {
        for gap in &mut gaps {
            gap.severity = Severity::Warning;
        }
    }
    let gaps = Diagnostics::new(checked.source().clone(), gaps);
    if gaps.has_errors() {
        return Err(Failure::spec(&gaps));
    }
    for warnings in [checked.warnings(), &gaps] {
        if !warnings.is_empty() {
            console::info(&warnings.to_string());
        }
    }
    Ok(checked)
}
