//! Anchors from boxes: k-means of (width, height) by shape IoU.
//!
//! A box belongs to the centre it overlaps best when both sit on one point; a centre moves to the component-wise median of its
//! boxes. That is the original's algorithm. New are where it starts (k-means++ seeding, several times over, from a seed) and
//! that a centre which loses its last box takes the worst-fitting one. Widths and heights may be in any units: stretching an
//! axis changes no IoU.

mod medians;

use std::collections::BTreeSet;

use rand::seq::index;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::shape_iou;
use medians::{Medians, Ranking};

/// Boxes that the restarts look at; the best of them goes on with all. So many give every centre of a large set its place.
const SAMPLE: usize = 4096;
/// Boxes that are compared with a centre at once.
const LANES: usize = 8;
/// More than rounding makes of the IoU of two boxes in single precision.
const ROUNDING: f64 = 1e-5;
/// Boxes whose IoUs are summed by one thread.
const PART: usize = 4096;
/// No centre yet.
const NOWHERE: u32 = u32::MAX;

/// How to cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KmeansSettings {
    /// Centres, at least 1.
    pub clusters: usize,
    /// Moves of the centres after which to stop although boxes still change theirs.
    pub max_steps: usize,
    /// Starts from different seeds, at least 1; the one with the best mean IoU counts.
    pub restarts: u64,
    /// What chance depends on.
    pub seed: u64,
}

/// Why boxes cannot be clustered.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KmeansError {
    /// More centres than different boxes.
    #[error("{clusters} clusters need at least as many distinct box sizes, there are {distinct}")]
    TooFewSizes {
        /// Centres asked for.
        clusters: usize,
        /// Different sizes.
        distinct: usize,
    },
    /// No centres or no starts.
    #[error("there must be at least 1 cluster and 1 start")]
    Nothing,
    /// A box that has no shape.
    #[error("box {index} has the size ({width}, {height}); both must be finite and above 0")]
    NoShape {
        /// Index of the box.
        index: usize,
        /// Its width.
        width: f32,
        /// Its height.
        height: f32,
    },
}

/// Centres of `(width, height)` sizes by increasing area, in the units of `sizes`. They depend on sizes and settings alone, not
/// on the number of threads.
///
/// # Errors
/// [`KmeansError`] when there are fewer different sizes than clusters, or a size is not finite or not above 0.
pub fn kmeans(sizes: &[(f32, f32)], settings: &KmeansSettings) -> Result<Vec<(f32, f32)>, KmeansError> {
    let &KmeansSettings { clusters, max_steps, restarts, seed } = settings;
    if clusters == 0 || restarts == 0 {
        return Err(KmeansError::Nothing);
    }
    let has_shape = |side: f32| side.is_finite() && side > 0.0;
    if let Some(index) = sizes.iter().position(|&(w, h)| !(has_shape(w) && has_shape(h))) {
        let (width, height) = sizes[index];
        return Err(KmeansError::NoShape { index, width, height });
    }
    let distinct = distinct(sizes, clusters);
    if distinct < clusters {
        return Err(KmeansError::TooFewSizes { clusters, distinct });
    }

    let sample = sample(sizes, clusters, seed);
    let start = || best_start(&sample, settings);
    let mut centres = if sample.len() < sizes.len() {
        let (centres, boxes) = rayon::join(start, || Boxes::new(sizes));
        move_centres(&boxes, centres, max_steps)
    } else {
        start()
    };
    centres.sort_by(|a, b| (a.0 * a.1).total_cmp(&(b.0 * b.1)));
    Ok(centres)
}

/// The best centres for `sizes` from several starts.
fn best_start(sizes: &[(f32, f32)], settings: &KmeansSettings) -> Vec<(f32, f32)> {
    let boxes = Boxes::new(sizes);
    let run = |restart| {
        let seeds = spread(sizes, settings.clusters, &mut rng(settings.seed, restart + 1));
        let centres = move_centres(&boxes, seeds, settings.max_steps);
        (mean_best_iou(sizes, &centres), centres)
    };
    let runs: Vec<(f64, Vec<(f32, f32)>)> = (0..settings.restarts).into_par_iter().map(run).collect();
    let best = runs.into_iter().reduce(|best, other| if other.0 > best.0 { other } else { best });
    best.expect("there is at least one start").1
}

