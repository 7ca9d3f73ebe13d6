//! A data set that needs no files from outside: one to four squares an image, whose colour is their class.

use std::fs;
use std::path::Path;

use anyhow::Result;
use oxidet_vision::Image;
use oxidet_vision::image::encode_png;

/// Width and height of the images.
pub const SIDE: usize = 128;

const IMAGES: usize = 24;
const COLOURS: [(&str, [u8; 3]); 3] =
    [("red", [220, 60, 40]), ("green", [50, 200, 90]), ("blue", [60, 80, 230])];

/// Draws `images/` and `labels/` (KITTI) in `folder`.
///
/// # Errors
/// When a file cannot be written.
pub fn draw(folder: &Path) -> Result<()> {
    for name in ["images", "labels"] {
        fs::create_dir_all(folder.join(name))?;
    }
    for i in 0..IMAGES {
        let mut image = Image::filled(SIDE, SIDE, &[30, 40, (i * 5) as u8]);
        let mut labels = String::new();
        for j in 0..=i % 4 {
            let (class, colour) = COLOURS[(i + 2 * j) % 3];
            let side = 14 + (i * 7 + j * 19) % 44;
            let (x, y) = ((i * 31 + j * 53) % (SIDE - side), (i * 17 + j * 67) % (SIDE - side));
            image.paste(&Image::filled(side, side, &colour), x as isize, y as isize);
            let (right, bottom) = (x + side, y + side);
            labels += &format!("{class} 0 0 0 {x} {y} {right} {bottom} 0 0 0 0 0 0 0\n");
        }
        fs::write(folder.join(format!("images/{i:02}.png")), encode_png(&image)?)?;
        fs::write(folder.join(format!("labels/{i:02}.txt")), labels)?;
    }
    Ok(())
}
