//! Pages for a browser: one file each, with nothing to load from elsewhere and no script. They follow the reader's choice of
//! light or dark.

mod line_chart;
mod thumbnail;

use oxidet_vision::draw::class_colour;

pub(crate) use line_chart::{Axis, Line, LineChart, Weight, number};
pub(crate) use thumbnail::thumbnail;

/// What all pages look like.
const STYLE: &str = include_str!("page/style.css");

/// A whole page. `title` is text, `style` adds to the common one, `body` is HTML.
pub(crate) fn document(title: &str, style: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title)
    )
}

/// A part of a page; `content` is HTML, nothing of which leaves the whole section out.
pub(crate) fn section(title: &str, content: &str) -> String {
    if content.is_empty() {
        return String::new();
    }
    format!("<section>\n<h2>{title}</h2>\n{content}</section>\n")
}

/// A number that stands out, with what it is.
pub(crate) fn tile(class: &str, number: &str, what: &str) -> String {
    format!("<div class=\"tile {class}\"><b>{number}</b><span>{what}</span></div>\n")
}

/// The colour of a class.
pub(crate) fn colour(class: usize) -> String {
    let [r, g, b] = class_colour(class);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// A class with the dot of its colour.
pub(crate) fn class_name(class: usize, name: &str) -> String {
    format!("<span class=\"dot\" style=\"background:{}\"></span>{}", colour(class), escape(name))
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
