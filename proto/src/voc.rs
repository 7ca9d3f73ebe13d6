//! Pascal VOC annotations: one XML file per image.
//!
//! Read by `dataset_convert`. The rule kept here: a file is understood or reported with the lines that are not;
//! nothing is skipped in silence. Source: the VOC 2012 development kit,
//! <http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html>.
//!
//! **Coordinates.** VOC counts pixels from 1 and includes both ends: `xmin` 1, `xmax` 640 is the whole width. Here
//! a box has edges between pixels, counted from 0, so it becomes `[xmin − 1, ymin − 1, xmax, ymax]` and keeps its
//! width of 640. Files of tools that count from 0 have a 0 there, which stays 0.
//!
//! **Flags.** `difficult` becomes occlusion 1, which every reader here and in TAO takes for difficult. `occluded`
//! does not make an object difficult in VOC, so it is not carried over. `truncated` becomes truncation 1.

use roxmltree::{Document, Node, ParsingOptions};

use crate::kitti::Object;
use crate::label_error::{LineError, Listing, excerpt};

/// The most elements, attributes and texts accepted; an annotation has some ten per object.
const MAX_NODES: u32 = 1_000_000;

/// One annotation file.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Name of the image file, when the annotation states it.
    pub file_name: Option<String>,
    /// Width and height in pixels, when the annotation states both and neither is 0.
    pub size: Option<[u32; 2]>,
    /// Its objects; `line` is that of the object's element.
    pub objects: Vec<Object>,
}

/// All problems of one file. `Display` shows one per line, as `file:line: what; help`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", Listing(name, lines))]
pub struct VocError {
    /// Name of the file as given to [`parse`].
    pub name: String,
    /// The problems in file order, at least one.
    pub lines: Vec<LineError<Problem>>,
}

/// What can be wrong with an annotation.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not XML, or with a document type declaration.
    #[error("not an XML file: {0}; restore it or export the annotations again")]
    Malformed(String),
    /// Another kind of XML file.
    #[error("the root element is <{0}>, that of a Pascal VOC file is <annotation>; choose another folder")]
    Root(String),
    /// An element that an object needs is not there or empty.
    #[error("<{parent}> has no <{child}>; add it or remove the object")]
    Missing {
        /// Name of the element.
        parent: &'static str,
        /// Name of the missing one.
        child: &'static str,
    },
    /// An element holds no finite number.
    #[error("<{element}> is {text:?}, which is not a finite number; correct the value or remove the object")]
    NotANumber {
        /// Name of the element.
        element: &'static str,
        /// Its text, cut to 40 characters.
        text: String,
    },
    /// A flag is neither 0 nor 1.
    #[error("<{element}> is {text:?}; write 0 or 1")]
    NotAFlag {
        /// Name of the element.
        element: &'static str,
        /// Its text, cut to 40 characters.
        text: String,
    },
}

/// Reads an annotation file. `name` is used in messages only. Elements not named in the module's text are skipped.
///
/// # Errors
/// [`VocError`] lists what every object lacks.
pub fn parse(name: &str, text: &str) -> Result<Annotation, VocError> {
    let failed = |lines| VocError { name: name.to_owned(), lines };
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let document = Document::parse_with_options(text, options).map_err(|error| {
        let problem = Problem::Malformed(error.to_string());
        failed(vec![LineError { line: error.pos().row as usize, problem }])
    })?;
    let root = document.root_element();
    if !root.has_tag_name("annotation") {
        let problem = Problem::Root(excerpt(root.tag_name().name()));
        return Err(failed(vec![line_error(root, problem)]));
    }

    let (mut objects, mut lines) = (Vec::new(), Vec::new());
    for element in root.children().filter(|node| node.has_tag_name("object")) {
        match object(element) {
            Ok(object) => objects.push(object),
            Err(error) => lines.push(error),
        }
    }
    if !lines.is_empty() {
        return Err(failed(lines));
    }
    Ok(Annotation {
        file_name: child(root, "filename").map(|node| text_of(node).to_owned()),
        size: size(root),
        objects,
    })
}

fn object(element: Node<'_, '_>) -> Result<Object, LineError<Problem>> {
    let missing = |node, parent, child| line_error(node, Problem::Missing { parent, child });
    let class = child(element, "name").map(text_of).filter(|name| !name.is_empty());
    let class = class.ok_or_else(|| missing(element, "object", "name"))?.to_owned();
    let bndbox = child(element, "bndbox").ok_or_else(|| missing(element, "object", "bndbox"))?;
    let edge = |name| match child(bndbox, name) {
        None => Err(missing(bndbox, "bndbox", name)),
        Some(node) => number(node, name),
    };
    let [xmin, ymin, xmax, ymax] = [edge("xmin")?, edge("ymin")?, edge("xmax")?, edge("ymax")?];
    Ok(Object {
        class,
        truncation: f32::from(u8::from(flag(element, "truncated")?)),
        occlusion: i32::from(flag(element, "difficult")?),
        bbox: [(xmin - 1.0).max(0.0), (ymin - 1.0).max(0.0), xmax, ymax],
        line: line(element),
        ..Object::default()
    })
}

fn number(node: Node<'_, '_>, element: &'static str) -> Result<f32, LineError<Problem>> {
    let text = text_of(node);
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(line_error(node, Problem::NotANumber { element, text: excerpt(text) })),
    }
}

