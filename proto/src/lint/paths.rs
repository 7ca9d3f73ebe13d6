//! The files and folders that a spec names, for whoever wants to see whether they exist (`oxidet lint
//! --paths`).

use crate::prototxt::{Diagnostic, Span};
use crate::spec::{DataSource, DatasetExportConfig, Experiment, Parsed, Spec};

/// What a path of a spec should lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// At least one file that matches a glob pattern.
    Glob,
}

impl PathKind {
    /// `file`, `folder` or `file that matches`.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Glob => "file that matches",
        }
    }
}

/// A path that a spec names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathUse {
    /// The field, such as `training_config.pretrain_model_path`.
    pub field: String,
    /// The path as it is written.
    pub path: String,
    /// What it should lead to.
    pub kind: PathKind,
    span: Option<Span>,
}

impl PathUse {
    /// The error to report when there is nothing at the path.
    pub fn missing(&self) -> Diagnostic {
        let message = format!("there is no {} `{}`", self.kind.name(), self.path);
        let finding = Diagnostic::error("S950", self.span, message);
        match self.kind {
            _ if self.path.starts_with('/') => finding,
            PathKind::Glob => {
                finding.help("relative paths of records start from DATA_BASE_PATH, or the working directory")
            }
            _ => finding.help("relative paths start from the working directory"),
        }
    }
}

/// Every path that the spec names, in the order of its messages. Empty ones are left out.
pub fn paths(spec: &Spec) -> Vec<PathUse> {
    match spec {
        Spec::Experiment(spec) => of_experiment(spec),
        Spec::DatasetConvert(spec) => of_convert(spec),
    }
}

fn of_convert(spec: &Parsed<DatasetExportConfig>) -> Vec<PathUse> {
    let mut named: Vec<(String, String, PathKind)> = Vec::new();
    let below = |root: &str, path: &str| format!("{}/{path}", root.trim_end_matches('/'));
    if let Some(kitti) = &spec.message.kitti_config {
        let root = &kitti.root_directory_path;
        let field = |name: &str| format!("kitti_config.{name}");
        named.push((field("root_directory_path"), root.clone(), PathKind::Folder));
        for (name, path, kind) in [
            ("image_dir_name", &kitti.image_dir_name, PathKind::Folder),
            ("label_dir_name", &kitti.label_dir_name, PathKind::Folder),
            ("kitti_sequence_to_frames_file", &kitti.kitti_sequence_to_frames_file, PathKind::File),
        ] {
            if !path.is_empty() {
                named.push((field(name), below(root, path), kind));
            }
        }
    }
    if let Some(coco) = &spec.message.coco_config {
        let root = &coco.root_directory_path;
        named.push(("coco_config.root_directory_path".into(), root.clone(), PathKind::Folder));
        for (name, paths, kind) in [
            ("img_dir_names", &coco.img_dir_names, PathKind::Folder),
            ("annotation_files", &coco.annotation_files, PathKind::File),
        ] {
            let paths = paths.iter().enumerate();
            named
                .extend(paths.map(|(i, path)| (format!("coco_config.{name}[{i}]"), below(root, path), kind)));
        }
    }
    let written = named.into_iter().filter(|(_, path, _)| !path.is_empty());
    written
        .map(|(field, path, kind)| PathUse { span: spec.spans.nearest(&field), path, field, kind })
        .collect()
}

fn of_experiment(spec: &Parsed<Experiment>) -> Vec<PathUse> {
    let dataset = spec.message.dataset();
    let training = spec.message.training();
    let mut named = Vec::new();
    for (field, sources) in [
        ("data_sources", &dataset.data_sources),
        ("validation_data_sources", &dataset.validation_data_sources),
    ] {
        for (i, source) in sources.iter().enumerate() {
            named.extend(
                of_source(source).map(|(member, path, kind)| {
                    (format!("dataset_config.{field}[{i}].{member}"), path, kind)
                }),
            );
        }
    }
    for (member, path) in [
        ("resume_model_path", &training.resume_model_path),
        ("pretrain_model_path", &training.pretrain_model_path),
        ("pruned_model_path", &training.pruned_model_path),
    ] {
        named.extend(path.as_deref().map(|path| (format!("training_config.{member}"), path, PathKind::File)));
    }
    let written = named.into_iter().filter(|(_, path, _)| !path.is_empty());
    written
        .map(|(field, path, kind)| PathUse {
            span: spec.spans.nearest(&field),
            path: path.to_owned(),
            field,
            kind,
        })
        .collect()
}

fn of_source(source: &DataSource) -> impl Iterator<Item = (&'static str, &str, PathKind)> {
    let labels = source.label_directory_path.as_deref();
    let records = source.tfrecords_path.as_deref();
    [
        labels.map(|path| ("label_directory_path", path, PathKind::Folder)),
        records.map(|path| ("tfrecords_path", path, PathKind::Glob)),
        Some(("image_directory_path", source.image_directory_path.as_str(), PathKind::Folder)),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::parse_experiment;

    #[test]
    fn lists_paths_with_their_places() {
        let text = "dataset_config {
            data_sources { label_directory_path: 'l' image_directory_path: 'i' }
            validation_data_sources { tfrecords_path: 't*' }
        }
        training_config { pretrain_model_path: 'p' }";
        let parsed = parse_experiment("spec", text).unwrap();
        let found = of_experiment(&parsed);
        let seen: Vec<_> = found.iter().map(|p| (p.path.as_str(), p.kind)).collect();
        let want =
            [("l", PathKind::Folder), ("i", PathKind::Folder), ("t*", PathKind::Glob), ("p", PathKind::File)];
        assert_eq!(seen, want);
        for path in &found {
            let span = path.missing().span.unwrap();
            assert_eq!(parsed.source.slice(span), format!("'{}'", path.path));
        }
    }

    #[test]
    fn conversion_specs_name_folders_below_their_root() {
        let text = "kitti_config { root_directory_path: '/data/' image_dir_name: 'i' label_dir_name: 'l' }";
        let found = of_convert(&crate::spec::parse_dataset_export("spec", text).unwrap());
        let paths: Vec<_> = found.iter().map(|used| &used.path[..]).collect();
        assert_eq!(paths, ["/data/", "/data/i", "/data/l"]);
        let text =
            "coco_config { root_directory_path: 'd' img_dir_names: ['a', 'b'] annotation_files: 'a.json' }";
        let found = of_convert(&crate::spec::parse_dataset_export("spec", text).unwrap());
        let last = found.last().unwrap();
        assert_eq!(
            (last.path.as_str(), last.field.as_str()),
            ("d/a.json", "coco_config.annotation_files[0]")
        );
        assert!(last.missing().span.is_some());
    }
}
