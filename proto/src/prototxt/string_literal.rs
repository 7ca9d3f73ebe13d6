//! Quoted literals: what they mean, and which source byte each byte of the meaning comes from.

use super::lexer::{Lexer, TokenKind};
use super::source::Span;

/// Something in a literal that needs a word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadEscape {
    pub(super) span: Span,
    /// The text is kept as written; otherwise the literal has no meaning.
    pub(super) kept: bool,
    pub(super) message: String,
}

/// Decodes one literal, quotes included, that starts at byte `start` of its source.
///
/// `piece` receives the bytes in order, each with the source offset it comes from. Escapes: `\a \b \f \n \r
/// \t \v \\ \' \" \?`, octal `\ooo`, hex `\xhh`, `\uhhhh`, `\Uhhhhhhhh`. An unknown escape stays as it is, as
/// in the original.
pub(super) fn decode(
    literal: &str,
    start: usize,
    mut piece: impl FnMut(usize, &[u8]),
    mut complain: impl FnMut(BadEscape),
) {
    let Some(quote) = literal.chars().next() else { return };
    let body = literal.strip_prefix(quote).unwrap_or(literal);
    let body = body.strip_suffix(quote).unwrap_or(body);
    let base = start + quote.len_utf8();
    let mut at = 0;
    while let Some(rest) = body.get(at..).filter(|r| !r.is_empty()) {
        let Some(escape) = rest.strip_prefix('\\') else {
            let plain = rest.find('\\').unwrap_or(rest.len());
            for (i, byte) in rest.bytes().take(plain).enumerate() {
                piece(base + at + i, &[byte]);
            }
            at += plain;
            continue;
        };
        let (length, meaning) = unescape(escape);
        let span = Span::new(base + at, base + at + 1 + length);
        let written = rest.get(..1 + length).unwrap_or(rest);
        match meaning {
            Ok(bytes) => piece(base + at, &bytes),
            Err(Failure::Unknown) => {
                let message = format!("`{written}` is no escape sequence; it is kept as it is written");
                complain(BadEscape { span, kept: true, message });
                piece(base + at, written.as_bytes());
            }
            Err(Failure::Malformed(why)) => {
                complain(BadEscape { span, kept: false, message: format!("`{written}` {why}") });
            }
        }
        at += 1 + length;
    }
}

enum Failure {
    Unknown,
    Malformed(&'static str),
}

/// What follows a backslash: its length in bytes and its meaning.
fn unescape(rest: &str) -> (usize, Result<Vec<u8>, Failure>) {
    let Some(first) = rest.chars().next() else { return (0, Err(Failure::Malformed("ends the string"))) };
    let simple = |byte: u8| (1, Ok(vec![byte]));
    match first {
        'a' => simple(0x07),
        'b' => simple(0x08),
        'f' => simple(0x0c),
        'n' => simple(b'\n'),
        'r' => simple(b'\r'),
        't' => simple(b'\t'),
        'v' => simple(0x0b),
        '\\' | '\'' | '"' | '?' => simple(first as u8),
        '0'..='7' => {
            let (length, value) = number(rest, 8, 3);
            let byte = u8::try_from(value).map_err(|_| Failure::Malformed("is larger than one byte"));
            (length, byte.map(|b| vec![b]))
        }
        'x' | 'X' => {
            let (length, value) = number(rest.get(1..).unwrap_or_default(), 16, 2);
            let byte = u8::try_from(value).ok().filter(|_| length > 0);
            (1 + length, byte.map(|b| vec![b]).ok_or(Failure::Malformed("needs hexadecimal digits")))
        }
        'u' | 'U' => {
            let digits = if first == 'u' { 4 } else { 8 };
            let (length, value) = number(rest.get(1..).unwrap_or_default(), 16, digits);
            let character = char::from_u32(value).filter(|_| length == digits);
            let bytes = character.map(|c| c.to_string().into_bytes());
            (1 + length, bytes.ok_or(Failure::Malformed("is no Unicode character")))
        }
        other => (other.len_utf8(), Err(Failure::Unknown)),
    }
}

fn number(text: &str, radix: u32, most: usize) -> (usize, u32) {
    let digits = text.chars().take(most).map_while(|c| c.to_digit(radix));
    digits.fold((0, 0), |(length, value), digit| (length + 1, value * radix + digit))
}

/// Which source byte is byte `offset` of a string value written at `span` (one or several adjacent literals)?
///
/// An offset at or past the end of the value gives the end of the text between the quotes.
pub(crate) fn source_offset(source: &str, span: Span, offset: usize) -> usize {
    let text = source.get(..span.end).unwrap_or_default();
    let mut lexer = Lexer::new(text);
    lexer.jump(span.start);
    let (mut seen, mut found) = (0, None);
    let mut end = span.start;
    loop {
        let token = lexer.next();
        match token.kind {
            TokenKind::String { closed } => {
                let literal = text.get(token.span.start..token.span.end).unwrap_or_default();
                let piece = |at: usize, bytes: &[u8]| {
                    seen += bytes.len();
                    if found.is_none() && offset < seen {
                        found = Some(at);
                    }
                };
                decode(literal, token.span.start, piece, |_| ());
                end = token.span.end - usize::from(closed);
            }
            _ => return found.unwrap_or(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(literal: &str) -> Result<Vec<u8>, String> {
        let (mut bytes, mut error) = (Vec::new(), None);
        decode(
            literal,
            0,
            |_, b| bytes.extend(b),
            |e| error = (!e.kept).then_some(e.message).or(error.take()),
        );
        error.map_or(Ok(bytes), Err)
    }

    #[test]
    fn decodes_c_escapes() {
        for (literal, want) in [
            (r#""plain é""#, "plain é"),
            (r#"'a"b'"#, "a\"b"),
            (r#""\a\b\f\n\r\t\v\\\'\"\?""#, "\x07\x08\x0c\n\r\t\x0b\\'\"?"),
            (r#""\1\12\101\1011""#, "\x01\nAA1"),
            (r#""\x41\x414\x4g""#, "AA4\x04g"),
            (r#""\u00e9\U0001F600""#, "é😀"),
            (r#""C:\data\q""#, "C:\\data\\q"),
            (r#""""#, ""),
            ("\"open", "open"),
        ] {
            assert_eq!(value(literal).as_deref(), Ok(want.as_bytes()), "{literal}");
        }
        assert_eq!(value(r#""\xff""#), Ok(vec![0xff]));
        for literal in [r#""\400""#, r#""\x""#, r#""\ud83d""#, r#""\u12""#, r#""\U00110000""#] {
            assert!(value(literal).is_err(), "{literal}");
        }
    }

    #[test]
    fn finds_source_bytes_of_value_bytes() {
        let source = r#"k: "ab\tc" # x
            'def'"#;
        let span = Span::new(3, source.len());
        let at = |offset| &source[source_offset(source, span, offset)..][..1];
        assert_eq!(
            [at(0), at(1), at(2), at(3), at(4), at(6), at(7), at(99)],
            ["a", "b", "\\", "c", "d", "f", "'", "'"]
        );
    }
}
