//! The backbones a spec can name, and what depends on the name.

use std::ops::RangeInclusive;

/// What a spec may say about one backbone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchInfo {
    /// Value of `arch`.
    pub name: &'static str,
    /// Values of `nlayers`; empty when it has no effect.
    pub nlayers: &'static [u32],
    /// Detection heads: 3 at strides 32, 16 and 8, or 2 without the last.
    pub heads: usize,
    /// Ids of `freeze_blocks` that have an effect.
    pub freeze_blocks: RangeInclusive<u32>,
    /// Whether `activation` has an effect.
    pub reads_activation: bool,
}

macro_rules! archs {
    ($( $name:literal $nlayers:tt heads $heads:literal freeze $freeze:expr, activation $activation:literal; )*) => {
        &[$( ArchInfo {
            name: $name, nlayers: &$nlayers, heads: $heads, freeze_blocks: $freeze, reads_activation: $activation,
        }, )*]
    };
}

/// Every backbone of the original.
pub const ARCHS: &[ArchInfo] = archs! {
    "resnet" [10, 18, 34, 50, 101] heads 3 freeze 0..=4, activation false;
    "vgg" [16, 19] heads 3 freeze 1..=5, activation false;
    "darknet" [19, 53] heads 3 freeze 0..=5, activation false;
    "cspdarknet" [19, 53] heads 3 freeze 0..=5, activation true;
    "cspdarknet_tiny" [] heads 2 freeze 0..=5, activation true;
    "cspdarknet_tiny_3l" [] heads 3 freeze 0..=5, activation true;
    "googlenet" [] heads 3 freeze 0..=9, activation false;
    "mobilenet_v1" [] heads 3 freeze 0..=11, activation false;
    "mobilenet_v2" [] heads 3 freeze 0..=13, activation false;
    "squeezenet" [] heads 3 freeze 0..=8, activation false;
    "efficientnet_b0" [] heads 3 freeze 0..=8, activation false;
};

/// The backbone of this name; names are case-sensitive, as in the original.
pub fn find(name: &str) -> Option<&'static ArchInfo> {
    ARCHS.iter().find(|arch| arch.name == name)
}
