//! `oxidet diff`

mod detector;
mod network;
mod parameters;
mod training;

use std::path::PathBuf;

use clap::Args;
use oxidet_graph::Checkpoint;
use oxidet_proto::spec::{Difference, differences, parse_experiment};
use oxidet_trainer::checkpoint_file::read_checkpoint;
use serde_json::{Map, json};

use crate::console;
use crate::exit::Failure;
use crate::format::{FormatArgs, print_json};
use crate::key::KeyArgs;

/// Say in what two checkpoints differ
///
/// Fields of the spec, input, classes, anchors, layers and their widths, weights, ranges of quantisers, and where training stands.
/// Layers are matched by name. docs/inspect.md tells more.
#[derive(Args, Debug)]
#[command(after_help = "Exit code: 0 whether they differ or not.\n\nExamples:\n  \
    oxidet diff weights/yolov4_resnet18_epoch_040.tlt weights/yolov4_resnet18_epoch_080.tlt -k KEY\n  \
    oxidet diff trained.tlt pruned.tlt --all")]
pub struct DiffArgs {
    /// Checkpoint
    #[arg(value_name = "A")]
    before: PathBuf,
    /// The checkpoint to compare with it
    #[arg(value_name = "B")]
    after: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// Every layer, weight and range, not only the first 20 of a list
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// Lines below a heading.
struct Section {
    heading: String,
    lines: Vec<String>,
}

impl Section {
    fn new(heading: impl Into<String>, lines: Vec<String>) -> Self {
        Self { heading: heading.into(), lines }
    }
}

/// How much of a list is printed.
#[derive(Clone, Copy)]
struct Limit {
    all: bool,
}

impl Limit {
    const FIRST: usize = 20;

    /// The items to print, and a line about the others.
    fn of<T>(self, items: &[T]) -> (&[T], Option<String>) {
        if self.all || items.len() <= Self::FIRST {
            return (items, None);
        }
        let more = items.len() - Self::FIRST;
        (&items[..Self::FIRST], Some(format!("… and {more} more; --all shows them")))
    }
}

pub fn run(args: &DiffArgs) -> Result<(), Failure> {
    let passphrase = args.key.passphrase()?;
    let read = |path| read_checkpoint(path, passphrase.as_ref());
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    // Bytes, because no number equals one that is none.
    let identical = before.to_bytes() == after.to_bytes();
    let limit = Limit { all: args.all };
    let mut sections = vec![spec(&before, &after), detector::section(&before.detector, &after.detector)];
    sections.extend(network::sections(&before.detector.graph, &after.detector.graph, limit));
    sections.push(parameters::weights(&before, &after, limit));
    sections.push(parameters::ranges(&before, &after, limit));
    sections.push(training::section(before.training.as_ref(), after.training.as_ref()));
    sections.retain(|section| !section.lines.is_empty());
    if args.format.is_json() {
        let found = sections.iter().map(|Section { heading, lines }| (heading.clone(), json!(lines)));
        return print_json(&json!({
            "a": args.before,
            "b": args.after,
            "identical": identical,
            "differences": found.collect::<Map<_, _>>(),
        }));
    }
    console::print(&format!("A  {}\nB  {}\n", args.before.display(), args.after.display()));
    if identical {
        console::print("They are identical: spec, network, parameters and training state.");
        return Ok(());
    }
    console::print(&network::totals(&before, &after)?);
    for Section { heading, lines } in &sections {
        console::print(&format!("\n{heading}\n  {}", lines.join("\n").replace('\n', "\n  ")));
    }
    if sections.is_empty() {
        console::print("\nThey compute the same; what differs is the order of nodes or the signs of zeros.");
    }
    Ok(())
}

fn spec(before: &Checkpoint, after: &Checkpoint) -> Section {
    let read = |text: &str| parse_experiment("spec", text).map(|parsed| parsed.message);
    let lines = match (read(&before.spec), read(&after.spec)) {
        (Ok(a), Ok(b)) => {
            let fields = differences(&a, &b);
            if fields.is_empty() && before.spec != after.spec {
                vec!["the texts differ, no field does".into()]
            } else {
                fields.iter().map(Difference::to_string).collect()
            }
        }
        _ if before.spec == after.spec => Vec::new(),
        _ => vec!["the texts differ, and one of them cannot be read".into()],
    };
    Section::new("Spec", lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_at_twenty() {
        let items: Vec<usize> = (0..22).collect();
        let (first, more) = Limit { all: false }.of(&items);
        assert_eq!((first.len(), more.as_deref()), (20, Some("… and 2 more; --all shows them")));
        assert_eq!(Limit { all: false }.of(&items[..20]), (&items[..20], None));
        assert_eq!(Limit { all: true }.of(&items), (&items[..], None));
    }
}
