//! How the new layout of Keras calls layers in a file: by their class, numbered in the order of the network.

use std::collections::BTreeMap;

use serde_json::Value;

/// The layers of a network by what the file calls them.
#[derive(Debug, Default)]
pub(super) struct ObjectNames {
    layers: BTreeMap<String, Layer>,
}

#[derive(Debug)]
struct Layer {
    name: String,
    inner: Option<ObjectNames>,
}

impl ObjectNames {
    /// Of a description as `config.json` has it.
    pub(super) fn of_network(config: &Value) -> Self {
        let mut layers = BTreeMap::new();
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for layer in config.pointer("/config/layers").and_then(Value::as_array).into_iter().flatten() {
            let class = layer.get("class_name").and_then(Value::as_str);
            let name = layer.pointer("/config/name").or_else(|| layer.get("name")).and_then(Value::as_str);
            let (Some(class), Some(name)) = (class, name) else { continue };
            let class = snake_case(class);
            let count = counts.entry(class.clone()).or_default();
            let object = if *count == 0 { class } else { format!("{class}_{count}") };
            *count += 1;
            let inner = layer.pointer("/config/layers").is_some().then(|| Self::of_network(layer));
            layers.insert(object, Layer { name: name.to_owned(), inner });
        }
        Self { layers }
    }

    /// The name of a layer.
    pub(super) fn name(&self, object: &str) -> Option<&str> {
        self.layers.get(object).map(|layer| layer.name.as_str())
    }

    /// The layers inside a layer.
    pub(super) fn inner(&self, object: &str) -> Option<&Self> {
        self.layers.get(object)?.inner.as_ref()
    }
}

/// `BatchNormalization` → `batch_normalization`, `Conv2D` → `conv2d`: Keras' `to_snake_case`.
fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().collect();
    let mut snake = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| letters[before]);
        let begins_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase() || letters.get(at + 1).is_some_and(|after| after.is_lowercase())
            });
        if begins_word {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    /// Computed by Keras 3.15.
    #[test]
    fn classes_are_spelt_as_keras_does() {
        for (class, snake) in [
            ("Conv2D", "conv2d"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("BatchNormalization", "batch_normalization"),
            ("ReLU", "re_lu"),
            ("ZeroPadding2D", "zero_padding2d"),
            ("InputLayer", "input_layer"),
        ] {
            assert_eq!(snake_case(class), snake);
        }
    }
}
