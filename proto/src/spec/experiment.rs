//! The experiment spec: one message with the sections of everything from training to export.

use std::sync::LazyLock;

use super::message::message;
use super::{
    AugmentationConfig, ClassWeightingConfig, DatasetConfig, EvalConfig, NmsConfig, TrainingConfig,
    Yolov4Config,
};

message! {
    /// The root of an experiment spec.
    ///
    /// A section that is not written reads as its defaults through the methods of the same name, as protobuf
    /// has it.
    Experiment as "Experiment" {
        /// Training and validation data, classes.
        dataset_config: Option<DatasetConfig> = 1,
        /// Input size and augmentation.
        augmentation_config: Option<AugmentationConfig> = 2,
        /// Epochs, optimiser, schedule.
        training_config: Option<TrainingConfig> = 3,
        /// Validation batch and average precision.
        eval_config: Option<EvalConfig> = 4,
        /// From raw boxes to detections.
        nms_config: Option<NmsConfig> = 5,
        /// The network and its loss.
        yolov4_config: Option<Yolov4Config> = 6,
        /// Seed of every random choice of a training run.
        random_seed: u32 = 7,
        /// Weights of the classes in the loss.
        class_weighting_config: Option<ClassWeightingConfig> = 8,
    }
}

macro_rules! sections {
    ($( $method:ident: $field:ident, $ty:ty; )*) => {
        impl Experiment {
            $(
                #[doc = concat!("`", stringify!($field), "`, or its defaults when it is not written.")]
                pub fn $method(&self) -> &$ty {
                    static UNWRITTEN: LazyLock<$ty> = LazyLock::new(<$ty>::default);
                    self.$field.as_ref().unwrap_or(&UNWRITTEN)
                }
            )*
        }
    };
}

sections! {
    dataset: dataset_config, DatasetConfig;
    augmentation: augmentation_config, AugmentationConfig;
    training: training_config, TrainingConfig;
    eval: eval_config, EvalConfig;
    nms: nms_config, NmsConfig;
    yolov4: yolov4_config, Yolov4Config;
    class_weighting: class_weighting_config, ClassWeightingConfig;
}
