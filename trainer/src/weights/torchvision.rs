//! The networks of torchvision. Those of timm that have its names (resnet, vgg) are read as well.

use super::input::TORCH;
use super::our_names::{Efficientnet, MobilenetV2, Resnet, fire, vgg};
use super::scheme::{Counterpart, Scheme};

/// The schemes for an architecture.
pub(super) fn schemes(arch: &str) -> Vec<Scheme> {
    let scheme = |name, counterpart, notes| Scheme { name, counterpart, input: TORCH, epsilon: 1e-5, notes };
    match arch {
        "resnet18" | "resnet34" => vec![scheme("torchvision", resnet, &RESNET_NOTES[..1])],
        "resnet50" | "resnet101" => vec![scheme("torchvision", resnet, &RESNET_NOTES)],
        "vgg16" | "vgg19" => vec![
            scheme("torchvision's vgg_bn", vgg_bn, &VGG_NOTES),
            scheme("torchvision's vgg", vgg_plain, &VGG_NOTES),
        ],
        "mobilenet_v2" => vec![scheme("torchvision", mobilenet_v2, &MOBILENET_NOTES)],
        "efficientnet_b0" => vec![scheme("torchvision", efficientnet_b0, &EFFICIENTNET_NOTES)],
        "squeezenet" => vec![
            scheme("torchvision's squeezenet1_0", squeezenet1_0, &[]),
            scheme("torchvision's squeezenet1_1", squeezenet1_1, &[]),
        ],
        _ => Vec::new(),
    }
}

pub(super) const RESNET_NOTES: [&str; 2] = [
    "this ResNet strides in stage 1 where others pool behind the stem, and not in stage 4: the layers are the same, the maps \
     they see are not quite",
    "its bottlenecks stride in the first 1x1 convolution, torchvision's in the 3x3",
];
pub(super) const VGG_NOTES: [&str; 1] =
    ["this VGG strides in the first convolution of groups 2 to 5 where others pool before it"];
pub(super) const MOBILENET_NOTES: [&str; 1] = ["its activation is ReLU where others have ReLU6"];
pub(super) const EFFICIENTNET_NOTES: [&str; 1] = [
    "its convolutions with stride 2 pad as TensorFlow does, torch's by a pixel more on the left and the top",
];

fn resnet(arch: &str, conv: &str) -> Option<Counterpart> {
    let is_bottleneck = matches!(arch, "resnet50" | "resnet101");
    Some(match Resnet::parse(conv)? {
        Resnet::Stem => Counterpart::with_batch_norm("conv1", "bn1"),
        Resnet::Conv { stage, unit, number } => Counterpart::with_batch_norm(
            format!("layer{stage}.{unit}.conv{number}"),
            format!("layer{stage}.{unit}.bn{number}"),
        ),
        Resnet::Shortcut { stage, unit: 0 } if is_bottleneck || stage > 1 => Counterpart::with_batch_norm(
            format!("layer{stage}.0.downsample.0"),
            format!("layer{stage}.0.downsample.1"),
        ),
        Resnet::Shortcut { .. } => Counterpart::Identity,
    })
}

/// Position in `features` of a convolution, which takes up `step` places with what belongs to it; a pool ends each group.
fn vgg_position(arch: &str, conv: &str, step: usize) -> Option<usize> {
    let (group, unit) = vgg(conv)?;
    let repeats: &[usize] = if arch == "vgg16" { &[2, 2, 3, 3, 3] } else { &[2, 2, 4, 4, 4] };
    let before = repeats.get(..group.checked_sub(1)?)?;
    Some(before.iter().map(|repeats| repeats * step + 1).sum::<usize>() + unit * step)
}

fn vgg_bn(arch: &str, conv: &str) -> Option<Counterpart> {
    let at = vgg_position(arch, conv, 3)?;
    Some(Counterpart::with_batch_norm(format!("features.{at}"), format!("features.{}", at + 1)))
}

fn vgg_plain(arch: &str, conv: &str) -> Option<Counterpart> {
    Some(Counterpart::plain(format!("features.{}", vgg_position(arch, conv, 2)?)))
}

fn mobilenet_v2(_: &str, conv: &str) -> Option<Counterpart> {
    let MobilenetV2::Block { block, part } = MobilenetV2::parse(conv)? else {
        return Some(Counterpart::with_batch_norm("features.0.0", "features.0.1"));
    };
    let (conv, norm) = match (block, part) {
        (_, "projected_inputs") => return Some(Counterpart::Identity),
        (0, "depthwise") => ("0.0", "0.1"),
        (0, "project") => ("1", "2"),
        (_, "expand") => ("0.0", "0.1"),
        (_, "depthwise") => ("1.0", "1.1"),
        (_, "project") => ("2", "3"),
        _ => return None,
    };
    let features = format!("features.{}.conv", block + 1);
    Some(Counterpart::with_batch_norm(format!("{features}.{conv}"), format!("{features}.{norm}")))
}

fn efficientnet_b0(_: &str, conv: &str) -> Option<Counterpart> {
    let (stage, unit, part) = match Efficientnet::parse(conv)? {
        Efficientnet::Stem => return Some(Counterpart::with_batch_norm("features.0.0", "features.0.1")),
        Efficientnet::Top => return Some(Counterpart::with_batch_norm("features.8.0", "features.8.1")),
        Efficientnet::Block { stage, unit, part } => (stage, unit, part),
    };
    // Stage 1 does not expand, so everything comes one place earlier.
    let earlier = usize::from(stage == 1);
    let block = |place: usize| format!("features.{stage}.{unit}.block.{}", place - earlier);
    let unit =
        |place| Counterpart::with_batch_norm(format!("{}.0", block(place)), format!("{}.1", block(place)));
    Some(match part {
        "expand_conv" if stage > 1 => unit(0),
        "dwconv" => unit(1),
        "se_reduce" => Counterpart::plain(format!("{}.fc1", block(2))),
        "se_expand" => Counterpart::plain(format!("{}.fc2", block(2))),
        "project_conv" => unit(3),
        _ => return None,
    })
}

fn squeezenet(conv: &str, fires: [usize; 8]) -> Option<Counterpart> {
    if conv == "conv1" {
        return Some(Counterpart::plain("features.0"));
    }
    let (number, part) = fire(conv)?;
    let at = fires.get(number.checked_sub(2)?)?;
    let part = match part {
        "squeeze_conv" => "squeeze",
        "expand_conv1x1" => "expand1x1",
        "expand_conv3x3" => "expand3x3",
        _ => return None,
    };
    Some(Counterpart::plain(format!("features.{at}.{part}")))
}

fn squeezenet1_0(_: &str, conv: &str) -> Option<Counterpart> {
    squeezenet(conv, [3, 4, 5, 7, 8, 9, 10, 12])
}

fn squeezenet1_1(_: &str, conv: &str) -> Option<Counterpart> {
    squeezenet(conv, [3, 4, 6, 7, 9, 10, 11, 12])
}
