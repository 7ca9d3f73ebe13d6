//! `docs/reference/`: pages that are written from what parses command lines and specs. The test compares them with the files,
//! and writes those that are not as they should be.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, Command};
use oxidet_proto::lint;
use oxidet_proto::spec::arch::ARCHS;
use oxidet_proto::spec::{DatasetExportConfig, Descriptor, EnumDescriptor, Experiment, Kind, Message};

use crate::args;
use crate::exit::CODES;

#[test]
fn the_reference_is_that_of_this_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    let mut written = Vec::new();
    for (name, page) in
        [("commands.md", commands()), ("spec.md", spec()), ("lints.md", lints()), ("exit-codes.md", codes())]
    {
        let path = folder.join(name);
        if fs::read_to_string(&path).unwrap_or_default() != page {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, page).unwrap();
            written.push(name);
        }
    }
    assert!(written.is_empty(), "docs/reference was not up to date; these are written anew: {written:?}");
}

fn codes() -> String {
    let mut page = String::from("# Exit codes\n\n| code | |\n|---|---|\n");
    for (code, what) in CODES {
        let _ = writeln!(page, "| {code} | {what} |");
    }
    page
}

fn lints() -> String {
    let mut page = String::from(
        "# Findings of `oxidet lint`\n\nEvery finding has a code, which stays the same for ever. All commands that read a spec apply the rules \
        that concern them.\n\n| code | demand |\n|---|---|\n",
    );
    for (code, demand) in lint::rules() {
        let _ = writeln!(page, "| {code} | {} |", cell(&demand));
    }
    page
}

fn commands() -> String {
    let mut command = args::command("oxidet");
    command.build();
    let mut page = String::from(
        "# Commands\n\n`oxidet COMMAND --help` tells the same. `yolo_v4` is the same program under the name that TAO's scripts call. Long options \
         may be shortened as long as they are unambiguous; options of several letters behind one dash (`-pth`, `-np`) are TAO's.\n",
    );
    let everywhere: BTreeSet<String> = ids(command.get_arguments().filter(|arg| arg.is_global_set()));
    page.push_str("\n## Options of every command\n\n");
    page.push_str(&options(command.get_arguments().filter(|arg| everywhere.contains(arg.get_id().as_str()))));
    describe_all(&command, "oxidet", &everywhere, &mut page);
    page
}

fn ids<'a>(args: impl Iterator<Item = &'a Arg>) -> BTreeSet<String> {
    args.map(|arg| arg.get_id().as_str().to_owned()).chain(["help".into(), "version".into()]).collect()
}

fn describe_all(command: &Command, name: &str, everywhere: &BTreeSet<String>, page: &mut String) {
    let shown = command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help");
    for command in shown {
        let name = format!("{name} {}", command.get_name());
        if command.has_subcommands() {
            describe_all(command, &name, everywhere, page);
        } else {
            describe(command, &name, everywhere, page);
        }
    }
}

fn describe(command: &Command, name: &str, everywhere: &BTreeSet<String>, page: &mut String) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let about: Vec<String> = about.split("\n\n").map(prose).collect();
    let _ = write!(page, "\n## {name}\n\n{}\n\n", about.join("\n\n"));
    let own = command.get_arguments().filter(|arg| !everywhere.contains(arg.get_id().as_str()));
    page.push_str(&options(own));
    if let Some(after) = command.get_after_help() {
        let _ = write!(page, "\n```text\n{}\n```\n", after.to_string().trim_end());
    }
}

fn options<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    let mut table = String::from("| option | |\n|---|---|\n");
    for arg in args.filter(|arg| !arg.is_hide_set()) {
        let _ = writeln!(table, "| {} | {} |", cell(&names(arg)), cell(&meaning(arg)));
    }
    table
}

/// The option as it is written, with its value.
fn names(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let takes_value = arg.get_action().takes_values();
    let values = arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str());
    let values = if takes_value { values.collect::<Vec<_>>().join(" ") } else { String::new() };
    let many =
        if takes_value && arg.get_num_args().is_some_and(|n| n.max_values() > 1) { " …" } else { "" };
    format!("`{}{many}`", [names.join(", "), values].join(" ").trim())
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = prose(&help);
    let shown = arg.get_possible_values();
    let shown: Vec<_> = shown.iter().filter(|value| !value.is_hide_set()).collect();
    if arg.get_action().takes_values() && !shown.is_empty() {
        let value = |value: &&clap::builder::PossibleValue| match value.get_help() {
            Some(help) => format!("`{}` ({})", value.get_name(), prose(&help.to_string())),
            None => format!("`{}`", value.get_name()),
        };
        let _ = write!(text, ". One of {}", shown.iter().map(value).collect::<Vec<_>>().join(", "));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() {
        let _ = write!(text, ". Default: `{}`", defaults.join(" "));
    }
    if arg.is_required_set() {
        text.push_str(". Required");
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, ". Environment: `{}`", variable.to_string_lossy());
    }
    text
}

