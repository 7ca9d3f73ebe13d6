//! Names of classes: `obj.names` and `classes.txt` with one per line, or `names:` of a `data.yaml`.
//!
//! Of YAML the forms that exporters write are read: a list or a map from index to name, over several lines or in
//! brackets, quoted or not. Anything else is reported, not guessed at.

/// Why a file does not name classes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}:{line}: {problem}")]
pub struct NamesError {
    /// Name of the file as given to [`names`].
    pub name: String,
    /// Line in the file, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: NamesProblem,
}

/// What can be wrong with a file of names.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NamesProblem {
    /// No name at all.
    #[error("no names of classes; write one per line, or `names:` in a .yaml file")]
    NoNames,
    /// A blank line or an empty name between others: the indices behind it would be a guess.
    #[error("a class without a name; a name's place is its index, so remove the gap or name the class")]
    EmptyName,
    /// YAML beyond what is read here.
    #[error(
        "this form of `names:` is not read; write `names: [a, b]`, or one `- name` or `0: name` per line"
    )]
    Unreadable,
    /// The indices of a map are not 0, 1, 2, …
    #[error("index {found} where {want} is expected; number the names from 0 without gaps, in order")]
    Index {
        /// The index expected.
        want: usize,
        /// The text found, cut to 40 characters.
        found: String,
    },
}

/// Reads the names of classes by index. `name` decides the form: `.yaml` and `.yml` are YAML with `names:` at the
/// top level, everything else is one name per line.
///
/// # Errors
/// [`NamesError`] names the line.
pub fn names(name: &str, text: &str) -> Result<Vec<String>, NamesError> {
    let lower = name.to_lowercase();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = if lower.ends_with(".yaml") || lower.ends_with(".yml") { yaml(text) } else { lines(text) };
    read.map_err(|(line, problem)| NamesError { name: name.to_owned(), line, problem })
}

type Found = Result<Vec<String>, (usize, NamesProblem)>;

fn lines(text: &str) -> Found {
    let mut names = Vec::new();
    for (index, line) in text.trim_end().lines().enumerate() {
        match line.trim() {
            "" => return Err((index + 1, NamesProblem::EmptyName)),
            name => names.push(name.to_owned()),
        }
    }
    if names.is_empty() { Err((1, NamesProblem::NoNames)) } else { Ok(names) }
}

fn yaml(text: &str) -> Found {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, without_comment(line)));
    let head = lines.find_map(|(number, line)| {
        let rest = line.strip_prefix("names")?.trim_start().strip_prefix(':')?;
        Some((number, rest.trim()))
    });
    let Some((first, rest)) = head else { return Err((1, NamesProblem::NoNames)) };
    // The value goes on until the next top-level key; a list may stand without indentation.
    let more =
        lines.take_while(|(_, line)| line.trim().is_empty() || line.starts_with([' ', '\t', '-', ']', '}']));
    let entries: Vec<(usize, &str)> = if rest.is_empty() {
        more.map(|(number, line)| (number, line.trim())).filter(|(_, line)| !line.is_empty()).collect()
    } else {
        let parts = std::iter::once((first, rest)).chain(more.map(|(number, line)| (number, line.trim())));
        return bracketed(parts);
    };
    let mut names = Vec::new();
    for (number, entry) in entries {
        names.push(match entry.strip_prefix('-') {
            Some(name) if name.is_empty() || name.starts_with([' ', '\t']) => scalar(number, name)?,
            _ => indexed(number, entry, names.len())?,
        });
    }
    if names.is_empty() { Err((first, NamesProblem::NoNames)) } else { Ok(names) }
}

/// `[a, b]` or `{0: a, 1: b}`, over one line or several.
fn bracketed<'a>(parts: impl Iterator<Item = (usize, &'a str)>) -> Found {
    let (mut close, mut names) = (None, Vec::new());
    let (mut entry, mut start, mut quote) = (String::new(), 1, None);
    for (number, part) in parts {
        for character in part.chars() {
            let Some(end) = close else {
                start = number;
                close = Some(match character {
                    '[' => ']',
                    '{' => '}',
                    _ => return Err((number, NamesProblem::Unreadable)),
                });
                continue;
            };
            match (quote, character) {
                (Some(open), _) if open == character => quote = None,
                (None, '"' | '\'') if entry.trim().is_empty() || end == '}' => quote = Some(character),
                (None, ',') => {
                    names.push(item(number, &entry, end, names.len())?);
                    entry.clear();
                    continue;
                }
                (None, '[' | '{') => return Err((number, NamesProblem::Unreadable)),
                (None, _) if character == end => {
                    if !entry.trim().is_empty() {
                        names.push(item(number, &entry, end, names.len())?);
                    }
                    return if names.is_empty() { Err((start, NamesProblem::NoNames)) } else { Ok(names) };
                }
                _ => {}
            }
            entry.push(character);
        }
        entry.push(' ');
    }
    Err((start, NamesProblem::Unreadable))
}

