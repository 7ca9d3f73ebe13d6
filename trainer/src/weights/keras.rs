//! The networks of Keras applications, and SqueezeNet as the package `keras-squeezenet` has it.

use super::input::{CAFFE, TENSORFLOW, TORCH};
use super::our_names::{MobilenetV2, Resnet, fire, vgg};
use super::scheme::{Counterpart, Scheme};
use super::torchvision::{MOBILENET_NOTES, RESNET_NOTES, VGG_NOTES};

/// ε of Keras' batch norms where the network does not say.
const EPSILON: f32 = 1e-3;

const MOBILENET_V1_NOTES: [&str; 2] = [MOBILENET_NOTES[0], PADDING];
const PADDING: &str = "its convolutions with stride 2 pad all sides, Keras' only the right and the bottom";

/// The schemes for an architecture.
pub(super) fn schemes(arch: &str) -> Vec<Scheme> {
    match arch {
        "resnet50" | "resnet101" => vec![
            Scheme {
                name: "Keras' ResNet",
                counterpart: resnet,
                input: CAFFE,
                epsilon: 1.001e-5,
                notes: &RESNET_NOTES[..1],
            },
            Scheme {
                name: "Keras' ResNet50 of before 2019",
                counterpart: resnet_2015,
                input: CAFFE,
                epsilon: EPSILON,
                notes: &RESNET_NOTES[..1],
            },
        ],
        "vgg16" | "vgg19" => vec![Scheme {
            name: "Keras' VGG",
            counterpart: keras_vgg,
            input: CAFFE,
            epsilon: EPSILON,
            notes: &VGG_NOTES,
        }],
        "mobilenet_v1" => vec![Scheme {
            name: "Keras' MobileNet",
            counterpart: mobilenet_v1,
            input: TENSORFLOW,
            epsilon: EPSILON,
            notes: &MOBILENET_V1_NOTES,
        }],
        "mobilenet_v2" => vec![Scheme {
            name: "Keras' MobileNetV2",
            counterpart: mobilenet_v2,
            input: TENSORFLOW,
            epsilon: EPSILON,
            notes: &MOBILENET_V1_NOTES,
        }],
        "efficientnet_b0" => vec![Scheme {
            name: "Keras' EfficientNetB0",
            counterpart: efficientnet_b0,
            input: TORCH,
            epsilon: EPSILON,
            notes: &[],
        }],
        "squeezenet" => vec![Scheme {
            name: "keras-squeezenet",
            counterpart: squeezenet,
            input: CAFFE,
            epsilon: EPSILON,
            notes: &[],
        }],
        _ => Vec::new(),
    }
}

fn resnet(_: &str, conv: &str) -> Option<Counterpart> {
    let layer = |stage: usize, unit: usize, number: usize| {
        let name = format!("conv{}_block{}_{number}", stage + 1, unit + 1);
        Counterpart::with_batch_norm(format!("{name}_conv"), format!("{name}_bn"))
    };
    Some(match Resnet::parse(conv)? {
        Resnet::Stem => Counterpart::with_batch_norm("conv1_conv", "conv1_bn"),
        Resnet::Conv { stage, unit, number } => layer(stage, unit, number),
        Resnet::Shortcut { stage, unit: 0 } => layer(stage, 0, 0),
        Resnet::Shortcut { .. } => Counterpart::Identity,
    })
}

fn resnet_2015(_: &str, conv: &str) -> Option<Counterpart> {
    let layer = |stage: usize, unit: usize, branch: &str| {
        let letter = char::from(b'a' + unit as u8);
        let name = format!("{}{letter}_branch{branch}", stage + 1);
        Counterpart::with_batch_norm(format!("res{name}"), format!("bn{name}"))
    };
    Some(match Resnet::parse(conv)? {
        Resnet::Stem => Counterpart::with_batch_norm("conv1", "bn_conv1"),
        Resnet::Conv { stage, unit, number } => {
            layer(stage, unit, ["2a", "2b", "2c"].get(number.checked_sub(1)?)?)
        }
        Resnet::Shortcut { stage, unit: 0 } => layer(stage, 0, "1"),
        Resnet::Shortcut { .. } => Counterpart::Identity,
    })
}

fn keras_vgg(_: &str, conv: &str) -> Option<Counterpart> {
    let (group, unit) = vgg(conv)?;
    Some(Counterpart::plain(format!("block{group}_conv{}", unit + 1)))
}

fn mobilenet_v1(_: &str, conv: &str) -> Option<Counterpart> {
    (conv == "conv1" || conv.starts_with("conv_dw_") || conv.starts_with("conv_pw_"))
        .then(|| Counterpart::with_batch_norm(conv, format!("{conv}_bn")))
}

fn mobilenet_v2(_: &str, conv: &str) -> Option<Counterpart> {
    Some(match MobilenetV2::parse(conv)? {
        MobilenetV2::Stem => Counterpart::with_batch_norm("Conv1", "bn_Conv1"),
        MobilenetV2::Block { part: "projected_inputs", .. } => Counterpart::Identity,
        MobilenetV2::Block { .. } => Counterpart::with_batch_norm(conv, format!("{conv}_BN")),
    })
}

fn efficientnet_b0(_: &str, conv: &str) -> Option<Counterpart> {
    if conv.ends_with("_se_reduce") || conv.ends_with("_se_expand") {
        return Some(Counterpart::plain(conv));
    }
    // `block1a_dwconv` has `block1a_bn`, all others `…_conv` have `…_bn`.
    let stem = conv.strip_suffix("_dwconv").or_else(|| conv.strip_suffix("_conv"))?;
    (stem == "stem" || stem == "top" || stem.starts_with("block"))
        .then(|| Counterpart::with_batch_norm(conv, format!("{stem}_bn")))
}

fn squeezenet(_: &str, conv: &str) -> Option<Counterpart> {
    if conv == "conv1" {
        return Some(Counterpart::plain("conv1"));
    }
    let (number, part) = fire(conv)?;
    let part = match part {
        "squeeze_conv" => "squeeze1x1",
        "expand_conv1x1" => "expand1x1",
        "expand_conv3x3" => "expand3x3",
        _ => return None,
    };
    Some(Counterpart::plain(format!("fire{number}/{part}")))
}
