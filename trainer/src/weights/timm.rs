//! The networks of timm that have names of their own.

use super::input::TORCH;
use super::our_names::{Efficientnet, MobilenetV2};
use super::scheme::{Counterpart, Scheme};
use super::torchvision::{EFFICIENTNET_NOTES, MOBILENET_NOTES};

/// The schemes for an architecture.
pub(super) fn schemes(arch: &str) -> Vec<Scheme> {
    let scheme =
        |counterpart, notes| Scheme { name: "timm", counterpart, input: TORCH, epsilon: 1e-5, notes };
    match arch {
        "mobilenet_v2" => vec![scheme(mobilenet_v2, &MOBILENET_NOTES)],
        "efficientnet_b0" => vec![scheme(efficientnet_b0, &EFFICIENTNET_NOTES)],
        _ => Vec::new(),
    }
}

fn unit(block: &str, conv: &str, norm: &str) -> Counterpart {
    Counterpart::with_batch_norm(format!("{block}.{conv}"), format!("{block}.{norm}"))
}

fn mobilenet_v2(_: &str, conv: &str) -> Option<Counterpart> {
    let MobilenetV2::Block { block, part } = MobilenetV2::parse(conv)? else {
        return Some(Counterpart::with_batch_norm("conv_stem", "bn1"));
    };
    // First block of each stage.
    const STAGES: [usize; 7] = [0, 1, 3, 6, 10, 13, 16];
    let stage = STAGES.iter().rposition(|first| *first <= block)?;
    let at = format!("blocks.{stage}.{}", block - STAGES[stage]);
    Some(match (block, part) {
        (_, "projected_inputs") => Counterpart::Identity,
        (0, "depthwise") => unit(&at, "conv_dw", "bn1"),
        (0, "project") => unit(&at, "conv_pw", "bn2"),
        (_, "expand") => unit(&at, "conv_pw", "bn1"),
        (_, "depthwise") => unit(&at, "conv_dw", "bn2"),
        (_, "project") => unit(&at, "conv_pwl", "bn3"),
        _ => return None,
    })
}

fn efficientnet_b0(_: &str, conv: &str) -> Option<Counterpart> {
    let (stage, unit_number, part) = match Efficientnet::parse(conv)? {
        Efficientnet::Stem => return Some(Counterpart::with_batch_norm("conv_stem", "bn1")),
        Efficientnet::Top => return Some(Counterpart::with_batch_norm("conv_head", "bn2")),
        Efficientnet::Block { stage, unit, part } => (stage, unit, part),
    };
    let at = format!("blocks.{}.{unit_number}", stage.checked_sub(1)?);
    Some(match (stage, part) {
        (1, "dwconv") => unit(&at, "conv_dw", "bn1"),
        (1, "project_conv") => unit(&at, "conv_pw", "bn2"),
        (_, "expand_conv") => unit(&at, "conv_pw", "bn1"),
        (_, "dwconv") => unit(&at, "conv_dw", "bn2"),
        (_, "project_conv") => unit(&at, "conv_pwl", "bn3"),
        (_, "se_reduce") => Counterpart::plain(format!("{at}.se.conv_reduce")),
        (_, "se_expand") => Counterpart::plain(format!("{at}.se.conv_expand")),
        _ => return None,
    })
}
