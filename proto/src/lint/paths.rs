//! The files and folders that a spec names, for whoever wants to see whether they exist (`oxidet lint
//! --paths`).

use crate::prototxt::{Diagnostic, Span};
use crate::spec::{DataSource, Experiment, Parsed};

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
        Diagnostic::error("S950", self.span, message).help("relative paths start from the working directory")
    }
}

/// Every path that the spec names, in the order of its messages. Empty ones are left out.
pub fn paths(spec: &Parsed<Experiment>) -> Vec<PathUse> {
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
        let found = paths(&parsed);
        let seen: Vec<_> = found.iter().map(|p| (p.path.as_str(), p.kind)).collect();
        let want =
            [("l", PathKind::Folder), ("i", PathKind::Folder), ("t*", PathKind::Glob), ("p", PathKind::File)];
        assert_eq!(seen, want);
        for path in &found {
            let span = path.missing().span.unwrap();
            assert_eq!(parsed.source.slice(span), format!("'{}'", path.path));
        }
    }
}
