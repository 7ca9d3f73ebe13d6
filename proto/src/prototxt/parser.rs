//! Tokens to the untyped tree, reporting every syntax error on the way.
//!
//! After an error the parser continues with the next thing that looks like a field: a name with a `:` or `{`
//! behind it or at the start of a line, or the end of the message. Codes: `S001` syntax, `S002` strings,
//! `S008` limits.

use std::borrow::Cow;

use super::diagnostic::{Diagnostic, Problems};
use super::lexer::{Lexer, Token, TokenKind};
use super::limits::{MAX_BYTES, MAX_DEPTH};
use super::source::Span;
use super::string_literal::decode;
use super::tree::{Field, Scalar, ScalarKind, Value};

/// The top-level fields of a text. Fields that could not be read are left out, with a problem that says why.
pub(crate) fn parse<'a>(text: &'a str, problems: &mut Problems) -> Vec<Field<'a>> {
    if text.len() > MAX_BYTES {
        let message = format!("the spec has {} bytes; at most {MAX_BYTES} are read", text.len());
        problems.push(Diagnostic::error("S008", None, message).help("is this the right file?"));
        return Vec::new();
    }
    let mut lexer = Lexer::new(text);
    let token = lexer.next();
    let mut parser = Parser { text, lexer, token, problems, end: 0, depth: 0, unclosed: false };
    parser.fields(None)
}

struct Parser<'a, 'p> {
    text: &'a str,
    lexer: Lexer<'a>,
    /// The token that is looked at, not consumed yet.
    token: Token,
    problems: &'p mut Problems,
    /// Where the last consumed token ended.
    end: usize,
    depth: usize,
    /// A bracket without end was reported; its parents end with it and need no second word.
    unclosed: bool,
}

/// The bracket that ends a message, and the one that opened it.
type Open = (char, Span);