fn item(number: usize, entry: &str, end: char, index: usize) -> Result<String, (usize, NamesProblem)> {
    if end == '}' { indexed(number, entry, index) } else { scalar(number, entry) }
}

/// `3: name`
fn indexed(number: usize, entry: &str, want: usize) -> Result<String, (usize, NamesProblem)> {
    let (key, value) = entry.split_once(':').ok_or((number, NamesProblem::Unreadable))?;
    let key = key.trim().trim_matches(['"', '\'']);
    if key.parse() != Ok(want) {
        let found = key.chars().take(40).collect();
        return Err((number, NamesProblem::Index { want, found }));
    }
    scalar(number, value)
}

/// A name with or without quotes.
fn scalar(number: usize, text: &str) -> Result<String, (usize, NamesProblem)> {
    let text = text.trim();
    let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let name = match (quoted('"'), quoted('\'')) {
        // Escapes are rare in names of classes.
        (Some(name), _) if name.contains(['\\', '"']) => return Err((number, NamesProblem::Unreadable)),
        (Some(name), _) => name.to_owned(),
        (_, Some(name)) => name.replace("''", "'"),
        _ if text.starts_with(['"', '\'', '[', '{', '&', '*', '!', '|', '>', '%', '@', '`'])
            || text.contains(": ") =>
        {
            return Err((number, NamesProblem::Unreadable));
        }
        _ => text.to_owned(),
    };
    if name.trim().is_empty() { Err((number, NamesProblem::EmptyName)) } else { Ok(name) }
}

/// The line up to a `#` that starts it or follows a blank, outside quotes.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (place, character) in line.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(character),
            (None, '#') if before.is_whitespace() => return &line[..place],
            _ => {}
        }
        before = character;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_per_line() {
        assert_eq!(
            names("obj.names", "\u{feff}Cat\r\n traffic light \n\n\n").unwrap(),
            ["Cat", "traffic light"]
        );
        let error = |text| names("obj.names", text).unwrap_err().to_string();
        assert!(error("a\n\nb").starts_with("obj.names:2: a class without a name"));
        assert!(error(" \n").contains("no names"));
    }

    #[test]
    fn every_form_of_yaml_gives_the_same_names() {
        let forms = [
            "names: [Cat, 'traffic light', \"it#s\"]",
            "train: ../train # names: [x]\nnc: 3\nnames: ['Cat', traffic light, 'it#s']  # three\nroboflow:\n  names: x\n",
            "names:\n  - Cat\n  - traffic light # two\n  - \"it#s\"\nnc: 3",
            "names:\n- Cat\n\n- 'traffic light'\n# comment\n- it#s\n",
            "path: x\nnames:\n  0: Cat\n  1: traffic light\n  2: it#s\n\ndownload: |\n  - x",
            "names: {0: Cat, 1: 'traffic light', \"2\": it#s,}",
            "names: [\n  Cat,\n  traffic light,\n  'it#s'\n]\nnc: 3\n",
            "names:\r\n  0: 'Cat'\r\n  1: \"traffic light\"\r\n  2: it#s\r\n",
        ];
        for form in forms {
            assert_eq!(names("Data.YAML", form).unwrap(), ["Cat", "traffic light", "it#s"], "{form}");
        }
        assert_eq!(names("a.yml", "names: ['a, b', 'c: d', 'it''s']").unwrap(), ["a, b", "c: d", "it's"]);
    }

    #[test]
    fn other_forms_are_reported_with_their_line() {
        for (text, want) in [
            ("nc: 3\n", "1: no names"),
            ("\nnames:\nnc: 3\n", "2: no names"),
            ("names: []", "1: no names"),
            ("names: cat", "1: this form"),
            ("names: &anchor [a]", "1: this form"),
            ("names: [a, b\nnc: 2", "1: this form"),
            ("names: [a, [b]]", "1: this form"),
            ("names:\n  - a\n  - {b: c}", "3: this form"),
            ("names:\n  - \"\\u0041\"", "2: this form"),
            ("names:\n  1: a", "2: index 1 where 0"),
            ("names:\n  0: a\n  2: b", "3: index 2 where 1"),
            ("names:\n  cat: 0", "2: index cat where 0"),
            ("names:\n  - a\n  -\n  - b", "3: a class without a name"),
            ("names: [a,, b]", "1: a class without a name"),
        ] {
            let error = names("data.yaml", text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("data.yaml:{want}")), "{text}: {error}");
        }
    }

    #[test]
    fn damage_never_panics() {
        let text = "names: {0: Cat, 1: 'traffic light'} # ü\nnames:\n  - \"é\"\n";
        for length in (0..=text.len()).filter(|&length| text.is_char_boundary(length)) {
            let _ = names("a.yaml", &text[..length]);
        }
        for bit in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = String::from_utf8(bytes) {
                let _ = names("a.yaml", &text);
                let _ = names("a.txt", &text);
            }
        }
    }
}
