//! Progress bars, where somebody watches.

use indicatif::{ProgressBar, ProgressStyle};

use crate::console;

/// A bar of `len` units of `what`, with a message and the time left; nothing where nobody watches.
pub fn bar(len: u64, what: &str) -> ProgressBar {
    with_template(len, &format!("{what} {{wide_bar}} {{pos}}/{{len}} {{msg}} ETA {{eta}}"))
}

/// A bar whose message says how much time is left.
pub fn bar_without_eta(len: u64, what: &str) -> ProgressBar {
    with_template(len, &format!("{what} {{wide_bar}} {{pos}}/{{len}} {{msg}}"))
}

fn with_template(len: u64, template: &str) -> ProgressBar {
    if !console::is_watched() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template(template).expect("the templates are constant but for a few words");
    ProgressBar::new(len).with_style(style)
}

/// A count of `what` and its rate, where nobody knows how many there are.
pub fn counter(what: &str) -> ProgressBar {
    if !console::is_watched() {
        return ProgressBar::hidden();
    }
    let template = format!("{{spinner}} {{pos}} {what}, {{per_sec}}");
    let style = ProgressStyle::with_template(&template).expect("the template is constant but for a word");
    ProgressBar::new_spinner().with_style(style)
}
