//! The scale file of networks trained with quantisation (`export --cal_json_file`): the range of each tensor, as TAO writes it and
//! its engine builder reads it. Format page: `docs/formats/tensor-scales.md`.
//!
//! Despite the name the values are ranges: `v` stands for −v … v, and the step is v / 127.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Ranges by tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorScales {
    /// The largest magnitude of each tensor, by its name in the ONNX model. Files of TAO end the names in `:0`.
    pub tensor_scales: BTreeMap<String, f32>,
}

/// A file that is no scale file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorScalesError {
    /// Not JSON of this form.
    #[error("{name}: not a scale file: {source}")]
    Json {
        /// Name of the file.
        name: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A range that is none.
    #[error("{name}: the range of `{tensor}` is {value}; it must be a positive number")]
    Range {
        /// Name of the file.
        name: String,
        /// The tensor.
        tensor: String,
        /// Its value.
        value: f32,
    },
}

impl TensorScales {
    /// The text of the file. Equal ranges give equal text.
    pub fn to_json(&self) -> String {
        let mut bytes = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
        self.serialize(&mut serializer).expect("names and numbers are plain data");
        bytes.push(b'\n');
        String::from_utf8(bytes).expect("JSON is text")
    }

    /// Reads a scale file; `name` is for messages.
    ///
    /// # Errors
    /// [`TensorScalesError`]
    pub fn parse(name: &str, text: &str) -> Result<Self, TensorScalesError> {
        let scales: Self = serde_json::from_str(text)
            .map_err(|source| TensorScalesError::Json { name: name.to_owned(), source })?;
        match scales.tensor_scales.iter().find(|(_, value)| !(value.is_finite() && **value > 0.0)) {
            Some((tensor, value)) => {
                Err(TensorScalesError::Range { name: name.to_owned(), tensor: tensor.clone(), value: *value })
            }
            None => Ok(scales),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_the_original_writes() {
        let text = "{\n    \"tensor_scales\": {\n        \"Input\": 151.06,\n        \"conv1_relu/Relu:0\": 5.93\n    }\n}\n";
        let scales = TensorScales::parse("cal.json", text).unwrap();
        assert_eq!(scales.tensor_scales["Input"], 151.06);
        assert_eq!(scales.to_json(), text);
    }

    #[test]
    fn what_is_no_range_is_named() {
        for (text, says) in [
            ("{\"tensor_scales\": {\"a\": -1.0}}", "cal.json: the range of `a` is -1"),
            ("{\"tensor_scales\": {\"a\": 0}}", "`a` is 0"),
            ("{\"tensor_scales\": {\"a\": 1e99}}", "out of range"),
            ("{\"scales\": {}}", "not a scale file"),
            ("", "not a scale file"),
        ] {
            let error = TensorScales::parse("cal.json", text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
