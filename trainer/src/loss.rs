//! The YOLOv4 loss: which predictions answer for which objects, and what they cost.

mod assign;
mod ciou;
mod row;
mod yolo;

pub use assign::{Assignment, assign};
pub use yolo::{ClassLoss, Loss, LossConfig, LossTerms, YoloLoss};
