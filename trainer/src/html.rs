//! What pages for a browser share: their frame, with nothing to load from elsewhere, and text that is safe in it.

use oxidet_vision::draw::class_colour;

const STYLE: &str = include_str!("html/style.css");

/// A page about something: `kind`, such as `Data set`, and its name, shown as text. `body` is HTML.
pub(crate) fn document(kind: &str, name: &str, body: &str) -> String {
    let (kind, name) = (escape(kind), escape(name));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{kind} of {name}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><h1>{kind}</h1><p class=\"spec\">{name}</p></header>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// A part of a page. `content` is HTML.
pub(crate) fn section(title: &str, content: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n{content}</section>\n")
}

/// The colour of a class, as CSS.
pub(crate) fn colour(class: usize) -> String {
    let [r, g, b] = class_colour(class);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text that is text in HTML, in attributes too.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}
