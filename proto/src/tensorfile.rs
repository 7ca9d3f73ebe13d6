//! TAO's tensorfiles: calibration images in HDF5, preprocessed and in batches. Format page: `docs/formats/tensorfile.md`.
//!
//! These files are large, so a [`Tensorfile`] is read from where it lies, an image at a time.

use std::io::{Read, Seek, Write};

use hdf5_pure::{AttrValue, DType, Dataset, File, FileBuilder, ReadSeekSource};

/// The root's attribute that says how many batches there are.
const COUNT: &str = "count";

/// The dataset in the group of a batch.
const ARRAY: &str = "_tensorfile_array_key_";

/// Most values of a batch: 2 GiB in the file. A batch of 128 images of 832 × 832 pixels fits.
const MAX_VALUES: u64 = 1 << 28;

/// Bytes that one byte of Deflate can become at most.
const MAX_INFLATION: u64 = 1032;

/// Values of a chunk that may be larger than its dataset: writers choose some round size for small ones.
const MAX_CHUNK: u64 = 1 << 20;

/// Bytes that a batch takes up at least.
const LEAST_BATCH: u64 = 64;

/// The level that h5py, and so TAO, compresses with.
const DEFLATE_LEVEL: u32 = 4;

/// The group of a batch, counted from 0.
fn group(batch: usize) -> String {
    format!("{ARRAY}_{batch}")
}

/// A tensorfile, opened.
pub struct Tensorfile {
    name: String,
    file: File,
    count: usize,
    shape: [usize; 4],
}

/// A tensorfile that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct TensorfileError {
    /// Name of the file.
    pub name: String,
    /// What is wrong.
    pub problem: TensorfileProblem,
}

/// What can be wrong with a tensorfile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorfileProblem {
    /// Not HDF5, or damaged.
    #[error("not a readable HDF5 file: {0}")]
    Hdf5(#[from] hdf5_pure::Error),
    /// The file is not written.
    #[error("cannot be written: {0}")]
    Unwritten(hdf5_pure::Error),
    /// HDF5 of something else.
    #[error("no tensorfile of TAO: the attribute `count` of the root, the number of batches, is missing")]
    NoCount,
    /// A number of batches that cannot be.
    #[error(
        "its attribute `count` says {0} batches, which is nothing to calibrate with or more than the file can hold"
    )]
    Count(String),
    /// Something is wrong with a batch.
    #[error("batch {batch} (group `{group}`): {what}", group = group(*batch))]
    Batch {
        /// Counted from 0.
        batch: usize,
        /// What is wrong.
        what: String,
    },
}

impl Tensorfile {
    /// Opens a tensorfile, and looks at its first batch; `name` is for messages.
    ///
    /// # Errors
    /// [`TensorfileError`]: not HDF5, not of this form, or larger than the file allows.
    pub fn open(name: &str, file: impl Read + Seek + Send + 'static) -> Result<Self, TensorfileError> {
        let failed = |problem| TensorfileError { name: name.to_owned(), problem };
        let opened = ReadSeekSource::new(file).map_err(hdf5_pure::Error::from).and_then(File::from_source);
        let file = opened.map_err(|error| failed(error.into()))?;
        let attributes = file.root().attrs().map_err(|error| failed(error.into()))?;
        let count = match attributes.get(COUNT) {
            Some(value) => value.as_i64().ok_or_else(|| failed(TensorfileProblem::NoCount))?,
            None => return Err(failed(TensorfileProblem::NoCount)),
        };
        let most = file.file_size() / LEAST_BATCH;
        let count = usize::try_from(count)
            .ok()
            .filter(|count| (1..=most).contains(&(*count as u64)))
            .ok_or_else(|| failed(TensorfileProblem::Count(count.to_string())))?;
        let mut tensorfile = Self { name: name.to_owned(), file, count, shape: [0; 4] };
        tensorfile.shape = tensorfile.dataset(0)?.1;
        Ok(tensorfile)
    }

    /// Number of batches, at least 1.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Shape of every batch, `[N, C, H, W]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Number of images in all batches.
    pub fn images(&self) -> usize {
        self.count.saturating_mul(self.shape[0])
    }

    /// Reads an image, counted from 0 over all batches: `[C, H, W]` as the network takes it, the mean subtracted. TAO stores 64-bit
    /// numbers that were 32-bit ones before; they are that again here. Threads can read at the same time. Only the chunks that hold
    /// the image are unpacked.
    ///
    /// # Errors
    /// [`TensorfileError`]: its batch is missing, damaged, of another shape, or has values that are not finite.
    pub fn image(&self, number: usize) -> Result<Vec<f32>, TensorfileError> {
        let [images, channels, height, width] = self.shape;
        let (batch, image) = (number / images, number % images);
        let (dataset, shape) = self.dataset(batch)?;
        if shape != self.shape {
            let what = format!(
                "its shape is {shape:?}, that of the first batch is {:?}; they must be the same",
                self.shape
            );
            return Err(self.failed(batch, what));
        }
        let values = dataset.read_f32_rows(image as u64, 1).map_err(|error| self.failed(batch, error))?;
        let len = channels * height * width;
        if values.len() != len {
            return Err(self.failed(batch, "it has not as many values as its shape says"));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (place, value) = (image * len + at, values[at]);
            return Err(self.failed(batch, format!("value {place} is {value}; pixels are finite numbers")));
        }
        Ok(values)
    }

