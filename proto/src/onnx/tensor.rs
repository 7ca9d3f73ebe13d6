//! Elements of tensors, checked against their shape.

use half::f16;

use super::OnnxError;
use super::messages::{DataType, TensorProto};

impl TensorProto {
    /// A float tensor. `dims` is its shape, `data` its elements in row-major order: as many as the shape
    /// says.
    pub fn f32(name: &str, dims: &[i64], data: &[f32]) -> Self {
        Self::raw(
            name,
            dims,
            DataType::Float,
            data.len(),
            data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        )
    }

    /// A half-precision tensor: each element becomes the nearest float16. `dims` and `data` as for floats.
    ///
    /// # Errors
    /// An element that is no number, or beyond float16's ±65504.
    pub fn f16s(name: &str, dims: &[i64], data: &[f32]) -> Result<Self, OnnxError> {
        let mut raw_data = Vec::with_capacity(2 * data.len());
        for value in data {
            let half = f16::from_f32(*value);
            if !half.is_finite() {
                let what = format!("{value} is beyond the numbers of float16 (±{})", f16::MAX);
                return Err(OnnxError::Tensor { name: name.to_owned(), what });
            }
            raw_data.extend_from_slice(&half.to_le_bytes());
        }
        Ok(Self::raw(name, dims, DataType::Float16, data.len(), raw_data))
    }

    /// A tensor of INT8 codes. `dims` and `data` as for floats.
    pub fn i8s(name: &str, dims: &[i64], data: &[i8]) -> Self {
        let raw_data = data.iter().flat_map(|code| code.to_le_bytes()).collect();
        Self::raw(name, dims, DataType::Int8, data.len(), raw_data)
    }

    /// A one-dimensional tensor of 64-bit integers, such as a shape.
    pub fn i64s(name: &str, data: &[i64]) -> Self {
        let raw_data = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self::raw(name, &[data.len() as i64], DataType::Int64, data.len(), raw_data)
    }

    fn raw(name: &str, dims: &[i64], data_type: DataType, elements: usize, raw_data: Vec<u8>) -> Self {
        debug_assert_eq!(dims.iter().product::<i64>(), elements as i64, "{name}: shape and elements differ");
        Self {
            name: name.to_owned(),
            dims: dims.to_vec(),
            data_type: data_type.into(),
            raw_data,
            ..Self::default()
        }
    }

    /// Shape, each size as an unsigned integer.
    ///
    /// # Errors
    /// A negative size, or a number of elements that does not fit in memory.
    pub fn shape(&self) -> Result<Vec<usize>, OnnxError> {
        let shape: Option<Vec<usize>> = self.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        shape
            .filter(|shape| element_count(shape).is_some())
            .ok_or_else(|| self.error(format!("impossible shape {:?}", self.dims)))
    }

    /// Elements of a single or half precision tensor, row-major, as many as the shape says.
    ///
    /// # Errors
    /// Another element type, elements in another file, or a number of elements that contradicts the shape.
    pub fn to_f32s(&self) -> Result<Vec<f32>, OnnxError> {
        if self.data_type == DataType::Float16 as i32 {
            // Typed elements are the bits, one in each integer.
            let typed: Vec<f16> = self.int32_data.iter().map(|bits| f16::from_bits(*bits as u16)).collect();
            let halves = self.elements(DataType::Float16, &typed, f16::from_le_bytes)?;
            return Ok(halves.into_iter().map(f16::to_f32).collect());
        }
        self.elements(DataType::Float, &self.float_data, f32::from_le_bytes)
    }

    /// Elements of a tensor of 64-bit integers, row-major, as many as the shape says.
    ///
    /// # Errors
    /// As for [`to_f32s`](Self::to_f32s).
    pub fn to_i64s(&self) -> Result<Vec<i64>, OnnxError> {
        self.elements(DataType::Int64, &self.int64_data, i64::from_le_bytes)
    }

    /// `typed`, or `raw_data` cut into elements of `N` bytes.
    fn elements<T: Copy, const N: usize>(
        &self,
        wanted: DataType,
        typed: &[T],
        from_le_bytes: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, OnnxError> {
        if self.data_type != wanted as i32 {
            let found = DataType::try_from(self.data_type)
                .map_or_else(|_| format!("type {}", self.data_type), |found| format!("{found:?}"));
            return Err(self.error(format!("elements are {found}, {wanted:?} is needed")));
        }
        if self.data_location != 0 {
            return Err(self.error("elements are in another file; save the model as one file".to_owned()));
        }
        let (raw, rest) = self.raw_data.as_chunks::<N>();
        let elements = match (self.raw_data.is_empty(), typed.is_empty()) {
            (true, _) => typed.to_vec(),
            (false, true) if rest.is_empty() => raw.iter().map(|&bytes| from_le_bytes(bytes)).collect(),
            (false, true) => {
                return Err(self.error(format!("{} bytes do not divide into elements", self.raw_data.len())));
            }
            (false, false) => return Err(self.error("elements are given twice".to_owned())),
        };
        let shape = self.shape()?;
        if element_count(&shape) != Some(elements.len()) {
            return Err(self.error(format!("{} elements for shape {shape:?}", elements.len())));
        }
        Ok(elements)
    }

    fn error(&self, what: String) -> OnnxError {
        OnnxError::Tensor { name: self.name.clone(), what }
    }
}

fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1, |count: usize, &size| count.checked_mul(size))
}
