//! Reading image files.

use std::fs;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use oxidet_vision::Picture;
use oxidet_vision::image::{Header, header};

use super::DataError;

/// Extensions of images, in any case.
pub(crate) const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// The images directly in `folder`, sorted by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn list_images(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        if extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What the head of an image file tells. It is near the start of the file, but metadata before it can be long.
///
/// # Errors
/// When the file cannot be read or is no image.
pub fn read_header(path: &Path) -> Result<Header, DataError> {
    const HEAD: u64 = 1 << 16;
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let mut head = Vec::new();
    let mut file = BufReader::new(oxidet_files::open(path).map_err(failed)?);
    file.by_ref().take(HEAD).read_to_end(&mut head).map_err(failed)?;
    if let Ok(header) = header(&head) {
        return Ok(header);
    }
    file.read_to_end(&mut head).map_err(failed)?;
    header(&head).map_err(|source| DataError::Image { path: path.to_owned(), source })
}

/// The picture in a file of `depth` bits per channel.
///
/// # Errors
/// When the file cannot be read or decoded, or has another depth.
pub fn read_picture(path: &Path, depth: u8) -> Result<Picture, DataError> {
    let bytes = oxidet_files::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    Picture::decode(&bytes, depth).map_err(|source| DataError::Image { path: path.to_owned(), source })
}