    /// The array of a batch and its shape, after all checks that need no values.
    fn dataset(&self, batch: usize) -> Result<(Dataset, [usize; 4]), TensorfileError> {
        let dataset = self
            .file
            .dataset(&format!("{}/{ARRAY}", group(batch)))
            .map_err(|error| self.failed(batch, error))?;
        let dtype = dataset.dtype().map_err(|error| self.failed(batch, error))?;
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(
                self.failed(batch, format!("its values are {dtype}; they must be floats of 32 or 64 bits"))
            );
        }
        let extents = dataset.shape().map_err(|error| self.failed(batch, error))?;
        let shape: Option<Vec<usize>> = extents.iter().map(|extent| usize::try_from(*extent).ok()).collect();
        let shape: Option<[usize; 4]> = shape.and_then(|shape| shape.try_into().ok());
        let shape = shape.filter(|shape| !shape.contains(&0)).ok_or_else(|| {
            let what = format!(
                "its shape is {extents:?}; it must be [N, C, H, W], images, channels, height and width"
            );
            self.failed(batch, what)
        })?;
        let values = extents.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent));
        let most = MAX_VALUES.min(self.file.file_size().saturating_mul(MAX_INFLATION) / 4);
        let values = values.filter(|values| *values <= most).ok_or_else(|| {
            self.failed(batch, format!("its shape {shape:?} is larger than the file allows"))
        })?;
        // A chunk is unpacked whole, whatever the dataset shows of it.
        let chunk = dataset.chunk_shape().map_err(|error| self.failed(batch, error))?.unwrap_or_default();
        let chunk = chunk.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent));
        if chunk.is_none_or(|chunk| chunk > MAX_CHUNK.max(values)) {
            return Err(self.failed(batch, "its chunks are larger than the file allows"));
        }
        Ok((dataset, shape))
    }

    fn failed(&self, batch: usize, what: impl ToString) -> TensorfileError {
        let problem = TensorfileProblem::Batch { batch, what: what.to_string() };
        TensorfileError { name: self.name.clone(), problem }
    }
}