/// An optional element that is 0 or 1; some tools leave it empty or write `Unspecified`.
fn flag(parent: Node<'_, '_>, element: &'static str) -> Result<bool, LineError<Problem>> {
    let Some(node) = child(parent, element) else { return Ok(false) };
    match text_of(node) {
        "" | "0" | "Unspecified" => Ok(false),
        "1" => Ok(true),
        text => Err(line_error(node, Problem::NotAFlag { element, text: excerpt(text) })),
    }
}

fn size(root: Node<'_, '_>) -> Option<[u32; 2]> {
    let size = child(root, "size")?;
    let side = |name| text_of(child(size, name)?).parse().ok().filter(|&side: &u32| side > 0);
    Some([side("width")?, side("height")?])
}

fn child<'a, 'input>(parent: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    parent.children().find(|node| node.has_tag_name(name))
}

fn text_of<'a>(node: Node<'a, '_>) -> &'a str {
    node.text().unwrap_or_default().trim()
}

fn line(node: Node<'_, '_>) -> usize {
    node.document().text_pos_at(node.range().start).row as usize
}

fn line_error(node: Node<'_, '_>, problem: Problem) -> LineError<Problem> {
    LineError { line: line(node), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "<?xml version=\"1.0\"?>
<annotation>
  <folder>x</folder><filename>a.jpg</filename>
  <size><width>640</width><height>480</height><depth>3</depth></size>
  <object>
    <name> potted plant </name><pose>Left</pose><truncated>1</truncated><occluded>1</occluded><difficult>0</difficult>
    <bndbox><xmin>1</xmin><ymin>20</ymin><xmax>640</xmax><ymax>60.5</ymax></bndbox>
    <part><name>leaf</name><bndbox><xmin>5</xmin></bndbox></part>
  </object>
  <object><bndbox><ymax>9</ymax><xmax>8</xmax><ymin>7</ymin><xmin>0</xmin></bndbox><name>Hund</name><difficult>1</difficult></object>
</annotation>";

    fn problems(text: &str) -> String {
        parse("a.xml", text).unwrap_err().to_string()
    }

    #[test]
    fn elements_land_in_their_fields() {
        let found = parse("a.xml", TEXT).unwrap();
        assert_eq!(found, parse("a.xml", &format!("\u{feff}{TEXT}")).unwrap());
        assert_eq!((found.file_name.as_deref(), found.size), (Some("a.jpg"), Some([640, 480])));
        let object = |class: &str, truncation, occlusion, bbox, line| Object {
            class: class.into(),
            truncation,
            occlusion,
            alpha: 0.0,
            bbox,
            dimensions: [0.0; 3],
            location: [0.0; 3],
            rotation_y: 0.0,
            score: None,
            line,
        };
        let want = [
            object("potted plant", 1.0, 0, [0.0, 19.0, 640.0, 60.5], 5),
            object("Hund", 0.0, 1, [0.0, 6.0, 8.0, 9.0], 10),
        ];
        assert_eq!(found.objects, want);
    }

    #[test]
    fn negatives_and_unknown_sizes_are_read() {
        for size in ["", "<size><width>0</width><height>3</height></size>", "<size><width>3</width></size>"] {
            let found = parse("a.xml", &format!("<annotation>{size}</annotation>")).unwrap();
            assert_eq!(found, Annotation { file_name: None, size: None, objects: Vec::new() });
        }
    }

    #[test]
    fn all_bad_objects_are_reported_with_place_and_help() {
        let text = "<annotation>
<object><name></name></object>
<object><name>a</name></object>
<object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><ymax>1</ymax></bndbox></object>
<object><name>a</name><bndbox><xmin>1</xmin><ymin>inf</ymin><xmax>1</xmax><ymax>1</ymax></bndbox></object>
<object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>1</xmax><ymax>1</ymax></bndbox>
<difficult>maybe</difficult></object></annotation>";
        let want = [
            "2: <object> has no <name>",
            "3: <object> has no <bndbox>",
            "4: <bndbox> has no <xmax>",
            "5: <ymin> is \"inf\"",
            "7: <difficult> is \"maybe\"",
        ];
        let message = problems(text);
        assert_eq!(message.lines().count(), want.len(), "{message}");
        for (line, want) in message.lines().zip(want) {
            assert!(line.starts_with(&format!("a.xml:{want}")) && line.contains("; "), "{line}");
        }
    }

    #[test]
    fn other_files_are_told() {
        assert!(problems("<annotations/>").starts_with("a.xml:1: the root element is <annotations>"));
        assert!(problems("<annotation>\n<size>\n</siz>").starts_with("a.xml:3: not an XML file"));
        assert!(problems("").starts_with("a.xml:1: not an XML file"));
        let bomb = "<!DOCTYPE a [<!ENTITY x \"xxxxxxxx\">]><annotation>&x;</annotation>";
        assert!(problems(bomb).contains("not an XML file"));
    }

    #[test]
    fn damage_never_panics() {
        for length in 0..TEXT.len() {
            assert!(parse("a.xml", &TEXT[..length]).is_err(), "{length}");
        }
        for bit in 0..TEXT.len() * 8 {
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = String::from_utf8(bytes) {
                let _ = parse("a.xml", &text);
            }
        }
        assert!(parse("a.xml", &"<a>".repeat(100_000)).is_err());
    }
}
