//! The images with the worst mistakes, drawn for people to look at.

use std::collections::BTreeMap;

use oxidet_vision::draw::{Mark, draw_marks};
use oxidet_vision::image::resize;
use oxidet_vision::metrics::Fate;
use oxidet_vision::{Image, PxBox};

use super::Evaluated;
use crate::data::{DataError, Dataset, read_picture};

/// Longer side of a picture, in pixels: smaller images are enlarged up to four times, larger ones reduced.
const SIDE: f64 = 960.0;

/// A kind of mistake, or none; each has its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Object and detection agree.
    Right,
    /// Difficult objects, and what covers them.
    Ignored,
    /// An object without a detection.
    Missed,
    /// A detection without an object.
    False,
    /// Object and detection of different classes.
    Confused,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::Missed, Self::False, Self::Confused, Self::Right, Self::Ignored];

    /// What a legend says.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Right => "found",
            Self::Ignored => "difficult, ignored",
            Self::Missed => "missed",
            Self::False => "nothing there",
            Self::Confused => "taken for another class",
        }
    }

    /// Red, green and blue.
    pub(super) fn colour(self) -> [u8; 3] {
        match self {
            Self::Right => [60, 180, 75],
            Self::Ignored => [150, 150, 150],
            Self::Missed => [255, 150, 0],
            Self::False => [225, 25, 50],
            Self::Confused => [190, 40, 220],
        }
    }
}

/// An image and how bad it is.
#[derive(Clone, Debug)]
pub struct Mistakes<'a> {
    image: &'a Evaluated,
    /// A missed object weighs 1, a detection that is wrong its score; so an object taken for another class weighs both.
    weight: f64,
}

impl<'a> Mistakes<'a> {
    /// The images with mistakes, worst first, `most` of them.
    pub fn worst(images: &'a [Evaluated], most: usize) -> Vec<Self> {
        let mut worst: Vec<Self> =
            images.iter().map(Self::of).filter(|mistakes| mistakes.weight > 0.0).collect();
        worst.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        worst.truncate(most);
        worst
    }

    fn of(image: &'a Evaluated) -> Self {
        let wrong = |fate: &Fate| matches!(fate, Fate::Alone | Fate::Confused(_));
        let missed = image.outcomes.truths.iter().filter(|fate| wrong(fate)).count() as f64;
        let found = image.detections.iter().zip(&image.outcomes.detections);
        let score = found.filter(|(_, fate)| wrong(fate)).map(|(detection, _)| f64::from(detection.score));
        Self { image, weight: missed + score.sum::<f64>() }
    }

    /// Index of the image in the data set.
    pub fn sample(&self) -> usize {
        self.image.sample
    }

    /// What is wrong, in words: `missed: 2 rbc, 1 wbc; nothing there: 1 rbc`.
    pub fn summary(&self, classes: &[String]) -> String {
        let mut counts: BTreeMap<(Kind, String), usize> = BTreeMap::new();
        for (_, kind, name) in self.marked(classes) {
            if let (Kind::Missed | Kind::False | Kind::Confused, Some(name)) = (kind, name) {
                *counts.entry((kind, name.what)).or_default() += 1;
            }
        }
        let of_kind = |kind: Kind| {
            let counts = counts.iter().filter(|((of, _), _)| *of == kind);
            let parts: Vec<String> = counts.map(|((_, what), count)| format!("{count} {what}")).collect();
            let name = if kind == Kind::Confused { "confused" } else { kind.meaning() };
            (!parts.is_empty()).then(|| format!("{name}: {}", parts.join(", ")))
        };
        let parts: Vec<String> =
            [Kind::Missed, Kind::False, Kind::Confused].into_iter().filter_map(of_kind).collect();
        parts.join("; ")
    }

    /// The image with objects and detections in the colours of their kinds; mistakes are named.
    ///
    /// # Errors
    /// When the image cannot be read.
    pub fn picture(&self, dataset: &Dataset, depth: u8) -> Result<Image, DataError> {
        let sample = &dataset.samples[self.image.sample];
        let image = read_picture(&sample.image, depth)?.to_viewable().to_color();
        let scale = (SIDE / image.width.max(image.height) as f64).min(4.0);
        let side = |pixels: usize| ((pixels as f64 * scale).round() as usize).max(1);
        let mut image = resize(&image, side(image.width), side(image.height));
        let mut marked = self.marked(&dataset.classes);
        // Mistakes are drawn over what is right.
        marked.sort_by_key(|(_, kind, _)| *kind);
        let scale = scale as f32;
        let mark = |(b, kind, name): (PxBox, Kind, Option<Name>)| Mark {
            bbox: PxBox { x1: b.x1 * scale, y1: b.y1 * scale, x2: b.x2 * scale, y2: b.y2 * scale },
            colour: kind.colour(),
            text: name.map(|name| name.text()).unwrap_or_default(),
        };
        draw_marks(&mut image, &marked.into_iter().map(mark).collect::<Vec<_>>());
        Ok(image)
    }

    /// What there is to draw: boxes, their kinds, and names of mistakes.
    fn marked(&self, classes: &[String]) -> Vec<(PxBox, Kind, Option<Name>)> {
        let Evaluated { truths, detections, outcomes, .. } = self.image;
        let mut marked = Vec::new();
        for (truth, fate) in truths.iter().zip(&outcomes.truths) {
            let name = Name { what: classes[truth.class].clone(), score: None };
            marked.push(match fate {
                Fate::Alone => (truth.bbox, Kind::Missed, Some(name)),
                Fate::Confused(_) => (truth.bbox, Kind::Confused, None),
                Fate::Ignored => (truth.bbox, Kind::Ignored, None),
                // The detection is drawn.
                Fate::Right(_) | Fate::BelowThreshold => continue,
            });
        }
        for (detection, fate) in detections.iter().zip(&outcomes.detections) {
            let class = &classes[detection.class];
            let name = |what: String| Some(Name { what, score: Some(detection.score) });
            marked.push(match fate {
                Fate::Right(_) => (detection.bbox, Kind::Right, None),
                Fate::Alone => (detection.bbox, Kind::False, name(class.clone())),
                Fate::Confused(truth) => {
                    let what = format!("{} as {class}", classes[truths[*truth].class]);
                    (detection.bbox, Kind::Confused, name(what))
                }
                Fate::Ignored => (detection.bbox, Kind::Ignored, None),
                Fate::BelowThreshold => continue,
            });
        }
        marked
    }
}

/// The name of a mistake.
struct Name {
    what: String,
    /// Of the detection.
    score: Option<f32>,
}

impl Name {
    fn text(&self) -> String {
        self.score.map_or(self.what.clone(), |score| format!("{} {score:.2}", self.what))
    }
}
