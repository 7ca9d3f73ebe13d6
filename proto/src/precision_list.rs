//! The list of layers that stay in floating point in an INT8 network (`--fp16_layers`): a name a line, `#` begins a comment.
//! `calibrate --layer-report` writes it; `calibrate` and `export` read it, and what builds engines from a float model.

use std::collections::BTreeSet;

/// A line that is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}: {text:?} is not the name of one layer; write a name a line")]
pub struct PrecisionListError {
    /// Name of the file.
    pub name: String,
    /// Line in it, counted from 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

/// The layers of a list; `name` is for messages.
///
/// # Errors
/// The first line with anything but one word.
pub fn parse(name: &str, text: &str) -> Result<BTreeSet<String>, PrecisionListError> {
    let mut layers = BTreeSet::new();
    for (at, line) in text.lines().enumerate() {
        let words = line.split('#').next().unwrap_or_default().trim();
        if words.contains(char::is_whitespace) {
            return Err(PrecisionListError { name: name.to_owned(), line: at + 1, text: words.to_owned() });
        }
        if !words.is_empty() {
            layers.insert(words.to_owned());
        }
    }
    Ok(layers)
}

/// The text of a list, under comment lines.
pub fn to_text<'a>(comment: &str, layers: impl IntoIterator<Item = &'a str>) -> String {
    let comment = comment.lines().map(|line| format!("# {line}").trim_end().to_owned());
    let lines = comment.chain(layers.into_iter().map(str::to_owned));
    lines.map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_comments() {
        let text = to_text("why\n\n  a b", ["conv_1", "conv_big_object"]);
        assert_eq!(text, "# why\n#\n#   a b\nconv_1\nconv_big_object\n");
        let layers = parse("list.txt", &format!("{text}\r\n conv_0 # first\n")).unwrap();
        assert_eq!(layers.into_iter().collect::<Vec<_>>(), ["conv_0", "conv_1", "conv_big_object"]);
        let error = parse("list.txt", "conv_1\nconv_2:fp16 conv_3\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "list.txt:2: \"conv_2:fp16 conv_3\" is not the name of one layer; write a name a line"
        );
    }
}
