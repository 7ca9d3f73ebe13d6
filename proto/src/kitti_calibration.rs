//! KITTI calibration files: named matrices, one text line each.
//!
//! Read by `dataset_convert` for records of images that were taken together with a lidar. Source: the development
//! kit of the KITTI object benchmark.

use crate::tfrecord::Calibration;

/// Why a file does not say where the lidar is.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}: {key} needs {want} finite numbers, the file has {found}; restore the calibration file")]
pub struct CalibrationError {
    /// Name of the file as given to [`parse`].
    pub name: String,
    /// Name of the matrix.
    pub key: &'static str,
    /// How many numbers it has.
    pub want: usize,
    /// How many finite numbers were found.
    pub found: usize,
}

/// Reads a calibration file. `name` is used in messages only; matrices not needed here are skipped.
///
/// The lidar in camera coordinates is `R0_rect · Tr_velo_to_cam` (4 × 4), in image coordinates that of the left
/// colour camera `P2` times it (3 × 4).
///
/// # Errors
/// [`CalibrationError`] names the matrix that is missing or incomplete.
pub fn parse(name: &str, text: &str) -> Result<Calibration, CalibrationError> {
    let p2: [f64; 12] = matrix(name, text, "P2")?;
    let r0: [f64; 9] = matrix(name, text, "R0_rect")?;
    let tr: [f64; 12] = matrix(name, text, "Tr_velo_to_cam")?;

    // Rotation and translation in the upper three rows, [0 0 0 1] below.
    let mut lidar_to_camera = [0.0; 16];
    lidar_to_camera[15] = 1.0;
    for row in 0..3 {
        for column in 0..4 {
            lidar_to_camera[4 * row + column] = (0..3).map(|k| r0[3 * row + k] * tr[4 * k + column]).sum();
        }
    }
    let mut lidar_to_image = [0.0; 12];
    for row in 0..3 {
        for column in 0..4 {
            lidar_to_image[4 * row + column] =
                (0..4).map(|k| p2[4 * row + k] * lidar_to_camera[4 * k + column]).sum();
        }
    }
    Ok(Calibration {
        lidar_to_camera: lidar_to_camera.map(|value| value as f32),
        lidar_to_image: lidar_to_image.map(|value| value as f32),
    })
}

fn matrix<const N: usize>(name: &str, text: &str, key: &'static str) -> Result<[f64; N], CalibrationError> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(':'));
    let number = |word: &str| word.parse().ok().filter(|value: &f64| value.is_finite());
    let numbers: Vec<f64> = line.unwrap_or_default().split_ascii_whitespace().map_while(number).collect();
    let found = numbers.len();
    numbers.try_into().map_err(|_| CalibrationError { name: name.to_owned(), key, want: N, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "P0: 1\nP2: 2 0 0 1 0 2 0 2 0 0 1 3\nR0_rect: 0 1 0 1 0 0 0 0 1\n\
        Tr_velo_to_cam: 1 2 3 4 5 6 7 8 9 10 11 12\n";

    /// R0 swaps the first two rows of Tr; P2 doubles two rows and adds its last column.
    #[test]
    fn matrices_are_multiplied() {
        let Calibration { lidar_to_camera, lidar_to_image } = parse("a.txt", TEXT).unwrap();
        assert_eq!(lidar_to_camera, [5., 6., 7., 8., 1., 2., 3., 4., 9., 10., 11., 12., 0., 0., 0., 1.]);
        assert_eq!(lidar_to_image, [10., 12., 14., 17., 2., 4., 6., 10., 9., 10., 11., 15.]);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, words) in [
            ("", "P2 needs 12"),
            (
                &TEXT.replace("R0_rect: 0 1 0 1", "R0_rect: 0 1 0 nan"),
                "R0_rect needs 9 finite numbers, the file has 3",
            ),
            (&TEXT.replace("Tr_velo", "Tr_imu"), "Tr_velo_to_cam needs 12"),
        ] {
            let message = parse("a.txt", text).unwrap_err().to_string();
            assert!(message.starts_with("a.txt: ") && message.contains(words), "{message}");
        }
    }
}
