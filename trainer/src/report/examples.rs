//! Validation images with what was found in them.

use std::fmt::Write as _;
use std::path::PathBuf;

use oxidet_vision::{Detection, PxBox};
use rayon::prelude::*;

use crate::data::{Dataset, Object};
use crate::evaluate::{DEFAULT_SCORE, Evaluated};
use crate::page::{colour, escape, thumbnail};

/// Images that are shown.
const SHOWN: usize = 12;
/// Above this many, scores are only shown where the reader points.
const LABELLED: usize = 12;

/// The images of a data set that stand for all, evenly spread over it.
#[derive(Debug)]
pub(super) struct Examples {
    samples: Vec<usize>,
    images: Vec<Shown>,
    depth: u8,
    loaded: bool,
}

#[derive(Debug)]
struct Shown {
    path: PathBuf,
    /// Width and height, in pixels.
    size: (usize, usize),
    objects: Vec<Object>,
    /// As a `data:` address; none when it could not be read.
    uri: Option<String>,
}

impl Examples {
    /// Chooses. Reads no image yet.
    pub(super) fn of(dataset: &Dataset, depth: u8) -> Self {
        let count = dataset.samples.len();
        let shown = count.min(SHOWN);
        let samples: Vec<usize> = (0..shown).map(|i| i * count / shown).collect();
        let images = samples.iter().map(|sample| {
            let sample = &dataset.samples[*sample];
            Shown {
                path: sample.image.clone(),
                size: (sample.width, sample.height),
                objects: sample.objects.clone(),
                uri: None,
            }
        });
        Self { images: images.collect(), samples, depth, loaded: false }
    }

    /// Their indices in the data set.
    pub(super) fn samples(&self) -> &[usize] {
        &self.samples
    }

    /// Makes the small pictures, the first time.
    pub(super) fn load(&mut self) {
        if !std::mem::replace(&mut self.loaded, true) {
            let depth = self.depth;
            self.images.par_iter_mut().for_each(|shown| {
                shown.uri = thumbnail(&shown.path, depth).and_then(|small| small.uri());
            });
        }
    }

    /// The images with objects and detections, as HTML.
    pub(super) fn html(&self, found: &[Evaluated], classes: &[String]) -> String {
        let of = |sample: usize| found.iter().find(|found| found.sample == sample);
        let figures = self.samples.iter().zip(&self.images).filter_map(|(sample, shown)| {
            Some(shown.figure(shown.uri.as_deref()?, &of(*sample)?.detections, classes))
        });
        figures.collect()
    }
}

impl Shown {
    fn figure(&self, uri: &str, detections: &[Detection<PxBox>], classes: &[String]) -> String {
        let (width, height) = self.size;
        let name = escape(&self.path.file_name().unwrap_or_default().to_string_lossy());
        let detections: Vec<&Detection<PxBox>> =
            detections.iter().filter(|d| d.score >= DEFAULT_SCORE).collect();
        let mut svg = format!(
            "<svg class=\"shot\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{name}\">\n\
             <image href=\"{uri}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\"/>\n"
        );
        for object in &self.objects {
            svg += &rect("truth", &object.bbox, "", &escape(&classes[object.class]));
        }
        // The best lie on top.
        for detection in detections.iter().rev() {
            let b = detection.bbox;
            let label = format!("{} {:.2}", escape(&classes[detection.class]), detection.score);
            let colour = colour(detection.class);
            svg += &rect("found", &b, &colour, &label);
            if detections.len() <= LABELLED {
                // Readable whatever the size of the image is.
                let size = width.max(height) as f32 / 26.0;
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" style=\"font-size:{size:.1}px;stroke-width:{:.1}px\">{label}</text>",
                    b.x1,
                    if b.y1 > 1.3 * size { b.y1 - 0.3 * size } else { b.y1 + 1.1 * size },
                    size / 5.0
                );
            }
        }
        let (found, objects) = (detections.len(), self.objects.len());
        format!(
            "<figure>{svg}</svg><figcaption>{name} <small>{found} detected, {objects} labelled</small></figcaption></figure>\n"
        )
    }
}

fn rect(class: &str, b: &PxBox, colour: &str, title: &str) -> String {
    let style = if colour.is_empty() { String::new() } else { format!(" style=\"stroke:{colour}\"") };
    format!(
        "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"{style}><title>{title}</title></rect>\n",
        b.x1,
        b.y1,
        b.x2 - b.x1,
        b.y2 - b.y1
    )
}
