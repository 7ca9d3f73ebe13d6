//! Text to tokens. Never fails: what is no token becomes [`TokenKind::Unknown`], and the parser complains.

use super::source::Span;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A letter or `_`, then letters, digits, `_` and `-` (a dash is no field name, but one typo reads better
    /// than three).
    Ident,
    /// Starts like a number; whether it is one, the field's type decides.
    Number,
    /// One quoted literal with its quotes; `closed` is false when the line ends first.
    String { closed: bool },
    /// One of `{ } < > [ ] : , ;`.
    Symbol(char),
    /// A character that starts no token.
    Unknown(char),
    /// The end of the text.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
    /// Whether it is the first token of its line.
    pub(super) starts_line: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// A leading byte order mark is skipped.
    pub(super) fn new(text: &'a str) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, at }
    }

    /// Continues at byte `at`.
    pub(super) fn jump(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn next(&mut self) -> Token {
        let starts_line = self.skip_blanks();
        let start = self.at;
        let kind = match self.peek() {
            None => TokenKind::End,
            Some(c @ ('{' | '}' | '<' | '>' | '[' | ']' | ':' | ',' | ';')) => {
                self.at += 1;
                TokenKind::Symbol(c)
            }
            Some(quote @ ('"' | '\'')) => self.string(quote),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
                TokenKind::Ident
            }
            Some(c) if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') => {
                self.skip_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-'));
                TokenKind::Number
            }
            Some(c) => {
                self.at += c.len_utf8();
                TokenKind::Unknown(c)
            }
        };
        Token { kind, span: Span::new(start, self.at), starts_line }
    }

    fn string(&mut self, quote: char) -> TokenKind {
        self.at += 1;
        while let Some(c) = self.peek() {
            if c == '\n' || c == '\r' {
                break;
            }
            self.at += c.len_utf8();
            if c == quote {
                return TokenKind::String { closed: true };
            }
            if c == '\\' {
                self.at += self.peek().filter(|&c| c != '\n' && c != '\r').map_or(0, char::len_utf8);
            }
        }
        TokenKind::String { closed: false }
    }

    /// Skips white space and comments; returns whether a line started on the way.
    fn skip_blanks(&mut self) -> bool {
        let start = self.at;
        loop {
            self.skip_while(char::is_whitespace);
            if self.peek() != Some('#') {
                break;
            }
            self.skip_while(|c| c != '\n');
        }
        start == 0 || self.text.get(start..self.at).is_some_and(|skipped| skipped.contains('\n'))
    }

    fn skip_while(&mut self, belongs: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|c| !belongs(c)).unwrap_or(rest.len());
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let mut lexer = Lexer::new(text);
        std::iter::from_fn(|| Some(lexer.next()).filter(|t| t.kind != TokenKind::End))
            .map(|t| &text[t.span.start..t.span.end])
            .collect()
    }

    #[test]
    fn splits_as_the_text_format_does() {
        for (text, want) in [
            ("a:1", vec!["a", ":", "1"]),
            ("a{b:-1e-4f}", vec!["a", "{", "b", ":", "-1e-4f", "}"]),
            ("a: .5;b<>", vec!["a", ":", ".5", ";", "b", "<", ">"]),
            ("a: '# \\' \"' # c\r\nb", vec!["a", ":", "'# \\' \"'", "b"]),
            ("\u{feff}a\u{b}b\u{a0}c", vec!["a", "b", "c"]),
            ("\"open\nnext", vec!["\"open", "next"]),
            ("\"open\\\nnext", vec!["\"open\\", "next"]),
            ("“x”", vec!["“", "x", "”"]),
        ] {
            assert_eq!(words(text), want, "{text:?}");
        }
    }

    #[test]
    fn knows_first_tokens_of_lines() {
        let mut lexer = Lexer::new("a b # c\n\n c");
        let starts: Vec<bool> = (0..3).map(|_| lexer.next().starts_line).collect();
        assert_eq!(starts, [true, false, true]);
    }
}