/// Writes a tensorfile of batches of this shape, `[N, C, H, W]`, already preprocessed: 64-bit numbers, gzip, an image a chunk, as
/// TAO does it. The same batches give the same bytes. `name` is for messages.
///
/// The file begins with what is known only when it is complete. So until `sink` gets it, it is in memory: 8 bytes a value of all
/// batches, and what they are packed to.
///
/// # Errors
/// [`TensorfileError`]: no batch, one that has not the shape or values that are not finite, a batch that would not be read, or what
/// `sink` fails with; and what `batches` fail with.
pub fn write<E: From<TensorfileError>>(
    name: &str,
    shape: [usize; 4],
    batches: impl IntoIterator<Item = Result<Vec<f32>, E>>,
    sink: impl Write,
) -> Result<(), E> {
    let failed = |problem| TensorfileError { name: name.to_owned(), problem };
    let wrong = |batch, what| failed(TensorfileProblem::Batch { batch, what });
    let extents = shape.map(|extent| extent as u64);
    let [_, channels, height, width] = extents;
    let mut file = FileBuilder::new();
    let mut count = 0;
    for (batch, values) in batches.into_iter().enumerate() {
        let values = values?;
        if values.len() != shape.iter().product::<usize>() || values.is_empty() {
            return Err(wrong(batch, format!("{} values are not of shape {shape:?}", values.len())).into());
        }
        if values.len() as u64 > MAX_VALUES {
            let what = format!("{} values are more than the {MAX_VALUES} that are read", values.len());
            return Err(wrong(batch, what).into());
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(wrong(batch, "it has values that are not finite".into()).into());
        }
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        let mut group = file.create_group(&group(batch));
        group
            .create_dataset(ARRAY)
            .with_f64_data(&values)
            .with_shape(&extents)
            .with_chunks(&[1, channels, height, width])
            .with_deflate(DEFLATE_LEVEL);
        file.add_group(group.finish());
        count += 1;
    }
    if count == 0 {
        return Err(failed(TensorfileProblem::Count(count.to_string())).into());
    }
    file.set_attr(COUNT, AttrValue::I64(count));
    file.finish_to(sink).map_err(|error| failed(TensorfileProblem::Unwritten(error)).into())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const SHAPE: [usize; 4] = [2, 3, 4, 5];

    fn batch(seed: usize) -> Vec<f32> {
        (0..120).map(|i| ((i * 37 + seed * 11) % 255) as f32 - 103.939).collect()
    }

    fn open(bytes: Vec<u8>) -> Result<Tensorfile, String> {
        Tensorfile::open("cal.tensor", Cursor::new(bytes)).map_err(|error| error.to_string())
    }

    fn written(shape: [usize; 4], batches: &[Vec<f32>]) -> Result<Vec<u8>, TensorfileError> {
        let mut bytes = Vec::new();
        write("cal.tensor", shape, batches.iter().cloned().map(Ok::<_, TensorfileError>), &mut bytes)?;
        Ok(bytes)
    }

    fn file(edit: impl FnOnce(&mut FileBuilder)) -> Vec<u8> {
        let mut file = FileBuilder::new();
        edit(&mut file);
        file.finish().unwrap()
    }

    fn one(count: i64, values: &[f64], shape: &[u64]) -> Vec<u8> {
        file(|file| {
            let mut group = file.create_group(&group(0));
            group.create_dataset(ARRAY).with_f64_data(values).with_shape(shape);
            file.add_group(group.finish());
            file.set_attr(COUNT, AttrValue::I64(count));
        })
    }

    #[test]
    fn batches_come_back() {
        let batches = [batch(0), batch(1), batch(2)];
        let bytes = written(SHAPE, &batches).unwrap();
        assert_eq!(bytes, written(SHAPE, &batches).unwrap());
        let file = open(bytes).unwrap();
        assert_eq!((file.count(), file.shape(), file.images()), (3, SHAPE, 6));
        let images = (0..file.images()).map(|image| file.image(image));
        assert_eq!(images.collect::<Result<Vec<_>, _>>().unwrap().concat(), batches.concat());
        let error = file.image(6).unwrap_err().to_string();
        assert!(error.starts_with("cal.tensor: batch 3 (group `_tensorfile_array_key__3`): "), "{error}");
    }

    #[test]
    fn what_is_no_tensorfile_is_told() {
        let other = |shape: &[u64]| open(one(1, &vec![0.0; shape.iter().product::<u64>() as usize], shape));
        for (result, says) in [
            (open(b"not HDF5".to_vec()), "not a readable HDF5 file"),
            (open(file(|_| ())), "the number of batches, is missing"),
            (open(one(0, &[1.0], &[1, 1, 1, 1])), "says 0 batches"),
            (open(one(-1, &[1.0], &[1, 1, 1, 1])), "says -1 batches"),
            (open(one(i64::MAX, &[1.0], &[1, 1, 1, 1])), "says 9223372036854775807 batches"),
            (open(file(|file| file.set_attr(COUNT, AttrValue::I64(1)))), "batch 0 (group"),
            (other(&[2, 3]), "[2, 3]; it must be [N, C, H, W]"),
            (other(&[1, 1, 2, 3, 4]), "it must be [N, C, H, W]"),
        ] {
            let error = result.err().unwrap();
            assert!(error.contains(says), "{error}");
        }
        for value in [f64::NAN, f64::INFINITY, 1e300] {
            let file = open(one(1, &[0.0, value], &[1, 1, 1, 2])).unwrap();
            let error = file.image(0).unwrap_err().to_string();
            assert!(error.contains("value 1 is "), "{error}");
        }
    }

    #[test]
    fn batches_of_two_shapes_are_refused() {
        let bytes = file(|file| {
            for (at, shape) in [[1, 3, 2, 2], [1, 3, 2, 3]].iter().enumerate() {
                let mut group = file.create_group(&group(at));
                let values = vec![0.0; shape.iter().product::<u64>() as usize];
                group.create_dataset(ARRAY).with_f64_data(&values).with_shape(shape);
                file.add_group(group.finish());
            }
            file.set_attr(COUNT, AttrValue::I64(2));
        });
        let error = open(bytes).unwrap().image(1).unwrap_err().to_string();
        assert!(
            error.contains("its shape is [1, 3, 2, 3], that of the first batch is [1, 3, 2, 2]"),
            "{error}"
        );
    }

    #[test]
    fn nothing_else_is_written() {
        let fails = |batches: Vec<Vec<f32>>| written(SHAPE, &batches).unwrap_err().to_string();
        assert!(fails(vec![]).contains("says 0 batches"));
        assert!(
            fails(vec![batch(0), vec![0.0; 119]])
                .contains("batch 1 (group `_tensorfile_array_key__1`): 119 values")
        );
        assert!(fails(vec![vec![f32::NAN; 120]]).contains("not finite"));
        let full = write("cal.tensor", SHAPE, [Ok::<_, TensorfileError>(batch(0))], &mut [0u8; 64][..]);
        assert!(full.unwrap_err().to_string().starts_with("cal.tensor: cannot be written: "));
    }

    /// What is cut or changed anywhere is read or refused, without a panic.
    #[test]
    fn damage_never_panics() {
        let bytes = written([1, 3, 2, 2], &[vec![1.5; 12], vec![-2.5; 12]]).unwrap();
        let read = |bytes: Vec<u8>| {
            if let Ok(file) = open(bytes) {
                (0..file.images().min(10)).for_each(|image| drop(file.image(image)));
            }
        };
        for end in 0..bytes.len() {
            read(bytes[..end].to_vec());
        }
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[at] ^= change;
                read(bad);
            }
        }
    }
}
