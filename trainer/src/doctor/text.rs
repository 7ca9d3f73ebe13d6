//! A report as text: a table for each split, then what was found, errors first.

use std::fmt;

use super::report::{Finding, Report, split_name};
use super::{AnchorFit, Part};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.parts() {
            writeln!(f, "{part}")?;
        }
        if let Some(fit) = &self.anchors {
            writeln!(f, "{fit}\n")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}\n")?;
        }
        Ok(())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = &self.dataset.summary;
        let images = self.dataset.samples.len();
        write!(f, "{}: {images} images", split_name(self.split))?;
        if let (Some(((w, h), _)), sizes) = (self.sizes().first_key_value(), self.sizes().len()) {
            match sizes {
                1 => write!(f, " of {w}x{h}")?,
                _ => write!(f, " of {sizes} sizes")?,
            }
        }
        write!(f, ", {} without objects", summary.negatives)?;
        if !summary.skipped.is_empty() {
            write!(f, ", {} more cannot be read", summary.skipped.len())?;
        }
        writeln!(f)?;
        if images == 0 {
            return Ok(());
        }
        let width = self.dataset.classes.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(5);
        writeln!(
            f,
            "  {:width$}  {:>8}  {:>8}  {:>9}  size at the input, px",
            "class", "boxes", "images", "difficult"
        )?;
        for (name, class) in self.dataset.classes.iter().zip(&self.classes) {
            let [least, median, most] = class.sizes;
            write!(f, "  {name:width$}  {:>8}  {:>8}  {:>9}", class.boxes, class.images, class.difficult)?;
            if class.boxes > 0 {
                write!(f, "  {least:.0} to {most:.0}, median {median:.0}")?;
            }
            writeln!(f)?;
        }
        let histogram = self.boxes_per_image();
        if let (Some((least, _)), Some((most, _))) = (histogram.first_key_value(), histogram.last_key_value())
        {
            let mean = self.boxes() as f64 / images as f64;
            writeln!(f, "  boxes an image: {least} to {most}, {mean:.1} on average")?;
        }
        Ok(())
    }
}

impl fmt::Display for AnchorFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "anchors: best overlap {:.3} on average; {:.1} % of the boxes fit none by {} (box_matching_iou)",
            self.mean_best_iou,
            100.0 * self.below_matching_iou,
            self.box_matching_iou as f32
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: ", self.severity.name(), self.id)?;
        if let Some(split) = self.split {
            write!(f, "{}: ", split_name(split))?;
        }
        write!(f, "{}", self.message)?;
        for example in &self.examples {
            write!(f, "\n    {}", example.text)?;
        }
        if self.more > 0 {
            write!(f, "\n    … and {} more", self.more)?;
        }
        write!(f, "\n  help: {}", self.help)
    }
}
