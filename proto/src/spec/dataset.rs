//! `dataset_config`: which images and labels, which classes.

use std::collections::BTreeMap;

use super::message::message;

message! {
    /// Training data, validation data and classes.
    DatasetConfig as "YOLOv3DatasetConfig" {
        /// Training data; at least one, all of the same label format.
        data_sources: Vec<DataSource> = 1,
        /// Class in the labels → class that is trained. Labels of other classes are background.
        target_class_mapping: BTreeMap<String, String> = 2,
        /// Validation data. Without it, `validation_fold` of the training TFRecords is held out.
        validation_data_sources: Vec<DataSource> = 3,
        /// Fold of the training TFRecords that is held out, counted from 0.
        validation_fold: u32 = 4,
        /// Has no effect.
        r#type: String = 5,
        /// Extension of the images without dot; needed for TFRecords and for 16-bit images.
        image_extension: String = 6,
        /// Whether boxes with occlusion ≠ 0 are trained on. `false` (also when omitted) removes them.
        include_difficult_in_training: bool = 7,
        /// Has no effect.
        is_monochrome: bool = 8,
    }
}

message! {
    /// One place with images and labels.
    DataSource as "YOLOv3DataSource" {
        /// Folder of KITTI label files.
        label_directory_path: Option<String> = 1 in labels_format,
        /// Glob pattern of TFRecord shards.
        tfrecords_path: Option<String> = 2 in labels_format,
        /// Folder of the images; with TFRecords, the folder their frame ids start from.
        image_directory_path: String = 3,
        /// Has no effect.
        root_path: String = 4,
        /// At least 0; has no effect.
        source_weight: f32 = 5,
    }
}
