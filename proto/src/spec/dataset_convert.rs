//! The `dataset_convert` spec: KITTI or COCO folders to TFRecord shards.

use std::collections::BTreeMap;

use super::message::message;

message! {
    /// The root of a `dataset_convert` spec.
    DatasetExportConfig as "DatasetExportConfig" {
        /// COCO data.
        coco_config: Option<CocoConfig> = 1 in dataset,
        /// KITTI data.
        kitti_config: Option<KittiConfig> = 2 in dataset,
        /// Filtering and duplication of images.
        sample_modifier_config: Option<SampleModifierConfig> = 5,
        /// Has no effect.
        image_directory_path: String = 6,
        /// Has no effect.
        target_class_mapping: BTreeMap<String, String> = 7,
    }
}

message! {
    /// Images with KITTI label files.
    KittiConfig as "KITTIConfig" {
        /// Folder that the other names start from.
        root_directory_path: String = 1,
        /// Folder of images.
        image_dir_name: String = 2,
        /// Folder of labels.
        label_dir_name: String = 3,
        /// Folder of point clouds; empty for none.
        point_clouds_dir: String = 4,
        /// Folder of calibrations; empty for none.
        calibrations_dir: String = 5,
        /// JSON file `{"sequence": ["frame id", …]}`; needed in sequence mode.
        kitti_sequence_to_frames_file: String = 6,
        /// With the dot; `.png` when omitted.
        image_extension: String = 7,
        /// Folds; exactly 2 in random mode.
        num_partitions: u32 = 8,
        /// Shards per fold; 0 writes one file without a shard suffix.
        num_shards: u32 = 9,
        /// `random` or `sequence`.
        partition_mode: String = 10,
        /// Percentage for validation in random mode, in [0, 100).
        val_split: f32 = 11,
    }
}

message! {
    /// Images with COCO annotations.
    CocoConfig as "COCOConfig" {
        /// Folder that the other names start from.
        root_directory_path: String = 1,
        /// Folder of images, one per partition.
        img_dir_names: Vec<String> = 2,
        /// Annotation file, one per partition.
        annotation_files: Vec<String> = 3,
        /// Length of both lists.
        num_partitions: u32 = 4,
        /// Shards: one number for all partitions, or one each.
        num_shards: Vec<u32> = 5,
    }
}

message! {
    /// Which images are dropped or duplicated.
    SampleModifierConfig as "SampleModifierConfig" {
        /// Drops images whose objects are all of one of these classes.
        filter_samples_containing_only: Vec<String> = 1,
        /// Classes that dominate.
        dominant_target_classes: Vec<String> = 2,
        /// Duplicates an image when a class outnumbers a dominant one by this factor; 1 when omitted.
        minimum_target_class_imbalance: BTreeMap<String, f32> = 3,
        /// Extra copies.
        num_duplicates: u32 = 4,
        /// Most images kept.
        max_training_samples: u32 = 5,
        /// Classes for these decisions only.
        source_to_target_class_mapping: BTreeMap<String, String> = 6,
    }
}