fn spec() -> String {
    let mut page = String::from(
        "# Fields of the specs\n\nAn [experiment spec](#experiment) is for everything from training to export, a [conversion \
         spec](#datasetexportconfig) for `dataset_convert`. They are protobuf messages in text form, with the names of TAO's. What is not \
         written is 0, empty or false, and floats have 32 bits; a field that is given twice keeps its last value, with a warning. \
         [Findings](lints.md) has the bounds, [differences](../differences.md) what is other than in TAO.\n",
    );
    let mut todo: Vec<&Descriptor> = vec![&Experiment::DESCRIPTOR, &DatasetExportConfig::DESCRIPTOR];
    let mut seen = BTreeSet::new();
    while !todo.is_empty() {
        let message = todo.remove(0);
        if !seen.insert(message.name) {
            continue;
        }
        let inner: Vec<&Descriptor> =
            message.fields.iter().filter_map(|field| message_of(&field.kind)).collect();
        let place = todo.iter().position(|next| next.name == DatasetExportConfig::DESCRIPTOR.name);
        let place = place.unwrap_or(todo.len());
        todo.splice(place..place, inner);
        describe_message(message, &mut page);
    }
    let _ = write!(
        page,
        "\n## Backbones\n\nValues of `arch`; [networks](../networks.md) tells more.\n\n| arch | nlayers | heads | freeze_blocks |\n|---|---|---|---|\n"
    );
    for arch in ARCHS {
        let depths: Vec<String> = arch.nlayers.iter().map(u32::to_string).collect();
        let (first, last) = (arch.freeze_blocks.start(), arch.freeze_blocks.end());
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {first} to {last} |",
            arch.name,
            depths.join(", "),
            arch.heads
        );
    }
    page
}

fn describe_message(message: &Descriptor, page: &mut String) {
    let _ = write!(
        page,
        "\n## {}\n\n{}\n\n| field | type | |\n|---|---|---|\n",
        message.name,
        prose(message.doc)
    );
    for field in message.fields {
        let mut meaning = prose(field.doc);
        if let Some(values) = enumeration_of(&field.kind) {
            let value = |((name, _), doc): (&(&str, i32), &&str)| {
                format!("`{name}`: {}", prose(doc).trim_end_matches('.'))
            };
            let values = values.values.iter().zip(values.docs).map(value);
            let _ = write!(meaning, " {}.", values.collect::<Vec<_>>().join("; "));
        }
        if let Some(oneof) = field.oneof {
            let _ = write!(meaning, " (One of those marked `{oneof}`.)");
        }
        let _ = writeln!(page, "| `{}` | {} | {} |", field.name, type_of(&field.kind), cell(&meaning));
    }
}

fn message_of(kind: &Kind) -> Option<&'static Descriptor> {
    match kind {
        Kind::Message(message) => Some(message),
        Kind::Repeated(kind) | Kind::Map(kind) => message_of(kind),
        _ => None,
    }
}

fn enumeration_of(kind: &Kind) -> Option<&'static EnumDescriptor> {
    match kind {
        Kind::Enum(values) => Some(values),
        Kind::Repeated(kind) => enumeration_of(kind),
        _ => None,
    }
}

fn type_of(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "bool".into(),
        Kind::Double => "double".into(),
        Kind::Enum(_) => "name".into(),
        Kind::Float => "float".into(),
        Kind::Int32 => "int32".into(),
        Kind::Map(kind) => format!("map to {}", type_of(kind)),
        Kind::Message(message) => format!("[{}](#{})", message.name, message.name.to_lowercase()),
        Kind::Repeated(kind) => format!("{}, repeated", type_of(kind)),
        Kind::String => "string".into(),
        Kind::Uint32 => "uint32".into(),
    }
}

/// Text of a doc comment in one line.
fn prose(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<")
}