/// The mean over `sizes` of the IoU with the best of `centres`, both centred at one point; 0 when there are none.
pub fn mean_best_iou(sizes: &[(f32, f32)], centres: &[(f32, f32)]) -> f64 {
    // Parts of fixed length, summed in order: the same sum for any number of threads.
    let parts: Vec<f64> =
        sizes.par_chunks(PART).map(|part| part.iter().map(|&size| best_iou(size, centres)).sum()).collect();
    if sizes.is_empty() { 0.0 } else { parts.iter().sum::<f64>() / sizes.len() as f64 }
}

fn best_iou(size: (f32, f32), centres: &[(f32, f32)]) -> f64 {
    centres.iter().map(|&centre| iou(size, centre)).fold(0.0, f64::max)
}

fn iou(a: (f32, f32), b: (f32, f32)) -> f64 {
    shape_iou((a.0.into(), a.1.into()), (b.0.into(), b.1.into()))
}

/// The number of different sizes, counted up to `enough`.
fn distinct(sizes: &[(f32, f32)], enough: usize) -> usize {
    let mut seen = BTreeSet::new();
    for &(w, h) in sizes {
        seen.insert((w.to_bits(), h.to_bits()));
        if seen.len() >= enough {
            break;
        }
    }
    seen.len()
}

/// [`SAMPLE`] of the sizes; all when there are no more, or the sample lacks variety.
fn sample(sizes: &[(f32, f32)], clusters: usize, seed: u64) -> Vec<(f32, f32)> {
    if sizes.len() > SAMPLE {
        let chosen = index::sample(&mut rng(seed, 0), sizes.len(), SAMPLE);
        let sample: Vec<(f32, f32)> = chosen.iter().map(|index| sizes[index]).collect();
        if distinct(&sample, clusters) >= clusters {
            return sample;
        }
    }
    sizes.to_vec()
}

