//! `oxidet lint`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use oxidet_proto::lint::{self, PathKind, Verdict};
use oxidet_proto::prototxt::{Diagnostics, Severity};
use oxidet_proto::spec::SpecKind;
use oxidet_trainer::data::{from_base_path, record_files};
use serde_json::json;

use crate::console;
use crate::exit::Failure;
use crate::format::{FormatArgs, print_json};
use crate::spec;

/// Say what is wrong with a spec
#[derive(Args, Debug)]
#[command(
    after_help = "Exit code: 0 the spec can be run, 1 it cannot, 2 it cannot be parsed.\n\nExamples:\n  \
    oxidet lint spec.txt\n  \
    oxidet lint spec.txt --paths              also look whether its files are there\n  \
    oxidet lint spec.txt --format json\n  \
    oxidet lint spec.txt --dump json          print what was understood"
)]
pub struct LintArgs {
    /// Experiment or dataset_convert spec; its fields tell which
    spec: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
    /// Also look whether files and folders that the spec names are there
    #[arg(long)]
    paths: bool,
    /// Print the message that was understood, default values left out
    #[arg(long, value_enum)]
    dump: Option<Dump>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dump {
    /// Protobuf's JSON mapping with the original field names
    Json,
}

pub fn run(args: &LintArgs) -> Result<(), Failure> {
    let text = spec::read_text(&args.spec)?;
    let mut report = lint::report(&args.spec.to_string_lossy(), &text);
    if let (true, Some(parsed)) = (args.paths, &report.spec) {
        let missing: Vec<_> = lint::paths(parsed)
            .iter()
            .filter(|used| !is_there(used, parsed.kind()))
            .map(lint::PathUse::missing)
            .collect();
        if !missing.is_empty() && report.verdict == Verdict::Runs {
            report.verdict = Verdict::Invalid;
        }
        let list = report.diagnostics.iter().cloned().chain(missing).collect();
        report.diagnostics = Diagnostics::new(report.diagnostics.source().clone(), list);
    }
    if args.dump == Some(Dump::Json) {
        if let Some(spec) = &report.spec {
            print_json(&spec.to_json())?;
        }
        // The message is the result; findings go where they do not get into its way.
        if !report.diagnostics.is_empty() {
            console::note(&report.diagnostics.to_string());
        }
    } else {
        print(args, &report)?;
    }
    match report.verdict {
        Verdict::Runs => Ok(()),
        Verdict::Invalid => Err(Failure::no("")),
        Verdict::Unreadable => Err(Failure::usage("")),
    }
}

fn print(args: &LintArgs, report: &lint::Report) -> Result<(), Failure> {
    let count = |severity| report.diagnostics.count(severity);
    if args.format.is_json() {
        let runs = report.verdict == Verdict::Runs;
        return print_json(
            &json!({ "kind": report.kind.name(), "runs": runs, "diagnostics": report.diagnostics.to_json() }),
        );
    }
    if !report.diagnostics.is_empty() {
        console::print(&report.diagnostics.to_string());
    }
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    console::print(&format!(
        "{}: {} spec, {errors} errors, {warnings} warnings",
        args.spec.display(),
        report.kind.name()
    ));
    Ok(())
}

fn is_there(used: &lint::PathUse, kind: SpecKind) -> bool {
    let path = Path::new(&used.path);
    match used.kind {
        // What dataset_convert reads is looked for as TFRecords are.
        PathKind::File if kind == SpecKind::DatasetConvert => from_base_path(&used.path).is_file(),
        PathKind::File => path.is_file(),
        // Folders of images may be those of TFRecords.
        PathKind::Folder => path.is_dir() || from_base_path(&used.path).is_dir(),
        PathKind::Glob => record_files(&used.path).is_ok(),
    }
}
