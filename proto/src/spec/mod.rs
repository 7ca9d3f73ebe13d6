//! The specs as typed messages: [`Experiment`] for training and everything after it, [`DatasetExportConfig`]
//! for `dataset_convert`.
//!
//! A message is declared once, as the table of its fields (see `message.rs`); the struct, the reader, the
//! JSON writer and the field reference come from that. Semantics are those of proto3: an omitted number is 0,
//! an omitted string is empty, floats are `f32`. Text is merged the way the original does: a field given
//! twice keeps the last value (with a warning), messages merge, of a oneof the last member wins.

mod anchors;
pub mod arch;
mod augmentation;
mod bind;
mod class_weighting;
mod classes;
mod dataset;
mod dataset_convert;
mod difference;
mod eval;
mod experiment;
mod message;
mod nms;
mod parsed;
mod scalar;
mod spans;
mod stranger;
mod training;
mod yolov4;

pub use anchors::{AnchorError, Anchors, parse_anchors};
pub use augmentation::AugmentationConfig;
pub use class_weighting::ClassWeightingConfig;
pub use classes::ClassMap;
pub use dataset::{DataSource, DatasetConfig};
pub use dataset_convert::{CocoConfig, DatasetExportConfig, KittiConfig, SampleModifierConfig};
pub use difference::{Difference, differences};
pub use eval::{ApMode, EvalConfig};
pub use experiment::Experiment;
pub use message::{Descriptor, EnumDescriptor, FieldDescriptor, Kind, Message, to_json};
pub use nms::NmsConfig;
pub use parsed::{Parsed, Spec, SpecKind, parse, parse_dataset_export, parse_experiment};
pub use spans::{Place, Spans};
pub use training::{
    Adam, ClearMlConfig, CostScalingConfig, EarlyStopping, LearningRateConfig, OptimizerConfig,
    RegularizerConfig, RegularizerType, RmsProp, Sgd, SoftStartAnnealingSchedule,
    SoftStartCosineAnnealingSchedule, TrainingConfig, VisualizerConfig, WandbConfig, WandbMode,
};
pub use yolov4::Yolov4Config;

pub(crate) use parsed::parse_leniently;
