//! The names of our convolutions, taken apart.

/// A convolution of `resnet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resnet {
    /// `conv1`
    Stem,
    /// `block_{stage}{a, b, …}_conv_{number}`
    Conv {
        /// From 1.
        stage: usize,
        /// From 0.
        unit: usize,
        /// From 1.
        number: usize,
    },
    /// `block_{stage}{a, b, …}_conv_shortcut`
    Shortcut {
        /// From 1.
        stage: usize,
        /// From 0.
        unit: usize,
    },
}

impl Resnet {
    pub(super) fn parse(conv: &str) -> Option<Self> {
        if conv == "conv1" {
            return Some(Self::Stem);
        }
        let (block, part) = conv.strip_prefix("block_")?.split_once("_conv_")?;
        let (stage, unit) = numbered_letter(block)?;
        Some(match part {
            "shortcut" => Self::Shortcut { stage, unit },
            number => Self::Conv { stage, unit, number: number.parse().ok()? },
        })
    }
}

/// A convolution of `vgg`, `block_{group}{a, b, …}_conv_1`: its group from 1 and its place in it from 0.
pub(super) fn vgg(conv: &str) -> Option<(usize, usize)> {
    numbered_letter(conv.strip_prefix("block_")?.strip_suffix("_conv_1")?)
}

/// A convolution of `mobilenet_v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MobilenetV2<'a> {
    /// `conv1`
    Stem,
    /// `block_{block}_{part}`; block 0 is called `expanded_conv_{part}`.
    Block {
        /// From 0.
        block: usize,
        /// `expand`, `depthwise`, `project` or `projected_inputs`.
        part: &'a str,
    },
}

impl<'a> MobilenetV2<'a> {
    pub(super) fn parse(conv: &'a str) -> Option<Self> {
        if conv == "conv1" {
            return Some(Self::Stem);
        }
        if let Some(part) = conv.strip_prefix("expanded_conv_") {
            return Some(Self::Block { block: 0, part });
        }
        let (block, part) = conv.strip_prefix("block_")?.split_once('_')?;
        Some(Self::Block { block: block.parse().ok()?, part })
    }
}

/// A convolution of `efficientnet_b0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Efficientnet<'a> {
    /// `stem_conv`
    Stem,
    /// `block{stage}{a, b, …}_{part}`
    Block {
        /// From 1.
        stage: usize,
        /// From 0.
        unit: usize,
        /// `expand_conv`, `dwconv`, `se_reduce`, `se_expand` or `project_conv`.
        part: &'a str,
    },
    /// `top_conv`
    Top,
}

impl<'a> Efficientnet<'a> {
    pub(super) fn parse(conv: &'a str) -> Option<Self> {
        match conv {
            "stem_conv" => Some(Self::Stem),
            "top_conv" => Some(Self::Top),
            _ => {
                let (block, part) = conv.strip_prefix("block")?.split_once('_')?;
                let (stage, unit) = numbered_letter(block)?;
                Some(Self::Block { stage, unit, part })
            }
        }
    }
}

/// A convolution of a fire module of `squeezenet`, `fire{number}_{part}`: number and part.
pub(super) fn fire(conv: &str) -> Option<(usize, &str)> {
    let (number, part) = conv.strip_prefix("fire")?.split_once('_')?;
    Some((number.parse().ok()?, part))
}

/// `3b` → (3, 1).
fn numbered_letter(text: &str) -> Option<(usize, usize)> {
    let letter = text.bytes().last().filter(u8::is_ascii_lowercase)?;
    Some((text[..text.len() - 1].parse().ok()?, usize::from(letter - b'a')))
}
