//! Images with COCO annotations, as a spec's `coco_config` describes them: one fold per annotation file.

use std::path::{Path, PathBuf};

use oxidet_proto::coco::{self, Image};
use oxidet_proto::spec::CocoConfig;

use super::fold::{Fold, role};
use super::item::{Item, Labels};
use super::modifier::Modifier;
use super::{ConvertError, Listed};
use crate::data::{DataError, from_base_path};

/// `one_extension` asks for it, since records hold none.
pub(super) fn list(
    config: &CocoConfig,
    validation_fold: Option<u32>,
    one_extension: bool,
) -> Result<Listed, ConvertError> {
    let root = from_base_path(&config.root_directory_path);
    let mut first: Option<PathBuf> = None;
    let mut folds = Vec::new();
    for (number, (folder, annotations)) in
        config.img_dir_names.iter().zip(&config.annotation_files).enumerate()
    {
        let path = root.join(annotations);
        let bytes =
            oxidet_files::read(&path).map_err(|source| DataError::Io { path: path.clone(), source })?;
        let images = coco::parse(&path.to_string_lossy(), &bytes)?.images;
        drop(bytes);
        for image in &images {
            let file = Path::new(folder).join(&image.file_name);
            match &first {
                Some(first) if one_extension && first.extension() != file.extension() => {
                    return Err(ConvertError::MixedExtensions { first: first.clone(), second: file });
                }
                Some(_) => {}
                None => first = Some(file),
            }
        }
        let index = number as u32;
        folds.push(Fold {
            index,
            of: config.num_partitions,
            role: role(index, validation_fold),
            shards: config.num_shards.get(number).or(config.num_shards.first()).copied().unwrap_or(0),
            items: images.into_iter().map(|image| item(&root, folder, image)).collect(),
            folder: folder.clone(),
        });
    }
    let extension =
        first.as_deref().and_then(Path::extension).unwrap_or_default().to_string_lossy().into_owned();
    Ok(Listed {
        folds,
        modifier: Modifier::default(),
        image_root: root,
        extension,
        unlabelled: 0,
        unnamed: 0,
    })
}

fn item(root: &Path, folder: &str, image: Image) -> Item {
    let Image { file_name, width, height, annotations, .. } = image;
    let file = Path::new(folder).join(file_name);
    let id = file.with_extension("").to_string_lossy().into_owned();
    Item::new(id, Labels::Coco { image: root.join(file), width, height, annotations })
}
