//! `class_weighting_config`: classes that count more.

use std::collections::BTreeMap;

use super::message::message;

message! {
    /// Weights of the classes in the loss.
    ClassWeightingConfig as "ClassWeightingConfig" {
        /// Weight by lower-case target class; 1 where none is given.
        class_weighting: BTreeMap<String, f32> = 1,
        /// Adjusts the weights to the classes' losses.
        enable_auto: bool = 2,
    }
}
