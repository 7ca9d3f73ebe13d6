//! `augmentation_config`: input size and augmentation.

use crate::lint::findings::Findings;
use crate::lint::rule::{ALL, Bounds, NETWORK, Rule, TRAIN, above, at_least};
use crate::spec::{AugmentationConfig, Experiment};

const SHARE: Bounds = at_least(0.0).up_to(1.0);
const FACTOR: Bounds = at_least(1.0);

macro_rules! read {
    ($field:ident) => {
        |spec| spec.augmentation_config.as_ref().map(|a| a.$field.into())
    };
}

pub(super) const RULES: &[Rule<Experiment>] = &[
    Rule::range("S201", TRAIN, "augmentation_config.hue", read!(hue), SHARE, "the shift as a share of 180°"),
    Rule::range(
        "S202",
        TRAIN,
        "augmentation_config.saturation",
        read!(saturation),
        FACTOR,
        "the largest factor; 1 turns it off",
    ),
    Rule::range(
        "S203",
        TRAIN,
        "augmentation_config.exposure",
        read!(exposure),
        FACTOR,
        "the largest factor; 1 turns it off",
    ),
    Rule::range(
        "S204",
        TRAIN,
        "augmentation_config.vertical_flip",
        read!(vertical_flip),
        SHARE,
        "a probability",
    ),
    Rule::range(
        "S205",
        TRAIN,
        "augmentation_config.horizontal_flip",
        read!(horizontal_flip),
        SHARE,
        "a probability",
    ),
    Rule::range("S206", TRAIN, "augmentation_config.jitter", read!(jitter), SHARE, "a share of the image"),
    Rule::range("S207", TRAIN, "augmentation_config.mosaic_prob", read!(mosaic_prob), SHARE, "a probability"),
    Rule::range(
        "S208",
        TRAIN,
        "augmentation_config.mosaic_min_ratio",
        read!(mosaic_min_ratio),
        above(0.0).below(0.5),
        "the smallest share of a mosaic tile per axis; needed even without mosaic",
    ),
    Rule::range(
        "S209",
        TRAIN,
        "augmentation_config.randomize_input_shape_period",
        read!(randomize_input_shape_period),
        at_least(0.0),
        "a number of batches; 0 keeps the size",
    ),
    Rule::test("S211", ALL, "`output_width` must be a multiple of 32 from 32 to 8192", |spec, findings| {
        if let Some(augmentation) = &spec.augmentation_config {
            multiple_of_32("output_width", augmentation.output_width, findings);
        }
    }),
    Rule::test("S212", ALL, "`output_height` must be a multiple of 32 from 32 to 8192", |spec, findings| {
        if let Some(augmentation) = &spec.augmentation_config {
            multiple_of_32("output_height", augmentation.output_height, findings);
        }
    }),
    Rule::test("S213", NETWORK, "`output_channel` must be 1 or 3", |spec, findings| {
        if spec.augmentation_config.as_ref().is_some_and(|a| !matches!(a.output_channel, 1 | 3)) {
            let path = "augmentation_config.output_channel";
            let state = if findings.is_written(path) { "" } else { "is missing; it " };
            let finding = findings.error(path, format!("`output_channel` {state}must be 1 or 3"));
            finding.help("3 for colour images, 1 for gray ones");
        }
    }),
    Rule::test("S214", NETWORK, "`output_depth` must be 8, or 16 with one channel", depth_fits_channels),
    Rule::test("S215", NETWORK, "16-bit images must be PNG", sixteen_bit_is_png),
    Rule::test("S216", NETWORK, "`image_mean` must have a value for each channel", mean_is_complete),
    Rule::test(
        "S217",
        NETWORK,
        "`image_mean` should have no values of other channels",
        mean_has_no_strangers,
    ),
    Rule::test("S218", NETWORK, "`image_mean` must hold finite numbers", |spec, findings| {
        for (channel, mean) in &spec.augmentation().image_mean {
            if !mean.is_finite() {
                findings.error(&mean_path(channel), "a mean must be a finite number");
            }
        }
    }),
];

/// Not a limit of the original, but what memory allows: one such image has 800 MB.
const LARGEST: i32 = 8192;

fn multiple_of_32(field: &str, value: i32, findings: &mut Findings<'_>) {
    if value % 32 == 0 && (32..=LARGEST).contains(&value) {
        return;
    }
    let path = format!("augmentation_config.{field}");
    let message = match findings.written(&path) {
        Some(written) => format!("`{field}` is {written}, must be a multiple of 32 from 32 to {LARGEST}"),
        None => format!("`{field}` is missing"),
    };
    let finding = findings.error(&path, message).reason("the network halves its input five times");
    if (32..=LARGEST).contains(&value) {
        let below = value / 32 * 32;
        finding.help(format!("the nearest are {below} and {}", below + 32));
    }
}

fn depth_fits_channels(spec: &Experiment, findings: &mut Findings<'_>) {
    let AugmentationConfig { output_depth, output_channel, .. } = *spec.augmentation();
    let message = match (output_depth, output_channel) {
        (0 | 8, _) | (16, 1) => return,
        (16, 3) => "16-bit images must be gray: `output_depth` is 16 and `output_channel` is 3",
        (16, _) => return, // the number of channels is wrong, which S213 says
        _ => "`output_depth` must be 8, or 16 with one channel",
    };
    findings.error("augmentation_config.output_depth", message);
}

fn sixteen_bit_is_png(spec: &Experiment, findings: &mut Findings<'_>) {
    let extension = spec.dataset().image_extension.as_str();
    let sixteen = spec.augmentation().output_depth == 16 && spec.augmentation().output_channel == 1;
    if sixteen && !matches!(extension, "png" | "PNG") {
        let finding = findings.error("dataset_config.image_extension", "16-bit images must be PNG");
        finding.help("write `image_extension: \"png\"`, or `output_depth: 8`");
    }
}

fn channels(augmentation: &AugmentationConfig) -> &'static [&'static str] {
    match augmentation.output_channel {
        1 => &["l"],
        3 => &["b", "g", "r"],
        _ => &[],
    }
}

fn mean_path(channel: &str) -> String {
    format!("augmentation_config.image_mean[{channel:?}]")
}

fn mean_is_complete(spec: &Experiment, findings: &mut Findings<'_>) {
    let augmentation = spec.augmentation();
    let mean = &augmentation.image_mean;
    let missing: Vec<_> = channels(augmentation).iter().filter(|&&c| !mean.contains_key(c)).collect();
    if let (Some(first), Some(any)) = (missing.first(), mean.keys().next()) {
        let message = format!("`image_mean` has no value for channel `{first}`");
        let finding = findings.name_error(&mean_path(any), message);
        let wanted = channels(augmentation).join("`, `");
        finding.help(format!("give `{wanted}`, or remove `image_mean` to use the built-in means"));
    }
}

fn mean_has_no_strangers(spec: &Experiment, findings: &mut Findings<'_>) {
    let augmentation = spec.augmentation();
    let known = channels(augmentation);
    for channel in
        augmentation.image_mean.keys().filter(|c| !known.is_empty() && !known.contains(&c.as_str()))
    {
        let message = format!("`image_mean` of channel `{channel}` is not used");
        let finding = findings.name_warning(&mean_path(channel), message);
        finding.reason(format!(
            "with `output_channel: {}` the channels are `{}`",
            augmentation.output_channel,
            known.join("`, `")
        ));
    }
}