impl<'a> Parser<'a, '_> {
    fn fields(&mut self, open: Option<Open>) -> Vec<Field<'a>> {
        let mut fields = Vec::new();
        while !self.problems.is_full() {
            match (self.token.kind, open) {
                (TokenKind::Ident, _) => fields.extend(self.field()),
                (TokenKind::End, None) => break,
                (TokenKind::End, Some((close, at))) => {
                    self.never_closed(close, at);
                    break;
                }
                (TokenKind::Symbol(c @ ('}' | '>')), Some((close, _))) => {
                    if c != close {
                        self.error(self.token.span, format!("expected `{close}`, found `{c}`"));
                    }
                    self.bump();
                    break;
                }
                (TokenKind::Symbol(c @ ('}' | '>')), None) => {
                    let message = format!("`{c}` closes nothing");
                    let diagnostic = Diagnostic::error("S001", self.token.span, message);
                    self.problems.push(
                        diagnostic.help("remove it, or look for a bracket that closes too early above"),
                    );
                    self.bump();
                }
                _ => {
                    self.unexpected("a field name");
                    self.skip_to_next_field();
                }
            }
        }
        fields
    }

    fn field(&mut self) -> Option<Field<'a>> {
        let name_span = self.bump().span;
        let name = self.slice(name_span);
        let colon = self.eat(':');
        let value = match self.token.kind {
            TokenKind::Symbol('{' | '<') => self.message(),
            TokenKind::Symbol('[') => self.list(name, colon),
            _ if self.at_field() || !self.at_scalar() => {
                let other = !matches!(
                    self.token.kind,
                    TokenKind::End | TokenKind::Ident | TokenKind::Symbol('}' | '>')
                );
                if colon && other && !self.token.starts_line {
                    self.unexpected(&format!("a value for `{name}`"));
                } else if colon {
                    self.error(name_span, format!("`{name}` has no value"));
                } else {
                    let found = self.describe(self.token);
                    let message = format!("expected `:` and a value or `{{` after `{name}`, found {found}");
                    let diagnostic = Diagnostic::error("S001", name_span, message);
                    self.problems.push(diagnostic.help(format!("write `{name}: …` or `{name} {{ … }}`")));
                }
                self.skip_to_next_field();
                None
            }
            _ => {
                if !colon {
                    let diagnostic =
                        Diagnostic::error("S001", name_span, format!("`:` is missing after `{name}`"));
                    self.problems
                        .push(diagnostic.help(format!("write `{name}: {}`", self.shorten(self.token.span))));
                }
                self.scalar().map(Value::Scalar)
            }
        };
        if !self.eat(',') {
            self.eat(';');
        }
        Some(Field { name, name_span, value: value? })
    }

    /// `{ … }` or `< … >`, at the opening bracket.
    fn message(&mut self) -> Option<Value<'a>> {
        let open = self.token;
        let close = if open.kind == TokenKind::Symbol('{') { '}' } else { '>' };
        if self.depth == MAX_DEPTH {
            let message = format!("messages are nested more than {MAX_DEPTH} deep");
            self.problems.push(Diagnostic::error("S008", open.span, message));
            self.skip_group();
            return None;
        }
        self.bump();
        self.depth += 1;
        let fields = self.fields(Some((close, open.span)));
        self.depth -= 1;
        Some(Value::Message { fields, span: Span::new(open.span.start, self.end) })
    }

    /// `[ … ]`, at the opening bracket. Scalars need a colon before it, messages do not.
    fn list(&mut self, name: &str, colon: bool) -> Option<Value<'a>> {
        let open = self.bump().span;
        let mut values = Vec::new();
        if self.eat(']') {
            return Some(Value::List { values, span: Span::new(open.start, self.end) });
        }
        loop {
            match self.token.kind {
                TokenKind::Symbol('{' | '<') => values.extend(self.message()),
                _ if self.at_scalar() => {
                    if !colon && values.is_empty() {
                        self.error(open, format!("`:` is missing after `{name}`"));
                    }
                    values.extend(self.scalar().map(Value::Scalar));
                }
                TokenKind::End => {
                    self.never_closed(']', open);
                    return None;
                }
                _ => {
                    self.unexpected("a value");
                    self.skip_to_next_field();
                    return None;
                }
            }
            if self.eat(']') {
                return Some(Value::List { values, span: Span::new(open.start, self.end) });
            }
            if !self.eat(',') {
                if self.token.kind == TokenKind::End {
                    self.never_closed(']', open);
                } else {
                    self.unexpected("`,` or `]`");
                    self.skip_to_next_field();
                }
                return None;
            }
        }
    }

    /// An identifier, a number, or adjacent string literals; `None` when a string has no meaning.
    fn scalar(&mut self) -> Option<Scalar<'a>> {
        let first = self.token;
        let kind = match first.kind {
            TokenKind::Ident => ScalarKind::Ident,
            TokenKind::Number => ScalarKind::Number,
            _ => return self.string(),
        };
        self.bump();
        Some(Scalar { kind, text: Cow::Borrowed(self.slice(first.span)), span: first.span })
    }

    fn string(&mut self) -> Option<Scalar<'a>> {
        let (mut bytes, mut sound) = (Vec::new(), true);
        let mut span = self.token.span;
        while let TokenKind::String { closed } = self.token.kind {
            let literal = self.bump().span;
            span = span.to(literal);
            if !closed {
                let diagnostic = Diagnostic::error("S002", literal, "the string is never closed");
                self.problems
                    .push(diagnostic.help("strings end on the line they start on, with the same quote"));
                sound = false;
                continue;
            }
            let mut bad = Vec::new();
            decode(self.slice(literal), literal.start, |_, b| bytes.extend_from_slice(b), |e| bad.push(e));
            for escape in bad {
                let found = if escape.kept { Diagnostic::warning } else { Diagnostic::error };
                self.problems
                    .push(found("S002", escape.span, escape.message).help(r"write a backslash as `\\`"));
                sound &= escape.kept;
            }
        }
        match String::from_utf8(bytes) {
            _ if !sound => None,
            Ok(text) => Some(Scalar { kind: ScalarKind::String, text: Cow::Owned(text), span }),
            Err(_) => {
                self.problems.push(Diagnostic::error(
                    "S002",
                    span,
                    "the string is not UTF-8 once its escapes are read",
                ));
                None
            }
        }
    }

    fn at_scalar(&self) -> bool {
        matches!(self.token.kind, TokenKind::Ident | TokenKind::Number | TokenKind::String { .. })
    }

    /// Whether the current token is a name and starts a field: the value before it was forgotten.
    fn at_field(&self) -> bool {
        let mut ahead = self.lexer;
        self.token.kind == TokenKind::Ident && matches!(ahead.next().kind, TokenKind::Symbol(':' | '{' | '<'))
    }

    /// Goes on to a name that starts a field or a line, a closing bracket, or the end.
    fn skip_to_next_field(&mut self) {
        loop {
            match self.token.kind {
                TokenKind::Ident if self.token.starts_line || self.at_field() => return,
                TokenKind::Symbol('}' | '>') | TokenKind::End => return,
                TokenKind::Symbol('{' | '<' | '[') => self.skip_group(),
                _ => {
                    self.bump();
                }
            }
        }
    }

    /// Skips a bracket and everything up to the one that closes it, without recursion.
    fn skip_group(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.bump().kind {
                TokenKind::Symbol('{' | '<' | '[') => depth += 1,
                TokenKind::Symbol('}' | '>' | ']') => depth = depth.saturating_sub(1),
                TokenKind::End => return,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn never_closed(&mut self, close: char, open: Span) {
        if !std::mem::replace(&mut self.unclosed, true) {
            let message = format!("`{}` is never closed", self.slice(open));
            let diagnostic = Diagnostic::error("S001", open, message);
            self.problems.push(diagnostic.help(format!("add the `{close}` that ends it")));
        }
    }

    fn unexpected(&mut self, wanted: &str) {
        let message = format!("expected {wanted}, found {}", self.describe(self.token));
        let help = match self.token.kind {
            TokenKind::Unknown('“' | '”' | '„' | '‘' | '’') => {
                Some("use the plain quotes `\"` or `'`")
            }
            TokenKind::Unknown('−' | '–' | '—') => Some("use the plain minus `-`"),
            TokenKind::Unknown('：') => Some("use the plain colon `:`"),
            TokenKind::Number if self.text[..self.token.span.start].ends_with(',') => {
                Some("numbers have a point, as in `0.1`, not a comma")
            }
            TokenKind::Unknown('/') if self.text[self.token.span.start..].starts_with("//") => {
                Some("comments start with `#`")
            }
            TokenKind::Symbol(',' | ';') => Some("one `,` or `;` may follow a field, no more"),
            _ => None,
        };
        let diagnostic = Diagnostic::error("S001", self.token.span, message);
        self.problems.push(diagnostic.maybe_help(help.map(str::to_owned)));
    }

    fn describe(&self, token: Token) -> String {
        match token.kind {
            TokenKind::End => "the end of the file".to_owned(),
            TokenKind::Unknown(c) => format!("`{}`", c.escape_debug()),
            _ => format!("`{}`", self.shorten(token.span)),
        }
    }

    fn shorten(&self, span: Span) -> String {
        let text = self.slice(span);
        match text.char_indices().nth(40) {
            Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
            None => text.to_owned(),
        }
    }

    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.problems.push(Diagnostic::error("S001", span, message));
    }

    fn eat(&mut self, symbol: char) -> bool {
        let found = self.token.kind == TokenKind::Symbol(symbol);
        if found {
            self.bump();
        }
        found
    }

    fn bump(&mut self) -> Token {
        let next = self.lexer.next();
        self.end = self.token.span.end;
        std::mem::replace(&mut self.token, next)
    }

    fn slice(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }
}
