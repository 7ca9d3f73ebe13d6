//! Anchors: `[(w, h), …]` as text. The original evaluates the text as Python; here it is read, never run.

/// Anchors of the three groups, `(width, height)` in px of the network input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Anchors {
    /// Stride 32.
    pub big: Vec<(f32, f32)>,
    /// Stride 16.
    pub mid: Vec<(f32, f32)>,
    /// Stride 8; empty for a network with two heads.
    pub small: Vec<(f32, f32)>,
}

impl Anchors {
    /// The groups that have a head, in the order of the heads: big, mid, small.
    pub fn heads(&self) -> impl Iterator<Item = &[(f32, f32)]> {
        [&self.big, &self.mid, &self.small].into_iter().map(Vec::as_slice).filter(|group| !group.is_empty())
    }
}

/// Why a text is no list of anchors, and where in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at byte {offset})")]
pub struct AnchorError {
    /// Byte offset into the text.
    pub offset: usize,
    /// Bytes of the text that are meant; 0 at its end.
    pub length: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads a Python list of pairs of positive numbers, such as `[(10.5, 13), (16, 30)]`, in px.
///
/// Brackets may be round or square, inside and outside; a comma may follow the last member.
///
/// # Errors
/// The first place where the text is something else, an expression for example, or a number is not above 0.
pub fn parse_anchors(text: &str) -> Result<Vec<(f32, f32)>, AnchorError> {
    let mut reader = Reader { text, at: 0 };
    let close = reader.open("a list, `[(width, height), …]`")?;
    let mut anchors = Vec::new();
    loop {
        if !anchors.is_empty() && reader.eat(close) {
            break;
        }
        let pair_close = reader.open("a pair, `(width, height)`")?;
        let width = reader.size("width")?;
        reader.expect(',')?;
        let height = reader.size("height")?;
        reader.eat(',');
        reader.expect(pair_close)?;
        anchors.push((width, height));
        if !reader.eat(',') {
            reader.expect(close)?;
            break;
        }
    }
    match reader.peek() {
        None => Ok(anchors),
        Some(_) => Err(reader.unexpected("nothing after the list")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn open(&mut self, wanted: &str) -> Result<char, AnchorError> {
        match self.peek() {
            Some('[') => self.at += 1,
            Some('(') => {
                self.at += 1;
                return Ok(')');
            }
            _ => return Err(self.unexpected(wanted)),
        }
        Ok(']')
    }

    fn size(&mut self, what: &str) -> Result<f32, AnchorError> {
        self.peek();
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| c.is_whitespace() || ",()[]".contains(c)).unwrap_or(rest.len());
        let word = &rest[..length];
        let decimal = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c));
        let value = word.parse::<f32>().ok().filter(|value| decimal && value.is_finite());
        let error = |message: String| AnchorError { offset: self.at, length, message };
        match value {
            Some(value) if value > 0.0 => {
                self.at += length;
                Ok(value)
            }
            Some(_) => {
                Err(error(format!("the {what} of an anchor must be above 0, this is {}", shorten(word))))
            }
            None if word.is_empty() => {
                Err(self.unexpected(&format!("a number, the {what} of an anchor in px")))
            }
            None => Err(error(format!(
                "expected a number, the {what} of an anchor in px, found `{}`",
                shorten(word)
            ))),
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), AnchorError> {
        if self.eat(wanted) { Ok(()) } else { Err(self.unexpected(&format!("`{wanted}`"))) }
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    /// The next character that is not white space.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn unexpected(&mut self, wanted: &str) -> AnchorError {
        let found = self.peek();
        let name = found.map_or("the end".to_owned(), |c| format!("`{}`", c.escape_debug()));
        let message = format!("expected {wanted}, found {name}");
        AnchorError { offset: self.at, length: found.map_or(0, char::len_utf8), message }
    }
}

fn shorten(word: &str) -> String {
    word.chars().take(30).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_python_lists_of_pairs() {
        let want = vec![(10.5, 13.0), (16.0, 30.0)];
        for text in [
            "[(10.5, 13), (16, 30)]",
            " [ ( 10.5 ,13. ) ,\n(1.6e1,30.0), ] ",
            "((10.5, 13), (16, 30))",
            "[[10.5, 13], [+16, 30,]]",
        ] {
            assert_eq!(parse_anchors(text).as_ref(), Ok(&want), "{text}");
        }
        assert_eq!(parse_anchors("[(5.84, 9.60)]"), Ok(vec![(5.84, 9.6)]));
    }

    #[test]
    fn says_where_a_text_is_something_else() {
        for (text, offset) in [
            ("", 0),
            ("  ", 2),
            ("[]", 1),
            ("10, 13", 0),
            ("(10, 13)", 1),
            ("[(10, 13)", 9),
            ("[(10 13)]", 5),
            ("[(10, 13), (16, 30), (2)]", 23),
            ("[(10, 13, 3)]", 10),
            ("[(10, 13)] + [(1, 2)]", 11),
            ("[(10, 0)]", 6),
            ("[(-10, 3)]", 2),
            ("[(416/2, 3)]", 2),
            ("[(nan, 3)]", 2),
            ("[(inf, 3)]", 2),
            ("[(1e99, 3)]", 2),
            ("[(é, 3)]", 2),
            ("__import__('os').system('x')", 0),
            ("[(10, 13) (16, 30)]", 10),
            ("[(10, 13]", 8),
        ] {
            assert_eq!(parse_anchors(text).map_err(|e| e.offset), Err(offset), "{text}");
        }
    }
}
