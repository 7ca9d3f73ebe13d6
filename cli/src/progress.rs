//! Progress bars, where somebody watches.

use indicatif::{ProgressBar, ProgressStyle};

use crate::console;

/// A bar of `len` units of `what`, with rate and time left; nothing where nobody watches.
pub fn bar(len: u64, what: &str) -> ProgressBar {
    if !console::is_watched() {
        return ProgressBar::hidden();
    }
    let template = format!("{what} {{wide_bar}} {{pos}}/{{len}} {{msg}} {{per_sec}} ETA {{eta}}");
    let style = ProgressStyle::with_template(&template).expect("the template is constant but for a word");
    ProgressBar::new(len).with_style(style)
}
