//! The messages hold every field of the fact sheet's tables, with its number and type, and no other.
//!
//! The tables of `../shared/reference/cli-and-spec.md` are read as they stand.

use std::collections::BTreeMap;
use std::fs;

use oxidet_proto::spec::{DatasetExportConfig, Descriptor, Experiment, Kind, Message};

const SHEET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/reference/cli-and-spec.md");

/// Message → field → (number, type, oneof) of every table with the columns "Field | No. | Type".
fn tables(sheet: &str) -> BTreeMap<String, BTreeMap<String, (u32, String)>> {
    let mut found: BTreeMap<String, BTreeMap<String, (u32, String)>> = BTreeMap::new();
    let (mut message, mut in_table) = (String::new(), false);
    for line in sheet.lines() {
        if line.starts_with("##") {
            message = line.split('`').nth(1).unwrap_or_default().to_owned();
        }
        if line.starts_with("| Field | No. | Type |") {
            in_table = true;
        } else if !line.starts_with('|') {
            in_table = false;
        } else if in_table && !line.starts_with("|---") {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let (name, number, kind) = (cells[1].trim_matches('`'), cells[2].parse().expect(line), cells[3]);
            found.entry(message.clone()).or_default().insert(name.to_owned(), (number, plain(kind)));
        }
    }
    found
}

/// `` repeated **float** `` → `repeated float`, `` enum `AP_MODE`: `SAMPLE`=0, … `` → `enum AP_MODE`, and so
/// on.
fn plain(kind: &str) -> String {
    let kind = kind.replace(['*', '`'], "").replace(" (oneof)", "").replace("oneof ", "in ");
    match kind.split_once(':') {
        Some((head, _)) => head.to_owned(),
        None => kind,
    }
}

fn type_name(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "bool".into(),
        Kind::Double => "double".into(),
        Kind::Enum(e) => format!("enum {}", e.name),
        Kind::Float => "float".into(),
        Kind::Int32 => "int32".into(),
        Kind::Map(value) => format!("map<string,{}>", type_name(value)),
        Kind::Message(m) => m.name.into(),
        Kind::Repeated(element) => format!("repeated {}", type_name(element)),
        Kind::String => "string".into(),
        Kind::Uint32 => "uint32".into(),
    }
}

fn all_messages(message: &'static Descriptor, into: &mut BTreeMap<&'static str, &'static Descriptor>) {
    into.insert(message.name, message);
    for field in message.fields {
        if let Kind::Message(inner) | Kind::Repeated(&Kind::Message(inner)) = field.kind {
            all_messages(inner, into);
        }
    }
}

#[test]
#[cfg_attr(not(shared_data), ignore = "needs ../shared/reference, which is not here")]
fn fields_are_those_of_the_fact_sheet() {
    let tables = tables(&fs::read_to_string(SHEET).unwrap());
    let mut messages = BTreeMap::new();
    all_messages(const { &Experiment::DESCRIPTOR }, &mut messages);
    all_messages(const { &DatasetExportConfig::DESCRIPTOR }, &mut messages);
    assert_eq!(tables.len(), 13, "{:?}", tables.keys());
    for (name, fields) in tables {
        // The sheet writes a oneof behind a scalar's type only.
        let ours: BTreeMap<String, (u32, String)> = messages[name.as_str()]
            .fields
            .iter()
            .map(|f| {
                let scalar = !matches!(f.kind, Kind::Message(_));
                let oneof =
                    f.oneof.filter(|_| scalar).map(|group| format!(", in {group}")).unwrap_or_default();
                (f.name.to_owned(), (f.number, type_name(&f.kind) + &oneof))
            })
            .collect();
        assert_eq!(ours, fields, "{name}");
    }
}
