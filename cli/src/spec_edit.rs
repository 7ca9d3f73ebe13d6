//! Changing a spec in its file without touching anything else in it.

use std::fs;
use std::path::Path;

use oxidet_proto::prototxt::Span;
use oxidet_proto::spec::{Experiment, Parsed, parse_experiment};

use crate::exit::Failure;
use crate::files;

/// Replaces anchor fields of `yolov4_config` in the file a spec was read from; those it does not have are added at the start of
/// the section. Every other byte stays.
pub fn set_anchors(path: &Path, spec: &Parsed<Experiment>, fields: &[(&str, String)]) -> Result<(), Failure> {
    let text = with_fields(spec, fields)?;
    // A link stays a link, and a file keeps who may read it.
    let path = fs::canonicalize(path).map_err(|error| Failure::io(path, &error))?;
    let permissions = fs::metadata(&path).map_err(|error| Failure::io(&path, &error))?.permissions();
    let staged = files::stage(&path, text.as_bytes())?;
    fs::set_permissions(staged.path(), permissions).map_err(|error| Failure::output(&path, &error))?;
    staged.commit()
}

/// The text of a spec with other strings in `yolov4_config`; they must need no escapes.
fn with_fields(spec: &Parsed<Experiment>, fields: &[(&str, String)]) -> Result<String, Failure> {
    let source = &spec.source;
    let section = spec.spans.get("yolov4_config").ok_or_else(|| Failure::bug("no yolov4_config"))?.value;
    let mut edits: Vec<(Span, String)> = Vec::new();
    let mut missing = Vec::new();
    for (name, value) in fields {
        match spec.spans.get(&format!("yolov4_config.{name}")) {
            Some(place) => edits.push((place.value, format!("\"{value}\""))),
            None => missing.push(format!("{name}: \"{value}\"")),
        }
    }
    if !missing.is_empty() {
        edits.push(insertion(source.text(), section, &missing));
    }
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(*span));
    let mut text = source.text().to_owned();
    for (span, new) in edits {
        text.replace_range(span.start..span.end, &new);
    }
    let read = parse_experiment(source.name(), &text).map_err(|error| Failure::bug(error.to_string()))?;
    if read.message != wanted(&spec.message, fields) {
        return Err(Failure::bug(format!("{}: the anchors cannot be put in", source.name())));
    }
    Ok(text)
}

/// What an edited spec must say.
fn wanted(spec: &Experiment, fields: &[(&str, String)]) -> Experiment {
    let mut wanted = spec.clone();
    if let Some(yolov4) = &mut wanted.yolov4_config {
        for (name, value) in fields {
            match *name {
                "big_anchor_shape" => yolov4.big_anchor_shape.clone_from(value),
                "mid_anchor_shape" => yolov4.mid_anchor_shape.clone_from(value),
                _ => yolov4.small_anchor_shape.clone_from(value),
            }
        }
    }
    wanted
}

/// Where to put `lines` at the start of a section `{ … }`, and as what: lines of their own, indented like the line that follows,
/// unless the section begins on the line of its bracket.
fn insertion(text: &str, section: Span, lines: &[String]) -> (Span, String) {
    let start = section.start + 1;
    let rest = &text[start..section.end];
    let first = rest.split_inclusive('\n').next().unwrap_or(rest);
    let begins_below =
        first.ends_with('\n') && (first.trim().is_empty() || first.trim_start().starts_with('#'));
    if !begins_below {
        return (Span::new(start, start), format!(" {}", lines.join(" ")));
    }
    let end = if first.ends_with("\r\n") { "\r\n" } else { "\n" };
    let next = rest[first.len()..].lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let indent = match next.trim_start() {
        "" | "}" | ">" => "  ",
        field => &next[..next.len() - field.len()],
    };
    let at = start + first.len();
    (Span::new(at, at), lines.iter().map(|line| format!("{indent}{line}{end}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(text: &str) -> String {
        let fields = [
            ("mid_anchor_shape", "[(1.00, 2.00)]".to_owned()),
            ("big_anchor_shape", "[(3.00, 4.00)]".to_owned()),
        ];
        with_fields(&parse_experiment("spec", text).unwrap(), &fields)
            .unwrap_or_else(|f| panic!("{}", f.message()))
    }

    const MID: &str = "mid_anchor_shape: \"[(1.00, 2.00)]\"";
    const BIG: &str = "big_anchor_shape: \"[(3.00, 4.00)]\"";

    #[test]
    fn values_are_replaced_and_the_rest_stays() {
        for (before, after) in [
            (
                "# é\nyolov4_config { big_anchor_shape : '[(9, 9)]' # old\n\tmid_anchor_shape:\"[(1, \" \"1)]\", arch: \"vgg\" }",
                "# é\nyolov4_config { big_anchor_shape : \"[(3.00, 4.00)]\" # old\n\tmid_anchor_shape:\"[(1.00, 2.00)]\", arch: \"vgg\" }",
            ),
            // Of a field given twice the last one counts.
            (
                "yolov4_config { big_anchor_shape: 'a' mid_anchor_shape: 'b' big_anchor_shape: 'c' }",
                &format!("yolov4_config {{ big_anchor_shape: 'a' {MID} {BIG} }}"),
            ),
        ] {
            assert_eq!(edit(before), after);
        }
    }

    #[test]
    fn missing_fields_are_added_where_they_belong() {
        for (before, after) in [
            ("yolov4_config {}", format!("yolov4_config {{ {MID} {BIG}}}")),
            ("yolov4_config { arch: 'a' }", format!("yolov4_config {{ {MID} {BIG} arch: 'a' }}")),
            (
                "yolov4_config: < # the network\r\n\r\n\tarch: 'a'\r\n>",
                format!("yolov4_config: < # the network\r\n\t{MID}\r\n\t{BIG}\r\n\r\n\tarch: 'a'\r\n>"),
            ),
            ("yolov4_config {\n}\n", format!("yolov4_config {{\n  {MID}\n  {BIG}\n}}\n")),
            (
                "yolov4_config {\n    arch: 'a' big_anchor_shape: ''\n}\n",
                format!("yolov4_config {{\n    {MID}\n    arch: 'a' {BIG}\n}}\n"),
            ),
        ] {
            assert_eq!(edit(before), after);
        }
    }
}