/// Random numbers keyed by the seed and what they are for.
fn rng(seed: u64, purpose: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, number) in key.chunks_exact_mut(8).zip([seed, purpose]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The seeding of k-means++ (Arthur & Vassilvitskii 2007): every further centre is a box drawn with a probability proportional
/// to its distance, 1 − IoU, from the centres so far. There must be `clusters` different sizes.
fn spread(sizes: &[(f32, f32)], clusters: usize, rng: &mut ChaCha8Rng) -> Vec<(f32, f32)> {
    let mut centre = sizes[rng.random_range(0..sizes.len())];
    let mut centres = vec![centre];
    let mut distances = vec![1.0_f64; sizes.len()];
    while centres.len() < clusters {
        let mut total = 0.0;
        for (distance, &size) in distances.iter_mut().zip(sizes) {
            *distance = distance.min(1.0 - iou(size, centre));
            total += *distance;
        }
        let mut left = rng.random::<f64>() * total;
        let drawn = distances.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        // Rounding may leave a crumb after the last box; only a box that is no centre yet has a distance.
        let last = || distances.iter().rposition(|&distance| distance > 0.0);
        centre = sizes[drawn.or_else(last).unwrap_or(0)];
        centres.push(centre);
    }
    centres
}

/// Moves `centres` until every box keeps its own, or `max_steps` times.
///
/// 1 − IoU is a metric (of Jaccard), so a box keeps its centre as long as the centres have not come half as far as it is nearer
/// to its own than to any other; until then nobody looks at it.
fn move_centres(boxes: &Boxes, mut centres: Vec<(f32, f32)>, max_steps: usize) -> Vec<(f32, f32)> {
    let mut owners = vec![[NOWHERE; LANES]; boxes.widths.len()];
    let mut widths = Medians::new(&boxes.by_width, centres.len());
    let mut heights = Medians::new(&boxes.by_height, centres.len());
    // How far centres have come, and up to where each group of boxes is sure to stay.
    let mut travelled = 0.0;
    let mut settled_until = vec![-1.0; owners.len()];
    for _ in 0..max_steps {
        let mut moved = false;
        for (group, settled_until) in settled_until.iter_mut().enumerate() {
            if *settled_until > travelled {
                continue;
            }
            let (nearest, lead) = nearest(&boxes.widths[group], &boxes.heights[group], &centres);
            *settled_until = travelled + f64::from(lead) / 2.0 - ROUNDING;
            for (lane, (owner, new)) in owners[group].iter_mut().zip(nearest).enumerate() {
                let index = group * LANES + lane;
                if *owner != new && index < boxes.len {
                    widths.change_owner(index, *owner, new);
                    heights.change_owner(index, *owner, new);
                    *owner = new;
                    moved = true;
                }
            }
        }
        if !moved {
            break;
        }
        let before = centres.clone();
        move_to_medians(boxes, &widths, &heights, owners.as_flattened(), &mut centres);
        travelled += before.iter().zip(&centres).map(|(&old, &new)| 1.0 - iou(old, new)).fold(0.0, f64::max);
    }
    centres
}

/// Moves every centre to the median of its boxes, and those without boxes to the worst-fitting ones.
fn move_to_medians(
    boxes: &Boxes,
    widths: &Medians<'_>,
    heights: &Medians<'_>,
    owners: &[u32],
    centres: &mut [(f32, f32)],
) {
    let mut emptied = Vec::new();
    for (number, centre) in centres.iter_mut().enumerate() {
        match (widths.median(number, owners), heights.median(number, owners)) {
            (Some(width), Some(height)) => *centre = (width, height),
            _ => emptied.push(number),
        }
    }
    for (done, &number) in emptied.iter().enumerate() {
        let still_empty = &emptied[done..];
        let others = (0..centres.len()).filter(|other| !still_empty.contains(other));
        let others: Vec<(f32, f32)> = others.map(|other| centres[other]).collect();
        centres[number] = boxes.worst_fitting(&others);
    }
}

/// Box sizes, laid out for comparing several at once, and ranked by either side.
struct Boxes {
    widths: Vec<[f32; LANES]>,
    heights: Vec<[f32; LANES]>,
    by_width: Ranking,
    by_height: Ranking,
    /// The last group is filled up with more boxes than there are.
    len: usize,
}

impl Boxes {
    fn new(sizes: &[(f32, f32)]) -> Self {
        let lanes = |side: fn(&(f32, f32)) -> f32| {
            let group = |group: &[(f32, f32)]| std::array::from_fn(|lane| group.get(lane).map_or(1.0, side));
            sizes.chunks(LANES).map(group).collect()
        };
        let ranking = |side: fn(&(f32, f32)) -> f32| Ranking::new(sizes.iter().map(side));
        let (by_width, by_height) = rayon::join(|| ranking(|size| size.0), || ranking(|size| size.1));
        Self {
            widths: lanes(|size| size.0),
            heights: lanes(|size| size.1),
            by_width,
            by_height,
            len: sizes.len(),
        }
    }

    /// The first of the boxes whose best IoU with `centres` is lowest.
    fn worst_fitting(&self, centres: &[(f32, f32)]) -> (f32, f32) {
        let sides = self.widths.as_flattened().iter().zip(self.heights.as_flattened()).take(self.len);
        let fits = sides.map(|(&w, &h)| ((w, h), best_iou((w, h), centres)));
        let worst = fits.min_by(|a, b| a.1.total_cmp(&b.1));
        worst.expect("there are at least as many boxes as clusters").0
    }
}

/// For every box of a group the centre with the highest IoU, the first one of equals; and the least IoU by which one of them
/// leads over the second best.
fn nearest(widths: &[f32; LANES], heights: &[f32; LANES], centres: &[(f32, f32)]) -> ([u32; LANES], f32) {
    // Plain comparisons, which compile to single instructions where `f32::min` cares for NaN.
    let min = |a: f32, b: f32| if a < b { a } else { b };
    let max = |a: f32, b: f32| if a > b { a } else { b };
    let (mut best, mut second) = ([-1.0; LANES], [-1.0; LANES]);
    let mut owners = [0; LANES];
    for (number, &(width, height)) in (0_u32..).zip(centres) {
        let area = width * height;
        for lane in 0..LANES {
            let intersection = min(widths[lane], width) * min(heights[lane], height);
            // IoU = share / (1 − share), which grows with the share and needs a subtraction more.
            let share = intersection / (widths[lane] * heights[lane] + area);
            let better = share > best[lane];
            second[lane] = max(second[lane], min(best[lane], share));
            best[lane] = max(best[lane], share);
            owners[lane] = if better { number } else { owners[lane] };
        }
    }
    let iou = |share: f32| share / (1.0 - share);
    let leads = best.iter().zip(second).map(|(&best, second)| iou(best) - iou(second));
    (owners, leads.fold(f32::INFINITY, f32::min))
}

#[cfg(test)]
mod tests;
