//! Images that are there twice, byte for byte or to the eye, within a split and across both.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Part;
use super::look::Look;
use super::report::{Example, Finding, Severity, Shown, count};
use crate::data::Sample;

/// Images whose neighbours are looked for at a time: bounds the pairs in memory.
const BLOCK: usize = 512;

/// An image that is compared.
#[derive(Clone, Copy)]
struct Seen<'a> {
    sample: &'a Sample,
    look: &'a Look,
}

pub(super) fn examine(train: &Part, validation: &Part, findings: &mut Vec<Finding>) {
    across(train, validation, findings);
    for part in [train, validation] {
        let (unique, copies) = by_content(&seen(part));
        report_groups(
            part,
            &copies,
            ("D143", Severity::Warning, "byte for byte"),
            "keep one of each: the others only give it more weight",
            findings,
        );
        report_groups(
            part,
            &clusters(&unique),
            ("D144", Severity::Info, "to the eye"),
            "look at them; copies and neighbouring frames of a film teach little",
            findings,
        );
    }
}

fn seen(part: &Part) -> Vec<Seen<'_>> {
    part.dataset.samples.iter().zip(&part.looks).map(|(sample, look)| Seen { sample, look }).collect()
}

/// The first image of each content, and the groups of images with one content.
fn by_content<'a>(images: &[Seen<'a>]) -> (Vec<Seen<'a>>, Vec<Vec<Seen<'a>>>) {
    let mut groups: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    let mut members: Vec<Vec<Seen<'a>>> = Vec::new();
    for image in images {
        let group = *groups.entry(image.look.digest).or_insert(members.len());
        match members.get_mut(group) {
            Some(group) => group.push(*image),
            None => members.push(vec![*image]),
        }
    }
    let first = members.iter().map(|group| group[0]).collect();
    members.retain(|group| group.len() > 1);
    (first, members)
}

/// Groups of images that look the same, directly or over others between them.
fn clusters<'a>(images: &[Seen<'a>]) -> Vec<Vec<Seen<'a>>> {
    let mut root: Vec<usize> = (0..images.len()).collect();
    fn find(root: &mut [usize], mut at: usize) -> usize {
        while root[at] != at {
            root[at] = root[root[at]];
            at = root[at];
        }
        at
    }
    for first in (0..images.len()).step_by(BLOCK) {
        let block: Vec<Vec<usize>> = (first..images.len().min(first + BLOCK))
            .into_par_iter()
            .map(|i| (i + 1..images.len()).filter(|j| distance(&images[i], &images[*j]).is_some()).collect())
            .collect();
        for (i, neighbours) in (first..).zip(block) {
            for j in neighbours {
                let (a, b) = (find(&mut root, i), find(&mut root, j));
                root[a.max(b)] = a.min(b);
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<Seen<'a>>> = BTreeMap::new();
    for (i, image) in images.iter().enumerate() {
        groups.entry(find(&mut root, i)).or_default().push(*image);
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}

fn distance(a: &Seen<'_>, b: &Seen<'_>) -> Option<u32> {
    a.look.fingerprint.as_ref()?.same(b.look.fingerprint.as_ref()?)
}

fn report_groups(
    part: &Part,
    groups: &[Vec<Seen<'_>>],
    (id, severity, how): (&'static str, Severity, &str),
    help: &'static str,
    findings: &mut Vec<Finding>,
) {
    if groups.is_empty() {
        return;
    }
    let images: usize = groups.iter().map(Vec::len).sum();
    let message = format!("{images} images are alike {how}, in {}", count(groups.len(), "group", "groups"));
    let examples = groups.iter().map(|group| {
        const NAMED: usize = 4;
        let names = group.iter().take(NAMED).map(|image| image.sample.image.display().to_string());
        let mut text = names.collect::<Vec<_>>().join(" = ");
        if group.len() > NAMED {
            text += &format!(" … and {} more", group.len() - NAMED);
        }
        Example { text, pictures: group.iter().take(2).map(|image| shown(image.sample)).collect() }
    });
    findings.push(Finding::new(id, severity, part.split, message, help).at(examples));
}

fn shown(sample: &Sample) -> Shown {
    Shown { image: sample.image.clone(), objects: sample.objects.clone() }
}

/// Validation images that training knows.
fn across(train: &Part, validation: &Part, findings: &mut Vec<Finding>) {
    let (train, validation_seen) = (seen(train), seen(validation));
    let mut by_digest: BTreeMap<[u8; 32], Seen<'_>> = BTreeMap::new();
    for image in &train {
        by_digest.entry(image.look.digest).or_insert(*image);
    }
    let mut same = Vec::new();
    let mut rest = Vec::new();
    for image in &validation_seen {
        match by_digest.get(&image.look.digest) {
            Some(twin) => same.push((*image, *twin)),
            None => rest.push(*image),
        }
    }
    let alike: Vec<(Seen<'_>, Seen<'_>)> = rest
        .par_iter()
        .filter_map(|image| {
            let near = train.iter().filter_map(|other| Some((distance(image, other)?, *other)));
            near.min_by_key(|(distance, _)| *distance).map(|(_, other)| (*image, other))
        })
        .collect();
    let of = validation_seen.len();
    let help =
        "take them out of one of the two: average precision measured on them says nothing about new images";
    for (id, severity, how, pairs) in [
        ("D141", Severity::Error, "are in train as well, byte for byte", same),
        ("D142", Severity::Warning, "look the same as one in train", alike),
    ] {
        if !pairs.is_empty() {
            let message = format!("{} of {of} validation images {how}", pairs.len());
            let examples = pairs.iter().map(|(image, twin)| Example {
                text: format!("{} = {}", image.sample.image.display(), twin.sample.image.display()),
                pictures: vec![shown(image.sample), shown(twin.sample)],
            });
            findings.push(Finding::new(id, severity, None, message, help).at(examples));
        }
    }
}
